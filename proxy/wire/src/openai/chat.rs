//! What a chat completion asks for.

use decide::case::ToolKind;

use crate::json::{Kind, Value};
use crate::request::{Facts, safe};

/// Output limit and number of choices; the rest goes into `facts`.
pub(super) fn read(root: Value<'_, '_>, facts: &mut Facts) -> (Option<u64>, u32) {
    for message in facts.list(root, "messages") {
        content(message, facts);
        if let Some(audio) = message.given("audio") {
            facts.object(audio, "id");
        }
    }
    for tool in facts.list(root, "tools") {
        offered(tool, facts);
    }
    for function in facts.list(root, "functions") {
        named(function, facts);
    }
    if root.given("web_search_options").is_some() {
        facts.tool("web_search", ToolKind::Provider("web_search".into()));
    }
    priced_apart(root, facts);
    let choices = facts.count(root, "n").unwrap_or(1);
    let choices = u32::try_from(choices).ok().filter(|choices| (1..=128).contains(choices));
    if choices.is_none() {
        facts.wrong("n");
    }
    let limits = [facts.count(root, "max_completion_tokens"), facts.count(root, "max_tokens")];
    (limits.into_iter().flatten().max(), choices.unwrap_or(1))
}

/// A stream that will not say what it used.
pub(super) fn usage_missing(root: Value<'_, '_>) -> bool {
    let streams = root.given("stream").and_then(|stream| stream.as_bool()) == Some(true);
    let asked =
        root.given("stream_options").and_then(|options| options.get("include_usage")?.as_bool());
    streams && asked != Some(true)
}

/// Features whose price is not that of text tokens.
fn priced_apart(root: Value<'_, '_>, facts: &mut Facts) {
    for field in ["audio", "prediction"] {
        if root.given(field).is_some() {
            facts.ungoverned(field);
        }
    }
    for modality in facts.list(root, "modalities") {
        match modality.as_str() {
            Some(name) if name == "text" => {}
            Some(name) => facts.ungoverned(&format!("modality {name}")),
            None => facts.wrong("modalities"),
        }
    }
}

fn content(message: Value<'_, '_>, facts: &mut Facts) {
    let Some(content) = message.given("content") else { return };
    match content.kind() {
        Kind::String => {}
        Kind::Array => content.items().for_each(|part| self::part(part, facts)),
        Kind::Null | Kind::Bool | Kind::Number | Kind::Object | Kind::Key => facts.wrong("content"),
    }
}

fn part(part: Value<'_, '_>, facts: &mut Facts) {
    let Some(kind) = facts.string(part, "type") else { return facts.wrong("content type") };
    match kind.as_str() {
        "text" | "refusal" => {}
        "image_url" => match part.given("image_url") {
            // Some compatible servers take the bare URL.
            Some(image) if image.kind() == Kind::Object => facts.url(image, "url"),
            Some(_) => facts.url(part, "image_url"),
            None => facts.wrong("image_url"),
        },
        "file" => {
            if let Some(file) = part.given("file") {
                facts.object(file, "file_id");
            }
        }
        other => facts.ungoverned(&format!("content part {other}")),
    }
}

fn offered(tool: Value<'_, '_>, facts: &mut Facts) {
    let Some(kind) = facts.string(tool, "type") else { return facts.wrong("tools") };
    match kind.as_str() {
        "function" | "custom" => match tool.given(&kind) {
            Some(description) => named(description, facts),
            None => facts.wrong("tools"),
        },
        other => facts.tool(other, ToolKind::Unknown(safe(other))),
    }
}

fn named(description: Value<'_, '_>, facts: &mut Facts) {
    match facts.string(description, "name") {
        Some(name) => facts.tool(&name, ToolKind::Agent),
        None => facts.wrong("name"),
    }
}
