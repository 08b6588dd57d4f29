//! What the kernel refused to those who tried to go past the gate: in the log, the ledger and the metrics.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use audit::{Kind, Who};
use ebpf::{Attempt, Attempts, Counters, Technique};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

use crate::agents::Agents;
use crate::attached::Attachments;
use crate::cli::out::harmless;
use crate::gate::Gate;
use crate::pod::Pod;
use crate::record;
use crate::repeats::{Add, Repeats};
use crate::run::Run;

/// Equal attempts within this time are one entry, microseconds.
const TOGETHER: u64 = 10_000_000;
/// Kinds of attempts that are told apart at a time: technique, destination, process.
const KINDS: usize = 256;
/// What stands for the process where more kinds than that were tried.
const OTHERS: &str = "others";
/// What stands for it where more were tried than could be read.
const UNREAD: &str = "too many to tell apart";
/// How often what is due is looked for, and the kernel's own count.
const LOOK: Duration = Duration::from_secs(1);
/// Between two readings: who tries as often as the kernel lets them keeps no thread of the gate busy. What does not fit
/// into the ring meanwhile is in the kernel's own count only.
const REST: Duration = Duration::from_millis(20);

/// Attempts that are read in one go: somewhat more than the ring holds.
const AT_ONCE: usize = 1024;

/// Who is shut in.
#[derive(Debug)]
pub(crate) enum Whose {
    /// The command of a `tollgate exec`, and the kernel's own count of what it was refused.
    Run(Arc<Run>, Counters),
    /// Everything in the pod.
    Pod(Arc<Pod>),
    /// Whoever is in an attached control group.
    Attached(Arc<Attachments>, Arc<Agents>),
}

type Told = Repeats<(Technique, Option<SocketAddr>, String), record::Attempts>;

/// Tells attempts until it is over, and then those that were read by then.
#[derive(Debug)]
pub(crate) struct Teller {
    gate: Arc<Gate>,
    whose: Whose,
    told: Told,
    /// The kernel's own count, as it was last looked at.
    counted: Vec<(Technique, u64)>,
    /// What was read of the ring.
    seen: BTreeMap<Technique, u64>,
}

impl Add for record::Attempts {
    fn add(&mut self, later: Self) {
        let count = self.count.saturating_add(later.count);
        *self = Self { count, ..later };
    }
}

impl Teller {
    /// Nothing was told yet.
    pub(crate) const fn new(gate: Arc<Gate>, whose: Whose) -> Self {
        Self {
            gate,
            whose,
            told: Repeats::new(TOGETHER, KINDS),
            counted: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Tells what is refused until `over`.
    ///
    /// # Errors
    /// The kernel does not say when there is something.
    pub(crate) async fn tell(
        mut self,
        mut attempts: Attempts,
        over: CancellationToken,
    ) -> io::Result<()> {
        let some: OwnedFd = attempts.as_fd().try_clone_to_owned()?;
        #[expect(
            deprecated,
            reason = "what took its place is unsafe; an owned descriptor is what it asks for"
        )]
        let some = AsyncFd::with_interest(some, Interest::READABLE)?;
        self.count();
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                biased;
                () = over.cancelled() => break,
                _ = look.tick() => {
                    self.count();
                    let now = self.gate.clock.now();
                    let due = self.told.due(now);
                    self.enter(due);
                }
                ready = some.readable() => {
                    ready?.clear_ready();
                    self.read(&mut attempts);
                    tokio::time::sleep(REST).await;
                }
            }
        }
        self.read(&mut attempts);
        self.count();
        let rest = self.told.drain();
        self.enter(rest);
        self.enter(self.lost());
        Ok(())
    }

    /// What the kernel counted and nobody read: who tries more often than the ring holds hides no attempt in it.
    fn lost(&self) -> Vec<record::Attempts> {
        let Whose::Run(run, counters) = &self.whose else { return Vec::new() };
        let counted = counters.read().unwrap_or_else(|error| {
            tracing::error!(%error, run = run.id, "the kernel's count of refused attempts cannot be read");
            Vec::new()
        });
        let lost = counted.into_iter().filter_map(|(technique, counted)| {
            let seen = self.seen.get(&technique).copied().unwrap_or_default();
            let count = counted.checked_sub(seen).filter(|more| *more > 0)?;
            Some(record::Attempts {
                agent: Some(run.agent.clone()),
                run: Some(run.id.clone()),
                technique: technique.name().to_owned(),
                socket: technique.name().replace('_', " "),
                destination: None,
                pid: 0,
                uid: 0,
                comm: UNREAD.to_owned(),
                count,
            })
        });
        let lost: Vec<_> = lost.collect();
        for one in &lost {
            run.note_attempts(one.to_string(), one.count);
            self.gate.metrics.guarded.refused(&one.technique, one.count);
        }
        lost
    }

    fn read(&mut self, attempts: &mut Attempts) {
        // As many as the ring holds: who goes on trying is read the next time.
        for attempt in std::iter::from_fn(|| attempts.next()).take(AT_ONCE) {
            self.take(&attempt);
        }
    }

    fn take(&mut self, attempt: &Attempt) {
        *self.seen.entry(attempt.technique).or_default() += 1;
        let (agent, run) = match &self.whose {
            Whose::Run(run, _) => (Some(run.agent.clone()), Some(run.id.clone())),
            Whose::Pod(pod) => (Some(pod.agent.to_string()), None),
            Whose::Attached(attachments, agents) => {
                let cgroup = attachments.member_of(attempt.cgroup);
                (cgroup.and_then(|member| agents.in_cgroup(&member.cgroup)), None)
            }
        };
        let one = written(attempt, agent, run);
        match &self.whose {
            Whose::Run(run, _) => run.note_attempts(one.to_string(), 1),
            Whose::Pod(_) | Whose::Attached(..) => {}
        }
        if !matches!(self.whose, Whose::Pod(_)) {
            self.gate.metrics.guarded.refused(&one.technique, 1);
        }
        let kind = (attempt.technique, attempt.destination, one.comm.clone());
        let now = self.gate.clock.now();
        let technique = attempt.technique;
        let first = self.told.take(kind, one, now, |one| {
            let comm = OTHERS.to_owned();
            ((technique, None, comm.clone()), record::Attempts { destination: None, comm, ..one })
        });
        self.enter(first);
    }

    fn enter(&self, all: impl IntoIterator<Item = record::Attempts>) {
        for one in all {
            tracing::warn!(
                technique = one.technique,
                pid = one.pid,
                uid = one.uid,
                count = one.count,
                agent = one.agent,
                "refused past the gate: {one}"
            );
            let who = match &self.whose {
                Whose::Run(run, _) => run.who(None),
                Whose::Pod(_) | Whose::Attached(..) => Who {
                    agent: one.agent.clone(),
                    process: Some(one.comm.clone()),
                    ..Who::default()
                },
            };
            self.gate.journal.ride(Kind::Attempt, who, &one);
        }
    }

    /// Counts what the kernel counted in the pod since the last time: also what did not fit into its ring.
    fn count(&mut self) {
        let Whose::Pod(pod) = &self.whose else { return };
        for (technique, now) in pod.refused() {
            let known = self.counted.iter_mut().find(|(known, _)| *known == technique);
            let more = if let Some((_, before)) = known {
                now.saturating_sub(std::mem::replace(before, now))
            } else {
                self.counted.push((technique, now));
                now
            };
            self.gate.metrics.guarded.refused(technique.name(), more);
        }
    }
}

/// An attempt as an entry says it. The name of a process is its own choice, whatever that may do to a terminal.
fn written(attempt: &Attempt, agent: Option<String>, run: Option<String>) -> record::Attempts {
    let Attempt { technique, pid, uid, comm, destination, protocol, family, .. } = attempt;
    record::Attempts {
        agent,
        run,
        technique: technique.name().to_owned(),
        socket: socket(*family, *protocol),
        destination: *destination,
        pid: *pid,
        uid: *uid,
        comm: harmless(comm),
        count: 1,
    }
}

/// What people call a socket of this family and protocol (`linux/socket.h`, `linux/in.h`).
fn socket(family: u32, protocol: u32) -> String {
    let known = match (family, protocol) {
        (2 | 10, 6) => "tcp",
        (2 | 10, 17) => "udp",
        (2, 1) | (10, 58) => "icmp",
        (2 | 10, 132) => "sctp",
        (2 | 10, 136) => "udp-lite",
        (2 | 10, 255) => "raw",
        (2 | 10, 262) => "mptcp",
        (16, _) => "netlink",
        (17, _) => "packet",
        (40, _) => "vsock",
        (44, _) => "xdp",
        _ => return format!("family {family} protocol {protocol}"),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt() -> Attempt {
        Attempt {
            technique: Technique::Datagram,
            cgroup: 1,
            pid: 7,
            uid: 1000,
            comm: "cu\u{1b}[31mrl".to_owned(),
            destination: Some("8.8.8.8:443".parse().unwrap()),
            protocol: 17,
            family: 2,
            option: None,
        }
    }

    #[test]
    fn an_attempt_is_said_in_one_phrase_that_no_terminal_obeys() {
        let one = written(&attempt(), None, None);
        assert_eq!(one.to_string(), "udp 8.8.8.8:443 (cu\\u{1b}[31mrl)");
        let raw = Attempt { destination: None, protocol: 255, family: 10, ..attempt() };
        assert_eq!(written(&raw, None, None).socket, "raw");
        let odd = Attempt { destination: None, family: 99, protocol: 3, ..attempt() };
        assert!(written(&odd, None, None).to_string().starts_with("family 99 protocol 3 ("));
    }

    #[test]
    fn of_equal_attempts_the_last_process_is_named_and_all_are_counted() {
        let mut first = written(&attempt(), None, None);
        first.add(written(&Attempt { pid: 8, ..attempt() }, None, None));
        first.add(written(&Attempt { pid: 9, ..attempt() }, None, None));
        assert_eq!((first.pid, first.count), (9, 3));
    }
}
