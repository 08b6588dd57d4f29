//! What the DNS responder of a service may answer: names that any contract names.
//!
//! Who asks over UDP is not known for certain, so a name is answered if anybody may go there; who
//! really does is judged when the connection comes. In a pod it is known: there is one agent.

use std::sync::Arc;

use decide::case::Scheme;
use decide::{Reason, Refusal, RuleId};

use crate::agents::Agents;
use crate::exchange::settle;
use crate::gate::Gate;
use crate::listen::dns::{Admission, Directory, Event, Exists};
use crate::names;
use crate::policies::Named;
use crate::route::{Route, normal};
use crate::subject::Subject;

/// The port that a refused name is recorded with: what a program would most likely have dialled.
const LIKELY: u16 = 443;

/// The names of a service.
#[derive(Debug)]
pub(super) struct Names {
    gate: Arc<Gate>,
    agents: Arc<Agents>,
    /// Whether the gate guards a pod, in which there is one agent.
    in_pod: bool,
}

impl Names {
    pub(super) const fn of(gate: Arc<Gate>, agents: Arc<Agents>, in_pod: bool) -> Self {
        Self { gate, agents, in_pod }
    }

    fn who(&self) -> Subject {
        if self.in_pod { self.agents.in_pod(&self.gate) } else { self.agents.stranger(None) }
    }
}

impl Directory for Names {
    fn admits(&self, name: &str) -> Admission {
        if self.in_pod {
            return names::admission(&self.who().terms, name);
        }
        match self.agents.admits_name(&normal(name)) {
            Some(Named::Exactly) => Admission::Exact,
            Some(Named::ByWildcard) => Admission::Wildcard,
            None => Admission::No,
        }
    }

    async fn exists(&self, name: &str) -> Exists {
        self.who().run.upstream.resolver.exists(&normal(name)).await
    }

    fn event(&self, event: Event<'_>) {
        match event {
            Event::Refused(name) => {
                let refusal = Refusal {
                    rule: RuleId("filtering/destination"),
                    reason: Reason::DestinationNotAllowed(normal(name)),
                };
                let (gate, asker) = (Arc::clone(&self.gate), self.who());
                let route = Route::new(normal(name), LIKELY, Scheme::Https, None);
                let tasks = asker.run.tasks.clone();
                tasks.spawn(async move {
                    settle::refuse_connection(&gate, &asker, &route, None, refusal).await;
                });
            }
            Event::LookedUp(name, found) => {
                tracing::info!(name, ?found, "a name was looked up for an agent");
            }
            Event::NotLookedUp(name) => {
                tracing::warn!(name, "a name was not looked up: too long, or one of too many");
            }
            Event::Full(_) => {
                tracing::error!("all addresses for names are used up until the gate starts again");
            }
        }
    }
}
