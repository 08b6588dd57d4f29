//! What a process holds, by its kernel and by its own metrics.

use anyhow::{Context, Result};

/// One look.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    /// Bytes of memory in use.
    pub(super) rss: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
    /// Exchanges, streams, waiting ones and connections.
    pub(super) live: u64,
    /// Bytes of bodies and held-back answers.
    pub(super) held: u64,
}

/// Where memory stands: the middle of some looks, as one look may fall on a peak.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    pub(super) rss: u64,
}

impl Level {
    pub(super) fn of(looks: &[Sample]) -> Result<Self> {
        let mut all: Vec<u64> = looks.iter().map(|look| look.rss).collect();
        all.sort_unstable();
        let rss = *all.get(all.len() / 2).context("too short to look at the memory")?;
        Ok(Self { rss })
    }
}

/// What must be zero when nobody asks.
const LIVE: [&str; 4] = [
    "tollgate_exchanges_live",
    "tollgate_streams_open",
    "tollgate_exchanges_waiting",
    "tollgate_connections_open",
];

impl Sample {
    pub(super) fn of(pid: u32, metrics: &str) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .context("the gate's process is gone")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        Ok(Self {
            rss: field("VmRSS:").context("no VmRSS")? << 10,
            descriptors,
            threads: field("Threads:").context("no Threads")?,
            live: LIVE.iter().map(|name| gauge(metrics, name)).sum(),
            held: gauge(metrics, "tollgate_held_bytes"),
        })
    }

    /// Whether nothing is under way.
    pub(super) const fn is_quiet(&self) -> bool {
        self.live == 0 && self.held == 0
    }
}

/// The sum of a gauge over its labels.
fn gauge(metrics: &str, name: &str) -> u64 {
    let of_it = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with([' ', '{']))
    };
    let values = metrics.lines().filter(of_it).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_is_summed_over_its_labels_and_not_over_longer_names() {
        let metrics = "# HELP a x\na{b=\"c d\"} 2\na{b=\"e\"} 3\na_b 7\n";
        assert_eq!((gauge(metrics, "a"), gauge(metrics, "a_b"), gauge(metrics, "c")), (5, 7, 0));
    }
}
