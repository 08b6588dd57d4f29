//! Listens in a pod, whose network may have one family of addresses only.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Where connections from outside to the agent are redirected to, in either family.
pub(super) const ANY: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), INBOUND),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), INBOUND),
];
const INBOUND: u16 = 16806;

/// Listens at `at`; nothing where that is of IPv6, which this network does not have. Beside the same port of IPv4 in
/// `all` it is IPv6 alone.
///
/// # Errors
/// It cannot be listened there.
pub(super) fn tcp(at: SocketAddr, all: &[SocketAddr]) -> io::Result<Option<TcpListener>> {
    let listen = || {
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
        let beside = |other: &SocketAddr| other.is_ipv4() && other.port() == at.port();
        if at.is_ipv6() && all.iter().any(beside) {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&at.into())?;
        socket.listen(BACKLOG)?;
        Ok(TcpListener::from(socket))
    };
    unless_absent(at, listen())
}

/// The same for datagrams.
///
/// # Errors
/// It cannot be listened there.
pub(super) fn udp(at: SocketAddr) -> io::Result<Option<UdpSocket>> {
    unless_absent(at, UdpSocket::bind(at))
}

/// What the network does not have, nobody in it can be led to.
fn unless_absent<T>(at: SocketAddr, opened: io::Result<T>) -> io::Result<Option<T>> {
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if at.is_ipv6() && is_absent(&error) => {
            tracing::info!(%at, "this network has no IPv6: nothing listens there");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_absent(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_port_is_listened_at_in_both_families_at_once() {
        let v4 = tcp("0.0.0.0:0".parse().unwrap(), &[]).unwrap().unwrap();
        let port = v4.local_addr().unwrap().port();
        let all = ANY.map(|at| SocketAddr::new(at.ip(), port));
        let v6 = tcp(all[1], &all).unwrap();
        // Where this machine has no IPv6 there is nothing, and no error.
        assert!(v6.is_none_or(|v6| v6.local_addr().unwrap().port() == port));
        assert!(tcp(all[0], &all).is_err(), "it is taken");
    }

    #[test]
    fn an_address_that_this_network_does_not_have_is_left_out_in_ipv6_only() {
        assert!(tcp("[2001:db8::1]:0".parse().unwrap(), &[]).unwrap().is_none());
        assert!(udp("[2001:db8::1]:0".parse().unwrap()).unwrap().is_none());
        assert!(tcp("192.0.2.1:0".parse().unwrap(), &[]).is_err());
    }
}
