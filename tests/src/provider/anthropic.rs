//! Answers in the format of Anthropic messages.

use serde_json::{Value, json};

use super::answer::{Answer, Call, Event, Usage};
use super::ask::Ask;

const ID: &str = "msg_01Xq4kVf8ZtN2mJcR7wYbS5d";
const CALL: &str = "toolu_01Pz7Wc3RkD9sVxH5mQtLb2f";
const SIGNATURE: &str = "EqQBCgIYAhIkMWJjOWQ4ZTctNGE2Yi00ZjNkLTlhODEtN2M1ZTBiMmQ0ZjY4";

/// The whole answer as one document.
pub(super) fn whole(ask: &Ask, answer: &Answer) -> Value {
    let content: Vec<Value> = blocks(answer).iter().map(Block::done).collect();
    json!({
        "id": ID, "type": "message", "role": "assistant", "model": ask.model, "content": content,
        "stop_reason": stop(answer), "stop_sequence": null,
        "usage": answer.usage.map(|usage| tokens(usage, usage.output)),
    })
}

/// The answer as a stream; one ping stands after the first block's start, as the real one sends it.
pub(super) fn events(ask: &Ask, answer: &Answer) -> Vec<Event> {
    let mut message = whole(ask, answer);
    if let Some(message) = message.as_object_mut() {
        message.insert("content".to_owned(), json!([]));
        message.insert("stop_reason".to_owned(), Value::Null);
        message
            .insert("usage".to_owned(), answer.usage.map_or(Value::Null, |usage| tokens(usage, 1)));
    }
    let mut events = vec![json!({"type": "message_start", "message": message})];
    for (index, block) in blocks(answer).iter().enumerate() {
        events.push(
            json!({"type": "content_block_start", "index": index, "content_block": block.start()}),
        );
        if index == 0 {
            events.push(json!({"type": "ping"}));
        }
        let deltas = block.deltas(answer).into_iter();
        events.extend(
            deltas.map(
                |delta| json!({"type": "content_block_delta", "index": index, "delta": delta}),
            ),
        );
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    let mut last = json!({"type": "message_delta", "delta": {"stop_reason": stop(answer), "stop_sequence": null}});
    if let (Some(usage), Some(last)) = (answer.usage, last.as_object_mut()) {
        last.insert("usage".to_owned(), json!({"output_tokens": usage.output}));
    }
    events.push(last);
    events.push(json!({"type": "message_stop"}));
    events.iter().map(Event::typed).collect()
}

/// One content block.
enum Block<'a> {
    Thinking(&'a str),
    Text(&'a str),
    Call(&'a Call),
}

fn blocks(answer: &Answer) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> =
        answer.thinking.iter().map(|text| Block::Thinking(text)).collect();
    blocks.push(Block::Text(&answer.text));
    blocks.extend(answer.call.iter().map(Block::Call));
    blocks
}

impl Block<'_> {
    fn start(&self) -> Value {
        match self {
            Self::Thinking(_) => json!({"type": "thinking", "thinking": "", "signature": ""}),
            Self::Text(_) => json!({"type": "text", "text": ""}),
            Self::Call(call) => {
                json!({"type": "tool_use", "id": CALL, "name": call.name, "input": {}})
            }
        }
    }

    fn done(&self) -> Value {
        match self {
            Self::Thinking(text) => {
                json!({"type": "thinking", "thinking": text, "signature": SIGNATURE})
            }
            Self::Text(text) => json!({"type": "text", "text": text}),
            Self::Call(call) => {
                let input: Value = serde_json::from_str(&call.arguments).unwrap_or(json!({}));
                json!({"type": "tool_use", "id": CALL, "name": call.name, "input": input})
            }
        }
    }

    fn deltas(&self, answer: &Answer) -> Vec<Value> {
        match self {
            Self::Thinking(text) => {
                let pieces = answer.pieces(text).into_iter();
                let mut deltas: Vec<Value> = pieces
                    .map(|piece| json!({"type": "thinking_delta", "thinking": piece}))
                    .collect();
                deltas.push(json!({"type": "signature_delta", "signature": SIGNATURE}));
                deltas
            }
            Self::Text(text) => answer
                .pieces(text)
                .into_iter()
                .map(|piece| json!({"type": "text_delta", "text": piece}))
                .collect(),
            Self::Call(call) => {
                let mut deltas = vec![json!({"type": "input_json_delta", "partial_json": ""})];
                let pieces = answer.pieces(&call.arguments).into_iter();
                deltas.extend(
                    pieces.map(|piece| json!({"type": "input_json_delta", "partial_json": piece})),
                );
                deltas
            }
        }
    }
}

fn stop(answer: &Answer) -> &'static str {
    if answer.call.is_some() { "tool_use" } else { "end_turn" }
}

/// `input_tokens` leaves cached ones out, unlike the other provider's count.
fn tokens(usage: Usage, output: u64) -> Value {
    json!({
        "input_tokens": usage.input.saturating_sub(usage.cached), "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output, "service_tier": "standard",
    })
}
