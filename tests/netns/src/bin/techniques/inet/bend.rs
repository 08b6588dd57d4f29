//! Options, ancillary data and identities that make a socket leave by another way than its address says.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd};

use netns::attempt::{At as _, Attempt, Stop};
use netns::sys::{self, Address, Ancillary};

// Of linux/in.h, in6.h, socket.h and udp.h; not all are in libc.
const SO_BINDTOIFINDEX: i32 = 62;
const IP_UNICAST_IF: i32 = 50;
const IPV6_UNICAST_IF: i32 = 76;
const IPV6_NEXTHOP: i32 = 9;
const IPV6_RTHDR: i32 = 57;
const IPV6_FREEBIND: i32 = 78;
const UDP_SEGMENT: i32 = 103;
const TCP_FASTOPEN_CONNECT: i32 = 30;
/// The loose and the strict source route of RFC 791.
const LSRR: u8 = 131;
const SSRR: u8 = 137;

/// What is changed of the process before it opens a socket.
pub(crate) fn whole_process(attempt: &Attempt) -> Result<(), Stop> {
    if attempt.says("files-as-gate") {
        sys::files_as(attempt.site.gate_uid);
    }
    if attempt.says("as-gate") {
        sys::become_user(attempt.site.gate_uid, attempt.site.gate_uid).at("setuid")?;
    }
    if attempt.says("enter-world") {
        let outside = std::fs::File::open(&attempt.site.outside).at("open")?;
        sys::enter(outside.as_fd()).at("setns")?;
    }
    if attempt.says("own-cgroup") {
        own_cgroup(attempt.says("threaded"))?;
    }
    if attempt.says("new-cgroups") {
        sys::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWCGROUP).at("unshare")?;
    }
    Ok(())
}

/// Makes a cgroup below its own, by a mount of its own in a user namespace, and goes there, or as a thread alone.
fn own_cgroup(threaded: bool) -> Result<(), Stop> {
    const AT: &str = "/mnt";
    let namespaces = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP;
    sys::unshare(namespaces).at("unshare")?;
    std::fs::write("/proc/self/uid_map", "0 0 1").at("uid_map")?;
    sys::mount("none", AT, "cgroup2", 0).at("mount")?;
    let own = format!("{AT}/own");
    made(&own)
        .and_then(|()| std::fs::write(format!("{own}/cgroup.procs"), "0"))
        .at("own cgroup")?;
    if !threaded {
        return Ok(());
    }
    // A thread goes about within the domain of its process only.
    let threads = format!("{own}/threads");
    made(&threads)
        .and_then(|()| std::fs::write(format!("{threads}/cgroup.type"), "threaded"))
        .and_then(|()| std::fs::write(format!("{threads}/cgroup.threads"), "0"))
        .at("threaded cgroup")
}

/// Makes a folder, or takes the one that an attempt before this one made.
fn made(folder: &str) -> std::io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Whether only a message with ancillary data can carry what the words say.
pub(super) fn needs_message(attempt: &Attempt) -> bool {
    const WORDS: [&str; 4] = ["pktinfo", "lsrr-cmsg", "mark-cmsg", "gso"];
    WORDS.iter().any(|word| attempt.says(word))
}

/// Sets the options that the words name, in their order.
pub(super) fn socket(attempt: &Attempt, fd: BorrowedFd<'_>) -> Result<(), Stop> {
    for word in &attempt.words {
        option(attempt, fd, word)?;
    }
    Ok(())
}

fn option(attempt: &Attempt, fd: BorrowedFd<'_>, word: &str) -> Result<(), Stop> {
    use libc::{IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, SOL_SOCKET};
    let index = || sys::interface(&attempt.site.device).at("interface");
    let v6 = attempt.says("v6");
    let set = |level, name, value: &[u8]| sys::set_option(fd, level, name, value).at(word);
    match word {
        "device" => set(SOL_SOCKET, libc::SO_BINDTODEVICE, attempt.site.device.as_bytes()),
        "ifindex" => set(SOL_SOCKET, SO_BINDTOIFINDEX, &index()?.to_ne_bytes()),
        "unicast-if" if v6 => set(IPPROTO_IPV6, IPV6_UNICAST_IF, &index()?.to_be_bytes()),
        "unicast-if" => set(IPPROTO_IP, IP_UNICAST_IF, &index()?.to_be_bytes()),
        "multicast-if" => {
            let index = index()?.to_ne_bytes();
            set(IPPROTO_IP, libc::IP_MULTICAST_IF, &[&[0; 8][..], &index].concat())
        }
        "broadcast" => set(SOL_SOCKET, libc::SO_BROADCAST, &1_i32.to_ne_bytes()),
        "mark" => set(SOL_SOCKET, libc::SO_MARK, &attempt.site.mark.to_ne_bytes()),
        "transparent" => {
            set(IPPROTO_IP, libc::IP_TRANSPARENT, &1_i32.to_ne_bytes())?;
            let foreign = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 78), 0));
            sys::bind(fd, &Address::inet(foreign, 0)).at("bind to a foreign address")
        }
        "freebind" => {
            let (level, name) =
                if v6 { (IPPROTO_IPV6, IPV6_FREEBIND) } else { (IPPROTO_IP, libc::IP_FREEBIND) };
            set(level, name, &1_i32.to_ne_bytes())?;
            // Who answers this socket answers the attempt's destination.
            let from = SocketAddr::new(attempt.to(v6).ip(), 0);
            sys::bind(fd, &Address::inet(from, 0)).at("bind to a foreign address")
        }
        "freebind-ip" => {
            // A socket of IPv6 takes the options of IP too.
            set(IPPROTO_IP, libc::IP_FREEBIND, &1_i32.to_ne_bytes())?;
            let from = SocketAddr::new(attempt.to(v6).ip(), 0);
            sys::bind(fd, &Address::inet(from, 0)).at("bind to a foreign address")
        }
        "bound-link-local" => {
            let own = own_link_local(attempt).at("own link-local address")?;
            sys::bind(fd, &Address::inet(SocketAddr::from((own, 0)), index()?)).at("bind")
        }
        "fastopen-connect" => set(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &1_i32.to_ne_bytes()),
        "rthdr" => set(IPPROTO_IPV6, IPV6_RTHDR, &segment_routing(attempt)),
        "lsrr" => set(IPPROTO_IP, libc::IP_OPTIONS, &source_route(LSRR, attempt.v4)),
        // The next hop of a strict route has to be a neighbour.
        "ssrr" => set(IPPROTO_IP, libc::IP_OPTIONS, &source_route(SSRR, attempt.site.world.0)),
        "nexthop" => set(IPPROTO_IPV6, IPV6_NEXTHOP, next_hop(attempt).bytes()),
        "pktinfo-option" => {
            set(IPPROTO_IPV6, libc::IPV6_PKTINFO, &packet_info6(attempt, Ipv6Addr::UNSPECIFIED)?)
        }
        "hdrincl" if v6 => set(IPPROTO_IPV6, libc::IPV6_HDRINCL, &1_i32.to_ne_bytes()),
        "hdrincl" => set(IPPROTO_IP, libc::IP_HDRINCL, &1_i32.to_ne_bytes()),
        "bound" => {
            let (v4, own) = attempt.site.pod;
            let from = if v6 { SocketAddr::from((own, 0)) } else { SocketAddr::from((v4, 0)) };
            sys::bind(fd, &Address::inet(from, 0)).at("bind")
        }
        "new-network" => sys::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET).at("unshare"),
        _ => Ok(()),
    }
}

/// The ancillary data that the words name.
pub(crate) fn message(attempt: &Attempt) -> Result<Vec<Ancillary>, Stop> {
    use libc::{IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, SOL_SOCKET};
    let v6 = attempt.says("v6");
    let mut pieces = Vec::new();
    let mut add = |level, kind, bytes: Vec<u8>| pieces.push(Ancillary { level, kind, bytes });
    for word in &attempt.words {
        match word.as_str() {
            "pktinfo" if v6 => {
                let bytes = packet_info6(attempt, attempt.site.pod.1)?;
                add(IPPROTO_IPV6, libc::IPV6_PKTINFO, bytes);
            }
            "pktinfo" => {
                let index = sys::interface(&attempt.site.device).at("interface")?;
                let bytes = [index.to_ne_bytes(), [0; 4], [0; 4]].concat();
                add(IPPROTO_IP, libc::IP_PKTINFO, bytes);
            }
            "lsrr-cmsg" => add(IPPROTO_IP, libc::IP_RETOPTS, source_route(LSRR, attempt.v4)),
            "mark-cmsg" => {
                add(SOL_SOCKET, libc::SO_MARK, attempt.site.mark.to_ne_bytes().to_vec());
            }
            "gso" => {
                let half = super::payload(attempt).len() / 2;
                let half = u16::try_from(half).unwrap_or(u16::MAX);
                add(IPPROTO_UDP, UDP_SEGMENT, half.to_ne_bytes().to_vec());
            }
            _ => {}
        }
    }
    Ok(pieces)
}

fn packet_info6(attempt: &Attempt, from: Ipv6Addr) -> Result<Vec<u8>, Stop> {
    let index = sys::interface(&attempt.site.device).at("interface")?;
    Ok([&from.octets()[..], &index.to_ne_bytes()].concat())
}

/// The link-local address that the kernel lists for the interface.
fn own_link_local(attempt: &Attempt) -> std::io::Result<Ipv6Addr> {
    let listed = std::fs::read_to_string("/proc/net/if_inet6")?;
    let line = listed
        .lines()
        .find(|line| line.starts_with("fe80") && line.ends_with(&attempt.site.device));
    let number = line.and_then(|line| line.split_whitespace().next());
    let number = number.and_then(|digits| u128::from_str_radix(digits, 16).ok());
    number.map(Ipv6Addr::from_bits).ok_or_else(|| std::io::Error::from_raw_os_error(libc::ENOENT))
}

fn next_hop(attempt: &Attempt) -> Address {
    Address::inet(SocketAddr::from((attempt.site.world.1, 0)), 0)
}

/// A routing header of type 4 (RFC 8754) with one segment in the world before the destination.
fn segment_routing(attempt: &Attempt) -> Vec<u8> {
    let (segments_left, last_entry) = (1, 1);
    let head = [0, 4, 4, segments_left, last_entry, 0, 0, 0];
    [&head[..], &Ipv6Addr::LOCALHOST.octets(), &attempt.v6.octets()].concat()
}

/// A source route of one hop in the world (RFC 791), padded to four bytes.
fn source_route(kind: u8, hop: Ipv4Addr) -> Vec<u8> {
    [&[kind, 7, 4][..], &hop.octets(), &[0]].concat()
}
