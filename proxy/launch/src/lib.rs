//! Starts a command inside namespaces that have no way out but the gate, and relays its terminal, signals and end.
//!
//! [`front`] runs in the user's `tollgate exec`. It opens the gate's listeners inside a new network namespace and
//! hands them, with the run's cgroup, to a callback that registers the run with the gate. It then starts PID 1 of
//! the new namespaces, this same program executed anew: a program that calls [`front`] calls [`init_if_asked`]
//! first thing in `main`. This crate knows nothing of policy, HTTP or credentials.
//!
//! **Invariants.** Nothing of the gate or of the caller's environment is inside but what [`Prepared`] names. The
//! command has no capability and cannot gain one. When front or the gate ends, everything inside ends.

mod cgroup;
mod error;
mod fds;
mod form;
mod front;
mod identity;
mod init;
mod listeners;
mod message;
mod mountinfo;
mod netns;
mod places;
mod plan;
mod ports;
mod redirect;
mod run;
mod seccomp;
mod sockets;
pub mod state;
mod streams;
mod sys;
mod turns;
mod userns;

pub use cgroup::{Cgroup, CgroupMount, cgroup_mounts, own_cgroup};
pub use error::LaunchError;
pub use fds::{MOST_DESCRIPTORS, recv_fds, send_fds};
pub use form::Form;
pub use front::{NEEDED, front};
pub use identity::Identity;
pub use init::init_if_asked;
pub use listeners::{DNS_PORT, INTAKE_PORT, Listeners, RESPONDER_PORT};
pub use mountinfo::{Mounted, mounts};
pub use places::Places;
pub use ports::{Connector, Ports};
pub use redirect::original_destination;
pub use run::{Absent, Cover, Ended, Prepared, Registration, Spec};
pub use turns::take_short_turns;

/// The exit code of failures that are ours and not the command's (EXPERIENCE, *Habits*).
pub const OWN_FAILURE: i32 = 125;
/// The exit code when the command was found but cannot be executed.
pub const NOT_EXECUTABLE: i32 = 126;
/// The exit code when the command was not found.
pub const NOT_FOUND: i32 = 127;
