//! The chain: every rule, in the order it is applied.
//!
//! This file is the only place that knows the order.

mod page;

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::policy::Mode;
use crate::stages::{content, engines, filtering, ingress, verdict};
use crate::verdict::Bite;
use crate::{Policy, Reason, RequestContext, RuleId, Stage, Verdict};

pub use page::markdown;

/// The chain in force.
pub static CHAIN: Chain = Chain(&[
    (
        Band::Ingress,
        &[
            &ingress::PeerIdentity,
            &ingress::KillSwitch,
            &ingress::VirtualKey,
            &ingress::KeyLifetime,
            &ingress::EnforceOnly,
        ],
    ),
    (
        Band::Filtering,
        &[
            &filtering::Destination,
            &filtering::Envelope,
            &filtering::EndpointScope,
            &filtering::ModelScope,
            &filtering::Throttle,
        ],
    ),
    (Band::Content, &[&content::Secrets]),
    (Band::Engines, &[&engines::KeyBudget]),
    (Band::Verdict, &[&verdict::Seal]),
]);

/// Rules that share a gathering step: the facts a band needs are fetched just before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    /// Who is calling, and may they call at all.
    Ingress,
    /// Where it goes and what it asks for.
    Filtering,
    /// What the bytes carry.
    Content,
    /// What the books say.
    Engines,
    /// The last word.
    Verdict,
}

impl Band {
    /// Every band, in order.
    pub const ALL: [Self; 5] =
        [Self::Ingress, Self::Filtering, Self::Content, Self::Engines, Self::Verdict];
}

/// An ordered set of rules.
pub struct Chain(&'static [(Band, &'static [&'static dyn Stage])]);

/// What one rule said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The rule.
    pub rule: RuleId,
    /// Its verdict.
    pub verdict: Verdict,
}

/// What the chain concluded, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The conclusion.
    pub outcome: Outcome,
    /// What observe let pass: the first reason that enforce would have refused for.
    pub observed: Option<Refusal>,
    /// Every rule that spoke, in order.
    pub trail: Vec<Said>,
}

/// The conclusion.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Send it.
    Forward {
        /// Replace every finding of the scanner in the bytes that leave.
        redact: bool,
    },
    /// Refuse it.
    Refuse(Refusal),
}

/// A refusal, before anyone has decided how to phrase it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The rule that refused.
    pub rule: RuleId,
    /// Why.
    pub reason: Reason,
}

impl core::fmt::Display for Refusal {
    /// `model_scope: gpt-5-pro is not in this agent's contract. Allowed: gpt-5-mini`.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {}", self.rule.name(), self.reason)
    }
}

impl Chain {
    /// Every rule, in order.
    pub fn stages(&self) -> impl Iterator<Item = &'static dyn Stage> {
        self.0.iter().flat_map(|(_, stages)| stages.iter().copied())
    }

    /// The rules of one band, in order.
    pub fn band(&self, band: Band) -> impl Iterator<Item = &'static dyn Stage> {
        self.0
            .iter()
            .filter(move |(b, _)| *b == band)
            .flat_map(|(_, stages)| stages.iter().copied())
    }

    /// Starts judging. The edge gathers each band's facts before it calls [`Judging::band`].
    #[must_use]
    pub const fn open<'c>(&'c self, policy: &'c Policy, mode: Mode) -> Judging<'c> {
        Judging {
            chain: self,
            policy,
            mode,
            trail: Vec::new(),
            observed: None,
            refused: None,
            redact: false,
        }
    }

    /// Judges a complete case. Replay uses this; it is the bands run end to end.
    #[must_use]
    pub fn judge(&self, case: &Case, policy: &Policy, mode: Mode) -> Decision {
        let mut judging = self.open(policy, mode);
        for band in Band::ALL {
            if !judging.band(band, case) {
                break;
            }
        }
        judging.decide()
    }
}

impl core::fmt::Debug for Chain {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.stages().map(|s| s.rule().id)).finish()
    }
}

/// One case on its way through the chain.
#[derive(Debug)]
pub struct Judging<'c> {
    chain: &'c Chain,
    policy: &'c Policy,
    mode: Mode,
    trail: Vec<Said>,
    observed: Option<Refusal>,
    refused: Option<Refusal>,
    redact: bool,
}

impl Judging<'_> {
    /// Judges one band, whose facts are in `case` by now. True while nothing was refused; after a
    /// refusal no further rule is asked.
    pub fn band(&mut self, band: Band, case: &Case) -> bool {
        for stage in self.chain.band(band) {
            if self.refused.is_some() {
                break;
            }
            self.ask(stage, case);
        }
        self.refused.is_none()
    }

    /// The conclusion. A chain that did not run to its end is a refusal by the seal.
    #[must_use]
    pub fn decide(self) -> Decision {
        let sealed = self.trail.last().is_some_and(|said| said.rule == crate::stages::SEAL);
        let outcome = match self.refused {
            Some(refusal) => Outcome::Refuse(refusal),
            None if sealed => Outcome::Forward { redact: self.redact },
            None => {
                Outcome::Refuse(Refusal { rule: crate::stages::SEAL, reason: Reason::Unsealed })
            }
        };
        Decision { outcome, observed: self.observed, trail: self.trail }
    }

    fn ask(&mut self, stage: &'static dyn Stage, case: &Case) {
        let rule = stage.rule().id;
        let cx = RequestContext { case, policy: self.policy, trail: &self.trail };
        let verdict = stage.judge(&cx).unwrap_or_else(|missing| Reason::from(missing).into());
        match &verdict {
            Verdict::Abstain | Verdict::Pass => {}
            Verdict::Redact => self.redact |= self.mode == Mode::Enforce,
            Verdict::Block(reason) => {
                let refusal = Refusal { rule, reason: reason.clone() };
                if self.mode == Mode::Enforce || reason.bite() == Bite::Always {
                    self.refused = Some(refusal);
                } else if self.observed.is_none() {
                    self.observed = Some(refusal);
                }
            }
        }
        self.trail.push(Said { rule, verdict });
    }
}

#[cfg(test)]
mod tests;
