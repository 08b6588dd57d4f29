//! Names the user that a command runs as.

use serde::{Deserialize, Serialize};

/// User, group and supplementary groups of the command: those of whoever called `exec`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
}

impl Identity {
    /// Who this process is, by its effective ids: under sudo that is root.
    ///
    /// # Errors
    /// When the kernel does not tell the groups.
    pub fn current() -> std::io::Result<Self> {
        let groups = rustix::process::getgroups()?;
        Ok(Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            groups: groups.into_iter().map(rustix::process::Gid::as_raw).collect(),
        })
    }

    /// The command runs as uid 0 and needs the masks of attacks 2.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }
}
