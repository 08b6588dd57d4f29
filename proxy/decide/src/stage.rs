//! The shape of a rule.

use alloc::boxed::Box;

use crate::stream::Watch;
use crate::{Missing, RequestContext, Rule, Verdict};

/// One rule of the chain. A stage has no state, no I/O and no default behaviour: every method is
/// written out, so that doing nothing is a decision somebody took.
pub trait Stage: Sync {
    /// Name and sentence.
    fn rule(&self) -> &'static Rule;

    /// Judges the request.
    ///
    /// # Errors
    ///
    /// [`Missing`] when a fact the rule needs was not established; the chain refuses.
    fn judge(&self, cx: &RequestContext<'_>) -> Result<Verdict, Missing>;

    /// Opens a watch on the answer, or `None` if the rule does not concern answers.
    fn watch(&self, cx: &RequestContext<'_>) -> Option<Box<dyn Watch>>;
}
