//! Churn over every way into one `tollgate serve` that takes no privileges, for as long as wanted, and what is left
//! afterwards: nothing may be stuck, lost or grown.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

mod act;
mod gate;
mod measure;
mod operator;
mod random;
mod way;

use act::Act;
use gate::Gate;
use measure::{Level, Sample};
use random::Random;
use way::Entry;

/// Clients at a time.
const CLIENTS: u64 = 16;
/// What each leaves between two acts, so that an hour is some 400,000 entries of the ledger and not its disk's end.
const PAUSE: Duration = Duration::from_millis(150);
/// Before memory counts: pools, caches and the allocator have grown to the load.
const WARM: Duration = Duration::from_mins(1);
/// Between two looks at the process.
const LOOK: Duration = Duration::from_secs(1);
/// Looks that one level is the middle of.
const LOOKS: usize = 10;
/// How long what was begun may take to end once nobody asks any more.
const QUIET_WITHIN: Duration = Duration::from_secs(90);
/// What of the growth is forgiven besides a tenth.
const FORGIVEN: u64 = 8 << 20;
/// Connections to providers that stay open for the next request, and the log.
const KEPT: u64 = 16;

/// What a soak is asked.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long clients churn.
    pub lasts: Duration,
    /// Where the choices begin.
    pub seed: u64,
}

/// What it found.
#[derive(Debug)]
pub struct Found {
    acts: Vec<(&'static str, u64)>,
    changes: u64,
    entries: u64,
    before: Level,
    after: Level,
    idle: Sample,
    quiet: Sample,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.acts.iter().map(|(_, count)| count).sum();
        writeln!(f, "acts: {total}, operator's changes: {}", self.changes)?;
        for (name, count) in &self.acts {
            writeln!(f, "  {name:<20} {count}")?;
        }
        let [before, after] = [self.before.rss, self.after.rss].map(|bytes| bytes >> 10);
        writeln!(f, "memory: {before} KiB warm, {after} KiB at the end")?;
        let (idle, quiet) = (self.idle, self.quiet);
        writeln!(f, "descriptors: {} before, {} after", idle.descriptors, quiet.descriptors)?;
        writeln!(f, "threads: {} before, {} after", idle.threads, quiet.threads)?;
        write!(f, "ledger: {} entries, valid; live: {}", self.entries, quiet.live)
    }
}

/// What all clients share.
#[derive(Debug)]
struct Churn {
    entry: Entry,
    counts: [AtomicU64; Act::ALL.len()],
    /// What went wrong where it must not, the first few of it.
    wrong: std::sync::Mutex<Vec<String>>,
}

impl Churn {
    fn wrong(&self, what: String) {
        let mut all = self.wrong.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if all.len() < 10 {
            all.push(what);
        }
    }
}

/// Churns, and says what was left.
///
/// # Errors
/// When the gate is not built or does not start, when an act failed that must not, when something is stuck or has
/// grown, and when the ledger is not valid.
pub async fn soak(options: Options) -> Result<Found> {
    let mut random = Random::of(options.seed);
    let (gate, entry) = Gate::start().await?;
    let idle = gate.sample().await?;
    let churn = Arc::new(Churn {
        entry,
        counts: std::array::from_fn(|_| AtomicU64::new(0)),
        wrong: std::sync::Mutex::default(),
    });
    let until = Instant::now() + options.lasts;
    let mut running = JoinSet::new();
    for _ in 0..CLIENTS {
        running.spawn(client(Arc::clone(&churn), random.fork(), until));
    }
    let watching = watch(&gate, options.lasts, until);
    let (levels, changes) =
        tokio::join!(watching, operator::changes(&gate, &churn.entry, random, until));
    let ((before, after), changes) = (levels?, changes?);
    while let Some(ended) = running.join_next().await {
        ended.context("a client panicked")?;
    }
    let quiet = gate.quiet(QUIET_WITHIN).await?;
    let wrong = churn.wrong.lock().unwrap_or_else(std::sync::PoisonError::into_inner).join("\n");
    ensure!(wrong.is_empty(), "went wrong:\n{wrong}");
    grown(before, after, idle, quiet)?;
    let entries = gate.end().await?;
    let counts = Act::ALL.iter().zip(&churn.counts);
    let acts =
        counts.map(|(act, count)| (act.name(), count.load(Ordering::Relaxed))).collect::<Vec<_>>();
    let never: Vec<_> = acts.iter().filter(|(_, count)| *count == 0).collect();
    ensure!(never.is_empty(), "too short for every act: {never:?}");
    Ok(Found { acts, changes, entries, before, after, idle, quiet })
}

/// One client, one act after the other.
async fn client(churn: Arc<Churn>, mut random: Random, until: Instant) {
    while Instant::now() < until {
        let act = random.one_of(Act::ALL);
        let place = Act::ALL.iter().position(|one| *one == act).unwrap_or_default();
        match act.run(&churn.entry, &mut random).await {
            Ok(()) => {}
            Err(error) => churn.wrong(format!("{}: {error:#}", act.name())),
        }
        if let Some(count) = churn.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks at the process while it is under load: the level when it is warm, and the last one.
async fn watch(gate: &Gate, lasts: Duration, until: Instant) -> Result<(Level, Level)> {
    let begun = Instant::now();
    let warm = WARM.min(lasts / 2);
    let mut looks = Vec::new();
    while Instant::now() + LOOK < until {
        tokio::time::sleep(LOOK).await;
        gate.forget();
        looks.push((begun.elapsed(), gate.sample().await?));
    }
    let after_warm = looks.iter().filter(|(at, _)| *at >= warm).map(|(_, sample)| *sample);
    let before = Level::of(&after_warm.clone().take(LOOKS).collect::<Vec<_>>())?;
    let after = Level::of(&after_warm.rev().take(LOOKS).collect::<Vec<_>>())?;
    Ok((before, after))
}

/// Memory at the end of the load is what it was when warm, descriptors at rest what they were at the start.
fn grown(before: Level, after: Level, idle: Sample, quiet: Sample) -> Result<()> {
    let allowed = before.rss + before.rss / 10 + FORGIVEN;
    ensure!(after.rss <= allowed, "memory grew from {} to {} bytes", before.rss, after.rss);
    let allowed = idle.descriptors + KEPT;
    ensure!(
        quiet.descriptors <= allowed,
        "descriptors grew from {} to {}",
        idle.descriptors,
        quiet.descriptors
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rss: u64, descriptors: u64) -> Sample {
        Sample { rss, descriptors, ..Sample::default() }
    }

    #[test]
    fn growth_is_found() {
        let (mib, level) = (1 << 20, |rss| Level { rss });
        let idle = sample(0, 40);
        assert!(grown(level(100 * mib), level(117 * mib), idle, sample(0, 56)).is_ok());
        assert!(grown(level(100 * mib), level(119 * mib), idle, idle).is_err());
        assert!(grown(level(mib), level(mib), idle, sample(0, 57)).is_err());
    }
}
