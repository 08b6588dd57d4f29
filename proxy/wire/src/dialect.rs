//! What a dialect is: one provider's way of asking, answering and refusing.

use std::fmt::Debug;

use bytes::Bytes;
use decide::Refusal;
use decide::case::{Ask, Endpoint, EnvelopeFault};
use http::request::Parts;
use http::{Method, Response, Uri};

use crate::answer::{Decoder, Unreadable};
use crate::edit::Edit;
use crate::json::Document;
use crate::place::Place;

/// A provider of models that the gate knows by host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    /// `api.openai.com` and its regional hosts.
    OpenAi,
    /// `api.anthropic.com`.
    Anthropic,
}

/// The provider that answers at `host`; the name in lower case and without a trailing dot.
#[must_use]
pub fn provider_of(host: &str) -> Option<Provider> {
    match host {
        "api.openai.com" | "us.api.openai.com" | "eu.api.openai.com" => Some(Provider::OpenAi),
        "api.anthropic.com" => Some(Provider::Anthropic),
        _ => None,
    }
}

/// The dialect of a provider; `None` is a destination that is not one.
#[must_use]
pub fn dialect(provider: Option<Provider>) -> &'static dyn Dialect {
    match provider {
        Some(Provider::OpenAi) => &crate::openai::OpenAi,
        Some(Provider::Anthropic) => &crate::anthropic::Anthropic,
        None => &crate::plain::Plain,
    }
}

/// One provider's way of asking, answering and refusing.
pub trait Dialect: Send + Sync + Debug {
    /// The permanent name: `openai`, `anthropic`, `plain`.
    fn name(&self) -> &'static str;

    /// The operation that a request line names.
    fn endpoint(&self, method: &Method, uri: &Uri) -> Endpoint;

    /// The most bytes of a body that are read, as sent and again as decoded.
    fn body_limit(&self, endpoint: &Endpoint) -> u64;

    /// What a request asks for. `body` is decoded and within the limit; faults of the head are [`crate::envelope::head`]'s.
    fn read<'b>(&self, endpoint: &Endpoint, head: &Parts, body: &'b [u8]) -> Reading<'b>;

    /// The edits that carry an amendment out; empty where nothing has to change.
    fn amend(&self, endpoint: &Endpoint, reading: &Reading<'_>, amendment: &Amendment)
    -> Vec<Edit>;

    /// The smallest output limit in tokens that the provider accepts on every operation.
    fn min_output_limit(&self) -> u64;

    /// What follows the answer to a request.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] where the answer's type or encoding cannot be followed.
    fn answer(
        &self,
        endpoint: &Endpoint,
        terms: &AnswerTerms,
        head: &http::response::Parts,
    ) -> Result<Box<dyn Decoder>, Unreadable>;

    /// The whole answer that refuses a request, before a byte of another was sent.
    fn refuse(&self, told: &Told<'_>) -> Response<Bytes>;

    /// The bytes that end an answer of which a part was sent; empty where the dialect has no such form.
    fn cut(&self, told: &Told<'_>, state: &CutState) -> Bytes;

    /// Every place that can authenticate or choose an account.
    fn places(&self) -> &'static [Place];
}

/// What a request asks for, as its dialect reads it.
#[derive(Debug, Default)]
pub struct Reading<'b> {
    /// The body, where it is JSON.
    pub document: Option<Document<'b>>,
    /// What is asked of a model; `foreign_objects` is left empty, the caller knows whose [`Self::objects`] are.
    pub ask: Option<Ask>,
    /// What is wrong with the body.
    pub faults: Vec<EnvelopeFault>,
    /// Ids of objects at the provider that the request names.
    pub objects: Vec<String>,
    /// A stream that would not say what it used: [`Amendment::include_usage`] changes that.
    pub usage_missing: bool,
}

/// A change that the gate makes to a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amendment {
    /// Ask for the usage of a stream that lacks it ([`Reading::usage_missing`]).
    pub include_usage: bool,
    /// Write this output limit, in tokens, in place of the request's own or where there is none.
    pub output_limit: Option<u64>,
}

/// What of a request decides how its answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AnswerTerms {
    /// The request asked for HEAD, so no answer has a body.
    pub head_only: bool,
    /// [`Amendment::include_usage`] was carried out: the chunk that it causes is taken out again.
    pub usage_added: bool,
}

/// A refusal and what the caller needs to look it up.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// The refusal.
    pub refusal: &'a Refusal,
    /// The decision's id.
    pub decision: &'a str,
    /// What the caller can do about it.
    pub hint: Option<&'a str>,
    /// Trace id for `x-tollgate-trace`.
    pub trace: Option<&'a str>,
}

/// Where in an answer it is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutState {
    /// The operation that is answered.
    pub endpoint: Endpoint,
    /// The answer is a stream of server-sent events.
    pub events: bool,
    /// Events released so far.
    pub released: u64,
}
