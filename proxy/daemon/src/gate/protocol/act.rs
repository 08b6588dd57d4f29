//! What operators ask of a gate, and what they are told: the same over the socket and over the control API.

use decide::case::{MicroUsd, Timestamp};
use decide::policy::Mode;
use serde::{Deserialize, Serialize};

use super::{Sealing, Switch};
use crate::attached;
use crate::keys::NewKey;
use crate::money::books::{AccountId, Purse};

/// An act of an operator.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// Let a control group's connections come to this gate.
    Attach {
        /// Which.
        target: attached::Target,
        /// Who asks.
        by: String,
    },
    /// Let them go where they want to.
    Detach {
        /// Which.
        target: attached::Target,
        /// Who asks.
        by: String,
    },
    /// What is attached.
    Attachments,
    /// Set a kill switch.
    Kill(Switch),
    /// Lift a kill switch.
    Unkill(Switch),
    /// Give a run, a key, an agent or a team more.
    RaiseBudget(Raise),
    /// How runs, keys, agents and teams stand against their limits.
    Budgets,
    /// Make a standing key.
    CreateKey(NewKey),
    /// Every standing key.
    ListKeys,
    /// One standing key.
    ShowKey {
        /// Its id or its name.
        which: String,
    },
    /// Take a key back.
    RevokeKey {
        /// Its id, or a standing key's name.
        which: String,
        /// Why.
        reason: String,
        /// Who asks.
        by: String,
    },
    /// Seal a credential.
    AddCredential(NewCredential),
    /// Every credential, without its secret.
    ListCredentials,
    /// Exchange a credential's secret.
    RotateCredential {
        /// Its name.
        name: String,
        /// The new secret.
        secret: Sealing,
        /// Who asks.
        by: String,
    },
    /// Forget a credential.
    RemoveCredential {
        /// Its name.
        name: String,
        /// Even while keys stand for it, which are revoked.
        force: bool,
        /// Who asks.
        by: String,
    },
    /// Make a root that is to succeed the one that signs.
    RotateCa {
        /// When it takes over; `None` waits for [`Act::FinishCa`].
        until: Option<Timestamp>,
        /// Who asks.
        by: String,
    },
    /// Retire the root that signs: its successor is the only one.
    FinishCa {
        /// Who asks.
        by: String,
    },
    /// Who is behind the gate.
    Agents,
}

/// A limit that is to be raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raise {
    /// Whose, and for how long. A key may be named by its id or its name.
    pub purse: Purse,
    /// How far.
    pub amount: Amount,
    /// Who asks.
    pub by: String,
}

/// How far a limit is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// By so much above the limit that holds.
    By(MicroUsd),
    /// To this limit.
    To(MicroUsd),
}

/// A credential that is to be sealed.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewCredential {
    /// Its name.
    pub name: String,
    /// The provider's name (`openai`).
    pub provider: String,
    /// The real key.
    pub secret: Sealing,
    /// The variable that it was found in, where it was adopted.
    pub adopted: Option<String>,
    /// Who asks.
    pub by: String,
}

/// A limit was raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// The ledger's entry.
    pub entry: u64,
    /// What it is held against.
    pub account: AccountId,
    /// The limit before; `None` where no live run says what the contract has.
    pub from: Option<MicroUsd>,
    /// The limit now.
    pub to: MicroUsd,
}

/// How one account stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The account.
    pub account: AccountId,
    /// Spent for good.
    pub spent: MicroUsd,
    /// Set aside for open exchanges.
    pub reserved: MicroUsd,
    /// Perhaps spent.
    pub in_doubt: MicroUsd,
    /// Its limit, where a live run's contract has one.
    pub limit: Option<MicroUsd>,
}

/// A standing key was made.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeyMade {
    /// The key itself, this once.
    pub key: Sealing,
    /// Its id.
    pub id: String,
    /// The ledger's entry.
    pub entry: u64,
}

/// A key was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyTaken {
    /// Its id.
    pub id: String,
    /// The ledger's entry; `None`: in force, not recorded.
    pub entry: Option<u64>,
    /// Exchanges under way that were cut.
    pub cut: u64,
}

/// A credential was sealed, exchanged or forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialSet {
    /// The ledger's entry.
    pub entry: u64,
    /// How often it was sealed; `None` for one that was forgotten.
    pub version: Option<u64>,
    /// Ids of the keys that were revoked with it.
    pub revoked: Vec<String>,
}

/// One agent behind the gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its name.
    pub agent: String,
    /// Its team.
    pub team: Option<String>,
    /// Observe or enforce.
    pub mode: Mode,
    /// When the first of its runs that are live began.
    pub since: Timestamp,
    /// By what the gate knows it: `run`, `key`, `key:NAME`, `certificate:…`, `cgroup:…`, `address:…`.
    pub known_by: Vec<String>,
    /// Its live runs.
    pub runs: Vec<String>,
    /// Its exchanges and connections under way.
    pub live: u64,
    /// What it spent today (UTC).
    pub spent: MicroUsd,
}
