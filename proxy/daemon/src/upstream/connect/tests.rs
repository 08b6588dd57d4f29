use decide::case::Timestamp;
use tokio::net::TcpListener;

use super::*;
use crate::clock::{Clock, random};
use crate::listen::mint::{Authority, Leaves};

const DAY: u64 = 24 * 3600 * 1_000_000;

fn now() -> Timestamp {
    Clock::system().now()
}

fn trusting(root: &CertificateDer<'static>) -> Connector {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    Connector::trusting(roots).unwrap()
}

/// A TLS server that shows the leaf of `name`, made at `at`; and the connector that trusts its root.
async fn server(name: &str, at: Timestamp) -> (SocketAddr, Connector) {
    let (authority, _) = Authority::create(at, random::<16>).unwrap();
    let connector = trusting(authority.certificate());
    let config = Leaves::new(authority.into(), at).unwrap().server_config(name, at).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&config));
            drop(acceptor.accept(stream).await);
        }
    });
    (address, connector)
}

#[tokio::test]
async fn each_wrong_certificate_is_told_apart_and_refused() {
    let (good, connector) = server("up.example", now()).await;
    let dialled = connector.dial("up.example", &[good], true).await.unwrap();
    assert!(dialled.stream.is_h2());

    let (other_root, _) = Authority::create(now(), random::<16>).unwrap();
    let fault = |result: Result<Dialled, ConnectError>| {
        let error = result.unwrap_err();
        let ConnectError::Certificate { fault, .. } = error else { panic!("{error}") };
        fault
    };
    let stranger = trusting(other_root.certificate());
    assert_eq!(
        fault(stranger.dial("up.example", &[good], true).await),
        CertificateFault::UnknownIssuer
    );
    let wrong = fault(connector.dial("other.example", &[good], true).await);
    assert!(
        matches!(&wrong, CertificateFault::WrongName(names) if names.contains("up.example")),
        "{wrong}"
    );

    let (late, connector) = server("up.example", Timestamp(now().0 - 30 * DAY)).await;
    assert_eq!(fault(connector.dial("up.example", &[late], true).await), CertificateFault::Expired);
    let (early, connector) = server("up.example", Timestamp(now().0 + 30 * DAY)).await;
    assert_eq!(
        fault(connector.dial("up.example", &[early], true).await),
        CertificateFault::NotYetValid
    );
}

#[tokio::test]
async fn an_upstream_known_by_address_is_verified_for_the_address() {
    let (at, connector) = server("127.0.0.1", now()).await;
    assert!(connector.dial("127.0.0.1", &[at], true).await.is_ok());
    assert!(matches!(
        connector.dial("127.0.0.2", &[at], true).await,
        Err(ConnectError::Certificate { .. })
    ));
}

async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_closed_port_refuses_and_the_next_address_is_tried() {
    let closed = closed_port().await;
    let (open, connector) = server("up.example", now()).await;
    let error = connector.dial("up.example", &[closed], true).await.unwrap_err();
    assert_eq!(error, ConnectError::Refused { host: "up.example".into(), address: closed });
    let dialled = connector.dial("up.example", &[closed, open], true).await.unwrap();
    assert_eq!(dialled.peer, open);
    let error = connector.dial("up.example", &[], true).await.unwrap_err();
    assert_eq!(error, ConnectError::Nowhere("up.example".into()));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_shakes_hands_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (root, _) = Authority::create(now(), random::<16>).unwrap();
    let error =
        trusting(root.certificate()).dial("up.example", &[address], true).await.unwrap_err();
    assert_eq!(error, ConnectError::Timeout { host: "up.example".into(), address });
}

#[tokio::test]
async fn what_is_no_tls_is_not_taken_for_a_certificate() {
    use tokio::io::AsyncWriteExt as _;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let (root, _) = Authority::create(now(), random::<16>).unwrap();
    let error =
        trusting(root.certificate()).dial("up.example", &[address], true).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. }), "{error}");
}

#[test]
fn a_file_of_authorities_is_read_or_its_fault_named() {
    let (authority, _) = Authority::create(now(), random::<16>).unwrap();
    let read = read_authorities(authority.pem().as_bytes()).unwrap();
    assert_eq!(read, [authority.certificate().clone()]);
    assert!(Connector::new(&read).is_ok());
    assert!(read_authorities(b"nothing").unwrap_err().contains("BEGIN CERTIFICATE"));
    assert!(
        read_authorities(b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n").is_err()
    );
}
