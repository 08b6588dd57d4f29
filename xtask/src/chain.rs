//! docs/chain.md is rendered from the chain in force and from what each rule's file says of itself.

use std::fs;

use anyhow::{Context, Result};
use decide::chain::CHAIN;

use crate::shell::{self, say};

const PAGE: &str = "docs/chain.md";

/// Writes the page.
pub(crate) fn write() -> Result<()> {
    fs::write(shell::root()?.join(PAGE), page()?)
        .with_context(|| format!("cannot write {PAGE}"))?;
    say(format_args!("wrote {PAGE}"));
    Ok(())
}

/// Where the chain, its files and the committed page do not agree. `listed` names all sources, one a line.
pub(crate) fn breaches(listed: &str) -> Result<Vec<String>> {
    let rules: Vec<_> = CHAIN.stages().map(decide::Stage::rule).collect();
    let mut breaches =
        rules.iter().filter_map(|rule| unsaid(rule.id.0, rule.says)).collect::<Vec<_>>();
    for place in listed.lines().filter_map(place) {
        if !rules.iter().any(|rule| rule.id.0 == place) {
            breaches.push(format!(
                "proxy/decide/src/stages/{place}.rs: no rule of the chain is called {place}"
            ));
        }
    }
    let committed = fs::read_to_string(shell::root()?.join(PAGE)).unwrap_or_default();
    if committed != page()? {
        breaches.push(format!("{PAGE} is not what the chain says: run cargo xtask chain"));
    }
    Ok(breaches)
}

/// `ingress/kill_switch` for the file of that rule; none for other files, and for the tests beside a rule.
fn place(path: &str) -> Option<&str> {
    let place = path.strip_prefix("proxy/decide/src/stages/")?.strip_suffix(".rs")?;
    (place.matches('/').count() == 1).then_some(place)
}

/// The breach of a rule that says no sentence.
fn unsaid(id: &str, says: &str) -> Option<String> {
    let sentence =
        says.starts_with(char::is_uppercase) && says.ends_with('.') && says.contains(' ');
    (!sentence).then(|| format!("{id} says no sentence: {says:?}"))
}

/// The chain as `decide` tells it, then each rule in the words of its own file.
fn page() -> Result<String> {
    let mut parts = vec![
        decide::chain::markdown().trim_end().to_owned(),
        "## Why each rule is as it is".to_owned(),
    ];
    for stage in CHAIN.stages() {
        let rule = stage.rule();
        let path = format!("proxy/decide/src/stages/{}.rs", rule.id);
        let source =
            fs::read_to_string(shell::root()?.join(&path)).with_context(|| path.clone())?;
        parts.push(format!("### <a id=\"{}\"></a>{}", rule.id, rule.id.name()));
        parts.push(document(&source));
        parts.push(format!("[{path}](../{path})"));
    }
    Ok(parts.join("\n\n") + "\n")
}

/// What a file says of itself at its head.
fn document(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let text: Vec<&str> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    text.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_the_chain_is_on_the_page_in_its_order() {
        let page = page().unwrap();
        let places: Vec<usize> = CHAIN
            .stages()
            .map(|stage| page.find(&format!("id=\"{}\"", stage.rule().id)).unwrap())
            .collect();
        assert!(places.is_sorted() && places.len() > 1);
        assert!(CHAIN.stages().all(|stage| page.contains(stage.rule().says)));
    }

    #[test]
    fn a_rule_says_a_sentence_and_a_file_of_a_rule_is_in_the_chain() {
        assert!(unsaid("a/b", "A stopped agent sends nothing.").is_none());
        assert!(unsaid("a/b", "").is_some() && unsaid("a/b", "stops agents").is_some());
        let known = "proxy/decide/src/stages/ingress/kill_switch.rs\nproxy/decide/src/stages/ingress/x/tests.rs";
        let fresh = breaches(known).unwrap().len();
        assert_eq!(breaches("proxy/decide/src/stages/ingress/other.rs").unwrap().len(), fresh + 1);
    }
}
