//! Serves the gate's socket: each connection on a thread of its own, one frame after the other.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::protocol::{Answer, Ask};
use super::registry::{self, End, Registered};
use super::socket::{Conn, Listener, StateKey};
use super::{Gate, acts};

/// How often the gate looks whether anybody is left.
const LOOK: Duration = Duration::from_millis(100);

/// After how long an old CA that could not be retired is tried again.
const TRIED_AGAIN: Duration = Duration::from_mins(1);

/// How long a gate's socket is served.
#[derive(Debug)]
pub(crate) enum Until {
    /// Until nobody has called for so long, or the last connection has closed.
    NobodyIsLeft(Duration),
    /// Until this is cancelled.
    Told(CancellationToken),
}

impl Until {
    fn is_over(&self, begun: Instant, called: bool, open: usize) -> bool {
        match self {
            Self::NobodyIsLeft(first_call) => {
                open == 0 && (called || begun.elapsed() > *first_call)
            }
            Self::Told(told) => told.is_cancelled(),
        }
    }
}

/// Serves connections, each on a thread of its own.
pub(crate) fn serve(
    gate: &Arc<Gate>,
    listener: &Listener,
    key: &StateKey,
    traffic: &Handle,
    until: &Until,
) {
    let open = Arc::new(AtomicUsize::new(0));
    let (begun, mut called) = (Instant::now(), false);
    let mut retire = begun;
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
        if Instant::now() >= retire && acts::roots::is_due(gate) {
            traffic.block_on(acts::roots::finish_what_is_due(gate));
            // Where it could not be done it is tried again, but not at each look.
            retire = Instant::now() + TRIED_AGAIN;
        }
        if until.is_over(begun, called, open.load(Ordering::Acquire)) {
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
            Ask::Finish { exit, changed } => match registered.take() {
                Some(run) => {
                    let end = End { exit: Some(exit), changed };
                    Answer::Finished(Box::new(run.finish(gate, traffic, end)))
                }
                None => failed("no run was registered on this connection"),
            },
            Ask::Act(act) => traffic.block_on(acts::act(gate, *act)),
            Ask::Status => status(gate),
            Ask::Metrics => match gate.metrics.render() {
                Ok(text) => Answer::Metrics { text },
                Err(error) => failed(&format!("the metrics cannot be written: {error}")),
            },
            Ask::Authority => Answer::Authority { roots: gate.leaves.roots() },
            Ask::HandOver => match hand_over(gate, &mut conn) {
                // Open until this process has ended, which is what the other one waits for.
                Ok(()) => continue,
                Err(error) => failed(&format!("{error:#}")),
            },
        };
        if let Err(error) = conn.send(&answer) {
            tracing::warn!(%error, "a client of the gate's socket did not wait for its answer");
            break;
        }
    }
    if let Some(run) = registered {
        run.finish(gate, traffic, End::default());
    }
}

/// Gives the listeners to the process at the other end; from then on this service is ending.
fn hand_over(gate: &Gate, conn: &mut Conn) -> anyhow::Result<()> {
    let service = gate.service.get().context("this gate is not a service: it listens nowhere")?;
    let sockets = service.hand_over().context("the gate is ending already")?;
    let named = sockets.iter().map(|(role, at, _)| (*role, *at)).collect();
    let fds: Vec<_> = sockets.iter().map(|(.., fd)| fd.as_fd()).collect();
    conn.send(&Answer::HandedOver { sockets: named })?;
    launch::send_fds(conn.stream(), &[0], &fds)?;
    service.handed_over();
    Ok(())
}

fn failed(what: &str) -> Answer {
    Answer::Failed { what: what.to_owned() }
}

fn status(gate: &Gate) -> Answer {
    let runs = gate.runs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let runs = runs.values().map(|run| registry::summary(gate, run)).collect();
    Answer::Status { runs, pid: std::process::id() }
}
