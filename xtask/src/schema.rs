//! docs/schema and the table of docs/configuration.md are what the binary says of the files that people write.

use std::fs;

use anyhow::{Context, Result};

use crate::shell::{self, command, output, say};

/// What the binary prints, and where it is kept.
const SCHEMAS: [(&str, &str); 2] = [
    ("tollgate", "docs/schema/tollgate.schema.json"),
    ("policy", "docs/schema/policy.schema.json"),
];
const PAGE: &str = "docs/configuration.md";
const BEGIN: &str = "<!-- keys:begin -->\n";
const END: &str = "<!-- keys:end -->";

/// Writes all three.
pub(crate) fn write() -> Result<()> {
    let root = shell::root()?;
    for (path, text) in current()? {
        let at = root.join(&path);
        let folder = at.parent().context("a schema lies in no folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&at, text).with_context(|| format!("cannot write {path}"))?;
        say(format_args!("wrote {path}"));
    }
    Ok(())
}

/// Which of them are not what the binary says.
pub(crate) fn breaches() -> Result<Vec<String>> {
    let root = shell::root()?;
    let stale = |(path, text): &(String, String)| {
        fs::read_to_string(root.join(path)).unwrap_or_default() != *text
    };
    let stale = current()?.into_iter().filter(stale);
    Ok(stale
        .map(|(path, _)| format!("{path} is not what the code says: run cargo xtask schema"))
        .collect())
}

/// The three files as they should be.
fn current() -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for (of, path) in SCHEMAS {
        files.push((path.to_owned(), printed(of)?));
    }
    let page = fs::read_to_string(shell::root()?.join(PAGE)).with_context(|| PAGE.to_owned())?;
    files.push((PAGE.to_owned(), with_table(&page, &printed("keys")?)?));
    Ok(files)
}

fn printed(of: &str) -> Result<String> {
    output(command(env!("CARGO"))?.args([
        "run",
        "--quiet",
        "--package",
        "tollgate",
        "--",
        "schema",
        of,
    ]))
}

/// The page with this table between its marks.
fn with_table(page: &str, table: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).with_context(|| format!("{PAGE} lacks {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{PAGE} lacks {END}"))?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_put_between_its_marks_and_nothing_else_is_touched() {
        let page = format!("a\n{BEGIN}old\n{END}\nb\n");
        assert_eq!(with_table(&page, "new\n").unwrap(), format!("a\n{BEGIN}new\n{END}\nb\n"));
        assert!(with_table("a", "new").is_err());
    }
}
