//! One task a connection: handshake, then requests over the protocol the client chose.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::tap::{Behind, Tap};
use super::{Shared, routes};

/// What a request knows of the connection it came by.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) number: u64,
    pub(super) alpn: String,
    pub(super) sni: String,
    behind: Behind,
    socket: OwnedFd,
}

impl Connection {
    /// Has these bytes written behind what is written next.
    pub(super) fn write_behind(&self, bytes: &Bytes) {
        if !bytes.is_empty() {
            *self.behind.lock().unwrap_or_else(PoisonError::into_inner) = bytes.clone();
        }
    }

    /// Makes the connection end with a reset. HTTP/2 would only end the stream, so its socket is shut at once.
    pub(super) fn reset_on_close(&self) {
        let socket = SockRef::from(&self.socket);
        drop(socket.set_linger(Some(Duration::ZERO)));
        if self.alpn == "h2" {
            drop(socket.shutdown(std::net::Shutdown::Both));
        }
    }
}

/// Accepts until the listener fails.
pub(super) async fn serve(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let number = shared.log.accept();
        tokio::spawn(connection(stream, number, tls.clone(), shared.clone()));
    }
}

/// A connection that fails is its client's affair; the log shows what arrived before.
async fn connection(stream: TcpStream, number: u64, tls: TlsAcceptor, shared: Arc<Shared>) {
    let Ok(socket) = stream.as_fd().try_clone_to_owned() else { return };
    drop(stream.set_nodelay(true));
    let Ok(stream) = tls.accept(stream).await else { return };
    let session = stream.get_ref().1;
    let behind = Behind::default();
    let connection = Arc::new(Connection {
        number,
        alpn: String::from_utf8_lossy(session.alpn_protocol().unwrap_or_default()).into_owned(),
        sni: session.server_name().unwrap_or_default().to_owned(),
        behind: behind.clone(),
        socket,
    });
    let service = service_fn(move |request| {
        let (shared, connection) = (shared.clone(), connection.clone());
        async move { Ok::<_, Infallible>(routes::answer(request, connection, shared).await) }
    });
    let io = TokioIo::new(Tap::new(stream, behind));
    drop(auto::Builder::new(TokioExecutor::new()).serve_connection(io, service).await);
}
