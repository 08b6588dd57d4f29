//! Fills the facts of each band into the case, just before that band is judged.

use std::future::Future;

use bytes::Bytes;
use decide::case::{
    Address, CredentialStanding, Destination, EndpointClass, Envelope, EnvelopeFault, Findings,
    KillScope, Rate, Reservation, Standing,
};
use decide::{Known, Missing};
use http::request::Parts;
use hyper::body::Incoming;
use wire::{Reading, Role, Scanned};

use super::body::{self, Held, Unread};
use super::Exchange;
use crate::money;
use crate::places;
use crate::upstream::ResolveError;

/// A request's body at hand: as sent, and as read.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) sent: Bytes,
    pub(crate) decoded: Bytes,
    pub(crate) faults: Vec<EnvelopeFault>,
    pub(crate) missing: Option<Missing>,
    _held: Option<Held>,
}

impl Exchange {
    /// Who is calling, with which credentials, whereto: from the connection and the head alone.
    pub(crate) fn gather_ingress(&mut self, head: &Parts) {
        let connection = &self.connection;
        let credential = self.run.credential_for(&connection.host);
        self.case.caller = Known::Fact(decide::case::Caller {
            agent: self.run.agent.clone(),
            run: self.run.id.clone(),
        });
        self.case.destination = Known::Fact(Destination {
            host: connection.host.clone(),
            port: connection.port,
            scheme: connection.scheme,
            agrees: connection.agrees && connection.is_meant_by(head),
            credential,
        });
        let standing = places::standing(head, self.dialect.places());
        let values: Vec<&str> = standing.iter().map(|found| found.value.as_str()).collect();
        let presented = self.gate.keys.present(&values, &self.run.agent, self.case.received);
        self.case.credentials = Known::Fact(
            standing
                .iter()
                .map(|found| CredentialStanding {
                    place: found.place.label(),
                    what: self.what_stands(found),
                })
                .collect(),
        );
        let key = match &presented {
            decide::case::Presented::Key(key) => Some(key.id.clone()),
            decide::case::Presented::Nothing
            | decide::case::Presented::Unknown
            | decide::case::Presented::Ambiguous => None,
        };
        if let Some(key) = &key {
            self.live.with_key(key);
        }
        self.case.kills = Known::Fact(self.gate.kills.covering(&self.run.agent, key.as_deref()));
        self.case.key = Known::Fact(presented);
    }

    fn what_stands(&self, found: &places::Found) -> Standing {
        if self.gate.keys.is_live(&found.value) {
            return Standing::VirtualKey;
        }
        if found.place.role == Role::Account && self.run.sets_account(&found.place, &found.value) {
            return Standing::SetByGate;
        }
        decide::scan::find(&found.value)
            .first()
            .map_or(Standing::Foreign, |secret| Standing::RealKey(secret.class))
    }

    /// Reads the body within its limits and takes its encoding off.
    pub(crate) async fn read_body(
        &self,
        head: &Parts,
        incoming: &mut Incoming,
    ) -> Result<Body, KillScope> {
        let limit = self.body_limit();
        let held = self.unless_killed(body::collect(incoming, limit, &self.gate.bodies)).await?;
        Ok(match held {
            Ok(held) => {
                let sent = held.bytes.clone();
                let (decoded, fault) = decoded(head, &sent, limit);
                Body { sent, decoded, faults: Vec::from_iter(fault), missing: None, _held: Some(held) }
            }
            Err(Unread::TooLarge) => Body::unread(Some(EnvelopeFault::Oversize(limit)), None),
            Err(Unread::NoRoom) => Body::unread(None, Some(Missing::Unreachable)),
            Err(Unread::Broken) => Body::unread(None, Some(Missing::Malformed)),
        })
    }

    fn body_limit(&self) -> u64 {
        let granted = self.run.grant(&self.connection.host, self.connection.port);
        granted
            .and_then(|grant| grant.upload)
            .unwrap_or_else(|| self.dialect.body_limit(&self.endpoint))
    }

    /// What is asked, of whom, and how often: from the whole request.
    pub(crate) async fn gather_filtering(
        &mut self,
        head: &Parts,
        body: &Body,
        reading: &Reading<'_>,
    ) -> Result<(), KillScope> {
        let mut faults = wire::envelope::head(head);
        if head.version < http::Version::HTTP_2 && head.uri.scheme().is_some() {
            faults.push(EnvelopeFault::PathForm);
        }
        faults.extend(body.faults.iter().cloned());
        if body.faults.is_empty() && body.missing.is_none() {
            faults.extend(reading.faults.iter().cloned());
        }
        self.case.envelope = body.missing.map_or_else(
            || Known::Fact(Envelope { faults, bytes: body.sent.len() as u64 }),
            Known::Missing,
        );
        self.case.ask = Known::Fact(reading.ask.clone().map(|mut ask| {
            ask.foreign_objects = self.run.not_ours(&reading.objects);
            ask
        }));
        self.case.endpoint = Known::Fact(self.endpoint.clone());
        self.case.rate = Known::Fact(match self.run.contract().and_then(|contract| contract.rate) {
            Some(limit) => self.gate.rates.enter(&self.run.agent, limit, self.case.received),
            None => Rate::Unlimited,
        });
        self.case.address = self.address().await?;
        Ok(())
    }

    /// Resolves the destination's name, once the contract admits the name as text.
    async fn address(&self) -> Result<Known<Address>, KillScope> {
        let connection = &self.connection;
        let admitted = self.run.admits(&connection.host, connection.port);
        let looks_up = admitted || self.run.mode == decide::policy::Mode::Observe;
        if !looks_up || !connection.agrees {
            return Ok(Known::Fact(Address::NotLookedUp));
        }
        let resolving = self.run.resolver.resolve(&connection.host, connection.port);
        Ok(match self.unless_killed(resolving).await? {
            Ok(resolved) => {
                let fact = Known::Fact(resolved.fact());
                connection.resolved.store(Some(std::sync::Arc::new(resolved)));
                fact
            }
            Err(ResolveError::NoSuchName { .. }) => Known::Fact(Address::NoSuchName),
            Err(_unreachable) => Known::Missing(Missing::Unreachable),
        })
    }

    /// What the request carries, by class.
    pub(crate) fn gather_content(
        &mut self,
        head: &Parts,
        body: &Body,
        reading: &Reading<'_>,
    ) -> Scanned {
        let scanned = wire::scan_request(head, reading.document.as_ref(), &body.decoded);
        self.case.findings = Known::Fact(Findings {
            secrets: scanned.findings.secrets.clone(),
            replaceable: scanned.findings.replaceable,
        });
        scanned
    }

    /// Sets the worst case aside, waiting for other open reservations where that can help.
    pub(crate) async fn gather_engines(&mut self) -> Result<(), KillScope> {
        let (known, booked) = match (self.endpoint.class, self.case.ask.clone()) {
            (EndpointClass::Priced, Known::Fact(Some(ask))) => {
                let asked = money::Reserve::of(&self.run, &self.case, &ask, self.dialect);
                match asked {
                    Ok(asked) => {
                        let reserving = self.gate.books.reserve_or_wait(asked, &self.gate.clock);
                        let answer = self.unless_killed(reserving).await?;
                        (Known::Fact(answer.fact), answer.booked)
                    }
                    Err(refused) => (Known::Fact(refused), None),
                }
            }
            (EndpointClass::Priced, _) => (Known::Missing(Missing::Malformed), None),
            (
                EndpointClass::Free
                | EndpointClass::Read
                | EndpointClass::Write
                | EndpointClass::Ungoverned
                | EndpointClass::Unlisted,
                _,
            ) => (Known::Fact(Reservation::NotNeeded), None),
        };
        self.case.budget = known;
        self.booked = booked;
        Ok(())
    }

    /// Waits for `work`, or for a kill switch.
    async fn unless_killed<T>(&self, work: impl Future<Output = T>) -> Result<T, KillScope> {
        tokio::select! {
            biased;
            scope = self.live.killed() => Err(scope),
            done = work => Ok(done),
        }
    }
}

impl Body {
    const fn unread(fault: Option<EnvelopeFault>, missing: Option<Missing>) -> Self {
        let faults = match fault {
            Some(fault) => vec_of(fault),
            None => Vec::new(),
        };
        Self { sent: Bytes::new(), decoded: Bytes::new(), faults, missing, _held: None }
    }
}
