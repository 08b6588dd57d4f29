//! One run: one `tollgate exec`, what it may do and how it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use audit::Who;
use bytes::Bytes;
use decide::case::{Caller, Identified, MicroUsd, Timestamp};
use decide::policy::{Contract, Mode};
use decide::{Policy, Reason, Refusal, Setting};
use ebpf::Enforcement;
use http_body_util::Full;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::Place;

use crate::exchange::body::ByteBudget;
use crate::gate::protocol::Summary;
use crate::listen::dns::Addresses;
use crate::money::books::Limits;
use crate::record::Widened;
use crate::upstream::pool::Pool;
use crate::upstream::resolve::Resolver;

/// How many refusals a summary lists.
const LISTED: usize = 10;
/// How many kinds of what observe let pass are told apart; what comes beyond is counted together.
const OBSERVED: usize = 256;
/// What is counted together.
const MORE: &str = "others";
/// Connections that one run may have open; the next ones wait in the listener's backlog.
pub const CONNECTIONS: usize = 4096;
/// Exchanges that one run may have under way. With the longest heads they hold 128 MiB.
pub const EXCHANGES: usize = 2048;

/// One run and what it shares among its exchanges.
#[derive(Debug)]
pub struct Run {
    /// Its id, a ULID.
    pub id: String,
    /// What its agent is behind.
    pub setting: Setting,
    /// The agent, as contracts name it.
    pub agent: String,
    /// The command's file name.
    pub command: String,
    /// The contract in force, read once.
    pub policy: Arc<Policy>,
    /// Observe or enforce.
    pub mode: Mode,
    /// The user's words that widen what it may do.
    pub widened: Widened,
    /// When it began.
    pub started: Timestamp,
    /// Resolves names the way this run was told to.
    pub resolver: Resolver,
    /// Connections to upstreams, verified the way this run was told to.
    pub pool: Pool<Full<Bytes>>,
    /// Whose connections they are.
    pub tenant: Arc<str>,
    /// The kernel's word on where each connection was going.
    pub enforcement: Enforcement,
    /// The addresses that stand for names.
    pub names: Addresses,
    /// The ledger's next entry when the run began.
    pub first_entry: u64,
    /// SHA-256 of the policy, hex.
    pub policy_digest: String,
    /// Credentials that the gate holds for this run: host to name.
    pub credentials: BTreeMap<String, String>,
    /// Account values that the gate sets: header to value.
    pub accounts: BTreeMap<String, String>,
    /// Everything that works for this run.
    pub tasks: TaskTracker,
    /// Set when the run is over.
    pub over: CancellationToken,
    /// Room for the connections that the run may have open.
    pub connections: Arc<Semaphore>,
    /// Room for its exchanges under way, which go on when a connection has forgotten them.
    pub exchanges: Arc<Semaphore>,
    /// Room for its request bodies, of the gate's.
    pub bodies: ByteBudget,
    pub(crate) objects: Mutex<BTreeSet<String>>,
    pub(crate) tally: Mutex<Tally>,
    pub(crate) notices: Mutex<File>,
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
    warned: bool,
}

impl Run {
    /// The contract of this run's agent; `None` is refused by `peer_identity`.
    #[must_use]
    pub fn contract(&self) -> Option<&Contract> {
        self.policy.contract(&self.agent)
    }

    /// Whether the contract admits the destination by name.
    #[must_use]
    pub fn admits(&self, host: &str, port: u16) -> bool {
        self.contract().is_some_and(|contract| contract.admits(host, port))
    }

    /// The identity that this gate established.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller {
            agent: self.agent.clone(),
            run: self.id.clone(),
            team: self.policy.team.clone(),
            by: Identified::Run,
        }
    }

    /// The limits in money that hold for one request.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let agent = self.contract().map(|contract| contract.budgets).unwrap_or_default();
        let team = self.policy.budgets;
        Limits {
            request: agent.request,
            run: agent.run,
            key_day: agent.key_day,
            agent_day: agent.day,
            agent_month: agent.month,
            team_day: team.day,
            team_month: team.month,
        }
    }

    /// The credential that the gate puts in at `host`.
    #[must_use]
    pub fn credential_for(&self, host: &str) -> Option<String> {
        self.credentials.get(host).cloned()
    }

    /// Whether `value` is exactly what the gate would set in this place itself.
    #[must_use]
    pub fn sets_account(&self, place: &Place, value: &str) -> bool {
        match place.kind {
            wire::Kind::Header(name) => self.accounts.get(name).is_some_and(|own| own == value),
            wire::Kind::Query(_) => false,
        }
    }

    /// The objects among `named` that no exchange of this run was given.
    #[must_use]
    pub fn not_ours(&self, named: &[String]) -> Vec<String> {
        if named.is_empty() {
            return Vec::new();
        }
        let ours = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        named.iter().filter(|object| !ours.contains(*object)).cloned().collect()
    }

    /// Remembers objects that the provider made for this run.
    pub(crate) fn given(&self, objects: impl IntoIterator<Item = String>) {
        let mut ours = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        ours.extend(objects);
    }

    /// Whom an entry of this run is about.
    #[must_use]
    pub fn who(&self, key: Option<&str>) -> Who {
        Who {
            team: self.policy.team.clone(),
            agent: Some(self.agent.clone()),
            key: key.map(str::to_owned),
            run: Some(self.id.clone()),
            process: Some(self.command.clone()),
            ..Who::default()
        }
    }

    /// Counts a refusal or a cut. Quiet hosts count, and are not listed.
    pub(crate) fn note_refused(&self, refusal: &Refusal, host: &str, id: &str) {
        let quiet = self.contract().is_some_and(|contract| contract.is_quiet(host));
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
            observed: tally.observed.iter().map(|(what, count)| (what.clone(), *count)).collect(),
            entries: None,
        }
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
