//! Exchanges the deployment's root for another, with a time in which both hold.
//!
//! Each step is in the ledger, then in the vault, then in force. After a crash between two of them the vault
//! alone says what holds; a step that is in the ledger and did not happen is asked for again.

use std::sync::Arc;

use audit::{Kind, Who};
use decide::case::Timestamp;

use super::ActError;
use crate::clock;
use crate::gate::protocol::Answer;
use crate::gate::{Gate, StartError, roots};
use crate::listen::mint::{Authority, Successor};
use crate::record::Operator;

/// Who ends an overlap whose declared end has come.
const DECLARED: &str = "the declared end of the overlap";

/// Makes a new root. From now on both are handed out; the old one signs until `until`, or until it is told to stop.
pub(super) async fn begin(
    gate: &Arc<Gate>,
    until: Option<Timestamp>,
    by: String,
) -> Result<Answer, ActError> {
    let _turn = gate.turn.0.lock().await;
    let now = gate.clock.now();
    if gate.leaves.successor().is_some() {
        return Err(ActError::RotationUnderWay);
    }
    if until.is_some_and(|until| until <= now) {
        return Err(ActError::OverlapIsOver);
    }
    let (authority, parts) = Authority::create(now, clock::random)?;
    let (old, new) = (signing(gate), authority.fingerprint());
    let times = Successor { since: now, until };
    let change = gate.leaves.follow_with(authority, times, now)?;
    let body = Operator::CaRotationBegun { old, new, until: until.map(|at| at.0), by: by.clone() };
    let entry = commit(gate, &body).await?;
    kept(gate, by, roots::keep_both(&gate.vault, &parts, times)).await?;
    gate.leaves.put(change);
    Ok(Answer::CaRotated { roots: gate.leaves.roots(), entry })
}

/// Retires the old root: the new one signs, and only it is handed out. The old one's key is gone.
pub(super) async fn finish(gate: &Arc<Gate>, by: String) -> Result<Answer, ActError> {
    let _turn = gate.turn.0.lock().await;
    let old = signing(gate);
    let change = gate.leaves.succeed(gate.clock.now())?.ok_or(ActError::NoRotation)?;
    let next = gate.leaves.roots().into_iter().find(|root| root.next.is_some());
    let new = next.map(|root| root.fingerprint).unwrap_or_default();
    let entry = commit(gate, &Operator::CaRotationFinished { old, new, by: by.clone() }).await?;
    kept(gate, by, roots::keep_successor(&gate.vault)).await?;
    gate.leaves.put(change);
    Ok(Answer::CaRotated { roots: gate.leaves.roots(), entry })
}

/// Whether the declared end of an overlap has come.
pub(in crate::gate) fn is_due(gate: &Gate) -> bool {
    let until = gate.leaves.successor().and_then(|successor| successor.until);
    until.is_some_and(|until| until <= gate.clock.now())
}

/// Ends an overlap whose declared end has come.
pub(in crate::gate) async fn finish_what_is_due(gate: &Arc<Gate>) {
    match finish(gate, DECLARED.to_owned()).await {
        Ok(_) => tracing::warn!(
            "the old CA is retired: programs that trust only it are refused by their own TLS"
        ),
        Err(error) => tracing::error!(%error, "the old CA cannot be retired"),
    }
}

/// The fingerprint of the root that signs.
fn signing(gate: &Gate) -> String {
    let mut roots = gate.leaves.roots().into_iter();
    roots.find(|root| root.next.is_none()).map(|root| root.fingerprint).unwrap_or_default()
}

async fn commit(gate: &Gate, body: &Operator) -> Result<u64, ActError> {
    Ok(gate.journal.commit(Kind::Operator, Who::default(), body).await?.seq)
}

/// What was entered was done; where it was not, the ledger is told so.
async fn kept(gate: &Gate, by: String, kept: Result<(), StartError>) -> Result<(), ActError> {
    let Err(error) = kept else { return Ok(()) };
    commit(gate, &Operator::CaUnchanged { why: error.to_string(), by }).await?;
    Err(ActError::Roots(error.to_string()))
}
