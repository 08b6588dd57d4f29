//! How a pod is enforced: the three modes, and which of them a kernel and a node can carry.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// How a pod's traffic is led to its gate and how the gate itself is told apart; weakest first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// nftables redirects and drops; the gate is known by its user id, which only admission keeps from others.
    NftUser,
    /// nftables redirects and drops; the gate is known by the cgroup that its sockets were made in.
    NftCgroup,
    /// Kernel programs redirect and identify, nftables drops.
    Kernel,
}

impl Mode {
    /// All modes, strongest first.
    pub const STRONGEST_FIRST: [Self; 3] = [Self::Kernel, Self::NftCgroup, Self::NftUser];

    /// Its word in flags, files, metrics and readiness.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::NftCgroup => "nft-cgroup",
            Self::NftUser => "nft-user",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Which mode is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Wanted {
    /// The strongest that works here.
    Auto,
    /// This one or none.
    Kernel,
    /// This one or none.
    NftCgroup,
    /// This one or none.
    NftUser,
}

impl Wanted {
    const fn allows(self, mode: Mode) -> bool {
        match self {
            Self::Auto => true,
            Self::Kernel => matches!(mode, Mode::Kernel),
            Self::NftCgroup => matches!(mode, Mode::NftCgroup),
            Self::NftUser => matches!(mode, Mode::NftUser),
        }
    }
}

/// What stands in the way of each mode; nothing where it works.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Obstacles {
    /// Of [`Mode::Kernel`].
    pub kernel: Option<String>,
    /// Of [`Mode::NftCgroup`].
    pub nft_cgroup: Option<String>,
    /// Of [`Mode::NftUser`].
    pub nft_user: Option<String>,
}

impl Obstacles {
    /// What stands in the way of `mode`.
    #[must_use]
    pub fn of(&self, mode: Mode) -> Option<&str> {
        match mode {
            Mode::Kernel => self.kernel.as_deref(),
            Mode::NftCgroup => self.nft_cgroup.as_deref(),
            Mode::NftUser => self.nft_user.as_deref(),
        }
    }
}

/// The mode that will be in force, and why no stronger one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The mode.
    pub mode: Mode,
    /// One sentence for people: the pod file and readiness show it.
    pub why: String,
}

/// Why no mode can be in force.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// Nothing that was asked for works here.
    #[error("no mode that was asked for works here: {0}")]
    None(String),
    /// What works is weaker than what is accepted.
    #[error(
        "only the mode {mode} works here, which is below the minimum {minimum}: {reasons}; \
         change that, or accept it with --minimum {mode}"
    )]
    BelowMinimum {
        /// The strongest that works.
        mode: Mode,
        /// The weakest that is accepted.
        minimum: Mode,
        /// Why each stronger one does not work.
        reasons: String,
    },
}

/// The strongest wanted mode that nothing stands in the way of, if it is not below `minimum`.
///
/// # Errors
/// When there is none, or it is weaker than `minimum`.
pub fn choose(wanted: Wanted, minimum: Mode, obstacles: &Obstacles) -> Result<Choice, ModeError> {
    let mut reasons = Vec::new();
    for mode in Mode::STRONGEST_FIRST {
        if !wanted.allows(mode) {
            if wanted != Wanted::Auto {
                reasons.push(format!("{mode}: not asked for"));
            }
            continue;
        }
        if let Some(obstacle) = obstacles.of(mode) {
            reasons.push(format!("{mode}: {obstacle}"));
            continue;
        }
        let reasons = stronger(&reasons);
        if mode < minimum {
            return Err(ModeError::BelowMinimum { mode, minimum, reasons });
        }
        return Ok(Choice { mode, why: reasons });
    }
    Err(ModeError::None(reasons.join("; ")))
}

fn stronger(reasons: &[String]) -> String {
    if reasons.is_empty() { "the strongest there is".to_owned() } else { reasons.join("; ") }
}
