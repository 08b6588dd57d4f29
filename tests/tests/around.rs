//! A program that knows nothing of the gate sends by every way it has: a neighbour counts what arrives.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context as _, Result, ensure};
use e2e::by::By;
use e2e::harness::{LIMIT, Stand};
use e2e::process::Running;
use e2e::proofs::{SOON, python, until};
use serde_json::Value;

const PORT: &str = "7443";

static SITES: AtomicU8 = AtomicU8::new(1);

/// Two network namespaces joined by a wire: the site, where programs run, and its neighbour, who counts.
struct Site {
    here: String,
    neighbour: String,
    counting: Option<Running>,
}

const V4: &str = "10.213.7.2";
const V6: &str = "fd13:7::2";

fn ip(words: &str) -> Result<()> {
    let done = Command::new("ip").args(words.split_whitespace()).output()?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(done.status.success(), "ip {words}: {said}");
    Ok(())
}

impl Site {
    fn new(stand: &Stand) -> Result<Self> {
        let number = format!("{}-{}", std::process::id(), SITES.fetch_add(1, Ordering::Relaxed));
        let (site, neighbour) = (format!("e2e-s{number}"), format!("e2e-n{number}"));
        ip(&format!("netns add {site}"))?;
        let mut made = Self { here: site.clone(), neighbour: neighbour.clone(), counting: None };
        ip(&format!("netns add {neighbour}"))?;
        ip(&format!("link add wire netns {site} type veth peer name wire netns {neighbour}"))?;
        for (space, v4, v6) in [(&site, "10.213.7.1", "fd13:7::1"), (&neighbour, V4, V6)] {
            ip(&format!("-n {space} addr add {v4}/24 dev wire"))?;
            ip(&format!("-n {space} addr add {v6}/64 dev wire nodad"))?;
            ip(&format!("-n {space} link set lo up"))?;
            ip(&format!("-n {space} link set wire up"))?;
        }
        ip(&format!("-n {site} route add default via {V4}"))?;
        ip(&format!("-n {site} route add default via {V6}"))?;
        let words = python(stand, include_str!("../clients/proofs/neighbour.py"), &["wire", PORT])?;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{neighbour}")).args(words);
        let mut counting = Running::start(&mut command)?;
        counting.until_stdout(SOON, |text| text.contains("ready"))?;
        made.counting = Some(counting);
        Ok(made)
    }

    /// How a program is started at the site.
    fn at(&self) -> [String; 2] {
        ["nsenter".to_owned(), format!("--net=/run/netns/{}", self.here)]
    }

    /// What has arrived so far. A marker sent last has arrived, so all that was sent before it has.
    fn arrived(&mut self) -> Result<Vec<Value>> {
        let counting = self.counting.as_mut().context("nobody counts")?;
        let marks = |text: &str| text.matches("\"port\": 9999").count();
        let before = marks(&counting.stdout()?);
        let send = format!("echo mark > /dev/udp/{V4}/9999");
        let [nsenter, net] = [&"nsenter".to_owned(), &format!("--net=/run/netns/{}", self.here)];
        ensure!(
            Command::new(nsenter).arg(net).args(["bash", "-c", &send]).status()?.success(),
            "no marker"
        );
        let text = counting.until_stdout(SOON, |text| marks(text) > before)?;
        let frames = text.lines().skip(1).filter(|line| !line.contains("\"port\": 9999"));
        Ok(frames.map(serde_json::from_str).collect::<Result<_, _>>()?)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.counting = None;
        for space in [&self.here, &self.neighbour] {
            drop(ip(&format!("netns del {space}")));
        }
    }
}

/// What each way met.
fn met(stdout: &str) -> Result<Vec<(String, Value)>> {
    let lines = stdout.lines().map(serde_json::from_str::<Value>);
    lines
        .map(|line| {
            let line = line?;
            let way = line.get("way").and_then(Value::as_str).context("no way")?.to_owned();
            Ok((way, line))
        })
        .collect()
}

fn is(frame: &Value, protocol: u64, port: &str) -> bool {
    frame.get("proto") == Some(&protocol.into())
        && frame.get("port").map(ToString::to_string) == Some(port.to_owned())
}

#[test]
fn without_the_gate_every_way_arrives_and_under_it_none_does() -> Result<()> {
    let stand = Stand::new()?;
    let mut site = Site::new(&stand)?;
    let words = python(&stand, include_str!("../clients/proofs/around.py"), &[V4, V6, PORT])?;
    let at = site.at();
    let at = at.each_ref().map(String::as_str);

    let mut direct = Command::new(at[0]);
    let outcome = Running::start(direct.arg(at[1]).args(&words))?.end(LIMIT)?;
    let ways = met(&outcome.stdout)?;
    for way in [
        "tcp4",
        "tcp6",
        "mapped",
        "udp443",
        "udp443v6",
        "udp443mapped",
        "udp53",
        "udp53v6",
        "raw",
        "packet",
    ] {
        let got = ways.iter().find(|(name, _)| name == way).context("a way is missing")?;
        ensure!(got.1.get("error") == Some(&Value::Null), "without the gate: {:?}", got.1);
    }
    let control = site.arrived()?;
    for (protocol, port) in [(6, PORT), (17, "443"), (17, "53"), (17, PORT), (6, "53")] {
        ensure!(
            control.iter().any(|frame| is(frame, protocol, port)),
            "the neighbour counts no {protocol}/{port}"
        );
    }
    ensure!(
        control.iter().any(|frame| frame.get("proto") == Some(&1.into())),
        "no ICMP is counted"
    );
    ensure!(
        control.iter().any(|frame| frame.get("what") == Some(&"0x88b5".into())),
        "no bare frame is counted"
    );

    let outcome = stand.gate(&[])?.by(&at).run(&words)?;
    let ways = met(&outcome.stdout)?;
    ensure!(ways.len() == 18, "{outcome:?}");
    let arrived = site.arrived()?;
    ensure!(
        arrived.len() == control.len(),
        "under the gate arrived: {:?}",
        &arrived[control.len()..]
    );
    for (way, line) in &ways {
        let got = line.get("got").and_then(Value::as_str);
        // The responder answers a question to any server (here: no such name), where the neighbour would send it
        // back as it is; and the gate takes any connection in order to refuse it.
        let right = match way.as_str() {
            "udp53" | "udp53v6" => got.is_some_and(|got| got.starts_with("12348183")),
            "tcp4" | "tcp6" | "mapped" | "tcp53" => {
                got.is_none_or(|got| !got.contains("neighbour"))
            }
            _ => got.is_none(),
        };
        ensure!(right, "{line}");
    }
    Ok(())
}

#[test]
fn what_the_contract_allows_arrives_from_the_gate_and_nothing_else_does() -> Result<()> {
    let stand = Stand::new()?;
    let mut site = Site::new(&stand)?;
    let at = site.at();
    let at = at.each_ref().map(String::as_str);
    let (allow, to) =
        ("neighbour.example:7443:opaque", format!("neighbour.example:7443:{V4}:{PORT}"));
    let script = format!(
        "exec 3<>/dev/tcp/neighbour.example/7443; head -n1 <&3; timeout 2 bash -c 'exec 4<>/dev/tcp/{V4}/{PORT}; head -n1 <&4'"
    );
    let run = stand.gate(&["--allow", allow, "--connect-to", &to])?.by(&at);
    let outcome = run.run(["bash", "-c", &script])?;
    ensure!(outcome.stdout.trim() == "the neighbour", "{outcome:?}");
    let arrived = site.arrived()?;
    ensure!(!arrived.is_empty(), "nothing arrived");
    ensure!(arrived.iter().all(|frame| is(frame, 6, PORT)), "{arrived:?}");
    Ok(())
}

#[test]
fn a_refused_name_is_asked_of_no_name_server() -> Result<()> {
    let stand = Stand::new()?;
    let mut site = Site::new(&stand)?;
    let resolv = stand.home().join("resolv.conf");
    fs::write(&resolv, format!("nameserver {V4}\noptions timeout:1 attempts:1\n"))?;
    let mount = format!("mount --bind {} /etc/resolv.conf && exec \"$@\"", resolv.display());
    let [nsenter, net] = site.at();
    let at = [nsenter.as_str(), &net, "unshare", "-m", "sh", "-c", &mount, "sh"];
    let keep = python(&stand, "import time; print('up', flush=True); time.sleep(100)", &[])?;
    let mut keep = stand.gate(&["--agent", "keep"])?.by(&at).start(keep)?;
    keep.until_stdout(LIMIT, |text| text.contains("up"))?;
    for (way, count) in [
        ("dns", 1000),
        ("sni", 1000),
        ("host", 1000),
        ("tls_host", 100),
        ("connect", 100),
        ("absolute", 100),
    ] {
        let words =
            python(&stand, include_str!("../clients/proofs/names.py"), &[way, &count.to_string()])?;
        let outcome = stand.gate(&[])?.by(&at).run(words)?;
        let met: Value = serde_json::from_str(outcome.stdout.trim())
            .with_context(|| format!("{way}: {outcome:?}"))?;
        let met = met.as_object().context("nothing")?;
        let all: u64 = met.values().filter_map(Value::as_u64).sum();
        let refused = met.keys().all(|kind| {
            ["gaierror", "SSL", "HTTP/1.1 4", "closed", "Connection"]
                .iter()
                .any(|word| kind.starts_with(word))
        });
        ensure!(all == count && refused, "{way}: {met:?}");
        let arrived = site.arrived()?;
        ensure!(arrived.is_empty(), "{way}: {arrived:?}");
    }
    ensure!(stand.log().accepted() == 0, "the provider was called");
    // An allowed name is asked, so the name server would have seen the others.
    let asks = ["curl", "--max-time", "3", "-s", "https://allowed.example/"];
    let run = stand.gate(&["--allow", "allowed.example"])?.by(&at).start(asks)?;
    until(LIMIT, "a question arrives", || {
        Ok(site.arrived()?.iter().any(|frame| is(frame, 17, "53")).then_some(()))
    })?;
    drop(run);
    Ok(())
}

/// Sends the same datagram again and again, and says how often it was refused.
const FLOOD: &str = "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
n = 0
while n < 50000:
    try: s.sendto(b'x', ('203.0.113.1', 443))
    except PermissionError: n += 1
print(n)";

/// Who tries often enough that the kernel's ring is full hides nothing: each attempt counts.
#[test]
fn attempts_that_are_too_many_to_be_told_apart_are_counted() -> Result<()> {
    // Without root nftables refuse, and tell nobody.
    if By::in_this_suite() != By::Root {
        return Ok(());
    }
    let stand = Stand::new()?;
    let outcome = stand.gate(&[])?.run(["python3", "-c", FLOOD])?;
    ensure!(outcome.stdout == "50000\n", "{outcome:?}");
    ensure!(outcome.stderr.contains("50,000 attempts past the gate were refused"), "{outcome:?}");
    ensure!(outcome.stderr.contains("datagram (too many to tell apart)"), "{outcome:?}");
    Ok(())
}
