//! Leads everything inside a run to the gate by the network's own means, where no kernel program may be attached.
//!
//! Every address there is belongs to loopback; nftables send each connection that is for somebody else to the intake,
//! questions for names to the responder, and refuse the rest. There is no interface besides, so that what they did
//! not cover would still lead nowhere; a run starts only after it has been seen that they do what they should.

use std::{
    ffi::OsStr,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    net::sockopt,
    thread::CapabilitySet,
};

use crate::{
    listeners::{DNS_PORT, INTAKE_PORT, Listeners},
    sys, userns,
};

/// Where distributions put `nft`. Looked at before PATH, in whose folders a governed command may have left one.
const PLACES: [&str; 3] = ["/usr/sbin", "/usr/bin", "/sbin"];

/// TEST-NET-1 and the documentation prefix (RFC 5737, RFC 3849): nobody's addresses, to try the rules with.
const NOWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const NOWHERE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// How long a packet within this machine may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// The rules, as `nft -f -` reads them.
///
/// Redirection comes first (-100), so that `inside` sees where a packet really goes: to the gate, or to a loopback
/// address that the program named. What is neither is dropped, which a program that sends datagrams sees as EPERM; a
/// connection to the intake by its own name is reset, so that it fails at once. `ct direction reply` is what the gate
/// and programs inside answer, also to an address that a client bound because everything here is local.
fn rules() -> String {
    format!(
        "table inet tollgate {{
  chain to_gate {{
    type nat hook output priority -100; policy accept;
    meta l4proto {{ tcp, udp }} th dport {DNS_PORT} redirect to :{DNS_PORT}
    ip daddr 127.0.0.0/8 accept
    ip6 daddr ::1 accept
    meta l4proto tcp redirect to :{INTAKE_PORT}
  }}
  chain inside {{
    type filter hook output priority 0; policy drop;
    ct direction reply accept
    tcp dport {INTAKE_PORT} ct status dnat accept
    tcp dport {INTAKE_PORT} reject with tcp reset
    meta l4proto {{ tcp, udp }} ip daddr 127.0.0.0/8 accept
    meta l4proto {{ tcp, udp }} ip6 daddr ::1 accept
    icmp type destination-unreachable accept
    icmpv6 type destination-unreachable accept
  }}
  chain floor {{
    type filter hook postrouting priority 300; policy drop;
    oifname \"lo\" accept
  }}
  chain forward {{
    type filter hook forward priority 0; policy drop;
  }}
}}
"
    )
}

/// In a child that is in the run's namespaces: loads the rules, and sees that they hold. `listeners` are the gate's.
pub(crate) fn lead(listeners: &Listeners) -> Result<(), String> {
    let nft = nft(std::env::var_os("PATH").as_deref())?;
    load(&nft, &rules())?;
    for (at, nowhere) in [
        (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(NOWHERE)),
        (IpAddr::from(Ipv6Addr::LOCALHOST), IpAddr::from(NOWHERE6)),
    ] {
        let intake = listeners
            .intake
            .iter()
            .find(|listener| listener.local_addr().is_ok_and(|address| address.ip() == at));
        // A kernel without IPv6 has no such listener, and nothing to send by it.
        if let Some(intake) = intake {
            proven(intake, at, nowhere)
                .map_err(|error| format!("the redirection does not hold for {nowhere}: {error}"))?;
        }
    }
    Ok(())
}

fn nft(path: Option<&OsStr>) -> Result<PathBuf, String> {
    let path = path.unwrap_or_default();
    let folders = PLACES.iter().map(PathBuf::from).chain(std::env::split_paths(path));
    let mut absolute =
        folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join("nft"));
    absolute.find(|file| file.is_file()).ok_or_else(|| {
        "nft is not there, which sets the redirection up: apt install nftables (or your distribution's package of \
         that name), or use sudo"
            .to_owned()
    })
}

fn load(nft: &Path, rules: &str) -> Result<(), String> {
    let failed = |error: io::Error| format!("starting {}: {error}", nft.display());
    userns::keep_capabilities(CapabilitySet::NET_ADMIN)
        .map_err(|error| userns::refused("keeping CAP_NET_ADMIN", &error))?;
    let child = Command::new(nft)
        .args(["-f", "-"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    // For that program alone.
    rustix::thread::clear_ambient_capability_set()
        .map_err(|error| format!("clearing ambient capabilities: {error}"))?;
    let mut child = child.map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ended before it read them says why.
        sys::tolerate(stdin.write_all(rules.as_bytes()));
    }
    let done = child.wait_with_output().map_err(failed)?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(format!(
        "{} did not take the redirection ({}): the kernel needs nf_tables with NAT (modules nft_chain_nat, \
         nft_redir, nft_ct, nft_reject_inet); load them, or use sudo",
        nft.display(),
        said.first().copied().unwrap_or("without a word")
    ))
}

/// One connection that is led to the intake with its destination, one that must not get there, one datagram that
/// must not leave.
fn proven(intake: &TcpListener, at: IpAddr, nowhere: IpAddr) -> io::Result<()> {
    let other = |what: &str| io::Error::other(what.to_owned());
    let wanted = SocketAddr::new(nowhere, INTAKE_PORT);
    // The listener's backlog takes the connection, so nobody needs to accept meanwhile.
    let caller = TcpStream::connect_timeout(&wanted, PATIENCE)?;
    arrived(intake)?;
    let (accepted, _) = intake.accept()?;
    if original_destination(&accepted) != Some(wanted) {
        return Err(other("a connection did not arrive with its destination"));
    }
    drop((caller, accepted));
    match TcpStream::connect_timeout(&SocketAddr::new(at, INTAKE_PORT), PATIENCE) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) => return Err(error),
        Ok(_) => return Err(other("the intake is reached by its own name")),
    }
    match UdpSocket::bind((at, 0))?.send_to(b"x", SocketAddr::new(nowhere, 443)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(other("a datagram was not refused")),
    }
}

/// Waits until there is a connection to accept.
fn arrived(intake: &TcpListener) -> io::Result<()> {
    let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    let mut ready = [PollFd::new(intake, PollFlags::IN)];
    match rustix::io::retry_on_intr(|| rustix::event::poll(&mut ready, Some(&patience)))? {
        0 => Err(io::Error::other("a connection did not arrive")),
        _ => Ok(()),
    }
}

/// Where a connection that nftables redirected wanted to go, by the kernel's own record of it; nothing where there is
/// no such record, or it names the very socket that accepted: then it must be closed.
///
/// Needs no capability, and may be asked from outside of the connection's network.
#[must_use]
pub fn original_destination(accepted: impl AsFd) -> Option<SocketAddr> {
    let at = SocketAddr::try_from(rustix::net::getsockname(&accepted).ok()?).ok()?;
    let wanted = match at {
        SocketAddr::V4(_) => SocketAddr::from(sockopt::ip_original_dst(&accepted).ok()?),
        SocketAddr::V6(_) => SocketAddr::from(sockopt::ipv6_original_dst(&accepted).ok()?),
    };
    (!wanted.ip().is_loopback() && !wanted.ip().is_unspecified()).then_some(wanted)
}
