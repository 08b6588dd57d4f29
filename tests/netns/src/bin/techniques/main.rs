//! The programs of the catalogue: reads attempts, carries each out in a process of its own, says what it saw.

use std::io::{BufRead as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use netns::attempt::{Attempt, Met, Report, Stop};
use netns::run::FENCE;
use netns::sys;

mod fence;
mod helper;
mod inbound;
mod inet;
mod link;
mod loopback;
mod memory;
mod ports;
mod processes;
mod tamper;
mod uring;

/// A technique as a program: what it is called and what it does.
type Technique = (&'static str, fn(&Attempt) -> Met);

/// Longer than any technique waits by itself.
const PATIENCE: i32 = 4000;

const TECHNIQUES: &[Technique] = &[
    ("inet", inet::run),
    (FENCE, fence::run),
    ("helper", helper::run),
    ("inbound", inbound::run),
    ("family", link::family),
    ("group", inet::join),
    ("loopback", loopback::run),
    ("old-packet", link::old_packet),
    ("packet", link::packet),
    ("ports", ports::run),
    ("processes", processes::run),
    ("tamper", tamper::run),
    ("uring", uring::run),
    ("vsock", link::vsock),
    ("xdp", link::xdp),
];

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "techniques: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// One line asked, one line answered, until there are no more.
fn serve() -> std::io::Result<()> {
    let mut asked = String::new();
    let mut held: Option<OwnedFd> = None;
    let mut input = std::io::stdin().lock();
    while input.read_line(&mut asked)? > 0 {
        let attempt: Attempt = serde_json::from_str(&asked)?;
        if attempt.technique == "hold" {
            // Here, so that it outlives the attempt.
            let met = inet::open_and_greet(&attempt);
            say(&met.map(|socket| held = Some(socket)).map(|()| None).into())?;
            asked.clear();
            continue;
        }
        match sys::fork()? {
            None => {
                say(&carry_out(&attempt, &mut held))?;
                // Nothing of the parent's is to be run or written by the child.
                std::process::exit(0);
            }
            Some(child) => {
                if attempt.says("closing") {
                    // Who closes it is the last who has it.
                    held = None;
                }
                if !sys::wait_for(child, PATIENCE)? {
                    let late = Some("no end".to_owned());
                    say(&Report { step: attempt.technique, error: late, answer: None })?;
                }
            }
        }
        asked.clear();
    }
    Ok(())
}

fn say(report: &Report) -> std::io::Result<()> {
    let line = serde_json::to_string(report)? + "\n";
    std::io::stdout().write_all(line.as_bytes())
}

fn carry_out(attempt: &Attempt, held: &mut Option<OwnedFd>) -> Report {
    if attempt.says("closing") && held.is_some() {
        return held.take().map_or_else(|| unknown(attempt), |it| inet::leave(attempt, it)).into();
    }
    if attempt.says("held") {
        let on = |socket: &OwnedFd| inet::on(attempt, socket);
        return held.as_ref().map_or_else(|| unknown(attempt), on).into();
    }
    let known = TECHNIQUES.iter().find(|(name, _)| *name == attempt.technique);
    known.map_or_else(|| unknown(attempt).into(), |(_, run)| run(attempt).into())
}

fn unknown(attempt: &Attempt) -> Met {
    let error = std::io::Error::other(format!("no technique {:?}", attempt.technique));
    Err(Stop { step: "begin".to_owned(), error })
}
