//! On whose behalf something is done: the agent's run, and the terms that hold for it now.

use std::net::IpAddr;
use std::sync::Arc;

use audit::Source;
use decide::case::{Caller, Identified};

use crate::run::Run;
use crate::terms::Terms;

/// Who a request is from, as the gate itself established it.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The agent's run.
    pub run: Arc<Run>,
    /// What holds for it; the same for the whole exchange.
    pub terms: Arc<Terms>,
    /// By what the gate knows it.
    pub by: Identified,
    /// Where it called from, where nothing else says who it is.
    pub from: Option<IpAddr>,
}

impl Subject {
    /// The one command of a `tollgate exec`.
    #[must_use]
    pub fn of_run(run: &Arc<Run>) -> Self {
        Self { run: Arc::clone(run), terms: run.terms(), by: Identified::Run, from: None }
    }

    /// The fact that the chain judges.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller {
            agent: self.run.agent.clone(),
            run: self.run.id.clone(),
            team: self.terms.policy.team.clone(),
            by: self.by,
            proxied: None,
            from: self.from.map(|from| from.to_string()),
        }
    }

    /// Who is counted when refusals come in a flood.
    #[must_use]
    pub fn source(&self) -> Source {
        match self.from {
            Some(from) => Source::Peer(from.to_string()),
            None => Source::Agent(self.run.agent.clone()),
        }
    }
}
