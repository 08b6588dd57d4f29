//! How the process of `exec`'s gate starts, serves until its last connection closes, and ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::Gate;
use super::open::{self, StartError, system};
use super::serve::{self, Until};
use crate::folder::StateFolder;
use crate::gate::socket::{Listener, Place, StateKey};
use crate::gate::start::Start;

/// How long a new gate waits for whoever started it.
const FIRST_CALL: Duration = Duration::from_secs(20);

/// The gate's process, from its start to its end. Returns the exit code.
#[must_use]
pub fn run(start: Start) -> u8 {
    let Start { state, readiness } = start;
    match Running::start(&state) {
        Ok(running) => {
            readiness.ready();
            running.until_nobody_is_left();
            0
        }
        Err(StartError::Busy) => {
            readiness.busy();
            3
        }
        Err(error) => {
            tracing::error!(%error, "the gate cannot start");
            readiness.failed(&error.to_string());
            3
        }
    }
}

/// A gate that serves.
struct Running {
    gate: Arc<Gate>,
    listener: Listener,
    key: StateKey,
    traffic: Runtime,
}

impl Running {
    fn start(state: &StateFolder) -> Result<Self, StartError> {
        let (gate, key, _views) = open::open(state)?;
        let place = Place::of(state).map_err(|error| StartError::Key(error.to_string()))?;
        let listener = Listener::bind(place).map_err(system("listening for the command line"))?;
        Ok(Self { gate, listener, key, traffic: open::traffic()? })
    }

    /// Serves connections, each on a thread of its own, and ends with the last of them.
    fn until_nobody_is_left(self) {
        let Self { gate, listener, key, traffic } = self;
        let handle = traffic.handle().clone();
        serve::serve(&gate, &listener, &key, &handle, &Until::NobodyIsLeft(FIRST_CALL));
        // From here on a client finds no socket, and starts a gate of its own once the ledger's lock is free.
        drop(listener);
        gate.journal.flush(true);
        traffic.shutdown_timeout(Duration::from_secs(1));
        gate.journal.ledger().close();
    }
}
