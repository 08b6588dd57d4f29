//! Reads a destination as contracts and `--allow` write it.

use alloc::string::String;

use super::{Access, Glob, Grant};

/// Why a destination cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// Neither a host name nor an address.
    #[error("`{0}` is not a host: write a name like api.example.com, *.example.com or an address")]
    Host(String),
    /// A wildcard that is not a whole first label.
    #[error("`{0}`: a wildcard is the whole first label, like *.example.com")]
    Wildcard(String),
    /// What follows the host is neither a port nor an access.
    #[error("`{0}`: after the host comes :PORT, :write, :PORT:write or :PORT:opaque")]
    Access(String),
    /// Unread bytes without a port.
    #[error("`{0}`: opaque needs a port, like HOST:22:opaque")]
    OpaqueWithoutPort(String),
}

/// Reads `HOST`, `HOST:write`, `HOST:PORT`, `HOST:PORT:write` or `HOST:PORT:opaque`. An IPv6 address
/// stands in brackets.
///
/// # Errors
///
/// [`DestinationError`] says what is wrong with it.
pub fn parse(text: &str) -> Result<Grant, DestinationError> {
    let (name, terms) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, terms)) => (address, terms),
        None => text.split_at_checked(text.find(':').unwrap_or(text.len())).unwrap_or((text, "")),
    };
    let mut port = None;
    let mut access = None;
    for term in terms.split(':').skip(1) {
        match term {
            "write" if access.is_none() => access = Some(Access::Write),
            "opaque" if access.is_none() => access = Some(Access::Opaque),
            number if port.is_none() && access.is_none() => {
                let number = number.parse().ok().filter(|port: &u16| *port > 0);
                port = Some(number.ok_or_else(|| DestinationError::Access(text.into()))?);
            }
            _ => return Err(DestinationError::Access(text.into())),
        }
    }
    if !terms.is_empty() && !terms.starts_with(':') {
        return Err(DestinationError::Access(text.into()));
    }
    if access == Some(Access::Opaque) && port.is_none() {
        return Err(DestinationError::OpaqueWithoutPort(text.into()));
    }
    Ok(Grant { host: host(name)?, port, access: access.unwrap_or(Access::Read), upload: None })
}

/// A host, in lower case and without a trailing dot, as [`crate::case::Destination::host`] is.
pub(super) fn host(text: &str) -> Result<Glob, DestinationError> {
    if let Ok(address) = text.parse::<core::net::Ipv6Addr>() {
        return Ok(Glob::new(alloc::format!("{address}")));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let rest = name.strip_prefix("*.").unwrap_or(&name);
    if rest.contains('*') {
        return Err(DestinationError::Wildcard(text.into()));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.len() <= 253 && rest.split('.').all(label) {
        Ok(Glob::new(name))
    } else {
        Err(DestinationError::Host(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_destination_is_read() {
        for (text, host, port, access) in [
            ("api.example.com", "api.example.com", None, Access::Read),
            ("API.Example.com.", "api.example.com", None, Access::Read),
            ("*.example.com:write", "*.example.com", None, Access::Write),
            ("example.com:8443", "example.com", Some(8443), Access::Read),
            ("example.com:8443:write", "example.com", Some(8443), Access::Write),
            ("postgres.svc:5432:opaque", "postgres.svc", Some(5432), Access::Opaque),
            ("10.0.0.7:80", "10.0.0.7", Some(80), Access::Read),
            ("[2001:DB8::1]:443", "2001:db8::1", Some(443), Access::Read),
            ("[::1]", "::1", None, Access::Read),
        ] {
            assert_eq!(
                parse(text),
                Ok(Grant { host: host.into(), port, access, upload: None }),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_says_what_would_be() {
        for (text, error) in [
            ("", DestinationError::Host(String::new())),
            ("*", DestinationError::Wildcard("*".into())),
            ("a.*.com", DestinationError::Wildcard("a.*.com".into())),
            ("*a.com", DestinationError::Wildcard("*a.com".into())),
            ("https://a.com", DestinationError::Access("https://a.com".into())),
            ("a.com/path", DestinationError::Host("a.com/path".into())),
            ("a.com:22:opaque:write", DestinationError::Access("a.com:22:opaque:write".into())),
            ("a.com:write:443", DestinationError::Access("a.com:write:443".into())),
            ("a.com:0", DestinationError::Access("a.com:0".into())),
            ("a.com:99999", DestinationError::Access("a.com:99999".into())),
            ("a.com:", DestinationError::Access("a.com:".into())),
            ("a.com:opaque", DestinationError::OpaqueWithoutPort("a.com:opaque".into())),
            ("a b.com", DestinationError::Host("a b.com".into())),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }
}
