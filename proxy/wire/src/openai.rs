//! The dialect of `OpenAI`: chat completions, responses, embeddings, and every other path by name.

use bytes::Bytes;
use decide::case::{Ask, Endpoint};
use http::request::Parts;
use http::{Method, Response, Uri};

use crate::answer::choose::provider;
use crate::answer::stream::Stream;
use crate::answer::{Decoder, Heard, Unreadable};
use crate::dialect::{Amendment, AnswerTerms, CutState, Dialect, Reading, Told};
use crate::edit::Edit;
use crate::json::Value;
use crate::place::{Form, Place};
use crate::request::{self, Facts};
use crate::route;

mod amend;
mod chat;
mod chat_answer;
mod errors;
mod paths;
mod responses;
mod responses_answer;

/// Operations that this dialect reads, by their permanent names.
const CHAT: &str = "chat_completions";
const RESPONSES: &str = "responses";
const EMBEDDINGS: &str = "embeddings";

/// The most bytes of a request's body.
const BODY_LIMIT: u64 = 32 << 20;

/// The smallest `max_output_tokens` that the Responses API accepts.
const MIN_OUTPUT: u64 = 16;

/// The dialect of `OpenAI`.
#[derive(Debug)]
pub(crate) struct OpenAi;

static PLACES: [Place; 12] = [
    Place::credential("authorization", Form::Bearer),
    Place::credential("proxy-authorization", Form::Any),
    Place::credential("x-api-key", Form::Raw),
    Place::credential("api-key", Form::Raw),
    Place::credential("cookie", Form::Any),
    Place::credential("x-goog-api-key", Form::Raw),
    Place::account("openai-organization"),
    Place::account("openai-project"),
    Place::account("chatgpt-account-id"),
    Place::query("key"),
    Place::query("api_key"),
    Place::query("access_token"),
];

impl Dialect for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn endpoint(&self, method: &Method, uri: &Uri) -> Endpoint {
        route::find(self.name(), &paths::ROUTES, method, uri.path())
    }

    fn body_limit(&self, _: &Endpoint) -> u64 {
        BODY_LIMIT
    }

    fn read<'b>(&self, endpoint: &Endpoint, head: &Parts, body: &'b [u8]) -> Reading<'b> {
        let mut usage_missing = false;
        let reading = request::read(endpoint, head, body, |root| {
            usage_missing = endpoint.operation == CHAT && chat::usage_missing(root);
            ask(&endpoint.operation, root, body.len() as u64)
        });
        Reading { usage_missing, ..reading }
    }

    fn amend(
        &self,
        endpoint: &Endpoint,
        reading: &Reading<'_>,
        amendment: &Amendment,
    ) -> Vec<Edit> {
        let Some(document) = &reading.document else { return Vec::new() };
        amend::edits(&endpoint.operation, document.root(), amendment)
    }

    fn min_output_limit(&self) -> u64 {
        MIN_OUTPUT
    }

    fn answer(
        &self,
        endpoint: &Endpoint,
        terms: &AnswerTerms,
        head: &http::response::Parts,
    ) -> Result<Box<dyn Decoder>, Unreadable> {
        let usage_added = terms.usage_added;
        let (events, says): (Box<dyn Decoder>, fn(Value<'_, '_>) -> Heard) = match endpoint
            .operation
            .as_str()
        {
            RESPONSES => (Box::new(Stream::new(responses_answer::Events)), responses_answer::whole),
            _ => (Box::new(Stream::new(chat_answer::Events { usage_added })), chat_answer::whole),
        };
        provider(endpoint.class, *terms, head, || events, says)
    }

    fn refuse(&self, told: &Told<'_>) -> Response<Bytes> {
        errors::refuse(told)
    }

    fn cut(&self, told: &Told<'_>, state: &CutState) -> Bytes {
        errors::cut(told, state)
    }

    fn places(&self) -> &'static [Place] {
        &PLACES
    }
}

fn ask(operation: &str, root: Value<'_, '_>, bytes: u64) -> (Option<Ask>, Facts) {
    let mut facts = Facts::default();
    facts.variants(root, &FIELDS);
    let Some(model) = facts.name(root, "model").filter(|model| !model.is_empty()) else {
        facts.wrong("model");
        return (None, facts);
    };
    let stream = facts.flag(root, "stream");
    let service_tier = facts.name(root, "service_tier");
    let (output_limit, choices) = match operation {
        CHAT => chat::read(root, &mut facts),
        RESPONSES => responses::read(root, &mut facts),
        _ => (Some(0), 1),
    };
    let ask = Ask {
        model,
        stream,
        output_limit,
        choices,
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
const FIELDS: [&str; 23] = [
    "model",
    "stream",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "stream_options",
    "service_tier",
    "messages",
    "input",
    "tools",
    "functions",
    "web_search_options",
    "modalities",
    "audio",
    "prediction",
    "store",
    "background",
    "conversation",
    "previous_response_id",
    "prompt",
    "instructions",
    "tool_choice",
];

#[cfg(test)]
mod tests;
