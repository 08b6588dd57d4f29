//! A name with wildcards, as contracts write it.

use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

/// A pattern of names. `*` stands for any run of characters, also none and also dots; every other
/// character stands for itself, with its case.
///
/// Models and agents are compared as written. Hosts are lower case on both sides, and a host's `*`
/// is always its whole first label, so that `*.example.com` is every name below `example.com`, at
/// any depth, and not `example.com` itself.
///
/// `A & B` matches what both match: what a run narrowed a contract's models to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Glob(String);

impl Glob {
    /// A pattern. Every text is one.
    #[must_use]
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// Whether `name` is one of the names.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if !self.0.contains('&') {
            return matches(self.0.as_bytes(), name.as_bytes());
        }
        self.0.split(BOTH).all(|one| matches(one.as_bytes(), name.as_bytes()))
    }

    /// The names that are in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        if self == other || self.0 == "*" {
            return other.clone();
        }
        if other.0 == "*" {
            return self.clone();
        }
        Self([self.0.as_str(), other.0.as_str()].join(BOTH))
    }

    /// The pattern, as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// No model, host or agent has a space in its name, so no pattern as written holds this.
const BOTH: &str = " & ";

impl From<&str> for Glob {
    fn from(pattern: &str) -> Self {
        Self::new(pattern)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Linear in the name for each star: a star that was passed is never returned to once a later star
/// is reached.
fn matches(mut pattern: &[u8], mut name: &[u8]) -> bool {
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), name.split_first()) {
            (Some((b'*', after)), _) => {
                retry = Some((after, name));
                pattern = after;
            }
            (Some((wanted, after)), Some((byte, rest))) if wanted == byte => {
                (pattern, name) = (after, rest);
            }
            (None, None) => return true,
            (Some(_) | None, _) => {
                let Some((after_star, from)) = retry else { return false };
                let Some((_, from)) = from.split_first() else { return false };
                retry = Some((after_star, from));
                (pattern, name) = (after_star, from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::format;

    #[test]
    fn a_star_is_any_run_and_everything_else_is_itself() {
        for (pattern, name, expected) in [
            ("gpt-5-mini", "gpt-5-mini", true),
            ("gpt-5-mini", "gpt-5-mini-2", false),
            ("claude-haiku-*", "claude-haiku-4", true),
            ("claude-haiku-*", "claude-haiku-", true),
            ("*", "", true),
            ("*-mini-*", "gpt-5-mini-2026", true),
            ("*-mini", "gpt-mini-mini", true),
            ("gpt-?", "gpt-5", false),
            ("gpt.5", "gpt-5", false),
            ("GPT-5", "gpt-5", false),
        ] {
            assert_eq!(Glob::from(pattern).matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_host_wildcard_is_what_lies_below_and_never_a_neighbour() {
        let below = Glob::from("*.example.com");
        assert!(below.matches("a.example.com") && below.matches("a.b.example.com"));
        assert!(!below.matches("example.com") && !below.matches("notexample.com"));
        assert!(!below.matches("a.example.com.evil.org"));
    }

    #[test]
    fn both_is_what_each_matches_and_a_star_adds_nothing() {
        let both = Glob::from("gpt-*").and(&"*-mini".into());
        assert!(both.matches("gpt-5-mini") && !both.matches("gpt-5") && !both.matches("o4-mini"));
        assert_eq!(Glob::from("*").and(&"gpt-*".into()), "gpt-*".into());
    }

    proptest! {
        #[test]
        fn any_split_of_a_name_around_stars_matches_it(parts in prop::collection::vec("[a-c]{0,3}", 1..5), fill in "[a-c]{0,3}") {
            let pattern = Glob::new(parts.join("*"));
            prop_assert!(pattern.matches(&parts.join(&fill)));
        }

        #[test]
        fn a_pattern_without_a_star_matches_only_itself(pattern in "[a-b.]{0,4}", name in "[a-b.]{0,4}") {
            prop_assert_eq!(Glob::new(pattern.clone()).matches(&name), pattern == name, "{}", format!("{pattern} {name}"));
        }
    }
}
