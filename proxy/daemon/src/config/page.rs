//! The table of all keys in docs/configuration.md.

use std::fmt::Write;

use super::env::variable;
use super::keys::{KEYS, Like};

/// One row a key: what is written there, its default, its variable, and what it is for.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "| key | what is written there | default | variable | what it is for |\n|---|---|---|---|---|\n",
    );
    for key in KEYS.iter().filter(|key| key.like != Like::NotBuilt) {
        let path = key.path.replace('*', "NAME");
        let variable = variable(&path.split('.').collect::<Vec<_>>());
        let default = match key.default {
            Some(default) => format!("`{default}`"),
            None if key.needed => "needed".to_owned(),
            None => String::new(),
        };
        let reload = if key.reload { " ↻" } else { "" };
        let (like, says) = (key.like.called(), key.says);
        // Writing to a `String` does not fail.
        writeln!(page, "| `{path}`{reload} | {like} | {default} | `{variable}` | {says} |")
            .unwrap_or_default();
    }
    page.push_str("\nNot built, and refused where they stand: ");
    let later: Vec<String> = KEYS
        .iter()
        .filter(|key| key.like == Like::NotBuilt)
        .map(|key| format!("`{}` ({})", key.path.replace('*', "NAME"), key.says))
        .collect();
    page.push_str(&later.join(", "));
    page.push_str(".\n");
    page
}
