//! Kill switches, set and lifted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use audit::{Kind, Who};

use super::ActError;
use crate::gate::Gate;
use crate::gate::protocol::{Answer, Killed, Switch};
use crate::record::Switched;

/// How long covered exchanges have to report their end before their connections are reset.
pub(super) const ENDED_WITHIN: Duration = Duration::from_millis(50);

/// In force in memory; in the ledger; every covered exchange ended or reset; answered. In this order.
pub(super) async fn kill(gate: &Arc<Gate>, switch: Switch) -> Answer {
    let begun = Instant::now();
    let Switch { target, reason, by, dry_run } = switch;
    if dry_run {
        let cut = gate.kills.would_stop(&target.into()) as u64;
        return Answer::Killed(Killed { entry: None, cut, reset: 0, took_us: 0 });
    }
    let (_, killing) = gate.kills.kill(target.clone().into());
    let body = Switched { target, reason, by };
    let (recorded, ended) = tokio::join!(
        gate.journal.commit(Kind::Kill, Who::default(), &body),
        killing.ended(ENDED_WITHIN)
    );
    if let Err(error) = &recorded {
        tracing::error!(%error, "a kill switch is in force and not recorded");
    }
    Answer::Killed(Killed {
        entry: recorded.ok().map(|receipt| receipt.seq),
        cut: killing.covered() as u64,
        reset: ended.stuck.len() as u64,
        took_us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
    })
}

/// In the ledger first, then no longer in force.
pub(super) async fn unkill(gate: &Arc<Gate>, switch: Switch) -> Result<Answer, ActError> {
    let Switch { target, reason, by, .. } = switch;
    if !gate.kills.state().contains(&target.clone().into()) {
        return Err(ActError::NotSet(target.to_string()));
    }
    let body = Switched { target: target.clone(), reason, by };
    let committed = gate.journal.commit(Kind::Unkill, Who::default(), &body).await;
    let receipt = committed.map_err(ActError::StaysSet)?;
    gate.kills.lift(&target.into());
    Ok(Answer::Unkilled { entry: receipt.seq })
}
