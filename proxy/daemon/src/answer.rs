//! One answer: decode, scan, judge, release or cut.

pub mod body;
mod hold;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use decide::case::EndpointClass;
use decide::scan::{AnswerScanner, Sight};
use decide::stream::{Kind, Ruling, StreamEvent, StreamJudge};
use decide::verdict::KeyEnd;
use decide::{Missing, Reason, Refusal, RuleId};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use wire::{AnswerTerms, CutState, Decoder, Heard, HeardKind};

use crate::answer::body::{AnswerBody, Releaser};
use crate::answer::hold::Hold;
use crate::exchange::settle::Ended;
use crate::exchange::{Exchange, Reply};
use crate::heavy;
use crate::upstream::pool::{ConnHandle, Sent};
use crate::upstream::{self, headers};

/// How long a provider may say nothing in the middle of an answer. Longer than any documented
/// interval between keep-alives; the exchange ends with an error then, as unavailable.
const SILENCE: Duration = Duration::from_mins(10);

/// An answer that has begun.
pub(crate) struct Carried {
    pub(crate) exchange: Exchange,
    pub(crate) sent: Sent<Full<Bytes>>,
    pub(crate) terms: AnswerTerms,
    pub(crate) judge: StreamJudge,
    pub(crate) reply: Reply,
}

/// Follows an answer to its end and settles it.
pub(crate) async fn carry(carried: Carried) {
    let Carried { exchange, sent, mut terms, judge, reply } = carried;
    let Sent { response, connection } = sent;
    let (mut head, body) = response.into_parts();
    terms.head_only |= matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let decoder = exchange.dialect.answer(&exchange.endpoint, &terms, &head);
    let events = is_event_stream(&head.headers);
    let ended = Ended::answered(&head);
    headers::inbound(&mut head.headers);
    let following = Following {
        exchange,
        judge,
        events,
        ended,
        body,
        scanner: AnswerScanner::default(),
        hold: Hold::default(),
        event: 0,
    };
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
    exchange: Exchange,
    judge: StreamJudge,
    /// It is a stream of server-sent events.
    events: bool,
    ended: Ended,
    body: Incoming,
    scanner: AnswerScanner,
    hold: Hold,
    /// Number of the next event.
    event: u64,
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
        mut self,
        head: http::response::Parts,
        mut decoder: Box<dyn Decoder>,
        connection: ConnHandle<Full<Bytes>>,
        mut reply: Reply,
    ) {
        let mut whole = BytesMut::new();
        let mut bytes_in = 0;
        let end = loop {
            let (heard, finished) = match self.next(reply.closed()).await {
                Next::Bytes(bytes) => {
                    bytes_in += bytes.len();
                    (self.hear(decoder.push(&bytes), false), false)
                }
                Next::Finished => (self.hear_end(decoder.as_mut(), bytes_in).await, true),
                other @ (Next::Broken | Next::Cut(_) | Next::Gone) => break other,
            };
            match heard {
                Ok(released) => released.iter().for_each(|piece| whole.extend_from_slice(piece)),
                Err(refusal) => break Next::Cut(refusal),
            }
            if finished {
                break Next::Finished;
            }
        };
        match end {
            Next::Finished => {
                connection.finished();
                self.ended.finished = true;
                self.ended.released(&self.exchange, whole.len());
                let body = AnswerBody::whole(whole.freeze());
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
        mut self,
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
        let end = loop {
            let (said, finished) = match self.next(releaser.gone()).await {
                Next::Bytes(bytes) => (decoder.push(&bytes), false),
                Next::Finished => (decoder.finish(), true),
                other @ (Next::Broken | Next::Cut(_) | Next::Gone) => break other,
            };
            let ready = match self.hear(said, finished) {
                Ok(ready) => ready,
                Err(refusal) => break Next::Cut(refusal),
            };
            if let Some(end) = self.release(&releaser, ready).await {
                break end;
            }
            if finished {
                break Next::Finished;
            }
        };
        self.end_pieces(end, releaser, connection);
    }

    fn end_pieces(mut self, end: Next, releaser: Releaser, connection: ConnHandle<Full<Bytes>>) {
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
                return match frame {
                    Ok(Some(Ok(frame))) => Next::Bytes(frame.into_data().unwrap_or_default()),
                    Ok(None) => Next::Finished,
                    Ok(Some(Err(_))) | Err(_) => Next::Broken,
                };
            }
        };
        match self.judge.see(&event) {
            Ruling::Cut(refusal) => Next::Cut(refusal),
            // Whatever the rules say of it, nobody is there to read.
            Ruling::Release if event == StreamEvent::Gone => Next::Gone,
            Ruling::Release => Next::Broken,
        }
    }

    /// Scans and judges what was decoded; what comes back may be sent.
    fn hear(
        &mut self,
        heard: Result<Vec<Heard>, wire::Unreadable>,
        finished: bool,
    ) -> Result<Vec<Bytes>, Refusal> {
        let heard = heard.map_err(|unreadable| {
            tracing::info!(%unreadable, id = self.exchange.case.id, "an answer cannot be read");
            unreadable_refusal()
        })?;
        let mut released = Vec::with_capacity(heard.len());
        for one in heard {
            self.ended.note(&one);
            self.exchange.run.given(one.objects.iter().cloned());
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
            if let Err(error) = self.hold.push(event, kind, sight.waits_from, &mut released) {
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
        Ok(released)
    }

    /// Hears the end of an answer that is read once it is whole: here, or where much is read at once.
    async fn hear_end(
        &mut self,
        decoder: &mut dyn Decoder,
        bytes_in: usize,
    ) -> Result<Vec<Bytes>, Refusal> {
        // What is encoded may come to any length.
        if bytes_in <= heavy::LARGE && !decoder.unpacks() {
            return self.hear(decoder.finish(), true);
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
        turn.take(|| self.hear(decoder.finish(), true))
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
        Ok(all)
    }

    /// Sends what may be sent, as fast as the caller reads.
    async fn release(&mut self, releaser: &Releaser, ready: Vec<Bytes>) -> Option<Next> {
        let piece = match <[Bytes; 1]>::try_from(ready) {
            Ok([one]) => one,
            Err(none) if none.is_empty() => return None,
            Err(several) => Bytes::from(several.concat()),
        };
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
    fn refuse(mut self, refusal: Refusal, reply: Reply) {
        self.exchange.tell(&refusal, reply);
        self.ended.outcome.cut = Some(refusal);
        self.close();
    }

    /// Ends the exchange, with what observe let pass in its answer.
    fn close(mut self) {
        if let Some(observed) = self.judge.observed() {
            let counted = &self.exchange.gate.metrics.observed;
            counted.with_label_values(&[observed.rule.name()]).inc();
            self.ended.outcome.observed = Some(observed.clone());
        }
        self.exchange.close(self.ended);
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
