//! Sockets of the internet families: what is opened, how it is bent, where it is pointed and by which call it sends.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use netns::attempt::{At as _, Attempt, METADATA, Met, Stop};
use netns::container::CHANNEL;
use netns::sys::{self, Address, Ancillary};

pub(crate) mod bend;
mod payload;

pub(crate) use payload::payload;

/// How long an answer or the end of a handshake is waited for, in milliseconds.
const PATIENCE: i32 = 250;

/// Carries out what the words of the attempt say.
pub(crate) fn run(attempt: &Attempt) -> Met {
    let plan = Plan::read(attempt)?;
    if attempt.says("inherited") {
        return on(attempt, &sys::close_on_exec(CHANNEL).at("inherited")?);
    }
    if attempt.says("passed") {
        let channel = sys::close_on_exec(CHANNEL).at("channel")?;
        return on(attempt, &sys::receive_descriptor(channel.as_fd()).at("recvmsg")?);
    }
    bend::whole_process(attempt)?;
    let socket = plan.open().at("socket")?;
    bend::socket(attempt, socket.as_fd())?;
    send(attempt, &plan, socket.as_fd())
}

/// A socket as the words say, connected and greeted where they say so.
pub(crate) fn open_and_greet(attempt: &Attempt) -> Result<OwnedFd, Stop> {
    let plan = Plan::read(attempt)?;
    let socket = plan.open().at("socket")?;
    if attempt.says("connected") {
        sys::connect(socket.as_fd(), &plan.to).at("connect")?;
        if plan.kind == libc::SOCK_STREAM {
            heard(socket.as_fd())?;
        }
    }
    Ok(socket)
}

/// On a socket that is there already: what the words say, or only the sending where it is connected.
pub(crate) fn on(attempt: &Attempt, socket: &OwnedFd) -> Met {
    let plan = Plan::read(attempt)?;
    bend::socket(attempt, socket.as_fd())?;
    if !attempt.says("connected") {
        return send(attempt, &plan, socket.as_fd());
    }
    if plan.kind == libc::SOCK_STREAM {
        return stream(attempt, socket.as_fd(), &plan.to, true);
    }
    datagram(attempt, &plan, socket.as_fd(), None)
}

/// Closes a connection over what it has still to say, which the kernel then says for nobody, until it is heard.
pub(crate) fn leave(attempt: &Attempt, socket: OwnedFd) -> Met {
    bend::socket(attempt, socket.as_fd())?;
    sys::send_to(socket.as_fd(), &payload(attempt), 0, None).at("send")?;
    drop(socket);
    // Longer than the kernel waits before it says it again (200 ms, RFC 6298 with Linux's minimum).
    std::thread::sleep(std::time::Duration::from_millis(700));
    Ok(None)
}

/// Sends on a socket that is there already, as the words say.
pub(crate) fn send(attempt: &Attempt, plan: &Plan, socket: BorrowedFd<'_>) -> Met {
    match plan.form {
        Form::Connect => stream(attempt, socket, &plan.to, false),
        Form::FastOpen => fast_open(attempt, socket, &plan.to),
        Form::ConnectSend => {
            sys::connect(socket, &plan.to).at("connect")?;
            datagram(attempt, plan, socket, None)
        }
        Form::AfterRefusal => {
            let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
            // Refused by nobody's port; the socket may be connected anew.
            drop(sys::connect(socket, &Address::inet(nobody, 0)));
            stream(attempt, socket, &plan.to, false)
        }
        Form::QuestionThenWorld => {
            let server = SocketAddr::from((attempt.v4, 53));
            sys::connect(socket, &Address::inet(server, 0)).at("connect to a name server")?;
            datagram(attempt, plan, socket, Some(&plan.to))
        }
        Form::ItselfThenWorld => {
            // Not 127.0.0.1: with that as its source nothing may leave a machine.
            let first = SocketAddr::from((attempt.site.pod.0, 9));
            sys::connect(socket, &Address::inet(first, 0)).at("connect to itself")?;
            datagram(attempt, plan, socket, Some(&plan.to))
        }
        Form::SendTo => datagram(attempt, plan, socket, Some(&plan.to)),
    }
}

/// What the words come to.
pub(crate) struct Plan {
    family: i32,
    kind: i32,
    protocol: i32,
    form: Form,
    call: Call,
    pub(crate) to: Address,
}

/// In which steps it leaves.
#[derive(Clone, Copy)]
enum Form {
    Connect,
    FastOpen,
    ConnectSend,
    AfterRefusal,
    QuestionThenWorld,
    ItselfThenWorld,
    SendTo,
}

/// By which system call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    SendTo,
    SendMessage,
    SendMany,
    More,
}

impl Plan {
    pub(crate) fn read(attempt: &Attempt) -> Result<Self, Stop> {
        let (kind, protocol) = protocol(attempt)?;
        let v6_socket = ["v6", "mapped", "v4on6"].iter().any(|word| attempt.says(word));
        let form = if attempt.says("fastopen") {
            Form::FastOpen
        } else if attempt.says("after-refusal") {
            Form::AfterRefusal
        } else if kind == libc::SOCK_STREAM {
            Form::Connect
        } else if attempt.says("connect") {
            Form::ConnectSend
        } else if attempt.says("connect-server") {
            Form::QuestionThenWorld
        } else if attempt.says("connect-itself") {
            Form::ItselfThenWorld
        } else {
            Form::SendTo
        };
        let call = if attempt.says("sendmmsg") {
            Call::SendMany
        } else if attempt.says("more") {
            Call::More
        } else if attempt.says("sendmsg") || bend::needs_message(attempt) {
            Call::SendMessage
        } else {
            Call::SendTo
        };
        let family = if v6_socket { libc::AF_INET6 } else { libc::AF_INET };
        Ok(Self { family, kind, protocol, form, call, to: target(attempt)? })
    }

    /// Family, type and protocol.
    pub(crate) fn kind(&self) -> (i32, i32, i32) {
        (self.family, self.kind, self.protocol)
    }

    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        sys::socket(self.family, self.kind, self.protocol)
    }
}

/// Type and protocol of the socket.
fn protocol(attempt: &Attempt) -> Result<(i32, i32), Stop> {
    const UDPLITE: i32 = 136;
    const MPTCP: i32 = 262;
    const SCTP: i32 = 132;
    const DCCP: i32 = 33;
    const L2TP: i32 = 115;
    const SOCK_DCCP: i32 = 6;
    let v6 = attempt.says("v6");
    let known = [
        ("tcp", libc::SOCK_STREAM, libc::IPPROTO_TCP),
        ("mptcp", libc::SOCK_STREAM, MPTCP),
        ("sctp", libc::SOCK_STREAM, SCTP),
        ("dccp", SOCK_DCCP, DCCP),
        ("smc", libc::SOCK_STREAM, 256),
        ("udp", libc::SOCK_DGRAM, libc::IPPROTO_UDP),
        ("udplite", libc::SOCK_DGRAM, UDPLITE),
        ("l2tp", libc::SOCK_DGRAM, L2TP),
        ("ping", libc::SOCK_DGRAM, if v6 { libc::IPPROTO_ICMPV6 } else { libc::IPPROTO_ICMP }),
        ("icmp", libc::SOCK_RAW, if v6 { libc::IPPROTO_ICMPV6 } else { libc::IPPROTO_ICMP }),
        ("raw253", libc::SOCK_RAW, 253),
        ("rawip", libc::SOCK_RAW, libc::IPPROTO_RAW),
    ];
    let found = known.iter().find(|(word, ..)| attempt.says(word));
    found.map(|(_, kind, protocol)| (*kind, *protocol)).ok_or_else(|| unsaid("protocol"))
}

fn unsaid(what: &str) -> Stop {
    Stop { step: "begin".to_owned(), error: io::Error::other(format!("the words say no {what}")) }
}

/// Where it is pointed at.
fn target(attempt: &Attempt) -> Result<Address, Stop> {
    let v6 = attempt.says("v6");
    let mut to = attempt.to(v6);
    let mut scope = 0;
    let at = |v4: Ipv4Addr, v6_address: Ipv6Addr, port| {
        if v6 { SocketAddr::from((v6_address, port)) } else { SocketAddr::from((v4, port)) }
    };
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
    for word in &attempt.words {
        let port = to.port();
        match word.as_str() {
            "to-loopback" => to = at(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST, port),
            "to-broadcast" => to = at(Ipv4Addr::BROADCAST, group, port),
            "to-multicast" => to = at(Ipv4Addr::new(224, 0, 0, 251), group, port),
            "to-metadata" => to = at(METADATA.0, METADATA.1, port),
            "to-neighbour" => {
                to = at(attempt.site.world.0, attempt.site.neighbour(), port);
                scope = sys::interface(&attempt.site.device).at("interface")?;
            }
            "quic" => to.set_port(443),
            "dns" => to.set_port(53),
            _ => {}
        }
    }
    if attempt.says("mapped") {
        to = SocketAddr::from((attempt.v4.to_ipv6_mapped(), to.port()));
    }
    if attempt.says("to-multicast") && v6 {
        scope = sys::interface(&attempt.site.device).at("interface")?;
    }
    // A raw socket's address names a protocol where others name a port.
    if v6 && ["icmp", "raw253", "rawip"].iter().any(|word| attempt.says(word)) {
        to.set_port(0);
    }
    let address = Address::inet(to, scope);
    Ok(if attempt.says("unspec") { address.without_family() } else { address })
}

/// Connects without waiting for longer than [`PATIENCE`], says the marker, and hears what answers.
pub(crate) fn stream(
    attempt: &Attempt,
    socket: BorrowedFd<'_>,
    to: &Address,
    connected: bool,
) -> Met {
    sys::without_waiting(socket).at("fcntl")?;
    if !connected && let Err(error) = sys::connect(socket, to) {
        if error.raw_os_error() != Some(libc::EINPROGRESS) {
            return Err(error).at("connect");
        }
        if !sys::wait(socket, libc::POLLOUT, PATIENCE).at("poll")? {
            return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)).at("connect");
        }
        sys::pending_error(socket).at("connect")?;
    }
    if !sys::wait(socket, libc::POLLOUT, PATIENCE).at("poll")? {
        return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)).at("connect");
    }
    sys::send_to(socket, &payload(attempt), 0, None).at("send")?;
    heard(socket)
}

/// With the first bytes in the first packet, where the kernel has a cookie; else as [`stream`].
fn fast_open(attempt: &Attempt, socket: BorrowedFd<'_>, to: &Address) -> Met {
    sys::without_waiting(socket).at("fcntl")?;
    match sys::send_to(socket, &payload(attempt), libc::MSG_FASTOPEN, Some(to)) {
        Ok(_) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error).at("sendto"),
    }
    if !sys::wait(socket, libc::POLLOUT, PATIENCE).at("poll")? {
        return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)).at("sendto");
    }
    sys::pending_error(socket).at("sendto")?;
    sys::send_to(socket, &payload(attempt), 0, None).at("send")?;
    heard(socket)
}

/// Joins a group whose address is the message: the kernel itself tells the wire of it.
pub(crate) fn join(attempt: &Attempt) -> Met {
    let index = sys::interface(&attempt.site.device).at("interface")?.to_ne_bytes();
    let v6 = attempt.says("v6");
    let (family, level, name) = if v6 {
        (libc::AF_INET6, libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP)
    } else {
        (libc::AF_INET, libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP)
    };
    let socket = sys::socket(family, libc::SOCK_DGRAM, 0).at("socket")?;
    let request = if v6 {
        [&attempt.group6().octets()[..], &index].concat()
    } else {
        [&attempt.group4().octets()[..], &[0; 4], &index].concat()
    };
    sys::set_option(socket.as_fd(), level, name, &request).at("join")?;
    // The kernel tells it a moment later, as long as somebody is in the group.
    std::thread::sleep(std::time::Duration::from_millis(60));
    Ok(None)
}

/// The first line of what comes back.
pub(crate) fn heard(socket: BorrowedFd<'_>) -> Met {
    if !sys::wait(socket, libc::POLLIN, PATIENCE).at("poll")? {
        return Ok(None);
    }
    let bytes = sys::receive(socket, 0).at("receive")?;
    Ok(Some(told(&bytes)))
}

/// An answer in words: a line of text as it is, of an answer to a question its code.
fn told(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).trim().to_owned();
    if bytes.is_empty() {
        return "closed".to_owned();
    }
    if text.chars().all(|letter| letter.is_ascii_graphic() || letter == ' ') {
        return text;
    }
    // Identifier and flags come first, over TCP behind the length.
    let identified = bytes.windows(4).take(3).find(|window| window.starts_with(&[0x4e, 0x53]));
    let code = identified.and_then(|window| window.last()).map(|flags| flags & 0xf);
    code.map_or_else(|| format!("{} bytes", bytes.len()), |code| format!("response code {code}"))
}

/// One datagram by the call that the words name; a question waits for its answer.
fn datagram(attempt: &Attempt, plan: &Plan, socket: BorrowedFd<'_>, to: Option<&Address>) -> Met {
    let bytes = payload(attempt);
    match plan.call {
        Call::SendTo => sys::send_to(socket, &bytes, 0, to).at("sendto")?,
        Call::SendMany => sys::send_many(socket, &bytes, to).at("sendmmsg")?,
        Call::More => {
            sys::send_to(socket, &bytes, libc::MSG_MORE, to).at("sendto")?;
            sys::send_to(socket, &bytes, 0, to).at("sendto")?
        }
        Call::SendMessage => {
            let pieces: Vec<Ancillary> = bend::message(attempt)?;
            sys::send_message(socket, &bytes, 0, to, &pieces).at("sendmsg")?
        }
    };
    if attempt.says("dns") { heard(socket) } else { Ok(None) }
}
