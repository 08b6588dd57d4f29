//! Connections whose bytes the gate does not read: name and address are judged, bytes are counted.

use std::io;
use std::sync::Arc;

use audit::Kind;
use decide::case::{
    Address, Case, Endpoint, EndpointClass, Envelope, Findings, Presented, Rate, Reservation,
};
use decide::chain::CHAIN;
use decide::policy::Mode;
use decide::{Known, Missing, Outcome};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::clock;
use crate::exchange::settle::{self, Written};
use crate::intake::Connection;
use crate::kills::{Entry, Guard};
use crate::record;
use crate::upstream::resolve::{ResolveError, Resolved};

/// Carries one connection through: judged, recorded, dialled, copied both ways and counted.
pub(crate) async fn carry<S>(connection: Arc<Connection>, mut stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Ok((mut case, live)) = opened(&connection) else { return };
    let resolved = resolve(&connection).await;
    case.address = address(resolved.as_ref());
    let decision = CHAIN.judge(&case, &connection.run.policy, connection.run.mode);
    let written = Written::of(&connection, &case, &decision).commit().await;
    let (Ok(()), Outcome::Forward { .. }, Ok(Some(target))) =
        (written, &decision.outcome, resolved)
    else {
        return;
    };
    if let Some(observed) = &decision.observed {
        connection.run.note_observed(observed);
        let rule = observed.rule.name();
        connection.gate.metrics.observed.with_label_values(&[rule]).inc();
    }
    let mut outcome = record::Outcome { id: case.id.clone(), ..record::Outcome::default() };
    let copied = tokio::select! {
        biased;
        scope = live.killed() => {
            outcome.cut = Some(crate::exchange::killed(scope));
            Ok((0, 0))
        }
        copied = copy(&mut stream, &target) => copied,
    };
    match copied {
        Ok((sent, received)) => (outcome.bytes_in, outcome.bytes_out) = (sent, received),
        Err(error) => {
            tracing::info!(%error, host = connection.host, "an opaque connection broke");
            outcome.broken = true;
        }
    }
    outcome.run.clone_from(&connection.run.id);
    outcome.agent.clone_from(&connection.run.agent);
    outcome.took_us = connection.gate.clock.now().0.saturating_sub(case.received.0);
    connection.gate.journal.ride(Kind::Outcome, connection.run.who(None), &outcome);
}

/// Records the refusal of a connection that is neither HTTP nor allowed as opaque.
pub(crate) async fn refuse(connection: Arc<Connection>) {
    let Ok((case, _live)) = opened(&connection) else { return };
    let decision = CHAIN.judge(&case, &connection.run.policy, connection.run.mode);
    if let Err(error) = Written::of(&connection, &case, &decision).commit().await {
        tracing::error!(%error, "a refused connection is not recorded");
    }
}

/// All that is known of a connection of which no byte is read.
fn opened(connection: &Connection) -> io::Result<(Case, Guard)> {
    let (gate, run) = (&connection.gate, &connection.run);
    let received = gate.clock.now();
    let id = clock::ulid(received)?;
    let entry = Entry {
        exchange: id.clone(),
        agent: run.agent.clone(),
        key: None,
        reset: connection.reset.clone(),
    };
    let live = gate.kills.enter(entry);
    let mut case = Case::opened(id, received);
    case.caller = Known::Fact(run.caller());
    case.kills = Known::Fact(gate.kills.covering(&run.agent, None));
    case.key = Known::Fact(Presented::Nothing);
    case.credentials = Known::Fact(Vec::new());
    case.destination = Known::Fact(connection.fact(true));
    case.address = Known::Fact(Address::NotLookedUp);
    case.envelope = Known::Fact(Envelope::default());
    case.endpoint = Known::Fact(Endpoint {
        dialect: "opaque".to_owned(),
        operation: "opaque".to_owned(),
        class: EndpointClass::Read,
    });
    case.ask = Known::Fact(None);
    case.rate = Known::Fact(Rate::Unlimited);
    case.findings = Known::Fact(Findings::default());
    case.budget = Known::Fact(Reservation::NotNeeded);
    Ok((case, live))
}

async fn resolve(connection: &Connection) -> Result<Option<Resolved>, ResolveError> {
    let run = &connection.run;
    if !run.admits(&connection.host, connection.port) && run.mode != Mode::Observe {
        return Ok(None);
    }
    connection.run.resolver.resolve(&connection.host, connection.port).await.map(Some)
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

async fn copy<S>(stream: &mut S, target: &Resolved) -> io::Result<(u64, u64)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut upstream = TcpStream::connect(target.addresses.as_slice()).await?;
    upstream.set_nodelay(true)?;
    tokio::io::copy_bidirectional(stream, &mut upstream).await
}
