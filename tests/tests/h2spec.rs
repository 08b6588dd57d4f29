//! Over HTTP/2 the gate does nothing that nghttpd does better: h2spec's 145 cases, run against both.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::clients::built;
use e2e::harness::Stand;
use e2e::process::{Outcome, Running};
use e2e::proofs::{SOON, until};
use e2e::service::{Service, Setup};

/// For all cases, some of which wait for what must not come.
const ALL: Duration = Duration::from_mins(5);
/// The cases of the release that `cargo xtask setup` builds.
const CASES: usize = 145;

/// Where `cargo xtask setup` puts it.
const PROGRAM: &str = "h2spec/bin/h2spec";

/// The words that run all cases against a TLS listener. Its certificate is not what is tested.
fn words(program: &Path, host: &str, port: u16, report: &Path) -> Vec<String> {
    let (program, report) = (program.to_string_lossy(), report.to_string_lossy());
    let port = port.to_string();
    let words = [&program, "-t", "-k", "-o", "2", "-h", host, "-p", &port, "-j", &report];
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// What a listener fails that nghttpd passes.
fn new_failures(stand: &Stand, program: &Path, at: SocketAddr) -> Result<BTreeSet<String>> {
    let reference = reference(program, &stand.home())?;
    let report = stand.work().join("gate.xml");
    each_time(&reference, || {
        let mut command = Command::new("env");
        command.args(words(program, &at.ip().to_string(), at.port(), &report)).args(["-P", PATH]);
        let outcome = Running::start(&mut command)?.end(ALL)?;
        failed(&report, &outcome)
    })
}

/// What fails beyond `reference`, and does so each time. h2spec asks a whole request and then sends the
/// frames of the case: where the answer is quicker, its stream is closed by then, and what comes on it is
/// to be ignored (RFC 9113 5.1), which h2spec takes for a failure.
fn each_time(
    reference: &BTreeSet<String>,
    mut run: impl FnMut() -> Result<BTreeSet<String>>,
) -> Result<BTreeSet<String>> {
    const TIMES: usize = 3;
    let mut new: BTreeSet<String> = run()?.difference(reference).cloned().collect();
    for _ in 1..TIMES {
        if new.is_empty() {
            break;
        }
        new = run()?.intersection(&new).cloned().collect();
    }
    Ok(new)
}

/// A service with nobody in its contracts but one agent, whose key is not used.
fn service(stand: &Stand) -> Result<Service<'_>> {
    let contract = "policy_id: h2\nversion: \"1\"\nmode: enforce\nagents:\n  bot:\n    bearer: true\n    \
                    models: [gpt-5-mini]\n    destinations: [api.openai.com]\n";
    Service::start(stand, &Setup::of(contract))
}

/// Takes connections and has each tunnelled to the provider's name by the proxy.
fn tunnelled(proxy: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = listener.local_addr()?;
    std::thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            // One that comes to nothing is a case that fails.
            std::thread::spawn(move || drop(tunnel(&client, proxy)));
        }
    });
    Ok(at)
}

fn tunnel(client: &TcpStream, proxy: SocketAddr) -> Result<()> {
    let mut gate = TcpStream::connect(proxy)?;
    gate.write_all(b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n")?;
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        gate.read_exact(&mut byte)?;
        said.extend(byte);
    }
    ensure!(said.starts_with(b"HTTP/1.1 200"), "no tunnel");
    let (mut from, mut to) = (client.try_clone()?, gate.try_clone()?);
    std::thread::spawn(move || {
        // What ends one way ends that way only, as it would without the relay.
        drop(std::io::copy(&mut from, &mut to));
        drop(to.shutdown(std::net::Shutdown::Write));
    });
    let mut client = client.try_clone()?;
    drop(std::io::copy(&mut gate, &mut client));
    Ok(client.shutdown(std::net::Shutdown::Both)?)
}

/// The cases that failed, by section and what they do.
fn failed(report: &Path, outcome: &Outcome) -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(report).with_context(|| format!("no report: {outcome:?}"))?;
    let cases: Vec<&str> = text.split("<testcase ").skip(1).collect();
    ensure!(cases.len() == CASES, "{} of {CASES} cases ran", cases.len());
    let attribute = |case: &str, name: &str| {
        let value =
            case.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split('"').next());
        value.unwrap_or_default().to_owned()
    };
    let failures = cases.iter().filter(|case| case.contains("<failure") || case.contains("<error"));
    let named =
        |case: &&str| format!("{} {}", attribute(case, "package"), attribute(case, "classname"));
    Ok(failures.map(named).collect())
}

/// A path of the gateway that leads to a provider.
const PATH: &str = "/openai/v1/models";

/// The reference, with a certificate of its own.
struct Nghttpd(Child, u16);

impl Nghttpd {
    fn start(dir: &Path) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (key, cert) = (dir.join("key.pem"), dir.join("cert.pem"));
        fs::write(&key, made.signing_key.serialize_pem())?;
        fs::write(&cert, made.cert.pem())?;
        fs::write(dir.join("index.html"), "hello")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new("nghttpd");
        command.args(["--address=127.0.0.1", "-d"]).arg(dir).arg(port.to_string());
        command.arg(key).arg(cert).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("nghttpd is not installed: run cargo xtask setup")?;
        let mut started = Self(child, port);
        until(SOON, "nghttpd listens", || {
            if let Some(status) = started.0.try_wait()? {
                bail!("nghttpd ended: {status}");
            }
            Ok(TcpStream::connect(("127.0.0.1", port)).ok())
        })?;
        Ok(started)
    }
}

impl Drop for Nghttpd {
    fn drop(&mut self) {
        // It is gone already, or goes now.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What nghttpd fails, found by running it.
fn reference(program: &Path, dir: &Path) -> Result<BTreeSet<String>> {
    let server = Nghttpd::start(dir)?;
    let report = dir.join("nghttpd.xml");
    let mut command = Command::new("env");
    command.args(words(program, "127.0.0.1", server.1, &report));
    let outcome = Running::start(&mut command)?.end(ALL)?;
    failed(&report, &outcome)
}

#[test]
fn over_http_2_the_transparent_intake_fails_nothing_that_nghttpd_passes() -> Result<()> {
    let Some(program) = built(PROGRAM, "what h2spec asks of HTTP/2")? else { return Ok(()) };
    let stand = Stand::new()?;
    let reference = reference(&program, &stand.home())?;
    let report = stand.work().join("gate.xml");
    let new = each_time(&reference, || {
        let run = stand.gate(&[])?.start(words(&program, "api.openai.com", 443, &report))?;
        failed(&report, &run.end(ALL)?)
    })?;
    ensure!(new.is_empty(), "not failed by nghttpd ({reference:?}): {new:#?}");
    ensure!(stand.log().records().is_empty(), "a request without a key reached the provider");
    stand.verified()?;
    Ok(())
}

#[test]
fn over_http_2_the_gateways_port_fails_nothing_that_nghttpd_passes() -> Result<()> {
    let Some(program) = built(PROGRAM, "what h2spec asks of HTTP/2")? else { return Ok(()) };
    let stand = Stand::new()?;
    let service = service(&stand)?;
    let new = new_failures(&stand, &program, service.proxy())?;
    ensure!(new.is_empty(), "not failed by nghttpd: {new:#?}");
    ensure!(stand.log().records().is_empty(), "a request without a key reached the provider");
    stand.verified()?;
    Ok(())
}

#[test]
fn over_http_2_a_tunnel_fails_nothing_that_nghttpd_passes() -> Result<()> {
    let Some(program) = built(PROGRAM, "what h2spec asks of HTTP/2")? else { return Ok(()) };
    let stand = Stand::new()?;
    let service = service(&stand)?;
    let new = new_failures(&stand, &program, tunnelled(service.proxy())?)?;
    ensure!(new.is_empty(), "not failed by nghttpd: {new:#?}");
    ensure!(stand.log().records().is_empty(), "a request without a key reached the provider");
    stand.verified()?;
    Ok(())
}
