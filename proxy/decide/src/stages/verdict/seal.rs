//! Lets an exchange go only if every other rule was asked, in order, and nothing it needs is open.

use alloc::boxed::Box;

use crate::case::Address;
use crate::chain::CHAIN;
use crate::stream::Watch;
use crate::{Missing, Reason, RequestContext, Rule, Stage, Verdict};

pub(crate) struct Seal;

static RULE: Rule = Rule {
    id: super::super::SEAL,
    says: "Nothing leaves unless every other rule has spoken, each once and in its place.",
};

impl Stage for Seal {
    fn rule(&self) -> &'static Rule {
        &RULE
    }

    fn judge(&self, cx: &RequestContext<'_>) -> Result<Verdict, Missing> {
        let others = CHAIN.stages().map(|stage| stage.rule().id).filter(|id| *id != RULE.id);
        if !others.eq(cx.trail.iter().map(|said| said.rule)) {
            return Ok(Reason::Unsealed.into());
        }
        // Observe goes on past a name that enforce would refuse: what it dials was looked up and
        // judged all the same.
        if *cx.case.address.get()? == Address::NotLookedUp {
            return Err(Missing::NotGathered);
        }
        Ok(Verdict::Pass)
    }

    fn watch(&self, _: &RequestContext<'_>) -> Option<Box<dyn Watch>> {
        None
    }
}

#[cfg(test)]
mod tests;
