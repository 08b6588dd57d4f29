//! What the DNS responder of a run may answer.

use std::sync::Arc;

use decide::case::Scheme;
use decide::policy::Mode;
use decide::{Reason, Refusal, RuleId};

use crate::exchange::settle;
use crate::gate::Gate;

use crate::listen::dns::{Admission, Directory, Event, Exists};
use crate::route::{Route, normal};
use crate::run::Run;
use crate::subject::Subject;
use crate::terms::Terms;

/// The port that a refused name is recorded with: what a program would most likely have dialled.
const LIKELY: u16 = 443;

/// The names of one run.
#[derive(Debug)]
pub(crate) struct Names {
    gate: Arc<Gate>,
    run: Arc<Run>,
}

impl Names {
    /// The names that `run` may ask for.
    pub(crate) const fn of(gate: Arc<Gate>, run: Arc<Run>) -> Self {
        Self { gate, run }
    }
}

/// How a name stands in the contract of one agent.
pub(crate) fn admission(terms: &Terms, name: &str) -> Admission {
    let name = normal(name);
    let Some(contract) = terms.contract() else { return Admission::No };
    let exact = contract.destinations.iter().any(|grant| grant.host.as_str() == name);
    if exact {
        Admission::Exact
    } else if contract.admits_name(&name) || terms.mode == Mode::Observe {
        Admission::Wildcard
    } else {
        Admission::No
    }
}

impl Directory for Names {
    fn admits(&self, name: &str) -> Admission {
        admission(&self.run.terms(), name)
    }

    async fn exists(&self, name: &str) -> Exists {
        self.run.upstream.resolver.exists(&normal(name)).await
    }

    fn event(&self, event: Event<'_>) {
        match event {
            Event::Refused(name) => {
                let refusal = Refusal {
                    rule: RuleId("filtering/destination"),
                    reason: Reason::DestinationNotAllowed(normal(name)),
                };
                let (gate, subject) = (Arc::clone(&self.gate), Subject::of_run(&self.run));
                let provider = subject.terms.holdings.provider_of(&normal(name));
                let route = Route::new(normal(name), LIKELY, Scheme::Https, provider);
                self.run.tasks.spawn(async move {
                    settle::refuse_connection(&gate, &subject, &route, None, refusal).await;
                });
            }
            Event::LookedUp(name, found) => {
                tracing::info!(
                    name,
                    ?found,
                    run = self.run.id,
                    "a name was looked up for the agent"
                );
            }
            Event::NotLookedUp(name) => {
                tracing::warn!(
                    name,
                    run = self.run.id,
                    "a name was not looked up: too long, or one of too many"
                );
            }
            Event::Full(_) => {
                tracing::error!(run = self.run.id, "a run has used up its addresses for names");
            }
        }
    }
}
