//! The programs of the object: loaded as often as there are maps of their own, attached to one cgroup or many.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, Map, MapData, MapError},
    programs::{Program, ProgramError},
    util::KernelVersion,
};
use ebpf_shared::{CALLED_CONSTANT, EXEMPTIONS, Exempt, NAMED_CONSTANT};
use rustix::thread::{CapabilitySet, capabilities};

use crate::{Attempts, Counters, EbpfError, OBJECT, kernel, origins::Origins};

/// What is governed, and so which programs are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Cgroups whose network has no interface, or whose packets others judge too.
    Host,
    /// A pod, whose network has interfaces that only its gate may use.
    Pod,
}

/// One program of the object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hook {
    /// Its name.
    pub(crate) program: &'static str,
    /// Where it is attached: a number of `enum bpf_attach_type` (linux/bpf.h).
    pub(crate) at: u32,
    /// Whether only pods need it.
    pod: bool,
}

const fn hook(program: &'static str, at: u32) -> Hook {
    Hook { program, at, pod: false }
}

/// All programs in the order in which they are attached: what publishes and disguises before what redirects, so that
/// nothing is redirected whose destination is not published.
pub(crate) const HOOKS: [Hook; 14] = [
    hook("established", 3),
    hook("recvmsg4", 19),
    hook("recvmsg6", 20),
    hook("getpeername4", 29),
    hook("getpeername6", 30),
    hook("bind4", 8),
    hook("bind6", 9),
    hook("sock_create", 2),
    Hook { program: "setsockopt", at: 22, pod: true },
    hook("sendmsg4", 14),
    hook("sendmsg6", 15),
    hook("connect4", 10),
    hook("connect6", 11),
    Hook { program: "egress", at: 1, pod: true },
];

impl Scope {
    /// The programs that it needs.
    pub(crate) fn hooks(self) -> impl Iterator<Item = Hook> {
        HOOKS.into_iter().filter(move |hook| self == Self::Pod || !hook.pod)
    }
}

/// All programs of a scope, in the kernel.
#[derive(Debug)]
pub(crate) struct Programs {
    object: Ebpf,
    scope: Scope,
}

impl Programs {
    /// Loads them with the maps and constants that `loader` makes.
    pub(crate) fn load(loader: &mut EbpfLoader<'_>, scope: Scope) -> Result<Self, EbpfError> {
        loader.override_global(NAMED_CONSTANT, if is_named() { &1_u32 } else { &0_u32 }, true);
        loader.override_global(CALLED_CONSTANT, if is_called() { &1_u32 } else { &0_u32 }, true);
        let mut object =
            loader.load(OBJECT).map_err(|error| load_error("the programs' maps", error))?;
        for Hook { program, .. } in scope.hooks() {
            let found = object.program_mut(program).ok_or(EbpfError::Object(program))?;
            load(found).map_err(|error| load_error(program, error))?;
        }
        Ok(Self { object, scope })
    }

    /// Attaches all for as long as the links are held; what was attached before a failure is detached again.
    #[must_use = "a link that is dropped is detached"]
    pub(crate) fn attach(&self, cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, EbpfError> {
        self.scope.hooks().map(|hook| self.attach_one(hook, cgroup)).collect()
    }

    /// Attaches one.
    pub(crate) fn attach_one(
        &self,
        hook: Hook,
        cgroup: BorrowedFd<'_>,
    ) -> Result<OwnedFd, EbpfError> {
        kernel::attach(self.descriptor(hook)?, cgroup, hook.at)
            .map_err(|error| EbpfError::Attach { program: hook.program.to_owned(), source: error })
    }

    /// The programs by their hooks.
    pub(crate) fn hooks(&self) -> impl Iterator<Item = Hook> {
        self.scope.hooks()
    }

    /// A loaded program's descriptor.
    pub(crate) fn descriptor(&self, hook: Hook) -> Result<BorrowedFd<'_>, EbpfError> {
        let program = self.object.program(hook.program).ok_or(EbpfError::Object(hook.program))?;
        let fd = program.fd().map_err(|error| load_error(hook.program, error))?;
        Ok(fd.as_fd())
    }

    /// Makes exactly `keys` the members of a set, a map of this name from keys to 1.
    pub(crate) fn fill<K: Pod + PartialEq>(
        &mut self,
        name: &'static str,
        keys: &[K],
    ) -> Result<(), EbpfError> {
        let mut set = self.take_as::<HashMap<_, _, _>>(name)?;
        fill(&mut set, keys).map_err(|error| EbpfError::Map { name, source: Box::new(error) })
    }

    /// Takes the list of redirected connections out of the object.
    pub(crate) fn origins(&mut self) -> Result<Origins, EbpfError> {
        self.take_as("ORIGINAL").map(Origins::new)
    }

    /// Takes the ring of refused attempts out of the object.
    pub(crate) fn attempts(&mut self) -> Result<Attempts, EbpfError> {
        self.take_as("EVENTS").map(Attempts::new)
    }

    /// Takes the counts of refused attempts out of the object.
    pub(crate) fn counters(&mut self) -> Result<Counters, EbpfError> {
        self.take_as("COUNTERS").map(Counters::new)
    }

    /// Takes a map out of the object.
    pub(crate) fn take_as<T: TryFrom<Map, Error = MapError>>(
        &mut self,
        name: &'static str,
    ) -> Result<T, EbpfError> {
        let map = self.object.take_map(name).ok_or(EbpfError::Object(name))?;
        T::try_from(map).map_err(|error| load_error(name, error))
    }
}

/// Makes exactly `cgroups` exempt.
pub(crate) fn exempt(mut map: Array<MapData, Exempt>, cgroups: &[u64]) -> Result<(), EbpfError> {
    const NAME: &str = "EXEMPT";
    let mut all = [0; EXEMPTIONS];
    if cgroups.len() > all.len() {
        return Err(EbpfError::Map {
            name: NAME,
            source: "four cgroups are exempt at most".into(),
        });
    }
    for (to, from) in all.iter_mut().zip(cgroups) {
        *to = *from;
    }
    map.set(0, all, 0).map_err(|error| EbpfError::Map { name: NAME, source: Box::new(error) })
}

/// What is new comes in before what is old goes out.
fn fill<K: Pod + PartialEq>(
    set: &mut HashMap<MapData, K, u32>,
    keys: &[K],
) -> Result<(), MapError> {
    for key in keys {
        set.insert(key, 1, 0)?;
    }
    let old: Vec<K> = set.keys().collect::<Result<_, _>>()?;
    for key in old.iter().filter(|key| !keys.contains(key)) {
        set.remove(key)?;
    }
    Ok(())
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the object holds these kinds, and a new one is refused"
)]
fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::CgroupSock(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSockopt(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        Program::SockOps(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Whether the kernel names the process to a program at a socket option, as it does since 6.1; a version that cannot
/// be read is taken for an old one.
fn is_named() -> bool {
    matches!(KernelVersion::current(), Ok(now) if now >= KernelVersion::new(6, 1, 0))
}

/// Whether programs that this process loads may ask for the name of the calling process.
fn is_called() -> bool {
    let wanted = CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN;
    capabilities(None).is_ok_and(|has| has.effective.intersects(wanted))
}

/// The kernel's "not permitted"; what its verifier refuses is EACCES (errno.h).
const EPERM: i32 = 1;

/// Sorts a failure to load into "not permitted" and "not known".
pub(crate) fn load_error(
    program: &str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> EbpfError {
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
