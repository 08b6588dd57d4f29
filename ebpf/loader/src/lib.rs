//! Loads the kernel programs, attaches them to one run's cgroup, and reads original destinations.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::fd::BorrowedFd,
    sync::{LazyLock, Mutex, PoisonError},
};

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{HashMap, MapData},
    programs::{CgroupAttachMode, Program, ProgramError},
};
use ebpf_shared::{Endpoint, Words};

#[cfg(test)]
mod tests;

/// The object that `cargo xtask ebpf` builds from `ebpf/programs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../programs/prebuilt/tollgate.bpf.o"
));

/// One for the process: making a loader reads and parses all types of the kernel, which takes longer than the rest,
/// although no program of ours asks for one.
static LOADER: LazyLock<Mutex<EbpfLoader<'static>>> = LazyLock::new(|| {
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    Mutex::new(loader)
});

/// Does ahead of the first [`Enforcement::attach`] what needs no run: call it on a thread when the gate starts.
///
/// Attaching without it only takes longer (some 20 ms, once in a process).
pub fn prepare() {
    LazyLock::force(&LOADER);
    aya::features();
}

/// Why a run cannot be enforced by the kernel; every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum EbpfError {
    /// The process may not load programs.
    #[error(
        "loading the kernel program {program} is not permitted: the gate needs CAP_BPF and CAP_NET_ADMIN \
         (run as root, or give both), and the kernel must not be locked down"
    )]
    Privilege {
        /// The program or map that was refused.
        program: String,
    },
    /// The kernel lacks a program type or hook.
    #[error(
        "this kernel cannot run {program}: 5.12 or newer with CONFIG_CGROUP_BPF and CONFIG_BPF_SYSCALL is needed: {source}"
    )]
    Kernel {
        /// The program or map that the kernel does not know.
        program: String,
        /// What the kernel said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The descriptor is no cgroup v2 folder, or the kernel refused to attach there.
    #[error(
        "cannot attach {program} to the run's cgroup: it must be a folder of a cgroup2 mount: {source}"
    )]
    Attach {
        /// The program.
        program: String,
        /// What the kernel said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The built object and this loader do not belong together.
    #[error("the built-in kernel object lacks {0}: rebuild it with `cargo xtask ebpf`")]
    Object(&'static str),
}

/// An endpoint as a map key and value.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Entry(Endpoint);

// SAFETY: `Endpoint` is `repr(C)`, five `u32` without padding, and every bit pattern is a value.
unsafe impl Pod for Entry {}

/// The kernel programs of one run. They are detached when this is dropped.
pub struct Enforcement {
    /// Holds the programs and their links.
    _programs: Ebpf,
    original: HashMap<MapData, Entry, Entry>,
}

impl fmt::Debug for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enforcement").finish_non_exhaustive()
    }
}

impl Enforcement {
    /// Loads all programs and attaches them to `cgroup`, an open folder of a cgroup v2 mount.
    ///
    /// From then on every socket that a process in it makes is governed. Nothing is pinned.
    ///
    /// # Errors
    /// When the kernel, the privileges or the folder do not allow it. Nothing stays attached then.
    pub fn attach(cgroup: BorrowedFd<'_>) -> Result<Self, EbpfError> {
        let mut programs = {
            let mut loader = LOADER.lock().unwrap_or_else(PoisonError::into_inner);
            loader.load(OBJECT).map_err(|error| load_error("the programs' maps", error))?
        };
        for (name, program) in programs.programs_mut() {
            load(program).map_err(|error| load_error(name, error))?;
            attach(program, cgroup).map_err(|error| EbpfError::Attach {
                program: name.to_owned(),
                source: Box::new(error),
            })?;
        }
        let original =
            programs.take_map("ORIGINAL").ok_or(EbpfError::Object("the map ORIGINAL"))?;
        let original =
            HashMap::try_from(original).map_err(|error| load_error("ORIGINAL", error))?;
        Ok(Self { _programs: programs, original })
    }

    /// Where the connection that comes from `peer` wanted to go, or nothing: then it must be closed.
    ///
    /// One system call; may be called from any thread.
    #[must_use]
    pub fn original_dst(&self, peer: SocketAddr) -> Option<SocketAddr> {
        // An error reads as "no destination", which the gate answers by closing.
        let Entry(wanted) = self.original.get(&Entry(endpoint(peer)), 0).ok()?;
        address(&wanted)
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
fn attach(program: &mut Program, cgroup: BorrowedFd<'_>) -> Result<(), ProgramError> {
    const MODE: CgroupAttachMode = CgroupAttachMode::Single;
    match program {
        Program::CgroupSock(program) => program.attach(cgroup, MODE).map(drop),
        Program::CgroupSockAddr(program) => program.attach(cgroup, MODE).map(drop),
        Program::SockOps(program) => program.attach(cgroup, MODE).map(drop),
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

fn endpoint(at: SocketAddr) -> Endpoint {
    let octets = match at.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    let (words, _) = octets.as_chunks::<4>();
    let mut address: Words = [0; 4];
    for (word, chunk) in address.iter_mut().zip(words) {
        *word = u32::from_ne_bytes(*chunk);
    }
    Endpoint { address, port: u32::from(at.port()) }
}

fn address(at: &Endpoint) -> Option<SocketAddr> {
    let mut octets = [0; 16];
    let (chunks, _) = octets.as_chunks_mut::<4>();
    for (chunk, word) in chunks.iter_mut().zip(at.address) {
        *chunk = word.to_ne_bytes();
    }
    Some(SocketAddr::new(Ipv6Addr::from(octets).to_canonical(), u16::try_from(at.port).ok()?))
}
