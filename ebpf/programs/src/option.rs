//! Lists the socket options that choose an interface, a route, a source that is not one's own, or a mark.

// Names and numbers of `linux/in.h`, `linux/in6.h` and `asm-generic/socket.h`.
const SOL_IP: i32 = 0;
const SOL_SOCKET: i32 = 1;
const SOL_IPV6: i32 = 41;

const SO_BINDTODEVICE: i32 = 25;
const SO_MARK: i32 = 36;
const SO_BINDTOIFINDEX: i32 = 62;

const IP_OPTIONS: i32 = 4;
const IP_FREEBIND: i32 = 15;
const IP_IPSEC_POLICY: i32 = 16;
const IP_XFRM_POLICY: i32 = 17;
const IP_TRANSPARENT: i32 = 19;
const IP_UNICAST_IF: i32 = 50;
/// From it the kernel takes a port for who listens without a name, and asks no program: where a node has widened the
/// range of its network, one of the gate's, while the gate does not run.
const IP_LOCAL_PORT_RANGE: i32 = 51;

const IPV6_2292PKTOPTIONS: i32 = 6;
const IPV6_NEXTHOP: i32 = 9;
const IPV6_IPSEC_POLICY: i32 = 34;
const IPV6_XFRM_POLICY: i32 = 35;
const IPV6_PKTINFO: i32 = 50;
const IPV6_HOPOPTS: i32 = 54;
const IPV6_RTHDRDSTOPTS: i32 = 55;
const IPV6_RTHDR: i32 = 57;
const IPV6_DSTOPTS: i32 = 59;
const IPV6_TRANSPARENT: i32 = 75;
const IPV6_UNICAST_IF: i32 = 76;
const IPV6_FREEBIND: i32 = 78;

/// Whether an option of this name at this level is kept from what is governed.
///
/// A socket of IPv6 takes the options of IP as well, and shares what they choose.
#[inline(always)]
pub fn is_kept_back(level: i32, name: i32) -> bool {
    match level {
        SOL_SOCKET => matches!(name, SO_BINDTODEVICE | SO_MARK | SO_BINDTOIFINDEX),
        SOL_IP => matches!(
            name,
            IP_OPTIONS
                | IP_FREEBIND
                | IP_IPSEC_POLICY
                | IP_XFRM_POLICY
                | IP_TRANSPARENT
                | IP_UNICAST_IF
                | IP_LOCAL_PORT_RANGE
        ),
        SOL_IPV6 => matches!(
            name,
            IPV6_2292PKTOPTIONS
                | IPV6_NEXTHOP
                | IPV6_IPSEC_POLICY
                | IPV6_XFRM_POLICY
                | IPV6_PKTINFO
                | IPV6_HOPOPTS
                | IPV6_RTHDRDSTOPTS
                | IPV6_RTHDR
                | IPV6_DSTOPTS
                | IPV6_TRANSPARENT
                | IPV6_UNICAST_IF
                | IPV6_FREEBIND
        ),
        _ => false,
    }
}
