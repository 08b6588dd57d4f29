//! What the three programs of the bench share: one clock, and TLS that verifies.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::provider::{Alpn, tls};

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
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(ca)
        .with_context(|| format!("cannot read {}", ca.display()))?;
    let (added, _) = roots.add_parsable_certificates(found.collect::<Result<Vec<_>, _>>()?);
    anyhow::ensure!(added > 0, "{} holds no certificate", ca.display());
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
