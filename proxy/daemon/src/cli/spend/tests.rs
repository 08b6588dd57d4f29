use super::*;
use decide::case::{Case, Known};
use decide::policy::Mode;
use decide::{Decision, Outcome as Conclusion};

const DAY: u64 = 86_400_000_000;

fn outcome(id: &str, agent: &str, cost: Option<u64>, in_doubt: Option<u64>) -> Said {
    Said::Outcome(Box::new(Outcome {
        id: id.into(),
        run: "R".into(),
        agent: agent.into(),
        status: Some(200),
        model: Some("m".into()),
        usage: cost.map(|_| crate::record::Usage { input: 10, output: 5, ..Default::default() }),
        cost: cost.map(MicroUsd),
        in_doubt: in_doubt.map(MicroUsd),
        ..Outcome::default()
    }))
}

fn decided(id: &str, worst: u64, forwarded: bool) -> Said {
    let mut case = Case::opened(id.into(), Timestamp(0));
    case.budget = Known::Fact(Reservation::Granted { worst: MicroUsd(worst), output_limit: None });
    let rule = decide::chain::CHAIN.stages().next().unwrap().rule().id;
    let refused = decide::Refusal { rule, reason: decide::Reason::NoKey };
    let outcome =
        if forwarded { Conclusion::Forward { redact: false } } else { Conclusion::Refuse(refused) };
    Said::Decided(Box::new(Decided {
        id: id.into(),
        trace: String::new(),
        run: "R".into(),
        agent: "a".into(),
        mode: Mode::Enforce,
        case,
        decision: Decision { outcome, observed: None, trail: Vec::new() },
        policy: String::new(),
        booked: None,
        used: None,
        credential: None,
        amended: crate::record::Amended::default(),
    }))
}

#[test]
fn sums_are_told_apart_and_add_up() {
    let mut sums = Sums::new(By::Agent, Timestamp(0));
    sums.see(Timestamp(1), &outcome("1", "a", Some(100), None));
    sums.see(Timestamp(2), &outcome("2", "a", Some(50), Some(7)));
    sums.see(Timestamp(3), &outcome("3", "b", Some(1), None));
    sums.see(Timestamp(4), &outcome("4", "b", None, None));
    let (rows, total) = sums.finish();
    assert_eq!(
        (rows["a"].cost_micro_usd, rows["a"].in_doubt_micro_usd, rows["a"].requests),
        (150, 7, 2)
    );
    assert_eq!(rows["b"].requests, 1, "what costs nothing is no spend");
    assert_eq!((total.cost_micro_usd, total.tokens), (151, 45));
}

#[test]
fn a_decision_without_an_outcome_is_in_doubt_and_a_refused_one_is_not() {
    let mut sums = Sums::new(By::Run, Timestamp(0));
    sums.see(Timestamp(1), &decided("lost", 900, true));
    sums.see(Timestamp(1), &decided("refused", 5000, false));
    sums.see(Timestamp(1), &decided("ended", 700, true));
    sums.see(Timestamp(2), &outcome("ended", "a", Some(3), None));
    let (_, total) = sums.finish();
    assert_eq!((total.cost_micro_usd, total.in_doubt_micro_usd, total.requests), (3, 900, 2));
}

#[test]
fn money_counts_for_the_day_on_which_it_was_set_aside() {
    let mut sums = Sums::new(By::Day, Timestamp(DAY));
    sums.see(Timestamp(DAY - 1), &decided("late", 700, true));
    sums.see(Timestamp(DAY + 1), &outcome("late", "a", Some(3), None));
    sums.see(Timestamp(DAY + 2), &outcome("today", "a", Some(4), None));
    let (rows, _) = sums.finish();
    let rows: Vec<_> = rows.iter().map(|(day, sum)| (day.as_str(), sum.cost_micro_usd)).collect();
    assert_eq!(rows, [("1970-01-02", 4)]);
}

#[test]
fn an_estimate_says_so() {
    let mut sum = Sum { cost_micro_usd: 410_000, ..Sum::default() };
    assert_eq!(sum.money(), "$0.41");
    sum.estimated = true;
    sum.in_doubt_micro_usd = 20_000;
    assert_eq!(sum.money(), "≈ $0.41 + $0.02 in doubt");
}

/// A decision whose money a team and a cost center pay.
fn paid_by(id: &str, team: Option<&str>, cost_center: Option<&str>) -> Said {
    let Said::Decided(mut said) = decided(id, 500, true) else { panic!("not a decision") };
    let payer = crate::money::books::Payer {
        run: "R".into(),
        key: "k_1".into(),
        agent: "a".into(),
        team: team.map(str::to_owned),
        model: "m".into(),
        cost_center: cost_center.map(str::to_owned),
    };
    let (id, worst) = (id.to_owned(), MicroUsd(500));
    said.booked = Some(crate::money::books::Booked { id, at: 1, payer, worst, output_limit: None });
    Said::Decided(said)
}

#[test]
fn teams_and_cost_centers_are_those_that_the_money_was_booked_on() {
    for (by, names) in
        [(By::Team, ["(no team)", "payments"]), (By::CostCenter, ["(no cost center)", "CC-4711"])]
    {
        let mut sums = Sums::new(by, Timestamp(0));
        sums.see(Timestamp(1), &paid_by("1", Some("payments"), Some("CC-4711")));
        sums.see(Timestamp(2), &outcome("1", "a", Some(100), None));
        sums.see(Timestamp(3), &paid_by("2", None, None));
        sums.see(Timestamp(4), &outcome("2", "a", Some(1), None));
        sums.see(Timestamp(5), &paid_by("3", Some("payments"), Some("CC-4711")));
        let (rows, _) = sums.finish();
        assert_eq!(rows.keys().collect::<Vec<_>>(), names);
        let paid = rows[names[1]];
        assert_eq!((paid.cost_micro_usd, paid.in_doubt_micro_usd), (100, 500), "one is open");
    }
}
