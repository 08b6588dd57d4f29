//! Sends a request that was judged and recorded: amended where the decision says so, with the real
//! credential put in at the last moment.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::Full;
use decide::case::{EndpointClass, Presented, Reservation, Scheme};
use decide::{Known, Refusal};
use wire::{Amendment, AnswerTerms, Edit, Reading, Scanned};

use super::Exchange;
use super::gather::Body;
use crate::record::Amended;
use crate::upstream::headers::Coding;
use crate::upstream::pool::PoolKey;
use crate::upstream::{self, Sent, UpstreamError};
use crate::vault::inject;

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
}

impl Exchange {
    /// The bytes that leave: those that came, but for what the decision changes.
    pub(crate) fn amend(
        &self,
        body: &Body,
        reading: &Reading<'_>,
        scanned: &Scanned,
        redact: bool,
    ) -> Outbound {
        let output_limit = match &self.case.budget {
            Known::Fact(Reservation::Granted { output_limit, .. }) => *output_limit,
            Known::Fact(_) | Known::Missing(_) => None,
        };
        let include_usage = self.endpoint.class == EndpointClass::Priced && reading.usage_missing;
        let amendment = Amendment { include_usage, output_limit };
        let mut edits: Vec<Edit> = self.dialect.amend(&self.endpoint, reading, &amendment);
        let mut redacted = 0;
        if redact {
            let splices = wire::redactions(scanned);
            redacted = splices.len();
            edits.extend(splices);
        }
        let (body, decoded) = if edits.is_empty() {
            (body.sent.clone(), false)
        } else {
            (Bytes::from(wire::splice(&body.decoded, &edits)), true)
        };
        Outbound {
            body,
            decoded,
            terms: AnswerTerms { head_only: false, usage_added: include_usage },
            amended: Amended { include_usage, output_limit, redacted: redacted as u64 },
        }
    }

    /// Sends it to the address that was judged.
    pub(crate) async fn send(&mut self, head: Parts, out: Outbound) -> Result<Sent, Failure> {
        let host = self.connection.host.clone();
        let failed = |fault: &UpstreamError| upstream::refusal(&host, fault);
        let Some(target) = self.connection.resolved.load_full() else {
            return Err(Failure::NotSent(super::unsealed()));
        };
        let request = self.outbound(head, out).map_err(Failure::NotSent)?;
        let key = PoolKey {
            owner: self.run.id.clone(),
            credential: self.run.credential_for(&host),
            tls: self.connection.scheme == Scheme::Https,
            host: host.clone(),
            port: self.connection.port,
        };
        let sending = self.gate.pool.send(&key, &self.run.roots, &target, request);
        tokio::select! {
            biased;
            scope = self.live.killed() => Err(Failure::Sent(super::killed(scope))),
            sent = sending => sent.map_err(|fault| {
                let refusal = failed(&fault);
                if fault.was_sent() { Failure::Sent(refusal) } else { Failure::NotSent(refusal) }
            }),
        }
    }

    fn outbound(&self, head: Parts, out: Outbound) -> Result<Request<Full<Bytes>>, Refusal> {
        let Parts { method, uri, mut headers, .. } = head;
        let judged = self.endpoint.class;
        let coding = match judged {
            EndpointClass::Priced | EndpointClass::Free | EndpointClass::Read | EndpointClass::Write => Coding::Identity,
            EndpointClass::Ungoverned | EndpointClass::Unlisted => Coding::AsAsked,
        };
        upstream::headers::outbound(&mut headers, coding);
        headers.remove(header::CONTENT_LENGTH);
        if out.decoded {
            headers.remove(header::CONTENT_ENCODING);
        }
        let mut uri = self.target(&uri)?;
        headers.insert(header::HOST, self.host_header()?);
        if let Known::Fact(Presented::Key(key)) = &self.case.key {
            let secret = self.gate.vault.open(&key.credential).map_err(|error| {
                tracing::error!(%error, credential = key.credential, "a credential cannot be opened");
                super::unsealed()
            })?;
            inject::put(&mut headers, &mut uri, self.dialect.places(), &secret, |standing| {
                self.gate.keys.is_live(standing)
            })
            .map_err(|error| {
                tracing::error!(%error, credential = key.credential, "a credential does not fit its place");
                super::unsealed()
            })?;
        }
        let mut request = Request::new(Full::new(out.body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn target(&self, uri: &Uri) -> Result<Uri, Refusal> {
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let scheme = if self.connection.scheme == Scheme::Https { "https" } else { "http" };
        Uri::builder()
            .scheme(scheme)
            .authority(self.authority())
            .path_and_query(path)
            .build()
            .map_err(|_form| super::unsealed())
    }

    fn host_header(&self) -> Result<HeaderValue, Refusal> {
        HeaderValue::try_from(self.authority()).map_err(|_form| super::unsealed())
    }

    /// Host and port as the destination knows itself: a usual port is not written.
    fn authority(&self) -> String {
        let connection = &self.connection;
        let usual = if connection.scheme == Scheme::Https { 443 } else { 80 };
        let host = if connection.host.contains(':') {
            format!("[{}]", connection.host)
        } else {
            connection.host.clone()
        };
        if connection.port == usual { host } else { format!("{host}:{}", connection.port) }
    }
}
