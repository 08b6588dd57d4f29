//! The answer's body goes out frame by frame, at the pace and with the faults that its script names.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::{mpsc, oneshot};

use super::log::{Finish, Log, RecordId};
use super::script::{Fault, Script};
use super::serve::Connection;

/// What goes out, and how.
#[derive(Debug)]
pub(super) struct Plan {
    frames: Vec<Bytes>,
    pause: Option<Duration>,
    /// Falls silent after so many frames.
    stall: Option<usize>,
    fault: Option<Fault>,
}

impl Plan {
    pub(super) fn new(mut frames: Vec<Bytes>, script: &Script) -> Self {
        if let Some(size) = script.drip {
            let whole = frames.concat();
            frames = whole.chunks(size).map(Bytes::copy_from_slice).collect();
        }
        if let ([only], true) =
            (frames.as_slice(), matches!(script.fault, Some(Fault::Truncate | Fault::Reset)))
        {
            let half = only.len() / 2;
            frames = vec![only.slice(..half), only.slice(half..)];
        }
        let stall = script.stall.map(|after| after.unwrap_or(frames.len() / 2));
        Self { frames, pause: script.pause, stall, fault: script.fault }
    }
}

#[derive(Debug)]
enum Piece {
    Data(Bytes),
    /// The last frame, and whom to tell that the connection took it.
    Last(Bytes, oneshot::Sender<()>),
    Break,
}

/// A body fed by a task of its own.
#[derive(Debug)]
pub(super) struct Paced {
    pieces: mpsc::Receiver<Piece>,
    connection: Arc<Connection>,
    /// Bytes to write behind the answer.
    behind: Bytes,
    ended: bool,
}

impl Paced {
    pub(super) fn start(
        plan: Plan,
        connection: Arc<Connection>,
        log: Arc<Log>,
        id: RecordId,
    ) -> Self {
        let (send, pieces) = mpsc::channel(1);
        let behind = match plan.fault {
            Some(Fault::Overlong) => Bytes::from_static(b"and these bytes were never announced"),
            Some(Fault::Double) => Bytes::from_static(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 17\r\n\r\n{\"smuggled\":true}",
            ),
            Some(Fault::Truncate | Fault::Reset | Fault::Short) | None => Bytes::new(),
        };
        let paced = Self { pieces, connection: connection.clone(), behind, ended: false };
        tokio::spawn(async move {
            let finish = feed(plan, &send, &connection).await;
            log.amend(id, |record| record.finish = finish);
        });
        paced
    }
}

async fn feed(plan: Plan, send: &mpsc::Sender<Piece>, connection: &Connection) -> Finish {
    let count = plan.frames.len();
    let breaks = matches!(plan.fault, Some(Fault::Truncate | Fault::Reset));
    for (at, frame) in plan.frames.into_iter().enumerate() {
        if plan.stall.is_some_and(|after| at >= after) {
            send.closed().await;
            return Finish::Dropped;
        }
        if breaks && at >= count / 2 {
            if plan.fault == Some(Fault::Reset) {
                connection.reset_on_close();
            }
            return if send.send(Piece::Break).await.is_ok() {
                Finish::Broken
            } else {
                Finish::Dropped
            };
        }
        if let Some(pause) = plan.pause {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = send.closed() => return Finish::Dropped,
            }
        }
        if at + 1 == count {
            let (taken, last) = oneshot::channel();
            drop(send.send(Piece::Last(frame, taken)).await);
            return if last.await.is_ok() { Finish::Complete } else { Finish::Dropped };
        }
        if send.send(Piece::Data(frame)).await.is_err() {
            return Finish::Dropped;
        }
    }
    Finish::Complete
}

impl Body for Paced {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = match self.pieces.poll_recv(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(piece)) => piece,
        };
        Poll::Ready(Some(match piece {
            Piece::Data(bytes) => Ok(Frame::data(bytes)),
            Piece::Last(bytes, taken) => {
                self.ended = true;
                if taken.send(()).is_err() {
                    return Poll::Ready(Some(Err(io::Error::other("the provider is ending"))));
                }
                self.connection.write_behind(&self.behind);
                Ok(Frame::data(bytes))
            }
            Piece::Break => Err(io::Error::other("broken off, as the script says")),
        }))
    }
}
