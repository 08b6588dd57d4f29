use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::UnixTime;
use rustls::{RootCertStore, ServerConfig};

use super::*;

const NOW: Timestamp = Timestamp(1_795_000_000_000_000);
const DAY: u64 = 24 * 3600 * 1_000_000;

fn leaves() -> (Leaves, Parts) {
    let (authority, parts) = Authority::create(NOW, crate::clock::random::<16>).unwrap();
    (Leaves::new(authority, NOW).unwrap(), parts)
}

/// The chain that a client sees, taken by a real handshake in memory.
fn chain(config: &Arc<ServerConfig>, name: &str, root: &[u8]) -> Vec<CertificateDer<'static>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(root)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AtNow(verifier)))
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
        }
        server.process_new_packets().unwrap();
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
        }
        client.process_new_packets().unwrap();
    }
    client.peer_certificates().unwrap().to_vec()
}

/// The real verifier, at the tests' time.
#[derive(Debug)]
struct AtNow(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AtNow {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        let now = UnixTime::since_unix_epoch(Duration::from_micros(NOW.0));
        self.0.verify_server_cert(leaf, chain, name, ocsp, now)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[test]
fn a_leaf_satisfies_a_client_that_trusts_the_root_for_a_name_and_for_addresses() {
    let (leaves, parts) = leaves();
    for name in ["api.openai.com", "203.0.113.7", "2001:db8::7"] {
        let config = leaves.server_config(name, NOW).unwrap();
        assert_eq!(chain(&config, name, &parts.certificate).len(), 2, "{name}");
    }
}

#[test]
#[should_panic(expected = "InvalidCertificate(NotValidForName")]
fn a_leaf_is_good_for_its_own_name_only() {
    let (leaves, parts) = leaves();
    let config = leaves.server_config("api.openai.com", NOW).unwrap();
    chain(&config, "api.anthropic.com", &parts.certificate);
}

#[test]
fn a_loaded_root_has_the_same_bytes_and_signs_for_the_same_clients() {
    let (_, parts) = leaves();
    let again =
        Authority::load(&parts.certificate, &parts.key, crate::clock::random::<16>).unwrap();
    assert_eq!(again.certificate().as_ref(), parts.certificate);
    let config = Leaves::new(again, NOW).unwrap().server_config("a.example", NOW).unwrap();
    chain(&config, "a.example", &parts.certificate);
}

#[test]
fn a_key_that_is_not_the_certificates_is_refused() {
    let (_, one) = leaves();
    let (_, other) = leaves();
    let error =
        Authority::load(&one.certificate, &other.key, crate::clock::random::<16>).unwrap_err();
    assert!(matches!(error, MintError::Authority(_)), "{error}");
    assert!(Authority::load(b"no certificate", &one.key, crate::clock::random::<16>).is_err());
    assert!(Authority::load(&one.certificate, b"no key", crate::clock::random::<16>).is_err());
}

#[test]
fn serial_numbers_differ_and_a_second_ask_for_a_name_mints_nothing() {
    let (leaves, parts) = leaves();
    let mut seen = BTreeSet::new();
    for n in 0..20 {
        let name = format!("n{n}.example");
        let config = leaves.server_config(&name, NOW).unwrap();
        assert!(seen.insert(chain(&config, &name, &parts.certificate)[0].to_vec()));
        let again = leaves.server_config(&name.to_ascii_uppercase(), NOW).unwrap();
        assert!(Arc::ptr_eq(&config, &again));
    }
}

static DRAWN: AtomicU64 = AtomicU64::new(0);

#[expect(clippy::unnecessary_wraps, reason = "the shape of `Random`")]
fn counted() -> std::io::Result<[u8; 16]> {
    Ok(u128::from(DRAWN.fetch_add(1, Ordering::SeqCst)).to_be_bytes())
}

#[test]
fn sixty_four_that_ask_at_once_share_one_mint() {
    let (authority, _) = Authority::create(NOW, counted).unwrap();
    let leaves = Leaves::new(authority, NOW).unwrap();
    let before = DRAWN.load(Ordering::SeqCst);
    let barrier = std::sync::Barrier::new(64);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                barrier.wait();
                leaves.server_config("one.example", NOW).unwrap();
            });
        }
    });
    assert_eq!(DRAWN.load(Ordering::SeqCst) - before, 1);
}

#[test]
fn a_leaf_near_its_end_is_made_anew_under_a_new_intermediate() {
    let (leaves, _) = leaves();
    let first = leaves.server_config("a.example", NOW).unwrap();
    let within = leaves.server_config("a.example", Timestamp(NOW.0 + 5 * DAY)).unwrap();
    assert!(Arc::ptr_eq(&first, &within));
    let later = leaves.server_config("a.example", Timestamp(NOW.0 + 6 * DAY + 1)).unwrap();
    assert!(!Arc::ptr_eq(&first, &later));
}

#[test]
fn what_is_no_name_gets_no_leaf_and_is_told_so() {
    let (leaves, _) = leaves();
    for name in ["", "a b", "-.example", "*.example", "a..b", "ex\u{e4}mple"] {
        assert!(matches!(leaves.server_config(name, NOW), Err(MintError::Name(_))), "{name:?}");
    }
}

#[test]
fn neither_the_parts_nor_the_root_show_a_key() {
    let (leaves, parts) = leaves();
    assert_eq!(
        format!("{parts:?}"),
        format!("Parts {{ certificate: {}, .. }}", parts.certificate.len())
    );
    assert_eq!(format!("{:?}", leaves.authority()), "Authority");
}

#[test]
fn the_pem_form_reads_back_as_the_same_certificate() {
    use rustls::pki_types::pem::PemObject as _;
    let (leaves, parts) = leaves();
    let read = CertificateDer::from_pem_slice(leaves.authority().pem().as_bytes()).unwrap();
    assert_eq!(read.as_ref(), parts.certificate);
}

/// Not a claim but a figure: `cargo test --release -p tollgate mint -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn measure_minting() {
    let (leaves, _) = leaves();
    let names: Vec<_> = (0..2000).map(|n| format!("n{n}.example")).collect();
    let start = std::time::Instant::now();
    for name in &names {
        leaves.server_config(name, NOW).unwrap();
    }
    let each = start.elapsed() / 2000;
    std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{each:?} a leaf\n")).unwrap();
}
