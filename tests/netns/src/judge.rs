//! From what was seen to a state: held, not run, or leaked; and whether the harness itself can be believed.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tollgate_init::mode::Mode;

use crate::attempt::{Attempt, Report};
use crate::case::{Case, Control, Needs, Seen, Who, is_lacking};
use crate::sniffer::Frame;

/// What is known of a case after it was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// The technique works without enforcement, and with it nothing left and what was seen is what is promised.
    #[serde(rename = "held")]
    Held,
    /// The technique does not work here even without enforcement, so that nothing was shown.
    #[serde(rename = "not run")]
    NotRun,
    /// It succeeds in this mode, which is declared, but nothing leaves by it.
    #[serde(rename = "weaker")]
    Weaker,
    /// Something leaves by it in this mode, which is declared: somebody else has to close it.
    #[serde(rename = "open")]
    Open,
    /// Something left, or something else was seen than is promised.
    #[serde(rename = "LEAKED")]
    Leaked,
}

impl State {
    /// The word of the table.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::NotRun => "not run",
            Self::Weaker => "weaker",
            Self::Open => "open",
            Self::Leaked => "LEAKED",
        }
    }
}

/// All that was seen of one attempt.
#[derive(Debug, Clone)]
pub struct Sight {
    /// The attempt.
    pub attempt: Attempt,
    /// What its program said.
    pub report: Report,
    /// The frames that arrived meanwhile.
    pub frames: Vec<Frame>,
    /// The destinations of connections that the gate took meanwhile; none where it did not know.
    pub wanted: Vec<Option<SocketAddr>>,
}

impl Sight {
    fn arrived(&self) -> bool {
        self.frames.iter().any(|frame| frame.is_of(&self.attempt))
    }

    fn left(&self) -> Vec<String> {
        self.frames.iter().map(|frame| format!("a frame left: {}", frame.told())).collect()
    }
}

/// Whether the technique was seen to work.
#[must_use]
pub fn works(case: &Case, control: &Sight) -> bool {
    match case.control {
        Control::Arrives => control.arrived(),
        Control::Succeeds => control.report.error.is_none(),
    }
}

/// Why a control that did not work is no defect of the harness, or that it is one.
///
/// # Errors
/// When no reason was declared.
pub fn excused(case: &Case, control: &Sight) -> Result<String, String> {
    let said = control.report.said();
    if case.optional && is_lacking(&control.report) {
        return Ok(format!("this kernel lacks it: {said}"));
    }
    Err(format!("without enforcement it did not work: {said}, {:?}", control.left()))
}

/// Whether it is the kernel that refuses it to who lacks a capability, whatever else stands in the way.
#[must_use]
pub fn denied(case: &Case, who: Who, sight: &Sight) -> bool {
    let lacks = who == Who::Agent && !matches!(case.needs, Needs::Nothing);
    lacks && sight.report.error.as_deref().is_some_and(is_denial)
}

/// What is wrong with what was seen in this mode; nothing where it held.
#[must_use]
pub fn faults(case: &Case, who: Who, mode: Mode, sight: &Sight) -> Vec<String> {
    let mut faults = sight.left();
    let (report, said) = (&sight.report, sight.report.said());
    let seen = case.seen_by(who, mode);
    match seen {
        _ if denied(case, who, sight) => {}
        Seen::Gate => {
            let wanted = case.wanted(&sight.attempt);
            if report.answer.as_deref() != Some("gate") {
                faults.push(format!("the gate did not answer: {said}"));
            }
            if sight.wanted != [Some(wanted)] {
                faults.push(format!("the gate was told {:?} instead of {wanted}", sight.wanted));
            }
        }
        Seen::Responder if report.answer.as_deref() == Some("responder") => {}
        Seen::Responder => faults.push(format!("the responder did not answer: {said}")),
        Seen::Error(errors) => {
            let right = report.error.as_deref().is_some_and(|error| errors.contains(&error));
            if !right {
                faults.push(format!("{said} instead of {}", errors.join(" or ")));
            }
        }
        Seen::NoAnswer if report.answer.is_none() => {}
        Seen::NoAnswer => faults.push(format!("something answered: {said}")),
    }
    if !matches!(seen, Seen::Gate) && !sight.wanted.is_empty() {
        faults.push(format!("the gate took a connection to {:?}", sight.wanted));
    }
    faults
}

/// The same under `tollgate exec`, whose own gate reads, refuses and records what is led to it: whatever the program
/// is told, it hears nothing of the world, no program outside works for it, and what it may not do fails.
#[must_use]
pub fn faults_under_exec(case: &Case, sight: &Sight) -> Vec<String> {
    let mut faults = sight.left();
    let (report, said) = (&sight.report, sight.report.said());
    if matches!(report.answer.as_deref(), Some("world" | "sent")) {
        faults.push(format!("somebody outside answered: {said}"));
    }
    if matches!(case.agent, Seen::Error(_)) && report.error.is_none() {
        faults.push(format!("it was not refused: {said}"));
    }
    faults
}

/// Whether an error says that a privilege is missing.
fn is_denial(error: &str) -> bool {
    ["EPERM", "EACCES"].contains(&error)
}
