//! Answers in the format of `OpenAI` responses.

use serde_json::{Value, json};

use super::answer::{Answer, Call, Event, Usage};
use super::ask::Ask;

const ID: &str = "resp_0c7d51f2a9e84b36006920b7c1a4f881";
const CREATED: u64 = 1_795_000_000;

/// The whole answer as one document.
pub(super) fn whole(ask: &Ask, answer: &Answer) -> Value {
    let output: Vec<Value> = items(answer).iter().map(Item::done).collect();
    response(ask, "completed", &json!(output), answer.usage)
}

/// The answer as a stream; the text stands in it three times, as it does in the real one.
pub(super) fn events(ask: &Ask, answer: &Answer) -> Vec<Event> {
    let items = items(answer);
    let start = |kind: &str| json!({"type": kind, "response": response(ask, "in_progress", &json!([]), None)});
    let mut events = vec![start("response.created"), start("response.in_progress")];
    for (index, item) in items.iter().enumerate() {
        item.events(index, answer, &mut events);
    }
    events.push(json!({"type": "response.completed", "response": whole(ask, answer)}));
    for (number, event) in events.iter_mut().enumerate() {
        if let Some(event) = event.as_object_mut() {
            event.insert("sequence_number".to_owned(), json!(number));
        }
    }
    events.iter().map(Event::typed).collect()
}

/// One output item.
enum Item<'a> {
    Reasoning(&'a str),
    Call(&'a Call),
    Message(&'a str),
}

fn items(answer: &Answer) -> Vec<Item<'_>> {
    let mut items: Vec<Item<'_>> =
        answer.thinking.iter().map(|text| Item::Reasoning(text)).collect();
    items.push(answer.call.as_ref().map_or(Item::Message(&answer.text), Item::Call));
    items
}

impl Item<'_> {
    fn id(&self) -> &'static str {
        match self {
            Self::Reasoning(_) => "rs_0c7d51f2a9e84b36006920b7c2d01c81",
            Self::Call(_) => "fc_0c7d51f2a9e84b36006920b7c2f5a481",
            Self::Message(_) => "msg_0c7d51f2a9e84b36006920b7c2e3b081",
        }
    }

    fn done(&self) -> Value {
        let id = self.id();
        match self {
            Self::Reasoning(text) => {
                json!({"id": id, "type": "reasoning", "summary": [{"type": "summary_text", "text": text}]})
            }
            Self::Call(call) => json!({
                "id": id, "type": "function_call", "status": "completed", "arguments": call.arguments,
                "call_id": "call_5Hq8nW1mT3xZ0aLrV7cYbKdS", "name": call.name,
            }),
            Self::Message(text) => json!({
                "id": id, "type": "message", "status": "completed", "role": "assistant", "content": [part(text)],
            }),
        }
    }

    fn added(&self) -> Value {
        let mut item = self.done();
        if let Some(item) = item.as_object_mut() {
            for (field, empty) in [
                ("arguments", json!("")),
                ("content", json!([])),
                ("summary", json!([])),
                ("status", json!("in_progress")),
            ] {
                if let Some(value) = item.get_mut(field) {
                    *value = empty;
                }
            }
        }
        item
    }

    fn events(&self, index: usize, answer: &Answer, events: &mut Vec<Value>) {
        let at = |kind: &str, more: Value| {
            let mut event = json!({"type": kind, "item_id": self.id(), "output_index": index});
            if let (Some(event), Value::Object(more)) = (event.as_object_mut(), more) {
                event.extend(more);
            }
            event
        };
        events.push(json!({"type": "response.output_item.added", "output_index": index, "item": self.added()}));
        match self {
            Self::Reasoning(text) => {
                let summary = |kind: &str, part: &str| {
                    json!({"type": kind, "item_id": self.id(), "output_index": index, "summary_index": 0,
                           "part": {"type": "summary_text", "text": part}})
                };
                events.push(summary("response.reasoning_summary_part.added", ""));
                for piece in answer.pieces(text) {
                    let more = json!({"summary_index": 0, "delta": piece, "obfuscation": "x7Kq"});
                    events.push(at("response.reasoning_summary_text.delta", more));
                }
                events.push(at(
                    "response.reasoning_summary_text.done",
                    json!({"summary_index": 0, "text": text}),
                ));
                events.push(summary("response.reasoning_summary_part.done", text));
            }
            Self::Call(call) => {
                for piece in answer.pieces(&call.arguments) {
                    let more = json!({"delta": piece, "obfuscation": "pL2vW9"});
                    events.push(at("response.function_call_arguments.delta", more));
                }
                let whole = json!({"arguments": call.arguments, "name": call.name});
                events.push(at("response.function_call_arguments.done", whole));
            }
            Self::Message(text) => {
                events.push(at(
                    "response.content_part.added",
                    json!({"content_index": 0, "part": part("")}),
                ));
                for piece in answer.pieces(text) {
                    let more = json!({"content_index": 0, "delta": piece, "logprobs": [], "obfuscation": "Zt5"});
                    events.push(at("response.output_text.delta", more));
                }
                let whole = json!({"content_index": 0, "text": text, "logprobs": []});
                events.push(at("response.output_text.done", whole));
                events.push(at(
                    "response.content_part.done",
                    json!({"content_index": 0, "part": part(text)}),
                ));
            }
        }
        events.push(json!({"type": "response.output_item.done", "output_index": index, "item": self.done()}));
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text})
}

fn response(ask: &Ask, status: &str, output: &Value, usage: Option<Usage>) -> Value {
    json!({
        "id": ID, "object": "response", "created_at": CREATED, "status": status, "background": false, "error": null,
        "incomplete_details": null, "instructions": null, "max_output_tokens": null, "model": ask.model,
        "output": output, "parallel_tool_calls": true, "previous_response_id": null,
        "reasoning": {"effort": null, "summary": null}, "service_tier": "auto", "store": true, "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"}, "tool_choice": "auto", "tools": [],
        "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "usage": usage.map(tokens), "user": null,
        "metadata": {},
    })
}

fn tokens(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.input, "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.output, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.input + usage.output,
    })
}
