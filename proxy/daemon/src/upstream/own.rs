//! An address of this machine is this machine, however public it looks: what listens there trusts its neighbours.

use std::net::{IpAddr, SocketAddr};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, getsockname, socket_with};

/// Any port will do: nothing is sent.
const DISCARD: u16 = 9;

/// Whether `ip` leads to this machine itself, by the kernel's own routes as they are now.
///
/// A datagram socket that is connected to an address of the machine has that address at its own end. What cannot be
/// found out is taken to be so.
pub(super) fn is_own(ip: IpAddr) -> bool {
    let (family, at) = match ip {
        IpAddr::V4(_) => (AddressFamily::INET, SocketAddr::new(ip, DISCARD)),
        IpAddr::V6(_) => (AddressFamily::INET6, SocketAddr::new(ip, DISCARD)),
    };
    let Ok(socket) = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None) else {
        return true;
    };
    match connect(&socket, &at) {
        Ok(()) => {}
        // There is no way there, to nobody.
        Err(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ADDRNOTAVAIL) => return false,
        Err(_) => return true,
    }
    let near = getsockname(&socket).ok().and_then(|near| SocketAddr::try_from(near).ok());
    near.is_none_or(|near| plain(near.ip()) == plain(ip))
}

/// A mapped address as the v4 address that it is.
fn plain(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_delivers_to_itself_is_own_and_nothing_else() {
        for own in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(is_own(own.parse().unwrap()), "{own}");
        }
        // Addresses for documentation: nobody has them.
        for other in ["192.0.2.77", "2001:db8::77", "::ffff:192.0.2.77"] {
            assert!(!is_own(other.parse().unwrap()), "{other}");
        }
    }

    #[expect(clippy::print_stderr, reason = "a test that did not run must not pass silently")]
    #[test]
    fn a_public_address_of_this_machine_is_own_as_soon_as_it_is_there() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("NOT TESTED: needs root");
            return;
        }
        let ip = |words: &str| {
            let done = std::process::Command::new("ip").args(words.split(' ')).status().unwrap();
            assert!(done.success(), "ip {words}");
        };
        // A thread of its own, which takes its network namespace along when it ends.
        let inside = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            ip("link set lo up");
            let (v4, v6): (IpAddr, IpAddr) =
                ("8.8.4.4".parse().unwrap(), "2606:4700::77".parse().unwrap());
            assert!(!is_own(v4) && !is_own(v6));
            ip("addr add 8.8.4.4/32 dev lo");
            ip("addr add 2606:4700::77/128 dev lo nodad");
            // A whole block that the kernel delivers to itself.
            ip("route add local 9.9.9.0/24 dev lo");
            assert!(is_own(v4) && is_own(v6) && is_own("9.9.9.7".parse().unwrap()));
            assert!(is_own("::ffff:8.8.4.4".parse().unwrap()));
            assert!(!is_own("8.8.8.8".parse().unwrap()));
        });
        inside.join().unwrap();
    }
}
