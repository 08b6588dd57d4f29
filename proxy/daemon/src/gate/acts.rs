//! What operators do to a gate: each act is in the ledger before it is acknowledged, whoever carries it here.

mod agents;
mod attachments;
mod budgets;
mod credentials;
mod keys;
pub(super) mod roots;
mod switches;

use std::sync::{Arc, PoisonError};

use super::Gate;
use super::protocol::{Act, Answer};
use crate::attached::AttachError;
use crate::journal::Unrecorded;
use crate::keys::CreateError;
use crate::listen::mint::MintError;
use crate::money::books::AccountId;
use crate::run::Run;
use crate::vault::VaultError;
use decide::case::MicroUsd;

/// Acts that look before they do take turns: two that are asked at once are one after the other. A kill
/// waits for nobody.
#[derive(Debug, Default)]
pub struct Turn(tokio::sync::Mutex<()>);

/// Why an act was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActError {
    /// The ledger did not take it.
    #[error("nothing was changed: {0}")]
    Unrecorded(#[from] Unrecorded),
    /// No such switch.
    #[error("no kill switch is set for {0}")]
    NotSet(String),
    /// The switch could not be lifted.
    #[error("the switch stays set: {0}")]
    StaysSet(Unrecorded),
    /// No such run.
    #[error("no run {0} is live at this gate")]
    NoRun(String),
    /// No live run says what the contract has.
    #[error(
        "no live run says what the limit of {0} is, so nothing can be added to it: name the new limit with --to AMOUNT"
    )]
    LimitUnknown(AccountId),
    /// Nothing to raise.
    #[error("{0} has no limit, so none can be raised")]
    NoLimit(AccountId),
    /// A raise never lowers.
    #[error("{account} may spend {limit} already: a raise goes above that")]
    NotAbove {
        /// What it is held against.
        account: AccountId,
        /// The limit that holds.
        limit: MicroUsd,
    },
    /// No such key.
    #[error("no key is called {0}, by its id or its name")]
    NoKey(String),
    /// The key cannot be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// No such credential to make a key for.
    #[error(
        "the vault holds no credential {0}: `tollgate credential add {0} --provider openai|anthropic`, or `tollgate credential list`"
    )]
    NoCredential(String),
    /// The credential came with a run, and goes with the next.
    #[error(
        "the credential {0} was brought by a run, and the next run may bring another: `tollgate credential adopt {0}` keeps it"
    )]
    NotKept(String),
    /// A live run brought another one.
    #[error("a live run brought another key as {0}: wait for its end, or choose another name")]
    OfALiveRun(String),
    /// No such provider.
    #[error("no provider is called {0}; known: {1}")]
    NoProvider(String, String),
    /// Keys stand for the credential.
    #[error(
        "{keys} for the credential {name}: revoke them first, or `tollgate credential remove {name} --force`, which revokes them"
    )]
    InUse {
        /// The credential.
        name: String,
        /// How many keys of which kind stand for it.
        keys: String,
    },
    /// The vault cannot do it.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The control group cannot be attached or let go.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Nothing is attached to a gate of `exec`.
    #[error("this gate is not a service: tollgate serve --config FILE")]
    NoService,
    /// Two roots at a time are enough.
    #[error("a rotation of the CA is under way: `tollgate ca rotate --finish` ends it")]
    RotationUnderWay,
    /// There is nothing to finish.
    #[error("no rotation of the CA is under way: `tollgate ca rotate` begins one")]
    NoRotation,
    /// The overlap would have ended before it begins.
    #[error("the overlap would have ended before it begins")]
    OverlapIsOver,
    /// The new root cannot be made.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The vault cannot keep the roots.
    #[error("the CA stays as it is: {0}")]
    Roots(String),
    /// The system has no random numbers.
    #[error("no random numbers from the system: {0}")]
    Random(#[source] std::io::Error),
}

impl From<ActError> for Answer {
    fn from(error: ActError) -> Self {
        Self::Failed { what: error.to_string() }
    }
}

/// Does what an operator asks.
pub async fn act(gate: &Arc<Gate>, act: Act) -> Answer {
    let done = match act {
        Act::Kill(switch) => Ok(switches::kill(gate, switch).await),
        Act::Unkill(switch) => switches::unkill(gate, switch).await,
        Act::RaiseBudget(raise) => budgets::raise(gate, raise).await,
        Act::Attach { target, by } => attachments::attach(gate, target, by).await,
        Act::Detach { target, by } => attachments::detach(gate, target, by).await,
        Act::Attachments => attachments::list(gate),
        Act::Budgets => Ok(budgets::list(gate)),
        Act::CreateKey(asked) => keys::create(gate, asked).await,
        Act::ListKeys => Ok(Answer::Keys { keys: gate.keys.list(gate.clock.now()) }),
        Act::ShowKey { which } => keys::show(gate, which),
        Act::RevokeKey { which, reason, by } => keys::revoke(gate, which, reason, by).await,
        Act::AddCredential(asked) => credentials::add(gate, asked).await,
        Act::ListCredentials => Ok(Answer::Credentials { credentials: gate.vault.credentials() }),
        Act::RotateCredential { name, secret, by } => {
            credentials::rotate(gate, name, &secret, by).await
        }
        Act::RemoveCredential { name, force, by } => {
            credentials::remove(gate, name, force, by).await
        }
        Act::RotateCa { until, by } => roots::begin(gate, until, by).await,
        Act::FinishCa { by } => roots::finish(gate, by).await,
        Act::Agents => Ok(agents::list(gate)),
    };
    done.unwrap_or_else(Answer::from)
}

/// The runs that are live.
fn live(gate: &Gate) -> Vec<Arc<Run>> {
    gate.runs.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
}
