//! Refuses a request that could cost more than is left.
//!
//! The race between two requests spending the last dollar is settled before the chain runs: the
//! books have already set the worst case aside, or refused to. This rule only reads the answer,
//! which is why replaying it gives the same verdict.

use alloc::boxed::Box;

use crate::case::Reservation;
use crate::stream::Watch;
use crate::{Missing, Reason, RequestContext, Rule, RuleId, Stage, Verdict};

pub(crate) struct KeyBudget;

static RULE: Rule = Rule {
    id: RuleId("engines/key_budget"),
    says: "A request never reaches a model unless its worst case is set aside under every limit of its key, run, agent and team.",
};

impl Stage for KeyBudget {
    fn rule(&self) -> &'static Rule {
        &RULE
    }

    fn judge(&self, cx: &RequestContext<'_>) -> Result<Verdict, Missing> {
        Ok(match cx.case.budget.get()? {
            Reservation::NotNeeded => Verdict::Abstain,
            Reservation::Granted { output_limit, .. } => match unlimited(cx, *output_limit)? {
                Some(reason) => reason.into(),
                None => Verdict::Pass,
            },
            Reservation::Refused { scope, asked, left, limit } => {
                Reason::OverBudget { scope: *scope, asked: *asked, left: *left, limit: *limit }
                    .into()
            }
            Reservation::Unpriced { model } => Reason::Unpriced(model.clone()).into(),
            Reservation::Unbounded { field } => Reason::Unbounded(field.clone()).into(),
        })
    }

    /// The worst case is set aside before the first byte leaves, so no answer can exceed it.
    fn watch(&self, _: &RequestContext<'_>) -> Option<Box<dyn Watch>> {
        None
    }
}

/// A contract's output limit holds for a request that sets none only if one is written into it.
fn unlimited(cx: &RequestContext<'_>, written: Option<u64>) -> Result<Option<Reason>, Missing> {
    let Some(limit) = super::super::contract(cx)?.max_tokens else { return Ok(None) };
    let Some(ask) = cx.case.ask.get()? else { return Ok(None) };
    let asked = written.or(ask.output_limit);
    let within = asked.is_some_and(|asked| asked <= limit);
    Ok((!within).then_some(Reason::OutputTooLong { asked, limit }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{BudgetScope, Known, MicroUsd};
    use crate::testkit::{case, judge};

    fn booked(reservation: Reservation) -> crate::Case {
        let mut case = case();
        case.budget = Known::Fact(reservation);
        case
    }

    #[test]
    fn a_worst_case_that_is_set_aside_passes() {
        assert_eq!(judge(&KeyBudget, &case()), Ok(Verdict::Pass));
    }

    #[test]
    fn a_refused_reservation_says_which_limit_and_what_is_left() {
        let (asked, left, limit) = (MicroUsd(300_000), MicroUsd(120_000), MicroUsd(5_000_000));
        let scope = BudgetScope::Run;
        assert_eq!(
            judge(&KeyBudget, &booked(Reservation::Refused { scope, asked, left, limit })),
            Ok(Reason::OverBudget { scope, asked, left, limit }.into())
        );
    }

    #[test]
    fn an_unknown_price_is_not_a_price_of_zero() {
        assert_eq!(
            judge(&KeyBudget, &booked(Reservation::Unpriced { model: "m".into() })),
            Ok(Reason::Unpriced("m".into()).into())
        );
    }

    #[test]
    fn a_cost_without_a_bound_is_refused() {
        assert_eq!(
            judge(&KeyBudget, &booked(Reservation::Unbounded { field: "tools".into() })),
            Ok(Reason::Unbounded("tools".into()).into())
        );
    }

    #[test]
    fn a_request_that_costs_nothing_does_not_concern_it() {
        assert_eq!(judge(&KeyBudget, &booked(Reservation::NotNeeded)), Ok(Verdict::Abstain));
    }

    #[test]
    fn the_contracts_output_limit_holds_for_a_request_that_sets_none() {
        let granted = |output_limit| {
            booked(Reservation::Granted { worst: MicroUsd(1), output_limit })
                .asking(|ask| ask.output_limit = None)
        };
        assert_eq!(judge(&KeyBudget, &granted(Some(4096))), Ok(Verdict::Pass));
        for asked in [None, Some(4097)] {
            assert_eq!(
                judge(&KeyBudget, &granted(asked)),
                Ok(Reason::OutputTooLong { asked, limit: 4096 }.into())
            );
        }
    }
}
