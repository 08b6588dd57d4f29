//! Standing keys, made and taken back.

use std::sync::Arc;

use audit::{Kind, Who};
use zeroize::Zeroizing;

use super::switches::ENDED_WITHIN;
use super::{ActError, Gate};
use crate::clock;
use crate::gate::protocol::{Answer, KeyMade, KeyTaken, Sealing};
use crate::keys::{KeyEvent, NewKey};
use crate::kills::Target;

/// The key is in the ledger before anybody has it.
pub(super) async fn create(gate: &Arc<Gate>, asked: NewKey) -> Result<Answer, ActError> {
    let _turn = gate.turn.0.lock().await;
    let provider = gate.vault.provider(&asked.credential);
    let provider = provider.ok_or_else(|| ActError::NoCredential(asked.credential.clone()))?;
    if !gate.vault.keeps(&asked.credential) {
        return Err(ActError::NotKept(asked.credential));
    }
    let random = Zeroizing::new(clock::random::<32>().map_err(ActError::Random)?);
    let created = gate.keys.create(asked, provider.shape, &random, gate.clock.now())?;
    let who = Who {
        agent: Some(created.event.agent.clone()),
        key: Some(created.event.id.clone()),
        ..Who::default()
    };
    let entered = KeyEvent::Created(created.event.clone());
    let receipt = match gate.journal.commit(Kind::Key, who, &entered).await {
        Ok(receipt) => receipt,
        Err(error) => {
            gate.keys.forget(&created.event);
            return Err(error.into());
        }
    };
    let key = String::from_utf8_lossy(created.key.reveal()).into_owned();
    let made = KeyMade { key: Sealing(key), id: created.event.id, entry: receipt.seq };
    Ok(Answer::KeyMade(Box::new(made)))
}

/// One key, by its id or its name.
pub(super) fn show(gate: &Gate, which: String) -> Result<Answer, ActError> {
    let row = gate.keys.show(&which, gate.clock.now());
    row.map(|row| Answer::Key(Box::new(row))).ok_or(ActError::NoKey(which))
}

/// Opens nothing more; in the ledger; what it had opened is cut; answered. In this order.
pub(super) async fn revoke(
    gate: &Arc<Gate>,
    which: String,
    reason: String,
    by: String,
) -> Result<Answer, ActError> {
    let Some(revoked) = gate.keys.revoke(&which, &reason, &by) else {
        return Err(ActError::NoKey(which));
    };
    let id = revoked.id.clone();
    let killing = gate.kills.cut(&Target::Key(id.clone()));
    let who = Who { key: Some(id.clone()), ..Who::default() };
    let event = KeyEvent::Revoked(revoked);
    let (recorded, _ended) =
        tokio::join!(gate.journal.commit(Kind::Key, who, &event), killing.ended(ENDED_WITHIN));
    if let Err(error) = &recorded {
        tracing::error!(%error, "a key is revoked, and that is not recorded");
    }
    let entry = recorded.ok().map(|receipt| receipt.seq);
    Ok(Answer::KeyTaken(KeyTaken { id, entry, cut: killing.covered() as u64 }))
}
