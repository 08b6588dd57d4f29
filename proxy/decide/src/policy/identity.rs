//! Reads by what a contract knows its agent.

use alloc::format;
use alloc::string::String;
use core::net::IpAddr;

use super::compile::Faults;
use super::{Identity, raw};

/// What every empty attribute is told.
const EMPTY: &str =
    "is empty: write { key: NAME }, { certificate: NAME }, { cgroup: /PATH } or { address: RANGE }";

/// The attributes of one agent, each checked for its form.
pub(super) fn read(path: &str, identity: Option<&raw::Identity>, faults: &mut Faults) -> Identity {
    let mut read = Identity::default();
    let Some(identity) = identity else { return read };
    let path = format!("{path}.identity");
    faults.unknown(&path, &identity.unknown);
    if identity.any.is_empty() && identity.unknown.0.is_empty() {
        faults.add(format!("{path}.any"), EMPTY);
    }
    for (i, attribute) in identity.any.iter().enumerate() {
        let path = format!("{path}.any[{i}]");
        faults.unknown(&path, &attribute.unknown);
        let raw::Attribute { key, certificate, cgroup, address, unknown } = attribute;
        let named = [key, certificate, cgroup, address].into_iter().flatten().count();
        if named == 0 && unknown.0.is_empty() {
            faults.add(path.clone(), EMPTY);
        } else if named > 1 {
            faults.add(path.clone(), "names more than one: each stands in braces of its own");
        }
        let mut take = |name: &str, text: &Option<String>, good: fn(&str) -> bool, like: &str| {
            let text = text.as_ref()?;
            if good(text) {
                return Some(text.clone());
            }
            faults.add(format!("{path}.{name}"), format!("`{text}` is not {like}"));
            None
        };
        read.keys.extend(take("key", key, is_name, "the name of a key"));
        let like = "a DNS name or URI of a certificate";
        read.certificates.extend(take("certificate", certificate, is_name, like));
        let like = "a path from the root of the cgroup hierarchy, like /system.slice/a.service";
        read.cgroups.extend(take("cgroup", cgroup, is_cgroup, like));
        let like = "an address or a range, like 10.1.2.3 or 10.1.0.0/16";
        read.addresses.extend(take("address", address, is_range, like));
    }
    read
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_whitespace)
}

/// The root of the hierarchy holds every process of the machine, so it names nobody.
fn is_cgroup(text: &str) -> bool {
    let folder = |name: &str| !matches!(name, "" | "." | "..");
    text.strip_prefix('/').is_some_and(|path| path.split('/').all(folder))
}

/// A range whose length fits and that has no bits beyond it: `10.1.2.3/16` would mean something else
/// than it says.
fn is_range(text: &str) -> bool {
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let (bits, width) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    if !text.contains('/') {
        return true;
    }
    let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    match length.parse::<u32>() {
        Ok(length) if digits && length <= width => bits.checked_shl(length).unwrap_or(0) == 0,
        Ok(_) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_says_what_it_means() {
        for (text, good) in [
            ("10.1.2.3", true),
            ("10.1.0.0/16", true),
            ("0.0.0.0/0", true),
            ("10.1.2.3/32", true),
            ("fd00::/8", true),
            ("::1", true),
            ("10.1.2.3/16", false),
            ("10.1.0.0/33", false),
            ("10.1.0.0/", false),
            ("10.1.0.0/+8", false),
            ("fd00::1/64", false),
            ("localhost", false),
        ] {
            assert_eq!(is_range(text), good, "{text}");
        }
    }

    #[test]
    fn a_cgroup_is_a_path_below_the_root() {
        for (text, good) in [
            ("/system.slice/a.service", true),
            ("/a", true),
            ("/", false),
            ("a", false),
            ("/a/../b", false),
            ("/a/", false),
        ] {
            assert_eq!(is_cgroup(text), good, "{text}");
        }
    }
}
