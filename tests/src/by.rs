//! Names who runs the gate and what is under it: root, or a user without privileges.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The suite whose tests are those of others, as they are, by a user without privileges.
const SUITE: &str = "without_root";

/// How a command becomes a user's who has no privileges and cannot get any.
const SETPRIV: [&str; 7] = [
    "setpriv",
    "--reuid=1000",
    "--regid=1000",
    "--clear-groups",
    "--bounding-set=-all",
    "--inh-caps=-all",
    "--no-new-privs",
];
/// A PATH of folders that every user may enter.
const FOLDERS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Who runs the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// With kernel programs.
    Root,
    /// In a user namespace.
    User,
}

impl By {
    /// Told by the name of the test program, so that one proof stands for both.
    #[must_use]
    pub fn in_this_suite() -> Self {
        let test = std::env::current_exe().unwrap_or_default();
        let name = test.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(SUITE) { Self::User } else { Self::Root }
    }

    /// A program of theirs.
    #[must_use]
    pub fn command(self, program: &Path) -> Command {
        let [setpriv, words @ ..] = SETPRIV;
        match self {
            Self::Root => Command::new(program),
            Self::User => {
                let mut command = Command::new(setpriv);
                command.args(words).arg(program);
                command
            }
        }
    }

    /// What their environment has of its own.
    pub fn furnish(self, command: &mut Command) {
        if self == Self::User {
            command.env("PATH", FOLDERS);
        }
    }

    /// Gives them a folder, with all below it.
    ///
    /// # Errors
    /// When it cannot be given.
    pub fn own(self, folder: &Path) -> Result<()> {
        if self == Self::User {
            let mut chown = Command::new("chown");
            let given = chown.args(["-R", "1000:1000"]).arg(folder).status().context("no chown")?;
            ensure!(given.success(), "{} cannot be given to a user", folder.display());
        }
        Ok(())
    }
}
