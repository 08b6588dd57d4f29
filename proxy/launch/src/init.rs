//! PID 1 inside a run: sets up what the command sees, starts it, reaps, passes signals on.
//!
//! It is executed anew, with the command's environment; it holds its plan, a socket to front and nothing of the
//! gate. When front ends, it ends, and with it everything inside.

mod command;
mod connects;
mod dev;
mod inputs;
mod mounts;
mod supervise;

use std::{
    ffi::OsStr,
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::sys::signal::SigSet;
use rustix::process::{DumpableBehavior, Signal};

use crate::{
    message::{News, Order},
    plan, ports, sys,
};

/// The hidden first argument that makes a program be the first process inside.
pub(crate) const WORD: &str = "__init";

/// Becomes PID 1 of a run, or its connector, and never returns, if this program was started as that; otherwise does
/// nothing.
///
/// Must be the first thing in `main`, before any thread is started.
pub fn init_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    let word = arguments.next();
    if word.as_deref() == Some(OsStr::new(ports::WORD)) {
        ports::serve();
    }
    if word.as_deref() != Some(OsStr::new(WORD)) {
        return;
    }
    let mut next = || arguments.next()?.to_str()?.parse().ok();
    match (next(), next()) {
        (Some(plan), Some(control)) => init_main(plan, control),
        _ => sys::exit_now(crate::OWN_FAILURE),
    }
}

/// Runs PID 1 with the descriptors of its plan and of the socket to front.
fn init_main(plan: i32, control: i32) -> ! {
    // Only front starts a run; a command that starts this by hand is not PID 1 of a new namespace.
    if rustix::process::getpid() != rustix::process::Pid::INIT {
        sys::exit_now(crate::OWN_FAILURE);
    }
    let Ok(control) = sys::take(control) else { sys::exit_now(crate::OWN_FAILURE) };
    if let Err(text) = run(plan, &control) {
        // Without front there is nobody to tell; the exit code says the same.
        sys::tolerate(News::Failed(text).send(control.as_fd()));
        sys::exit_now(crate::OWN_FAILURE);
    }
    sys::exit_now(0);
}

fn run(plan: i32, control: &OwnedFd) -> Result<(), String> {
    harden().map_err(told("protecting the first process"))?;
    let plan = sys::take(plan).map_err(told("taking the plan"))?;
    let (plan, contents) = plan::unseal(plan).map_err(told("reading the plan"))?;
    let shared = connects::Shared::open(&plan)?;
    let read = inputs::find(&plan).map_err(told("looking at the standard streams"))?;
    mounts::arrange(&plan, &contents)?;
    drop(contents);
    inputs::narrow(&read, &plan.identity)?;
    rustix::process::setsid().map_err(io::Error::from).map_err(told("making a session"))?;
    let terminal = if plan.terminal.contains(&true) {
        let (terminal, master) =
            dev::open_terminal(&plan).map_err(told("opening a pseudo terminal"))?;
        News::Ready(Some(master)).send(control.as_fd()).map_err(told("telling front"))?;
        Some(terminal)
    } else {
        News::Ready(None).send(control.as_fd()).map_err(told("telling front"))?;
        None
    };
    let foreground = match Order::receive(control.as_fd()).map_err(told("waiting for front"))? {
        Some(Order::Start { foreground }) => foreground,
        Some(Order::Signal { .. } | Order::Continue { .. }) => {
            return Err("front spoke out of turn".to_owned());
        }
        None => return Ok(()),
    };
    let started = command::start(&plan, terminal.as_ref(), foreground, shared)?;
    supervise::until_the_end(started, terminal, control)
}

/// Not to be looked into, to die with front, and to take signals by descriptor only.
fn harden() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    SigSet::all().thread_set_mask()?;
    Ok(())
}

/// Names the step that failed.
fn told<E: std::fmt::Display>(step: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{step}: {error}")
}
