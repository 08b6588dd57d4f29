//! What an operator does meanwhile: reloads, keys made and revoked, an agent stopped and let go on.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::gate::Gate;
use super::random::Random;
use super::way::Entry;

/// Between two changes.
const PAUSE: Duration = Duration::from_millis(1500);
/// Whose keys come and go.
pub(super) const FICKLE: &str = "fickle";

/// Changes something now and then; says how often.
pub(super) async fn changes(
    gate: &Gate,
    entry: &Entry,
    mut random: Random,
    until: Instant,
) -> Result<u64> {
    let (mut done, mut killed) = (0, false);
    while Instant::now() + PAUSE < until {
        tokio::time::sleep(PAUSE).await;
        done += 1;
        match random.below(4) {
            0 => gate.reload(done)?,
            1 => {
                gate.tollgate(&["key", "revoke", FICKLE, "--reason", "soak"]).await?;
                let key = gate.key(FICKLE, FICKLE, "openai").await?;
                entry.keys.write().unwrap_or_else(PoisonError::into_inner).fickle = key;
            }
            _ => {
                let verb = if killed { "unkill" } else { "kill" };
                gate.tollgate(&[verb, "--agent", FICKLE, "--reason", "soak"]).await?;
                killed = !killed;
            }
        }
    }
    Ok(done)
}
