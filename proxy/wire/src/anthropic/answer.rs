//! What a message says, streamed and whole.

use bytes::Bytes;

use crate::answer::stream::{Meaning, agreed};
use crate::answer::{Heard, HeardKind, ToolCall, Unreadable, Usage};
use crate::json::Value;
use crate::leaves::{self, Leaf, Step};

/// Events of a stream. Usage comes in parts, of which the later replace the earlier.
#[derive(Default)]
pub(super) struct Events {
    usage: Usage,
}

impl Meaning for Events {
    fn event(&mut self, name: Option<&str>, data: Value<'_, '_>) -> Result<Heard, Unreadable> {
        let kind = data.get("type").and_then(|kind| kind.as_str()).unwrap_or_default();
        agreed(name, &kind)?;
        let alive = kind == "ping" && data.members().count() == 1;
        let mut heard = empty(if alive { HeardKind::KeepAlive } else { HeardKind::Content });
        heard.last = matches!(kind.as_ref(), "message_stop" | "error");
        let message = data.get("message");
        let usage =
            message.and_then(|message| message.given("usage")).or_else(|| data.given("usage"));
        if let Some(usage) = usage {
            update(&mut self.usage, usage);
            heard.usage = Some(self.usage.clone());
            if let Some(message) = message {
                heard.model_in(message);
            }
        }
        let holders = [message, data.get("delta")];
        heard.objects.extend(holders.into_iter().flatten().filter_map(container));
        if kind == "content_block_start" {
            heard
                .calls
                .extend(data.get("content_block").and_then(|block| call(block, index(data))));
        }
        heard.pieces = leaves::pieces(data, |path| leaf(&kind, data, path));
        Ok(heard)
    }
}

fn empty(kind: HeardKind) -> Heard {
    Heard::bare(Bytes::new(), kind)
}

/// A whole message.
pub(super) fn whole(root: Value<'_, '_>) -> Heard {
    let mut heard = empty(HeardKind::Content);
    if let Some(usage) = root.given("usage") {
        let mut counted = Usage::default();
        update(&mut counted, usage);
        heard.usage = Some(counted);
    }
    heard.model_in(root);
    heard.objects.extend(container(root));
    for (position, block) in root.get("content").into_iter().flat_map(Value::items).enumerate() {
        heard.calls.extend(call(block, position as u64));
    }
    heard
}

/// Counts are cumulative, and `input_tokens` excludes what a cache read or wrote.
fn update(counted: &mut Usage, usage: Value<'_, '_>) {
    let number = |at: Value<'_, '_>, key: &str| at.get(key).and_then(|value| value.as_u64());
    let set = |to: &mut u64, value: Option<u64>| *to = value.unwrap_or(*to);
    set(&mut counted.input, number(usage, "input_tokens"));
    set(&mut counted.output, number(usage, "output_tokens"));
    set(&mut counted.cache_read, number(usage, "cache_read_input_tokens"));
    let written = number(usage, "cache_creation_input_tokens");
    let split = usage.given("cache_creation");
    let part = |key: &str| split.and_then(|split| number(split, key));
    let (short, long) = (part("ephemeral_5m_input_tokens"), part("ephemeral_1h_input_tokens"));
    match (short, long, written) {
        (None, None, None) => {}
        // What the split leaves over, or has no split, is of the shorter kind; it is the default.
        (short, long, written) => {
            let long = long.unwrap_or(if short.is_some() || written.is_some() {
                0
            } else {
                counted.cache_write_1h
            });
            let rest = written.map_or(0, |written| written.saturating_sub(long));
            counted.cache_write_1h = long;
            counted.cache_write_5m = short.unwrap_or(0).max(rest);
        }
    }
    for (name, value) in usage.given("server_tool_use").into_iter().flat_map(Value::members) {
        if let Some(count) = value.as_u64() {
            counted
                .server_tools
                .insert(name.decode().trim_end_matches("_requests").to_owned(), count);
        }
    }
    if let Some(tier) = usage.get("service_tier").and_then(|tier| tier.as_str()) {
        counted.service_tier = Some(tier.into_owned());
    }
}

fn container(holder: Value<'_, '_>) -> Option<String> {
    Some(holder.given("container")?.get("id")?.as_str()?.into_owned())
}

/// A call for the agent, or one that the provider makes itself.
fn call(block: Value<'_, '_>, index: u64) -> Option<ToolCall> {
    let kind = block.get("type")?.as_str()?;
    if !matches!(kind.as_ref(), "tool_use" | "server_tool_use" | "mcp_tool_use") {
        return None;
    }
    Some(ToolCall { track: track(index), name: block.get("name")?.as_str()?.into_owned() })
}

/// How the string at `path` of an event is followed. Texts run on from block to block.
fn leaf(kind: &str, data: Value<'_, '_>, path: &[Step<'_>]) -> Leaf {
    match (kind, path) {
        ("content_block_delta", [Step::Key(delta), Step::Key(key)]) if delta == "delta" => {
            match key.as_ref() {
                "text" => Leaf::Delta("text".into(), false),
                "thinking" => Leaf::Delta("thinking".into(), false),
                "partial_json" => Leaf::Delta(track(index(data)), true),
                "type" => Leaf::Complete,
                other => Leaf::Delta(format!("{other} {}", index(data)), true),
            }
        }
        ("content_block_start", [Step::Key(block), Step::Key(key)]) if block == "content_block" => {
            let opaque = data.get("content_block").and_then(|block| block.get("type")?.as_str());
            match key.as_ref() {
                "text" => Leaf::Delta("text".into(), false),
                "thinking" => Leaf::Delta("thinking".into(), false),
                "data" if opaque.is_some_and(|kind| kind == "redacted_thinking") => Leaf::Inert,
                _ => Leaf::Complete,
            }
        }
        _ => Leaf::Complete,
    }
}

fn index(data: Value<'_, '_>) -> u64 {
    data.get("index").and_then(|index| index.as_u64()).unwrap_or(0)
}

fn track(index: u64) -> String {
    format!("call {index}")
}
