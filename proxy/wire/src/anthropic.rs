//! The dialect of Anthropic: messages, token counts, and every other path by name.

use bytes::Bytes;
use decide::case::{Ask, Endpoint};
use http::request::Parts;
use http::{Method, Response, Uri};

use crate::answer::choose::provider;
use crate::answer::stream::Stream;
use crate::answer::{Decoder, Unreadable};
use crate::dialect::{Amendment, AnswerTerms, CutState, Dialect, Reading, Told};
use crate::edit::Edit;
use crate::json::Value;
use crate::place::{Form, Place};
use crate::request::{self, Facts};
use crate::route::{self, Route, Verb};

mod answer;
mod errors;
mod messages;

/// The operation that costs money.
const MESSAGES: &str = "messages";

/// The most bytes of a request's body.
const BODY_LIMIT: u64 = 32 << 20;

/// The dialect of Anthropic.
#[derive(Debug)]
pub(crate) struct Anthropic;

/// Every path of the API, by <https://docs.anthropic.com/en/api>, and what Claude Code calls at the same host.
static ROUTES: [Route; 20] = [
    Route::priced("/v1/messages", MESSAGES),
    Route::free(Verb::Post, "/v1/messages/count_tokens", "count_tokens"),
    Route::free(Verb::Get, "/v1/models", "models"),
    Route::free(Verb::Get, "/v1/models/{}", "models"),
    Route::free(Verb::Get, "/api/hello", "hello"),
    Route::ungoverned("/v1/messages/batches/**", "batches"),
    Route::ungoverned("/v1/complete", "complete"),
    Route::ungoverned("/v1/files/**", "files"),
    Route::ungoverned("/v1/skills/**", "skills"),
    Route::ungoverned("/v1/organizations/**", "organization"),
    Route::ungoverned("/v1/experimental/**", "experimental"),
    Route::ungoverned("/v1/agents/**", "agents"),
    Route::ungoverned("/v1/sessions/**", "sessions"),
    Route::ungoverned("/v1/environments/**", "environments"),
    Route::ungoverned("/v1/oauth/**", "oauth"),
    Route::ungoverned("/api/event_logging/**", "telemetry"),
    Route::ungoverned("/api/claude_code/**", "claude_code"),
    Route::ungoverned("/api/claude_cli/**", "claude_code"),
    Route::ungoverned("/api/claude_cli_feedback", "telemetry"),
    Route::ungoverned("/api/oauth/**", "oauth"),
];

static PLACES: [Place; 11] = [
    Place::credential("x-api-key", Form::Raw),
    Place::credential("authorization", Form::Bearer),
    Place::credential("proxy-authorization", Form::Any),
    Place::credential("api-key", Form::Raw),
    Place::credential("cookie", Form::Any),
    Place::credential("x-goog-api-key", Form::Raw),
    Place::account("anthropic-organization-id"),
    Place::account("anthropic-workspace-id"),
    Place::query("key"),
    Place::query("api_key"),
    Place::query("access_token"),
];

impl Dialect for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn endpoint(&self, method: &Method, uri: &Uri) -> Endpoint {
        route::find(self.name(), &ROUTES, method, uri.path())
    }

    fn body_limit(&self, _: &Endpoint) -> u64 {
        BODY_LIMIT
    }

    fn read<'b>(&self, endpoint: &Endpoint, head: &Parts, body: &'b [u8]) -> Reading<'b> {
        request::read(endpoint, head, body, |root| ask(root, body.len() as u64))
    }

    fn amend(
        &self,
        endpoint: &Endpoint,
        reading: &Reading<'_>,
        amendment: &Amendment,
    ) -> Vec<Edit> {
        let limit =
            reading.document.as_ref().and_then(|document| document.root().given("max_tokens"));
        match (limit, amendment.output_limit) {
            (Some(value), Some(limit)) if endpoint.operation == MESSAGES => {
                vec![Edit { at: value.span(), with: limit.to_string().into_bytes() }]
            }
            (Some(_) | None, Some(_) | None) => Vec::new(),
        }
    }

    fn min_output_limit(&self) -> u64 {
        1
    }

    fn answer(
        &self,
        endpoint: &Endpoint,
        terms: &AnswerTerms,
        head: &http::response::Parts,
    ) -> Result<Box<dyn Decoder>, Unreadable> {
        let events = || -> Box<dyn Decoder> { Box::new(Stream::new(answer::Events::default())) };
        provider(endpoint.class, *terms, head, events, answer::whole)
    }

    fn refuse(&self, told: &Told<'_>) -> Response<Bytes> {
        errors::refuse(told)
    }

    fn cut(&self, told: &Told<'_>, state: &CutState) -> Bytes {
        if state.events { errors::cut(told) } else { Bytes::new() }
    }

    fn places(&self) -> &'static [Place] {
        &PLACES
    }
}

fn ask(root: Value<'_, '_>, bytes: u64) -> (Option<Ask>, Facts) {
    let mut facts = Facts::default();
    facts.variants(root, &FIELDS);
    let model = facts.name(root, "model").filter(|model| !model.is_empty());
    let limit = facts.count(root, "max_tokens");
    let stream = facts.flag(root, "stream");
    let service_tier = facts.name(root, "service_tier");
    messages::read(root, &mut facts);
    // The provider requires it, and without it the worst case is not what the request says.
    if root.given("max_tokens").is_none() {
        facts.wrong("max_tokens");
    }
    let Some(model) = model else {
        facts.wrong("model");
        return (None, facts);
    };
    let ask = Ask {
        model,
        stream,
        output_limit: limit,
        choices: 1,
        input_bytes: bytes,
        service_tier,
        tools: std::mem::take(&mut facts.tools),
        contacts: std::mem::take(&mut facts.contacts),
        foreign_objects: Vec::new(),
        ungoverned: std::mem::take(&mut facts.ungoverned),
    };
    (Some(ask), facts)
}

/// Fields that decide what a request may do or cost.
const FIELDS: [&str; 13] = [
    "model",
    "stream",
    "max_tokens",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "mcp_servers",
    "container",
    "service_tier",
    "speed",
    "inference_geo",
    "thinking",
];

#[cfg(test)]
mod tests;
