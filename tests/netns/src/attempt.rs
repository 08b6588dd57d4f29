//! What a technique is asked to do and what it says it saw: one line of JSON each way.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// One attempt of one technique. Destination, port and marker are its own, so that a frame says whose it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attempt {
    /// The program, as `techniques` knows it.
    pub technique: String,
    /// What it is to do in particular.
    pub words: Vec<String>,
    /// A destination in the world that no other attempt has.
    pub v4: Ipv4Addr,
    /// The same over IPv6.
    pub v6: Ipv6Addr,
    /// A port that no other attempt has.
    pub port: u16,
    /// What every payload of the attempt begins with.
    pub marker: String,
    /// Where it happens.
    pub site: Site,
}

/// Where clouds tell machines their credentials.
pub const METADATA: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(169, 254, 169, 254), Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254));

/// What an attacker in the pod knows of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Site {
    /// The pod's own addresses.
    pub pod: (Ipv4Addr, Ipv6Addr),
    /// The world's end of the wire.
    pub world: (Ipv4Addr, Ipv6Addr),
    /// The link address of that end.
    pub world_link: [u8; 6],
    /// The pod's interface.
    pub device: String,
    /// What exempt sockets are marked with.
    pub mark: u32,
    /// The user the gate runs as.
    pub gate_uid: u32,
    /// The gate's process, as seen from outside.
    pub gate_pid: i32,
    /// The ports the gate listens on.
    pub gate_ports: Vec<u16>,
    /// The agent's cgroup, if it can be seen.
    pub cgroup: String,
    /// The world's network namespace, if it can be seen.
    pub outside: String,
}

impl Site {
    /// The link-local address that the kernel made of the world's link address (RFC 4291, appendix A).
    #[must_use]
    pub fn neighbour(&self) -> Ipv6Addr {
        let mut address = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 0];
        let [first, .., last] = self.world_link.as_chunks::<3>().0 else {
            return Ipv6Addr::UNSPECIFIED;
        };
        address[8..11].copy_from_slice(first);
        address[13..].copy_from_slice(last);
        address[8] ^= 2;
        Ipv6Addr::from(address)
    }
}

impl Attempt {
    /// The destination of this family.
    #[must_use]
    pub fn to(&self, v6: bool) -> SocketAddr {
        let ip = if v6 { IpAddr::V6(self.v6) } else { IpAddr::V4(self.v4) };
        SocketAddr::new(ip, self.port)
    }

    /// A group that no other attempt joins.
    #[must_use]
    pub fn group4(&self) -> Ipv4Addr {
        let [_, b, c, d] = self.v4.octets();
        Ipv4Addr::new(239, b, c, d)
    }

    /// The same over IPv6, seen everywhere.
    #[must_use]
    pub fn group6(&self) -> Ipv6Addr {
        let mut segments = self.v6.segments();
        segments[0] = 0xff0e;
        Ipv6Addr::from(segments)
    }

    /// Whether this word was given.
    #[must_use]
    pub fn says(&self, word: &str) -> bool {
        self.words.iter().any(|given| given == word)
    }
}

/// What the program of an attempt saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The step that failed; empty when none did.
    pub step: String,
    /// The error of that step by its name, such as `EPERM`.
    pub error: Option<String>,
    /// What came back, if something did.
    pub answer: Option<String>,
}

impl Report {
    /// In the words of the table: `EPERM (connect)`, `answer: gate`, `done`.
    #[must_use]
    pub fn said(&self) -> String {
        match (&self.error, &self.answer) {
            (Some(error), _) => format!("{error} ({})", self.step),
            (None, Some(answer)) => format!("answer: {answer}"),
            (None, None) => "done".to_owned(),
        }
    }
}

/// Where a technique stopped, and why.
#[derive(Debug)]
pub struct Stop {
    /// Such as `connect`.
    pub step: String,
    /// What the kernel said.
    pub error: io::Error,
}

/// What a technique comes back with: an answer, nothing, or where it stopped.
pub type Met = Result<Option<String>, Stop>;

/// Names the step that an error belongs to.
pub trait At<T> {
    /// The value, or the error with its step.
    ///
    /// # Errors
    /// The error that was there.
    fn at(self, step: &str) -> Result<T, Stop>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: &str) -> Result<T, Stop> {
        self.map_err(|error| Stop { step: step.to_owned(), error })
    }
}

impl From<Met> for Report {
    fn from(met: Met) -> Self {
        match met {
            Ok(answer) => Self { answer, ..Self::default() },
            Err(Stop { step, error }) => Self { step, error: Some(name(&error)), answer: None },
        }
    }
}

const NAMES: [(i32, &str); 36] = [
    (libc::E2BIG, "E2BIG"),
    (libc::EACCES, "EACCES"),
    (libc::EADDRINUSE, "EADDRINUSE"),
    (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL"),
    (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
    (libc::EAGAIN, "EAGAIN"),
    (libc::EBADF, "EBADF"),
    (libc::EBUSY, "EBUSY"),
    (libc::ECONNREFUSED, "ECONNREFUSED"),
    (libc::ECONNRESET, "ECONNRESET"),
    (libc::ECONNABORTED, "ECONNABORTED"),
    (libc::EDESTADDRREQ, "EDESTADDRREQ"),
    (libc::EEXIST, "EEXIST"),
    (libc::EFAULT, "EFAULT"),
    (libc::EHOSTUNREACH, "EHOSTUNREACH"),
    (libc::EINVAL, "EINVAL"),
    (libc::EIO, "EIO"),
    (libc::EMSGSIZE, "EMSGSIZE"),
    (libc::ENETUNREACH, "ENETUNREACH"),
    (libc::ENOBUFS, "ENOBUFS"),
    (libc::ENODEV, "ENODEV"),
    (libc::ENOENT, "ENOENT"),
    (libc::ENOMEM, "ENOMEM"),
    (libc::ENOPROTOOPT, "ENOPROTOOPT"),
    (libc::ENOSPC, "ENOSPC"),
    (libc::ENOSYS, "ENOSYS"),
    (libc::ENOTCONN, "ENOTCONN"),
    (libc::ENXIO, "ENXIO"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    (libc::EPERM, "EPERM"),
    (libc::EPIPE, "EPIPE"),
    (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
    (libc::EPROTOTYPE, "EPROTOTYPE"),
    (libc::ESOCKTNOSUPPORT, "ESOCKTNOSUPPORT"),
    (libc::ESRCH, "ESRCH"),
    (libc::ETIMEDOUT, "ETIMEDOUT"),
];

/// An error by the name that manual pages give it.
fn name(error: &io::Error) -> String {
    let number = error.raw_os_error();
    let known = NAMES.iter().find(|(value, _)| Some(*value) == number);
    known.map_or_else(|| error.to_string(), |(_, name)| (*name).to_owned())
}
