//! Starts PID 1 inside: forks into the namespaces and executes this program anew.

use std::{
    ffi::{CString, OsString},
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use rustix::{
    fs::{Mode, OFlags},
    net::{AddressFamily, SocketFlags, SocketType},
    pipe::PipeFlags,
    thread::LinkNameSpaceType,
};

use crate::{
    cgroup::Cgroup,
    error::LaunchError,
    init::WORD,
    netns::Held,
    streams::Stream,
    sys::{self, Cloned},
    userns,
};

/// PID 1 inside, as front holds it.
#[derive(Debug)]
pub(super) struct Started {
    /// Its process descriptor.
    pub(super) process: OwnedFd,
    /// The socket to it.
    pub(super) control: OwnedFd,
    /// Our ends of the pipes that stand for sockets, by stream.
    pub(super) pipes: [Option<OwnedFd>; 3],
}

/// Everything the child needs, made before the fork, because between fork and exec it may not allocate.
struct Child<'a> {
    plan: &'a OwnedFd,
    control: OwnedFd,
    /// The network to join; nothing where the first process is made in it.
    network: Option<&'a OwnedFd>,
    streams: [Option<OwnedFd>; 3],
    share: &'a [i32],
    lister: &'a OwnedFd,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

pub(super) fn init(
    plan: &OwnedFd,
    environment: &[(OsString, OsString)],
    namespaces: &Held,
    cgroup: Option<&Cgroup>,
    streams: [Stream; 3],
    share: &[i32],
    lister: &OwnedFd,
) -> Result<Started, LaunchError> {
    let step = |error: io::Error| LaunchError::setup("starting the first process inside", error);
    let (control, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|error| step(error.into()))?;
    let (pipes, streams) = connect(streams).map_err(step)?;
    let numbers = [plan.as_raw_fd().to_string(), theirs.as_raw_fd().to_string()];
    let arguments = ["tollgate", WORD].into_iter().chain(numbers.iter().map(String::as_str));
    let child = Child {
        plan,
        control: theirs,
        network: match namespaces {
            Held::Network(network) => Some(network),
            Held::User(_) => None,
        },
        streams,
        share,
        lister,
        arguments: arguments
            .map(CString::new)
            .collect::<Result<_, _>>()
            .map_err(|error| step(error.into()))?,
        environment: environment
            .iter()
            .map(pair)
            .collect::<Result<_, _>>()
            .map_err(|error| step(error.into()))?,
    };
    let cloned = match (namespaces, cgroup) {
        // SAFETY: `front` has made sure that there is one thread.
        (Held::User(namespaces), _) => unsafe { userns::clone_into(namespaces) }?,
        (Held::Network(_), Some(cgroup)) => {
            // SAFETY: as above.
            unsafe { sys::clone_into(cgroup.as_fd()) }.map_err(step)?
        }
        (Held::Network(_), None) => return Err(step(io::Error::other("the run has no cgroup"))),
    };
    match cloned {
        Cloned::Parent(process) => Ok(Started { process, control, pipes }),
        Cloned::Child => {
            let failed = child.become_init();
            drop(failed);
            sys::exit_now(crate::OWN_FAILURE)
        }
    }
}

impl Child<'_> {
    fn become_init(&self) -> io::Result<std::convert::Infallible> {
        if let Some(network) = self.network {
            rustix::thread::move_into_link_name_space(
                network.as_fd(),
                Some(LinkNameSpaceType::Network),
            )?;
        }
        for (number, stream) in (0..).zip(&self.streams) {
            if let Some(stream) = stream {
                sys::put_at(stream.as_fd(), number)?;
            }
        }
        sys::close_all_at_exec(3)?;
        sys::keep_at_exec(self.plan.as_fd())?;
        sys::keep_at_exec(self.control.as_fd())?;
        sys::keep_at_exec(self.lister.as_fd())?;
        for &shared in self.share {
            sys::borrow(shared).and_then(sys::keep_at_exec)?;
        }
        Ok(nix::unistd::execve(c"/proc/self/exe", &self.arguments, &self.environment)?)
    }
}

type Ends = [Option<OwnedFd>; 3];

/// What stands at 0, 1 and 2 inside where it is not what we have ourselves: a pipe for a socket, and nothing yet
/// where the pseudo terminal comes. Ours and theirs.
fn connect(streams: [Stream; 3]) -> io::Result<(Ends, Ends)> {
    let mut ours = [None, None, None];
    let mut theirs = [None, None, None];
    for (number, ((stream, our), their)) in
        streams.into_iter().zip(&mut ours).zip(&mut theirs).enumerate()
    {
        match stream {
            Stream::Passed => {}
            Stream::Terminal => {
                *their = Some(rustix::fs::open(
                    "/dev/null",
                    OFlags::RDWR | OFlags::CLOEXEC,
                    Mode::empty(),
                )?);
            }
            Stream::Relayed => {
                let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
                (*our, *their) = if number == 0 {
                    (Some(writer), Some(reader))
                } else {
                    (Some(reader), Some(writer))
                };
            }
        }
    }
    Ok((ours, theirs))
}

fn pair((name, value): &(OsString, OsString)) -> Result<CString, std::ffi::NulError> {
    CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())
}
