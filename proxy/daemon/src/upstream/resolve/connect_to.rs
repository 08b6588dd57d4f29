//! `--connect-to HOST:PORT:ADDR:PORT`: where a host is really dialled, with curl's meaning.

use std::str::FromStr;

/// One override. An empty HOST or PORT fits any; an empty ADDR or second PORT leaves that part as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectTo {
    host: Option<String>,
    port: Option<u16>,
    to_host: Option<String>,
    to_port: Option<u16>,
}

/// Why a text is no override.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectToError {
    /// It has not four parts.
    #[error("{0:?} is not HOST:PORT:ADDR:PORT; write IPv6 addresses in brackets, as in [::1]")]
    Parts(String),
    /// A port is no number from 1 to 65535.
    #[error("{port:?} in {text:?} is not a port; give 1 to 65535, or nothing for any")]
    Port {
        /// The text as given.
        text: String,
        /// The part that is no port.
        port: String,
    },
}

impl ConnectTo {
    /// Whether connections to `host` and `port` are dialled elsewhere.
    #[must_use]
    pub fn fits(&self, host: &str, port: u16) -> bool {
        self.host.as_deref().is_none_or(|mine| mine.eq_ignore_ascii_case(bare(host)))
            && self.port.is_none_or(|mine| mine == port)
    }

    /// Whether some port of `host` is dialled elsewhere: the name exists then, whatever name servers say.
    #[must_use]
    pub fn names(&self, host: &str) -> bool {
        self.host.as_deref().is_some_and(|mine| mine.eq_ignore_ascii_case(bare(host)))
    }

    /// The host or address that is dialled instead.
    #[must_use]
    pub fn to_host(&self) -> Option<&str> {
        self.to_host.as_deref()
    }

    /// The port that is dialled instead.
    #[must_use]
    pub fn to_port(&self) -> Option<u16> {
        self.to_port
    }
}

impl FromStr for ConnectTo {
    type Err = ConnectToError;

    fn from_str(text: &str) -> Result<Self, ConnectToError> {
        let parts = || ConnectToError::Parts(text.to_owned());
        let (host, rest) = split_host(text).ok_or_else(parts)?;
        let (port, rest) = rest.split_once(':').ok_or_else(parts)?;
        let (to_host, to_port) = split_host(rest).ok_or_else(parts)?;
        let port_of = |part: &str| match part {
            "" => Ok(None),
            _ => match part.parse::<u16>() {
                Ok(number) if number != 0 => Ok(Some(number)),
                Ok(_) | Err(_) => {
                    Err(ConnectToError::Port { text: text.to_owned(), port: part.to_owned() })
                }
            },
        };
        let host_of = |part: &str| (!part.is_empty()).then(|| part.to_ascii_lowercase());
        Ok(Self {
            host: host_of(host),
            port: port_of(port)?,
            to_host: host_of(to_host),
            to_port: port_of(to_port)?,
        })
    }
}

/// The host that `text` begins with, without brackets, and what follows its colon.
fn split_host(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('[') {
        Some(inside) => {
            let (host, rest) = inside.split_once(']')?;
            Some((host, rest.strip_prefix(':')?))
        }
        None => text.split_once(':'),
    }
}

fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|inside| inside.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fits_and_leads_as_curl_says() {
        type Row<'a> = (&'a str, &'a str, u16, bool, Option<&'a str>, Option<u16>);
        let table: &[Row<'_>] = &[
            ("a.example:443:127.0.0.1:8443", "A.example", 443, true, Some("127.0.0.1"), Some(8443)),
            ("a.example:443:127.0.0.1:8443", "a.example", 80, false, Some("127.0.0.1"), Some(8443)),
            (
                "a.example:443:127.0.0.1:8443",
                "b.example",
                443,
                false,
                Some("127.0.0.1"),
                Some(8443),
            ),
            ("::127.0.0.1:9", "any", 1, true, Some("127.0.0.1"), Some(9)),
            (":443::8443", "any", 443, true, None, Some(8443)),
            ("a.example:::", "a.example", 7, true, None, None),
            ("[::1]:443:[::2]:1", "::1", 443, true, Some("::2"), Some(1)),
            ("[::1]:443:b.example:", "[::1]", 443, true, Some("b.example"), None),
        ];
        for (text, host, port, fits, to_host, to_port) in table {
            let rule: ConnectTo = text.parse().unwrap();
            assert_eq!(
                (rule.fits(host, *port), rule.to_host(), rule.to_port()),
                (*fits, *to_host, *to_port),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_four_parts_says_how_to_write_it() {
        for text in [
            "",
            "a",
            "a:1",
            "a:1:b",
            "::1:443:a:1",
            "[::1:443:a:1",
            "a:x:b:1",
            "a:1:b:0",
            "a:1:b:70000",
            "a:1:b:1:2",
        ] {
            let error = text.parse::<ConnectTo>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
