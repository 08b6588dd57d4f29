//! The user's side of a run: sets it up, starts PID 1 inside, stays until it has ended.

mod pump;
mod relay;
mod spawn;
mod terminal;

use std::{
    error::Error,
    ffi::OsString,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use rustix::thread::CapabilitySet;

use crate::{
    cgroup::Cgroup,
    error::LaunchError,
    form::Form,
    netns::Network,
    plan::{self, Hidden, Overlaid, Plan, Text},
    run::{Absent, Ended, Prepared, Registration, Spec},
    sockets::{self, Sockets},
    streams::{self, Stream},
    sys,
};

/// What the form with kernel programs needs, and what for: namespaces and mounts, network, the user's ids, the bounding
/// set, the terminal.
pub const NEEDED: &[(CapabilitySet, &str)] = &[
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE"),
    (CapabilitySet::SETUID, "CAP_SETUID"),
    (CapabilitySet::SETGID, "CAP_SETGID"),
    (CapabilitySet::SETPCAP, "CAP_SETPCAP"),
    (CapabilitySet::CHOWN, "CAP_CHOWN"),
    (CapabilitySet::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"),
];

/// Runs a command behind the gate and returns when it has ended.
///
/// `register` hands the run to the gate and returns what goes inside; it is called once, before anything runs, and
/// the kernel programs must be attached to [`Registration::cgroup`], where there is one, when it returns. While the command runs, this
/// process relays its terminal, signals and sockets; its own standard input and output are `/dev/null` from then
/// on, so that the other ends of the command's pipes see when the command closes them. Standard error is kept.
///
/// # Errors
/// When the run cannot be set up, or the gate ends; the command is not running any more then. Exit with
/// [`crate::OWN_FAILURE`].
pub fn front<F>(spec: Spec, register: F) -> Result<Ended, LaunchError>
where
    F: FnOnce(&Registration<'_>) -> Result<Prepared, Box<dyn Error + Send + Sync>>,
{
    let form = Form::of_this_process()?;
    require_one_thread()?;
    let streams = streams::sort()?;
    streams::check_shared(&spec.share)?;
    let lister = sockets::lister()
        .map_err(|error| LaunchError::setup("opening the list of sockets", error))?;
    let sockets = sockets::look(&spec, lister.as_raw_fd())?;
    let network = Network::create(form, &spec.ports.clone().checked()?)?;
    let cgroup = match form {
        Form::KernelPrograms => Some(Cgroup::create().map_err(|why| LaunchError::Cgroup { why })?),
        Form::UserNamespace => None,
    };
    let share = spec.share.clone();
    let registration = Registration {
        form,
        listeners: &network.listeners,
        cgroup: cgroup.as_ref().map(AsFd::as_fd),
    };
    let prepared = register(&registration).map_err(LaunchError::Gate)?;
    let Network { namespaces, listeners } = network;
    drop(listeners);

    let blocked = sys::blocked_signals()
        .map_err(|error| LaunchError::setup("reading the blocked signals", error))?;
    let (plan, environment, gate_alive) =
        write_plan(form, spec, prepared, sockets, streams, blocked)?;
    let signals = relay::Signals::block()?;
    let started =
        spawn::init(&plan, &environment, &namespaces, cgroup.as_ref(), streams, &share, &lister)?;
    drop((plan, namespaces, lister));
    let ended = relay::until_the_end(started, streams, &signals, gate_alive);
    drop(cgroup);
    ended
}

/// The first process inside is a fork of this one until it executes anew.
pub(crate) fn require_one_thread() -> Result<(), LaunchError> {
    let threads = std::fs::read_dir("/proc/self/task")
        .map_err(|error| LaunchError::setup("counting threads", error))?
        .count();
    if threads == 1 { Ok(()) } else { Err(LaunchError::Threads) }
}

type Environment = Vec<(OsString, OsString)>;

/// The sealed plan, the command's environment, and the sign of the gate's life.
fn write_plan(
    form: Form,
    spec: Spec,
    prepared: Prepared,
    sockets: Sockets,
    streams: [Stream; 3],
    blocked: Vec<i32>,
) -> Result<(OwnedFd, Environment, Option<OwnedFd>), LaunchError> {
    let failed = |error: std::io::Error| LaunchError::setup("writing the plan of the run", error);
    let folder = rustix::fs::stat(&spec.folder).map_err(|error| failed(error.into()))?;
    let environment = edited(spec.environment, prepared.environment);
    let home =
        environment.iter().find(|(name, _)| name == "HOME").map(|(_, home)| home.clone().into());
    let files = prepared.covers.iter().map(|cover| Overlaid {
        path: cover.path.clone().into(),
        mode: cover.mode,
        owner: cover.owner,
        len: cover.bytes.len(),
    });
    let absent = spec.places.absent.into_iter().map(|path| Absent { path, inode: None });
    let hidden = prepared
        .absent
        .into_iter()
        .chain(absent)
        .map(|absent| Hidden { path: absent.path.into(), inode: absent.inode });
    let plan = Plan {
        program: spec.program.into(),
        arguments: spec.arguments.into_iter().map(Text::from).collect(),
        folder: spec.folder.into(),
        folder_inode: (folder.st_dev, folder.st_ino),
        home,
        form,
        identity: spec.identity,
        files: files.collect(),
        read_only: prepared.read_only.into_iter().map(Text::from).collect(),
        hidden: hidden.collect(),
        fixed: spec.places.fixed.into_iter().map(Text::from).collect(),
        held: spec.places.held.into_iter().map(Text::from).collect(),
        write: spec.write.into_iter().map(Text::from).collect(),
        share: spec.share,
        sockets,
        terminal: streams.map(|stream| stream == Stream::Terminal),
        blocked,
    };
    let contents: Vec<&[u8]> = prepared.covers.iter().map(|cover| cover.bytes.as_slice()).collect();
    let sealed = plan::seal(&plan, &contents).map_err(failed)?;
    Ok((sealed, environment, prepared.gate_alive))
}

fn edited(mut environment: Environment, edits: Vec<(OsString, Option<OsString>)>) -> Environment {
    for (name, value) in edits {
        environment.retain(|(other, _)| *other != name);
        if let Some(value) = value {
            environment.push((name, value));
        }
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_replaces_adds_and_removes() {
        let before = vec![("A".into(), "1".into()), ("B".into(), "2".into())];
        let edits = vec![
            ("A".into(), None),
            ("B".into(), Some("3".into())),
            ("C".into(), Some("4".into())),
        ];
        assert_eq!(edited(before, edits), [("B".into(), "3".into()), ("C".into(), "4".into())]);
    }
}
