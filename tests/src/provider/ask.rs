//! The question as the provider understands it: which dialect, which model, streamed or not, and the script in it.

use serde_json::Value;

use super::script::Script;

/// Which of the three formats a request is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `OpenAI` chat completions.
    Chat,
    /// `OpenAI` responses.
    Responses,
    /// Anthropic messages.
    Anthropic,
}

/// How a stream is wanted; the fields concern chat only.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    /// The client asked for a usage chunk.
    pub(super) with_usage: bool,
    /// The deltas are padded, unless the client said no.
    pub(super) padded: bool,
}

/// One question.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) model: String,
    pub(super) stream: Option<Stream>,
    /// The conversation ends with a tool's result.
    pub(super) has_result: bool,
    pub(super) script: Script,
    /// What the question would be counted as.
    pub(super) tokens: u64,
}

impl Ask {
    /// Reads a question; the error is the message for the client.
    pub(super) fn read(dialect: Dialect, body: &[u8]) -> Result<Self, String> {
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| format!("the body is not JSON: {error}"))?;
        let model = body
            .get("model")
            .and_then(Value::as_str)
            .ok_or("you must provide a model parameter")?
            .to_owned();
        if dialect == Dialect::Anthropic && body.get("max_tokens").and_then(Value::as_u64).is_none()
        {
            return Err("max_tokens: Field required".to_owned());
        }
        let turns = turns(dialect, &body)?;
        let texts = turns.iter().rev().find(|turn| is_user(turn)).map(texts).unwrap_or_default();
        let script =
            texts.iter().rev().find_map(|text| Script::read(text)).or_else(|| Script::read(&model));
        let options = body.get("stream_options");
        let option = |name| options.and_then(|options| options.get(name)).and_then(Value::as_bool);
        let stream = body.get("stream").and_then(Value::as_bool).unwrap_or(false).then(|| Stream {
            with_usage: option("include_usage") == Some(true),
            padded: option("include_obfuscation") != Some(false),
        });
        Ok(Self {
            stream,
            has_result: turns.last().is_some_and(is_result),
            script: script.unwrap_or_default(),
            tokens: u64::try_from(body.to_string().len() / 4).unwrap_or(u64::MAX),
            model,
        })
    }

    /// The tool to call, where the script names one and its result is not there yet.
    pub(super) fn tool(&self) -> Option<&str> {
        self.script.tool.as_deref().filter(|_| !self.has_result)
    }
}

fn turns(dialect: Dialect, body: &Value) -> Result<Vec<Value>, String> {
    let field = if dialect == Dialect::Responses { "input" } else { "messages" };
    match body.get(field) {
        Some(Value::Array(turns)) => Ok(turns.clone()),
        Some(Value::String(text)) if dialect == Dialect::Responses => {
            Ok(vec![serde_json::json!({"role": "user", "content": text})])
        }
        _ => Err(format!("missing required parameter: '{field}'")),
    }
}

fn is_user(turn: &Value) -> bool {
    turn.get("role").and_then(Value::as_str) == Some("user") && !texts(turn).is_empty()
}

fn is_result(turn: &Value) -> bool {
    let kind = |value: &Value| value.get("type").and_then(Value::as_str).map(str::to_owned);
    turn.get("role").and_then(Value::as_str) == Some("tool")
        || kind(turn).is_some_and(|kind| kind.ends_with("_call_output"))
        || turn.get("content").and_then(Value::as_array).is_some_and(|parts| {
            parts.iter().any(|part| kind(part).as_deref() == Some("tool_result"))
        })
}

fn texts(turn: &Value) -> Vec<String> {
    match turn.get("content") {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(parts)) => parts
            .iter()
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_in_the_last_text_of_the_last_user_turn() {
        let body = br#"{"model":"m","max_tokens":9,"messages":[
            {"role":"user","content":"say:old"},
            {"role":"assistant","content":"old"},
            {"role":"user","content":[{"type":"text","text":"<reminder>"},{"type":"text","text":"say:new"}]}]}"#;
        let ask = Ask::read(Dialect::Anthropic, body).unwrap();
        assert_eq!(ask.script.say.as_deref(), Some("new"));
    }

    #[test]
    fn a_tool_is_called_until_its_result_is_there() {
        let asked = br#"{"model":"m","input":[{"role":"user","content":"tool:ls"}]}"#;
        assert_eq!(Ask::read(Dialect::Responses, asked).unwrap().tool(), Some("ls"));
        let told = br#"{"model":"m","input":[{"role":"user","content":"tool:ls"},{"type":"function_call","name":"ls"},
            {"type":"function_call_output","output":"x"}]}"#;
        assert_eq!(Ask::read(Dialect::Responses, told).unwrap().tool(), None);
    }
}
