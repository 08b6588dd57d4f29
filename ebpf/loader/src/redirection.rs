//! The programs of a service, at any number of cgroups of its host.

use std::{
    net::SocketAddr,
    os::fd::{BorrowedFd, OwnedFd},
    sync::{Mutex, PoisonError, RwLock},
};

use aya::EbpfLoader;
use ebpf_shared::{INTAKE_CONSTANT, NETWORK_CONSTANT, RESPONDER_CONSTANT};

use crate::{
    Attempts, EbpfError,
    origins::{Origin, Origins},
    probe,
    programs::{Programs, Scope},
};

/// Where the gate listens, on `127.0.0.1` and `::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Redirected TCP connections arrive here.
    pub intake: u16,
    /// Questions for names, to whichever server they were, arrive here over UDP and TCP.
    pub responder: u16,
}

/// The programs, loaded once and attached to no cgroup yet. When this is dropped, nothing is attached any more.
#[derive(Debug)]
pub struct Redirection {
    programs: Programs,
    origins: RwLock<Origins>,
    attempts: Mutex<Option<Attempts>>,
}

/// All programs at one cgroup. Dropped, new sockets there go where they want.
#[derive(Debug)]
pub struct Links {
    _links: Vec<OwnedFd>,
}

impl Redirection {
    /// Loads all programs for a gate that listens at `ports` in the network namespace of the calling thread.
    ///
    /// What a process in another network namespace would send to the gate is refused with EPERM: there it would
    /// reach whoever listens at these ports. In the gate's own nobody that is attached binds them or connects to them
    /// by name.
    ///
    /// # Errors
    /// When the kernel or the privileges do not allow it.
    pub fn load(ports: Ports) -> Result<Self, EbpfError> {
        let (intake, responder) = (u32::from(ports.intake), u32::from(ports.responder));
        let network = probe::network_cookie().map_err(EbpfError::Network)?;
        let mut loader = EbpfLoader::new();
        loader
            .btf(None)
            .override_global(INTAKE_CONSTANT, &intake, true)
            .override_global(RESPONDER_CONSTANT, &responder, true)
            .override_global(NETWORK_CONSTANT, &network, true);
        let mut programs = Programs::load(&mut loader, Scope::Host)?;
        programs.fill("GATE_PORTS", &[intake, responder])?;
        let origins = RwLock::new(programs.origins()?);
        let attempts = Mutex::new(Some(programs.attempts()?));
        Ok(Self { programs, origins, attempts })
    }

    /// Attaches all programs to `cgroup`, an open folder of a cgroup v2 mount: from then on what its processes and
    /// those of the folders below connect to is redirected. Connections that are open stay as they are.
    ///
    /// Nothing is pinned: when this process ends, however it does, nothing is redirected any more.
    ///
    /// # Errors
    /// When the privileges or the folder do not allow it. Nothing stays attached there then.
    pub fn attach(&self, cgroup: BorrowedFd<'_>) -> Result<Links, EbpfError> {
        Ok(Links { _links: self.programs.attach(cgroup)? })
    }

    /// Where the connection that the intake or the responder accepted from `peer` wanted to go, and who asked; or
    /// nothing: then it must be closed.
    ///
    /// `at` is its local address: what was accepted elsewhere than on the loopback addresses to which the programs
    /// redirect has no origin, whatever its source. One system call; may be called from any thread.
    #[must_use]
    pub fn origin(&self, peer: SocketAddr, at: SocketAddr) -> Option<Origin> {
        self.origins.read().unwrap_or_else(PoisonError::into_inner).at(peer, at)
    }

    /// What the programs refuse from now on, at whichever cgroup, for one reader: nothing when it was taken before.
    pub fn attempts(&self) -> Option<Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Forgets the connections that came from a cgroup of which `gone` holds: once its [`Links`] are dropped nobody
    /// removes them when they close, and their source could come again by itself.
    ///
    /// # Errors
    /// When the kernel does not list them.
    pub fn forget(&self, gone: impl Fn(u64) -> bool) -> Result<(), EbpfError> {
        let mut origins = self.origins.write().unwrap_or_else(PoisonError::into_inner);
        origins.forget(gone).map_err(|error| EbpfError::Forget(Box::new(error)))
    }
}
