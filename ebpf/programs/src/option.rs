//! Lists the socket options that choose an interface, a route or a mark.

// Names and numbers of `linux/in.h`, `linux/in6.h` and `asm-generic/socket.h`.
const SOL_IP: i32 = 0;
const SOL_SOCKET: i32 = 1;
const SOL_IPV6: i32 = 41;

const SO_BINDTODEVICE: i32 = 25;
const SO_MARK: i32 = 36;
const SO_BINDTOIFINDEX: i32 = 62;

const IP_OPTIONS: i32 = 4;
const IP_TRANSPARENT: i32 = 19;
const IP_UNICAST_IF: i32 = 50;

const IPV6_2292PKTOPTIONS: i32 = 6;
const IPV6_RTHDR: i32 = 57;
const IPV6_TRANSPARENT: i32 = 75;
const IPV6_UNICAST_IF: i32 = 76;

/// Whether an option of this name at this level is kept from what is governed.
#[inline(always)]
pub fn is_kept_back(level: i32, name: i32) -> bool {
    match level {
        SOL_SOCKET => matches!(name, SO_BINDTODEVICE | SO_MARK | SO_BINDTOIFINDEX),
        SOL_IP => matches!(name, IP_OPTIONS | IP_TRANSPARENT | IP_UNICAST_IF),
        SOL_IPV6 => {
            matches!(name, IPV6_2292PKTOPTIONS | IPV6_RTHDR | IPV6_TRANSPARENT | IPV6_UNICAST_IF)
        }
        _ => false,
    }
}
