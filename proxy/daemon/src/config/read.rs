//! Reads what people write in one word: addresses, durations, URLs, keys, paths.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretBox;
use zeroize::Zeroizing;

use super::built::{BaseUrl, Scheme};

/// The longest wait that makes sense for the end of a process.
const LONGEST: Duration = Duration::from_hours(1);

/// A path; a relative one begins at `folder`.
pub(super) fn path(folder: &Path, text: &str) -> Result<PathBuf, Option<String>> {
    if text.is_empty() || text.contains('\0') {
        return Err(None);
    }
    Ok(folder.join(text))
}

pub(super) fn truth(text: &str) -> Result<bool, Option<String>> {
    text.parse().or(Err(None))
}

/// `5s`, `500ms`, `1m 30s`; a number without a unit is none.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let read: jiff::SignedDuration = text.parse().ok()?;
    Duration::try_from(read).ok().filter(|duration| *duration <= LONGEST)
}

/// A list of addresses as the table of keys writes its defaults.
pub(super) fn addresses(text: &str) -> Vec<SocketAddr> {
    let list: Vec<String> = serde_json::from_str(text).unwrap_or_else(|_| vec![text.to_owned()]);
    list.iter().filter_map(|address| address.parse().ok()).collect()
}

/// 32 bytes in base64 or hexadecimal.
pub(super) fn key(text: &str) -> Option<SecretBox<[u8; 32]>> {
    let text = text.trim();
    let bytes =
        Zeroizing::new(if text.len() == 64 { unhex(text)? } else { STANDARD.decode(text).ok()? });
    let mut key = Box::new([0; 32]);
    if bytes.len() != key.len() {
        return None;
    }
    key.copy_from_slice(&bytes);
    Some(SecretBox::new(key))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut bytes = Vec::with_capacity(text.len() / 2);
    for pair in text.as_bytes().chunks_exact(2) {
        let [high, low] = pair else { return None };
        bytes.push(digit(high)? << 4 | digit(low)?);
    }
    Some(bytes)
}

/// Where something answers.
///
/// # Errors
///
/// What is wrong with the text, to be said after it.
pub(super) fn base_url(text: &str) -> Result<BaseUrl, String> {
    const FORM: &str = "is not a URL like https://host:8443/v1";
    let uri: http::Uri = text.parse().map_err(|error| format!("{FORM} ({error})"))?;
    let (scheme, usual) = match uri.scheme_str() {
        Some("https") => (Scheme::Https, 443),
        Some("http") => (Scheme::Http, 80),
        Some(_) | None => return Err(FORM.to_owned()),
    };
    let authority = uri.authority().ok_or(FORM)?;
    if authority.as_str().contains('@') {
        return Err("holds a name or password: name a credential instead".to_owned());
    }
    if uri.query().is_some() || text.contains('#') {
        return Err("has more than host, port and path".to_owned());
    }
    let port = match authority.as_str().strip_prefix(authority.host()).unwrap_or_default() {
        "" => usual,
        port => port
            .strip_prefix(':')
            .and_then(|port| port.parse().ok())
            .filter(|port| *port > 0)
            .ok_or("has no port from 1 to 65535 after its colon")?,
    };
    let grant = decide::policy::parse_destination(authority.host())
        .ok()
        .filter(|grant| grant.port.is_none() && !grant.host.as_str().contains('*'))
        .ok_or("has no host name or address")?;
    let path = uri.path().trim_end_matches('/').to_owned();
    let plain = |segment: &str| !matches!(segment, "." | ".." | "");
    if !path.split('/').skip(1).all(plain) || path.contains('%') {
        return Err("has a path that can be read in two ways".to_owned());
    }
    Ok(BaseUrl { scheme, host: grant.host.as_str().to_owned(), port, path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_url_is_host_port_and_path_and_nothing_else() {
        for (text, shown) in [
            ("https://vllm.internal:8000/v1", "https://vllm.internal:8000/v1"),
            ("https://A.Example./", "https://a.example:443"),
            ("http://collector", "http://collector:80"),
            ("http://[::1]:4318/x/", "http://[::1]:4318/x"),
            ("http://10.0.0.1", "http://10.0.0.1:80"),
        ] {
            assert_eq!(base_url(text).unwrap().to_string(), shown);
        }
        for text in [
            "",
            "vllm:8000",
            "/v1",
            "ftp://a",
            "https://",
            "https://u:p@a.example",
            "https://a.example/?k=v",
            "https://a.example/#x",
            "https://a.example:0/",
            "https://a.example:x/",
            "https://a.example:99999",
            "https://*.a.example",
            "https://a.example/../b",
            "https://a.example//b",
            "https://a.example/%2e",
            "https://a_ b",
        ] {
            assert!(base_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_has_a_unit_and_an_end() {
        for (text, millis) in [
            ("5s", Some(5000)),
            ("500ms", Some(500)),
            ("1m 30s", Some(90_000)),
            ("0s", Some(0)),
            ("1h", Some(3_600_000)),
            ("61m", None),
            ("5", None),
            ("-5s", None),
            ("soon", None),
        ] {
            assert_eq!(duration(text).map(|d| d.as_millis()), millis, "{text}");
        }
    }

    #[test]
    fn a_key_is_thirty_two_bytes_in_either_form() {
        let hex = "ab".repeat(32);
        let base64 = STANDARD.encode([0xab; 32]);
        for text in [&hex, &base64, &format!("{base64}\n")] {
            assert_eq!(key(text).unwrap().expose_secret(), &[0xab; 32]);
        }
        for text in
            ["", "ab", &"zz".repeat(32), &STANDARD.encode([1; 31]), &STANDARD.encode([1; 33])]
        {
            assert!(key(text).is_none(), "{text}");
        }
        assert!(!format!("{:?}", key(&hex)).contains("ab"), "a key is not shown");
    }
}
