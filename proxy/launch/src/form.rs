//! Names the two forms of a run, and which one this process can make.

use std::fmt;

use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

use crate::{error::LaunchError, front::NEEDED, netns::Network, ports::Ports};

/// How a run is cut off from everything but the gate.
///
/// In both forms the command has namespaces of its own and no interface to leave by; they differ in what leads its
/// connections to the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Made by root: kernel programs at a cgroup of the run's own redirect and refuse.
    KernelPrograms,
    /// Made by any user: a user namespace, in whose network nftables redirect and refuse.
    UserNamespace,
}

impl Form {
    /// The form that this process can make: the first where it has all of [`NEEDED`] over the host, else the second,
    /// of which nobody knows whether the kernel allows it until it is tried.
    ///
    /// # Errors
    /// When the capabilities or the user namespace cannot be read.
    pub fn of_this_process() -> Result<Self, LaunchError> {
        let held = rustix::thread::capabilities(None)
            .map_err(|error| LaunchError::setup("reading capabilities", error.into()))?
            .effective;
        let user = rustix::fs::stat("/proc/self/ns/user")
            .map_err(|error| LaunchError::setup("looking at the user namespace", error.into()))?;
        Ok(Self::of(held, user.st_ino))
    }

    /// In a user namespace that is not the host's, capabilities reach no kernel program.
    fn of(held: CapabilitySet, user_namespace: u64) -> Self {
        /// The inode of the first user namespace (linux/nsfs.h, `USER_NS_INIT_INO`).
        const HOST: u64 = 0xEFFF_FFFD;
        if user_namespace == HOST && NEEDED.iter().all(|(one, _)| held.contains(*one)) {
            Self::KernelPrograms
        } else {
            Self::UserNamespace
        }
    }

    /// Makes such a run's network and lets it go again: whether a user namespace can be had here is only known from
    /// one that was made.
    ///
    /// # Errors
    /// What is in the way, and what to do.
    pub fn rehearse(self) -> Result<(), LaunchError> {
        crate::front::require_one_thread()?;
        Network::create(self, &Ports::default()).map(drop)
    }

    /// The word that stands for it in records.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::KernelPrograms => "kernel-programs",
            Self::UserNamespace => "user-namespace",
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: u64 = 4_026_531_837;

    #[test]
    fn one_missing_capability_makes_the_form_of_a_user() {
        assert_eq!(Form::of(CapabilitySet::all(), HOST), Form::KernelPrograms);
        for (one, name) in NEEDED {
            assert_eq!(Form::of(CapabilitySet::all() - *one, HOST), Form::UserNamespace, "{name}");
        }
    }

    #[test]
    fn root_of_a_namespace_of_its_own_is_no_root_of_the_host() {
        assert_eq!(Form::of(CapabilitySet::all(), HOST - 1), Form::UserNamespace);
    }

    #[test]
    fn the_word_is_what_is_serialised() {
        for form in [Form::KernelPrograms, Form::UserNamespace] {
            assert_eq!(serde_json::to_value(form).unwrap(), form.word());
        }
    }
}
