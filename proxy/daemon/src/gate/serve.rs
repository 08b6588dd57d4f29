//! Serves the gate's socket: each connection on a thread of its own, one frame after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::runtime::Handle;

use super::protocol::{Answer, Ask};
use super::registry::{self, Registered};
use super::socket::{Conn, Listener, StateKey};
use super::{Gate, acts};

/// How often the gate looks whether anybody is left.
const LOOK: Duration = Duration::from_millis(100);

/// Serves until nobody has called for `first_call`, or the last connection has closed.
pub(super) fn until_nobody_is_left(
    gate: &Arc<Gate>,
    listener: &Listener,
    key: &StateKey,
    traffic: &Handle,
    first_call: Duration,
) {
    let open = Arc::new(AtomicUsize::new(0));
    let (begun, mut called) = (Instant::now(), false);
    loop {
        if waits(listener) {
            match listener.accept() {
                Ok(incoming) => {
                    called = true;
                    open.fetch_add(1, Ordering::AcqRel);
                    let (gate, open) = (Arc::clone(gate), Leaves(Arc::clone(&open)));
                    let (key, traffic) = (key.clone(), traffic.clone());
                    std::thread::spawn(move || {
                        match incoming.prove(&key) {
                            Ok(conn) => connection(&gate, conn, &traffic),
                            Err(error) => tracing::warn!(%error, "a client did not prove itself"),
                        }
                        drop(open);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection of the command line cannot be accepted");
                    std::thread::sleep(LOOK);
                }
            }
        }
        gate.journal.flush(false);
        let nobody = open.load(Ordering::Acquire) == 0;
        if nobody && (called || begun.elapsed() > first_call) {
            return;
        }
    }
}

/// Whether somebody calls, or did within [`LOOK`].
fn waits(listener: &Listener) -> bool {
    let mut watched = [PollFd::new(listener, PollFlags::IN)];
    let timeout = Timespec::try_from(LOOK).ok();
    poll(&mut watched, timeout.as_ref()).is_ok_and(|ready| ready > 0)
}

/// One open connection; counted off when it ends, however it ends.
struct Leaves(Arc<AtomicUsize>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Answers one connection. A run that it registered ends with it.
fn connection(gate: &Arc<Gate>, mut conn: Conn, traffic: &Handle) {
    let mut registered: Option<Registered> = None;
    loop {
        let ask = match conn.receive::<Ask>() {
            Ok(Some(ask)) => ask,
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(%error, "a client of the gate's socket broke off");
                break;
            }
        };
        let answer = match ask {
            Ask::Register(_) if registered.is_some() => failed("this connection has a run already"),
            Ask::Register(register) => match registry::register(gate, *register, &conn, traffic) {
                Ok((run, prepared)) => {
                    registered = Some(run);
                    Answer::Ready(Box::new(prepared))
                }
                Err(error) => failed(&format!("{error:#}")),
            },
            Ask::Finish { exit } => match registered.take() {
                Some(run) => Answer::Finished(Box::new(run.finish(gate, traffic, Some(exit)))),
                None => failed("no run was registered on this connection"),
            },
            Ask::Act(act) => traffic.block_on(acts::act(gate, *act)),
            Ask::Status => status(gate),
            Ask::Metrics => match gate.metrics.render() {
                Ok(text) => Answer::Metrics { text },
                Err(error) => failed(&format!("the metrics cannot be written: {error}")),
            },
        };
        if let Err(error) = conn.send(&answer) {
            tracing::warn!(%error, "a client of the gate's socket did not wait for its answer");
            break;
        }
    }
    if let Some(run) = registered {
        run.finish(gate, traffic, None);
    }
}

fn failed(what: &str) -> Answer {
    Answer::Failed { what: what.to_owned() }
}

fn status(gate: &Gate) -> Answer {
    let runs = gate.runs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let runs = runs.values().map(|run| registry::summary(gate, run)).collect();
    Answer::Status { runs, pid: std::process::id() }
}
