//! What most commands take, and what they do with it.

use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::Failure;
use crate::folder::{Make, StateFolder};
use crate::ledger_view::{LedgerView, ViewError};
use crate::service;

/// Where the configuration lies unless something else is said.
pub(crate) const CONFIG: &str = "/etc/tollgate/tollgate.yaml";

/// Flags that most commands have.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// The state folder; `$XDG_STATE_HOME/tollgate` where not given, as root /var/lib/tollgate
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,

    /// The configuration of a `tollgate serve`, which says where its state and its key lie;
    /// /etc/tollgate/tollgate.yaml where that is there and names this state folder
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG", conflicts_with = "state")]
    pub(crate) config: Option<PathBuf>,

    /// Print JSON: one document, or one line an item
    #[arg(long)]
    pub(crate) json: bool,
}

impl Common {
    /// Where the state folder lies.
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        match &self.config {
            Some(file) => Ok(service::configuration(file).map_err(Failure::no)?.state),
            None => Ok(self.state.clone().map_or_else(StateFolder::default_path, Ok)?),
        }
    }

    /// The state folder, which must be there.
    pub(crate) fn folder(&self) -> Result<StateFolder, Failure> {
        self.open(Make::Never)
    }

    /// The state folder, made if it is not there.
    pub(crate) fn folder_or_new(&self) -> Result<StateFolder, Failure> {
        self.open(Make::IfAbsent)
    }

    fn open(&self, make: Make) -> Result<StateFolder, Failure> {
        if let Some(file) = &self.config {
            let config = service::configuration(file).map_err(Failure::no)?;
            return service::state_folder(&config, make).map_err(Failure::could_not);
        }
        let path = self.path()?;
        let usual = Path::new(CONFIG).exists().then(|| service::configuration(Path::new(CONFIG)));
        match usual {
            Some(Ok(config)) if config.state == path => {
                service::state_folder(&config, make).map_err(Failure::could_not)
            }
            // A faulty configuration must not keep anybody from setting a kill switch.
            Some(Ok(_) | Err(_)) | None => Ok(StateFolder::open(&path, make, None)?),
        }
    }

    /// The ledger, from its first entry.
    pub(crate) fn ledger(&self) -> Result<LedgerView, Failure> {
        LedgerView::open(&self.folder()?).map_err(Failure::from)
    }
}

impl From<ViewError> for Failure {
    fn from(error: ViewError) -> Self {
        match &error {
            ViewError::Empty(_) => Self::could_not(error).then("tollgate exec -- COMMAND"),
            ViewError::Key(_) => Self::could_not(error),
            ViewError::Files(_) => Self::could_not(error).then("tollgate audit verify"),
        }
    }
}

/// Who asks, for the record: the user, and whom they logged in as where that is another one (sudo).
pub(crate) fn who_asks() -> String {
    let uid = rustix::process::getuid().as_raw();
    let login = std::fs::read_to_string("/proc/self/loginuid").ok();
    by(uid, login.and_then(|text| text.trim().parse().ok()))
}

fn by(uid: u32, login: Option<u32>) -> String {
    match login {
        // The kernel's way to say that nobody logged in.
        Some(login) if login != u32::MAX && login != uid => format!("uid {uid} (login {login})"),
        Some(_) | None => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_does_not_hide_who_logged_in() {
        assert_eq!(by(0, Some(1000)), "uid 0 (login 1000)");
        assert_eq!(by(1000, Some(1000)), "uid 1000");
        assert_eq!(by(0, Some(u32::MAX)), "uid 0");
        assert_eq!(by(0, None), "uid 0");
    }
}
