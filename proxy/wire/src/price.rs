//! Lists what of a request moves its price beside its model, its bytes and its output limit.

use crate::json::{Document, Value};

/// What of a request moves its price.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PriceFacts {
    /// The prompt has parts that are not in the bytes of the body: images, sound, documents, and
    /// objects that the provider holds or fetches.
    pub beyond_bytes: bool,
    /// The most calls of tools that the provider runs; `None` where the request sets no bound.
    pub tool_calls: Option<u64>,
    /// Fields that move the price, with their values.
    pub fields: Vec<(&'static str, String)>,
}

/// Content parts that are text, by type. Every other type can bill more tokens than it has bytes.
const TEXT: [&str; 13] = [
    "text",
    "input_text",
    "output_text",
    "refusal",
    "summary_text",
    "reasoning_text",
    "thinking",
    "redacted_thinking",
    "tool_use",
    "tool_result",
    "server_tool_use",
    "search_result",
    "tool_reference",
];

/// Top-level fields that multiply or add to the price where they are present.
const FIELDS: [&str; 5] = ["inference_geo", "speed", "audio", "prediction", "web_search_options"];

/// What moves the price of the request that `document` is.
#[must_use]
pub fn price_facts(document: &Document<'_>) -> PriceFacts {
    let root = document.root();
    let fields = FIELDS
        .iter()
        .filter_map(|name| Some((*name, shown(&root.given(name)?))))
        .chain(sound(&root))
        .collect();
    PriceFacts { beyond_bytes: beyond_bytes(&root), tool_calls: tool_calls(&root), fields }
}

fn beyond_bytes(root: &Value<'_, '_>) -> bool {
    let held = ["previous_response_id", "prompt", "container", "conversation"];
    held.iter().any(|name| root.given(name).is_some())
        || ["messages", "input", "system"].iter().any(|name| root.get(name).is_some_and(has_media))
}

/// Whether some content part below is not text.
fn has_media(value: Value<'_, '_>) -> bool {
    let parts = |value: Value<'_, '_>| {
        ["content", "output"]
            .iter()
            .any(|name| value.get(name).is_some_and(|content| content.items().any(is_media)))
    };
    value.items().any(|item| parts(item) || is_media(item))
}

fn is_media(part: Value<'_, '_>) -> bool {
    let kind = part.get("type").and_then(|kind| kind.as_str());
    let nested = part.get("content").is_some_and(|content| content.items().any(is_media));
    // An item of a conversation has a type too; what carries media says so by one of these words.
    nested
        || kind.is_some_and(|kind| {
            !TEXT.contains(&kind.as_ref())
                && ["image", "audio", "file", "document", "video", "screenshot"]
                    .iter()
                    .any(|word| kind.contains(word))
        })
}

/// The bound on all provider-run tools together: one for the request, or the sum of theirs.
fn tool_calls(root: &Value<'_, '_>) -> Option<u64> {
    if let Some(most) = root.given("max_tool_calls") {
        return most.as_u64();
    }
    let mut all = None;
    for tool in root.get("tools").into_iter().flat_map(Value::items) {
        if let Some(uses) = tool.given("max_uses") {
            all = Some(uses.as_u64()?.saturating_add(all.unwrap_or(0)));
        }
    }
    all
}

/// Sound in the answer is billed by prices of its own.
fn sound(root: &Value<'_, '_>) -> Option<(&'static str, String)> {
    let modalities = root.given("modalities")?;
    let text_only = modalities.items().all(|one| one.as_str().is_some_and(|one| one == "text"));
    (!text_only).then(|| ("modalities", shown(&modalities)))
}

fn shown(value: &Value<'_, '_>) -> String {
    value.as_str().map_or_else(|| "present".to_owned(), |text| text.chars().take(64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(body: &str) -> PriceFacts {
        price_facts(&Document::parse(body.as_bytes()).unwrap())
    }

    #[test]
    fn text_is_within_its_bytes() {
        let body = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"image"}]}]}"#;
        assert_eq!(facts(body), PriceFacts::default());
    }

    #[test]
    fn an_image_is_not_also_inside_a_tool_result() {
        let plain = r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"x"}}]}]}"#;
        let nested =
            r#"{"messages":[{"content":[{"type":"tool_result","content":[{"type":"image"}]}]}]}"#;
        assert!(facts(plain).beyond_bytes);
        assert!(facts(nested).beyond_bytes);
        assert!(facts(r#"{"input":[{"type":"input_file","file_id":"f"}]}"#).beyond_bytes);
        assert!(facts(r#"{"input":"x","previous_response_id":"resp_1"}"#).beyond_bytes);
    }

    #[test]
    fn bounds_of_tools_add_up_and_one_for_all_goes_before() {
        assert_eq!(facts(r#"{"tools":[{"max_uses":2},{"max_uses":3},{}]}"#).tool_calls, Some(5));
        assert_eq!(facts(r#"{"tools":[{"max_uses":2}],"max_tool_calls":4}"#).tool_calls, Some(4));
        assert_eq!(facts(r#"{"tools":[{"max_uses":1.5}]}"#).tool_calls, None);
    }

    #[test]
    fn fields_that_move_the_price_are_listed() {
        let listed =
            facts(r#"{"speed":"fast","audio":{"voice":"a"},"modalities":["text","audio"]}"#);
        let expected = [("speed", "fast"), ("audio", "present"), ("modalities", "present")];
        assert_eq!(listed.fields, expected.map(|(a, b)| (a, b.to_owned())));
    }
}
