//! Puts a real key into the request that leaves, at the moment it leaves.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::Secret;

/// How a credential stands in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `authorization: Bearer …`.
    Bearer,
    /// `x-api-key: …`, the key alone.
    ApiKey,
}

impl Form {
    /// The header that it stands in.
    #[must_use]
    pub fn header(self) -> HeaderName {
        match self {
            Self::Bearer => AUTHORIZATION,
            Self::ApiKey => HeaderName::from_static("x-api-key"),
        }
    }
}

/// A real key that cannot stand in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the sealed key has characters that no header can carry: seal it again without line breaks"
)]
pub struct NotAHeader;

/// Puts `secret` in place of whatever stands in its header. The value is marked sensitive, so that it
/// is neither printed nor entered into a header compression table.
///
/// # Errors
///
/// The secret cannot stand in a header. The header is then gone.
pub fn inject(headers: &mut HeaderMap, form: Form, secret: &Secret) -> Result<(), NotAHeader> {
    headers.remove(form.header());
    let written = match form {
        Form::Bearer => {
            let scheme: &[u8] = b"Bearer ";
            let mut value =
                Zeroizing::new(Vec::with_capacity(scheme.len() + secret.reveal().len()));
            value.extend_from_slice(scheme);
            value.extend_from_slice(secret.reveal());
            HeaderValue::from_bytes(&value)
        }
        Form::ApiKey => HeaderValue::from_bytes(secret.reveal()),
    };
    let Ok(mut value) = written else { return Err(NotAHeader) };
    value.set_sensitive(true);
    headers.insert(form.header(), value);
    Ok(())
}
