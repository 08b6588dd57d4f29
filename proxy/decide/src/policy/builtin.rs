//! Contracts that come with the gate: the starter and the profiles of known programs, as the files
//! that `tollgate policy show` prints.

/// The contract that holds where no other is given.
pub const STARTER: &str = include_str!("starter.yaml");

/// Each profile by name, which is also the file name of the command that brings it.
pub const PROFILES: [(&str, &str); 3] = [
    ("aider", include_str!("profiles/aider.yaml")),
    ("claude", include_str!("profiles/claude.yaml")),
    ("codex", include_str!("profiles/codex.yaml")),
];

/// The profile of the command with this file name (without its folders).
#[must_use]
pub fn profile(command: &str) -> Option<&'static str> {
    PROFILES.iter().find(|(name, _)| *name == command).map(|(_, yaml)| *yaml)
}

#[cfg(test)]
mod tests;
