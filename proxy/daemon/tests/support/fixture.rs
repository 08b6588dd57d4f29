//! A state folder with a ledger of one short run, written by the ledger's own writer.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use audit::{
    Body, Draft, Entry, Kind, Ledger, MasterKey, Opened, Options, RestoreError, View, Who,
};
use decide::case::{
    Address, AddressClass, Ask, Case, Destination, Endpoint, EndpointClass, Known, MicroUsd,
    Reservation, Scheme, Timestamp,
};
use decide::chain::{CHAIN, Said};
use decide::policy::Mode;
use decide::scan::SecretClass;
use decide::{Decision, Outcome as Conclusion, Reason, Refusal, RuleId, Verdict};
use serde::Serialize;
use tollgate::folder::{Make, StateFolder};
use tollgate::gate::protocol::Target;
use tollgate::gate::socket::load_or_make_master_key;
use tollgate::record::{Amended, Decided, Outcome, Refusals, Run, RunEvent, Switched, Usage};

pub(crate) const RUN: &str = "01JDB7W0RUN0000000000000AA";
pub(crate) const FORWARDED: &str = "01JDB7W3FORWARDED00000000A";
pub(crate) const REFUSED: &str = "01JDB7W4REFUSED0000000000B";
/// Redacted on the way out, cut on the way back, and its model is called by a hostile name.
pub(crate) const LEAKED: &str = "01JDB7W5LEAKED00000000000C";
const HOSTILE: &str = "gpt\u{1b}[2J\u{9b}31m\u{202e}x\r";

/// Removed when dropped.
pub(crate) struct Fixture {
    _dir: tempfile::TempDir,
    pub(crate) state: PathBuf,
    pub(crate) entries: u64,
}

struct NoView;

impl View for NoView {
    fn apply(&mut self, _: &Entry) {}

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let folder = StateFolder::open(&state, Make::IfAbsent, None).unwrap();
        let key = MasterKey::new(*load_or_make_master_key(&folder).unwrap());
        let clock = tollgate::clock::Clock::system();
        let random = Arc::new(|bytes: &mut [u8]| {
            bytes.fill_with(|| tollgate::clock::random::<1>().map_or(0, |[byte]| byte));
            Ok(())
        });
        let options = Options::new(
            folder.path(),
            key,
            Box::new(NoView),
            Arc::new(move || clock.now().0),
            random,
        );
        let Opened::Ready(ledger) = Ledger::open(options).unwrap() else {
            return Self { _dir: dir, state, entries: 0 };
        };
        fill(&ledger);
        ledger.close();
        Self { _dir: dir, state, entries: ledger.status().entries }
    }

    /// Changes one byte in the middle of what is written.
    pub(crate) fn change_a_byte(&self) {
        let segment = std::fs::read_dir(self.state.join("ledger"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_str().unwrap().contains("0000"))
            .unwrap();
        let file = std::fs::File::options().read(true).write(true).open(segment).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 1500).unwrap();
        file.write_all_at(&byte.map(|byte| byte ^ 1), 1500).unwrap();
    }
}

fn fill(ledger: &Ledger) {
    enter(ledger, Kind::Run, &run(RunEvent::Started, None));
    enter(
        ledger,
        Kind::Decision,
        &decided(FORWARDED, "trace-1", "gpt-5-mini", Conclusion::Forward { redact: false }),
    );
    let reason =
        Reason::ModelNotAllowed { model: "gpt-5-pro".into(), allowed: vec!["gpt-5-mini".into()] };
    let refusal = Refusal { rule: rule("model_scope"), reason };
    enter(
        ledger,
        Kind::Decision,
        &decided(REFUSED, "trace-2", "gpt-5-pro", Conclusion::Refuse(refusal)),
    );
    enter(ledger, Kind::Outcome, &outcome(FORWARDED, "gpt-5-mini", Some("req_abc"), None));
    enter(
        ledger,
        Kind::Decision,
        &decided(LEAKED, "trace-3", HOSTILE, Conclusion::Forward { redact: true }),
    );
    let cut = Refusal { rule: rule("secrets"), reason: Reason::Secret(SecretClass::GithubToken) };
    enter(ledger, Kind::Outcome, &outcome(LEAKED, HOSTILE, None, Some(cut)));
    let target = Target::Agent("refund-bot".into());
    enter(
        ledger,
        Kind::Kill,
        &Switched { target, reason: format!("INC-4711 {HOSTILE}"), by: "uid 0".into() },
    );
    enter(
        ledger,
        Kind::Refusals,
        &Refusals {
            agent: "refund-bot".into(),
            rule: "ingress/kill_switch".into(),
            reason: "stopped by an operator (this agent)".into(),
            count: 431,
        },
    );
    enter(ledger, Kind::Run, &run(RunEvent::Ended, Some(1)));
}

fn enter(ledger: &Ledger, kind: Kind, body: &impl Serialize) {
    let who = Who { agent: Some("refund-bot".into()), run: Some(RUN.into()), ..Who::default() };
    let body = Body::of(body).unwrap();
    ledger.append_wait(Draft { kind, who, body, commitment: None }).unwrap();
}

fn run(event: RunEvent, exit: Option<i32>) -> Run {
    Run {
        run: RUN.into(),
        agent: "refund-bot".into(),
        command: "python".into(),
        policy: "ab".repeat(32),
        policy_id: "starter".into(),
        mode: Mode::Enforce,
        by: "uid 0".into(),
        form: "kernel-programs".to_owned(),
        event,
        widened: tollgate::record::Widened::default(),
        ports: Vec::new(),
        changed: None,
        exit,
    }
}

fn rule(name: &str) -> RuleId {
    CHAIN.stages().map(|stage| stage.rule().id).find(|rule| rule.name() == name).unwrap()
}

fn case(id: &str, model: &str) -> Case {
    let mut case = Case::opened(id.into(), Timestamp(1));
    case.destination = Known::Fact(Destination {
        host: "api.openai.com".into(),
        port: 443,
        scheme: Scheme::Https,
        agrees: true,
        credential: Some("openai".into()),
    });
    case.address = Known::Fact(Address::Resolved {
        ip: "203.0.113.7".into(),
        class: AddressClass::Public,
        named: false,
    });
    case.endpoint = Known::Fact(Endpoint {
        dialect: "openai".into(),
        operation: "chat_completions".into(),
        class: EndpointClass::Priced,
    });
    case.ask = Known::Fact(Some(Ask {
        model: model.into(),
        stream: true,
        output_limit: Some(400),
        choices: 1,
        input_bytes: 1234,
        service_tier: None,
        tools: Vec::new(),
        contacts: Vec::new(),
        foreign_objects: Vec::new(),
        ungoverned: Vec::new(),
    }));
    case.budget =
        Known::Fact(Reservation::Granted { worst: MicroUsd(900_000), output_limit: None });
    case
}

fn decided(id: &str, trace: &str, model: &str, conclusion: Conclusion) -> Decided {
    let case = case(id, model);
    let mut trail = Vec::new();
    for stage in CHAIN.stages() {
        let rule = stage.rule().id;
        let verdict = match &conclusion {
            Conclusion::Refuse(refusal) if refusal.rule == rule => {
                Verdict::Block(refusal.reason.clone())
            }
            Conclusion::Refuse(_) | Conclusion::Forward { .. } => Verdict::Pass,
        };
        let last = matches!(verdict, Verdict::Block(_));
        trail.push(Said { rule, verdict });
        if last {
            break;
        }
    }
    Decided {
        id: id.into(),
        trace: trace.into(),
        run: RUN.into(),
        agent: "refund-bot".into(),
        mode: Mode::Enforce,
        case,
        decision: Decision { outcome: conclusion, observed: None, trail },
        policy: "ab".repeat(32),
        booked: None,
        used: None,
        credential: Some("openai".into()),
        amended: Amended { include_usage: true, ..Amended::default() },
    }
}

fn outcome(id: &str, model: &str, provider_id: Option<&str>, cut: Option<Refusal>) -> Outcome {
    let whole = cut.is_none();
    Outcome {
        id: id.into(),
        run: RUN.into(),
        agent: "refund-bot".into(),
        key: Some("vk_openai_1".into()),
        status: Some(200),
        model: Some(model.into()),
        usage: whole.then_some(Usage {
            input: 1000,
            cache_read: 200,
            output: 300,
            ..Usage::default()
        }),
        cost: Some(MicroUsd(if whole { 110_000 } else { 300_000 })),
        in_doubt: (!whole).then_some(MicroUsd(20_000)),
        cut,
        observed: None,
        gone: false,
        broken: false,
        settled: None,
        bytes_out: 1500,
        bytes_in: 4200,
        first_byte_us: Some(250_000),
        took_us: 2_345_000,
        provider_id: provider_id.map(str::to_owned),
        calls: vec!["lookup_order".into()],
    }
}
