//! Ports that a run shares with its host by the user's word, met with a real server and a real client on both sides.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use e2e::harness::{LIMIT, Stand};
use e2e::process::{Outcome, Running};
use e2e::proofs::{SOON, tail, until};
use serde_json::{Value, json};

/// Serves one word over HTTP at a port.
const SERVER: &str = "require('http').createServer((q, a) => a.end('served ' + process.argv[1])).listen(\
                      +process.argv[2], '127.0.0.1', () => console.log('listening'))";

/// A port that nothing listens at now.
fn free() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A server of the host, for as long as this lives.
struct Server(Child);

impl Server {
    fn start(port: u16) -> Result<Self> {
        let mut node = Command::new("node");
        node.args(["-e", SERVER, "outside"]).arg(port.to_string());
        let server = Self(node.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
        until(SOON, "the server listens", || Ok(fetched(port)?.contains("outside").then_some(())))?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What curl gets on the host.
fn fetched(port: u16) -> Result<String> {
    let url = format!("http://127.0.0.1:{port}/");
    let curl = Command::new("curl").args(["-s", "-m", "5", &url]).output()?;
    Ok(String::from_utf8_lossy(&curl.stdout).into_owned())
}

fn under(stand: &Stand, flags: &[&str], script: &str) -> Result<Outcome> {
    stand.gate(flags)?.run(["bash", "-c", script])
}

/// The entry of the last run's end.
fn ended(stand: &Stand) -> Result<Value> {
    let tail = tail(stand)?;
    let last = tail.iter().rev().find(|line| line.get("became") == Some(&json!("ended")));
    let number = last.and_then(|line| line.get("entry")).context("no run has ended")?.to_string();
    let outcome = stand.tollgate(&["inspect", &number, "--json"])?;
    Ok(serde_json::from_str(&outcome.stdout)?)
}

#[test]
fn a_service_of_the_host_is_reached_with_the_flag_and_not_without_it() -> Result<()> {
    let stand = Stand::new()?;
    let port = free()?;
    let _server = Server::start(port)?;
    let script = format!(
        "for host in 127.0.0.1 '[::1]' localhost; do curl -s -m 5 http://$host:{port}/; echo \" $?\"; done"
    );
    let without = under(&stand, &[], &script)?;
    ensure!(without.stdout == " 7\n 7\n 7\n", "{without:?}");
    let with = under(&stand, &["--reach-port", &port.to_string()], &script)?;
    ensure!(with.stdout == "served outside 0\n".repeat(3), "{with:?}");
    ensure!(with.stderr.contains(&format!("port {port} reached: 3 connections")), "{with:?}");
    let body = ended(&stand)?;
    let at = |pointer: &str| body.pointer(pointer).cloned().unwrap_or_default();
    ensure!(at("/body/widened/reach_port") == json!([port]), "{body}");
    ensure!(at("/body/ports/0/connections") == json!(3), "{body}");
    let (written, read) = (at("/body/ports/0/written"), at("/body/ports/0/read"));
    ensure!(written.as_u64() > Some(100) && read.as_u64() > Some(100), "{body}");
    Ok(())
}

#[test]
fn a_port_of_the_command_is_published_with_the_flag_and_not_without_it() -> Result<()> {
    let stand = Stand::new()?;
    let port = free()?;
    let serve = |flags: &[&str]| -> Result<Running> {
        let number = port.to_string();
        let mut run = stand.gate(flags)?.start(["node", "-e", SERVER, "inside", &number])?;
        run.until_stdout(LIMIT, |text| text.contains("listening"))?;
        Ok(run)
    };
    let without = serve(&[])?;
    ensure!(fetched(port)?.is_empty(), "it is reached without the flag");
    stop(&without)?;
    without.end(LIMIT)?;
    let with = serve(&["--publish-port", &port.to_string()])?;
    for _ in 0..2 {
        let answer = fetched(port)?;
        ensure!(answer == "served inside", "{answer}");
    }
    stop(&with)?;
    let with = with.end(LIMIT)?;
    ensure!(with.stderr.contains(&format!("port {port} published: 2 connections")), "{with:?}");
    ensure!(fetched(port)?.is_empty(), "the port outlives its run");
    let body = ended(&stand)?;
    // What left by way of it is what the command wrote: two answers with their heads.
    let written = body.pointer("/body/ports/0/written").and_then(Value::as_u64);
    ensure!(written > Some(2 * "served inside".len() as u64), "{body}");
    Ok(())
}

fn stop(run: &Running) -> Result<()> {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(run.pid())?);
    Ok(nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?)
}

#[test]
fn a_kill_cuts_what_is_open_at_a_shared_port_and_lets_nothing_new_through() -> Result<()> {
    let stand = Stand::new()?;
    let port = free()?;
    let host = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port}; echo open >&3; echo open; cat <&3; echo cut; \
         curl -s -m 5 http://127.0.0.1:{port}/; echo \"then $?\""
    );
    let flags = ["--agent", "bot", "--reach-port", &port.to_string()];
    let mut run = stand.gate(&flags)?.start(["bash", "-c", &script])?;
    let (mut far, _) = host.accept()?;
    let mut word = [0; 5];
    std::io::Read::read_exact(&mut far, &mut word)?;
    run.until_stdout(LIMIT, |text| text.contains("open"))?;
    let killed = stand.tollgate(&["kill", "--agent", "bot", "--reason", "a test"])?;
    ensure!(killed.status.success(), "{killed:?}");
    far.set_read_timeout(Some(SOON))?;
    let end = std::io::Read::read(&mut far, &mut word);
    ensure!(end.as_ref().map_or(true, |&read| read == 0), "the host's end is still open: {end:?}");
    let outcome = run.end(LIMIT)?;
    // Accepted and closed: curl calls it an empty answer, or a reset.
    let then = outcome.stdout.lines().last().unwrap_or_default();
    ensure!(outcome.stdout.starts_with("open\ncut\n"), "{outcome:?}");
    ensure!(then == "then 52" || then == "then 56", "{outcome:?}");
    host.set_nonblocking(true)?;
    ensure!(host.accept().is_err(), "a connection went through after the kill");
    Ok(())
}

#[test]
fn a_port_that_cannot_be_shared_is_refused_with_the_reason_and_nothing_runs() -> Result<()> {
    let stand = Stand::new()?;
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let used = taken.local_addr()?.port().to_string();
    for (flags, why) in [
        (vec!["--publish-port", used.as_str()], "another program listens at 127.0.0.1"),
        (vec!["--publish-port", "16801"], "a port of the gate's own"),
        (vec!["--reach-port", "53"], "names are answered there"),
        (vec!["--reach-port", "8080", "--publish-port", "8080"], "would lead to itself"),
    ] {
        let outcome = under(&stand, &flags, "echo ran")?;
        ensure!(outcome.status.code() == Some(125) && outcome.stdout.is_empty(), "{outcome:?}");
        ensure!(outcome.stderr.contains(why), "{outcome:?}");
    }
    Ok(())
}

#[test]
fn the_connector_ends_with_its_run() -> Result<()> {
    let stand = Stand::new()?;
    let port = free()?.to_string();
    let mut run =
        stand.gate(&["--publish-port", &port])?.start(["sh", "-c", "echo up; exec sleep 60"])?;
    run.until_stdout(LIMIT, |text| text.contains("up"))?;
    let connector = connector_of(run.pid())?.context("there is no connector")?;
    stop(&run)?;
    run.end(LIMIT)?;
    // Until somebody waits for it its number may be left, without a command line.
    let line = format!("/proc/{connector}/cmdline");
    let gone = || Ok(std::fs::read(&line).unwrap_or_default().is_empty().then_some(()));
    until(LIMIT, "the connector has ended", gone)
}

/// The connector of a front: in the network of the first process inside.
fn connector_of(front: u32) -> Result<Option<u32>> {
    let children = std::fs::read_to_string(format!("/proc/{front}/task/{front}/children"))?;
    let network = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let is = |pid: &str, word: &str| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
        line.is_ok_and(|line| line.contains(word))
    };
    let init = children.split_whitespace().find(|pid| is(pid, "__init"));
    let run = network(init.context("nothing runs inside")?);
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().filter(|pid| is(pid, "__connect")) else { continue };
        if network(pid) == run {
            return Ok(Some(pid.parse()?));
        }
    }
    Ok(None)
}

#[test]
fn a_local_service_of_the_environment_is_named_with_its_flag_and_no_secret() -> Result<()> {
    let stand = Stand::new()?;
    let url = "postgres://app:canary-7741@localhost:5432/app";
    let run = |flags: &[&str]| stand.gate(flags)?.env("DATABASE_URL", url).run(["true"]);
    let without = run(&[])?;
    ensure!(without.stderr.contains("DATABASE_URL; share it: --reach-port 5432"), "{without:?}");
    ensure!(!without.stderr.contains("canary-7741"), "{without:?}");
    let with = run(&["--reach-port", "5432"])?;
    ensure!(!with.stderr.contains("DATABASE_URL"), "{with:?}");
    Ok(())
}
