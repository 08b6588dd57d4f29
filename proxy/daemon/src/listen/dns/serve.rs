//! The responder on its sockets.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Admission, Event, Exists, Pending, Responder, Step};
use crate::clock::Clock;

/// Look-ups, and TCP connections, that may be open at once.
const AT_ONCE: usize = 64;
/// How long a TCP client may take for its next question (RFC 7766 6.2.3 asks for seconds).
const IDLE: Duration = Duration::from_secs(10);
/// How long to rest when the system cannot accept, for instance for want of descriptors.
const REST: Duration = Duration::from_millis(50);

/// Who knows which names are admitted and which exist.
pub trait Directory: Send + Sync + 'static {
    /// Judges `name` as text. Nothing may be sent for it.
    fn admits(&self, name: &str) -> Admission;
    /// Looks `name` up. Called only for [`Admission::Wildcard`], at a limited rate.
    fn exists(&self, name: &str) -> impl Future<Output = Exists> + Send;
    /// Hears what the operator should know.
    fn event(&self, event: Event<'_>);
}

/// Answers datagrams on `socket` for as long as the future is polled.
///
/// # Errors
///
/// The socket cannot be used.
pub async fn serve_udp<D: Directory>(
    socket: UdpSocket,
    responder: Arc<Mutex<Responder>>,
    directory: Arc<D>,
    clock: Clock,
) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = Arc::new(tokio::net::UdpSocket::from_std(socket)?);
    let (places, mut waiting) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    let mut buffer = [0; 1500];
    loop {
        while waiting.try_join_next().is_some() {}
        // An error here is about an earlier datagram of one client (ICMP unreachable), not about the socket.
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let query = buffer.get(..length).unwrap_or_default();
        match step(&responder, directory.as_ref(), &clock, query) {
            Step::Drop => {}
            Step::Reply(answer) => drop(socket.send_to(&answer, peer).await),
            Step::LookUp(pending) => {
                // Without a place the question goes unanswered: the client asks again.
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                let (socket, responder, directory) =
                    (Arc::clone(&socket), Arc::clone(&responder), Arc::clone(&directory));
                waiting.spawn(async move {
                    let answer = look_up(&responder, directory.as_ref(), pending).await;
                    drop(socket.send_to(&answer, peer).await);
                    drop(place);
                });
            }
        }
    }
}

/// Answers connections on `listener` for as long as the future is polled.
///
/// # Errors
///
/// The listener cannot be used.
pub async fn serve_tcp<D: Directory>(
    listener: TcpListener,
    responder: Arc<Mutex<Responder>>,
    directory: Arc<D>,
    clock: Clock,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (places, mut open) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    loop {
        while open.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let (responder, directory, clock) =
            (Arc::clone(&responder), Arc::clone(&directory), clock.clone());
        open.spawn(async move {
            // How a client's connection ends is the client's affair.
            drop(connection(stream, &responder, directory.as_ref(), &clock).await);
            drop(place);
        });
    }
}

async fn connection<D: Directory>(
    mut stream: TcpStream,
    responder: &Mutex<Responder>,
    directory: &D,
    clock: &Clock,
) -> io::Result<()> {
    let mut query = Vec::new();
    loop {
        query.clear();
        let length = timeout(IDLE, stream.read_u16()).await??;
        let mut message = (&mut stream).take(u64::from(length));
        timeout(IDLE, message.read_to_end(&mut query)).await??;
        let answer = match step(responder, directory, clock, &query) {
            Step::Drop => return Ok(()),
            Step::Reply(answer) => answer,
            Step::LookUp(pending) => look_up(responder, directory, pending).await,
        };
        let mut framed = u16::try_from(answer.len()).unwrap_or_default().to_be_bytes().to_vec();
        framed.extend(answer);
        timeout(IDLE, stream.write_all(&framed)).await??;
    }
}

fn step<D: Directory>(
    responder: &Mutex<Responder>,
    directory: &D,
    clock: &Clock,
    query: &[u8],
) -> Step {
    let mut responder = responder.lock().unwrap_or_else(PoisonError::into_inner);
    responder
        .ask(query, clock.now(), &|name| directory.admits(name), &|event| directory.event(event))
}

async fn look_up<D: Directory>(
    responder: &Mutex<Responder>,
    directory: &D,
    pending: Pending,
) -> Vec<u8> {
    let found = directory.exists(pending.name()).await;
    let mut responder = responder.lock().unwrap_or_else(PoisonError::into_inner);
    responder.looked_up(pending, found, &|event| directory.event(event))
}
