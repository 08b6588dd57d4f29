//! A request that is over, in plain values: what the metrics and the trace are told of it.

use decide::case::MicroUsd;

use super::labels::{Ended, Intake};
use crate::record::Usage;

/// What is known of a request when it is over.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    /// How it ended.
    pub ended: Ended,
    /// The rule that refused or cut it.
    pub rule: Option<&'a str>,
    /// The way in.
    pub intake: Intake,
    /// The agent, as contracts name it.
    pub agent: &'a str,
    /// The dialect: `openai`, `anthropic` or `plain`.
    pub dialect: &'a str,
    /// The dialect's own name of what was asked: `chat_completions`, `read`.
    pub operation: &'a str,
    /// The destination by name.
    pub host: &'a str,
    /// And its port.
    pub port: u16,
    /// The model that was asked, as the agent wrote it.
    pub model: Option<&'a str>,
    /// The model that the answer names.
    pub answered_by: Option<&'a str>,
    /// The status that the provider answered with.
    pub status: Option<u16>,
    /// Tokens by the provider's count.
    pub usage: Option<Usage>,
    /// Settled by the provider's numbers.
    pub spent: MicroUsd,
    /// The answer was a stream of events.
    pub streamed: bool,
    /// Microseconds from the request's head to the first byte of its answer.
    pub first_byte_us: Option<u64>,
    /// Microseconds from the request's head to its end.
    pub took_us: u64,
}

impl Finished<'_> {
    /// What `error.type` says of it: the rule, else the provider's status, else how it ended. `None` when all went well.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        match self.ended {
            Ended::Answered => {
                self.status.filter(|status| *status >= 400).map(|status| status.to_string())
            }
            Ended::Refused
            | Ended::Cut
            | Ended::Gone
            | Ended::Broken
            | Ended::Failed
            | Ended::Unrecorded => Some(self.rule.unwrap_or(self.ended.name()).to_owned()),
        }
    }
}
