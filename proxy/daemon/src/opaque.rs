//! Connections whose bytes the gate does not read: name and address are judged, bytes are counted.
//!
//! Enforce carries only what the contract names as opaque. Observe carries what it cannot read too,
//! but for hosts where the gate puts a credential in: nobody could say whose account is used there.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use audit::Kind;
use decide::case::{
    Address, Case, Endpoint, EndpointClass, Envelope, Findings, Presented, Rate, Reservation,
};
use decide::chain::CHAIN;
use decide::policy::Mode;
use decide::{Known, Missing, Outcome};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::io::InspectReader;

use crate::clock;
use crate::exchange::settle::{self, Written};
use crate::exchange::{Ending, Over};
use crate::intake::Connection;
use crate::kills::{Entry, Guard};
use crate::record;
use crate::route::Route;
use crate::subject::Subject;
use crate::telemetry::Opened;
use crate::upstream::resolve::{ResolveError, Resolved};

/// What is asked of whom on such a connection.
const OPAQUE: &str = "opaque";
/// How long an upstream may take to be reached.
const DIALLED_WITHIN: Duration = Duration::from_secs(10);

/// Carries one connection through: judged, recorded, dialled, copied both ways and counted.
///
/// Who waits here may be dropped; the connection then ends by itself, and is written down.
pub(crate) async fn carry<S>(
    connection: Arc<Connection>,
    subject: Subject,
    route: Arc<Route>,
    stream: S,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let tasks = subject.run.tasks.clone();
    // A failure in it has been logged.
    drop(tasks.spawn(judged(connection, subject, route, stream)).await);
}

async fn judged<S>(connection: Arc<Connection>, subject: Subject, route: Arc<Route>, mut stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (gate, run, terms) = (&connection.gate, &subject.run, &subject.terms);
    let Ok((mut case, live)) = opened(&connection, &subject, &route) else { return };
    let resolved = resolve(&subject, &route).await;
    case.address = address(resolved.as_ref());
    let decision = CHAIN.judge(&case, &terms.policy, terms.mode);
    // There is no request that could name a trace.
    let opened = Opened { received: case.received, decision: &case.id };
    let mut span = gate.span(&HeaderMap::new(), opened);
    let intake = connection.intake(&route);
    let over =
        Over { gate, subject: &subject, route: &route, intake, case: &case, operation: OPAQUE };
    if let Err(error) = Written::of(gate, &subject, &route, &case, &decision).commit().await {
        tracing::error!(%error, "an unread connection is not recorded, and not carried");
        return over.tell(span, &Ending::unrecorded(gate.clock.now()));
    }
    if let Some(observed) = &decision.observed {
        run.note_observed(observed);
        gate.metrics.observed.with_label_values(&[observed.rule.name()]).inc();
    }
    let target = match (&decision.outcome, resolved) {
        (Outcome::Forward { .. }, Ok(Some(target))) => target,
        (Outcome::Refuse(refusal), _) => {
            return over.tell(span, &Ending::refused(refusal.rule.0, gate.clock.now()));
        }
        (Outcome::Forward { .. }, _) => return,
    };
    span.send(&mut HeaderMap::new());
    let mut outcome = record::Outcome { id: case.id.clone(), ..record::Outcome::default() };
    let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
    tokio::select! {
        biased;
        scope = live.killed() => outcome.cut = Some(crate::exchange::killed(scope)),
        () = run.over.cancelled() => outcome.gone = true,
        copied = copy(&mut stream, &target, &sent, &received) => if let Err(error) = copied {
            tracing::info!(%error, host = route.host, "an opaque connection broke");
            outcome.broken = true;
        },
    }
    outcome.bytes_in = sent.load(Ordering::Relaxed);
    outcome.bytes_out = received.load(Ordering::Relaxed);
    outcome.run.clone_from(&run.id);
    outcome.agent.clone_from(&run.agent);
    let now = gate.clock.now();
    outcome.took_us = now.0.saturating_sub(case.received.0);
    gate.journal.ride(Kind::Outcome, run.who(None), &outcome);
    over.tell(span, &Ending::of(&outcome, now));
}

/// All that is known of a connection of which no byte is read.
fn opened(connection: &Connection, subject: &Subject, route: &Route) -> io::Result<(Case, Guard)> {
    let (gate, run) = (&connection.gate, &subject.run);
    let received = gate.clock.now();
    let id = clock::ulid(received)?;
    let mut caller = subject.caller();
    caller.proxied = connection.proxied(subject);
    let key = caller.proxied.as_ref().map(|key| key.id.clone());
    let entry = Entry {
        exchange: id.clone(),
        agent: run.agent.clone(),
        team: subject.terms.policy.team.clone(),
        key: key.clone(),
        reset: connection.reset.clone(),
    };
    let live = gate.kills.enter(entry);
    let mut case = Case::opened(id, received);
    let team = subject.terms.policy.team.as_deref();
    case.caller = Known::Fact(caller);
    case.kills = Known::Fact(gate.kills.covering(&run.agent, team, key.as_deref()));
    case.key = Known::Fact(Presented::Nothing);
    case.credentials = Known::Fact(Vec::new());
    case.destination = Known::Fact(route.fact(&subject.terms, None, true));
    case.address = Known::Fact(Address::NotLookedUp);
    case.envelope = Known::Fact(Envelope::default());
    case.endpoint = Known::Fact(Endpoint {
        dialect: OPAQUE.to_owned(),
        operation: OPAQUE.to_owned(),
        class: EndpointClass::Read,
    });
    case.ask = Known::Fact(None);
    case.rate = Known::Fact(Rate::Unlimited);
    case.findings = Known::Fact(Findings::default());
    case.budget = Known::Fact(Reservation::NotNeeded);
    Ok((case, live))
}

async fn resolve(subject: &Subject, route: &Route) -> Result<Option<Resolved>, ResolveError> {
    let (Subject { run, terms, .. }, Route { host, port, .. }) = (subject, route);
    let observed = terms.mode == Mode::Observe && terms.credential_for(host, *port, None).is_none();
    if !terms.admits(host, *port) && !observed {
        return Ok(None);
    }
    run.upstream.resolver.resolve(host, *port).await.map(Some)
}

fn address(resolved: Result<&Option<Resolved>, &ResolveError>) -> Known<Address> {
    match resolved {
        Ok(None) => Known::Fact(Address::NotLookedUp),
        Ok(Some(resolved)) => Known::Fact(settle::address(resolved)),
        Err(ResolveError::NoSuchName(_)) => Known::Fact(Address::NoSuchName),
        Err(ResolveError::Timeout(_) | ResolveError::Failed { .. }) => {
            Known::Missing(Missing::Unreachable)
        }
    }
}

async fn copy<S>(
    stream: &mut S,
    target: &Resolved,
    sent: &AtomicU64,
    received: &AtomicU64,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let dialled = TcpStream::connect(target.addresses.as_slice());
    let upstream = tokio::time::timeout(DIALLED_WITHIN, dialled).await??;
    upstream.set_nodelay(true)?;
    let count = |counter: &AtomicU64, bytes: &[u8]| {
        counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    };
    let mut agent = InspectReader::new(stream, |bytes: &[u8]| count(sent, bytes));
    let mut upstream = InspectReader::new(upstream, |bytes: &[u8]| count(received, bytes));
    tokio::io::copy_bidirectional(&mut agent, &mut upstream).await.map(|_| ())
}
