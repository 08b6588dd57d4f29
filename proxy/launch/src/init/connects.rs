//! Connects sockets on behalf of everything that runs inside, so that none reaches a program outside.
//!
//! The command's filter hands each `connect` to this process and lets none through. The address is copied once; what
//! it names is looked up as the caller would; and what was looked at is what the caller's socket is then connected
//! to. This is done by PID 1 itself, which nothing inside can kill: if the filter lost its supervisor, the command
//! could install one of its own that lets every call pass. So the calls end only with the run.

mod act;
mod caller;
mod identity;
mod made;
mod notification;
mod walk;

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rustix::process::{Resource, Rlimit};

use self::{identity::Own, notification::Listener};
use super::told;
use crate::{plan::Plan, sys};

/// Threads that wait for the next call when a run begins.
const FIRST: usize = 2;
/// As many connects may wait for their other side at once; what comes then waits for one of them.
const MOST: usize = 512;
/// No call goes deep, and no buffer lies on the stack.
const STACK: usize = 128 << 10;

/// What all threads share.
#[derive(Debug)]
struct Supervisor {
    listener: Listener,
    own: Own,
    /// Files of programs outside that may be connected to; held open, so that no other file gets their number.
    shared: Vec<((u64, u64), OwnedFd)>,
    /// Lists the sockets of the network namespace that `exec` was called in.
    outside: Mutex<made::Lister>,
    idle: AtomicUsize,
    threads: AtomicUsize,
}

/// What is opened before the masks of `/dev` and `/proc` may cover it.
#[derive(Debug)]
pub(super) struct Shared(Vec<((u64, u64), OwnedFd)>);

impl Shared {
    /// Opens the sockets that are shared, each of which must still be the file that it was.
    pub(super) fn open(plan: &Plan) -> Result<Self, String> {
        let all = plan.sockets.shared.iter().map(|shared| {
            let path = shared.path.as_path();
            let failed =
                |error: io::Error| format!("sharing the socket {}: {error}", path.display());
            let file = super::mounts::open_target(path).map_err(failed)?;
            let stat = rustix::fs::fstat(&file).map_err(|error| failed(error.into()))?;
            if (stat.st_dev, stat.st_ino) != shared.inode {
                return Err(format!("the socket {} was replaced", path.display()));
            }
            Ok((shared.inode, file))
        });
        Ok(Self(all.collect::<Result<_, _>>()?))
    }
}

/// Takes up the calls that come from `listener`, until this process ends.
pub(super) fn serve(listener: OwnedFd, shared: Shared, plan: &Plan) -> Result<(), String> {
    // Each connect under way holds a few descriptors, and the command may have been given few.
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let highest = Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(Resource::Nofile, highest).map_err(told("raising a limit"))?;
    let outside = sys::take(plan.sockets.outside).map_err(told("taking the list of sockets"))?;
    let supervisor = Arc::new(Supervisor {
        listener: Listener::new(listener),
        own: Own::current().map_err(told("reading who this is"))?,
        shared: shared.0,
        outside: Mutex::new(made::Lister::new(outside)),
        idle: AtomicUsize::new(0),
        threads: AtomicUsize::new(0),
    });
    for _ in 0..FIRST {
        start(&supervisor).map_err(told("starting a thread"))?;
    }
    Ok(())
}

fn start(supervisor: &Arc<Supervisor>) -> io::Result<()> {
    supervisor.threads.fetch_add(1, Ordering::Relaxed);
    supervisor.idle.fetch_add(1, Ordering::Relaxed);
    let theirs = Arc::clone(supervisor);
    let started = thread::Builder::new().stack_size(STACK).spawn(move || work(&theirs));
    if started.is_err() {
        supervisor.threads.fetch_sub(1, Ordering::Relaxed);
        supervisor.idle.fetch_sub(1, Ordering::Relaxed);
    }
    started.map(drop)
}

/// One call after the other. A call that waits for its other side keeps its thread, so there is always one more.
fn work(supervisor: &Arc<Supervisor>) {
    loop {
        let call = match supervisor.listener.next() {
            Ok(Some(call)) => call,
            Ok(None) => continue,
            // Nothing lives under the filter any more.
            Err(_) => return,
        };
        let last = supervisor.idle.fetch_sub(1, Ordering::Relaxed) == 1;
        if last && supervisor.threads.load(Ordering::Relaxed) < MOST {
            // Without another thread this one goes on alone.
            sys::tolerate(start(supervisor));
        }
        let answer = supervisor.connect(&call);
        // Where the caller is gone there is nobody to answer.
        sys::tolerate(supervisor.listener.answer(&call, answer));
        supervisor.idle.fetch_add(1, Ordering::Relaxed);
    }
}
