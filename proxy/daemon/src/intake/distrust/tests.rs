use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::duplex;

use super::*;
use crate::clock::{Clock, random};
use crate::listen::hello::{self, Opening};
use crate::listen::mint::{Authority, Leaves};

fn refused(alert: AlertDescription) -> io::Error {
    io::Error::other(rustls::Error::AlertReceived(alert))
}

#[test]
fn every_word_for_a_certificate_that_is_not_taken_is_understood() {
    for (alert, how) in [
        (AlertDescription::UnknownCA, Some("unknown_ca")),
        (AlertDescription::BadCertificate, Some("bad_certificate")),
        (AlertDescription::CertificateUnknown, Some("certificate_unknown")),
        (AlertDescription::CertificateExpired, Some("other_alert")),
        (AlertDescription::HandshakeFailure, None),
        (AlertDescription::ProtocolVersion, None),
        (AlertDescription::DecodeError, None),
    ] {
        assert_eq!(of(&refused(alert)).map(Distrust::name), how, "{alert:?}");
    }
    let gone = io::Error::from(io::ErrorKind::UnexpectedEof);
    assert_eq!(of(&gone).map(Distrust::name), Some("closed"));
    assert_eq!(of(&io::ErrorKind::TimedOut.into()), None);
    assert_eq!(of(&io::Error::other(rustls::Error::HandshakeNotComplete)), None);
}

/// How a client with this configuration meets the gate's certificate.
async fn met(config: ClientConfig) -> Result<bool, Option<Distrust>> {
    let (client, server) = duplex(64 * 1024);
    let now = Clock::system().now();
    let (authority, _) = Authority::create(now, random::<16>).unwrap();
    let leaves = Leaves::new(authority.into(), now).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let asking = async {
        // Dropped as soon as it has seen the certificate: it closes.
        drop(connector.connect("pinned.example".try_into().unwrap(), client).await);
    };
    let gate = async {
        let limits = hello::Limits::default();
        let Opening::Tls(hello) = hello::open(server, limits).await.unwrap() else {
            panic!("no TLS")
        };
        let config = leaves.server_config("pinned.example", now).unwrap();
        let stream = hello.accept(config, limits.time).await.map_err(|error| of(&error))?;
        Ok(unless_closed(stream).await.is_some())
    };
    tokio::join!(asking, gate).1
}

fn client(
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap()
}

#[tokio::test]
async fn a_client_that_does_not_know_the_ca_is_recognised_in_either_version_of_tls() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config =
            client(&[version]).with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        assert_eq!(met(config).await, Err(Some(Distrust::UnknownCa)), "{version:?}");
    }
}

/// Takes any certificate: what a client does that looks only after the handshake.
#[derive(Debug)]
struct LooksLater;

impl ServerCertVerifier for LooksLater {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[tokio::test]
async fn a_client_that_closes_after_the_handshake_and_asks_nothing_is_recognised() {
    let config = client(&[&rustls::version::TLS13])
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(LooksLater))
        .with_no_client_auth();
    assert_eq!(met(config).await, Ok(false));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_connects_ahead_of_its_need_and_one_that_asks_are_served() {
    let (idle, server) = duplex(64);
    let replay = unless_closed(server).await.unwrap();
    assert_eq!(replay.first(), b"");
    drop(idle);
    let (mut asking, server) = duplex(64);
    tokio::io::AsyncWriteExt::write_all(&mut asking, b"GET / HTTP/1.1\r\n").await.unwrap();
    assert_eq!(unless_closed(server).await.unwrap().first(), b"GET / HTTP/1.1\r\n");
}
