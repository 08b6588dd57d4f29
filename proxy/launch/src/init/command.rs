//! Starts the command: no privileges, no way to regain them, only the descriptors that are its own.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::net::UnixDatagram,
    },
};

use nix::sys::signal::{SigSet, Signal as NixSignal};
use rustix::{
    fs::{Mode, OFlags},
    net::{AddressFamily, SocketFlags, SocketType},
    pipe::PipeFlags,
    process::{Gid, Pid, Resource, Rlimit, Uid},
    thread::{CapabilitySet, CapabilitySets},
};

use super::{
    connects::{self, Shared},
    told,
};
use crate::{fds, form::Form, plan::Plan, seccomp, sys};

/// A command that runs, or the error number with which it could not be executed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Started {
    Running(Pid),
    NotExecuted(i32),
}

/// How the child tells why it did not become the command: by the number of exec, or in words.
const EXEC_FAILED: u8 = b'e';
const SETUP_FAILED: u8 = b's';

/// Forks and executes.
pub(super) fn start(
    plan: &Plan,
    terminal: Option<&OwnedFd>,
    foreground: bool,
    shared: Shared,
) -> Result<Started, String> {
    if let Some(terminal) = terminal {
        rustix::process::ioctl_tiocsctty(terminal).map_err(told("taking the terminal"))?;
    }
    let program = c_string(plan.program.bytes())?;
    let mut arguments = vec![program.clone()];
    for argument in &plan.arguments {
        arguments.push(c_string(argument.bytes())?);
    }
    let datagrams = datagrams_are_refused();
    let (ours, theirs) = handover().map_err(told("making a socket pair"))?;
    let (reader, writer) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(told("making a pipe"))?;
    // SAFETY: PID 1 inside has one thread.
    let child = unsafe { sys::fork() }.map_err(told("forking"))?;
    let Some(child) = child else {
        let error =
            become_command(plan, terminal, foreground, datagrams, &theirs, (&program, &arguments));
        // Front learns of a failure to write by the pipe's end without a word.
        sys::tolerate(File::from(writer).write_all(&error));
        sys::exit_now(crate::OWN_FAILURE);
    };
    drop((writer, theirs));
    let (_, listener) =
        fds::recv(ours.as_fd(), &mut [0]).map_err(told("waiting for the filter"))?;
    release_streams(&plan.share).map_err(told("letting the streams go"))?;
    let mut word = Vec::new();
    File::from(reader).read_to_end(&mut word).map_err(told("waiting for the command"))?;
    match word.split_first() {
        None => {
            let listener = listener.into_iter().next().ok_or("the filter has no listener")?;
            connects::serve(listener, shared, plan)?;
            Ok(Started::Running(child))
        }
        Some((&EXEC_FAILED, number)) => {
            let number =
                <[u8; 4]>::try_from(number).map_err(told("reading why the command failed"))?;
            Ok(Started::NotExecuted(i32::from_le_bytes(number)))
        }
        Some((_, text)) => Err(String::from_utf8_lossy(text).into_owned()),
    }
}

/// In the child: never returns but with the reason why it could not.
fn become_command(
    plan: &Plan,
    terminal: Option<&OwnedFd>,
    foreground: bool,
    datagrams: bool,
    listener: &OwnedFd,
    (program, arguments): (&CString, &[CString]),
) -> Vec<u8> {
    let confined = prepare(plan, terminal, foreground).and_then(|()| confine(datagrams, listener));
    if let Err(text) = confined {
        return std::iter::once(SETUP_FAILED).chain(text.into_bytes()).collect();
    }
    let Err(number) = execute(program, arguments);
    std::iter::once(EXEC_FAILED).chain((number as i32).to_le_bytes()).collect()
}

/// With this process's environment, which is the command's, and its PATH.
fn execute(
    program: &CString,
    arguments: &[CString],
) -> Result<std::convert::Infallible, nix::errno::Errno> {
    nix::unistd::execvp(program, arguments)
}

fn prepare(plan: &Plan, terminal: Option<&OwnedFd>, foreground: bool) -> Result<(), String> {
    rustix::process::setpgid(None, None).map_err(told("making a process group"))?;
    if let Some(terminal) = terminal {
        if foreground {
            rustix::termios::tcsetpgrp(terminal, rustix::process::getpid())
                .map_err(told("taking the foreground"))?;
        }
        for (number, _) in (0..).zip(plan.terminal).filter(|(_, is_terminal)| *is_terminal) {
            sys::put_at(terminal.as_fd(), number).map_err(told("placing the terminal"))?;
        }
    }
    sys::close_all_at_exec(3).map_err(told("closing descriptors"))?;
    for &number in &plan.share {
        sys::borrow(number).and_then(sys::keep_at_exec).map_err(told("sharing a descriptor"))?;
    }
    leave_no_core().map_err(told("limiting core dumps"))?;
    drop_privileges(plan)?;
    enter_folder(plan)?;
    sys::empty_session_keyring().map_err(told("emptying the session keyring"))?;
    restore_signals(plan).map_err(told("restoring signals"))
}

/// Where the kernel hands the memory of what crashes to a program outside, which may send it on as a report.
fn leave_no_core() -> io::Result<()> {
    let pattern = match std::fs::read("/proc/sys/kernel/core_pattern") {
        Ok(pattern) => pattern,
        // A kernel without core dumps.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if let Some(limit) = core_limit(&pattern) {
        rustix::process::setrlimit(Resource::Core, limit)?;
    }
    Ok(())
}

/// One byte is how a process says that no program is to be started for it (core(5)). Files are written with the rights
/// of who crashed, and stay.
fn core_limit(pattern: &[u8]) -> Option<Rlimit> {
    pattern.starts_with(b"|").then_some(Rlimit { current: Some(1), maximum: Some(1) })
}

/// Nothing after this may need a refused call.
fn confine(datagrams: bool, listener_to: &OwnedFd) -> Result<(), String> {
    rustix::thread::set_no_new_privs(true).map_err(told("giving up new privileges"))?;
    let listener = sys::install_filter(&seccomp::filter(datagrams)).map_err(|error| {
        if error.raw_os_error() == Some(libc::EBUSY) {
            "this runs below another program that watches connects (another governed run, or a container that \
             intercepts system calls): one cannot be put inside the other"
                .to_owned()
        } else {
            told("installing the system call filter")(error)
        }
    })?;
    fds::send(listener_to.as_fd(), b"l", &[listener.as_fd()])
        .map_err(told("handing the filter over"))
}

/// By which the filter's listener comes to PID 1.
fn handover() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None)
}

/// Whether the kernel programs of this run's cgroup refuse datagrams that name their Unix socket: tried, because
/// only what is in force counts. Nobody has this name in the run's network namespace.
fn datagrams_are_refused() -> bool {
    let nobody = std::os::unix::net::SocketAddr::from_abstract_name(b"tollgate-nobody");
    let sent = nobody.and_then(|nobody| UnixDatagram::unbound()?.send_to_addr(b"?", &nobody));
    sent.is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
}

/// All capabilities from every set, then the user's ids; in this order, because the second cannot undo the first.
fn drop_privileges(plan: &Plan) -> Result<(), String> {
    for bit in 0..64_u32 {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // Numbers from here on are no capabilities of this kernel.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(format!("dropping capability {bit}: {error}")),
        }
    }
    let identity = &plan.identity;
    // In a user namespace groups are what they were, and cannot be set.
    if plan.form == Form::KernelPrograms {
        let groups: Vec<Gid> = identity.groups.iter().map(|&group| Gid::from_raw(group)).collect();
        rustix::thread::set_thread_groups(&groups).map_err(told("setting groups"))?;
    }
    let gid = Gid::from_raw(identity.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(told("setting the group"))?;
    let uid = Uid::from_raw(identity.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(told("setting the user"))?;
    rustix::thread::clear_ambient_capability_set()
        .map_err(told("clearing ambient capabilities"))?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).map_err(told("clearing capabilities"))
}

/// The working folder, opened anew below the masks and as the user; it must be the one `exec` was called in.
fn enter_folder(plan: &Plan) -> Result<(), String> {
    let path = plan.folder.as_path();
    let failed = |error: rustix::io::Errno| {
        format!("entering the working folder {}: {error}", path.display())
    };
    rustix::process::chdir("/").map_err(failed)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
    let stat = rustix::fs::fstat(&folder).map_err(failed)?;
    if (stat.st_dev, stat.st_ino) != plan.folder_inode {
        return Err(format!(
            "the working folder {} was replaced, or is one that is absent inside",
            path.display()
        ));
    }
    rustix::process::fchdir(&folder).map_err(failed)
}

/// As they were when `exec` was called; Rust's own start-up had SIGPIPE ignored.
fn restore_signals(plan: &Plan) -> io::Result<()> {
    sys::default_action(libc::SIGPIPE)?;
    let mut blocked = SigSet::empty();
    for &number in &plan.blocked {
        blocked.add(NixSignal::try_from(number)?);
    }
    Ok(blocked.thread_set_mask()?)
}

/// The streams are the command's alone: its reader sees the end when it closes them.
fn release_streams(shared: &[i32]) -> io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    for number in 0..3 {
        sys::put_at(null.as_fd(), number)?;
    }
    for &number in shared {
        drop(sys::take(number)?);
    }
    Ok(())
}

fn c_string(bytes: &[u8]) -> Result<CString, String> {
    CString::new(bytes).map_err(told("an argument of the command"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_started_for_what_crashes_and_files_stay() {
        let none = Rlimit { current: Some(1), maximum: Some(1) };
        assert_eq!(core_limit(b"|/usr/lib/systemd/systemd-coredump %P\n"), Some(none));
        assert_eq!(core_limit(b"core.%p\n"), None);
    }
}
