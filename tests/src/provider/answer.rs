//! The answer before it has a format: what is thought, said and called, and what it costs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::ask::Ask;
use super::script::{Place, Reported};

/// Tokens of one exchange.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// Of the question, cached ones included.
    pub(super) input: u64,
    pub(super) cached: u64,
    pub(super) output: u64,
}

/// A tool call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) arguments: String,
}

/// An answer in no format.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) thinking: Option<String>,
    pub(super) text: String,
    pub(super) call: Option<Call>,
    pub(super) usage: Option<Usage>,
    /// Characters an event.
    pub(super) split: usize,
}

/// One event of a stream.
#[derive(Debug, Clone)]
pub(super) struct Event {
    /// The `event:` line, where the format has one.
    pub(super) name: Option<String>,
    pub(super) data: String,
}

impl Event {
    /// An event whose data is this JSON and whose name is its `type`.
    pub(super) fn typed(data: &serde_json::Value) -> Self {
        let name = data.get("type").and_then(serde_json::Value::as_str).map(str::to_owned);
        Self { name, data: data.to_string() }
    }

    /// The event's bytes on the wire.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let name = self.name.as_ref().map(|name| format!("event: {name}\n")).unwrap_or_default();
        format!("{name}data: {}\n\n", self.data).into_bytes()
    }
}

/// `say` with the key where it is named, in the form that is named.
fn repeated(say: &str, key: &str) -> String {
    let each = |form: &dyn Fn(u8) -> String| key.bytes().map(form).collect::<String>();
    say.replace("{key}", key)
        .replace("{key:base64}", &STANDARD.encode(format!("user:{key}")))
        .replace("{key:percent}", &each(&|byte| format!("%{byte:02X}")))
        .replace("{key:json}", &each(&|byte| format!("\\u{byte:04x}")))
}

impl Answer {
    /// The answer that the script in the question asks for. `key` is the credential that came with it.
    pub(super) fn to(ask: &Ask, key: &str) -> Self {
        let script = &ask.script;
        let mut text = match (&script.say, ask.has_result) {
            (Some(say), _) => repeated(say, key),
            (None, true) => "The tool has answered.".to_owned(),
            (None, false) => "Hello from the offline provider.".to_owned(),
        };
        if let Some(length) = script.big {
            text = "The quick brown fox. ".chars().cycle().take(length).collect();
        }
        let mut thinking = script.think.then(|| "Let me think about that.".to_owned());
        let mut call = ask.tool().map(|name| Call {
            name: name.to_owned(),
            arguments: script
                .args
                .clone()
                .unwrap_or_else(|| r#"{"city":"Paris","unit":"celsius"}"#.to_owned()),
        });
        if let Some(class) = script.leak {
            let secret = class.specimen();
            match (script.place, &mut call) {
                (Place::Arguments, Some(call)) => {
                    call.arguments =
                        serde_json::json!({"city": "Paris", "note": secret}).to_string();
                }
                (Place::Thinking, _) => {
                    thinking = Some(format!("I remember {secret} from before."));
                }
                (Place::Text | Place::Arguments, _) => {
                    text = format!("The credential is {secret} as you asked.");
                }
            }
        }
        let output = text.len()
            + thinking.as_ref().map_or(0, String::len)
            + call.as_ref().map_or(0, |c| c.arguments.len());
        Self {
            usage: usage(script.usage, ask.tokens, output),
            split: script.split.unwrap_or(6).max(1),
            thinking,
            text,
            call,
        }
    }

    /// The text in pieces of `split` characters.
    pub(super) fn pieces(&self, text: &str) -> Vec<String> {
        let letters: Vec<char> = text.chars().collect();
        letters.chunks(self.split).map(|piece| piece.iter().collect()).collect()
    }
}

fn usage(reported: Reported, input: u64, output: usize) -> Option<Usage> {
    match reported {
        Reported::Nothing => None,
        Reported::These { input, output, cached } => Some(Usage { input, cached, output }),
        Reported::Counted => Some(Usage {
            input: input.max(1),
            cached: 0,
            output: u64::try_from(output / 4).unwrap_or(0).max(1),
        }),
    }
}
