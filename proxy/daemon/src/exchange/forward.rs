//! Sends a request that was judged and recorded: amended where the decision says so, with the real
//! credential put in at the last moment.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use decide::case::{EndpointClass, Reservation, Scheme};
use decide::{Known, Refusal};
use http::request::Parts;
use http::{Request, header};
use http_body_util::Full;
use wire::{Amendment, AnswerTerms, Edit, Reading, Scanned};

use super::gather::Body;
use super::{Exchange, Reply, Stop};
use crate::answer::{self, echo::Echo};
use crate::keys;
use crate::metrics::{Metrics, Step, UpstreamFault};
use crate::places;
use crate::record::Amended;
use crate::upstream::headers::Coding;
use crate::upstream::pool::{PoolKey, Sent, UpstreamError};
use crate::upstream::{self, headers};
use crate::vault::inject::{self, Form};

/// What leaves.
#[derive(Debug)]
pub(crate) struct Outbound {
    /// The body, amended.
    pub(crate) body: Bytes,
    /// The body is no longer in the encoding that its head names.
    decoded: bool,
    /// How its answer is to be read.
    pub(crate) terms: AnswerTerms,
    /// What was changed, for the record.
    pub(crate) amended: Amended,
}

/// Why nothing came back.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing left the gate.
    NotSent(Refusal),
    /// It may have left.
    Sent(Refusal),
    /// It may have left, and nobody waits for the answer any more.
    Gone,
}

/// How long a provider may take over the head of an answer. An answer that is not streamed has none
/// until the model is done, and the longest that are documented take half an hour.
const HEAD_WITHIN: Duration = Duration::from_mins(45);

impl Exchange {
    /// The bytes that leave: those that came, but for what the decision changes.
    pub(crate) async fn amend(
        &self,
        head: &Parts,
        body: &Body,
        reading: &Reading<'_>,
        scanned: &Scanned,
        redact: bool,
        reply: &mut Reply,
    ) -> Result<Outbound, Stop> {
        let output_limit = match &self.case.budget {
            Known::Fact(Reservation::Granted { output_limit, .. }) => *output_limit,
            Known::Fact(_) | Known::Missing(_) => None,
        };
        let include_usage = self.endpoint.class == EndpointClass::Priced && reading.usage_missing;
        let amendment = Amendment { include_usage, output_limit };
        let (dialect, endpoint) = (self.dialect, &self.endpoint);
        let splice = || {
            let mut edits: Vec<Edit> = dialect.amend(endpoint, reading, &amendment);
            let mut redacted = 0;
            if redact {
                let splices = wire::redactions(scanned);
                redacted = splices.len();
                edits.extend(splices);
            }
            let spliced =
                (!edits.is_empty()).then(|| Bytes::from(wire::splice(&body.decoded, &edits)));
            (spliced, redacted)
        };
        let (spliced, redacted) = self.at_once(body.decoded.len(), reply, splice).await?;
        Ok(Outbound {
            decoded: spliced.is_some(),
            body: spliced.unwrap_or_else(|| body.sent.clone()),
            terms: AnswerTerms {
                head_only: head.method == http::Method::HEAD,
                usage_added: include_usage,
            },
            amended: Amended { include_usage, output_limit, redacted: redacted as u64 },
        })
    }

    /// Sends it to the address that was judged.
    pub(crate) async fn send(
        &mut self,
        head: Parts,
        out: Outbound,
        reply: &mut Reply,
    ) -> Result<Sent<Full<Bytes>>, Failure> {
        let route = Arc::clone(&self.route);
        let Some(target) = self.resolved.take() else {
            return Err(Failure::NotSent(super::unsealed()));
        };
        let mut request = self.outbound(&head, out).map_err(Failure::NotSent)?;
        self.span.send(request.headers_mut());
        self.work.done(Step::Send, &self.gate);
        let key = PoolKey {
            tenant: Arc::clone(&self.run.tenant),
            credential: self.key().map(|key| key.credential.as_str().into()),
            secure: route.scheme == Scheme::Https,
            host: Arc::clone(&route.name),
            port: route.port,
        };
        let sending = self.run.upstream.pool.send(&key, &target, request);
        tokio::select! {
            biased;
            scope = self.live.killed() => Err(Failure::Sent(super::killed(scope))),
            () = answer::sleep_for(self.expires_in()) => Err(Failure::Sent(super::expired())),
            () = reply.closed() => Err(Failure::Gone),
            sent = tokio::time::timeout(HEAD_WITHIN, sending) => match sent {
                Ok(sent) => sent.map_err(|error| failure(&error, &self.gate.metrics)),
                Err(_elapsed) => {
                    self.gate.metrics.upstream_failed(UpstreamFault::Timeout);
                    Err(Failure::Sent(upstream::silent(&route.host)))
                }
            },
        }
    }

    /// The request as it leaves: its own headers but for those of the connection, its own path, and
    /// the real key where the virtual one stood.
    fn outbound(&mut self, head: &Parts, out: Outbound) -> Result<Request<Full<Bytes>>, Refusal> {
        let Parts { method, uri, headers, .. } = head;
        let mut leaving = headers.clone();
        headers::outbound(&mut leaving, Coding::Identity);
        leaving.remove(header::CONTENT_LENGTH);
        if out.decoded {
            leaving.remove(header::CONTENT_ENCODING);
        }
        let mut echo = None;
        if let Some(key) = self.key() {
            // The chain has refused it already; a key has no business here otherwise.
            let (host, port) = (&self.route.host, self.route.port);
            let held = self.subject.terms.credential_for(host, port, Some(&key.credential));
            let secure = self.route.scheme == Scheme::Https;
            if !secure || held.is_none_or(|held| held.name != key.credential || held.port != port) {
                return Err(super::unsealed());
            }
            let unusable = |error: &dyn std::error::Error| {
                tracing::error!(%error, credential = key.credential, "a credential cannot be put in");
                super::unsealed()
            };
            let secret =
                self.gate.vault.reveal(&key.credential).map_err(|error| unusable(&error))?;
            for form in forms(head, self.dialect.places()) {
                inject::inject(&mut leaving, form, &secret).map_err(|error| unusable(&error))?;
            }
            let class = self.gate.vault.provider(&key.credential).map(|kind| kind.shape.class());
            echo = class.and_then(|class| Echo::of(&secret, class)).map(Box::new);
        }
        self.echo = echo;
        let mut request = Request::new(Full::new(out.body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = leaving;
        Ok(request)
    }
}

/// Where the virtual key stands, and so the real one goes.
fn forms(head: &Parts, places: &'static [wire::Place]) -> Vec<Form> {
    places::standing(head, places)
        .iter()
        .filter(|found| keys::is_virtual(found.value.as_str()))
        .filter_map(|found| places::form(&found.place))
        .collect()
}

fn failure(error: &UpstreamError, metrics: &Metrics) -> Failure {
    metrics.upstream_failed(error.into());
    let refusal = upstream::refusal(error);
    if error.may_have_sent() { Failure::Sent(refusal) } else { Failure::NotSent(refusal) }
}
