//! What a response says, streamed and whole.

use bytes::Bytes;

use crate::answer::stream::{Meaning, agreed};
use crate::answer::{Heard, HeardKind, ToolCall, Unreadable, Usage};
use crate::json::Value;
use crate::leaves::{self, Leaf, Step};

/// Events of a stream.
pub(super) struct Events;

impl Meaning for Events {
    fn event(&mut self, name: Option<&str>, data: Value<'_, '_>) -> Result<Heard, Unreadable> {
        let kind = data.get("type").and_then(|kind| kind.as_str()).unwrap_or_default();
        agreed(name, &kind)?;
        let mut heard = data.get("response").map_or_else(empty, whole);
        // The first events repeat what the request said of tools; only the last one counts calls.
        heard.last = matches!(
            kind.as_ref(),
            "response.completed"
                | "response.incomplete"
                | "response.failed"
                | "response.cancelled"
                | "error"
        );
        heard.calls = match kind.as_ref() {
            "response.output_item.added" => data
                .get("item")
                .and_then(|item| call(item, output_index(data)))
                .into_iter()
                .collect(),
            _ => Vec::new(),
        };
        if let Some(item) = data.get("item") {
            heard.objects.extend(container(item));
        }
        let deltas = data.get("delta").is_some();
        heard.pieces =
            leaves::pieces(
                data,
                |path| if deltas { leaf(&kind, data, path) } else { Leaf::Complete },
            );
        Ok(heard)
    }
}

fn empty() -> Heard {
    Heard::bare(Bytes::new(), HeardKind::Content)
}

/// A response object; its id is an object that this run is now given.
pub(super) fn whole(response: Value<'_, '_>) -> Heard {
    let mut heard = empty();
    heard
        .objects
        .extend(response.get("id").and_then(|id| id.as_str()).map(std::borrow::Cow::into_owned));
    heard.usage = usage(response);
    heard.model_in(response);
    for (index, item) in response.get("output").into_iter().flat_map(Value::items).enumerate() {
        heard.calls.extend(call(item, index as u64));
        heard.objects.extend(container(item));
    }
    heard
}

/// `input_tokens` holds what came from the cache, `output_tokens` the reasoning.
fn usage(response: Value<'_, '_>) -> Option<Usage> {
    let usage = response.given("usage")?;
    let input = usage.get("input_tokens")?.as_u64()?;
    let details = usage.given("input_tokens_details");
    let cached = details.and_then(|details| details.get("cached_tokens")?.as_u64());
    let cache_read = cached.unwrap_or(0).min(input);
    let mut counted = Usage {
        input: input - cache_read,
        cache_read,
        output: usage.get("output_tokens")?.as_u64()?,
        service_tier: response
            .get("service_tier")
            .and_then(|tier| tier.as_str())
            .map(std::borrow::Cow::into_owned),
        ..Usage::default()
    };
    for item in response.get("output").into_iter().flat_map(Value::items) {
        let kind = item.get("type").and_then(|kind| kind.as_str()).unwrap_or_default();
        if let "web_search_call"
        | "file_search_call"
        | "code_interpreter_call"
        | "image_generation_call" = kind.as_ref()
        {
            let tool = kind.trim_end_matches("_call").to_owned();
            *counted.server_tools.entry(tool).or_default() += 1;
        }
    }
    Some(counted)
}

/// A call that the agent is to carry out, or that the provider makes of an outside tool.
fn call(item: Value<'_, '_>, index: u64) -> Option<ToolCall> {
    let kind = item.get("type")?.as_str()?;
    let named = item.get("name").and_then(|name| name.as_str()).map(std::borrow::Cow::into_owned);
    let name = match kind.as_ref() {
        "function_call" | "custom_tool_call" | "mcp_call" | "mcp_approval_request" => named?,
        "computer_call" | "local_shell_call" | "shell_call" | "apply_patch_call" => {
            kind.trim_end_matches("_call").to_owned()
        }
        _ => return None,
    };
    Some(ToolCall { track: track("call", index), name })
}

/// The container that the provider ran code in: later requests can name it.
fn container(item: Value<'_, '_>) -> Option<String> {
    Some(item.get("container_id")?.as_str()?.into_owned())
}

/// How the string at `path` of an event with a `delta` is followed.
fn leaf(kind: &str, data: Value<'_, '_>, path: &[Step<'_>]) -> Leaf {
    match path {
        [Step::Key(key)] if key == "delta" => delta(kind, output_index(data)),
        [Step::Key(key), ..] if key == "delta" => Leaf::Unknown,
        [Step::Key(key), Step::Index(_), Step::Key(token)]
            if key == "logprobs" && token == "token" =>
        {
            Leaf::Delta("logprobs".into(), false)
        }
        _ => Leaf::Complete,
    }
}

/// Texts run on from item to item; arguments belong to their call.
fn delta(kind: &str, index: u64) -> Leaf {
    match kind {
        "response.output_text.delta" => Leaf::Delta("text".into(), false),
        "response.refusal.delta" => Leaf::Delta("refusal".into(), false),
        "response.reasoning_text.delta" => Leaf::Delta("reasoning".into(), false),
        "response.reasoning_summary_text.delta" => Leaf::Delta("reasoning_summary".into(), false),
        "response.function_call_arguments.delta"
        | "response.mcp_call_arguments.delta"
        | "response.custom_tool_call_input.delta" => Leaf::Delta(track("call", index), true),
        // Sound in base64.
        "response.audio.delta" | "response.output_audio.delta" => Leaf::Inert,
        other => Leaf::Delta(track(other, index), true),
    }
}

fn output_index(data: Value<'_, '_>) -> u64 {
    data.get("output_index").and_then(|index| index.as_u64()).unwrap_or(0)
}

fn track(kind: &str, index: u64) -> String {
    format!("{kind} {index}")
}
