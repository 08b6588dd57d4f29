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
    (Leaves::new(authority.into(), NOW).unwrap(), parts)
}

/// The chain that a client sees that trusts `root`.
fn chain(config: &Arc<ServerConfig>, name: &str, root: &[u8]) -> Vec<CertificateDer<'static>> {
    meet(config, name, Arc::new(AtNow(trusting(root))))
}

fn trusting(root: &[u8]) -> Arc<WebPkiServerVerifier> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(root)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap()
}

/// A real handshake in memory; what the client is shown.
fn meet(
    config: &Arc<ServerConfig>,
    name: &str,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Vec<CertificateDer<'static>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
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
    let config = Leaves::new(again.into(), NOW).unwrap().server_config("a.example", NOW).unwrap();
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
    let leaves = Leaves::new(authority.into(), NOW).unwrap();
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
    let roots = format!("{:?}", leaves.succeed(NOW).unwrap());
    assert_eq!(roots, "None");
    let (next, _) = Authority::create(NOW, crate::clock::random::<16>).unwrap();
    let change = leaves.follow_with(next, WITHOUT_END, NOW).unwrap();
    assert!(format!("{change:?}").starts_with("Change(Roots { signs: Authority, next: Some("));
}

#[test]
fn the_pem_form_reads_back_as_the_same_certificate() {
    use rustls::pki_types::pem::PemObject as _;
    let (leaves, parts) = leaves();
    let read = CertificateDer::from_pem_slice(leaves.pem().as_bytes()).unwrap();
    assert_eq!(read.as_ref(), parts.certificate);
}

const WITHOUT_END: Successor = Successor { since: NOW, until: None };

/// Whether a client that trusts only this root takes the chain that is shown for `a.example`.
fn is_taken(leaves: &Leaves, root: &[u8], now: Timestamp) -> bool {
    let config = leaves.server_config("a.example", now).unwrap();
    let shown = shown(&config, "a.example");
    let (leaf, above) = shown.split_first().unwrap();
    let at = UnixTime::since_unix_epoch(Duration::from_micros(now.0));
    let name = ServerName::try_from("a.example").unwrap();
    trusting(root).verify_server_cert(leaf, above, &name, &[], at).is_ok()
}

/// The certificates that a client is shown, taken by one that takes any.
fn shown(config: &Arc<ServerConfig>, name: &str) -> Vec<CertificateDer<'static>> {
    meet(config, name, Arc::new(TakesAny))
}

#[derive(Debug)]
struct TakesAny;

impl ServerCertVerifier for TakesAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[test]
fn while_the_root_is_exchanged_who_trusts_either_is_served_and_afterwards_who_trusts_the_new_one() {
    let (leaves, old) = leaves();
    let (next, new) = Authority::create(NOW, crate::clock::random::<16>).unwrap();
    let taken =
        |now| (is_taken(&leaves, &old.certificate, now), is_taken(&leaves, &new.certificate, now));
    assert_eq!(taken(NOW), (true, false));
    leaves.put(leaves.follow_with(next, WITHOUT_END, NOW).unwrap());
    assert_eq!(leaves.roots().len(), 2);
    assert_eq!(taken(NOW), (true, true));
    // With its own next intermediate too: what the new root says of the old one is renewed with it.
    let later = Timestamp(NOW.0 + 20 * DAY);
    assert_eq!(taken(later), (true, true));
    leaves.put(leaves.succeed(later).unwrap().unwrap());
    assert_eq!(taken(later), (false, true));
    assert_eq!(leaves.roots().len(), 1);
    assert_eq!(leaves.successor(), None);
}

#[test]
fn a_root_can_be_exchanged_again_and_again() {
    let (leaves, _) = leaves();
    for _ in 0..3 {
        let (next, new) = Authority::create(NOW, crate::clock::random::<16>).unwrap();
        leaves.put(leaves.follow_with(next, WITHOUT_END, NOW).unwrap());
        assert!(is_taken(&leaves, &new.certificate, NOW));
        leaves.put(leaves.succeed(NOW).unwrap().unwrap());
        assert!(is_taken(&leaves, &new.certificate, NOW));
    }
}

#[test]
fn a_leaf_made_before_the_roots_changed_is_not_shown_after() {
    let (leaves, old) = leaves();
    assert!(is_taken(&leaves, &old.certificate, NOW));
    let before = leaves.server_config("a.example", NOW).unwrap();
    let (next, _) = Authority::create(NOW, crate::clock::random::<16>).unwrap();
    leaves.put(leaves.follow_with(next, WITHOUT_END, NOW).unwrap());
    assert!(!Arc::ptr_eq(&before, &leaves.server_config("a.example", NOW).unwrap()));
}

/// What a leaf and the certificates above it say, in the words of the standard.
#[test]
fn a_leaf_has_the_form_that_strict_clients_ask_for() {
    use x509_parser::extensions::ParsedExtension;
    use x509_parser::prelude::{FromDer as _, X509Certificate};
    let (leaves, parts) = leaves();
    let mut keys = BTreeSet::new();
    for (name, is_name) in [("a.example", true), ("203.0.113.7", false), ("2001:db8::7", false)] {
        let config = leaves.server_config(name, NOW).unwrap();
        let chain = chain(&config, name, &parts.certificate);
        let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
        let (_, above) = X509Certificate::from_der(&chain[1]).unwrap();
        assert_eq!(leaf.subject().iter().count(), 0, "names stand in the SAN only");
        assert_eq!(leaf.raw_serial().len(), 16);
        assert!(leaf.raw_serial()[0] & 0x80 == 0);
        let (from, to) =
            (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
        let now = i64::try_from(NOW.0 / 1_000_000).unwrap();
        assert!(now - from >= 3600, "backdated by an hour at least");
        assert!(to - now <= 7 * 24 * 3600, "for a week at most");
        assert!(!leaf.is_ca());
        let san = leaf.subject_alternative_name().unwrap().unwrap();
        assert!(san.critical, "as the subject is empty (RFC 5280 4.2.1.6)");
        assert_eq!(san.value.general_names.len(), 1);
        let named =
            matches!(&san.value.general_names[0], x509_parser::extensions::GeneralName::DNSName(_));
        assert_eq!(named, is_name);
        let usage = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && !usage.client_auth && !usage.any);
        let authority = leaf.iter_extensions().find_map(|one| {
            let ParsedExtension::AuthorityKeyIdentifier(id) = one.parsed_extension() else {
                return None;
            };
            id.key_identifier.as_ref().map(|id| id.0.to_vec())
        });
        let subject = above.iter_extensions().find_map(|one| {
            let ParsedExtension::SubjectKeyIdentifier(id) = one.parsed_extension() else {
                return None;
            };
            Some(id.0.to_vec())
        });
        assert!(authority.is_some() && authority == subject);
        assert_eq!(above.basic_constraints().unwrap().unwrap().value.path_len_constraint, Some(0));
        keys.insert(leaf.public_key().raw.to_vec());
    }
    assert_eq!(keys.len(), 1, "one key a process");
}

#[test]
fn an_agent_that_invents_names_is_given_no_leaf_beyond_its_allowance_and_keeps_those_it_has() {
    let (leaves, _) = leaves();
    let mut left = 3;
    let mut ask = |name: &str| {
        leaves.server_config_within(name, NOW, || {
            left -= 1;
            left >= 0
        })
    };
    for n in 0..10 {
        let made = ask(&format!("n{n}.example"));
        assert_eq!(matches!(made, Err(MintError::TooMany)), n >= 3, "{n}");
    }
    for n in 0..3 {
        ask(&format!("N{n}.example.")).unwrap();
    }
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
