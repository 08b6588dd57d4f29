//! What a front and the command line say to a running gate, over its Unix socket.
//!
//! One frame is a length (u32, big endian) and that many bytes of JSON. A `Register` frame is
//! followed by the run's descriptors. Secrets travel in it once, between two processes of one user,
//! after both have proved that they hold the state's key.

mod act;

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

use decide::Policy;
use decide::case::MicroUsd;
use launch::Form;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::attached;
use crate::keys::KeyRow;
use crate::kills;
use crate::listen::mint::Root;
use crate::record::{Changed, SharedPort, Widened};
use crate::service::Role;
use crate::vault::Listed;

pub use act::{
    Act, Agent, Amount, Budget, CredentialSet, KeyMade, KeyTaken, NewCredential, Raise, Raised,
};

/// The most bytes of one frame: a policy and an environment fit many times over.
const MAX_FRAME: usize = 16 << 20;

/// A secret on its way to the vault. Zeroized when dropped, never printed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealing(pub String);

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealing(…)")
    }
}

impl Drop for Sealing {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// What is asked of a gate.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// A run begins. Its descriptors follow: see [`Register`].
    Register(Box<Register>),
    /// The run's command has ended.
    Finish {
        /// The command's exit code.
        exit: i32,
        /// What it left behind that others execute.
        #[serde(default)]
        changed: Option<Changed>,
    },
    /// An operator does something.
    Act(Box<Act>),
    /// Which runs are live, and how they stand.
    Status,
    /// What the gate counts.
    Metrics,
    /// The certificates of the deployment's CA.
    Authority,
    /// The listeners of a service, for the process that takes over. Its descriptors follow the answer.
    HandOver,
}

/// A kill switch, as an operator names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// Whom it stops.
    pub target: Target,
    /// Why.
    pub reason: String,
    /// Who asks.
    pub by: String,
    /// Only say what it would cut.
    pub dry_run: bool,
}

/// Whom a kill switch stops.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// One agent, by name.
    Agent(String),
    /// Every agent of one team, by name.
    Team(String),
    /// One virtual key, by id.
    Key(String),
    /// Everyone.
    All,
}

impl From<Target> for kills::Target {
    fn from(target: Target) -> Self {
        match target {
            Target::Agent(name) => Self::Agent(name),
            Target::Team(name) => Self::Team(name),
            Target::Key(id) => Self::Key(id),
            Target::All => Self::Global,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(name) => write!(f, "agent {name}"),
            Self::Team(name) => write!(f, "team {name}"),
            Self::Key(id) => write!(f, "key {id}"),
            Self::All => f.write_str("every agent"),
        }
    }
}

/// A run that begins.
///
/// Descriptors that follow, in one message of one byte: the listeners inside, the run's cgroup folder where
/// its form has one, and the standard error that notices are written to.
#[derive(Debug, Serialize, Deserialize)]
pub struct Register {
    /// Name of the agent.
    pub agent: String,
    /// The command's file name, for the records.
    pub command: String,
    /// How the run is cut off, and so who knows where its connections wanted to go.
    pub form: Form,
    /// The compiled contract.
    pub policy: Policy,
    /// Real keys of the environment, to be sealed.
    pub keys: Vec<RealKey>,
    /// Account values of the environment that the gate sets, by header.
    pub accounts: Vec<(String, String)>,
    /// `--upstream-ca`, PEM.
    pub upstream_ca: Vec<String>,
    /// The user's words that widen what the run may do, for the record.
    pub widened: Widened,
    /// Who runs it.
    pub by: String,
}

/// A real key of the environment.
#[derive(Debug, Serialize, Deserialize)]
pub struct RealKey {
    /// The credential that it is, by name.
    pub credential: String,
    /// The variables that hold it, all of which get the virtual key.
    pub variables: Vec<String>,
    /// The key.
    pub secret: Sealing,
}

/// What goes inside a run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Prepared {
    /// The run's id.
    pub run: String,
    /// Variables to set: the virtual keys.
    pub env: Vec<(String, Sealing)>,
    /// Certificates of the deployment's CA, PEM: two while it is rotated.
    pub ca_pem: String,
}

/// How a run went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The run.
    pub run: String,
    /// The agent.
    pub agent: String,
    /// Priced requests that were forwarded.
    pub requests: u64,
    /// Models that answered.
    pub models: Vec<String>,
    /// Tokens, all kinds.
    pub tokens: u64,
    /// What was spent, by the provider's own numbers.
    pub spent: MicroUsd,
    /// What may have been spent: requests whose usage never arrived.
    pub in_doubt: MicroUsd,
    /// The run's limit.
    pub limit: Option<MicroUsd>,
    /// Date of the price catalog.
    pub prices_of: String,
    /// How many exchanges were refused or cut.
    pub refused: u64,
    /// The first refusals: what, and the decision's id.
    pub refusals: Vec<(String, String)>,
    /// What observe let pass: what, and how often.
    pub observed: Vec<(String, u64)>,
    /// What went over the ports that it shared.
    #[serde(default)]
    pub ports: Vec<SharedPort>,
    /// Hosts at which the command did not take the gate's certificate, and how often.
    #[serde(default)]
    pub distrusted: Vec<(String, u64)>,
    /// The ledger's entries from the run's beginning to its end, to be read back; `None` where the end
    /// could not be recorded.
    pub entries: Option<(u64, u64)>,
}

/// What a gate answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The run may start.
    Ready(Box<Prepared>),
    /// The run is over and settled.
    Finished(Box<Summary>),
    /// A switch is set.
    Killed(Killed),
    /// A switch is lifted.
    Unkilled {
        /// The ledger's entry.
        entry: u64,
    },
    /// The limit is set.
    Raised(Raised),
    /// How runs, keys, agents and teams stand.
    Budgets {
        /// One an account.
        budgets: Vec<Budget>,
    },
    /// A standing key was made.
    KeyMade(Box<KeyMade>),
    /// Every standing key.
    Keys {
        /// By name.
        keys: Vec<KeyRow>,
    },
    /// One standing key.
    Key(Box<KeyRow>),
    /// A key was taken back.
    KeyTaken(KeyTaken),
    /// Every credential.
    Credentials {
        /// By name.
        credentials: Vec<Listed>,
    },
    /// A credential was sealed, exchanged or forgotten.
    CredentialSet(CredentialSet),
    /// Who is behind the gate.
    Agents {
        /// By name.
        agents: Vec<Agent>,
    },
    /// How the gate stands.
    Status {
        /// Live runs.
        runs: Vec<Summary>,
        /// Process id of the gate.
        pid: u32,
    },
    /// What the gate counts, as Prometheus reads it.
    Metrics {
        /// The text.
        text: String,
    },
    /// It is attached.
    Attached {
        /// What.
        attachment: attached::Attachment,
        /// The ledger's entry.
        entry: u64,
    },
    /// It is no longer attached.
    Detached {
        /// What.
        attachment: attached::Attachment,
        /// The ledger's entry.
        entry: u64,
    },
    /// What is attached.
    Attachments {
        /// Each, and how it stands.
        attachments: Vec<attached::Listed>,
    },
    /// The roots of the deployment, all of which are to be trusted.
    Authority {
        /// The one that signs first.
        roots: Vec<Root>,
    },
    /// The roots are others now.
    CaRotated {
        /// All of them, the one that signs first.
        roots: Vec<Root>,
        /// The ledger's entry.
        entry: u64,
    },
    /// The listeners follow as descriptors, in this order, in one message of one byte.
    HandedOver {
        /// What each is for, and where it listens.
        sockets: Vec<(Role, SocketAddr)>,
    },
    /// It could not be done.
    Failed {
        /// What, why, and what to do.
        what: String,
    },
}

/// What a kill did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killed {
    /// The ledger's entry; `None`: in force, not recorded.
    pub entry: Option<u64>,
    /// Live exchanges that it covered.
    pub cut: u64,
    /// Of those, the ones that did not report their end in time and were reset.
    pub reset: u64,
    /// Microseconds from the request to the end of the last covered exchange.
    pub took_us: u64,
}

/// Writes one frame.
///
/// # Errors
///
/// The peer is gone, or the frame is too large.
pub fn write_frame(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut json = serde_json::to_vec(message).map_err(io::Error::other)?;
    let sent = match u32::try_from(json.len()) {
        Ok(length) if json.len() <= MAX_FRAME => {
            let mut frame = Vec::with_capacity(json.len() + 4);
            frame.extend_from_slice(&length.to_be_bytes());
            frame.extend_from_slice(&json);
            let sent = to.write_all(&frame);
            frame.zeroize();
            sent
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "frame too large")),
    };
    json.zeroize();
    sent
}

/// Reads one frame; `None` at the end of the connection.
///
/// # Errors
///
/// The connection broke inside a frame, or the frame is not what was expected.
pub fn read_frame<T: for<'de> Deserialize<'de>>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    let got = from.read(&mut length)?;
    if got == 0 {
        return Ok(None);
    }
    let rest = length.get_mut(got..).unwrap_or_default();
    from.read_exact(rest)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too large"));
    }
    let mut json = vec![0; length];
    from.read_exact(&mut json)?;
    let message = serde_json::from_slice(&json).map_err(io::Error::other);
    json.zeroize();
    message.map(Some)
}
