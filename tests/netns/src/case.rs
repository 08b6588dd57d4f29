//! What a case is: a technique, by whom and in which form it is tried, what shows that it works, and what is promised.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use tollgate_init::mode::Mode;

use crate::attempt::{Attempt, METADATA, Report};

/// Which form of enforcement a case is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A pod with programs, floor and gate.
    Pod,
    /// A command under `tollgate exec`.
    Exec,
    /// Both.
    Both,
}

/// Who tries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// User 1000, no capabilities, no new privileges.
    Agent,
    /// Root in its container, with the capabilities that runc leaves by default.
    Root,
}

/// What the attacker needs before the technique does anything at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// A capability that root in a container has by default and the agent has not: the control of both is root's.
    Capability(&'static str),
    /// What no container has: the control is made with all privileges, so that it is known to work.
    Everything(&'static str),
}

/// How a case is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// By a process of the agent's container.
    Container,
    /// By one in a cgroup that the container made in its own.
    Nested,
    /// By one in another container of the same pod, started after the installation.
    Another,
    /// By one in the pod's network that belongs to no cgroup of the pod's.
    Outside,
    /// On a socket that was made outside the pod's cgroups and passed in.
    Passed,
    /// On a socket that was connected outside the pod's cgroups and passed in.
    PassedConnected,
    /// On a socket that was connected outside the pod's cgroups and inherited.
    Inherited,
    /// On a socket that its process made before it was moved into the pod.
    MovedIn,
    /// On a connection that was there before the rules.
    Older,
    /// Somebody in the world connects to the technique, which answers with the marker.
    Inbound,
    /// While the gate does not run.
    WithoutGate,
    /// After the gate was started anew.
    AfterRestart,
}

/// What shows, with enforcement off, that the technique works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// A frame of it arrives in the world.
    Arrives,
    /// It says that it succeeded: what it does is no frame.
    Succeeds,
}

/// What the attempt may see with enforcement on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The gate's greeting; the gate knows the destination that was wanted.
    Gate,
    /// An answer of the responder, in the name of who was asked.
    Responder,
    /// One of these errors.
    Error(Vec<&'static str>),
    /// It may believe that it succeeded, but nothing comes back.
    NoAnswer,
}

/// What is declared not to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// In these modes.
    pub modes: &'static [Mode],
    /// What that comes to, and who closes it instead.
    pub why: &'static str,
}

/// One case of the catalogue.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name, by which results are found again.
    pub name: &'static str,
    /// The part of the table it stands in.
    pub group: &'static str,
    /// What is tried, in words.
    pub says: &'static str,
    /// The program, as `techniques` knows it.
    pub technique: &'static str,
    /// What the program is to do in particular.
    pub words: Vec<&'static str>,
    /// The forms it is about.
    pub form: Form,
    /// How it is carried out.
    pub stage: Stage,
    /// What it needs.
    pub needs: Needs,
    /// What shows that it works.
    pub control: Control,
    /// What the agent may see.
    pub agent: Seen,
    /// What root may see.
    pub root: Seen,
    /// What both may see in the modes without programs, where it is something else: there no call is refused, only what
    /// it sends.
    pub without_programs: Option<Seen>,
    /// In which modes it succeeds all the same.
    pub left: Option<Left>,
    /// What root has to be for it, where it is not both who try.
    pub who: &'static [Who],
    /// What stands in the way.
    pub closed_by: &'static str,
    /// Whether the kernel may have been built without it.
    pub optional: bool,
    /// Whether the control is made while no gate runs, whose ports would be in use.
    pub alone: bool,
}

impl Case {
    /// A case of an internet socket: `words` say which. Until told otherwise both who may try it do, in both forms,
    /// and are refused with EPERM.
    #[must_use]
    pub fn inet(name: &'static str, says: &'static str, words: &'static str) -> Self {
        Self::of("inet", name, says, words)
    }

    /// A case of another program.
    #[must_use]
    pub fn of(
        technique: &'static str,
        name: &'static str,
        says: &'static str,
        words: &'static str,
    ) -> Self {
        Self {
            name,
            group: "",
            says,
            technique,
            words: words.split_whitespace().collect(),
            form: Form::Both,
            stage: Stage::Container,
            needs: Needs::Nothing,
            control: Control::Arrives,
            agent: Seen::Error(vec!["EPERM"]),
            root: Seen::Error(vec!["EPERM"]),
            without_programs: None,
            left: None,
            who: &[Who::Agent, Who::Root],
            closed_by: "",
            optional: false,
            alone: false,
        }
    }

    /// It is carried out by this program.
    #[must_use]
    pub fn by_program(mut self, technique: &'static str) -> Self {
        self.technique = technique;
        self
    }

    /// It reaches the gate.
    #[must_use]
    pub fn to_gate(self) -> Self {
        self.sees(Seen::Gate).closed("connect4, connect6")
    }

    /// What both see.
    #[must_use]
    pub fn sees(mut self, seen: Seen) -> Self {
        self.agent = seen.clone();
        self.root = seen;
        self
    }

    /// With which errors both are refused.
    #[must_use]
    pub fn refused(self, errors: &[&'static str]) -> Self {
        self.sees(Seen::Error(errors.to_vec()))
    }

    /// What root sees, where it is something else.
    #[must_use]
    pub fn root_sees(mut self, seen: Seen) -> Self {
        self.root = seen;
        self
    }

    /// What both see in the modes without programs.
    #[must_use]
    pub fn without_programs(mut self, seen: Seen) -> Self {
        self.without_programs = Some(seen);
        self
    }

    /// The modes in which it succeeds, and what that comes to.
    #[must_use]
    pub fn left_in(mut self, modes: &'static [Mode], why: &'static str) -> Self {
        self.left = Some(Left { modes, why });
        self
    }

    /// What stands in the way.
    #[must_use]
    pub fn closed(mut self, by: &'static str) -> Self {
        self.closed_by = by;
        self
    }

    /// What it needs.
    #[must_use]
    pub fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    /// How it is carried out.
    #[must_use]
    pub fn staged(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self
    }

    /// It is about this form only.
    #[must_use]
    pub fn only(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    /// Only this one tries it.
    #[must_use]
    pub fn by(mut self, who: &'static [Who]) -> Self {
        self.who = who;
        self
    }

    /// What it does is no frame: it says itself whether it succeeded.
    #[must_use]
    pub fn tells(mut self) -> Self {
        self.control = Control::Succeeds;
        self
    }

    /// The kernel may have been built without it.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Its control is made while no gate runs.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// What this one may see in this mode.
    #[must_use]
    pub fn seen_by(&self, who: Who, mode: Mode) -> &Seen {
        match (mode, &self.without_programs, who) {
            (Mode::NftCgroup | Mode::NftUser, Some(seen), _) => seen,
            (Mode::Kernel | Mode::NftCgroup | Mode::NftUser, _, Who::Agent) => &self.agent,
            (Mode::Kernel | Mode::NftCgroup | Mode::NftUser, _, Who::Root) => &self.root,
        }
    }

    /// Why it is not closed in this mode, where that is declared.
    #[must_use]
    pub fn left_open(&self, mode: Mode) -> Option<&'static str> {
        self.left.filter(|left| left.modes.contains(&mode)).map(|left| left.why)
    }

    /// Where the attempt wanted to go, as the gate is to know it.
    #[must_use]
    pub fn wanted(&self, attempt: &Attempt) -> SocketAddr {
        let v6 = attempt.says("v6");
        let mut to = attempt.to(v6);
        if attempt.says("to-metadata") {
            to.set_ip(if v6 { IpAddr::V6(METADATA.1) } else { IpAddr::V4(METADATA.0) });
        }
        if attempt.says("to-neighbour") {
            let (v4, link_local) = (attempt.site.world.0, attempt.site.neighbour());
            to.set_ip(if v6 { IpAddr::V6(link_local) } else { IpAddr::V4(v4) });
        }
        to
    }
}

/// The errors by which a kernel says that it was built without something.
const LACKING: [&str; 8] = [
    "EPROTONOSUPPORT",
    "ESOCKTNOSUPPORT",
    "EAFNOSUPPORT",
    "EPROTOTYPE",
    "ENOSYS",
    "ENOPROTOOPT",
    "ENODEV",
    "EOPNOTSUPP",
];

/// Whether a report of a control says that the kernel lacks the technique.
#[must_use]
pub fn is_lacking(report: &Report) -> bool {
    report.error.as_deref().is_some_and(|error| LACKING.contains(&error))
}
