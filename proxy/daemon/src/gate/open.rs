//! Opens a gate's state: ledger, views, vault and CA, and what was left open by a crash.

use std::sync::{Arc, Mutex, OnceLock};

use audit::{Kind, Ledger, OpenError, Opened, Options, Who};
use tokio_util::sync::CancellationToken;

use super::views::{Shared, Views};
use super::{BODIES, Gate, roots};
use crate::clock::Clock;
use crate::exchange::body::ByteBudget;
use crate::folder::StateFolder;
use crate::gate::socket::{StateKey, load_or_make_master_key};
use crate::heavy::Heavy;
use crate::journal::Journal;
use crate::keys::Keys;
use crate::kills::Kills;
use crate::listen::mint::{Leaves, MintError};
use crate::metrics::Metrics;
use crate::money::{Books, Catalog};
use crate::rates::Rates;
use crate::record::Outcome;
use crate::vault::{MasterKey, Vault, VaultError};

/// The most worker threads that carry traffic.
const WORKERS: usize = 8;

/// Why a gate cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another gate holds this state folder.
    #[error("another gate holds this state folder")]
    Busy,
    /// The ledger cannot be opened.
    #[error("the ledger cannot be opened: {0}")]
    Ledger(#[source] OpenError),
    /// The ledger has less than it acknowledged.
    #[error(
        "the ledger falls short of what it acknowledged ({0}); restore the state folder from its backup. Everything is refused until then"
    )]
    Behind(String),
    /// An entry cannot be understood.
    #[error(
        "entry {0} of the ledger cannot be understood: it was written by a newer tollgate; use that one"
    )]
    Unread(u64),
    /// The state's key or the socket's folder cannot be used.
    #[error("{0}")]
    Key(String),
    /// The vault cannot be opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The CA cannot be used.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The price catalog in this program is broken.
    #[error("the built-in price catalog cannot be read: {0}")]
    Catalog(String),
    /// The system refuses something that every process needs.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

pub(crate) fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

/// A gate on its state folder, and the key that its clients prove to hold.
///
/// # Errors
///
/// [`StartError`]; nothing is served on less than what was acknowledged.
pub(crate) fn open(state: &StateFolder) -> Result<(Arc<Gate>, StateKey, Views), StartError> {
    // Both TLS stacks of this process use one provider of cryptography; a second call changes nothing.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    // The ledger's thread, those for what is large and those that carry traffic are started from here on.
    short_turns();
    let key = load_or_make_master_key(state).map_err(|error| StartError::Key(error.to_string()))?;
    let folder = || state.fd().try_clone_to_owned().map_err(system("opening the state folder"));
    let master = MasterKey::of(&key);
    let clock = Clock::system();
    let (ledger, views) = open_ledger(state, &key, &clock)?;
    let vault = Vault::open(folder()?, &master)?;
    let leaves = Leaves::new(roots::load_or_make(&vault, &clock)?, clock.now())?;
    let catalog = Catalog::built_in().map_err(|error| StartError::Catalog(error.to_string()))?;
    let books = Books::new(views.books.clone());
    let journal = Journal::new(ledger, clock.clone());
    doubt_what_is_open(&books, &journal, &clock);
    let keys = Keys::new(&master, views.keys.clone());
    remember(&keys, &vault)?;
    let gate = Arc::new(Gate {
        keys,
        kills: Arc::new(Kills::new(views.switches.clone())),
        books,
        catalog,
        rates: Rates::default(),
        vault,
        leaves,
        bodies: ByteBudget::of(BODIES),
        heavy: Heavy::start()
            .map_err(|error| system("starting threads")(std::io::Error::other(error)))?,
        metrics: Metrics::new().map_err(|error| StartError::Catalog(error.to_string()))?,
        runs: Mutex::default(),
        turn: super::acts::Turn::default(),
        stopping: CancellationToken::new(),
        spans: OnceLock::new(),
        service: OnceLock::new(),
        journal,
        clock,
    });
    Ok((gate, key, views))
}

/// The threads that carry traffic: one for each processor that this process may use, as more would only
/// wait for each other.
///
/// # Errors
///
/// The system gives no threads.
pub(crate) fn traffic() -> Result<tokio::runtime::Runtime, StartError> {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.min(WORKERS))
        .thread_name("traffic")
        .on_thread_start(short_turns)
        .enable_all()
        .build()
        .map_err(system("starting threads"))
}

/// Where one processor is fought over, the ledger's thread waits for it several times in each commit.
fn short_turns() {
    if let Err(error) = launch::take_short_turns() {
        tracing::debug!(%error, "threads take the system's usual turns");
    }
}

fn open_ledger(
    state: &StateFolder,
    key: &StateKey,
    clock: &Clock,
) -> Result<(Ledger, Views), StartError> {
    let shared = Shared::default();
    let time = clock.clone();
    let mut options = Options::new(
        state.path(),
        audit::MasterKey::new(**key),
        Box::new(shared.clone()),
        Arc::new(move || time.now().0),
        Arc::new(|bytes: &mut [u8]| getrandom::fill(bytes).map_err(std::io::Error::from)),
    );
    options.poisoned = Box::new(|error| {
        tracing::error!(%error, "the ledger has stopped: every stream ends, the gate exits and recovers from disk");
        std::process::exit(3);
    });
    let ledger = match Ledger::open(options) {
        Ok(Opened::Ready(ledger)) => ledger,
        Ok(Opened::Behind(behind)) => return Err(StartError::Behind(behind.loss().found.clone())),
        Err(OpenError::Busy { .. }) => return Err(StartError::Busy),
        Err(error) => return Err(StartError::Ledger(error)),
    };
    let views = shared.now();
    views.unread.map_or(Ok((ledger, views.clone())), |seq| Err(StartError::Unread(seq)))
}

/// The real keys in the vault are recognised wherever an agent holds one.
fn remember(keys: &Keys, vault: &Vault) -> Result<(), StartError> {
    for name in vault.names() {
        if let Some(kind) = vault.provider(&name) {
            keys.remember(&vault.reveal(&name)?, kind.shape);
        }
    }
    Ok(())
}

/// After a crash every decision without an outcome is in doubt, with its whole reservation.
fn doubt_what_is_open(books: &Books, journal: &Journal, clock: &Clock) {
    for settled in books.doubt_open(clock.now()) {
        let outcome = Outcome {
            id: settled.id.clone(),
            in_doubt: Some(settled.in_doubt),
            broken: true,
            settled: Some(settled),
            ..Outcome::default()
        };
        journal.ride(Kind::Outcome, Who::default(), &outcome);
    }
}
