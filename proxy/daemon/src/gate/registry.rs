//! How a run begins and ends at the gate.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use audit::Kind;
use decide::Setting;
use decide::case::Timestamp;
use decide::policy::Mode;
use ebpf::Enforcement;
use launch::Listeners;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::protocol::{Prepared, Register, Sealing, Summary};
use super::socket::Conn;
use super::{Gate, RUN_BODIES};
use crate::clock;
use crate::exchange::body::ByteBudget;
use crate::intake;
use crate::keys::{KeyEvent, Wanted};
use crate::listen::dns::{Addresses, Responder, serve_tcp, serve_udp};
use crate::names::Names;
use crate::record::{self, RunEvent};
use crate::run::{CONNECTIONS, EXCHANGES, Run, Tally};
use crate::upstream::connect::{Connector, read_authorities};
use crate::upstream::pool::Pool;
use crate::upstream::resolve::{ConnectTo, Resolver};
use crate::vault::{Secret, known};

/// How long the exchanges of a run that is over have to settle.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

/// A run that this connection registered.
#[derive(Debug)]
pub(super) struct Registered {
    run: Arc<Run>,
    by: String,
}

/// Takes up a run: its sockets, the kernel programs, its keys. Nothing runs in it yet.
pub(super) fn register(
    gate: &Arc<Gate>,
    register: Register,
    conn: &Conn,
    traffic: &Handle,
) -> anyhow::Result<(Registered, Prepared)> {
    let Descriptors { listeners, cgroup, stderr } = descriptors(conn)?;
    let enforcement = Enforcement::attach(cgroup.as_fd())?;
    let started = gate.clock.now();
    let id = clock::ulid(started).context("no random numbers")?;
    let inside = traffic.enter();
    let run = Arc::new(run(gate, &register, id, started, enforcement, stderr)?);
    drop(inside);
    let event = run_event(&run, &register.by, RunEvent::Started, None);
    traffic.block_on(gate.journal.commit(Kind::Run, run.who(None), &event))?;
    let registered = Registered { run: Arc::clone(&run), by: register.by };
    let issued = traffic.block_on(issue(gate, &run, register.keys));
    match issued.and_then(|env| open(gate, &run, listeners, traffic).map(|()| env)) {
        Ok(env) => {
            gate.runs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(run.id.clone(), Arc::clone(&run));
            let ca_pem = gate.leaves.authority().pem();
            Ok((registered, Prepared { run: run.id.clone(), env, ca_pem }))
        }
        Err(error) => {
            // What was begun is taken back: its keys open nothing, and nothing waits for connections.
            registered.finish(gate, traffic, None);
            Err(error)
        }
    }
}

struct Descriptors {
    listeners: Listeners,
    cgroup: OwnedFd,
    stderr: OwnedFd,
}

fn descriptors(conn: &Conn) -> anyhow::Result<Descriptors> {
    let (came, mut fds) = launch::recv_fds(conn.stream(), &mut [0])?;
    if came == 0 {
        bail!("the front closed before it sent its descriptors");
    }
    let mut last = || fds.pop().ok_or_else(|| anyhow!("the front sent too few descriptors"));
    let (stderr, cgroup) = (last()?, last()?);
    Ok(Descriptors { listeners: Listeners::from_fds(fds)?, cgroup, stderr })
}

fn run(
    gate: &Gate,
    register: &Register,
    id: String,
    started: Timestamp,
    enforcement: Enforcement,
    stderr: OwnedFd,
) -> anyhow::Result<Run> {
    let overrides = register
        .widened
        .connect_to
        .iter()
        .map(|text| text.parse::<ConnectTo>())
        .collect::<Result<Vec<_>, _>>()?;
    let contract = register.policy.contract(&register.agent);
    let mut credentials = BTreeMap::new();
    for key in &register.keys {
        let credential = known::named(&key.credential)
            .ok_or_else(|| anyhow!("no credential is called {}", key.credential))?;
        for host in credential.hosts {
            credentials.insert((*host).to_owned(), credential.name.to_owned());
        }
    }
    Ok(Run {
        mode: contract.map_or(Mode::Enforce, |contract| contract.mode),
        policy_digest: crate::trust::hex(&register.policy.digest),
        id,
        setting: Setting::Exec,
        agent: register.agent.clone(),
        command: register.command.clone(),
        policy: Arc::new(register.policy.clone()),
        started,
        widened: register.widened.clone(),
        resolver: Resolver::system(overrides).context("the system's resolver configuration")?,
        pool: Pool::new(connector(&register.upstream_ca)?),
        tenant: register.agent.as_str().into(),
        credentials,
        accounts: register.accounts.iter().cloned().collect(),
        enforcement,
        names: Addresses::default(),
        tasks: TaskTracker::new(),
        over: CancellationToken::new(),
        connections: Arc::new(Semaphore::new(CONNECTIONS)),
        exchanges: Arc::new(Semaphore::new(EXCHANGES)),
        bodies: ByteBudget::of(RUN_BODIES),
        first_entry: gate.journal.ledger().status().entries,
        objects: Mutex::default(),
        tally: Mutex::new(Tally::default()),
        notices: Mutex::new(File::from(stderr)),
    })
}

/// Trusts what this machine trusts, and what `--upstream-ca` names besides.
fn connector(upstream_ca: &[String]) -> anyhow::Result<Connector> {
    let mut more = Vec::new();
    for pem in upstream_ca {
        more.extend(
            read_authorities(pem.as_bytes()).map_err(|why| anyhow!("--upstream-ca {why}"))?,
        );
    }
    Ok(Connector::new(&more)?)
}

/// Seals the real keys and gives the run their virtual ones.
async fn issue(
    gate: &Gate,
    run: &Run,
    keys: Vec<super::protocol::RealKey>,
) -> anyhow::Result<Vec<(String, Sealing)>> {
    let terms = run.contract().map(|contract| contract.keys).unwrap_or_default();
    let expires = terms
        .lifetime_seconds
        .map(|seconds| Timestamp(run.started.0.saturating_add(seconds.saturating_mul(1_000_000))));
    let mut env = Vec::new();
    for mut key in keys {
        let credential = known::named(&key.credential)
            .ok_or_else(|| anyhow!("no credential is called {}", key.credential))?;
        let real = Secret::from(std::mem::take(&mut key.secret.0));
        gate.vault.seal(credential.name, &real)?;
        let issued = gate.keys.issue(
            &real,
            &Wanted {
                credential: credential.name,
                shape: credential.shape,
                run: &run.id,
                agent: &run.agent,
                expires,
                uses: terms.uses,
            },
        )?;
        let who = run.who(Some(&issued.event.id));
        gate.journal.commit(Kind::Key, who, &KeyEvent::Issued(issued.event)).await?;
        let shown = String::from_utf8_lossy(issued.key.reveal()).into_owned();
        env.extend(key.variables.iter().map(|variable| (variable.clone(), Sealing(shown.clone()))));
    }
    Ok(env)
}

/// Starts to accept what the kernel redirects, and to answer names.
fn open(
    gate: &Arc<Gate>,
    run: &Arc<Run>,
    listeners: Listeners,
    traffic: &Handle,
) -> anyhow::Result<()> {
    let responder = Arc::new(Mutex::new(Responder::new(run.names.clone())));
    let names = Arc::new(Names::of(Arc::clone(gate), Arc::clone(run)));
    let _inside = traffic.enter();
    for listener in listeners.intake {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        run.tasks.spawn(intake::accept(Arc::clone(gate), Arc::clone(run), listener));
    }
    for socket in listeners.dns_udp {
        let serving =
            serve_udp(socket, Arc::clone(&responder), Arc::clone(&names), gate.clock.clone());
        run.tasks.spawn(until_over(run.over.clone(), serving));
    }
    for listener in listeners.dns_tcp {
        let serving =
            serve_tcp(listener, Arc::clone(&responder), Arc::clone(&names), gate.clock.clone());
        run.tasks.spawn(until_over(run.over.clone(), serving));
    }
    Ok(())
}

async fn until_over(over: CancellationToken, serving: impl Future<Output = std::io::Result<()>>) {
    tokio::select! {
        biased;
        () = over.cancelled() => {}
        served = serving => if let Err(error) = served {
            tracing::error!(%error, "names of a run are no longer answered");
        }
    }
}

impl Registered {
    /// Ends the run: what is still under way is settled, then it is written down.
    pub(super) fn finish(self, gate: &Arc<Gate>, traffic: &Handle, exit: Option<i32>) -> Summary {
        let Self { run, by } = self;
        run.over.cancel();
        run.tasks.close();
        let event = run_event(&run, &by, RunEvent::Ended, exit);
        let ended = traffic.block_on(async {
            if tokio::time::timeout(SETTLED_WITHIN, run.tasks.wait()).await.is_err() {
                tracing::error!(run = run.id, "exchanges of a run that is over did not end");
            }
            gate.journal.flush(true);
            gate.journal.commit(Kind::Run, run.who(None), &event).await
        });
        let mut summary = summary(gate, &run);
        gate.runs.lock().unwrap_or_else(PoisonError::into_inner).remove(&run.id);
        gate.books.close(&run.id, gate.clock.now());
        gate.keys.close(&run.id);
        match ended {
            Ok(receipt) => summary.entries = Some((run.first_entry, receipt.seq)),
            Err(error) => tracing::error!(%error, run = run.id, "the end of a run is not recorded"),
        }
        summary
    }
}

/// How a run stands.
pub(super) fn summary(gate: &Gate, run: &Run) -> Summary {
    let contract = run.contract().and_then(|contract| contract.budgets.run);
    run.summary(gate.books.run_limit(&run.id, contract), &gate.catalog.as_of)
}

fn run_event(run: &Run, by: &str, event: RunEvent, exit: Option<i32>) -> record::Run {
    record::Run {
        run: run.id.clone(),
        agent: run.agent.clone(),
        command: run.command.clone(),
        policy: run.policy_digest.clone(),
        policy_id: format!("{} {}", run.policy.id, run.policy.version),
        mode: run.mode,
        by: by.to_owned(),
        event,
        exit,
        widened: run.widened.clone(),
    }
}

impl Run {
    /// Writes one line to the terminal of whoever started the run, if it is still there.
    pub(crate) fn notify(&self, line: &str) {
        let mut stderr = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        // The terminal may be in raw mode, and may be gone.
        drop(write!(stderr, "\rtollgate: {line}\r\n"));
    }
}
