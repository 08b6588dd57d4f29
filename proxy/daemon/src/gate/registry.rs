//! How a run begins and ends at the gate.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use audit::Kind;
use decide::Setting;
use decide::case::Timestamp;
use decide::policy::Mode;
use ebpf::Enforcement;
use launch::{Form, Listeners};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::ports::Carried;
use super::protocol::{Prepared, Register, Sealing, Summary};
use super::socket::Conn;
use super::{Gate, RUN_BODIES, ports};
use crate::attempts::{Teller, Whose};
use crate::clock;
use crate::intake::redirected::{self, Origins, Redirected};
use crate::keys::{KeyEvent, Wanted};
use crate::listen::dns::{Addresses, Responder, serve_tcp, serve_udp};
use crate::names::Names;
use crate::record::{self, Changed, RunEvent, Widened};
use crate::run::{CONNECTIONS, EXCHANGES, Run, Sizes, Upstream};
use crate::terms::{Held, Holdings, Terms, Version};
use crate::upstream::connect::{Connector, read_authorities};
use crate::upstream::pool::Pool;
use crate::upstream::resolve::{ConnectTo, Resolver};
use crate::vault::{Secret, known};

/// The port at which public providers answer.
const HTTPS: u16 = 443;
/// How long the exchanges of a run that is over have to settle.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

/// A run that this connection registered.
#[derive(Debug)]
pub(super) struct Registered {
    run: Arc<Run>,
    by: String,
    form: Form,
    widened: Widened,
    ports: Vec<Arc<Carried>>,
    /// The ledger's next entry when the run began.
    first_entry: u64,
}

/// What a front says at the end of its run; one that vanished says nothing.
#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) exit: Option<i32>,
    pub(super) changed: Option<Changed>,
}

/// Takes up a run: its sockets, the kernel programs, its keys. Nothing runs in it yet.
pub(super) fn register(
    gate: &Arc<Gate>,
    register: Register,
    conn: &Conn,
    traffic: &Handle,
) -> anyhow::Result<(Registered, Prepared)> {
    let Descriptors { mut listeners, cgroup, stderr } = descriptors(conn, register.form)?;
    let (origins, attempts) = match cgroup {
        Some(cgroup) => {
            let mut enforcement = Enforcement::attach(cgroup.as_fd())?;
            let attempts = enforcement.attempts().zip(enforcement.counters());
            (Origins::Programs(Box::new(enforcement)), attempts)
        }
        None => (Origins::Rules, None),
    };
    let started = gate.clock.now();
    let id = clock::ulid(started).context("no random numbers")?;
    let inside = traffic.enter();
    let run = Arc::new(run(&register, id, started, stderr)?);
    drop(inside);
    let mut registered = Registered {
        run: Arc::clone(&run),
        by: register.by,
        form: register.form,
        widened: register.widened,
        ports: Vec::new(),
        first_entry: gate.journal.ledger().status().entries,
    };
    let event = registered.event(RunEvent::Started, End::default());
    traffic.block_on(gate.journal.commit(Kind::Run, run.who(None), &event))?;
    let redirected = Redirected {
        gate: Arc::clone(gate),
        run: Arc::clone(&run),
        origins,
        names: Addresses::default(),
    };
    let issued = traffic.block_on(issue(gate, &run, register.keys));
    if let Some((attempts, counters)) = attempts {
        let teller = Teller::new(Arc::clone(gate), Whose::Run(Arc::clone(&run), counters));
        let telling = teller.tell(attempts, run.over.clone());
        run.tasks.spawn_on(logged(telling), traffic);
    }
    let opened = issued.and_then(|env| {
        let _inside = traffic.enter();
        registered.ports = ports::open(gate, &run, &mut listeners, &registered.widened)?;
        open(redirected, listeners)?;
        Ok(env)
    });
    match opened {
        Ok(env) => {
            gate.enter(Arc::clone(&run));
            let ca_pem = gate.leaves.pem();
            Ok((registered, Prepared { run: run.id.clone(), env, ca_pem }))
        }
        Err(error) => {
            // What was begun is taken back: its keys open nothing, and nothing waits for connections.
            registered.finish(gate, traffic, End::default());
            Err(error)
        }
    }
}

struct Descriptors {
    listeners: Listeners,
    cgroup: Option<OwnedFd>,
    stderr: OwnedFd,
}

fn descriptors(conn: &Conn, form: Form) -> anyhow::Result<Descriptors> {
    let (came, mut fds) = launch::recv_fds(conn.stream(), &mut [0])?;
    if came == 0 {
        bail!("the front closed before it sent its descriptors");
    }
    let mut last = || fds.pop().ok_or_else(|| anyhow!("the front sent too few descriptors"));
    let stderr = last()?;
    let cgroup = match form {
        Form::KernelPrograms => Some(last()?),
        Form::UserNamespace => None,
    };
    Ok(Descriptors { listeners: Listeners::from_fds(fds)?, cgroup, stderr })
}

/// The run, and what policy and the user's words decide about it.
fn run(
    register: &Register,
    id: String,
    started: Timestamp,
    stderr: OwnedFd,
) -> anyhow::Result<Run> {
    let overrides = register
        .widened
        .connect_to
        .iter()
        .map(|text| text.parse::<ConnectTo>())
        .collect::<Result<Vec<_>, _>>()?;
    let contract = register.policy.contract(&register.agent);
    let mut holdings =
        Holdings { accounts: register.accounts.iter().cloned().collect(), ..Holdings::default() };
    for key in &register.keys {
        let kind = known::named(&key.credential)
            .ok_or_else(|| anyhow!("no credential is called {}", key.credential))?;
        for host in kind.hosts {
            let held = Held { name: kind.name.to_owned(), kind, port: HTTPS };
            holdings.credentials.entry((*host).to_owned()).or_default().push(held);
        }
    }
    let terms = Terms {
        agent: register.agent.clone(),
        mode: contract.map_or(Mode::Enforce, |contract| contract.mode),
        policy_digest: crate::trust::hex(&register.policy.digest),
        policy: Arc::new(register.policy.clone()),
        version: Version { policies: register.policy.digest, configuration: 0 },
        holdings: Arc::new(holdings),
    };
    let upstream = Upstream {
        resolver: Resolver::system(overrides).context("the system's resolver configuration")?,
        pool: Pool::new(connector(&register.upstream_ca)?),
    };
    let sizes = Sizes { connections: CONNECTIONS, exchanges: EXCHANGES, bodies: RUN_BODIES };
    Ok(Run {
        command: Some(register.command.clone()),
        notices: Some(Mutex::new(File::from(stderr))),
        ..Run::begun(id, Setting::Exec, started, terms, Arc::new(upstream), sizes)
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
    let terms = run.terms().contract().map(|contract| contract.keys).unwrap_or_default();
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

/// Starts to accept what the kernel redirects, and to answer names. Called inside the traffic's runtime.
fn open(redirected: Redirected, listeners: Listeners) -> anyhow::Result<()> {
    let redirected = Arc::new(redirected);
    let Redirected { gate, run, names, .. } = redirected.as_ref();
    let responder = Arc::new(Mutex::new(Responder::new(names.clone())));
    let directory = Arc::new(Names::of(Arc::clone(gate), Arc::clone(run)));
    for listener in listeners.intake {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        run.tasks.spawn(redirected::accept(Arc::clone(&redirected), listener));
    }
    for socket in listeners.dns_udp {
        let (responder, directory) = (Arc::clone(&responder), Arc::clone(&directory));
        let serving = serve_udp(socket, responder, directory, gate.clock.clone());
        run.tasks.spawn(until_over(run.over.clone(), serving));
    }
    for listener in listeners.dns_tcp {
        let (responder, directory) = (Arc::clone(&responder), Arc::clone(&directory));
        let serving = serve_tcp(listener, responder, directory, gate.clock.clone());
        run.tasks.spawn(until_over(run.over.clone(), serving));
    }
    Ok(())
}

async fn logged(telling: impl Future<Output = std::io::Result<()>>) {
    if let Err(error) = telling.await {
        tracing::error!(%error, "what a run tries past the gate is not told");
    }
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
    fn event(&self, event: RunEvent, end: End) -> record::Run {
        let Self { run, by, form, widened, ports, .. } = self;
        let End { exit, changed } = end;
        let terms = run.terms();
        record::Run {
            run: run.id.clone(),
            agent: run.agent.clone(),
            command: run.command.clone().unwrap_or_default(),
            policy: terms.policy_digest.clone(),
            policy_id: format!("{} {}", terms.policy.id, terms.policy.version),
            mode: terms.mode,
            by: by.clone(),
            form: form.word().to_owned(),
            event,
            exit,
            widened: widened.clone(),
            ports: match event {
                RunEvent::Started => Vec::new(),
                RunEvent::Ended => ports.iter().map(|one| one.total()).collect(),
            },
            changed,
        }
    }

    /// Ends the run: what is still under way is settled, then it is written down.
    pub(super) fn finish(self, gate: &Arc<Gate>, traffic: &Handle, end: End) -> Summary {
        let run = Arc::clone(&self.run);
        run.over.cancel();
        run.tasks.close();
        let (ended, ports) = traffic.block_on(async {
            if tokio::time::timeout(SETTLED_WITHIN, run.tasks.wait()).await.is_err() {
                tracing::error!(run = run.id, "exchanges of a run that is over did not end");
            }
            // What is still carried now has ended, and is in the totals.
            let event = self.event(RunEvent::Ended, end);
            gate.journal.flush(true);
            (gate.journal.commit(Kind::Run, run.who(None), &event).await, event.ports)
        });
        let mut summary = summary(gate, &run);
        summary.ports = ports;
        gate.runs.lock().unwrap_or_else(PoisonError::into_inner).remove(&run.id);
        gate.books.close(&run.id, gate.clock.now());
        gate.keys.close(&run.id);
        match ended {
            Ok(receipt) => summary.entries = Some((self.first_entry, receipt.seq)),
            Err(error) => tracing::error!(%error, run = run.id, "the end of a run is not recorded"),
        }
        summary
    }
}

/// How a run stands.
pub(super) fn summary(gate: &Gate, run: &Run) -> Summary {
    let contract = run.terms().contract().and_then(|contract| contract.budgets.run);
    run.summary(gate.books.run_limit(&run.id, contract), &gate.catalog.as_of)
}
