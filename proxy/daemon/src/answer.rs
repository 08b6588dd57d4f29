//! One answer: decode, scan, judge, release or cut.

pub mod body;
pub(crate) mod echo;
mod hold;

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use decide::case::EndpointClass;
use decide::scan::{AnswerScanner, Sight};
use decide::stream::{Kind, Ruling, StreamEvent, StreamJudge};
use decide::verdict::KeyEnd;
use decide::{Missing, Reason, Refusal, RuleId};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Full};
use wire::{AnswerTerms, CutState, Decoder, Heard, HeardKind};

use crate::answer::body::{AnswerBody, Releaser};
use crate::answer::echo::Echo;
use crate::answer::hold::Hold;
use crate::exchange::settle::Ended;
use crate::exchange::{Exchange, Reply};
use crate::heavy;
use crate::metrics::Open;
use crate::upstream::pool::{AnswerStream, ConnHandle, Sent};
use crate::upstream::{self, headers};

/// How long a provider may say nothing in the middle of an answer. Longer than any documented
/// interval between keep-alives; the exchange ends with an error then, as unavailable.
const SILENCE: Duration = Duration::from_mins(10);

/// Bytes that leave in one piece where that many are there.
const PIECE: usize = 16 << 10;

/// An answer that has begun.
pub(crate) struct Carried {
    pub(crate) exchange: Box<Exchange>,
    pub(crate) sent: Sent<Full<Bytes>>,
    pub(crate) terms: AnswerTerms,
    pub(crate) judge: StreamJudge,
    pub(crate) reply: Reply,
}

/// Follows an answer to its end and settles it.
pub(crate) async fn carry(carried: Carried) {
    let Carried { mut exchange, sent, mut terms, judge, reply } = carried;
    let Sent { response, connection } = sent;
    let (mut head, body) = response.into_parts();
    terms.head_only |= matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let decoder = exchange.dialect.answer(&exchange.endpoint, &terms, &head);
    let echo = exchange.echo.take();
    let echoed = echo.as_ref().map_or(Ok(()), |echo| echo.head(&head.headers));
    let events = is_event_stream(&head.headers);
    let ended = Ended::answered(&head, events);
    headers::inbound(&mut head.headers);
    let following = Box::new(Following {
        exchange,
        judge,
        events,
        ended,
        body,
        scanner: AnswerScanner::default(),
        echo,
        hold: Hold::default(),
        event: 0,
        bytes_in: 0,
    });
    if let Err(refusal) = echoed {
        return following.refuse(refusal, reply);
    }
    match decoder {
        Ok(decoder) if following.is_whole() => {
            following.whole(head, decoder, connection, reply).await;
        }
        Ok(decoder) => following.pieces(head, decoder, connection, reply).await,
        Err(unreadable) => {
            tracing::info!(%unreadable, id = following.exchange.case.id, "an answer cannot be read");
            following.refuse(unreadable_refusal(), reply);
        }
    }
}

/// One answer on its way.
struct Following {
    exchange: Box<Exchange>,
    judge: StreamJudge,
    /// It is a stream of server-sent events.
    events: bool,
    ended: Ended,
    body: AnswerStream,
    scanner: AnswerScanner,
    /// The key that was put in, which must not come back.
    echo: Option<Box<Echo>>,
    hold: Hold,
    /// Number of the next event.
    event: u64,
    /// Bytes of the answer that came.
    bytes_in: usize,
}

/// What happened next.
enum Next {
    /// Bytes came.
    Bytes(Bytes),
    /// The provider finished.
    Finished,
    /// The provider's connection broke, or fell silent.
    Broken,
    /// A rule ends the answer.
    Cut(Refusal),
    /// Nobody reads the answer any more.
    Gone,
}

impl Following {
    /// Whether the caller gets the answer only once all of it was judged.
    fn is_whole(&self) -> bool {
        let class = self.exchange.endpoint.class;
        matches!(class, EndpointClass::Priced | EndpointClass::Free) && !self.events
    }

    /// An answer that is judged whole before the caller sees any of it.
    async fn whole(
        mut self: Box<Self>,
        head: http::response::Parts,
        mut decoder: Box<dyn Decoder>,
        connection: ConnHandle<Full<Bytes>>,
        mut reply: Reply,
    ) {
        let mut whole = Vec::new();
        let end = loop {
            let next = self.next(reply.closed()).await;
            let (ready, end) = self.hear_all(decoder.as_mut(), next).await;
            whole.extend(ready);
            if let Some(end) = end {
                break end;
            }
        };
        match end {
            Next::Finished => {
                connection.finished();
                self.ended.finished = true;
                let whole = joined(whole);
                self.ended.released(&self.exchange, whole.len());
                let body = AnswerBody::whole(whole);
                let response = with_body(head, body, decoder.unpacks(), true);
                // Nobody reads it: the exchange is settled all the same.
                self.ended.outcome.gone = reply.send(response).is_err();
                self.close();
            }
            Next::Cut(refusal) => self.refuse(refusal, reply),
            Next::Broken | Next::Bytes(_) => {
                let refusal = upstream::broken(&self.exchange.route.host);
                self.refuse(refusal, reply);
            }
            Next::Gone => {
                self.ended.outcome.gone = true;
                self.close();
            }
        }
    }

    /// An answer that is released event by event.
    async fn pieces(
        mut self: Box<Self>,
        head: http::response::Parts,
        mut decoder: Box<dyn Decoder>,
        connection: ConnHandle<Full<Bytes>>,
        reply: Reply,
    ) {
        let (releaser, body) = AnswerBody::pieces();
        if reply.send(with_body(head, body, decoder.unpacks(), !self.events)).is_err() {
            self.ended.outcome.gone = true;
            return self.close();
        }
        let _streaming = Open::counted_in(&self.exchange.gate.metrics.streams);
        let end = loop {
            let next = self.next(releaser.gone()).await;
            let (ready, end) = self.hear_all(decoder.as_mut(), next).await;
            let any = !ready.is_empty();
            let stopped = self.release(&releaser, ready).await;
            if let Some(end) = stopped.or(end) {
                // What was in order before the event that ends it may still be written.
                if any && matches!(end, Next::Cut(_)) {
                    tokio::task::yield_now().await;
                }
                break end;
            }
        };
        self.end_pieces(end, releaser, connection);
    }

    /// Hears `next` and whatever has come behind it by now, so that it leaves as one piece. What may
    /// be sent, and the end where that is reached.
    async fn hear_all(
        &mut self,
        decoder: &mut dyn Decoder,
        mut next: Next,
    ) -> (Vec<Bytes>, Option<Next>) {
        let (mut ready, mut size) = (Vec::new(), 0);
        loop {
            let before = ready.len();
            let heard = match next {
                Next::Bytes(bytes) => {
                    self.bytes_in += bytes.len();
                    self.hear(decoder.push(&bytes), false, &mut ready).map(|()| None)
                }
                Next::Finished => {
                    let heard = self.hear_end(decoder, &mut ready).await;
                    heard.map(|()| Some(Next::Finished))
                }
                other @ (Next::Broken | Next::Cut(_) | Next::Gone) => return (ready, Some(other)),
            };
            match heard {
                Ok(None) => {}
                Ok(end) => return (ready, end),
                Err(refusal) => {
                    ready.truncate(before);
                    return (ready, Some(Next::Cut(refusal)));
                }
            }
            size += ready.iter().skip(before).map(Bytes::len).sum::<usize>();
            if size >= PIECE {
                return (ready, None);
            }
            match self.soon().await {
                Some(more) => next = more,
                None => return (ready, None),
            }
        }
    }

    /// What has come by now. Where a task of its own moves the provider's connection, that has had a
    /// turn.
    async fn soon(&mut self) -> Option<Next> {
        let mut waited = !self.body.is_brought();
        std::future::poll_fn(|cx| match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Some(arrived(frame))),
            Poll::Pending if waited => Poll::Ready(None),
            Poll::Pending => {
                waited = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await
    }

    fn end_pieces(
        mut self: Box<Self>,
        end: Next,
        releaser: Releaser,
        connection: ConnHandle<Full<Bytes>>,
    ) {
        match end {
            Next::Finished => {
                connection.finished();
                self.ended.finished = true;
                releaser.complete();
            }
            Next::Cut(refusal) => {
                releaser.cut(self.last_words(&refusal));
                self.ended.outcome.cut = Some(refusal);
            }
            Next::Broken | Next::Bytes(_) => {
                let refusal = upstream::broken(&self.exchange.route.host);
                releaser.cut(self.last_words(&refusal));
                self.ended.outcome.broken = true;
            }
            Next::Gone => self.ended.outcome.gone = true,
        }
        self.close();
    }

    /// Waits for what happens next. A kill comes before bytes that came at the same time.
    async fn next(&mut self, gone: impl Future<Output = ()>) -> Next {
        let expiry = self.exchange.expires_in();
        let event = tokio::select! {
            biased;
            scope = self.exchange.live.killed() => StreamEvent::Killed(scope),
            () = sleep_for(expiry) => StreamEvent::Expired(KeyEnd::Expired),
            () = gone => StreamEvent::Gone,
            frame = tokio::time::timeout(SILENCE, self.body.frame()) => {
                return frame.map_or(Next::Broken, arrived);
            }
        };
        match self.judge.see(&event) {
            Ruling::Cut(refusal) => Next::Cut(refusal),
            // Whatever the rules say of it, nobody is there to read.
            Ruling::Release if event == StreamEvent::Gone => Next::Gone,
            Ruling::Release => Next::Broken,
        }
    }

    /// Scans and judges what was decoded, and adds to `released` what may be sent.
    fn hear(
        &mut self,
        heard: Result<Vec<Heard>, wire::Unreadable>,
        finished: bool,
        released: &mut Vec<Bytes>,
    ) -> Result<(), Refusal> {
        let heard = heard.map_err(|unreadable| {
            tracing::info!(%unreadable, id = self.exchange.case.id, "an answer cannot be read");
            unreadable_refusal()
        })?;
        for one in heard {
            self.ended.note(&one);
            if !one.objects.is_empty() {
                self.exchange.run.given(one.objects.iter().cloned());
            }
            if let HeardKind::Withheld = one.kind {
                continue;
            }
            let sight = self.scan(&one)?;
            if !sight.found.is_empty()
                && let Ruling::Cut(refusal) = self.judge.see(&StreamEvent::Heard(sight.found))
            {
                return Err(refusal);
            }
            let kind = match one.kind {
                HeardKind::KeepAlive => Kind::KeepAlive,
                HeardKind::Content | HeardKind::Withheld => Kind::Content,
            };
            let event = (self.event, one.bytes);
            if let Err(error) = self.hold.push(event, kind, sight.waits_from, released) {
                tracing::info!(%error, id = self.exchange.case.id, "an answer is cut");
                return Err(unreadable_refusal());
            }
            self.event += 1;
        }
        if finished {
            if let Ruling::Cut(refusal) = self.judge.see(&StreamEvent::End) {
                return Err(refusal);
            }
            released.extend(self.hold.end());
        }
        Ok(())
    }

    /// Hears the end of an answer that is read once it is whole: here, or where much is read at once.
    async fn hear_end(
        &mut self,
        decoder: &mut dyn Decoder,
        ready: &mut Vec<Bytes>,
    ) -> Result<(), Refusal> {
        // What is encoded may come to any length.
        if self.bytes_in <= heavy::LARGE && !decoder.unpacks() {
            return self.hear(decoder.finish(), true, ready);
        }
        let (gate, run) = (Arc::clone(&self.exchange.gate), Arc::clone(&self.exchange.run));
        let turn = tokio::select! {
            biased;
            scope = self.exchange.live.killed() => {
                return match self.judge.see(&StreamEvent::Killed(scope)) {
                    Ruling::Cut(refusal) => Err(refusal),
                    Ruling::Release => Err(crate::exchange::killed(scope)),
                };
            }
            turn = gate.heavy.turn(&run.heavy) => turn,
        };
        turn.take(|| self.hear(decoder.finish(), true, ready))
    }

    fn scan(&mut self, heard: &Heard) -> Result<Sight, Refusal> {
        let mut all = Sight { found: Vec::new(), waits_from: self.scanner.waits_from() };
        for piece in &heard.pieces {
            let sight = if piece.escaped {
                self.scanner.push_escaped(self.event, &piece.track, &piece.text)
            } else {
                self.scanner.push(self.event, &piece.track, &piece.text)
            }
            .map_err(|missing| secrets_refusal(missing.into()))?;
            all.found.extend(sight.found);
            all.waits_from = sight.waits_from;
        }
        if let Some(echo) = &mut self.echo {
            echo.hear(self.event, heard)?;
            all.waits_from = all.waits_from.into_iter().chain(echo.waits_from()).min();
        }
        Ok(all)
    }

    /// Sends what may be sent, as fast as the caller reads.
    async fn release(&mut self, releaser: &Releaser, ready: Vec<Bytes>) -> Option<Next> {
        if ready.is_empty() {
            return None;
        }
        let piece = joined(ready);
        self.ended.released(&self.exchange, piece.len());
        let scope = tokio::select! {
            biased;
            scope = self.exchange.live.killed() => scope,
            sent = tokio::time::timeout(SILENCE, releaser.release(piece)) => {
                // Who has read nothing for so long is as good as gone.
                return (!matches!(sent, Ok(Ok(())))).then_some(Next::Gone);
            }
        };
        match self.judge.see(&StreamEvent::Killed(scope)) {
            Ruling::Cut(refusal) => Some(Next::Cut(refusal)),
            Ruling::Release => None,
        }
    }

    /// The dialect's own way to end an answer of which a part was sent.
    fn last_words(&self, refusal: &Refusal) -> Option<Bytes> {
        let state = CutState {
            endpoint: self.exchange.endpoint.clone(),
            events: self.events,
            released: self.event,
        };
        let hint = self.exchange.hint(refusal);
        let told = self.exchange.told(refusal, hint.as_deref());
        Some(self.exchange.dialect.cut(&told, &state)).filter(|bytes| !bytes.is_empty())
    }

    /// Refuses an answer of which nothing was sent.
    fn refuse(mut self: Box<Self>, refusal: Refusal, reply: Reply) {
        self.exchange.tell(&refusal, reply);
        self.ended.outcome.cut = Some(refusal);
        self.close();
    }

    /// Ends the exchange, with what observe let pass in its answer.
    fn close(mut self: Box<Self>) {
        if let Some(observed) = self.judge.observed() {
            let counted = &self.exchange.gate.metrics.observed;
            counted.with_label_values(&[observed.rule.name()]).inc();
            self.ended.outcome.observed = Some(observed.clone());
        }
        let Self { exchange, ended, .. } = *self;
        exchange.close(ended);
    }
}

/// What a frame of the provider's answer is, or its end.
fn arrived(frame: Option<Result<Frame<Bytes>, hyper::Error>>) -> Next {
    match frame {
        Some(Ok(frame)) => Next::Bytes(frame.into_data().unwrap_or_default()),
        Some(Err(_)) => Next::Broken,
        None => Next::Finished,
    }
}

/// The head as the caller gets it. The encoding is named where it was not taken off, and the length
/// holds only where every byte is passed as it came.
fn with_body(
    mut head: http::response::Parts,
    body: AnswerBody,
    unpacked: bool,
    keep_length: bool,
) -> Response<AnswerBody> {
    if unpacked {
        head.headers.remove(header::CONTENT_ENCODING);
    }
    if unpacked || !keep_length {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    head.version = http::Version::default();
    Response::from_parts(head, body)
}

/// All `pieces` as one.
fn joined(pieces: Vec<Bytes>) -> Bytes {
    match <[Bytes; 1]>::try_from(pieces) {
        Ok([one]) => one,
        Err(several) => Bytes::from(several.concat()),
    }
}

fn is_event_stream(headers: &http::HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).is_some_and(|kind| {
        kind.get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
    })
}

pub(crate) async fn sleep_for(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

fn secrets_refusal(reason: Reason) -> Refusal {
    Refusal { rule: RuleId("content/secrets"), reason }
}

fn unreadable_refusal() -> Refusal {
    secrets_refusal(Missing::Malformed.into())
}
