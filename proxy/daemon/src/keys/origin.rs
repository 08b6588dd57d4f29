//! Where a standing key may be used from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::intake::peer::Peer;

/// A place that a key may be used from: `address:10.0.0.0/8`, `cgroup:/a/b` or `certificate:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// An address, or a range of them.
    Address(IpNet),
    /// A control group of the unified hierarchy, and those below it.
    Cgroup(String),
    /// A name in the certificate that the caller proved to hold.
    Certificate(String),
}

/// A text names no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// It begins with none of the three kinds.
    #[error("`{0}` is not address:RANGE, cgroup:/PATH or certificate:NAME")]
    Kind(String),
    /// It is no range.
    #[error("`{0}` is not an address or a range like 10.1.2.3 or 10.1.0.0/16")]
    Range(String),
    /// The range has bits beyond its length.
    #[error("`{0}` has bits beyond its length: write {1}")]
    Bits(String, IpNet),
    /// The range binds a key to nothing.
    #[error(
        "`{0}` holds every address: leave it out, and set bearer: true in the policy if that is meant"
    )]
    Everywhere(String),
    /// It is no path below the root.
    #[error(
        "`{0}` is not a path from the root of the cgroup hierarchy, like /system.slice/a.service"
    )]
    Cgroup(String),
    /// It is no name.
    #[error("`{0}` is not a DNS name or URI of a certificate")]
    Certificate(String),
}

impl Origin {
    /// Whether `peer` is there, by what the gate itself knows of it.
    #[must_use]
    pub fn covers(&self, peer: &Peer) -> bool {
        match self {
            Self::Address(range) => range.contains(&peer.address.to_canonical()),
            Self::Cgroup(path) => peer.cgroup.as_deref().is_some_and(|cgroup| {
                cgroup
                    .strip_prefix(path.as_str())
                    .is_some_and(|below| below.is_empty() || below.starts_with('/'))
            }),
            Self::Certificate(name) => peer.certificates.iter().any(|own| own == name),
        }
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("address", range)) => address(range).map(Self::Address),
            Some(("cgroup", path)) if is_cgroup(path) => Ok(Self::Cgroup(path.to_owned())),
            Some(("cgroup", path)) => Err(OriginError::Cgroup(path.to_owned())),
            Some(("certificate", name)) => {
                let bad =
                    name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control());
                if bad {
                    Err(OriginError::Certificate(name.to_owned()))
                } else {
                    Ok(Self::Certificate(name.to_owned()))
                }
            }
            Some(_) | None => Err(OriginError::Kind(text.to_owned())),
        }
    }
}

fn address(text: &str) -> Result<IpNet, OriginError> {
    let range = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address.to_canonical()),
        Err(_no_single_address) => {
            text.parse::<IpNet>().map_err(|_form| OriginError::Range(text.to_owned()))?
        }
    };
    if range.prefix_len() == 0 {
        return Err(OriginError::Everywhere(text.to_owned()));
    }
    if range.trunc() != range {
        return Err(OriginError::Bits(text.to_owned(), range.trunc()));
    }
    // Peers are known by their IPv4 address, so a range of mapped ones would hold nobody.
    let mapped = matches!(range.addr(), IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    if mapped { Err(OriginError::Range(text.to_owned())) } else { Ok(range) }
}

/// The root of the hierarchy holds every process of the machine, so it binds a key to nothing.
fn is_cgroup(text: &str) -> bool {
    let folder = |name: &str| !matches!(name, "" | "." | "..") && !name.contains(char::is_control);
    text.strip_prefix('/').is_some_and(|path| path.split('/').all(folder))
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(range) if range.prefix_len() == range.max_prefix_len() => {
                write!(f, "address:{}", range.addr())
            }
            Self::Address(range) => write!(f, "address:{range}"),
            Self::Cgroup(path) => write!(f, "cgroup:{path}"),
            Self::Certificate(name) => write!(f, "certificate:{name}"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::at(address.parse().unwrap())
    }

    fn origin(text: &str) -> Origin {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_covers_its_addresses_in_either_notation() {
        let range = origin("address:10.1.0.0/16");
        assert!(range.covers(&peer("10.1.255.1")) && !range.covers(&peer("10.2.0.1")));
        assert!(range.covers(&peer("::ffff:10.1.0.1")) && !range.covers(&peer("::1")));
        let unmapped = Peer { address: "::ffff:10.1.0.1".parse().unwrap(), ..peer("::1") };
        assert!(range.covers(&unmapped));
        let one = origin("address:::ffff:10.1.2.3");
        assert_eq!(one, origin("address:10.1.2.3/32"));
        assert!(one.covers(&peer("10.1.2.3")) && !one.covers(&peer("10.1.2.4")));
    }

    #[test]
    fn a_control_group_covers_itself_and_what_is_below_it() {
        let within = origin("cgroup:/a.slice/b");
        let at = |path: &str| Peer { cgroup: Some(path.to_owned()), ..peer("127.0.0.1") };
        for (path, covered) in [
            ("/a.slice/b", true),
            ("/a.slice/b/c", true),
            ("/a.slice/bc", false),
            ("/a.slice", false),
            ("/x/a.slice/b", false),
        ] {
            assert_eq!(within.covers(&at(path)), covered, "{path}");
        }
        assert!(!within.covers(&peer("127.0.0.1")));
    }

    #[test]
    fn a_certificate_is_known_by_its_whole_name() {
        let name = origin("certificate:spiffe://x/refund-bot");
        let with = |names: &[&str]| Peer {
            certificates: names.iter().map(|&name| name.to_owned()).collect(),
            ..peer("127.0.0.1")
        };
        assert!(name.covers(&with(&["bot.example", "spiffe://x/refund-bot"])));
        assert!(!name.covers(&with(&["spiffe://x/refund-bot2"])) && !name.covers(&with(&[])));
    }

    #[test]
    fn what_binds_a_key_to_nothing_or_says_something_else_than_it_means_is_refused() {
        for text in [
            "10.0.0.0/8",
            "address:",
            "address:localhost",
            "address:10.1.2.3/16",
            "address:10.0.0.0/33",
            "address:0.0.0.0/0",
            "address:::/0",
            "address:::ffff:10.0.0.0/104",
            "cgroup:/",
            "cgroup:a/b",
            "cgroup:/a/../b",
            "cgroup:/a/",
            "certificate:",
            "certificate:a b",
            "port:80",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_origin_is_read_as_it_is_written(bits: u32, length in 1_u8..=32, path in "(/[a-z.@-]{1,8}[a-z]){1,3}") {
            let range = ipnet::Ipv4Net::new(bits.into(), length).unwrap().trunc();
            for text in [format!("address:{range}"), format!("cgroup:{path}"), format!("certificate:spiffe:/{path}")] {
                let origin: Origin = text.parse().unwrap();
                prop_assert_eq!(origin.to_string().parse::<Origin>(), Ok(origin.clone()));
                let json = serde_json::to_string(&origin).unwrap();
                prop_assert_eq!(serde_json::from_str::<Origin>(&json).unwrap(), origin);
            }
        }
    }
}
