use tokio::io::duplex;

use super::*;

/// A real client's hello for `name`.
fn client_hello(name: &str, alpn: &[&str]) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// The opening of a client whose bytes arrive as `first` and `then`.
async fn split(first: &[u8], then: &[u8]) -> Result<&'static str, HelloError> {
    let stream = tokio::io::join(first.chain(then), Vec::new());
    Ok(match open(stream, Limits::default()).await? {
        Opening::Tls(hello) => {
            assert_eq!(hello.sni().as_deref(), Some("api.openai.com"));
            assert_eq!(hello.alpn().unwrap(), [b"h2".to_vec(), b"http/1.1".to_vec()]);
            "tls"
        }
        Opening::Http(mut replay) => {
            let mut all = Vec::new();
            replay.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, [first, then].concat());
            "http"
        }
        Opening::Http2(_) => "http2",
        Opening::Other(mut replay) => {
            let mut all = Vec::new();
            replay.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, [first, then].concat());
            "other"
        }
        Opening::Silent(_) => "silent",
        Opening::Closed => "closed",
    })
}

#[tokio::test]
async fn an_opening_is_the_same_wherever_it_is_cut() {
    let hello = client_hello("API.openai.com", &["h2", "http/1.1"]);
    let cases: &[(&[u8], &str)] = &[
        (&hello, "tls"),
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", "http"),
        (b"POST http://a/ HTTP/1.1\r\n\r\n", "http"),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", "http"),
        (b"CONNECT a:443 HTTP/1.1\r\n\r\n", "http"),
        (b"PROPFIND /x HTTP/1.1\r\n\r\n", "http"),
        (b"M-SEARCH * HTTP/1.1\r\n\r\n", "http"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0", "http2"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "other"),
        // The hello of SSL 2, which OpenSSL once sent also for a newer version.
        (b"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10\x01\0\x80", "other"),
        (b"NICK tester\r\n", "other"),
        (b"PING\r\n", "other"),
        (b"*1\r\n$4\r\nPING\r\n", "other"),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", "other"),
        (b"AVERYLONGWORDTHATISNOMETHOD /", "other"),
        (b" / HTTP/1.1", "other"),
        (b"GE", "other"),
        (b"", "closed"),
    ];
    for (bytes, is) in cases {
        for cut in 0..=bytes.len() {
            let (first, then) = bytes.split_at(cut);
            assert_eq!(
                split(first, then).await.unwrap(),
                *is,
                "{:?} cut at {cut}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}

#[tokio::test]
async fn a_hello_is_read_from_any_number_of_records() {
    let hello = client_hello("api.openai.com", &["h2", "http/1.1"]);
    let (header, body) = hello.split_at(5);
    let mut records = Vec::new();
    for piece in body.chunks(100) {
        records.extend_from_slice(&header[..3]);
        records.extend_from_slice(&u16::try_from(piece.len()).unwrap().to_be_bytes());
        records.extend_from_slice(piece);
    }
    for cut in 0..records.len() {
        let (first, then) = records.split_at(cut);
        assert_eq!(split(first, then).await.unwrap(), "tls");
    }
}

#[tokio::test]
async fn a_hello_with_a_post_quantum_key_share_fits_and_may_come_byte_by_byte() {
    let hello = client_hello("api.openai.com", &["h2", "http/1.1"]);
    assert!(hello.len() > 1400, "more than one segment holds: {}", hello.len());
    let (mut client, server) = duplex(1);
    let writing = async {
        for byte in &hello {
            client.write_all(std::slice::from_ref(byte)).await.unwrap();
        }
    };
    let (opened, ()) = tokio::join!(open(server, Limits::default()), writing);
    let Opening::Tls(hello) = opened.unwrap() else { panic!("no TLS") };
    assert_eq!(hello.sni().as_deref(), Some("api.openai.com"));
}

#[tokio::test]
async fn records_that_hold_nothing_do_not_go_on_for_ever() {
    let empty = [0x16, 3, 1, 0, 0].repeat(20_000);
    let error = split(&empty, b"").await.unwrap_err();
    assert!(matches!(error, HelloError::TooLong(_) | HelloError::Malformed(_)), "{error}");
}

#[tokio::test]
async fn a_hello_cut_short_is_an_error_and_not_an_opening() {
    let hello = client_hello("api.openai.com", &[]);
    for cut in 1..hello.len() {
        assert!(matches!(split(&hello[..cut], b"").await, Err(HelloError::Io(_))), "cut at {cut}");
    }
}

#[tokio::test]
async fn a_hello_longer_than_the_limit_is_not_read_on() {
    // A handshake message that says it is 60,000 bytes long, in full records.
    let mut endless = vec![0x16, 3, 1, 0x3f, 0xff, 1, 0, 0xea, 0x60];
    endless.resize(64 * 1024, 0);
    let error = split(&endless, b"").await.unwrap_err();
    assert!(matches!(error, HelloError::TooLong(16_384) | HelloError::Malformed(_)), "{error}");
}

#[tokio::test]
async fn what_only_looks_like_tls_is_told_by_an_alert() {
    let (mut client, server) = duplex(64 * 1024);
    client.write_all(&[0x16, 3, 1, 0, 4, 9, 0, 0, 0]).await.unwrap();
    let error = open(server, Limits::default()).await.unwrap_err();
    assert!(matches!(error, HelloError::Malformed(_)), "{error}");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer.first(), Some(&21));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_for_the_server_is_silent_and_one_that_stops_is_slow() {
    let (_client, server) = duplex(64);
    assert!(matches!(open(server, Limits::default()).await.unwrap(), Opening::Silent(_)));
    let (mut client, server) = duplex(64);
    client.write_all(&[0x16, 3, 1]).await.unwrap();
    assert!(matches!(open(server, Limits::default()).await.unwrap_err(), HelloError::Slow));
    let (mut client, server) = duplex(64);
    client.write_all(b"GET").await.unwrap();
    assert!(matches!(open(server, Limits::default()).await.unwrap(), Opening::Other(_)));
}

#[tokio::test]
async fn a_refused_client_reads_the_alert_that_says_why() {
    for (why, code) in [
        (Refusal::AccessDenied, rustls::AlertDescription::AccessDenied),
        (Refusal::UnrecognisedName, rustls::AlertDescription::UnrecognisedName),
        (Refusal::Unavailable, rustls::AlertDescription::InternalError),
    ] {
        let (client, server) = duplex(64 * 1024);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let (seen, ()) =
            tokio::join!(connector.connect("a.example".try_into().unwrap(), client), async {
                let Opening::Tls(hello) = open(server, Limits::default()).await.unwrap() else {
                    panic!("not TLS")
                };
                hello.refuse(why).await.unwrap();
            });
        let seen = seen.unwrap_err().into_inner().unwrap().downcast::<rustls::Error>().unwrap();
        assert_eq!(*seen, rustls::Error::AlertReceived(code));
    }
}

#[tokio::test]
async fn an_admitted_client_is_answered_with_the_leaf_of_its_name() {
    let now = crate::clock::Clock::system().now();
    let (authority, parts) =
        crate::listen::mint::Authority::create(now, crate::clock::random::<16>).unwrap();
    let leaves = crate::listen::mint::Leaves::new(authority.into(), now).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(parts.certificate.clone().into()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let (client, server) = duplex(64 * 1024);
    let (seen, answered) =
        tokio::join!(connector.connect("a.example".try_into().unwrap(), client), async {
            let Opening::Tls(hello) = open(server, Limits::default()).await.unwrap() else {
                panic!("not TLS")
            };
            let config = leaves.server_config(&hello.sni().unwrap(), now).unwrap();
            hello.accept(config, Duration::from_secs(5)).await.unwrap()
        });
    assert!(seen.is_ok(), "{seen:?}");
    assert_eq!(answered.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
}

#[tokio::test]
async fn an_opaque_connection_gets_its_hello_back_byte_for_byte() {
    let hello = client_hello("a.example", &[]);
    let stream = tokio::io::join(hello.as_slice(), Vec::new());
    let Opening::Tls(opened) = open(stream, Limits::default()).await.unwrap() else {
        panic!("not TLS")
    };
    let mut all = Vec::new();
    opened.into_opaque().read_to_end(&mut all).await.unwrap();
    assert_eq!(all, hello);
}
