//! Credentials, sealed, exchanged and forgotten.

use std::sync::Arc;

use audit::{Kind, Who};

use super::{ActError, Gate, keys};
use crate::gate::protocol::{Answer, CredentialSet, NewCredential, Sealing};
use crate::record::Operator;
use crate::vault::known::{self, KINDS};
use crate::vault::{Secret, VaultError};

/// Seals a credential under a name of its own.
pub(super) async fn add(gate: &Arc<Gate>, asked: NewCredential) -> Result<Answer, ActError> {
    let NewCredential { name, provider, secret, adopted, by } = asked;
    let Some(kind) = known::named(&provider) else {
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        return Err(ActError::NoProvider(provider, known.join(", ")));
    };
    let _turn = gate.turn.0.lock().await;
    let secret = Secret::from(secret.0.clone());
    // What lies in a file may be adopted again, to be replaced there this time.
    let again = adopted.is_some() && is_same(gate, &name, kind, &secret);
    if !again {
        gate.vault.can_add(&name)?;
    }
    if gate.keys.runs_with(&name) > 0 && !gate.vault.holds(&name, &secret)? {
        return Err(ActError::OfALiveRun(name));
    }
    let body =
        Operator::CredentialAdded { credential: name.clone(), provider, adopted, by: by.clone() };
    let entry = commit(gate, &body).await?;
    if again {
        return Ok(set(entry, version(gate, &name), Vec::new()));
    }
    let added = gate.vault.add(&name, kind, &secret, gate.clock.now());
    let version = done(gate, &name, by, added).await?;
    gate.keys.remember(&secret, kind.shape);
    Ok(set(entry, Some(version), Vec::new()))
}

/// Exchanges a credential's secret: the next request that is sent has the new one.
pub(super) async fn rotate(
    gate: &Arc<Gate>,
    name: String,
    secret: &Sealing,
    by: String,
) -> Result<Answer, ActError> {
    let _turn = gate.turn.0.lock().await;
    let kind = gate.vault.provider(&name).ok_or_else(|| VaultError::Unknown(name.clone()))?;
    let secret = Secret::from(secret.0.clone());
    let body = Operator::CredentialRotated { credential: name.clone(), by: by.clone() };
    let entry = commit(gate, &body).await?;
    let rotated = gate.vault.rotate(&name, &secret, gate.clock.now());
    let version = done(gate, &name, by, rotated).await?;
    gate.keys.remember(&secret, kind.shape);
    Ok(set(entry, Some(version), Vec::new()))
}

/// Forgets a credential, and takes the keys back that stand for it.
pub(super) async fn remove(
    gate: &Arc<Gate>,
    name: String,
    force: bool,
    by: String,
) -> Result<Answer, ActError> {
    let _turn = gate.turn.0.lock().await;
    gate.vault.provider(&name).ok_or_else(|| VaultError::Unknown(name.clone()))?;
    let standing = gate.keys.standing_for(&name, gate.clock.now());
    let runs = gate.keys.runs_with(&name);
    if !force && (runs > 0 || !standing.is_empty()) {
        let keys = match (standing.len(), runs) {
            (0, _) => format!("{runs} live runs have keys"),
            (keys, 0) => format!("{keys} standing keys are live"),
            (keys, _) => format!("{keys} standing keys are live, and {runs} live runs have keys"),
        };
        return Err(ActError::InUse { name, keys });
    }
    for id in &standing {
        let why = format!("the credential {name} is removed");
        keys::revoke(gate, id.clone(), why, by.clone()).await?;
    }
    let body = Operator::CredentialRemoved { credential: name.clone(), by: by.clone() };
    let entry = commit(gate, &body).await?;
    let removed = gate.vault.remove(&name);
    done(gate, &name, by, removed).await?;
    Ok(set(entry, None, standing))
}

/// Whether an operator keeps this very secret under this name.
fn is_same(gate: &Gate, name: &str, kind: &known::Kind, secret: &Secret) -> bool {
    gate.vault.keeps(name)
        && gate.vault.provider(name) == Some(kind)
        && gate.vault.holds(name, secret).is_ok_and(|same| same)
}

fn version(gate: &Gate, name: &str) -> Option<u64> {
    let listed = gate.vault.credentials().into_iter().find(|one| one.name == name);
    listed.map(|one| one.version)
}

async fn commit(gate: &Gate, body: &Operator) -> Result<u64, ActError> {
    Ok(gate.journal.commit(Kind::Operator, Who::default(), body).await?.seq)
}

/// What was entered was done; where it was not, the ledger is told so.
async fn done<T>(
    gate: &Gate,
    name: &str,
    by: String,
    changed: Result<T, VaultError>,
) -> Result<T, ActError> {
    let error = match changed {
        Ok(done) => return Ok(done),
        Err(error) => error,
    };
    let (credential, why) = (name.to_owned(), error.to_string());
    commit(gate, &Operator::CredentialUnchanged { credential, why, by }).await?;
    Err(error.into())
}

fn set(entry: u64, version: Option<u64>, revoked: Vec<String>) -> Answer {
    Answer::CredentialSet(CredentialSet { entry, version, revoked })
}
