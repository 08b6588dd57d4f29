//! A service goes on: through new contracts, its own end, its successor, and `kill -9`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::caller::{Caller, Door, Pending, Told, Version};
use e2e::harness::{LIMIT, Stand};
use e2e::proofs::{SOON, number, said, until};
use e2e::service::{Service, Setup};
use e2e::ways::{Behind, Net, Question, Way};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn contract(models: &str) -> String {
    format!(
        "policy_id: life\nversion: \"1\"\nmode: enforce\nagents:\n  bot:\n    bearer: true\n    models: {models}\n    \
         destinations: [api.openai.com, api.anthropic.com]\n    budgets: {{ day: $50 }}\n"
    )
}

fn setup() -> Setup {
    Setup::of(contract("[gpt-5-mini]"))
}

fn agent(stand: &Stand) -> Result<Caller> {
    Caller::start(&mut stand.operator(Path::new(env!("CARGO_BIN_EXE_caller"))))
}

fn gateway(service: &Service<'_>) -> Door {
    let dial = Some(service.proxy().to_string());
    Door { dial, prefix: "/openai".to_owned(), ..Door::default() }
}

fn chat(prompt: &str, stream: bool) -> Question {
    Question::chat(prompt, &json!({"stream": stream, "max_completion_tokens": 50}))
}

fn ask(caller: &Caller, door: &Door, question: Question) -> Result<Told> {
    caller.ask(&question.through(door.clone(), Version::Http1))?.told(LIMIT)
}

/// Asks without a pause from some threads until told to stop; all that came of it.
fn under_load<T>(
    threads: usize,
    one: impl Fn() -> Result<Told> + Sync,
    meanwhile: impl FnOnce(&dyn Fn() -> usize) -> Result<T>,
) -> Result<(Vec<Told>, T)> {
    let (stop, all) = (AtomicBool::new(false), std::sync::Mutex::new(Vec::new()));
    let count = || all.lock().map_or(0, |all: std::sync::MutexGuard<'_, Vec<Told>>| all.len());
    let done = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let told = one()?;
                        all.lock()
                            .map_err(|_poisoned| anyhow::anyhow!("a thread failed"))?
                            .push(told);
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        let done = meanwhile(&count);
        stop.store(true, Ordering::Relaxed);
        for thread in asking {
            thread.join().map_err(|_panic| anyhow::anyhow!("a thread failed"))??;
        }
        done
    })?;
    let all = all.into_inner().map_err(|_poisoned| anyhow::anyhow!("a thread failed"))?;
    Ok((all, done))
}

/// Waits until some more have been answered.
fn some_more(count: &dyn Fn() -> usize, more: usize) -> Result<()> {
    let before = count();
    until(LIMIT, "requests are answered", || Ok((count() >= before + more).then_some(())))
}

#[test]
fn new_contracts_come_into_force_under_load_and_a_broken_one_does_not() -> Result<()> {
    let stand = Stand::new()?;
    let service = Service::start(&stand, &setup())?;
    let (caller, door) = (agent(&stand)?, gateway(&service));
    let key = service.key("bot", "bot", "openai", &[])?;
    let one = || ask(&caller, &door, chat("say:hello", false).keyed(&key));
    let nano = || {
        let asked = Question::chat("say:nano", &json!({"model": "gpt-5-nano"}));
        ask(&caller, &door, asked.keyed(&key))
    };
    let (all, ()) = under_load(4, one, |count| {
        some_more(count, 10)?;
        ensure!(nano()?.status == Some(403), "the model is allowed already");
        // Wider, at once by the signal.
        service.write_contract("contracts.yaml", &contract("[gpt-5-mini, gpt-5-nano]"))?;
        service.signal(Signal::SIGHUP)?;
        until(LIMIT, "the new contract holds", || Ok((nano()?.status == Some(200)).then_some(())))?;
        some_more(count, 10)?;
        // Broken: what held holds, and whoever looks is told.
        service.write_contract("broken.yaml", "policy_id: [\n")?;
        service.signal(Signal::SIGHUP)?;
        until(LIMIT, "readiness says so", || {
            let (status, text) = service.get("/readyz")?;
            Ok((status == 200 && text.contains("last good")).then_some(()))
        })?;
        ensure!(service.metric("tollgate_policy_current")? < 0.5, "the metric says current");
        ensure!(nano()?.status == Some(200), "the last good contract does not hold");
        some_more(count, 10)?;
        // Mended by the folder alone, without a signal.
        fs::remove_file(stand.file("policy/broken.yaml"))?;
        service.write_contract("contracts.yaml", &contract("[gpt-5-mini]"))?;
        until(LIMIT, "the folder is read again", || {
            Ok((nano()?.status == Some(403)).then_some(()))
        })?;
        ensure!(service.metric("tollgate_policy_current")? > 0.5, "the metric says not current");
        some_more(count, 10)
    })?;
    let failed: Vec<&Told> =
        all.iter().filter(|told| told.status != Some(200) || !told.whole).collect();
    ensure!(
        failed.is_empty() && all.len() >= 40,
        "{} of {} failed: {:?}",
        failed.len(),
        all.len(),
        failed.first()
    );
    stand.verified()?;
    Ok(())
}

/// A stream that is being answered.
fn streaming(
    caller: &Caller,
    door: &Door,
    key: &str,
    prompt: &str,
    version: Version,
) -> Result<Pending> {
    let question = Question::chat(prompt, &json!({"stream": true, "max_completion_tokens": 4000}));
    let pending = caller.ask(&question.keyed(key).through(door.clone(), version))?;
    pending.begun(LIMIT)?;
    Ok(pending)
}

#[test]
fn a_service_that_ends_says_so_first_and_lets_streams_come_to_their_end() -> Result<()> {
    let stand = Stand::new()?;
    let mut service =
        Service::start(&stand, &Setup { delay: "1500ms", streams: "60s", ..setup() })?;
    let (caller, door) = (agent(&stand)?, gateway(&service));
    let tunnel = Door {
        prefix: String::new(),
        tunnel: true,
        tls: true,
        ca: Some(service.ca().to_owned()),
        ..door.clone()
    };
    let key = service.key("bot", "bot", "openai", &[])?;
    let prompt = "slow:100 split:1 say:forty letters that outlive the delay now";
    let mut streams = Vec::new();
    for way in [&door, &tunnel] {
        for version in [Version::Http1, Version::Http2] {
            streams.push(streaming(&caller, way, &key, prompt, version)?);
        }
    }
    service.signal(Signal::SIGTERM)?;
    until(SOON, "readiness says no", || Ok((service.get("/readyz")?.0 == 503).then_some(())))?;
    ensure!(service.metric("tollgate_draining")? > 0.0, "the metric does not say so");
    // Whoever has not seen that yet is served all the same.
    let late = ask(&caller, &door, chat("say:late", false).keyed(&key))?;
    ensure!(late.status == Some(200), "refused during the delay: {late:?}");
    ensure!(service.get("/healthz")?.0 == 200, "not alive");
    for stream in streams {
        let told = stream.told(LIMIT)?;
        ensure!(told.whole && told.body.contains("[DONE]"), "a stream was cut: {told:?}");
    }
    let outcome = service.ended()?;
    ensure!(outcome.status.success(), "{outcome:?}");
    let settled = said(&stand, &["spend"])?;
    ensure!(!settled.to_string().contains("\"in_doubt_micro_usd\":1"), "{settled}");
    stand.verified()?;
    Ok(())
}

#[test]
fn streams_that_outlive_the_deadline_get_a_typed_end() -> Result<()> {
    let stand = Stand::new()?;
    let mut service = Service::start(&stand, &Setup { streams: "1s", ..setup() })?;
    let (caller, door) = (agent(&stand)?, gateway(&service));
    let key = service.key("bot", "bot", "openai", &[])?;
    let prompt = "slow:50 split:1 big:3000";
    let streams = [Version::Http1, Version::Http2]
        .map(|version| streaming(&caller, &door, &key, prompt, version));
    let begun = Instant::now();
    service.signal(Signal::SIGTERM)?;
    for stream in streams {
        let told = stream?.told(LIMIT)?;
        ensure!(told.whole && !told.body.contains("[DONE]"), "no typed end: {told:?}");
        ensure!(told.body.contains("\"error\""), "no error of the provider's format: {told:?}");
    }
    let outcome = service.ended()?;
    ensure!(outcome.status.success() && begun.elapsed() < LIMIT, "{outcome:?}");
    let budget = said(&stand, &["spend"])?;
    ensure!(!stand.log().records().is_empty(), "{budget}");
    stand.verified()?;
    Ok(())
}

#[test]
fn connections_on_which_nothing_is_asked_do_not_hold_up_the_end() -> Result<()> {
    let stand = Stand::new()?;
    let mut service = Service::start(&stand, &Setup { streams: "50s", ..setup() })?;
    let say = |bytes: &[u8]| -> Result<TcpStream> {
        let mut stream = TcpStream::connect(service.proxy())?;
        stream.write_all(bytes)?;
        Ok(stream)
    };
    let connect = b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n";
    // A tunnel in which nothing is said, a connection whose answer is read, one that never says anything, half a head.
    let mut idle = vec![say(connect)?, say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?];
    for stream in &mut idle {
        let mut first = [0; 12];
        stream.read_exact(&mut first)?;
    }
    idle.extend([say(b"")?, say(b"GET / HTTP/1.1\r\nHo")?]);
    let begun = Instant::now();
    service.signal(Signal::SIGTERM)?;
    let outcome = service.ended()?;
    ensure!(outcome.status.success(), "{outcome:?}");
    ensure!(begun.elapsed() < Duration::from_secs(8), "it took {:?}", begun.elapsed());
    Ok(())
}

#[test]
fn a_successor_takes_over_without_a_refused_connection() -> Result<()> {
    let stand = Stand::new()?;
    let mut service = Service::start(&stand, &setup())?;
    let (caller, door) = (agent(&stand)?, gateway(&service));
    let key = service.key("bot", "bot", "openai", &[])?;
    let ca = Some(service.ca().to_owned());
    let tunnel = Door { prefix: String::new(), tunnel: true, tls: true, ca, ..door.clone() };
    // Each over a connection of its own, by turns in each protocol, to the gateway and in a tunnel.
    let turns = AtomicUsize::new(0);
    let one = || {
        let turn = turns.fetch_add(1, Ordering::Relaxed);
        let door = if turn % 4 < 2 { &door } else { &tunnel };
        let version = if turn.is_multiple_of(2) { Version::Http1 } else { Version::Http2 };
        let question = chat("say:hello", false).keyed(&key);
        caller.ask(&question.through(door.clone(), version))?.told(LIMIT)
    };
    let stream = streaming(
        &caller,
        &door,
        &key,
        "slow:20 split:1 say:sixty letters, some of them while the next gate waits.",
        Version::Http2,
    )?;
    let (all, ()) = under_load(4, one, |count| {
        for _ in 0..3 {
            some_more(count, 10)?;
            let successor = service.spawn(&["--upgrade"])?;
            let old = service.adopt(successor).context("no service")?;
            let old = old.end(LIMIT)?;
            ensure!(old.status.success(), "{old:?}");
            service.ready()?;
            some_more(count, 10)?;
        }
        Ok(())
    })?;
    let failed: Vec<&Told> =
        all.iter().filter(|told| told.status != Some(200) || !told.whole).collect();
    ensure!(failed.is_empty(), "{} of {} failed: {:?}", failed.len(), all.len(), failed.first());
    let told = stream.told(LIMIT)?;
    ensure!(told.whole && told.body.contains("[DONE]"), "{told:?}");
    ensure!(stand.log().at("/v1/chat").len() == all.len() + 1, "requests were lost or asked twice");
    service.end()?;
    stand.verified()?;
    Ok(())
}

/// `kill -9` under load: what was answered is on record, what was open is in doubt, and the next gate goes on.
fn slain(way: Way) -> Result<()> {
    let net = if way == Way::Routed { Some(Net::new()?) } else { None };
    let stand = match &net {
        Some(net) => Stand::in_namespace(&net.router())?,
        None => Stand::new()?,
    };
    let program = Path::new(env!("CARGO_BIN_EXE_caller"));
    let mut behind = Behind::new(way, &stand, net.as_ref(), &contract("[gpt-5-mini]"), program)?;
    let version = if way == Way::Absolute { Version::Http1 } else { Version::Http2 };
    let caller = behind.caller("bot")?;
    let traced = |prompt: &str, trace: &str, stream: bool| {
        let question =
            chat(prompt, stream).with("traceparent", &format!("00-{trace}-0123456789abcdef-01"));
        behind.ask("bot", question, version)
    };
    let trace = |nth: usize| format!("{:016x}{nth:016x}", std::process::id());
    let mut pending = Vec::new();
    for nth in 0..24 {
        let slow = nth % 3 == 0;
        let prompt = if slow { "slow:50 split:1 big:2000" } else { "usage:40:10 say:hello" };
        pending.push((nth, caller.ask(&traced(prompt, &trace(nth), slow)?)?));
    }
    until(LIMIT, "most are answered", || {
        Ok((pending.iter().filter(|(_, one)| one.is_over()).count() >= 12).then_some(()))
    })?;
    let (_, first) = pending.first().context("nothing was asked")?;
    first.begun(LIMIT)?;
    behind.slay()?;
    let mut answered = BTreeSet::new();
    for (nth, one) in &pending {
        let told = one.told(LIMIT)?;
        if told.status == Some(200) {
            answered.insert(trace(*nth));
        }
    }
    let asked: BTreeSet<String> = stand
        .log()
        .records()
        .iter()
        .filter_map(|record| record.header("traceparent")?.split('-').nth(1).map(str::to_owned))
        .collect();
    stand.verified()?;
    behind.restart()?;
    ensure!(answered.len() >= 12 && answered.is_subset(&asked), "{} answered", answered.len());
    let mut in_doubt = 0;
    for trace in &asked {
        let found = said(&stand, &["inspect", trace])?;
        ensure!(found.get("decided").is_some(), "{trace} is not on record: {found}");
        in_doubt += usize::from(found.pointer("/outcome/settled").is_none_or(|settled| {
            settled.get("in_doubt").and_then(Value::as_u64).is_some_and(|doubt| doubt > 0)
        }));
    }
    ensure!(in_doubt > 0, "nothing was open");
    let again = caller.ask(&behind.ask("bot", chat("say:again", false), version)?)?.told(LIMIT)?;
    ensure!(again.status == Some(200) && again.body.contains("again"), "{again:?}");
    let budgets = said(&stand, &["budget"])?;
    let today =
        number(&budgets, "/today/cost_micro_usd")? + number(&budgets, "/today/in_doubt_micro_usd")?;
    // 40 tokens in and 10 out at gpt-5-mini's price, for each that the provider would bill at least.
    ensure!(today >= 30 * asked.len() as u64, "{today} counted for {}: {budgets}", asked.len());
    stand.verified()?;
    Ok(())
}

#[test]
fn a_gate_slain_under_load_loses_nothing_that_it_answered_for_through_a_tunnel() -> Result<()> {
    slain(Way::Connect)
}

#[test]
fn a_gate_slain_under_load_loses_nothing_that_it_answered_for_in_absolute_form() -> Result<()> {
    slain(Way::Absolute)
}

#[test]
fn a_gate_slain_under_load_loses_nothing_that_it_answered_for_at_the_gateway() -> Result<()> {
    slain(Way::Gateway)?;
    slain(Way::GatewayTls)
}

#[test]
fn a_gate_slain_under_load_loses_nothing_that_it_answered_for_when_routed() -> Result<()> {
    slain(Way::Routed)
}

#[test]
fn a_gate_slain_under_load_loses_nothing_that_it_answered_for_when_attached() -> Result<()> {
    slain(Way::Attached)
}
