//! What the three programs of the bench share: one clock, and TLS that verifies.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::provider::{Alpn, tls};
use crate::trust::trusting;

/// The names the bench's certificates are for.
pub const NAMES: [&str; 2] = ["api.openai.com", "localhost"];

/// Nanoseconds of the clock that all processes of a machine share.
///
/// # Errors
/// When the machine has no such clock.
pub fn monotonic_ns() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("no monotonic clock")?;
    Ok(u64::try_from(now.tv_sec())? * 1_000_000_000 + u64::try_from(now.tv_nsec())?)
}

/// Accepts TLS for [`NAMES`] over HTTP/1.1 with a new CA, whose certificate is written to `ca`.
///
/// # Errors
/// When `ca` cannot be written.
pub fn acceptor(ca: &Path) -> Result<TlsAcceptor> {
    tls::acceptor(NAMES.iter().map(|name| (*name).to_owned()).collect(), Alpn::Http1, ca)
}

/// As [`acceptor`], and over HTTP/2.
///
/// # Errors
/// As [`acceptor`].
pub fn h2_acceptor(ca: &Path) -> Result<TlsAcceptor> {
    tls::acceptor(NAMES.iter().map(|name| (*name).to_owned()).collect(), Alpn::Both, ca)
}

/// Connects with TLS over HTTP/1.1, trusting the certificates in `ca`.
///
/// # Errors
/// When `ca` cannot be read.
pub fn connector(ca: &Path) -> Result<TlsConnector> {
    let authorities = fs::read(ca).with_context(|| format!("cannot read {}", ca.display()))?;
    let config =
        trusting(&authorities, "http/1.1").with_context(|| format!("in {}", ca.display()))?;
    Ok(TlsConnector::from(config))
}
