//! How the pod is shut in: three ways, from weak to strong.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The way in which everything in the pod is led to the gate and nothing else leaves. The words are the same in the
/// installer, in the configuration and in the metrics. Greater is stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Firewall rules lead and drop; the gate is told apart by its user. Whoever becomes that user goes free, so it
    /// holds only where admission takes the capabilities.
    NftUser,
    /// Firewall rules lead and drop; the gate is told apart by its control group.
    NftCgroup,
    /// Kernel programs lead and identify, firewall rules drop.
    Kernel,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Kernel, Self::NftCgroup, Self::NftUser];

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::NftCgroup => "nft-cgroup",
            Self::NftUser => "nft-user",
        }
    }

    /// The mode of this word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == word)
    }

    /// What it is weaker by than the strongest, if it is.
    #[must_use]
    pub const fn weakness(self) -> Option<&'static str> {
        match self {
            Self::Kernel => None,
            Self::NftCgroup => Some(
                "firewall rules alone shut the pod in: whoever has CAP_NET_ADMIN in it takes them away, and refused \
                 attempts are told by tollgate-init check only",
            ),
            Self::NftUser => Some(
                "firewall rules alone shut the pod in and know the gate by its user: whoever has CAP_SETUID or \
                 CAP_NET_ADMIN in it goes free, and refused attempts are told by tollgate-init check only",
            ),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
