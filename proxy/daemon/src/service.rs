//! `tollgate serve`: one gate for many agents, from its configuration to its orderly end.

mod accept;
mod ending;
mod front_tls;
mod handle;
mod holdings;
mod listeners;
mod look;
mod names;
mod notify;
mod readiness;
mod upgrade;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use audit::{Kind, Who};
use decide::case::Timestamp;
use ebpf::Attempts;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agents::{Agents, Common, Settings};
use crate::attached::{Attachment, Attachments, Listed};
use crate::attempts::Whose;
use crate::config::{Config, ConfigErrors, MasterKeyFrom};
use crate::folder::{FolderError, Make, StateFolder};
use crate::gate::open::{self, StartError, system};
use crate::gate::serve::{self, Until};
use crate::gate::socket::{Listener, Place, StateKey};
use crate::gate::start;
use crate::gate::{Gate, RUN_BODIES, Views};
use crate::health::{Health, Sources};
use crate::intake::front::Gateway;
use crate::intake::inbound::Inbound;
use crate::intake::strangers::Strangers;
use crate::pod::{Pod, PodError};
use crate::policies::watch::{PolicyFolder, Record};
use crate::record;
use crate::run::{CONNECTIONS, EXCHANGES, Sizes};
use crate::telemetry::Telemetry;
use crate::trust::hex;

use accept::Accepting;
pub(crate) use handle::{Handle, Leaving};
use listeners::Listening;
pub use listeners::Role;
use notify::Notify;
use upgrade::TakenOver;

/// How often the gate looks whether an attached unit was started anew.
const FOLLOW: Duration = Duration::from_millis(250);

/// What `tollgate serve` is asked.
#[derive(Debug)]
pub struct Options {
    /// The configuration's file.
    pub config: PathBuf,
    /// Take over from the gate that serves this state folder now.
    pub upgrade: bool,
    /// Who starts it, for the record.
    pub by: String,
}

/// Why a service cannot start, or did not end in order.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration is faulty.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The state folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Another gate holds the state folder.
    #[error("another gate serves {0}: end it, or take over from it with --upgrade")]
    Busy(String),
    /// The gate cannot start.
    #[error(transparent)]
    Start(StartError),
    /// The contracts cannot be used.
    #[error("{0}")]
    Policy(String),
    /// Something that the configuration names cannot be used.
    #[error("{path}: {why}")]
    Named {
        /// The key path.
        path: String,
        /// Why.
        why: String,
    },
    /// The pod is not shut in as it must be.
    #[error(transparent)]
    Pod(#[from] PodError),
    /// Something was not recorded, and so not done.
    #[error(transparent)]
    Unrecorded(#[from] crate::journal::Unrecorded),
    /// The system refused something.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl From<StartError> for ServeError {
    fn from(error: StartError) -> Self {
        if let StartError::System { what, source } = error {
            return Self::System { what, source };
        }
        Self::Start(error)
    }
}

/// The configuration in force, and where it lies.
pub(crate) fn configuration(path: &Path) -> Result<Config, ConfigErrors> {
    Config::load(path, std::env::vars_os().collect::<Vec<(OsString, OsString)>>().into_iter())
}

/// The state folder that a configuration names, under the key that it names.
///
/// # Errors
///
/// [`ServeError`].
pub(crate) fn state_folder(config: &Config, make: Make) -> Result<StateFolder, ServeError> {
    let folder = StateFolder::open(&config.state, make, None)?;
    Ok(match &config.master_key {
        MasterKeyFrom::StateFolder => folder,
        MasterKeyFrom::File(path) => folder.under(holdings::key_file(path)?),
        MasterKeyFrom::Env { key, .. } => {
            use secrecy::ExposeSecret;
            folder.under((*key.expose_secret()).into())
        }
    })
}

/// Serves until it is told to end. Returns once everything under way has ended and is on disk.
///
/// # Errors
///
/// [`ServeError`]; nothing was served, or the end was not in order.
pub fn run(options: &Options) -> Result<(), ServeError> {
    start::close_to_others()
        .map_err(|source| ServeError::System { what: "closing the process to others", source })?;
    let config = configuration(&options.config)?;
    let state = state_folder(&config, Make::IfAbsent)?;
    let taken = if options.upgrade { upgrade::take_over(&state)? } else { TakenOver::nothing() };
    let (gate, key, views) = match open::open(&state) {
        Err(StartError::Busy) => return Err(ServeError::Busy(config.state.display().to_string())),
        opened => opened?,
    };
    let traffic = open::traffic()?;
    let service = traffic.block_on(Service::begin(options, config, gate, views, taken))?;
    let place = Place::of(&state).map_err(ServeError::Folder)?;
    let socket = Listener::bind(place).map_err(system("listening for the command line"))?;
    service.until_told(&traffic, &socket, &key)
}

/// A service that serves.
struct Service {
    options: PathBuf,
    config: Config,
    gate: Arc<Gate>,
    agents: Arc<Agents>,
    folder: Arc<PolicyFolder>,
    attachments: Arc<Attachments>,
    accepting: Accepting,
    handle: Arc<Handle>,
    telemetry: Telemetry,
    health: Vec<Health>,
    notify: Notify,
}

impl Service {
    async fn begin(
        options: &Options,
        config: Config,
        gate: Arc<Gate>,
        views: Views,
        taken: TakenOver,
    ) -> Result<Self, ServeError> {
        // Before anything is dialled or listened at: until then the gate itself is led to the gate.
        let pod = config.pod.as_ref().map(Pod::enter).transpose()?.map(Arc::new);
        let started = record::Service::Started {
            config: hex(&config.digest()),
            enforcement: pod.as_ref().map(|pod| pod.mode()),
            connect_to: config.upstream.connect_to.iter().map(|(text, _)| text.clone()).collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            by: options.by.clone(),
        };
        gate.journal.commit(Kind::Operator, Who::default(), &started).await?;
        let folder = Arc::new(policies(&config, &gate).await?);
        let agents = Arc::new(agents(&config, &gate, &folder)?);
        let telemetry = Telemetry::start(holdings::sinks(&config)?, &gate.metrics, &gate.clock)
            .map_err(|source| ServeError::System { what: "starting telemetry", source })?;
        // Set once, here.
        drop(gate.spans.set(telemetry.spans()));
        let listening = Listening::open(&config.listen, pod.as_deref(), taken)?;
        let attachments = Arc::new(Attachments::new(listening.ports()));
        if pod.is_none() {
            restore(&attachments, views);
        }
        let accepting = Accepting {
            gate: Arc::clone(&gate),
            agents: Arc::clone(&agents),
            attachments: Arc::clone(&attachments),
            guarded: guarded(&config, &gate, &agents, pod.as_ref()),
            gateway: Gateway::new(&config.providers),
            tls: front_tls::of(&config.listen)?,
            connections: config.limits.connections as usize,
            strangers: Strangers::at_most(config.limits.per_address as usize),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let second = listening.second_handles()?;
        let handle = Arc::new(Handle::new(Arc::clone(&attachments), pod.is_some(), second));
        drop(gate.service.set(Arc::clone(&handle)));
        look::at_gauges(&gate, &handle);
        let health = listening.health.try_clone("health")?;
        let readiness = readiness::of(&gate, &folder, &attachments, &handle, pod.as_ref());
        accepting.start(listening)?;
        let answering = health.into_iter().map(|listener| {
            let metrics = gate.metrics.clone();
            Health::start(listener, Sources { readiness: readiness.clone_box(), metrics })
        });
        let answering = answering
            .collect::<Result<_, _>>()
            .map_err(|source| ServeError::System { what: "answering for health", source })?;
        Ok(Self {
            options: options.config.clone(),
            config,
            gate,
            agents,
            folder,
            attachments,
            accepting,
            handle,
            telemetry,
            health: answering,
            notify: Notify::from_env(),
        })
    }

    /// Serves the socket and the signals until it is told to end, and ends.
    fn until_told(
        self,
        traffic: &Runtime,
        socket: &Listener,
        key: &StateKey,
    ) -> Result<(), ServeError> {
        let closing = CancellationToken::new();
        std::thread::scope(|scope| {
            let until = Until::Told(closing.clone());
            let (gate, handle) = (Arc::clone(&self.gate), traffic.handle().clone());
            scope.spawn(move || serve::serve(&gate, socket, key, &handle, &until));
            let ended = traffic.block_on(self.live());
            closing.cancel();
            ended
        })
    }

    async fn live(mut self) -> Result<(), ServeError> {
        let system = |source| ServeError::System { what: "waiting for signals", source };
        let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(system)?;
        self.notify.ready();
        tracing::info!(config = %self.options.display(), "the gate serves");
        let folder = Arc::clone(&self.folder);
        let watching = folder.watch();
        let mut watching = std::pin::pin!(watching);
        let attachments = Arc::clone(&self.attachments);
        let (telling, agents) = (self.accepting.telling(), Arc::clone(&self.agents));
        let following = follow(&attachments, |attempts| {
            let whose = Whose::Attached(Arc::clone(&attachments), Arc::clone(&agents));
            telling.tell(attempts, whose);
        });
        let mut following = std::pin::pin!(following);
        let leaving = loop {
            tokio::select! {
                () = &mut watching => {}
                () = &mut following => {}
                _ = hangup.recv() => self.reload().await,
                _ = terminate.recv() => break Leaving::Stopped,
                _ = interrupt.recv() => break Leaving::Stopped,
                leaving = self.handle.left() => break leaving,
            }
        };
        self.end(leaving).await
    }

    /// Reads the contracts anew, and says what of the configuration waits for a restart.
    async fn reload(&mut self) {
        self.notify.reloading();
        match self.folder.reload_now().await {
            Ok(reloaded) => tracing::info!(?reloaded, "the contracts were read again"),
            Err(error) => tracing::error!(%error, "the contracts before stay in force"),
        }
        match configuration(&self.options) {
            Ok(new) => self.adopt(new).await,
            Err(error) => tracing::error!(%error, "the configuration's file is faulty now"),
        }
        if let Err(error) = self.accepting.tls.reload(&self.config.listen) {
            tracing::error!(%error, "the certificate before stays in use");
        }
        self.notify.ready();
    }

    /// Lets of a new configuration hold what can change while the gate goes on, once it is recorded.
    async fn adopt(&mut self, new: Config) {
        let waiting = self.config.changes_needing_restart(&new);
        if !waiting.is_empty() {
            let keys = waiting.join(", ");
            tracing::warn!(keys, "changed in the configuration, in force after a restart");
        }
        let config = hex(&new.digest());
        if config == hex(&self.config.digest()) {
            return;
        }
        let holdings = match holdings::of(&new, &self.gate) {
            Ok(holdings) => holdings,
            Err(error) => {
                tracing::error!(%error, "the configuration before stays in force");
                return;
            }
        };
        let act = record::Service::Reloaded { config, waiting };
        if let Err(error) = self.gate.journal.commit(Kind::Operator, Who::default(), &act).await {
            tracing::error!(%error, "the configuration before stays in force");
            return;
        }
        self.agents.now_under(new.mode, holdings);
        self.config.drain = new.drain;
    }
}

fn agents(config: &Config, gate: &Gate, folder: &PolicyFolder) -> Result<Agents, ServeError> {
    let settings =
        Settings { mode: config.mode, holdings: Arc::new(holdings::of(config, gate)?), read: 0 };
    let common = Common {
        policies: folder.policies(),
        settings,
        upstream: Arc::new(holdings::upstream(config)?),
        sizes: Sizes { connections: CONNECTIONS, exchanges: EXCHANGES, bodies: RUN_BODIES },
        pod: config.pod.as_ref().map(|pod| pod.agent.as_str().into()),
    };
    Agents::new(common, gate.clock.now())
        .map_err(|source| ServeError::System { what: "drawing random numbers", source })
}

/// The pod and what comes in to it.
fn guarded(
    config: &Config,
    gate: &Arc<Gate>,
    agents: &Arc<Agents>,
    pod: Option<&Arc<Pod>>,
) -> Option<(Arc<Pod>, Arc<Inbound>)> {
    let (pod, said) = pod.zip(config.pod.as_ref())?;
    gate.metrics.guarded.by(pod.mode(), pod.declared().iter().copied());
    if !agents.has_contract(&pod.agent) {
        tracing::warn!(agent = %pod.agent, "no contract covers the agent in this pod: everything is refused");
    }
    let inbound = Inbound::of(Arc::clone(gate), Arc::clone(agents), Arc::clone(pod), said.inbound);
    Some((Arc::clone(pod), Arc::new(inbound)))
}

/// The contracts, each version entered in the ledger before it holds.
async fn policies(config: &Config, gate: &Arc<Gate>) -> Result<PolicyFolder, ServeError> {
    let pen = Arc::clone(gate);
    let record: Record = Box::new(move |policies| {
        let pen = Arc::clone(&pen);
        Box::pin(async move {
            let files = policies.files().iter().map(|file| {
                let digest = hex(&file.digest);
                (file.file.clone(), file.id.clone(), file.version.clone(), digest)
            });
            let body = record::InForce { policies: hex(policies.digest()), files: files.collect() };
            let entered = pen.journal.commit(Kind::Policy, Who::default(), &body).await;
            look::name(&pen, &policies);
            entered.map(|_receipt| ()).map_err(|error| error.to_string())
        })
    });
    let folder = PolicyFolder::open(config.policy.clone(), gate.clock.clone(), record)
        .await
        .map_err(|error| ServeError::Policy(error.to_string()))?;
    look::at_readings(gate, &folder);
    Ok(folder)
}

/// Attaches units anew as they are started anew: each has another control group then. What is refused in them is told
/// from the first attachment on.
async fn follow(attachments: &Arc<Attachments>, tell: impl Fn(Attempts)) {
    let mut ticks = tokio::time::interval(FOLLOW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if attachments.list().is_empty() {
            continue;
        }
        if let Some(attempts) = attachments.attempts() {
            tell(attempts);
        }
        let attachments = Arc::clone(attachments);
        let changed = tokio::task::spawn_blocking(move || attachments.refresh());
        for Listed { attachment, standing } in changed.await.unwrap_or_default() {
            tracing::info!(cgroup = attachment.cgroup, ?standing, "an attachment has changed");
        }
    }
}

/// Attaches again what was attached when the gate last ran.
fn restore(attachments: &Attachments, views: Views) {
    let before = views.attachments.into_iter();
    let before = before.map(|(cgroup, at)| Attachment { cgroup, at: Timestamp(at) });
    for (attachment, error) in attachments.restore(before.collect()) {
        tracing::error!(%error, cgroup = attachment.cgroup, "a control group is not attached again");
    }
}
