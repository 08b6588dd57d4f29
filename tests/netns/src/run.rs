//! The whole catalogue, first with enforcement off and then with it on.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tollgate_init::mode::Mode;

use crate::attempt::{Attempt, Report, Site};
use crate::case::{Case, Form, Needs, Stage, Who};
use crate::container::{Place, Started, User};
use crate::enforcement::Enforcement;
use crate::gate::{self, Gate};
use crate::helpers::Helpers;
use crate::judge::Sight;
use crate::sniffer::Sniffer;
use crate::sys;
use crate::topology::{Cgroups, DEVICE, POD, Topology, WORLD};

mod exec;
mod stage;
mod whole;

use whole::Sights;
pub use whole::carry_out;

/// What exempt sockets are marked with (ISSUE5, *Constants*).
pub const MARK: u32 = 0x5052_4f58;
/// Has the stub listen at every address of the pod, so that one that is not refused answers.
pub const EVERYWHERE: &str = "--everywhere";
/// The technique that opens a socket for the [`Sniffer`].
pub const FENCE: &str = "fence";
/// The technique that is told where a program outside listens.
const HELPER: &str = "helper";
/// The agent's user.
const AGENT: u32 = 1000;

/// The programs that a run starts.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The techniques.
    pub techniques: PathBuf,
    /// The gate's stub.
    pub gate: PathBuf,
    /// `tollgate-init`.
    pub installer: PathBuf,
    /// `tollgate`.
    pub tollgate: PathBuf,
}

impl Programs {
    /// The product's programs lie beside those of this package, where one build puts them all.
    #[must_use]
    pub fn beside(techniques: &Path, gate: &Path) -> Self {
        Self {
            techniques: techniques.to_owned(),
            gate: gate.to_owned(),
            installer: techniques.with_file_name("tollgate-init"),
            tollgate: techniques.with_file_name("tollgate"),
        }
    }

    /// With copies in this folder of those that a user without privileges starts: the build folder may lie where such
    /// a user may not go.
    fn in_reach(self, folder: &Path) -> Result<Self> {
        let copy = |program: PathBuf| {
            let name = program.file_name().context("a program without a name")?;
            let copy = folder.join(name);
            fs::copy(&program, &copy).with_context(|| {
                format!("no {}: build it with cargo build --bins", program.display())
            })?;
            Ok::<_, anyhow::Error>(copy)
        };
        let (techniques, gate) = (copy(self.techniques)?, copy(self.gate)?);
        Ok(Self { techniques, gate, tollgate: copy(self.tollgate)?, ..self })
    }
}

/// Pod, world, gate and those who try to leave.
#[derive(Debug)]
pub struct Harness {
    programs: Programs,
    crew: BTreeMap<(PathBuf, u8), Started>,
    older: BTreeMap<(&'static str, Who), (Started, Attempt)>,
    enforcement: Option<Enforcement>,
    gate: Option<Gate>,
    sniffer: Sniffer,
    helpers: Helpers,
    cgroups: Cgroups,
    topology: Topology,
    hidden: Vec<PathBuf>,
    scratch: Scratch,
    count: u16,
}

/// Addresses in the world and a port that only the attempt of this number has.
#[must_use]
pub fn destination(count: u16) -> (Ipv4Addr, Ipv6Addr, u16) {
    let [high, low] = count.to_be_bytes();
    let v6 = Ipv6Addr::new(0xfd00, 0x200, 0, 0, 0, 0, 0, count);
    (Ipv4Addr::new(10, 200, high, low), v6, 20_000 + count)
}

fn site(topology: &Topology, cgroups: &Cgroups, gate_pid: i32) -> Site {
    Site {
        pod: POD,
        world: WORLD,
        world_link: topology.links.1,
        device: DEVICE.to_owned(),
        mark: MARK,
        gate_uid: gate::UID,
        gate_pid,
        gate_ports: gate::PORTS.into(),
        cgroup: cgroups.agent.display().to_string(),
        outside: format!("/proc/{}/fd/{}", std::process::id(), topology.world.as_raw_fd()),
    }
}

/// A socket as the gate's, which a process in the gate's container opens and passes out.
fn fence(programs: &Programs, topology: &Topology, cgroups: &Cgroups) -> Result<OwnedFd> {
    let (v4, v6, port) = destination(0);
    let attempt = Attempt {
        technique: FENCE.to_owned(),
        words: Vec::new(),
        v4,
        v6,
        port,
        marker: String::new(),
        site: site(topology, cgroups, 0),
    };
    let place =
        Place { cgroup: &cgroups.gate, network: &topology.pod, hidden: &[], user: User::Mighty };
    let mut process = place.start(&programs.techniques, &[])?;
    let report = process.carry_out(&attempt)?;
    ensure!(report.error.is_none(), "no fence: {report:?}");
    Ok(sys::receive_descriptor(process.channel().as_fd())?)
}

/// A folder whose mounts end with the thread that made them.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    /// Named after the process, so that one whose process is gone can be told and removed.
    fn make() -> Result<Self> {
        const PREFIX: &str = "netns-scratch-";
        let temporary = std::env::temp_dir();
        for entry in fs::read_dir(&temporary)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
            if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
                // Empty once its mounts went with their process; else it stays.
                drop(fs::remove_dir(temporary.join(name)));
            }
        }
        let name = format!("{PREFIX}{}-{:016x}", std::process::id(), crate::random()?);
        let path = temporary.join(name);
        fs::create_dir(&path)?;
        let made = Self(path);
        sys::mount("none", crate::text(&made.0)?, "tmpfs", 0)?;
        Ok(made)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Never what lies below: that may be a mount of the machine's cgroups.
        if crate::text(&self.0).is_ok_and(|path| sys::unmount(path).is_ok()) {
            drop(fs::remove_dir(&self.0));
        }
    }
}

impl Harness {
    /// Sets everything up, without enforcement. Mounts are made in a namespace of the calling thread's own.
    ///
    /// # Errors
    /// Without root's privileges, or without iproute2 and nft.
    pub fn new(programs: Programs) -> Result<Self> {
        sys::share_nothing().context("the catalogue needs root: it makes namespaces")?;
        let scratch = Scratch::make()?;
        let programs = programs.in_reach(&scratch.0)?;
        let cgroups = Cgroups::make(&scratch.0)?;
        let topology = Topology::make()?;
        let fence = fence(&programs, &topology, &cgroups)?;
        let sniffer = Sniffer::listen(&topology, fence)?;
        let helpers = Helpers::start(&topology.pod, &scratch.0)?;
        let hidden = vec![
            scratch.0.join("cgroup"),
            Enforcement::folder(&scratch.0)?,
            PathBuf::from("/sys/fs/cgroup"),
        ];
        let (crew, older) = (BTreeMap::new(), BTreeMap::new());
        let mut made = Self {
            programs,
            crew,
            older,
            enforcement: None,
            gate: None,
            sniffer,
            helpers,
            cgroups,
            topology,
            hidden,
            scratch,
            count: 0,
        };
        made.start_gate(&[EVERYWHERE])?;
        Ok(made)
    }

    /// Starts the gate's stub in its container.
    fn start_gate(&mut self, arguments: &[&str]) -> Result<()> {
        let place = Place {
            cgroup: &self.cgroups.gate,
            network: &self.topology.pod,
            hidden: &[],
            user: User::Plain(gate::UID),
        };
        self.gate = Some(Gate::start(&place, &self.programs.gate, arguments)?);
        Ok(())
    }

    /// An attempt with a destination, a port and a marker that no other has.
    fn attempt(&mut self, technique: &str, words: &[&str]) -> Result<Attempt> {
        self.count = self.count.checked_add(1).context("too many attempts")?;
        let (v4, v6, port) = destination(self.count);
        let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let address = words.first().and_then(|word| self.helpers.address(word));
        if let (HELPER, Some(address)) = (technique, address) {
            words.push(address.to_owned());
        }
        Ok(Attempt {
            technique: technique.to_owned(),
            words,
            v4,
            v6,
            port,
            marker: format!("TG{:016x}", crate::random()?),
            site: self.site(),
        })
    }

    fn site(&self) -> Site {
        site(&self.topology, &self.cgroups, self.gate.as_ref().map_or(0, Gate::process))
    }

    /// A process of this cgroup and user that carries out techniques; started when it is first asked for.
    fn member(&mut self, cgroup: &Path, user: User) -> Result<&mut Started> {
        let rank = match user {
            User::Plain(_) => 0,
            User::ContainerRoot => 1,
            User::Mighty => 2,
        };
        let key = (cgroup.to_owned(), rank);
        if !self.crew.contains_key(&key) {
            let started = self.recruit(cgroup, user)?;
            self.crew.insert(key.clone(), started);
        }
        self.crew.get_mut(&key).context("a process that was just started")
    }

    fn recruit(&self, cgroup: &Path, user: User) -> Result<Started> {
        self.place(cgroup, user).start(&self.programs.techniques, &[])
    }

    /// In the pod's network; only the mighty see what a container would not have.
    fn place<'a>(&'a self, cgroup: &'a Path, user: User) -> Place<'a> {
        let hidden = if user == User::Mighty { &[][..] } else { &self.hidden };
        Place { cgroup, network: &self.topology.pod, hidden, user }
    }

    /// Tries every case with enforcement off, those last that need the gate's ports for themselves; the gate is
    /// killed by then.
    ///
    /// # Errors
    /// When the harness fails, not a case.
    fn controls(&mut self, cases: &[Case]) -> Result<Sights> {
        self.ensure_the_gate_leaves()?;
        self.helpers.start_later()?;
        let mut sights = BTreeMap::new();
        for alone in [false, true] {
            if alone && let Some(gate) = self.gate.take() {
                gate.kill()?;
            }
            for case in cases.iter().filter(|case| case.alone == alone) {
                for who in case.who {
                    sights.insert((case.name, *who), self.control(case, *who)?);
                }
            }
        }
        Ok(sights)
    }

    /// Brings enforcement into force and starts the gate's stub behind it. What has to be older than that is made
    /// first.
    ///
    /// # Errors
    /// When the harness fails, or the gate cannot leave afterwards.
    fn enforce(&mut self, mode: Mode, cases: &[Case]) -> Result<()> {
        self.prepare_older(cases)?;
        if let Some(gate) = self.gate.take() {
            gate.kill()?;
        }
        self.enforcement = Some(Enforcement::install(
            mode,
            &self.programs.installer,
            &self.topology,
            &mut self.cgroups,
            &self.scratch.0,
        )?);
        self.restart()?;
        self.ensure_the_gate_leaves()
    }

    /// Starts the gate's stub behind what is in force.
    fn restart(&mut self) -> Result<()> {
        let enforcement = self.enforcement.as_ref().context("nothing is in force")?;
        match enforcement.maps() {
            Some(maps) => self.start_gate(&[gate::MAPS, crate::text(&maps)?]),
            None => self.start_gate(&[gate::TRANSLATED]),
        }
    }

    /// Tries every case with enforcement on: those without a gate, and those with a new one, last.
    ///
    /// # Errors
    /// When the harness fails, not a case.
    fn trials(&mut self, cases: &[Case]) -> Result<Sights> {
        let mut sights = BTreeMap::new();
        for case in cases.iter().filter(|case| case.form != Form::Exec) {
            match case.stage {
                Stage::WithoutGate => {
                    if let Some(gate) = self.gate.take() {
                        gate.kill()?;
                    }
                }
                Stage::AfterRestart if self.gate.is_none() => self.restart()?,
                Stage::AfterRestart
                | Stage::Container
                | Stage::Nested
                | Stage::Another
                | Stage::Outside
                | Stage::Passed
                | Stage::PassedConnected
                | Stage::Inherited
                | Stage::MovedIn
                | Stage::Older
                | Stage::Inbound => {}
            }
            for who in case.who {
                sights.insert((case.name, *who), self.enforced(case, *who)?);
            }
        }
        Ok(sights)
    }

    /// Tries a case with enforcement off, with what it needs.
    ///
    /// # Errors
    /// When the harness fails, not the case.
    fn control(&mut self, case: &Case, who: Who) -> Result<Sight> {
        let user = match (case.needs, who) {
            (Needs::Everything(_), _) => User::Mighty,
            (Needs::Capability(_), _) | (_, Who::Root) => User::ContainerRoot,
            (Needs::Nothing, Who::Agent) => User::Plain(AGENT),
        };
        self.attempted(case, who, user)
    }

    /// Tries a case as it is meant.
    ///
    /// # Errors
    /// When the harness fails, not the case.
    fn enforced(&mut self, case: &Case, who: Who) -> Result<Sight> {
        let user = match who {
            Who::Agent => User::Plain(AGENT),
            Who::Root => User::ContainerRoot,
        };
        self.attempted(case, who, user)
    }

    fn attempted(&mut self, case: &Case, who: Who, user: User) -> Result<Sight> {
        let (attempt, report) =
            self.staged(case, who, user).with_context(|| format!("case {}", case.name))?;
        self.seen(attempt, report).with_context(|| format!("case {}", case.name))
    }

    /// What arrived and what the gate took until now, for this attempt.
    fn seen(&mut self, attempt: Attempt, report: Report) -> Result<Sight> {
        let mut frames = self.sniffer.arrived()?;
        // How neighbours find each other does not count, unless somebody dressed up as that.
        frames.retain(|frame| frame.is_of(&attempt) || !frame.is_neighbourly());
        let wanted = self.gate.as_mut().map_or_else(|| Ok(Vec::new()), Gate::took)?;
        Ok(Sight { attempt, report, frames, wanted })
    }

    /// Shows that the gate itself still leaves: nothing would leave a network that is dead either.
    ///
    /// # Errors
    /// When it does not.
    fn ensure_the_gate_leaves(&mut self) -> Result<()> {
        for v6 in [false, true] {
            let attempt = self.attempt("dial", &[])?;
            let gate = self.gate.as_mut().context("no gate")?;
            let report = gate.dial(attempt.to(v6), &attempt.marker)?;
            ensure!(report.answer.as_deref() == Some("world"), "the gate cannot leave: {report:?}");
            let arrived = self.sniffer.arrived()?;
            ensure!(arrived.iter().any(|frame| frame.is_of(&attempt)), "the sniffer is deaf");
        }
        Ok(())
    }
}
