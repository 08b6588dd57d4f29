//! A gate in a pod, between what is in it and everybody else.

mod cgroup;
mod six;
mod stage;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::proofs::{SOON, until};
use serde_json::{Value, json};
use stage::{Mode, POD, PYTHON, SERVES, Stage, stage};

/// What the agent may do.
const CONTRACT: &str = r#"
policy_id: pod
version: "1"
mode: enforce
agents:
  bot:
    destinations: [api.openai.com, "203.0.113.7:9443"]
    models: [gpt-5-mini]
"#;

/// A server of the agent's that says one letter, waits for `go`, and says the rest.
const SERVER: &str = r"
import socket, sys, threading
s = socket.create_server(('0.0.0.0', int(sys.argv[1])))
print('ready', flush=True)
def serve(c):
    asked = c.recv(100)
    if asked == b'much':
        try:
            c.sendall(b'x' * (1 << 20))
        except OSError:
            pass
    else:
        c.sendall(b'a')
        c.recv(100)
        c.sendall(b'bc')
    c.close()
while True:
    c, _ = s.accept()
    threading.Thread(target=serve, args=(c,), daemon=True).start()
";

fn curl(stage: &Stage, url: &str, more: &[&str]) -> Result<(String, String)> {
    let ca = stage.stand.file("gate-ca.pem").display().to_string();
    let words = ["curl", "-sS", "--max-time", "20", "--cacert", &ca, "-w", "\n%{http_code}"];
    let done = stage.asked(&[&words, more, &[url]].concat())?;
    let (body, status) = done.stdout.rsplit_once('\n').context("no status")?;
    Ok((status.to_owned(), format!("{body}{}", done.stderr)))
}

fn ask(stage: &Stage, key: &str, model: &str) -> Result<(String, String)> {
    let body = json!({"model": model, "max_completion_tokens": 20,
        "messages": [{"role": "user", "content": "say:hello"}]});
    let (auth, body) = (format!("authorization: Bearer {key}"), body.to_string());
    let more = ["-H", auth.as_str(), "-H", "content-type: application/json", "-d", body.as_str()];
    curl(stage, "https://api.openai.com/v1/chat/completions", &more)
}

/// A gate that serves the pod, and a key of the agent's.
fn serving(stage: &mut Stage, pod: &str) -> Result<String> {
    stage.configure(pod, CONTRACT)?;
    stage.start_gate()?;
    e2e::service::seal(&stage.stand, "openai", &stage.stand.provider().keys().openai)?;
    let authority = stage.stand.tollgate(&["ca"])?;
    std::fs::write(stage.stand.file("gate-ca.pem"), authority.stdout)?;
    let words = ["key", "create", "k", "--agent", "bot", "--credential", "openai", "--json"];
    let made = stage.stand.tollgate(&words)?;
    ensure!(made.status.success(), "{made:?}");
    let made: Value = serde_json::from_str(&made.stdout)?;
    Ok(made.get("key").and_then(Value::as_str).context("no key")?.to_owned())
}

/// A connection from outside to a port of the pod's.
fn outside(stage: &Stage, port: u16, say: &[u8]) -> Result<TcpStream> {
    outside_to(stage, SocketAddr::new(POD.parse()?, port), say)
}

fn outside_to(stage: &Stage, at: SocketAddr, say: &[u8]) -> Result<TcpStream> {
    stage.stand.at_home(|| {
        let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(say)?;
        Ok(stream)
    })
}

fn everything(stage: &mut Stage, pod: &str) -> Result<()> {
    let key = serving(stage, pod)?;
    let (status, body) = ask(stage, &key, "gpt-5-mini")?;
    ensure!(status == "200" && body.contains("hello"), "{status}: {body}");
    let (status, body) = ask(stage, &key, "gpt-5-nano")?;
    ensure!(
        status == "403" && body.contains("\"error\"") && body.contains("gpt-5-nano"),
        "{status}: {body}"
    );

    // By its address and port, as the program named them.
    let (_, said) = curl(stage, "http://203.0.113.9:7443/x", &[])?;
    ensure!(said.contains("203.0.113.9"), "no refusal that says where to: {said}");
    let (_, name) = curl(stage, "https://elsewhere.example/", &[])?;
    ensure!(name.contains("not resolve"), "{name}");
    let tail = stage.tail(&["--refused"])?;
    let asked = |what: &str| {
        tail.iter().any(|item| {
            item.get("what").and_then(Value::as_str).is_some_and(|said| said.starts_with(what))
                && item.get("agent") == Some(&"bot".into())
        })
    };
    ensure!(asked("203.0.113.9:7443"), "not the destination: {tail:?}");
    ensure!(asked("elsewhere.example"), "not the name: {tail:?}");

    // The installer's question, and what is the gate's own.
    let code = "import socket; s = socket.create_connection(('192.0.2.2', 16801), 5); print(s.recv(200).decode())";
    let said = stage.python("agent", code)?;
    ensure!(said == stage.greeting()?, "{said}");
    Ok(())
}

#[test]
fn what_is_in_the_pod_reaches_what_its_contract_names_and_nothing_else() -> Result<()> {
    stage(Mode::Kernel, |stage| {
        everything(stage, "")?;
        let (status, ready) = stage.get("/readyz")?;
        ensure!(
            status == 200 && ready.contains(r#""name":"enforcement","ready":true,"says":"kernel""#),
            "{ready}"
        );
        ensure!(stage.metric("tollgate_enforcement{mode=\"kernel\"}")? == 1, "no mode");
        stage.end()?;
        stage.stand.verified()?;
        Ok(())
    })
}

#[test]
fn where_only_the_firewall_leads_the_destination_is_the_one_that_was_named() -> Result<()> {
    stage(Mode::NftUser, |stage| {
        everything(stage, "  minimum: nft-user\n")?;
        let (_, ready) = stage.get("/readyz")?;
        ensure!(ready.contains("nft-user (the test says so)"), "{ready}");
        ensure!(stage.log().contains("CAP_SETUID"), "no warning: {}", stage.log());
        Ok(())
    })
}

#[test]
fn a_pod_that_is_shut_in_less_well_than_it_must_be_has_no_gate() -> Result<()> {
    stage(Mode::Kernel, |stage| {
        stage.configure("", CONTRACT)?;
        for (mode, version, says) in [
            ("nft-cgroup", 1, "pod.minimum is kernel"),
            ("kernel", 2, "version 2"),
            ("ebpf", 1, "installer"),
        ] {
            stage.pod_file(
                &json!({"version": version, "mode": mode, "why": "so", "maps": "/x", "token": "t"}),
            )?;
            let outcome = stage.spawn_gate()?.end(SOON)?;
            ensure!(
                !outcome.status.success() && outcome.stderr.contains(says),
                "{mode}: {outcome:?}"
            );
        }
        std::fs::remove_file(stage.stand.file("pod.json"))?;
        let outcome = stage.spawn_gate()?.end(SOON)?;
        ensure!(outcome.stderr.contains("tollgate-init install"), "{outcome:?}");
        Ok(())
    })
}

#[test]
fn a_gate_that_died_leaves_the_pod_shut_and_the_next_one_alone_is_exempt() -> Result<()> {
    stage(Mode::Kernel, |stage| {
        let key = serving(stage, "")?;
        let before = stage.gate_group();
        let direct = "import socket\ntry:\n  s = socket.create_connection(('10.213.9.1', 443), 3)\n  print('out', s.getpeername()[1])\nexcept OSError as e:\n  print('error', e.errno)";
        let udp = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ntry:\n  s.sendto(b'x', ('10.213.9.1', 9)); print('out')\nexcept OSError as e:\n  print('error', e.errno)";
        ensure!(stage.python(&before, udp)? == "out", "the gate's group is not exempt");
        stage.slay()?;
        let refused = stage.python("agent", direct)?;
        ensure!(refused == "error 111", "not refused while there is no gate: {refused}");
        stage.start_gate()?;
        let (status, body) = ask(stage, &key, "gpt-5-mini")?;
        ensure!(status == "200", "{status}: {body}");
        ensure!(
            stage.python(&before, udp)? == "error 1",
            "the group of the gate that died is still exempt"
        );
        ensure!(stage.python(&stage.gate_group(), udp)? == "out", "the new one is not");
        Ok(())
    })
}

#[test]
fn a_client_outside_gets_what_the_agent_says_as_it_says_it_and_no_more_than_it_may() -> Result<()> {
    stage(Mode::Kernel, |stage| {
        serving(stage, "  inbound: { bytes_out: 64KiB, window_bytes_out: 1MiB }\n")?;
        let port = SERVES.to_string();
        let mut server = stage.agent(&[PYTHON, "-c", SERVER, &port])?;
        server.until_stdout(SOON, |text| text.contains("ready"))?;
        let mut other = stage.agent(&[PYTHON, "-c", SERVER, "9090"])?;
        other.until_stdout(SOON, |text| text.contains("ready"))?;

        // The first letter is here before the last was said.
        let mut stream = outside(stage, SERVES, b"hello")?;
        let mut first = [0; 8];
        ensure!(stream.read(&mut first)? == 1 && first[0] == b'a', "{first:?}");
        stream.write_all(b"go")?;
        let mut rest = String::new();
        stream.read_to_string(&mut rest)?;
        ensure!(rest == "bc", "{rest}");
        let bytes = |direction: &str| {
            stage.metric(&format!(
                "tollgate_inbound_bytes_total{{direction=\"{direction}\",port=\"{SERVES}\"}}"
            ))
        };
        ensure!((bytes("in")?, bytes("out")?) == (7, 3), "{:?}", (bytes("in")?, bytes("out")?));

        let mut much = Vec::new();
        let broken = outside(stage, SERVES, b"much")?.read_to_end(&mut much);
        ensure!(broken.is_err() && much.len() <= 64 << 10, "{} bytes: {broken:?}", much.len());
        ensure!(bytes("out")? == 3 + (64 << 10), "{}", bytes("out")?);

        // The packet filter redirects this one too; the pod's file does not declare it.
        let mut none = Vec::new();
        let closed = outside(stage, 9090, b"hello")
            .and_then(|mut stream| Ok(stream.read_to_end(&mut none)?));
        ensure!(closed.is_err() && none.is_empty(), "an undeclared port answered: {none:?}");
        let refused = "tollgate_inbound_connections_total{ended=\"undeclared\",port=\"other\"}";
        ensure!(stage.metric(refused)? == 1, "not counted");
        let direct = outside(stage, 16806, b"hello")
            .and_then(|mut stream| Ok(stream.read_to_end(&mut none)?));
        ensure!(direct.is_err() && none.is_empty(), "the gate's own port answered: {none:?}");

        cut_by_a_kill(stage)?;
        stage.end()?;
        let ends = stage.tail(&[])?;
        for reason in ["connection_limit: 4 bytes in, 65,536 out", "undeclared", "killed"] {
            let has = |item: &Value| {
                item.get("reason").and_then(Value::as_str).is_some_and(|said| said.contains(reason))
            };
            ensure!(ends.iter().any(has), "no {reason} in {ends:?}");
        }
        stage.stand.verified()?;
        Ok(())
    })
}

fn cut_by_a_kill(stage: &Stage) -> Result<()> {
    let mut stream = outside(stage, SERVES, b"hello")?;
    let mut letter = [0; 8];
    ensure!(stream.read(&mut letter)? == 1, "it did not begin");
    let asked = Instant::now();
    let killed = stage.stand.tollgate(&["kill", "--agent", "bot", "--reason", "test"])?;
    ensure!(killed.status.success(), "{killed:?}");
    ensure!(stream.read(&mut letter).is_err(), "it goes on");
    ensure!(asked.elapsed() < Duration::from_secs(5), "it took {:?}", asked.elapsed());
    let after =
        outside(stage, SERVES, b"hello").and_then(|mut stream| Ok(stream.read(&mut letter)?));
    ensure!(!matches!(after, Ok(1..)), "a stopped agent answers: {after:?}");
    Ok(())
}

#[test]
fn what_is_tried_past_the_gate_is_told_by_process_destination_and_technique() -> Result<()> {
    stage(Mode::Kernel, |stage| {
        serving(stage, "")?;
        let tries = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nfor _ in range(5):\n  try:\n    s.sendto(b'x', ('8.8.8.8', 443))\n  except OSError as e:\n    print(e.errno)\ntry:\n  socket.create_connection(('127.0.0.1', 16801), 2)\nexcept OSError as e:\n  print(e.errno)";
        ensure!(stage.python("agent", tries)? == "1\n1\n1\n1\n1\n1", "something went out");
        let datagrams = "tollgate_refused_attempts_total{technique=\"datagram\"}";
        until(SOON, "the attempts are counted", || {
            Ok((stage.metric(datagrams)? == 5).then_some(()))
        })?;
        let told = until(SOON, "the attempt is on record", || {
            let tail = stage.tail(&["--refused"])?;
            let told = tail
                .iter()
                .find(|item| item.get("what") == Some(&"udp 8.8.8.8:443 (python3)".into()));
            Ok(told.cloned())
        })?;
        ensure!(told.get("agent") == Some(&"bot".into()), "{told}");
        let why = told.get("reason").and_then(Value::as_str).unwrap_or_default();
        ensure!(why.contains("datagram") && why.contains("user 1000"), "{told}");
        stage.end()?;
        let counts: u64 = stage
            .tail(&["--refused"])?
            .iter()
            .filter(|item| item.get("what") == told.get("what"))
            .map(|item| item.get("count").and_then(Value::as_u64).unwrap_or(1))
            .sum();
        ensure!(counts == 5, "{counts} of 5 are on record");
        stage.stand.verified()?;
        Ok(())
    })
}

#[test]
fn a_gate_that_is_led_to_itself_ends_that_and_enters_itself_again() -> Result<()> {
    stage(Mode::Kernel, |stage| {
        let key = serving(stage, "")?;
        stage.steal_exemption()?;
        let (status, body) = ask(stage, &key, "gpt-5-mini")?;
        ensure!(status != "200", "it went out without an exemption: {body}");
        ensure!(stage.log().contains("has entered itself again"), "{}", stage.log());
        ensure!(
            stage.metric("tollgate_stray_connections_total")? > 0,
            "its own connection is not counted"
        );
        let (status, body) = ask(stage, &key, "gpt-5-mini")?;
        ensure!(status == "200", "{status}: {body}");
        Ok(())
    })
}

#[test]
fn queues_that_the_installer_leaves_to_the_gate_are_held_or_it_does_not_start() -> Result<()> {
    stage(Mode::Kernel, |stage| {
        let mut says = stage.says("kernel");
        says["xdp"] = "hold".into();
        stage.pod_file(&says)?;
        stage.configure("", CONTRACT)?;
        let outcome = stage.spawn_gate()?.end(SOON)?;
        ensure!(!outcome.status.success() && outcome.stderr.contains("CAP_NET_RAW"), "{outcome:?}");
        let held = |stage: &Stage| {
            stage.within(|| {
                let index = std::fs::read_to_string("/proc/thread-self/net/dev_mcast")?;
                let line = index.lines().find(|line| line.contains("eth0")).context("no eth0")?;
                let index = line.split_whitespace().next().context("no index")?.parse()?;
                Ok(ebpf::xdp::Held::all(&[index]).is_err())
            })
        };
        ensure!(!held(stage)?, "somebody else holds them");
        stage.raw = true;
        stage.start_gate()?;
        let (_, ready) = stage.get("/readyz")?;
        ensure!(ready.contains("AF_XDP is held"), "{ready}");
        ensure!(held(stage)?, "a process of the pod still gets a queue");
        Ok(())
    })
}
