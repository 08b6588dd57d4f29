//! The gate's process: what it holds, how it starts and ends, and what it is asked over its socket.

pub mod acts;
pub mod client;
pub(crate) mod life;
mod master_key;
pub(crate) mod open;
mod ports;
mod proof;
pub mod protocol;
mod registry;
mod roots;
pub(crate) mod serve;
pub mod socket;
pub mod start;
mod views;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::exchange::body::ByteBudget;
use crate::heavy::Heavy;
use crate::journal::Journal;
use crate::keys::Keys;
use crate::kills::Kills;
use crate::listen::mint::Leaves;
use crate::metrics::Metrics;
use crate::money::{Books, Catalog};
use crate::rates::Rates;
use crate::run::Run;
use crate::service;
use crate::telemetry::Spans;
use crate::vault::Vault;

pub use life::run;
pub use open::StartError;
pub use views::Views;

/// Bytes of request bodies that the gate holds at once, all runs together.
const BODIES: u64 = 512 << 20;
/// And of one run, so that it leaves room for the others.
pub(crate) const RUN_BODIES: u64 = BODIES / 2;

/// What every exchange of this process shares.
#[derive(Debug)]
pub struct Gate {
    /// The time.
    pub clock: Clock,
    /// The pen of the ledger.
    pub journal: Journal,
    /// Virtual keys.
    pub keys: Keys,
    /// Money.
    pub books: Books,
    /// Prices.
    pub catalog: &'static Catalog,
    /// Kill switches and live exchanges.
    pub kills: Arc<Kills>,
    /// Rate windows.
    pub rates: Rates,
    /// Sealed credentials.
    pub vault: Vault,
    /// Certificates for the names that agents ask for.
    pub leaves: Leaves,
    /// Room for request bodies.
    pub bodies: ByteBudget,
    /// Where large ones are read.
    pub(crate) heavy: Heavy,
    /// What is counted.
    pub metrics: Metrics,
    /// Live runs, by id.
    pub runs: Mutex<BTreeMap<String, Arc<Run>>>,
    /// The turns of operators.
    pub turn: acts::Turn,
    /// Set when the gate is about to end: connections take no more requests.
    pub stopping: CancellationToken,
    /// Where exchanges get their spans, in a `tollgate serve`.
    pub(crate) spans: OnceLock<Spans>,
    /// The service that this gate is part of, in a `tollgate serve`.
    pub(crate) service: OnceLock<Arc<service::Handle>>,
}

impl Gate {
    /// Enters a run among the live ones.
    pub(crate) fn enter(&self, run: Arc<Run>) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.insert(run.id.clone(), run);
    }
}
