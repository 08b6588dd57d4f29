//! The programs of the object: loaded as often as there are maps of their own, attached to one cgroup or many.

use std::os::fd::BorrowedFd;

use aya::{
    Ebpf, EbpfLoader,
    maps::HashMap,
    programs::{
        CgroupAttachMode, Program, ProgramError, cgroup_sock::CgroupSockLink,
        cgroup_sock_addr::CgroupSockAddrLink, sock_ops::SockOpsLink,
    },
};

use crate::{EbpfError, OBJECT, origins::Origins};

/// All programs of the object, in the kernel.
#[derive(Debug)]
pub(crate) struct Programs(Ebpf);

/// One program at one cgroup; dropped, it is detached.
#[derive(Debug)]
pub(crate) enum ProgramLink {
    Sock(#[expect(dead_code, reason = "held for its end")] CgroupSockLink),
    SockAddr(#[expect(dead_code, reason = "held for its end")] CgroupSockAddrLink),
    SockOps(#[expect(dead_code, reason = "held for its end")] SockOpsLink),
}

impl Programs {
    /// Loads them with the maps and constants that `loader` makes.
    pub(crate) fn load(loader: &mut EbpfLoader<'_>) -> Result<Self, EbpfError> {
        let mut all =
            loader.load(OBJECT).map_err(|error| load_error("the programs' maps", error))?;
        for (name, program) in all.programs_mut() {
            load(program).map_err(|error| load_error(name, error))?;
        }
        Ok(Self(all))
    }

    /// Attaches all for as long as the links are held; what was attached before a failure is detached again.
    #[must_use = "a link that is dropped is detached"]
    pub(crate) fn attach(&mut self, cgroup: BorrowedFd<'_>) -> Result<Vec<ProgramLink>, EbpfError> {
        let attach_one = |(name, program): (&str, &mut Program)| {
            attach(program, cgroup).map_err(|error| EbpfError::Attach {
                program: name.to_owned(),
                source: Box::new(error),
            })
        };
        self.0.programs_mut().map(attach_one).collect()
    }

    /// Takes the list of redirected connections out of the object.
    pub(crate) fn origins(&mut self) -> Result<Origins, EbpfError> {
        let map = self.0.take_map("ORIGINAL").ok_or(EbpfError::Object("the map ORIGINAL"))?;
        HashMap::try_from(map).map(Origins::new).map_err(|error| load_error("ORIGINAL", error))
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the object holds these three kinds, and a new one is refused"
)]
fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::CgroupSock(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::SockOps(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// `Single` sets no flag: links are always multiple, and the kernel refuses the flags of the older interface.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the object holds these three kinds, and a new one is refused"
)]
fn attach(program: &mut Program, cgroup: BorrowedFd<'_>) -> Result<ProgramLink, ProgramError> {
    const MODE: CgroupAttachMode = CgroupAttachMode::Single;
    match program {
        Program::CgroupSock(program) => {
            let id = program.attach(cgroup, MODE)?;
            program.take_link(id).map(ProgramLink::Sock)
        }
        Program::CgroupSockAddr(program) => {
            let id = program.attach(cgroup, MODE)?;
            program.take_link(id).map(ProgramLink::SockAddr)
        }
        Program::SockOps(program) => {
            let id = program.attach(cgroup, MODE)?;
            program.take_link(id).map(ProgramLink::SockOps)
        }
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// The kernel's "not permitted"; what its verifier refuses is EACCES (errno.h).
const EPERM: i32 = 1;

/// Sorts a failure to load into "not permitted" and "not known".
fn load_error(program: &str, error: impl std::error::Error + Send + Sync + 'static) -> EbpfError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(at) = cause {
        if let Some(io) = at.downcast_ref::<std::io::Error>()
            && io.raw_os_error() == Some(EPERM)
        {
            return EbpfError::Privilege { program: program.to_owned() };
        }
        cause = at.source();
    }
    EbpfError::Kernel { program: program.to_owned(), source: Box::new(error) }
}
