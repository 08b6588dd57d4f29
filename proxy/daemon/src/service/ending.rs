//! The orderly end of a service: not ready, a while for that to be seen, no new requests, a while for
//! those under way, a typed end for the rest, the ledger last.

use std::time::Duration;

use audit::{Kind, Who};

use super::{Leaving, ServeError, Service};
use crate::record;

/// How long exchanges that were told to end have to settle.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);
/// How long connections without a request have to close.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);

impl Service {
    /// Ends in order. From the first step on readiness says no.
    pub(super) async fn end(self, why: Leaving) -> Result<(), ServeError> {
        self.handle.leave(why);
        self.notify.stopping();
        let drain = self.config.drain;
        tracing::info!(?why, live = self.gate.kills.live(), "the gate is ending");
        // Whoever takes over accepts already; otherwise those who send traffic have to see the change.
        if why == Leaving::Stopped {
            tokio::time::sleep(drain.delay).await;
        }
        self.accepting.stop.cancel();
        self.gate.stopping.cancel();
        self.accepting.tasks.close();
        // A connection may have been accepted and not yet asked anything: as long as it is open, more can come.
        let over = async {
            self.accepting.tasks.wait().await;
            self.quiet().await;
        };
        let _elapsed = tokio::time::timeout(drain.streams, over).await;
        let killing = self.gate.kills.drain();
        let cut = killing.covered() as u64;
        killing.ended(SETTLED_WITHIN).await;
        let closed = tokio::time::timeout(CLOSED_WITHIN, self.accepting.tasks.wait());
        if closed.await.is_err() {
            tracing::info!(open = self.accepting.tasks.len(), "connections are closed by the end");
        }
        let runs = self.agents.runs();
        for run in &runs {
            run.over.cancel();
        }
        let _elapsed = tokio::time::timeout(SETTLED_WITHIN, self.quiet()).await;
        for run in &runs {
            self.gate.books.close(&run.id, self.gate.clock.now());
        }
        drop(self.attachments);
        if let Some((_, inbound)) = &self.accepting.guarded {
            inbound.flush();
        }
        self.gate.journal.flush(true);
        let stopped = record::Service::Stopped { cut };
        self.gate.journal.commit(Kind::Operator, Who::default(), &stopped).await?;
        drop(self.health);
        tokio::task::spawn_blocking(move || self.telemetry.stop())
            .await
            .map_err(|error| ServeError::Policy(error.to_string()))?;
        self.gate.journal.ledger().close();
        tracing::info!(cut, "the gate has ended");
        Ok(())
    }

    /// Resolves when no exchange and no tunnel is under way. A request in the tunnel of one run may be another's.
    async fn quiet(&self) {
        loop {
            for run in self.agents.runs() {
                run.tasks.close();
                run.tasks.wait().await;
            }
            if self.agents.runs().iter().all(|run| run.tasks.is_empty()) {
                return;
            }
        }
    }
}
