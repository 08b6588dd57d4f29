//! What a chat completion's answer says, streamed and whole.

use bytes::Bytes;

use crate::answer::stream::Meaning;
use crate::answer::{Heard, HeardKind, ToolCall, Unreadable, Usage};
use crate::json::{Kind, Value};
use crate::leaves::{self, Leaf, Step};

/// Chunks of a stream.
pub(super) struct Events {
    pub(super) usage_added: bool,
}

impl Meaning for Events {
    fn event(&mut self, _: Option<&str>, data: Value<'_, '_>) -> Result<Heard, Unreadable> {
        let usage = usage(data);
        let only_usage = usage.is_some()
            && data.get("choices").is_some_and(|choices| choices.items().next().is_none());
        let kind =
            if self.usage_added && only_usage { HeardKind::Withheld } else { HeardKind::Content };
        let mut heard = Heard::bare(Bytes::new(), kind);
        heard.pieces = leaves::pieces(data, |path| leaf(data, path));
        if usage.is_some() {
            heard.model_in(data);
        }
        heard.usage = usage;
        heard.last = data.given("error").is_some();
        for (position, choice) in items(data, "choices").enumerate() {
            let delta = choice.get("delta");
            for (at, call) in
                delta.into_iter().flat_map(|delta| items(delta, "tool_calls")).enumerate()
            {
                let track = arguments(number(choice, position), number(call, at));
                heard.calls.extend(begun(call, track));
            }
            if let Some(name) =
                delta.and_then(|delta| delta.get("function_call")?.get("name")?.as_str())
            {
                let track = legacy(number(choice, position));
                heard.calls.push(ToolCall { track, name: name.into_owned() });
            }
        }
        Ok(heard)
    }
}

/// A whole answer, also of an operation that is no chat.
pub(super) fn whole(root: Value<'_, '_>) -> Heard {
    let mut heard = Heard::bare(Bytes::new(), HeardKind::Content);
    heard.usage = usage(root);
    heard.model_in(root);
    for (position, choice) in items(root, "choices").enumerate() {
        let Some(message) = choice.get("message") else { continue };
        for (at, call) in items(message, "tool_calls").enumerate() {
            heard.calls.extend(begun(call, arguments(number(choice, position), at as u64)));
        }
        if let Some(name) = message.get("function_call").and_then(|call| call.get("name")?.as_str())
        {
            heard.calls.push(ToolCall {
                track: legacy(number(choice, position)),
                name: name.into_owned(),
            });
        }
    }
    heard
}

/// `prompt_tokens` holds what came from the cache, `completion_tokens` the reasoning.
fn usage(root: Value<'_, '_>) -> Option<Usage> {
    let usage = root.given("usage")?;
    let prompt = usage.get("prompt_tokens")?.as_u64()?;
    let cached = usage
        .given("prompt_tokens_details")
        .and_then(|details| details.get("cached_tokens")?.as_u64());
    let cache_read = cached.unwrap_or(0).min(prompt);
    Some(Usage {
        input: prompt - cache_read,
        cache_read,
        // An embedding has none.
        output: usage.get("completion_tokens").and_then(|tokens| tokens.as_u64()).unwrap_or(0),
        service_tier: root
            .get("service_tier")
            .and_then(|tier| tier.as_str())
            .map(std::borrow::Cow::into_owned),
        ..Usage::default()
    })
}

fn begun(call: Value<'_, '_>, track: String) -> Option<ToolCall> {
    let name =
        ["function", "custom"].iter().find_map(|kind| call.get(kind)?.get("name")?.as_str())?;
    Some(ToolCall { track, name: name.into_owned() })
}

/// How the string at `path` of a chunk is followed.
fn leaf(root: Value<'_, '_>, path: &[Step<'_>]) -> Leaf {
    let [Step::Key(choices), Step::Index(position), rest @ ..] = path else {
        return if path.len() == 1 { metadata(path) } else { Leaf::Complete };
    };
    if choices != "choices" {
        return Leaf::Complete;
    }
    let choice = || items(root, "choices").nth(*position);
    let index = || choice().map_or(*position as u64, |choice| number(choice, *position));
    let keys: Vec<&str> =
        rest.iter().map(|step| if let Step::Key(key) = step { key.as_ref() } else { "" }).collect();
    match keys.as_slice() {
        ["delta", "content"] => Leaf::Delta(format!("choice {}/text", index()), false),
        ["delta", "refusal"] => Leaf::Delta(format!("choice {}/refusal", index()), false),
        ["delta", "function_call", "arguments"] => Leaf::Delta(legacy(index()), true),
        ["delta", "tool_calls", _, "function", "arguments"]
        | ["delta", "tool_calls", _, "custom", "input"] => {
            let Some(Step::Index(at)) = rest.get(2) else { return Leaf::Unknown };
            let call =
                choice().and_then(|choice| items(choice.get("delta")?, "tool_calls").nth(*at));
            let call = call.map_or(*at as u64, |call| number(call, *at));
            Leaf::Delta(arguments(index(), call), true)
        }
        ["logprobs", kind, _, "token"] => {
            Leaf::Delta(format!("choice {}/logprobs {kind}", index()), false)
        }
        ["finish_reason"]
        | ["delta", "role"]
        | ["delta", "tool_calls", _, "id" | "type"]
        | ["delta", "tool_calls", _, "function" | "custom", "name"]
        | ["delta", "function_call", "name"]
        | ["logprobs", ..] => Leaf::Complete,
        _ => Leaf::Unknown,
    }
}

/// What stands beside the choices: the same in every chunk, or not known.
fn metadata(path: &[Step<'_>]) -> Leaf {
    const KNOWN: [&str; 5] = ["id", "object", "model", "system_fingerprint", "service_tier"];
    match path {
        [Step::Key(key)] if KNOWN.contains(&key.as_ref()) => Leaf::Complete,
        _ => Leaf::Unknown,
    }
}

fn arguments(choice: u64, call: u64) -> String {
    format!("choice {choice}/call {call}")
}

fn legacy(choice: u64) -> String {
    format!("choice {choice}/function_call")
}

/// The `index` of a choice or call; where it has none, its position.
fn number(value: Value<'_, '_>, position: usize) -> u64 {
    value.get("index").and_then(|index| index.as_u64()).unwrap_or(position as u64)
}

fn items<'d, 'b>(
    at: Value<'d, 'b>,
    key: &str,
) -> impl Iterator<Item = Value<'d, 'b>> + use<'d, 'b> {
    at.get(key).filter(|value| value.kind() == Kind::Array).into_iter().flat_map(Value::items)
}
