//! `tollgate init`: the first configuration and the first contract, with a word on each line.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::failure::{Ended, Exit, Failure};
use super::out::{Line, Out, Paint};
use super::schema;

/// The configuration as it is written.
const CONFIG: &str = include_str!("init/tollgate.yaml");
/// The contract as it is written.
const CONTRACT: &str = include_str!("init/example.yaml");

/// Flags of `tollgate init`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tollgate init\n  tollgate init --folder ./gate")]
pub(crate) struct InitArgs {
    /// Where to write
    #[arg(long, value_name = "DIR", default_value = "/etc/tollgate")]
    folder: PathBuf,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Writes what is not there yet.
pub(crate) fn run(args: &InitArgs, out: &mut Out) -> Ended {
    let files = [
        ("tollgate.yaml", CONFIG.to_owned()),
        ("policy/example.yaml", CONTRACT.to_owned()),
        ("schema/tollgate.schema.json", schema::tollgate()?),
        ("schema/policy.schema.json", schema::policy()?),
    ];
    let mut written = Vec::new();
    for (name, text) in &files {
        let path = args.folder.join(name);
        let new = write_new(&path, text).map_err(|error| {
            Failure::could_not(format!("cannot write {}: {error}", path.display()))
        })?;
        written.push((path, new));
    }
    let config = args.folder.join("tollgate.yaml");
    let next = format!("tollgate check --config {}", config.display());
    if args.json {
        let files: Vec<_> = written
            .iter()
            .map(|(path, new)| json!({ "file": path.display().to_string(), "written": new }))
            .collect();
        out.json(&json!({ "files": files, "next": next }))?;
        return Ok(Exit::Done);
    }
    for (path, new) in &written {
        let (paint, what) = if *new { (Paint::Good, "written") } else { (Paint::Dim, "kept") };
        out.line(&Line::new().column(paint, 8, what).text(path.display()))?;
    }
    out.line(&Line::new().paint(Paint::Dim, "next: ").text(next))?;
    Ok(Exit::Done)
}

/// Writes a file that is not there; one that is stays as it is. Whole on disk before it has its name,
/// so that a crash leaves no half of one.
fn write_new(path: &Path, text: &str) -> std::io::Result<bool> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&fresh)?;
    let whole = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    // A link, unlike a rename, does not replace what is there.
    let linked = whole.and_then(|()| fs::hard_link(&fresh, path));
    fs::remove_file(&fresh)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::policies::Policies;

    #[test]
    fn what_is_written_loads_and_compiles_and_names_its_schema() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("gate");
        let (config, contract) = (folder.join("tollgate.yaml"), folder.join("policy/example.yaml"));
        assert!(write_new(&config, CONFIG).unwrap() && write_new(&contract, CONTRACT).unwrap());
        let loaded = Config::load(&config, std::iter::empty()).unwrap();
        assert_eq!(loaded.policy, folder.join("policy"));
        let policies = Policies::read(&loaded.policy, Clock::system().now()).unwrap();
        assert!(policies.agents().len() > 0);
        for text in [CONFIG, CONTRACT] {
            let first = text.lines().next().unwrap();
            assert!(first.starts_with("# yaml-language-server: $schema="), "{first}");
        }
    }

    #[test]
    fn what_is_there_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tollgate.yaml");
        fs::write(&path, "mine").unwrap();
        assert!(!write_new(&path, CONFIG).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }
}
