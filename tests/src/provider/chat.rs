//! Answers in the format of `OpenAI` chat completions.

use serde_json::{Value, json};

use super::answer::{Answer, Call, Event, Usage};
use super::ask::Ask;

const ID: &str = "chatcmpl-CkJ8mXw3b0tTqf1oA7ZsL2dR";
const CALL: &str = "call_9dQmJ1xw7V0sKc4TnB2yHpLe";
const CREATED: u64 = 1_795_000_000;

/// The whole answer as one document.
pub(super) fn whole(ask: &Ask, answer: &Answer) -> Value {
    let mut message =
        json!({"role": "assistant", "content": answer.text, "refusal": null, "annotations": []});
    if let (Some(call), Some(message)) = (&answer.call, message.as_object_mut()) {
        message.insert("content".to_owned(), Value::Null);
        message.insert("tool_calls".to_owned(), json!([tool_call(call)]));
    }
    let choice =
        json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish(answer)});
    let mut document = json!({
        "id": ID, "object": "chat.completion", "created": CREATED, "model": ask.model,
        "choices": [choice], "service_tier": "default", "system_fingerprint": null,
    });
    if let (Some(usage), Some(document)) = (answer.usage, document.as_object_mut()) {
        document.insert("usage".to_owned(), tokens(usage));
    }
    document
}

/// The answer as a stream, with the marker at its end.
pub(super) fn events(ask: &Ask, answer: &Answer) -> Vec<Event> {
    let mut deltas = vec![json!({"role": "assistant", "content": "", "refusal": null})];
    if let Some(call) = &answer.call {
        let mut first = tool_call(call);
        if let Some(function) = first.pointer_mut("/function/arguments") {
            *function = json!("");
        }
        if let Some(first) = first.as_object_mut() {
            first.insert("index".to_owned(), json!(0));
        }
        deltas = vec![
            json!({"role": "assistant", "content": null, "tool_calls": [first], "refusal": null}),
        ];
        let pieces = answer.pieces(&call.arguments);
        deltas.extend(
            pieces.into_iter().map(
                |piece| json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}),
            ),
        );
    } else {
        deltas
            .extend(answer.pieces(&answer.text).into_iter().map(|piece| json!({"content": piece})));
    }
    let mut events: Vec<Event> = deltas
        .into_iter()
        .enumerate()
        .map(|(at, delta)| chunk(ask, at, &delta, &Value::Null))
        .collect();
    events.push(chunk(ask, events.len(), &json!({}), &json!(finish(answer))));
    if let (true, Some(usage)) = (with_usage(ask), answer.usage) {
        let last = json!({
            "id": ID, "object": "chat.completion.chunk", "created": CREATED, "model": ask.model,
            "service_tier": "default", "system_fingerprint": null, "choices": [], "usage": tokens(usage),
            "obfuscation": "",
        });
        events.push(Event { name: None, data: last.to_string() });
    }
    events.push(Event { name: None, data: "[DONE]".to_owned() });
    events
}

fn chunk(ask: &Ask, at: usize, delta: &Value, finish: &Value) -> Event {
    let mut chunk = json!({
        "id": ID, "object": "chat.completion.chunk", "created": CREATED, "model": ask.model,
        "service_tier": "default", "system_fingerprint": null,
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}],
    });
    if let Some(chunk) = chunk.as_object_mut() {
        if with_usage(ask) {
            chunk.insert("usage".to_owned(), Value::Null);
        }
        if ask.stream.is_some_and(|stream| stream.padded) {
            let padding: String =
                "Qf7xW2bLz9Rk".chars().cycle().skip(at % 12).take(4 + at % 9).collect();
            chunk.insert("obfuscation".to_owned(), json!(padding));
        }
    }
    Event { name: None, data: chunk.to_string() }
}

fn with_usage(ask: &Ask) -> bool {
    ask.stream.is_some_and(|stream| stream.with_usage)
}

fn tool_call(call: &Call) -> Value {
    json!({"id": CALL, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
}

fn finish(answer: &Answer) -> &'static str {
    if answer.call.is_some() { "tool_calls" } else { "stop" }
}

fn tokens(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.input, "completion_tokens": usage.output, "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    })
}
