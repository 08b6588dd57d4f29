//! The body of an answer on its way to the agent.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// Pieces that may wait between the exchange and the connection. Small, so that a slow reader
/// slows the provider down and does not fill the gate.
const QUEUE: usize = 4;

/// What the connection writes to the agent.
#[derive(Debug)]
pub struct AnswerBody(Form);

#[derive(Debug)]
enum Form {
    /// At hand whole.
    Whole(Option<Bytes>),
    /// Released piece by piece.
    Pieces { pieces: mpsc::Receiver<Bytes>, end: Arc<OnceLock<End>> },
}

/// How a released answer ends.
#[derive(Debug, Clone)]
enum End {
    /// Everything was released.
    Complete,
    /// Cut: what is still queued is dropped, this is written in its place.
    Cut(Bytes),
    /// Cut where the dialect has no words for it: the connection breaks, so that nobody takes what
    /// arrived for the whole.
    Broken,
}

/// The answer was cut where its form has no way to say so.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut by the gate")]
pub struct Broken;

impl AnswerBody {
    /// An answer that is at hand whole.
    #[must_use]
    pub const fn whole(bytes: Bytes) -> Self {
        Self(Form::Whole(Some(bytes)))
    }

    /// An answer that is released piece by piece, and the end it is released from.
    #[must_use]
    pub fn pieces() -> (Releaser, Self) {
        let (sender, pieces) = mpsc::channel(QUEUE);
        let end = Arc::new(OnceLock::new());
        (Releaser { sender, end: Arc::clone(&end) }, Self(Form::Pieces { pieces, end }))
    }
}

/// Where an exchange releases its answer.
#[derive(Debug)]
pub struct Releaser {
    sender: mpsc::Sender<Bytes>,
    end: Arc<OnceLock<End>>,
}

/// The agent is gone.
#[derive(Debug)]
pub struct Gone;

impl Releaser {
    /// Releases one piece, as soon as the agent has room for it.
    ///
    /// # Errors
    ///
    /// [`Gone`] when nobody reads any more.
    pub async fn release(&self, piece: Bytes) -> Result<(), Gone> {
        self.sender.send(piece).await.map_err(|_gone| Gone)
    }

    /// Resolves when nobody reads any more.
    pub async fn gone(&self) {
        self.sender.closed().await;
    }

    /// Ends an answer that was released whole.
    pub fn complete(self) {
        self.finish(End::Complete);
    }

    /// Ends the answer here: what is queued is dropped and `last` written in its place; without it
    /// the connection breaks.
    pub fn cut(self, last: Option<Bytes>) {
        self.finish(last.map_or(End::Broken, End::Cut));
    }

    fn finish(self, end: End) {
        self.end.get_or_init(|| end);
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.0 {
            Form::Whole(bytes) => Poll::Ready(
                bytes.take().filter(|bytes| !bytes.is_empty()).map(|b| Ok(Frame::data(b))),
            ),
            Form::Pieces { pieces, end } => {
                if let Some(last) = cut(end) {
                    self.0 = Form::Whole(None);
                    return Poll::Ready(Some(last));
                }
                let piece = std::task::ready!(pieces.poll_recv(cx));
                match (piece, end.get()) {
                    (Some(piece), None | Some(End::Complete)) => {
                        Poll::Ready(Some(Ok(Frame::data(piece))))
                    }
                    (None, Some(End::Complete)) => Poll::Ready(None),
                    // Cut meanwhile: what was still queued goes with it.
                    (None | Some(_), _) => {
                        let last = cut(end).unwrap_or(Err(Broken));
                        self.0 = Form::Whole(None);
                        Poll::Ready(Some(last))
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Form::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Form::Pieces { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Form::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Form::Pieces { .. } => SizeHint::default(),
        }
    }
}

/// The last frame of an answer that was cut.
fn cut(end: &OnceLock<End>) -> Option<Result<Frame<Bytes>, Broken>> {
    match end.get()? {
        End::Complete => None,
        End::Cut(last) => Some(Ok(Frame::data(last.clone()))),
        End::Broken => Some(Err(Broken)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn what_is_queued_is_dropped_when_the_answer_is_cut() {
        let (releaser, body) = AnswerBody::pieces();
        releaser.release(Bytes::from_static(b"one")).await.unwrap();
        releaser.cut(Some(Bytes::from_static(b"stop")));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "stop");
    }

    #[tokio::test]
    async fn a_releaser_that_is_dropped_without_a_word_breaks_the_answer() {
        let (releaser, body) = AnswerBody::pieces();
        releaser.release(Bytes::from_static(b"one")).await.unwrap();
        drop(releaser);
        assert!(body.collect().await.is_err());
    }

    #[tokio::test]
    async fn a_complete_answer_arrives_whole() {
        let (releaser, body) = AnswerBody::pieces();
        releaser.release(Bytes::from_static(b"one")).await.unwrap();
        releaser.complete();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "one");
    }
}
