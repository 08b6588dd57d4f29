//! Fills the facts of each band into the case, just before that band is judged.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use decide::case::{
    Address, Ask, Bound, CredentialStanding, EndpointClass, Envelope, EnvelopeFault, Findings,
    Framing, Presented, Reservation, Standing,
};
use decide::policy::Mode;
use decide::{Known, Missing};
use http::request::Parts;
use hyper::body::Incoming;
use wire::{PriceFacts, Reading, Role, Scanned};

use super::body::{self, Held, Unread};
use super::{Exchange, Reply, Stop, settle};
use crate::heavy;
use crate::keys;
use crate::listen::strict::Framed;
use crate::money::{self, WorstCase, books::Payer};
use crate::places;
use crate::upstream::resolve::ResolveError;

/// How long a request waits for money that open exchanges may give back (DESIGN §5).
const PATIENCE: Duration = Duration::from_secs(30);

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
        let mut caller = self.subject.caller();
        caller.proxied = self.connection.proxied(&self.subject);
        let found = places::standing(head, self.dialect.places());
        let values: Vec<&str> = found.iter().map(|found| found.value.as_str()).collect();
        let presented = self.gate.keys.present(&values, &caller, self.case.received);
        let placed = found.iter().map(|found| CredentialStanding {
            place: found.place.label(),
            what: self.what_stands(found),
        });
        let astray = places::astray(head, self.dialect.places());
        let astray =
            astray.into_iter().map(|place| CredentialStanding { place, what: Standing::Foreign });
        self.case.credentials = Known::Fact(placed.chain(astray).collect());
        self.used = presented.used;
        let mut presented = presented.presented;
        // A key of a run is bound to it; what binds a standing one is where its user is.
        if let Presented::Key(key) = &mut presented
            && key.bound == Bound::Bearer
        {
            key.bound = self.connection.bound(&self.subject, self.owner.take(), &values);
        }
        self.case.key = Known::Fact(presented);
        let (key, stands_for) =
            self.key().map(|key| (key.id.clone(), key.credential.clone())).unzip();
        let meant = self.route.is_meant_by(head);
        let destination = self.route.fact(&self.subject.terms, stands_for.as_deref(), meant);
        self.case.destination = Known::Fact(destination);
        let key = key.or_else(|| caller.proxied.as_ref().map(|key| key.id.clone()));
        if let Some(key) = &key {
            self.live.uses_key(key);
        }
        let (team, key) = (caller.team.as_deref(), key.as_deref());
        self.case.kills = Known::Fact(self.gate.kills.covering(&caller.agent, team, key));
        self.case.caller = Known::Fact(caller);
    }

    fn what_stands(&self, found: &places::Found) -> Standing {
        let value = found.value.as_str();
        if keys::is_virtual(value) {
            // Where nothing replaces it, it would leave as it is.
            let held = self.subject.terms.credential_for(&self.route.host, self.route.port, None);
            let takes = held.map_or(&[][..], |held| held.kind.places);
            return match places::form(&found.place) {
                Some(form) if takes.contains(&form) => Standing::VirtualKey,
                Some(_) | None => Standing::Foreign,
            };
        }
        if found.place.role == Role::Account && self.subject.terms.sets_account(&found.place, value)
        {
            return Standing::SetByGate;
        }
        let shaped = decide::scan::find(value).first().map(|secret| secret.class);
        let sealed = || self.gate.keys.recognise(value).map(keys::Shape::class);
        shaped.or_else(sealed).map_or(Standing::Foreign, Standing::RealKey)
    }

    /// Reads the body within its limits and takes its encoding off.
    pub(crate) async fn read_body(
        &self,
        head: &Parts,
        incoming: &mut Incoming,
        reply: &mut Reply,
    ) -> Result<Body, Stop> {
        let limit = self.body_limit();
        let budgets = [&self.run.room.load().bodies.clone(), &self.gate.bodies];
        let read = self.unless_stopped(reply, body::collect(incoming, limit, budgets)).await?;
        Ok(match read {
            Ok(whole) => {
                let sent = whole.bytes.clone();
                // What is encoded may come to any length.
                let coded = head.headers.contains_key(http::header::CONTENT_ENCODING);
                let size = if coded { usize::MAX } else { sent.len() };
                let decoding = self.at_once(size, reply, || decoded(head, &sent, limit));
                let (decoded, fault) = decoding.await?;
                Body {
                    sent,
                    decoded,
                    faults: Vec::from_iter(fault),
                    missing: None,
                    _held: Some(whole),
                }
            }
            // What is not at hand whole cannot be sent. Observe lets a fault pass, and nothing missing.
            Err(Unread::TooLarge | Unread::Trailers)
                if self.subject.terms.mode == Mode::Observe =>
            {
                Body::unread(None, Some(Missing::Malformed))
            }
            Err(Unread::TooLarge) => Body::unread(Some(EnvelopeFault::Oversize(limit)), None),
            Err(Unread::Trailers) => {
                Body::unread(Some(EnvelopeFault::Framing(Framing::Trailers)), None)
            }
            Err(Unread::NoRoom) => Body::unread(None, Some(Missing::Unreachable)),
            Err(Unread::Broken | Unread::Slow) => Body::unread(None, Some(Missing::Malformed)),
        })
    }

    fn body_limit(&self) -> u64 {
        let usual = self.dialect.body_limit(&self.endpoint);
        let Some(contract) = self.subject.terms.contract() else { return usual };
        let granted = contract.grants(&self.route.host, self.route.port);
        granted.filter_map(|grant| grant.upload).max().unwrap_or(usual)
    }

    /// What is asked, of whom, and how often: from the whole request.
    pub(crate) async fn gather_filtering<'b>(
        &mut self,
        head: &Parts,
        body: &'b Body,
        reply: &mut Reply,
    ) -> Result<Reading<'b>, Stop> {
        self.work.begin(&self.gate);
        let (dialect, endpoint) = (self.dialect, &self.endpoint);
        let read = || dialect.read(endpoint, head, &body.decoded);
        let reading = self.at_once(body.decoded.len(), reply, read).await?;
        self.case.envelope = self.envelope(head, body, &reading);
        self.case.ask = Known::Fact(reading.ask.clone().map(|mut ask| {
            ask.foreign_objects = self.run.not_ours(&reading.objects);
            ask
        }));
        self.case.endpoint = Known::Fact(self.endpoint.clone());
        let limit = self.subject.terms.contract().and_then(|contract| contract.rate);
        let (rate, _entered) = self.gate.rates.enter(&self.run.agent, limit, self.case.received);
        self.case.rate = Known::Fact(rate);
        self.case.address = self.address(reply).await?;
        Ok(reading)
    }

    /// What is wrong with the request. Of one that was cut off for it there is nothing that observe could send.
    fn envelope(&self, head: &Parts, body: &Body, reading: &Reading<'_>) -> Known<Envelope> {
        let framing = head.extensions.get::<Framed>().and_then(Framed::fault);
        let unsendable = framing.or_else(|| wire::envelope::oversize(head));
        let missing = match (&unsendable, self.subject.terms.mode) {
            (Some(_), Mode::Observe) => Some(Missing::Malformed),
            (Some(_), Mode::Enforce) => None,
            (None, _) => body.missing,
        };
        if let Some(missing) = missing {
            return Known::Missing(missing);
        }
        let mut faults = Vec::from_iter(unsendable);
        faults.extend(wire::envelope::head(head, self.route.provider));
        if head.version < http::Version::HTTP_2 && head.uri.scheme().is_some() {
            faults.push(EnvelopeFault::PathForm);
        }
        faults.extend(body.faults.iter().cloned());
        if body.faults.is_empty() && body.missing.is_none() {
            faults.extend(reading.faults.iter().cloned());
        }
        Known::Fact(Envelope { faults, bytes: body.sent.len() as u64 })
    }

    /// Resolves the destination's name, once the contract admits the name as text.
    async fn address(&mut self, reply: &mut Reply) -> Result<Known<Address>, Stop> {
        let route = Arc::clone(&self.route);
        let admitted = self.subject.terms.admits(&route.host, route.port);
        let looks_up = admitted || self.subject.terms.mode == Mode::Observe;
        if !looks_up || !route.agrees {
            return Ok(Known::Fact(Address::NotLookedUp));
        }
        let resolving = self.run.upstream.resolver.resolve(&route.host, route.port);
        let paused = self.work.pause(&self.gate.clock);
        let resolved = self.unless_stopped(reply, resolving).await?;
        self.work.resume(paused, &self.gate.clock);
        Ok(match resolved {
            Ok(resolved) => {
                let fact = settle::address(&resolved);
                self.resolved = Some(resolved);
                Known::Fact(fact)
            }
            Err(ResolveError::NoSuchName(_)) => Known::Fact(Address::NoSuchName),
            Err(ResolveError::Timeout(_) | ResolveError::Failed { .. }) => {
                Known::Missing(Missing::Unreachable)
            }
        })
    }

    /// What the request carries, by class.
    pub(crate) async fn gather_content(
        &mut self,
        head: &Parts,
        body: &Body,
        reading: &Reading<'_>,
        reply: &mut Reply,
    ) -> Result<Scanned, Stop> {
        let (places, document) = (self.dialect.places(), reading.document.as_ref());
        let scan = || wire::scan_request(head, places, document, &body.decoded);
        let scanned = self.at_once(body.decoded.len(), reply, scan).await?;
        self.case.findings = Known::Fact(Findings {
            secrets: scanned.findings.secrets.clone(),
            replaceable: scanned.findings.replaceable,
        });
        Ok(scanned)
    }

    /// Sets the worst case aside, waiting for other open reservations where that can help.
    pub(crate) async fn gather_engines(
        &mut self,
        body: &Body,
        reading: &Reading<'_>,
        reply: &mut Reply,
    ) -> Result<(), Stop> {
        let free = self.subject.terms.holdings.is_free(&self.route.host);
        if self.endpoint.class != EndpointClass::Priced || free {
            self.case.budget = Known::Fact(Reservation::NotNeeded);
            return Ok(());
        }
        let Known::Fact(Some(ask)) = &self.case.ask else {
            self.case.budget = Known::Missing(Missing::Malformed);
            return Ok(());
        };
        let mut ask = Cow::Borrowed(ask);
        let written = self.output_limit_of_contract(&ask);
        if written.is_some() {
            ask.to_mut().output_limit = written;
        }
        let document = reading.document.as_ref();
        let facts = || document.map(wire::price_facts).unwrap_or_default();
        let facts = self.at_once(body.decoded.len(), reply, facts).await?;
        let worst = match self.worst_case(&ask, &facts) {
            Ok(worst) => worst,
            Err(refused) => {
                self.case.budget = Known::Fact(refused);
                return Ok(());
            }
        };
        let asked = money::books::Reserve {
            id: self.case.id.clone(),
            payer: self.payer(&ask),
            limits: self.subject.terms.limits(),
            worst,
        };
        let reserving = self.gate.books.reserve_or_wait(asked, &self.gate.clock, PATIENCE);
        let paused = self.work.pause(&self.gate.clock);
        let mut answer = self.unless_stopped(reply, reserving).await?;
        self.work.resume(paused, &self.gate.clock);
        if let money::Answer::Granted(booked) = &mut answer {
            booked.output_limit = booked.output_limit.or(written);
            self.booked = Some(booked.clone());
        }
        self.case.budget = answer.fact().map_or(Known::Missing(Missing::Unreachable), Known::Fact);
        Ok(())
    }

    /// The output limit that enforce writes into a request that sets none: the contract's, or the
    /// model's own where that is less.
    fn output_limit_of_contract(&self, ask: &Ask) -> Option<u64> {
        if ask.output_limit.is_some() || self.subject.terms.mode == Mode::Observe {
            return None;
        }
        let limit = self.subject.terms.contract()?.max_tokens?;
        let most = self.price().and_then(|price| price.max_output);
        Some(most.map_or(limit, |most| limit.min(most)))
    }

    fn worst_case(&self, ask: &Ask, facts: &PriceFacts) -> Result<WorstCase, Reservation> {
        let unpriced = || Reservation::Unpriced { model: ask.model.clone() };
        let price = self.price().ok_or_else(unpriced)?;
        let fields: Vec<(&str, &str)> =
            facts.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let ceiling = self.subject.terms.contract().and_then(|contract| contract.provider_calls);
        let weighed = money::Weighed {
            ask,
            counted: None,
            beyond_bytes: facts.beyond_bytes,
            tool_calls: facts.tool_calls.or(ceiling),
            price_fields: &fields,
            least_output: self.dialect.min_output_limit(),
        };
        money::weigh(&weighed, price)
            .map_err(|unbounded| Reservation::Unbounded { field: unbounded.field })
    }

    fn payer(&self, ask: &Ask) -> Payer {
        Payer {
            run: self.run.id.clone(),
            key: self.key().map(|key| key.id.clone()).unwrap_or_default(),
            agent: self.run.agent.clone(),
            team: self.subject.terms.policy.team.clone(),
            model: ask.model.clone(),
            cost_center: self.subject.terms.policy.cost_center.clone(),
        }
    }

    /// Does `work` on so many `bytes`: here, or on a thread that gives way to others.
    pub(crate) async fn at_once<T: Send>(
        &self,
        bytes: usize,
        reply: &mut Reply,
        work: impl FnOnce() -> T + Send,
    ) -> Result<T, Stop> {
        if bytes <= heavy::LARGE {
            return Ok(work());
        }
        let turn = self.gate.heavy.turn(&self.run.heavy);
        Ok(self.unless_stopped(reply, turn).await?.take(work))
    }

    /// Waits for `work`, for a kill switch, or until nobody waits for the answer any more.
    async fn unless_stopped<T>(
        &self,
        reply: &mut Reply,
        work: impl Future<Output = T>,
    ) -> Result<T, Stop> {
        tokio::select! {
            biased;
            scope = self.live.killed() => Err(Stop::Killed(scope)),
            () = reply.closed() => Err(Stop::Gone),
            done = work => Ok(done),
        }
    }
}

impl Body {
    fn unread(fault: Option<EnvelopeFault>, missing: Option<Missing>) -> Self {
        let faults = fault.into_iter().collect();
        Self { sent: Bytes::new(), decoded: Bytes::new(), faults, missing, _held: None }
    }
}

/// The body without its encoding, or why it cannot be taken off.
fn decoded(head: &Parts, sent: &Bytes, limit: u64) -> (Bytes, Option<EnvelopeFault>) {
    let coding = head.headers.get(http::header::CONTENT_ENCODING);
    let Some(coding) = coding else { return (sent.clone(), None) };
    let strange =
        || EnvelopeFault::BadEncoding(String::from_utf8_lossy(coding.as_bytes()).into_owned());
    match coding
        .to_str()
        .map_err(|_form| strange())
        .and_then(|coding| wire::encoding::decode(Some(coding), sent, limit))
    {
        Ok(decoded) => (decoded, None),
        Err(fault) => (Bytes::new(), Some(fault)),
    }
}
