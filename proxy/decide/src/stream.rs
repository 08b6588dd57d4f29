//! Judging an answer while it is still arriving.
//!
//! The unit of release is the provider's event. [`Answer`] is a sans-I/O state machine: the edge
//! feeds it what happened, in order, and learns up to which event the caller may receive.

mod holdback;

use alloc::boxed::Box;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::case::KillScope;
use crate::chain::Chain;
use crate::policy::Mode;
use crate::scan::SecretClass;
use crate::verdict::{Bite, KeyEnd};
use crate::{Missing, Reason, Refusal, RequestContext, RuleId, Verdict};

pub use holdback::{Holdback, Kind, Released};

/// One thing that happened to an open answer, in the order it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamEvent {
    /// An event of the answer was scanned; these classes were found complete in it.
    Heard(Vec<SecretClass>),
    /// A kill switch was set while the answer was open.
    Killed(KillScope),
    /// The virtual key ended while the answer was open.
    Expired(KeyEnd),
    /// The caller went away.
    Gone,
    /// The provider finished.
    End,
}

/// A rule following one answer.
pub trait Watch: Send {
    /// Judges the next event.
    ///
    /// # Errors
    ///
    /// [`Missing`] when the event cannot be understood; the answer is cut.
    fn see(&mut self, event: &StreamEvent) -> Result<Verdict, Missing>;
}

/// What happens to the event just seen.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// No rule objects.
    Release,
    /// Cut the answer here; nothing that waits is released.
    Cut(Refusal),
}

/// Every watch that the chain opened for one exchange.
pub struct StreamJudge {
    watches: Vec<(RuleId, Box<dyn Watch>)>,
    mode: Mode,
    observed: Option<Refusal>,
}

impl core::fmt::Debug for StreamJudge {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.watches.iter().map(|(id, _)| id)).finish()
    }
}

impl StreamJudge {
    /// Opens the watches of every rule, in chain order.
    #[must_use]
    pub fn open(chain: &Chain, cx: &RequestContext<'_>, mode: Mode) -> Self {
        let watches =
            chain.stages().filter_map(|stage| Some((stage.rule().id, stage.watch(cx)?))).collect();
        Self { watches, mode, observed: None }
    }

    /// Shows one event to every watch, in chain order; the first objection wins. Observe records
    /// the first objection that only enforce would have cut for.
    pub fn see(&mut self, event: &StreamEvent) -> Ruling {
        for (rule, watch) in &mut self.watches {
            let verdict = watch.see(event).unwrap_or_else(|missing| Reason::from(missing).into());
            match verdict {
                Verdict::Abstain | Verdict::Pass => {}
                // An answer has no splice: what a request would replace, an answer is cut for.
                Verdict::Redact => {
                    return Ruling::Cut(Refusal { rule: *rule, reason: Missing::Malformed.into() });
                }
                Verdict::Block(reason) => {
                    let refusal = Refusal { rule: *rule, reason };
                    if self.mode == Mode::Enforce || refusal.reason.bite() == Bite::Always {
                        return Ruling::Cut(refusal);
                    }
                    self.observed.get_or_insert(refusal);
                }
            }
        }
        Ruling::Release
    }

    /// What observe let pass.
    #[must_use]
    pub const fn observed(&self) -> Option<&Refusal> {
        self.observed.as_ref()
    }
}
