//! One agent behind a gate: one `tollgate exec`, or its time behind one `tollgate serve`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use audit::Who;
use bytes::Bytes;
use decide::case::{MicroUsd, Timestamp};
use decide::{Reason, Refusal, Setting};
use http_body_util::Full;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::exchange::body::ByteBudget;
use crate::gate::protocol::Summary;
use crate::heavy;
use crate::listen::allowance::Allowance;
use crate::terms::Terms;
use crate::upstream::pool::Pool;
use crate::upstream::resolve::Resolver;

/// How many refusals a summary lists.
const LISTED: usize = 10;
/// How many kinds of what observe let pass are told apart; what comes beyond is counted together.
const OBSERVED: usize = 256;
/// What is counted together.
const MORE: &str = "others";
/// Objects at providers that a run's gate knows as its own; the oldest is forgotten first, and then
/// refused like one that the run did not make.
const OBJECTS: usize = 65_536;
/// Connections that one run may have open; the next ones wait in the listener's backlog.
pub const CONNECTIONS: usize = 4096;
/// Names that one run gets a certificate for: 256 at once, 32 a second. A page of a browser asks for a few dozen; an
/// agent that invents names must not keep the gate at signing, nor push the leaves of others out.
const MINTS: Allowance = Allowance::new(256, 32);
/// Hosts that a summary lists as not trusting the gate.
const DISTRUSTED: usize = 10;
/// Exchanges that one run may have under way. With the longest heads they hold 128 MiB.
pub const EXCHANGES: usize = 2048;

/// One agent's run and what its exchanges share.
#[derive(Debug)]
pub struct Run {
    /// Its id, a ULID.
    pub id: String,
    /// What its agent is behind.
    pub setting: Setting,
    /// The agent, as contracts name it.
    pub agent: String,
    /// The command's file name; `None` where the gate does not start the agent.
    pub command: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// How upstreams are reached.
    pub upstream: Arc<Upstream>,
    /// Whose upstream connections they are.
    pub tenant: Arc<str>,
    /// Everything that works for this run.
    pub tasks: TaskTracker,
    /// Set when the run is over.
    pub over: CancellationToken,
    pub(crate) terms: ArcSwap<Terms>,
    pub(crate) room: ArcSwap<Room>,
    /// Its share of the threads on which much is read at once.
    pub(crate) heavy: Arc<Semaphore>,
    pub(crate) objects: Mutex<Objects>,
    pub(crate) tally: Mutex<Tally>,
    pub(crate) mints: Mutex<Allowance>,
    /// The terminal of whoever started it.
    pub(crate) notices: Option<Mutex<File>>,
}

/// How upstreams are reached: the names' addresses, and connections verified the way the gate was told.
#[derive(Debug)]
pub struct Upstream {
    /// Resolves names.
    pub resolver: Resolver,
    /// Connections.
    pub pool: Pool<Full<Bytes>>,
}

/// What one run may take of the gate at once.
#[derive(Debug)]
pub struct Room {
    /// Connections that it may have open.
    pub connections: Arc<Semaphore>,
    /// Exchanges under way, which go on when a connection has forgotten them.
    pub exchanges: Arc<Semaphore>,
    /// Request bodies, of the gate's room for them.
    pub bodies: ByteBudget,
    sizes: Sizes,
}

/// How large a [`Room`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Connections.
    pub connections: usize,
    /// Exchanges.
    pub exchanges: usize,
    /// Bytes of request bodies.
    pub bodies: u64,
}

impl Room {
    /// A room of these sizes, all of it free.
    #[must_use]
    pub fn of(sizes: Sizes) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(sizes.connections)),
            exchanges: Arc::new(Semaphore::new(sizes.exchanges)),
            bodies: ByteBudget::of(sizes.bodies),
            sizes,
        }
    }
}

/// Objects at providers that were made for a run.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    all: BTreeSet<String>,
    /// From the oldest on.
    order: VecDeque<String>,
}

impl Objects {
    fn add(&mut self, object: String) {
        if !self.all.insert(object.clone()) {
            return;
        }
        self.order.push_back(object);
        if self.order.len() > OBJECTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
    }
}

/// How a run goes.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    requests: u64,
    models: BTreeSet<String>,
    tokens: u64,
    spent: MicroUsd,
    in_doubt: MicroUsd,
    refused: u64,
    /// What, the first one's id, and how often.
    refusals: Vec<(String, String, u64)>,
    observed: BTreeMap<String, u64>,
    distrusted: BTreeMap<String, u64>,
    warned: bool,
    /// What was tried past the gate, and how often.
    attempts: BTreeMap<String, u64>,
}

impl Run {
    /// A run that begins under these terms.
    #[must_use]
    pub fn begun(
        id: String,
        setting: Setting,
        started: Timestamp,
        terms: Terms,
        upstream: Arc<Upstream>,
        sizes: Sizes,
    ) -> Self {
        Self {
            id,
            setting,
            agent: terms.agent.clone(),
            command: None,
            started,
            upstream,
            tenant: terms.agent.as_str().into(),
            tasks: TaskTracker::new(),
            over: CancellationToken::new(),
            terms: ArcSwap::from_pointee(terms),
            room: ArcSwap::from_pointee(Room::of(sizes)),
            heavy: heavy::share(),
            objects: Mutex::default(),
            tally: Mutex::default(),
            mints: Mutex::new(MINTS),
            notices: None,
        }
    }

    /// What holds for it now.
    #[must_use]
    pub fn terms(&self) -> Arc<Terms> {
        self.terms.load_full()
    }

    /// Lets other terms hold from the next exchange on. A room of another size is a new one: what is
    /// under way keeps its place in the old one until it ends.
    pub(crate) fn now_under(&self, terms: Arc<Terms>, sizes: Sizes) {
        self.terms.store(terms);
        if self.room.load().sizes != sizes {
            self.room.store(Arc::new(Room::of(sizes)));
        }
    }

    /// The objects among `named` that no exchange of this run was given.
    #[must_use]
    pub fn not_ours(&self, named: &[String]) -> Vec<String> {
        if named.is_empty() {
            return Vec::new();
        }
        let ours = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        named.iter().filter(|object| !ours.all.contains(*object)).cloned().collect()
    }

    /// Remembers objects that the provider made for this run.
    pub(crate) fn given(&self, objects: impl IntoIterator<Item = String>) {
        let mut ours = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        for object in objects {
            ours.add(object);
        }
    }

    /// Whom an entry of this run is about.
    #[must_use]
    pub fn who(&self, key: Option<&str>) -> Who {
        Who {
            team: self.terms.load().policy.team.clone(),
            agent: Some(self.agent.clone()),
            key: key.map(str::to_owned),
            run: Some(self.id.clone()),
            process: self.command.clone(),
            ..Who::default()
        }
    }

    /// Counts a refusal or a cut. Quiet hosts count, and are not listed.
    pub(crate) fn note_refused(&self, refusal: &Refusal, host: &str, id: &str) {
        let terms = self.terms.load();
        let quiet = terms.contract().is_some_and(|contract| contract.is_quiet(host));
        let mut tally = self.tally();
        if quiet {
            return;
        }
        tally.refused += 1;
        let text = shown(refusal, self.setting);
        if let Some((_, _, count)) = tally.refusals.iter_mut().find(|(what, ..)| *what == text) {
            *count += 1;
        } else if tally.refusals.len() < LISTED {
            tally.refusals.push((text, id.to_owned(), 1));
        }
    }

    /// Counts what observe let pass.
    pub(crate) fn note_observed(&self, refusal: &Refusal) {
        let mut tally = self.tally();
        let mut text = shown(refusal, self.setting);
        if tally.observed.len() >= OBSERVED && !tally.observed.contains_key(&text) {
            MORE.clone_into(&mut text);
        }
        *tally.observed.entry(text).or_default() += 1;
    }

    /// Counts a connection whose client did not take the gate's certificate for `host`. Whether it is the first one.
    pub(crate) fn note_distrusted(&self, host: &str) -> bool {
        let mut tally = self.tally();
        let known = tally.distrusted.contains_key(host);
        let named = known || tally.distrusted.len() < DISTRUSTED;
        let host = if named { host } else { MORE };
        let count = tally.distrusted.entry(host.to_owned()).or_default();
        *count += 1;
        *count == 1
    }

    /// Whether one more certificate may be made for this run.
    pub(crate) fn may_mint(&self, now: Timestamp) -> bool {
        self.mints.lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }

    /// Counts attempts to go past the gate.
    pub(crate) fn note_attempts(&self, mut what: String, count: u64) {
        let mut tally = self.tally();
        if tally.attempts.len() >= OBSERVED && !tally.attempts.contains_key(&what) {
            MORE.clone_into(&mut what);
        }
        *tally.attempts.entry(what).or_default() += count;
    }

    /// Counts a priced request that was carried out.
    pub(crate) fn note_spent(&self, model: &str, tokens: u64, spent: MicroUsd, in_doubt: MicroUsd) {
        let mut tally = self.tally();
        tally.requests += 1;
        tally.models.insert(model.to_owned());
        tally.tokens += tokens;
        tally.spent.0 += spent.0;
        tally.in_doubt.0 += in_doubt.0;
    }

    /// The one line at 80 % of the run's budget, once.
    pub(crate) fn warning(&self, limit: MicroUsd) -> Option<String> {
        let mut tally = self.tally();
        let used = tally.spent.0 + tally.in_doubt.0;
        let due = !tally.warned && limit.0 > 0 && used >= limit.0 / 5 * 4;
        tally.warned |= due;
        due.then(|| {
            format!(
                "{} of {limit} used. More: tollgate budget raise --run {} AMOUNT",
                MicroUsd(used),
                self.id
            )
        })
    }

    /// How it stands.
    pub(crate) fn summary(&self, limit: Option<MicroUsd>, prices_of: &str) -> Summary {
        let tally = self.tally();
        Summary {
            run: self.id.clone(),
            agent: self.agent.clone(),
            requests: tally.requests,
            models: tally.models.iter().cloned().collect(),
            tokens: tally.tokens,
            spent: tally.spent,
            in_doubt: tally.in_doubt,
            limit,
            prices_of: prices_of.to_owned(),
            refused: tally.refused,
            refusals: tally
                .refusals
                .iter()
                .map(|(what, id, count)| match count {
                    1 => (what.clone(), id.clone()),
                    more => (format!("{what} ({more} times)"), id.clone()),
                })
                .collect(),
            ports: Vec::new(),
            observed: counted(&tally.observed),
            distrusted: counted(&tally.distrusted),
            attempts: counted(&tally.attempts),
            entries: None,
        }
    }

    /// Tells whoever started the run one line, where there is a terminal, and logs it elsewhere.
    pub(crate) fn notify(&self, line: &str) {
        let Some(notices) = &self.notices else {
            tracing::warn!(agent = self.agent, run = self.id, "{line}");
            return;
        };
        let mut stderr = notices.lock().unwrap_or_else(PoisonError::into_inner);
        // The terminal may be in raw mode, and may be gone.
        drop(write!(stderr, "\rtollgate: {line}\r\n"));
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn counted(of: &BTreeMap<String, u64>) -> Vec<(String, u64)> {
    of.iter().map(|(what, count)| (what.clone(), *count)).collect()
}

/// A refusal in the summary: its text may hold what the agent wrote, however long.
fn shown(refusal: &Refusal, setting: Setting) -> String {
    const LONGEST: usize = 300;
    let mut text = refusal.to_string();
    // A program that does not speak HTTP cannot be told what to do, so its user is.
    if let (Reason::NotRead(_), Some(hint)) = (&refusal.reason, refusal.hint(setting)) {
        text = format!("{text}: {hint}");
    }
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
