//! What to answer is written in the question: a text whose first word is a directive is a script.
//!
//! | directive | meaning |
//! |---|---|
//! | `say:TEXT` | answers TEXT, to the end of the line; `{key}` in it becomes the key that arrived, `{key:base64}`, `{key:percent}` and `{key:json}` that key in another form |
//! | `think` | thinks aloud before it answers |
//! | `tool:NAME` | calls NAME, unless the conversation ends with a tool's result |
//! | `args:JSON` | the call's arguments (no spaces) |
//! | `leak:CLASS[:K]` | puts a credential of that class into the answer, K characters an event (3) |
//! | `in:text` `in:args` `in:thinking` | where the credential stands |
//! | `split:K` | K characters an event (6) |
//! | `usage:IN:OUT[:CACHED]` | the tokens to report; `usage:none` reports none |
//! | `slow:MS` | a pause before each event |
//! | `stall[:N]` | falls silent after N events (half of them) and holds the connection |
//! | `status:CODE` | answers this error |
//! | `goto:URL` | sends the client there, with 302; from a host that is no model's |
//! | `header:NAME` | puts the key that arrived into this header |
//! | `truncate` `reset` | breaks off half-way: without an end, or with a TCP reset |
//! | `short` `overlong` `double` | a `content-length` too large, too small, or a second answer behind the first |
//! | `gzip` `br` `zstd` `deflate` | encodes the answer |
//! | `big:BYTES` | an answer of that many characters |
//! | `drip:N` | writes N bytes at a time, wherever events end |
//!
//! The directives may also stand in the query as `?script=…` (`+` for a space), where there is no text; `early` stands
//! only there: it answers before the body is read.

use std::time::Duration;

use super::secrets::Class;

/// Where a leaked credential stands in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// In the text.
    #[default]
    Text,
    /// In a tool call's arguments.
    Arguments,
    /// In the thinking.
    Thinking,
}

/// How the answer breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Ends half-way without the protocol's end.
    Truncate,
    /// Ends half-way with a TCP reset.
    Reset,
    /// States more bytes than it has.
    Short,
    /// Has more bytes than it states.
    Overlong,
    /// Is followed by a second answer nobody asked for.
    Double,
}

/// How the answer is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Coding {
    /// As it is.
    #[default]
    Identity,
    /// `gzip`.
    Gzip,
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
    /// `deflate`, which is zlib's format.
    Deflate,
}

/// The tokens to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reported {
    /// Counted from the texts.
    #[default]
    Counted,
    /// None.
    Nothing,
    /// These.
    These {
        /// Of the question, cached ones included.
        input: u64,
        /// Of the answer.
        output: u64,
        /// Of the question, read from a cache.
        cached: u64,
    },
}

/// What to answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script {
    /// The text of the answer.
    pub say: Option<String>,
    /// Whether it thinks aloud.
    pub think: bool,
    /// The tool to call.
    pub tool: Option<String>,
    /// The arguments of that call.
    pub args: Option<String>,
    /// The credential to leak.
    pub leak: Option<Class>,
    /// Where it stands.
    pub place: Place,
    /// Characters an event.
    pub split: Option<usize>,
    /// The tokens to report.
    pub usage: Reported,
    /// A pause before each event.
    pub pause: Option<Duration>,
    /// Falls silent; after how many events where that is said.
    pub stall: Option<Option<usize>>,
    /// The error to answer.
    pub status: Option<u16>,
    /// Where the client is sent.
    pub goto: Option<String>,
    /// The header that repeats the key.
    pub header: Option<String>,
    /// How the answer breaks.
    pub fault: Option<Fault>,
    /// How it is encoded.
    pub coding: Coding,
    /// Characters of the answer.
    pub big: Option<usize>,
    /// Bytes a write.
    pub drip: Option<usize>,
    /// Answers before the body is read.
    pub early: bool,
}

impl Script {
    /// Reads a script, or none where the text's first word is no directive.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut script = Self::default();
        let mut rest = text.trim_start();
        let mut known = false;
        while !rest.is_empty() {
            if let Some(said) = rest.strip_prefix("say:") {
                script.say = Some(said.trim_end().to_owned());
                return Some(script);
            }
            let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let understood = script.directive(word).is_some();
            if !known && !understood {
                return None;
            }
            known = true;
            rest = after.trim_start();
        }
        known.then_some(script)
    }

    /// The script in a query string, as `script=slow:5+say:hello`.
    #[must_use]
    pub fn in_query(query: Option<&str>) -> Option<Self> {
        query?.split('&').find_map(|pair| pair.strip_prefix("script=")).and_then(|text| {
            Self::read(&text.replace("%20", " ").replace('+', " ").replace("%3A", ":"))
        })
    }

    fn directive(&mut self, word: &str) -> Option<()> {
        let mut parts = word.split(':');
        let (name, first) = (parts.next()?, parts.next());
        match name {
            "think" => self.think = true,
            "tool" => self.tool = Some(first?.to_owned()),
            "args" => self.args = Some(word.strip_prefix("args:")?.to_owned()),
            "leak" => {
                self.leak = Some(Class::of(first?)?);
                self.split = Some(parts.next().map_or(Some(3), |split| split.parse().ok())?);
            }
            "in" => self.place = place(first?)?,
            "split" => self.split = Some(first?.parse().ok()?),
            "usage" => self.usage = reported(word.strip_prefix("usage:")?)?,
            "slow" => self.pause = Some(Duration::from_millis(first?.parse().ok()?)),
            "stall" => self.stall = Some(first.map(str::parse).transpose().ok()?),
            "status" => self.status = Some(first?.parse().ok()?),
            "goto" => self.goto = Some(word.strip_prefix("goto:")?.to_owned()),
            "header" => self.header = Some(first?.to_owned()),
            "big" => self.big = Some(first?.parse().ok()?),
            "drip" => self.drip = Some(first?.parse().ok().filter(|bytes| *bytes > 0)?),
            "early" => self.early = true,
            _ => return self.wire(name),
        }
        Some(())
    }

    fn wire(&mut self, name: &str) -> Option<()> {
        match name {
            "truncate" => self.fault = Some(Fault::Truncate),
            "reset" => self.fault = Some(Fault::Reset),
            "short" => self.fault = Some(Fault::Short),
            "overlong" => self.fault = Some(Fault::Overlong),
            "double" => self.fault = Some(Fault::Double),
            "gzip" => self.coding = Coding::Gzip,
            "br" => self.coding = Coding::Brotli,
            "zstd" => self.coding = Coding::Zstd,
            "deflate" => self.coding = Coding::Deflate,
            _ => return None,
        }
        Some(())
    }
}

fn place(word: &str) -> Option<Place> {
    match word {
        "text" => Some(Place::Text),
        "args" => Some(Place::Arguments),
        "thinking" => Some(Place::Thinking),
        _ => None,
    }
}

fn reported(word: &str) -> Option<Reported> {
    if word == "none" {
        return Some(Reported::Nothing);
    }
    let numbers =
        word.split(':').map(|number| number.parse().ok()).collect::<Option<Vec<u64>>>()?;
    match numbers.as_slice() {
        [input, output] => Some(Reported::These { input: *input, output: *output, cached: 0 }),
        [input, output, cached] => {
            Some(Reported::These { input: *input, output: *output, cached: *cached })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_script_only_if_its_first_word_is_a_directive() {
        assert_eq!(Script::read("please say:hello"), None);
        assert_eq!(Script::read("Hello there"), None);
        assert_eq!(Script::read(""), None);
        assert_eq!(Script::read("say:hello there").unwrap().say.unwrap(), "hello there");
    }

    #[test]
    fn directives_combine_in_any_order() {
        let script = Script::read(
            "slow:50 leak:github:3 in:args tool:weather usage:10:20:5 gzip say:x slow:1",
        )
        .unwrap();
        assert_eq!(script.pause, Some(Duration::from_millis(50)));
        assert_eq!((script.leak, script.split), (Some(Class::GitHub), Some(3)));
        assert_eq!(script.place, Place::Arguments);
        assert_eq!(script.usage, Reported::These { input: 10, output: 20, cached: 5 });
        assert_eq!(script.say.as_deref(), Some("x slow:1"));
        assert_eq!(script.coding, Coding::Gzip);
    }

    #[test]
    fn a_query_carries_a_script_where_there_is_no_text() {
        let script = Script::in_query(Some("a=b&script=early+status:500")).unwrap();
        assert!(script.early);
        assert_eq!(script.status, Some(500));
    }
}
