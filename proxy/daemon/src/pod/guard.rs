//! The pod that this gate guards, as its intake asks about it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ebpf::sockets::{Owner, Transport, owner};
use ebpf::xdp::Held;
use ebpf::{Attempts, EbpfError, Pinned, Technique};
use socket2::SockRef;

use super::exempt::Exemption;
use super::file::{PodFile, Xdp};
use super::{Mode, PodError};
use crate::config;
use crate::health::Condition;
use crate::trust::hex;

/// Where the installer connects to see that it is led to this gate: nobody has this address (RFC 5737, TEST-NET-1).
const PROBED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 16801);

/// The kernel lets an `AF_XDP` queue go a moment after whoever held it: the gate before this one, the installer's try.
const LET_GO_WITHIN: Duration = Duration::from_secs(1);

/// The pod.
#[derive(Debug)]
pub(crate) struct Pod {
    /// Who everything in it is.
    pub(crate) agent: Arc<str>,
    mode: Mode,
    why: String,
    own: BTreeSet<IpAddr>,
    declared: BTreeSet<u16>,
    answer: String,
    myself: Owner,
    /// The kernel programs' maps, in mode kernel.
    pinned: Option<Pinned>,
    /// Set while the gate's own connections come back to it.
    led_back: AtomicBool,
    /// Whether the firewall knows the gate, in the modes without programs.
    exemption: Option<Exemption>,
    xdp: Xdp,
    /// The queues of the pod's interfaces, where the gate is to hold them.
    _held: Option<Held>,
}

/// What a connection at the intake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// Somebody in the pod wants to go there.
    For(SocketAddr),
    /// The installer wants to know whether this gate is here.
    Probe,
    /// It is the gate's own, which should have left: carried, it would come again.
    Itself,
    /// It was not redirected.
    Nowhere,
}

impl Pod {
    /// Reads what the installer wrote. To be called before anything is dialled or listened at.
    ///
    /// # Errors
    /// The pod is not shut in, or not as it must be; nothing may be served then.
    pub(crate) fn enter(config: &config::Pod) -> Result<Self, PodError> {
        let file = accepted(config)?;
        let (mode, why) = (file.mode, file.why.clone());
        if let Some(weakness) = mode.weakness() {
            tracing::warn!(%mode, why, "{weakness}");
        }
        if file.xdp == Xdp::Open {
            tracing::warn!("AF_XDP is open to CAP_NET_RAW: drop it at admission");
        }
        let pinned = match (mode, &file.maps) {
            (Mode::Kernel, Some(maps)) => Some(Pinned::open(maps)?),
            (Mode::Kernel, None) | (Mode::NftCgroup | Mode::NftUser, _) => None,
        };
        let myself = myself(mode, pinned.as_ref())?;
        let exemption = pinned.is_none().then(|| Exemption::new(mode));
        if let Some(exemption) = &exemption {
            exemption.missing();
        }
        let held = match file.xdp {
            Xdp::Hold => Some(hold(&file.interfaces)?),
            Xdp::Open | Xdp::Closed => None,
        };
        Ok(Self {
            agent: config.agent.as_str().into(),
            mode,
            why,
            own: file.own.iter().map(IpAddr::to_canonical).collect(),
            declared: file.inbound.iter().copied().collect(),
            answer: format!("tollgate {}\n", hex(&file.token)),
            myself,
            pinned,
            led_back: AtomicBool::new(false),
            exemption,
            xdp: file.xdp,
            _held: held,
        })
    }

    /// What a connection at the intake is, which came from `peer`.
    pub(crate) fn came(&self, stream: &tokio::net::TcpStream, peer: SocketAddr) -> Came {
        let Ok(at) = stream.local_addr() else { return Came::Nowhere };
        let (wanted, is_own) = match &self.pinned {
            Some(pinned) => {
                let Some(origin) = pinned.origin(peer, at) else { return Came::Nowhere };
                (origin.wanted, self.myself.cgroup == Some(origin.cgroup))
            }
            None => match translated(stream) {
                Some(wanted) => (wanted, self.is_own(peer, at)),
                None => return Came::Nowhere,
            },
        };
        if is_own {
            Came::Itself
        } else if wanted == PROBED {
            Came::Probe
        } else {
            Came::For(wanted)
        }
    }

    /// Whether the gate itself is at the other end.
    fn is_own(&self, peer: SocketAddr, at: SocketAddr) -> bool {
        let Some(far) = owner(Transport::Tcp, peer, at) else { return false };
        match self.mode {
            Mode::Kernel | Mode::NftCgroup => far.cgroup == self.myself.cgroup,
            Mode::NftUser => far.uid == self.myself.uid,
        }
    }

    /// A connection of the gate's own came back to it: somebody else was entered in its place.
    pub(crate) fn is_led_to_itself(&self) {
        let again = self.pinned.as_ref().map(Pinned::exempt_myself);
        match again {
            Some(Ok(_)) => {
                tracing::warn!("the gate was led to itself, and has entered itself again");
            }
            Some(Err(error)) => {
                self.led_back.store(true, Ordering::Relaxed);
                tracing::error!(%error, "the gate is led to itself: nothing can leave");
            }
            None => {
                self.led_back.store(true, Ordering::Relaxed);
                tracing::error!(
                    "the gate is led to itself: nothing can leave; run tollgate-init install again"
                );
            }
        }
    }

    /// Whether the agent serves there: a port that is declared, of an address that is the pod's own.
    pub(crate) fn serves(&self, at: SocketAddr) -> bool {
        self.declared.contains(&at.port()) && self.own.contains(&at.ip().to_canonical())
    }

    /// The ports at which the agent serves; without one nothing may come in.
    pub(crate) const fn declared(&self) -> &BTreeSet<u16> {
        &self.declared
    }

    /// What the installer is answered.
    pub(crate) fn answer(&self) -> &str {
        &self.answer
    }

    /// How the pod is shut in.
    pub(crate) const fn mode(&self) -> Mode {
        self.mode
    }

    /// What the kernel refuses in the pod; nothing where firewall rules alone do.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub(crate) fn attempts(&self) -> Result<Option<Attempts>, EbpfError> {
        self.pinned.as_ref().map(Pinned::attempts).transpose()
    }

    /// How often each technique was refused since the programs were installed; nothing where that is not known.
    pub(crate) fn refused(&self) -> Vec<(Technique, u64)> {
        let counted = self.pinned.as_ref().map(Pinned::counters);
        counted.and_then(Result::ok).unwrap_or_default()
    }

    /// What readiness says of it.
    pub(crate) fn condition(&self) -> Condition {
        let led_back = self.led_back.load(Ordering::Relaxed);
        let mut says = self.mode.to_string();
        if self.mode.weakness().is_some() && !self.why.is_empty() {
            says = format!("{says} ({})", self.why);
        }
        match self.xdp {
            Xdp::Open => says.push_str("; AF_XDP is open to CAP_NET_RAW: drop it at admission"),
            Xdp::Hold => says.push_str("; AF_XDP is held"),
            Xdp::Closed => {}
        }
        if led_back {
            says.push_str("; the gate is led to itself: nothing can leave");
        }
        let unknown = self.exemption.as_ref().and_then(Exemption::missing);
        if let Some(remedy) = unknown {
            says = format!("{says}; {remedy}");
        }
        let ready = !led_back && unknown.is_none();
        Condition { name: "enforcement", ready, says, since: None }
    }
}

/// How the pod is shut in, if the configuration accepts that.
///
/// # Errors
/// It does not, or nothing is known of it.
pub(crate) fn standing(config: &config::Pod) -> Result<Mode, PodError> {
    accepted(config).map(|file| file.mode)
}

/// What the installer wrote, if that is enough.
fn accepted(config: &config::Pod) -> Result<PodFile, PodError> {
    let file = PodFile::read(&config.file)?;
    let (mode, minimum) = (file.mode, config.minimum);
    if mode < minimum {
        return Err(PodError::Weak { mode, why: file.why, minimum });
    }
    Ok(file)
}

/// Where a connection was going before the packet filter sent it here (`SO_ORIGINAL_DST`).
pub(crate) fn translated(stream: &tokio::net::TcpStream) -> Option<SocketAddr> {
    let near = stream.local_addr().ok()?;
    let socket = SockRef::from(stream);
    // A connection over IPv4 to a socket of IPv6 is kept among those of IPv4.
    let wanted = match near.ip().to_canonical() {
        IpAddr::V4(_) => socket.original_dst_v4(),
        IpAddr::V6(_) => socket.original_dst_v6(),
    };
    let wanted = wanted.ok()?.as_socket()?;
    Some(SocketAddr::new(wanted.ip().to_canonical(), wanted.port()))
}

/// Whose the sockets of this process are, as the kernel says it of others. In mode kernel the gate is exempt from here
/// on.
fn myself(mode: Mode, pinned: Option<&Pinned>) -> Result<Owner, PodError> {
    if let Some(pinned) = pinned {
        let uid = rustix::process::geteuid().as_raw();
        return Ok(Owner { uid, cgroup: Some(pinned.exempt_myself()?) });
    }
    let own = || -> Option<Owner> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        let at = listener.local_addr().ok()?;
        let stream = TcpStream::connect(at).ok()?;
        owner(Transport::Tcp, stream.local_addr().ok()?, at)
    };
    match (own(), mode) {
        (None, _) => Err(PodError::Myself("the kernel does not say whose a socket is (sock_diag)")),
        (Some(Owner { cgroup: None, .. }), Mode::NftCgroup) => {
            Err(PodError::Myself("the kernel does not say in which cgroup a socket was made (5.9)"))
        }
        (Some(owner), _) => Ok(owner),
    }
}

/// Takes every queue of these interfaces, so that nobody else sends by them past everything.
fn hold(interfaces: &[String]) -> Result<Held, PodError> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(PodError::Xdp)?;
    let index = |name: &String| {
        rustix::net::netdevice::name_to_index(&socket, name)
            .map_err(|errno| PodError::Xdp(errno.into()))
    };
    let all = interfaces.iter().map(index).collect::<Result<Vec<_>, _>>()?;
    let begun = Instant::now();
    let held = loop {
        match Held::all(&all) {
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy
                    && begun.elapsed() < LET_GO_WITHIN =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            taken => break taken.map_err(PodError::Xdp)?,
        }
    };
    tracing::info!(queues = held.queues(), "AF_XDP is held");
    Ok(held)
}
