//! The span of an exchange, while it goes on and when it is over.

use std::sync::Arc;

use decide::case::Timestamp;
use http::HeaderMap;

use super::context::{SpanId, TRACEPARENT, TraceId, TraceParent, trace_state};
use super::{Standing, ids, parent, trace_of};
use crate::metrics::{Ended, Finished, Intake, genai};

/// Characters of a name that somebody else wrote: a model, a host, an agent.
const NAME: usize = 128;

/// What is known of an exchange when it begins.
#[derive(Debug, Clone, Copy)]
pub struct Opened<'a> {
    /// When its head was read.
    pub received: Timestamp,
    /// The decision's id, a ULID.
    pub decision: &'a str,
}

/// The span of one exchange, with a child for the call to the provider; nothing at all where spans are off.
///
/// Dropped without [`ExchangeSpan::finish`], it is lost: an exchange that ends without its own word is in the ledger.
#[derive(Debug, Default)]
pub struct ExchangeSpan(Option<Box<Open>>);

/// A span that goes on.
#[derive(Debug)]
pub(super) struct Open {
    standing: Arc<Standing>,
    caller: Option<TraceParent>,
    state: Option<String>,
    trace: TraceId,
    id: SpanId,
    upstream: SpanId,
    decision: String,
    began: Timestamp,
    sent: Option<Timestamp>,
    answered: Option<Timestamp>,
}

impl Open {
    pub(super) fn new(
        standing: &Arc<Standing>,
        headers: &HeaderMap,
        opened: Opened<'_>,
    ) -> Option<Box<Self>> {
        let caller = parent(headers);
        let (id, upstream) = ids()?;
        Some(Box::new(Self {
            standing: Arc::clone(standing),
            state: caller.and_then(|_| trace_state(headers)),
            trace: match caller {
                Some(caller) => caller.trace,
                None => trace_of(opened.decision)?,
            },
            caller,
            id,
            upstream,
            decision: shortened(opened.decision),
            began: opened.received,
            sent: None,
            answered: None,
        }))
    }
}

impl ExchangeSpan {
    /// Of an exchange that has none.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    pub(super) fn of(open: Box<Open>) -> Self {
        Self(Some(open))
    }

    /// The request leaves: the call to the provider begins. Where the caller named its span, `headers` name ours in its
    /// place; where it named none, or an invalid one, they stay as they are.
    pub fn send(&mut self, headers: &mut HeaderMap) {
        let Some(open) = &mut self.0 else { return };
        open.sent = Some(open.standing.now());
        if let Some(value) = open.caller.and_then(|caller| caller.continued_by(open.upstream)) {
            headers.insert(TRACEPARENT, value);
        }
    }

    /// The head of the provider's answer is there.
    pub fn answered(&mut self) {
        if let Some(open) = &mut self.0 {
            open.answered = Some(open.standing.now());
        }
    }

    /// The exchange is over. A trace that its caller does not record is not recorded here either.
    pub fn finish(self, finished: &Finished<'_>) {
        let Some(open) = self.0 else { return };
        if open.caller.is_some_and(|caller| !caller.is_sampled()) {
            return;
        }
        let now = open.standing.now();
        let standing = Arc::clone(&open.standing);
        standing.queue(Done::new(*open, finished, now));
    }
}

/// A span that is over.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) trace: TraceId,
    pub(super) id: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) upstream: SpanId,
    pub(super) state: Option<String>,
    pub(super) decision: String,
    pub(super) began: Timestamp,
    pub(super) sent: Option<Timestamp>,
    pub(super) answered: Option<Timestamp>,
    pub(super) over: Timestamp,
    pub(super) ended: Ended,
    pub(super) intake: Intake,
    pub(super) agent: String,
    pub(super) operation: Option<&'static str>,
    pub(super) asked: String,
    pub(super) provider: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) model: Option<String>,
    pub(super) answered_by: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) tokens: Option<(u64, u64)>,
    pub(super) error: Option<String>,
    pub(super) first_byte_us: Option<u64>,
}

impl Done {
    fn new(open: Open, finished: &Finished<'_>, over: Timestamp) -> Self {
        Self {
            trace: open.trace,
            id: open.id,
            parent: open.caller.map(|caller| caller.parent),
            upstream: open.upstream,
            state: open.state,
            decision: open.decision,
            began: open.began,
            sent: open.sent,
            answered: open.answered,
            over,
            ended: finished.ended,
            intake: finished.intake,
            agent: shortened(finished.agent),
            operation: genai::operation(finished.dialect, finished.operation),
            asked: shortened(finished.operation),
            provider: shortened(finished.dialect),
            host: shortened(finished.host),
            port: finished.port,
            model: finished.model.map(shortened),
            answered_by: finished.answered_by.map(shortened),
            status: finished.status,
            tokens: finished
                .usage
                .map(|usage| (usage.total().saturating_sub(usage.output), usage.output)),
            error: finished.error(),
            first_byte_us: finished.first_byte_us,
        }
    }
}

/// A name without what only fills space.
fn shortened(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(NAME).collect()
}
