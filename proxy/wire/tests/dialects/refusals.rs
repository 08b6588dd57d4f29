//! Refusals: each provider's own error, by class.

use std::fmt::Write;

use decide::case::{BudgetScope, EnvelopeFault, KillScope, MicroUsd};
use decide::{Missing, Reason, Refusal, RuleId};
use http::Method;
use tollgate_wire::{AnswerTerms, CutState, Dialect, Provider, Told, dialect};

fn refusals() -> Vec<(&'static str, Refusal)> {
    let refusal = |rule, reason| Refusal { rule: RuleId(rule), reason };
    let envelope = |fault| refusal("filtering/envelope", Reason::Envelope(fault));
    let dollars = |cents: u64| MicroUsd(cents * 10_000);
    vec![
        ("unauthenticated", refusal("ingress/virtual_key", Reason::UnknownKey)),
        (
            "forbidden",
            refusal(
                "filtering/model_scope",
                Reason::ModelNotAllowed {
                    model: "gpt-5-pro".into(),
                    allowed: vec!["gpt-5-mini".into(), "gpt-5-nano".into()],
                },
            ),
        ),
        ("killed", refusal("ingress/kill_switch", Reason::Killed(KillScope::Agent))),
        ("malformed", envelope(EnvelopeFault::DuplicateKey("model".into()))),
        ("oversize", envelope(EnvelopeFault::Oversize(33_554_432))),
        ("upgrade", envelope(EnvelopeFault::Upgrade("websocket".into()))),
        (
            "exhausted",
            refusal(
                "engines/key_budget",
                Reason::OverBudget {
                    scope: BudgetScope::Run,
                    asked: dollars(120),
                    left: dollars(31),
                    limit: dollars(500),
                },
            ),
        ),
        ("throttled", refusal("filtering/throttle", Reason::TooFast { limit: 60, retry_after: 7 })),
        ("unavailable", refusal("verdict/seal", Reason::Unverifiable(Missing::Unreachable))),
    ]
}

fn told(refusal: &Refusal) -> Told<'_> {
    Told {
        refusal,
        decision: "01JDEXAMPLE",
        hint: Some("tollgate inspect 01JDEXAMPLE"),
        trace: None,
    }
}

fn dialects() -> [&'static dyn Dialect; 3] {
    [dialect(Some(Provider::OpenAi)), dialect(Some(Provider::Anthropic)), dialect(None)]
}

#[test]
fn every_class_is_refused_in_the_providers_own_form() {
    for dialect in dialects() {
        let mut shown = String::new();
        for (name, refusal) in refusals() {
            let response = dialect.refuse(&told(&refusal));
            writeln!(shown, "== {name}: {}", response.status()).unwrap();
            for (name, value) in response.headers() {
                writeln!(shown, "{name}: {}", value.to_str().unwrap()).unwrap();
            }
            writeln!(shown, "{}", String::from_utf8_lossy(response.body())).unwrap();
        }
        insta::assert_snapshot!(format!("refusals__{}", dialect.name()), shown);
    }
}

#[test]
fn a_cut_stream_ends_in_the_providers_own_error_event() {
    let mut shown = String::new();
    for (dialect, target) in [
        (dialect(Some(Provider::OpenAi)), "/v1/chat/completions"),
        (dialect(Some(Provider::OpenAi)), "/v1/responses"),
        (dialect(Some(Provider::Anthropic)), "/v1/messages"),
        (dialect(None), "/x"),
    ] {
        let endpoint = dialect.endpoint(&Method::POST, &target.parse().unwrap());
        let refusal = Refusal {
            rule: RuleId("content/secrets"),
            reason: Reason::Secret(decide::scan::SecretClass::GithubToken),
        };
        let state = CutState { endpoint, events: true, released: 12 };
        let bytes = dialect.cut(&told(&refusal), &state);
        writeln!(shown, "== {target}\n{}", String::from_utf8_lossy(&bytes)).unwrap();
        let whole = CutState { events: false, ..state };
        assert!(dialect.cut(&told(&refusal), &whole).is_empty(), "a body has no error event");
    }
    insta::assert_snapshot!("cuts", shown);
}

#[test]
fn no_refusal_is_repeated_and_each_names_its_decision_and_rule() {
    for dialect in dialects() {
        for (name, refusal) in refusals() {
            let response = dialect.refuse(&told(&refusal));
            let headers = response.headers();
            assert_eq!(headers["x-should-retry"], "false", "{name}");
            assert_eq!(headers["x-tollgate-decision"], "01JDEXAMPLE", "{name}");
            assert_eq!(headers["x-tollgate-rule"], refusal.rule.0, "{name}");
            assert_eq!(headers.contains_key("retry-after"), name == "throttled");
        }
    }
}

#[test]
fn a_websocket_upgrade_is_answered_426() {
    let upgrade = http::Request::get("/v1/responses")
        .header("upgrade", "websocket")
        .body(())
        .unwrap()
        .into_parts()
        .0;
    let faults = tollgate_wire::envelope::head(&upgrade, Some(Provider::OpenAi));
    let refusal =
        Refusal { rule: RuleId("filtering/envelope"), reason: Reason::Envelope(faults[0].clone()) };
    for dialect in dialects() {
        assert_eq!(dialect.refuse(&told(&refusal)).status(), 426);
    }
}

#[test]
fn the_event_of_a_cut_is_heard_as_the_last_of_its_stream() {
    for (provider, target) in [
        (Provider::OpenAi, "/v1/chat/completions"),
        (Provider::OpenAi, "/v1/responses"),
        (Provider::Anthropic, "/v1/messages"),
    ] {
        let dialect = dialect(Some(provider));
        let endpoint = dialect.endpoint(&Method::POST, &target.parse().unwrap());
        let (_, refusal) = refusals().swap_remove(0);
        let state = CutState { endpoint: endpoint.clone(), events: true, released: 3 };
        let head = http::Response::builder()
            .header("content-type", "text/event-stream")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        let mut decoder = dialect.answer(&endpoint, &AnswerTerms::default(), &head).unwrap();
        let events = decoder.push(&dialect.cut(&told(&refusal), &state)).unwrap();
        assert!(events.len() == 1 && events[0].last, "{target}");
    }
}
