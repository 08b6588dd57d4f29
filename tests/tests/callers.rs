//! Who is calling is what the gate itself establishes, and what one agent has no other can use.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::caller::{Caller, Door, FrontTls, Pending, Told, Version};
use e2e::harness::{LIMIT, Stand};
use e2e::proofs::{number, said};
use e2e::service::{Pki, Service, Setup};
use e2e::ways::{Group, Question, free_port};
use serde_json::{Value, json};

const URI: &str = "spiffe://example.org/cert-bot";

/// A contract of one agent with these further terms.
fn contract(agent: &str, more: &str) -> String {
    format!(
        "  {agent}:\n    models: [gpt-5-mini, claude-haiku-4-5]\n    destinations: [api.openai.com, pypi.org]\n{more}"
    )
}

fn file(team: &str, agents: &[String]) -> String {
    let agents = agents.concat();
    format!("policy_id: {team}\nversion: \"1\"\nmode: enforce\nteam: {team}\nagents:\n{agents}")
}

/// A program that asks from outside every workload.
fn outside(stand: &Stand) -> Result<Caller> {
    Caller::start(&mut stand.operator(Path::new(env!("CARGO_BIN_EXE_caller"))))
}

fn gateway(service: &Service<'_>) -> Door {
    let dial = Some(service.proxy().to_string());
    Door { dial, prefix: "/openai".to_owned(), ..Door::default() }
}

fn chat() -> Question {
    Question::chat("say:hello", &json!({}))
}

fn ask(caller: &Caller, door: &Door, question: Question) -> Result<Told> {
    caller.ask(&question.through(door.clone(), Version::Http1))?.told(LIMIT)
}

fn is_refused(told: &Told, status: u16, words: &[&str]) -> Result<()> {
    ensure!(told.status == Some(status), "{told:?}");
    ensure!(words.iter().all(|word| told.body.contains(word)), "{words:?} are not in {told:?}");
    ensure!(told.header("x-tollgate-decision").is_some(), "not recorded: {told:?}");
    Ok(())
}

fn is_answered(told: &Told) -> Result<()> {
    ensure!(told.status == Some(200) && told.whole, "{told:?}");
    Ok(())
}

/// Where a request comes from: its name, the agent that the workload is, who sends it, and by which door.
type Workload<'a> = (&'static str, Option<&'static str>, &'a Caller, Door);

/// One agent for each kind of workload, and one that is known by its key.
fn known_by_workload(group: &Group) -> Result<Setup> {
    let contracts = file(
        "payments",
        &[
            contract(
                "cert-bot",
                &format!("    identity: {{ any: [ {{ certificate: \"{URI}\" }} ] }}\n"),
            ),
            contract(
                "group-bot",
                &format!("    identity: {{ any: [ {{ cgroup: {} }} ] }}\n", group.path()),
            ),
            contract("addr-bot", "    identity: { any: [ { address: 127.66.1.0/24 } ] }\n"),
            contract("key-bot", "    bearer: true\n    identity: { any: [ { key: key-bot } ] }\n"),
        ],
    );
    let mut setup = Setup::of(contracts);
    setup.listen.push(format!("transparent: 127.0.0.1:{}", free_port()?));
    setup.listen.push(format!("dns: 127.0.0.1:{}", free_port()?));
    Ok(setup)
}

#[test]
fn a_key_opens_nothing_from_a_workload_that_is_another_agent() -> Result<()> {
    let stand = Stand::new()?;
    let group = Group::new()?;
    let service = Service::start(&stand, &known_by_workload(&group)?)?;
    let attached = stand.tollgate(&["attach", "--cgroup", &group.path()])?;
    ensure!(attached.status.success(), "{attached:?}");

    let (others, members) = (
        outside(&stand)?,
        Caller::start(&mut group.command(Path::new(env!("CARGO_BIN_EXE_caller"))))?,
    );
    let own = Some(service.pki().client(URI)?);
    let front = Some(FrontTls { ca: service.pki().ca(), own });
    let (dial, ca) = (Some("192.0.2.1:443".to_owned()), Some(service.ca().to_owned()));
    let redirected = Door { dial, tls: true, ca, ..Door::default() };
    let bind = Some("127.66.1.9".parse()?);
    let workloads: [Workload<'_>; 5] = [
        ("a certificate", Some("cert-bot"), &others, Door { front, ..gateway(&service) }),
        ("a control group, redirected", Some("group-bot"), &members, redirected),
        ("a control group, at the gateway", Some("group-bot"), &members, gateway(&service)),
        ("an address", Some("addr-bot"), &others, Door { bind, ..gateway(&service) }),
        ("nowhere", None, &others, gateway(&service)),
    ];
    let (mut wrong, mut answered) = (Vec::new(), 0);
    for agent in ["cert-bot", "group-bot", "addr-bot", "key-bot"] {
        let key = service.key(agent, agent, "openai", &[])?;
        for (name, is, caller, door) in &workloads {
            let own = is.map_or(agent == "key-bot", |is| is == agent);
            let told = ask(caller, door, chat().keyed(&key))?;
            let held = if own {
                answered += 1;
                is_answered(&told)
            } else {
                is_refused(&told, 403, &["virtual_key"])
            };
            wrong.extend(held.err().map(|error| format!("{agent}'s key from {name}: {error}")));
        }
    }
    // Nobody's key: the workload alone opens nothing where a credential of the gate would go along.
    for (name, is, caller, door) in &workloads {
        let status = 401;
        let rule = if is.is_some() { "virtual_key" } else { "peer_identity" };
        let held = is_refused(&ask(caller, door, chat())?, status, &[rule]);
        wrong.extend(held.err().map(|error| format!("no key from {name}: {error}")));
    }
    ensure!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), service.log());
    let asked = stand.log().records().len();
    ensure!(
        asked == answered && answered == 5,
        "{asked} requests at the provider, {answered} answers"
    );
    stand.verified()?;
    Ok(())
}

#[test]
fn a_certificate_of_another_authority_is_no_way_in() -> Result<()> {
    let stand = Stand::new()?;
    let service =
        Service::start(&stand, &Setup::of(file("a", &[contract("bot", "    bearer: true\n")])))?;
    let caller = outside(&stand)?;
    let key = service.key("bot", "bot", "openai", &[])?;
    let door =
        |own| Door { front: Some(FrontTls { ca: service.pki().ca(), own }), ..gateway(&service) };
    is_answered(&ask(&caller, &door(None), chat().keyed(&key))?)?;
    let stranger = Pki::new(&stand.file("stranger"))?.client(URI)?;
    let told = ask(&caller, &door(Some(stranger)), chat().keyed(&key))?;
    ensure!(told.status.is_none() && told.error.is_some(), "{told:?}");
    ensure!(stand.log().records().len() == 1, "the provider was asked");
    Ok(())
}

#[test]
fn a_key_with_a_place_is_used_from_there_only() -> Result<()> {
    let stand = Stand::new()?;
    let service = Service::start(&stand, &Setup::of(file("a", &[contract("bot", "")])))?;
    let caller = outside(&stand)?;
    let uri = format!("certificate:{URI}");
    let here = service.key(
        "here",
        "bot",
        "openai",
        &["--from", "address:127.66.2.0/24", "--from", &uri],
    )?;
    let unbound = service.key("unbound", "bot", "openai", &[])?;
    let from = |address: &str| -> Result<Door> {
        Ok(Door { bind: Some(address.parse()?), ..gateway(&service) })
    };
    let own = Some(service.pki().client(URI)?);
    let front = Some(FrontTls { ca: service.pki().ca(), own });
    let certified = Door { front, ..gateway(&service) };
    is_answered(&ask(&caller, &from("127.66.2.9")?, chat().keyed(&here))?)?;
    is_answered(&ask(&caller, &certified, chat().keyed(&here))?)?;
    is_refused(
        &ask(&caller, &from("127.66.3.9")?, chat().keyed(&here))?,
        403,
        &["virtual_key", "from here"],
    )?;
    // Bound to nothing, and the contract does not say that it may be.
    is_refused(
        &ask(&caller, &from("127.66.2.9")?, chat().keyed(&unbound))?,
        403,
        &["virtual_key"],
    )?;
    ensure!(stand.log().records().len() == 2, "{:?}", stand.log().records());
    Ok(())
}

#[test]
fn a_key_shown_to_the_proxy_says_who_asks_and_a_wrong_one_opens_no_tunnel() -> Result<()> {
    let stand = Stand::new()?;
    let contracts = file(
        "a",
        &[
            contract("bot", "    bearer: true\n"),
            "  poor:\n    bearer: true\n    destinations: [github.com]\n".to_owned(),
        ],
    );
    let service = Service::start(&stand, &Setup::of(contracts))?;
    let caller = outside(&stand)?;
    let key = service.key("bot", "bot", "openai", &[])?;
    let other = service.key("poor", "poor", "openai", &[])?;
    let (dial, ca) = (Some(service.proxy().to_string()), Some(service.ca().to_owned()));
    let tunnel = Door { dial, tunnel: true, tls: true, ca, ..Door::default() };
    let absolute = Door { tunnel: false, tls: false, absolute: true, ..tunnel.clone() };
    let shown =
        |door: &Door, said: String| Door { proxy_authorization: Some(said), ..door.clone() };
    let basic = |text: String| format!("Basic {}", STANDARD.encode(text));
    // A host for which the gate holds no credential: nothing else in the request says who asks.
    let get = || {
        let path = "/simple/demo/".to_owned();
        let (headers, body) = (Vec::new(), Vec::new());
        Question { method: "GET", body, headers, host: "pypi.org", path, ..chat() }
    };
    for door in [&tunnel, &absolute] {
        let rights =
            [basic(format!("{key}:")), basic(format!("agent:{key}")), format!("Bearer {key}")];
        for said in rights {
            stand.log().reset();
            let told = ask(&caller, &shown(door, said), get())?;
            let records = stand.log().records();
            ensure!(told.status != Some(407) && records.len() == 1, "{told:?}");
            ensure!(records[0].header("proxy-authorization").is_none(), "{records:?}");
        }
        stand.log().reset();
        let unknown = format!("Bearer {}", "x".repeat(40));
        for said in [basic("sk-tg-nobody:".to_owned()), unknown, "Digest x".to_owned()] {
            let told = ask(&caller, &shown(door, said), get())?;
            let asks = told.header("proxy-authenticate").unwrap_or_default();
            ensure!(asks.starts_with("Basic"), "{told:?}");
            is_refused(&told, 407, &["virtual_key"])?;
        }
        // Known, and not allowed there; nobody at all.
        let told = ask(&caller, &shown(door, format!("Bearer {other}")), get())?;
        is_refused(&told, 403, &["destination"])?;
        is_refused(&ask(&caller, door, get())?, 401, &["peer_identity"])?;
        ensure!(stand.log().records().is_empty(), "the provider was asked");
        // The key in the tunnel's own head says who asks, also before another one's.
        let told = ask(&caller, &shown(door, format!("Bearer {other}")), chat().keyed(&key))?;
        let rule = if door.tunnel { "destination" } else { "virtual_key" };
        is_refused(&told, 403, &[rule])?;
    }
    stand.verified()?;
    Ok(())
}

/// A service for two agents of two teams under the same terms, and a key of each.
fn two<'a>(stand: &'a Stand, more: &str) -> Result<(Service<'a>, [String; 2])> {
    let terms = format!("    bearer: true\n{more}");
    let mut setup = Setup::of(file("payments", &[contract("one", &terms)]));
    setup.contracts.push(("more.yaml", file("search", &[contract("two", &terms)])));
    let service = Service::start(stand, &setup)?;
    let keys =
        [service.key("one", "one", "openai", &[])?, service.key("two", "two", "openai", &[])?];
    Ok((service, keys))
}

#[test]
fn agents_share_no_connection_and_no_object() -> Result<()> {
    let stand = Stand::new()?;
    let (service, [one, two]) = two(&stand, "")?;
    let caller = outside(&stand)?;
    let door = gateway(&service);
    for key in [&one, &two, &one, &two] {
        is_answered(&ask(&caller, &door, chat().keyed(key))?)?;
    }
    let records = stand.log().records();
    let used: Vec<u64> = records.iter().map(|record| record.connection).collect();
    ensure!(used[0] == used[2] && used[1] == used[3] && used[0] != used[1], "connections {used:?}");

    let respond = |before: Option<&str>| {
        let body = json!({"model": "gpt-5-mini", "input": "say:hello", "max_output_tokens": 100,
            "previous_response_id": before});
        Question { path: "/v1/responses".to_owned(), body: body.to_string().into_bytes(), ..chat() }
    };
    let made = ask(&caller, &door, respond(None).keyed(&one))?;
    is_answered(&made)?;
    let made: Value = serde_json::from_str(&made.body)?;
    let id = made.get("id").and_then(Value::as_str).context("no id")?;
    stand.log().reset();
    is_answered(&ask(&caller, &door, respond(Some(id)).keyed(&one))?)?;
    is_refused(&ask(&caller, &door, respond(Some(id)).keyed(&two))?, 403, &["was not made by"])?;
    ensure!(stand.log().records().len() == 1, "another agent's object was named to the provider");
    stand.verified()?;
    Ok(())
}

#[test]
fn what_one_agent_spent_another_still_has() -> Result<()> {
    let stand = Stand::new()?;
    let (service, [one, two]) = two(&stand, "    budgets: { day: $0.002 }\n")?;
    let (caller, door) = (outside(&stand)?, gateway(&service));
    let dear =
        || Question::chat("usage:1000:400 say:hello", &json!({"max_completion_tokens": 400}));
    let spent = (0..10).find_map(|_| {
        let told = ask(&caller, &door, dear().keyed(&one));
        told.map(|told| (told.status == Some(429)).then_some(told)).transpose()
    });
    is_refused(&spent.context("the budget does not end")??, 429, &["budget"])?;
    is_answered(&ask(&caller, &door, dear().keyed(&two))?)?;
    stand.verified()?;
    Ok(())
}

#[test]
fn a_kill_of_a_team_stops_its_agents_and_no_others() -> Result<()> {
    let stand = Stand::new()?;
    let (service, [one, two]) = two(&stand, "")?;
    let caller = outside(&stand)?;
    let door = gateway(&service);
    let long =
        || Question::chat("slow:20 split:1 say:to its end in some time", &json!({"stream": true}));
    let begin = |key: &str| -> Result<Pending> {
        let pending = caller.ask(&long().keyed(key).through(door.clone(), Version::Http2))?;
        pending.begun(LIMIT)?;
        Ok(pending)
    };
    let (stopped, goes_on) = (begin(&one)?, begin(&two)?);
    let killed = said(&stand, &["kill", "--team", "payments", "--reason", "a test"])?;
    ensure!(number(&killed, "/cut")? == 1, "{killed}");
    let told = stopped.told(LIMIT)?;
    ensure!(told.body.contains("kill_switch") && !told.body.contains("[DONE]"), "{told:?}");
    is_refused(&ask(&caller, &door, chat().keyed(&one))?, 403, &["kill_switch"])?;
    is_answered(&ask(&caller, &door, chat().keyed(&two))?)?;
    let told = goes_on.told(LIMIT)?;
    ensure!(told.whole && told.body.contains("[DONE]"), "{told:?}");
    let lifted = stand.tollgate(&["unkill", "--team", "payments", "--reason", "over"])?;
    ensure!(lifted.status.success(), "{lifted:?}");
    is_answered(&ask(&caller, &door, chat().keyed(&one))?)?;
    stand.verified()?;
    Ok(())
}
