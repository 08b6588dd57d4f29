//! An upgrade in place: the new process takes the old one's listening sockets, and what is connecting
//! waits in their backlog until the old one has ended and the new one has the ledger.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::ServeError;
use super::listeners::{Role, fits};
use crate::folder::StateFolder;
use crate::gate::client;
use crate::gate::protocol::{Answer, Ask};

/// How long the gate before may take to end: its drain may last an hour at most.
const LONGEST: Duration = Duration::from_secs(3660);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// Sockets of the gate before.
#[derive(Debug)]
pub(crate) struct TakenOver(Vec<(Role, SocketAddr, OwnedFd)>);

impl TakenOver {
    /// There was no gate before.
    pub(super) const fn nothing() -> Self {
        Self(Vec::new())
    }

    /// The socket for `role` at `at`, if there is one.
    pub(super) fn take(&mut self, role: Role, at: SocketAddr) -> Option<OwnedFd> {
        let place = self.0.iter().position(|(is, bound, _)| (*is, *bound) == (role, at))?;
        let (_, _, socket) = self.0.swap_remove(place);
        fits(role, &socket).then_some(socket)
    }
}

/// Asks the gate that serves this folder to hand over, and waits until it has ended.
///
/// # Errors
///
/// No service answers there, or it does not end.
pub(super) fn take_over(state: &StateFolder) -> Result<TakenOver, ServeError> {
    let failed = |why: String| ServeError::Named { path: "--upgrade".to_owned(), why };
    let conn = client::connect(state).map_err(|error| failed(error.to_string()))?;
    let Some(mut conn) = conn else {
        tracing::info!("no gate serves this state folder: there is nothing to take over");
        return Ok(TakenOver::nothing());
    };
    let answer = client::ask(&mut conn, state, &Ask::HandOver);
    let sockets = match answer.map_err(|error| failed(error.to_string()))? {
        Answer::HandedOver { sockets } => sockets,
        Answer::Failed { what } => return Err(failed(what)),
        other => return Err(failed(format!("the gate answered {other:?}"))),
    };
    let (_, fds) = launch::recv_fds(conn.stream(), &mut [0])
        .map_err(|error| failed(format!("its sockets did not come: {error}")))?;
    if fds.len() != sockets.len() {
        return Err(failed("fewer sockets came than were announced".to_owned()));
    }
    tracing::info!(sockets = fds.len(), "the listeners are taken over; the gate before is ending");
    let begun = Instant::now();
    // It closes this connection when it has closed its ledger.
    while begun.elapsed() < LONGEST {
        match conn.receive::<Answer>() {
            Ok(None) | Err(_) => break,
            Ok(Some(_)) => std::thread::sleep(LOOK),
        }
    }
    let named = sockets.into_iter().zip(fds).map(|((role, at), fd)| (role, at, fd));
    Ok(TakenOver(named.collect()))
}
