//! Measures what the kernel programs of a pod cost: a connect that they redirect, and packets that they judge.
//!
//! Run by `cargo xtask bench`. Everything happens in a network namespace of its own, with one pair of interfaces and
//! one cgroup that is governed beside one that is not; both do the same by turns, so that drift hits both alike.

use std::{
    env,
    io::{Write as _, stdout},
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail};

mod pair;
mod stage;
mod worker;

use pair::{Measure, Pairs};
use stage::Stage;

/// How often each pair is measured, and for how long or over how many connects each time.
struct Effort {
    rounds: usize,
    connects: u64,
    milliseconds: u64,
}

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let effort = match arguments.next().as_deref() {
        Some("worker") => return worker::work(),
        None => Effort { rounds: 31, connects: 1_000, milliseconds: 100 },
        Some("--quick") => Effort { rounds: 5, connects: 200, milliseconds: 20 },
        Some(other) => bail!("{other}: only --quick is known"),
    };
    let stage = Stage::set(PathBuf::from("/sys/fs/bpf/tollgate-bench").as_path())
        .context("setting the stage: root is needed")?;
    let Effort { rounds, connects, milliseconds } = effort;
    let (free, agent, gate) = (&stage.free, &stage.agent, &stage.gate);
    let connect = Measure::Lower("connect over TCP, socket and all (µs)");
    let intake = format!("connect {} {connects}", stage::INTAKE);
    let redirected = format!("connect {} {connects}", stage::FAR_TCP);
    let mut lines = Vec::new();
    let pairs = Pairs::measure(rounds, (free, &intake), (agent, &redirected))?;
    lines.push(pairs.line(connect, |with, without| {
        let added = with - without;
        (format!("{added:+.2} µs"), added <= 10.0)
    }));
    let (near, far) = (stage::LOOPBACK, stage::FAR_TCP);
    for (name, kind, to, with) in [
        ("TCP by 32 KiB, loopback", "stream", near, agent),
        ("TCP by 32 KiB, the gate's, interface", "stream", far, gate),
        ("TCP by 1,400 bytes, loopback", "segments", near, agent),
        ("TCP by 1,400 bytes, the gate's, interface", "segments", far, gate),
        ("… with an empty program in the place of ours", "segments", far, &stage.empty),
        ("UDP by 64 bytes, loopback", "udp", near, agent),
        ("… with an empty program in the place of ours", "udp", near, &stage.empty),
    ] {
        let command = format!("{kind} {to} {milliseconds}");
        let pairs = Pairs::measure(rounds, (free, &command), (with, &command))?;
        lines.push(pairs.line(Measure::Higher(name), |with, without| {
            let lost = (1.0 - with / without) * 100.0;
            (format!("{:+.2} %", -lost), lost <= 2.0)
        }));
    }
    let mut out = stdout().lock();
    writeln!(
        out,
        "Medians of {rounds} pairs; in brackets the quartiles. What is sent and read, per second of the processor: what \
         else ran on the machine does not count.\n"
    )?;
    writeln!(out, "| what | without | with the programs | difference | bar |")?;
    writeln!(out, "|---|---|---|---|---|")?;
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}
