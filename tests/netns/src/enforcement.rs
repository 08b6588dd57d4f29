//! Puts the pod behind its gate by the installer itself, as an init container of the pod that has ended when this returns.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ebpf::xdp::Held;
use tollgate_init::mode::Mode;

use crate::container::{Place, User};
use crate::sys;
use crate::topology::{Cgroups, DEVICE, Topology, inside};

/// The port that the pod's application declares.
pub const DECLARED: u16 = 8080;

/// What is in force.
#[derive(Debug)]
pub struct Enforcement {
    mode: Mode,
    pins: PathBuf,
    /// What the gate's container holds, so that nobody else can.
    _queues: Held,
}

impl Enforcement {
    /// Where pins and what the gate is told lie, which only installer and gate see.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(scratch: &Path) -> Result<PathBuf> {
        let folder = scratch.join("gate");
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Installs everything in this mode, with pins in a bpffs of this process's own; then holds the queues of the
    /// interface as the gate's container does.
    ///
    /// # Errors
    /// When the installer ends with an error; what it said is told.
    pub fn install(
        mode: Mode,
        installer: &Path,
        topology: &Topology,
        cgroups: &mut Cgroups,
        scratch: &Path,
    ) -> Result<Self> {
        let folder = Self::folder(scratch)?;
        let mounted = folder.join("bpf");
        std::fs::create_dir_all(&mounted)?;
        sys::mount("none", crate::text(&mounted)?, "bpf", 0).context("cannot mount a bpffs")?;
        let pins = mounted.join("pod");
        let cgroup = cgroups.another("init")?;
        let place =
            Place { cgroup: &cgroup, network: &topology.pod, hidden: &[], user: User::Mighty };
        let (declared, maps, file) =
            (DECLARED.to_string(), pins.join("maps"), folder.join("pod.json"));
        let mut arguments = vec![
            "install",
            "--mode",
            mode.word(),
            "--minimum",
            mode.word(),
            "--gate-holds-xdp",
            "--inbound",
            &declared,
            "--pins",
            crate::text(&pins)?,
            "--gate-maps",
            crate::text(&maps)?,
            "--pod-file",
            crate::text(&file)?,
            "--cgroup",
            crate::text(&cgroups.pod)?,
            "--cgroup-root",
            crate::text(cgroups.root())?,
        ];
        if mode == Mode::NftCgroup {
            arguments.extend(["--gate-cgroup", crate::text(&cgroups.gate)?]);
        }
        let done = place.run(installer, &arguments)?;
        let said = [done.stdout, done.stderr].concat();
        ensure!(done.status.success(), "the installer: {}", String::from_utf8_lossy(&said));
        let queues = inside(&topology.pod, hold)?;
        Ok(Self { mode, pins, _queues: queues })
    }

    /// Where the gate finds its maps, in the mode that has some.
    #[must_use]
    pub fn maps(&self) -> Option<PathBuf> {
        (self.mode == Mode::Kernel).then(|| self.pins.join("maps"))
    }
}

/// The kernel frees a queue some moments after its last socket was closed: the installer's tries used them.
fn hold() -> Result<Held> {
    let index = sys::interface(DEVICE)?;
    for _ in 0..50 {
        match Held::all(&[index]) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            done => return Ok(done?),
        }
    }
    Ok(Held::all(&[index])?)
}
