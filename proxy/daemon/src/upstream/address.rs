//! Every address belongs to exactly one class, and what no table names as globally reachable is not public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use decide::case::AddressClass;

/// The class of `ip`, by the IANA special-purpose registries (RFC 6890 and successors) and the addresses at
/// which cloud platforms serve their metadata.
#[must_use]
pub fn classify(ip: IpAddr) -> AddressClass {
    match ip {
        IpAddr::V4(v4) => class_of_v4(v4),
        IpAddr::V6(v6) => class_of_v6(v6),
    }
}

fn class_of_v4(ip: Ipv4Addr) -> AddressClass {
    match ip.octets() {
        [127, ..] => AddressClass::Loopback,
        // Metadata and host services outside 169.254/16: Alibaba, Oracle (classic), Azure's host endpoint.
        [169, 254, ..] | [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] => {
            AddressClass::LinkLocal
        }
        [10, ..] | [100, 64..=127, ..] | [172, 16..=31, ..] | [192, 168, ..] => {
            AddressClass::Private
        }
        // The 6to4 relay anycast prefix stands for whoever relays.
        [192, 88, 99, _] => AddressClass::Embedded,
        // "This network", protocol assignments, documentation, AS112 and AMT, benchmarking, multicast, future use,
        // broadcast.
        [0 | 224..=255, ..]
        | [192, 0, 0 | 2, _]
        | [192, 31, 196, _]
        | [192, 52, 193, _]
        | [192, 175, 48, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => AddressClass::Reserved,
        _ => AddressClass::Public,
    }
}

#[expect(
    clippy::match_same_arms,
    reason = "a table read from the top: narrower blocks stand above wider ones"
)]
fn class_of_v6(ip: Ipv6Addr) -> AddressClass {
    match ip.segments() {
        // What is dialled there is the v4 address inside: the kernel's own mapping, and the well-known prefix of
        // NAT64, through which networks of v6 alone reach all the rest (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            class_of_v4(Ipv4Addr::new(a, b, c, d))
        }
        [0, 0, 0, 0, 0, 0, 0, 0] => AddressClass::Reserved,
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressClass::Loopback,
        // v4-compatible, v4-translated (SIIT), NAT64 for local use, Teredo, 6to4: where these lead is up to some
        // translator or relay.
        [0, 0, 0, 0, 0 | 0xffff, 0, ..]
        | [0x64, 0xff9b, 1, ..]
        | [0x2001, 0, ..]
        | [0x2002, ..] => AddressClass::Embedded,
        // The metadata service of EC2 lies in the ULA block.
        [0xfe80..=0xfebf, ..] | [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => AddressClass::LinkLocal,
        // ULA, and the site-local block it replaced.
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => AddressClass::Private,
        // Protocol assignments (2001::/23), documentation (2001:db8::/32, 3fff::/20).
        [0x2001, 1..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => AddressClass::Reserved,
        // An interface identifier of ISATAP holds a v4 address below any prefix.
        [0x2000..=0x3fff, _, _, _, 0 | 0x200, 0x5efe, ..] => AddressClass::Embedded,
        // Only 2000::/3 is allocated for global unicast.
        [0x2000..=0x3fff, ..] => AddressClass::Public,
        _ => AddressClass::Reserved,
    }
}

#[cfg(test)]
mod tests {
    use AddressClass::{Embedded, LinkLocal, Loopback, Private, Public, Reserved};

    use super::*;

    const TABLE: &[(&str, AddressClass)] = &[
        ("1.1.1.1", Public),
        ("9.255.255.255", Public),
        ("11.0.0.0", Public),
        ("100.63.255.255", Public),
        ("100.128.0.0", Public),
        ("172.15.255.255", Public),
        ("172.32.0.0", Public),
        ("192.167.255.255", Public),
        ("192.169.0.0", Public),
        ("198.17.255.255", Public),
        ("198.20.0.0", Public),
        ("223.255.255.255", Public),
        ("0.0.0.0", Reserved),
        ("0.255.255.255", Reserved),
        ("10.0.0.1", Private),
        ("10.255.255.255", Private),
        ("100.64.0.0", Private),
        ("100.127.255.255", Private),
        ("100.100.100.200", LinkLocal),
        ("127.0.0.1", Loopback),
        ("127.255.255.254", Loopback),
        ("168.63.129.16", LinkLocal),
        ("169.254.169.254", LinkLocal),
        ("169.254.170.2", LinkLocal),
        ("172.16.0.0", Private),
        ("172.31.255.255", Private),
        ("192.0.0.1", Reserved),
        ("192.0.0.192", LinkLocal),
        ("192.0.2.1", Reserved),
        ("192.31.196.1", Reserved),
        ("192.52.193.1", Reserved),
        ("192.88.99.1", Embedded),
        ("192.168.255.255", Private),
        ("192.175.48.1", Reserved),
        ("198.18.0.1", Reserved),
        ("198.19.255.255", Reserved),
        ("198.51.100.9", Reserved),
        ("203.0.113.9", Reserved),
        ("224.0.0.1", Reserved),
        ("240.0.0.1", Reserved),
        ("255.255.255.255", Reserved),
        ("2606:4700:4700::1111", Public),
        ("2001:200::1", Public),
        ("2001:4860:4860::8888", Public),
        ("::", Reserved),
        ("::1", Loopback),
        ("::2", Embedded),
        ("::127.0.0.1", Embedded),
        ("::ffff:127.0.0.1", Loopback),
        ("::ffff:10.0.0.1", Private),
        ("::ffff:169.254.169.254", LinkLocal),
        ("::ffff:0.0.0.0", Reserved),
        ("::ffff:8.8.8.8", Public),
        ("::ffff:0:10.0.0.1", Embedded),
        ("64:ff9b::10.0.0.1", Private),
        ("64:ff9b::127.0.0.1", Loopback),
        ("64:ff9b::169.254.169.254", LinkLocal),
        ("64:ff9b::100.64.0.1", Private),
        ("64:ff9b::8.8.8.8", Public),
        ("64:ff9b::1:8.8.8.8", Reserved),
        ("64:ff9b:1::1", Embedded),
        ("64:ff9b:1::8.8.8.8", Embedded),
        ("64:ff9b:2::1", Reserved),
        ("100::1", Reserved),
        ("2001::1", Embedded),
        ("2001:2::1", Reserved),
        ("2001:10::1", Reserved),
        ("2001:20::1", Reserved),
        ("2001:1ff::1", Reserved),
        ("2001:db8::1", Reserved),
        ("2002:7f00:1::", Embedded),
        ("2606:4700::5efe:a00:1", Embedded),
        ("2606:4700::200:5efe:a00:1", Embedded),
        ("3fff::1", Reserved),
        ("3fff:1000::1", Public),
        ("4000::1", Reserved),
        ("5f00::1", Reserved),
        ("fc00::1", Private),
        ("fd00:ec2::254", LinkLocal),
        ("fd00:ec2::253", Private),
        ("fdff::1", Private),
        ("fe80::1", LinkLocal),
        ("febf::1", LinkLocal),
        ("fec0::1", Private),
        ("ff02::1", Reserved),
    ];

    #[test]
    fn each_special_range_is_classed_at_its_edges() {
        for (text, class) in TABLE {
            assert_eq!(classify(text.parse().unwrap()), *class, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_v4_address_inside_v6_is_judged_as_that_address_or_never_public(v4: u32) {
            let v4 = Ipv4Addr::from(v4);
            let nat64 = Ipv6Addr::from((0x64_ff9b_u128 << 96) | u128::from(u32::from(v4)));
            for inside in [v4.to_ipv6_mapped(), nat64] {
                proptest::prop_assert_eq!(classify(inside.into()), classify(v4.into()));
            }
            let six_to_four = Ipv6Addr::from((0x2002_u128 << 112) | (u128::from(u32::from(v4)) << 80) | 1);
            let teredo = Ipv6Addr::from((0x2001_u128 << 112) | u128::from(!u32::from(v4)));
            let local_nat64 = Ipv6Addr::from((0x64_ff9b_0001_u128 << 80) | u128::from(u32::from(v4)));
            for inside in [v4.to_ipv6_compatible(), six_to_four, teredo, local_nat64] {
                proptest::prop_assert_ne!(classify(inside.into()), Public);
            }
        }
    }
}
