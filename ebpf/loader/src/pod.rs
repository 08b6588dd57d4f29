//! The programs of a pod, pinned: they stay when the installer has ended, and the pod's gate reads their maps without
//! any capability.
//!
//! Below the folder of a pod lie `maps`, which belongs to the gate's user, `links` with one pin for each program and
//! cgroup, and `WANTED`, which only the programs use. The installer needs `CAP_BPF` and `CAP_NET_ADMIN`; for a gate of
//! another user `CAP_CHOWN`, and `CAP_DAC_OVERRIDE` to upgrade what it gave away.

use std::{
    net::IpAddr,
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
};

use aya::EbpfLoader;
use ebpf_shared::{INTAKE_CONSTANT, NETWORK_CONSTANT, RESPONDER_CONSTANT, Words};

use crate::{
    EbpfError, Ports, kernel,
    origins::words,
    programs::{Programs, Scope, exempt},
};

mod folder;
mod layout;
mod pinned;
pub use pinned::Pinned;

use folder::Folder;

/// What a pod's programs are to know.
#[derive(Debug, Clone, Copy)]
pub struct PodSpec<'a> {
    /// Where the gate takes connections and questions for names.
    pub ports: Ports,
    /// Every port at which the gate listens, at most 16 with those two: nobody else connects to them or binds them.
    pub gate_ports: &'a [u16],
    /// The pod's own addresses, at most 64: as good as loopback.
    pub own: &'a [IpAddr],
    /// The ids of cgroups that pass, at most 4. If there are none, those that passed before still do: the gate enters
    /// its own ([`Pinned::exempt_myself`]).
    pub exempt: &'a [u64],
    /// The cookie of the pod's network namespace (`SO_NETNS_COOKIE`), outside of which there is no gate to redirect to;
    /// nothing where there is only one network.
    pub network: Option<u64>,
    /// The user to whom the maps belong.
    pub gate_uid: u32,
    /// The group to which the maps belong.
    pub gate_gid: u32,
}

/// What an installation changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Installed {
    /// Programs that were attached.
    pub attached: usize,
    /// Programs that took the place of an earlier version at once.
    pub replaced: usize,
    /// Programs that were detached: of cgroups that are not named any more or are gone, or of an earlier version.
    pub detached: usize,
}

/// Attaches the programs of a pod to its cgroups, open folders of a cgroup v2 mount, and pins them at `at`, a folder in
/// a bpffs, which is made if it is not there.
///
/// Where they are pinned already they are replaced one by one, each at once and with the same maps, so that no call
/// finds none and no connection under way is forgotten; doing it again with the same version does no harm. Afterwards
/// exactly these cgroups are governed. Installers at the same folder wait for each other.
///
/// # Errors
/// When the kernel, the privileges, the folders or another version's pins do not allow it. What was not there before is
/// then not there after.
pub fn install(
    cgroups: &[BorrowedFd<'_>],
    at: &Path,
    spec: &PodSpec<'_>,
) -> Result<Installed, EbpfError> {
    let (folder, is_new) = Folder::make(at)?;
    let installed = converge(&folder, cgroups, spec);
    if installed.is_err() && is_new {
        folder.remove()?;
    }
    installed
}

/// Removes what [`install`] pinned at `at`: nothing is governed any more. What is not there is removed already.
///
/// # Errors
/// When a pin cannot be removed.
pub fn uninstall(at: &Path) -> Result<(), EbpfError> {
    Folder::open(at)?.map_or(Ok(()), Folder::remove)
}

/// The ids of the cgroups that what is pinned at `at` governs, as the kernel says; 0 stands for those that are gone.
///
/// # Errors
/// When something else is pinned there, or it cannot be read.
pub fn cgroups_of(at: &Path) -> Result<Vec<u64>, EbpfError> {
    Folder::open(at)?.map_or(Ok(Vec::new()), |folder| folder.cgroups())
}

/// Removes those folders right below `root` that [`install`] made and all of whose cgroups are gone, and says which.
///
/// A folder in which an installer is at work is left alone; one without any link is what an installer left that was
/// killed, and goes.
///
/// # Errors
/// When the folders cannot be read, or a pin cannot be removed.
pub fn collect(root: &Path) -> Result<Vec<PathBuf>, EbpfError> {
    let mut removed = Vec::new();
    for at in folder::below(root)? {
        let Some(folder) = Folder::try_open(&at)? else { continue };
        if folder.is_ours() && folder.cgroups()?.iter().all(|id| *id == 0) {
            folder.remove()?;
            removed.push(at);
        }
    }
    Ok(removed)
}

/// Makes what is pinned be what the specification says.
fn converge(
    folder: &Folder,
    cgroups: &[BorrowedFd<'_>],
    spec: &PodSpec<'_>,
) -> Result<Installed, EbpfError> {
    folder.check()?;
    let programs = load(folder, spec)?;
    let mut wanted = Vec::new();
    let mut installed = Installed::default();
    for cgroup in cgroups {
        let id = folder::id(*cgroup)
            .map_err(|source| EbpfError::Attach { program: "the programs".to_owned(), source })?;
        for hook in programs.hooks() {
            let name = format!("{}-{id}", hook.program);
            let program = programs.descriptor(hook)?;
            match folder.link(&name)? {
                Some(link) if kernel::cgroup_of(link.as_fd()).is_ok_and(|at| at == id) => {
                    kernel::update(link.as_fd(), program)
                        .map_err(folder.failed("replace", &name))?;
                    installed.replaced += 1;
                }
                detached => {
                    let link = programs.attach_one(hook, *cgroup)?;
                    if detached.is_some() {
                        folder.unlink(&name)?;
                    }
                    folder.pin(link.as_fd(), &name)?;
                    installed.attached += 1;
                }
            }
            wanted.push(name);
        }
    }
    for name in folder.links()? {
        if !wanted.contains(&name) {
            folder.unlink(&name)?;
            installed.detached += 1;
        }
    }
    Ok(installed)
}

/// Loads the programs with the maps that are pinned, and pins those that are not.
fn load(folder: &Folder, spec: &PodSpec<'_>) -> Result<Programs, EbpfError> {
    let Ports { intake, responder } = spec.ports;
    let (intake, responder) = (u32::from(intake), u32::from(responder));
    let network = spec.network.unwrap_or(0);
    let mut loader = EbpfLoader::new();
    loader
        .btf(None)
        .override_global(INTAKE_CONSTANT, &intake, true)
        .override_global(RESPONDER_CONSTANT, &responder, true)
        .override_global(NETWORK_CONSTANT, &network, true);
    for (name, path) in folder.maps() {
        loader.map_pin_path(name, path);
    }
    let mut programs = Programs::load(&mut loader, Scope::Pod)?;
    let mut ports: Vec<u32> = spec.gate_ports.iter().copied().map(u32::from).collect();
    ports.extend([intake, responder]);
    let own: Vec<Words> = spec.own.iter().copied().map(words).collect();
    programs.fill("GATE_PORTS", &ports)?;
    programs.fill("OWN", &own)?;
    if !spec.exempt.is_empty() {
        exempt(programs.take_as("EXEMPT")?, spec.exempt)?;
    }
    folder.give(spec.gate_uid, spec.gate_gid)?;
    Ok(programs)
}
