//! Prints the attempts of a container's process, for a pod that something else has made: one line of JSON each, which
//! `techniques` carries out, with the name of its case.
//!
//! attempts --pod V4,V6 --world V4,V6 --link MAC --device NAME

use std::collections::BTreeMap;
use std::io::{BufWriter, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail};
use netns::attempt::{Attempt, Site};
use netns::case::{Form, Stage};
use netns::run::{MARK, destination};
use netns::{catalogue, gate};

/// What needs a stage around it: somebody outside, or processes whose numbers only the harness knows.
const STAGED: [&str; 4] = ["helper", "inbound", "processes", "tamper"];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (pairs, rest) = words.as_chunks::<2>();
    if let [left, ..] = rest {
        bail!("{left} has no value");
    }
    let flags: BTreeMap<&str, &str> =
        pairs.iter().map(|[flag, value]| (flag.as_str(), value.as_str())).collect();
    let of = |flag: &str| flags.get(flag).copied().with_context(|| format!("{flag} is needed"));
    let site = Site {
        pod: both(of("--pod")?)?,
        world: both(of("--world")?)?,
        world_link: link(of("--link")?)?,
        device: of("--device")?.to_owned(),
        mark: MARK,
        gate_uid: gate::UID,
        gate_pid: 0,
        gate_ports: gate::PORTS.into(),
        cgroup: String::new(),
        outside: String::new(),
    };
    let mut out = BufWriter::new(std::io::stdout());
    let cases = catalogue::cases().into_iter().filter(|case| {
        case.stage == Stage::Container
            && case.form != Form::Exec
            && !STAGED.contains(&case.technique)
    });
    for (count, case) in (1..).zip(cases) {
        let (v4, v6, port) = destination(count);
        let attempt = Attempt {
            technique: case.technique.to_owned(),
            words: case.words.iter().map(|word| (*word).to_owned()).collect(),
            v4,
            v6,
            port,
            marker: format!("TG{count:016x}"),
            site: site.clone(),
        };
        let mut line = serde_json::to_value(&attempt)?;
        let fields = line.as_object_mut().context("an attempt is an object")?;
        fields.insert("name".to_owned(), case.name.into());
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

fn both(text: &str) -> Result<(Ipv4Addr, Ipv6Addr)> {
    let (v4, v6) = text.split_once(',').context("an IPv4 and an IPv6 address are needed")?;
    Ok((v4.parse()?, v6.parse()?))
}

fn link(text: &str) -> Result<[u8; 6]> {
    let bytes: Vec<u8> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    bytes.try_into().map_err(|_bytes| anyhow::anyhow!("{text} is no link address"))
}
