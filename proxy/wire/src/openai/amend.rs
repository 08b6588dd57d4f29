//! The two changes that the gate makes to a request.

use crate::dialect::Amendment;
use crate::edit::Edit;
use crate::json::{Kind, Value};

use super::{CHAT, RESPONSES};

pub(super) fn edits(operation: &str, root: Value<'_, '_>, amendment: &Amendment) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut inserted = Vec::new();
    if amendment.include_usage && operation == CHAT && super::chat::usage_missing(root) {
        include_usage(root, &mut edits, &mut inserted);
    }
    if let Some(limit) = amendment.output_limit {
        let fields: &[&str] = match operation {
            CHAT => &["max_completion_tokens", "max_tokens"],
            RESPONSES => &["max_output_tokens"],
            _ => &[],
        };
        output_limit(root, fields, limit, &mut edits, &mut inserted);
    }
    if !inserted.is_empty() {
        edits.push(first_members(root, &inserted));
    }
    edits
}

fn include_usage(root: Value<'_, '_>, edits: &mut Vec<Edit>, inserted: &mut Vec<String>) {
    match root.get("stream_options") {
        None => inserted.push(r#""stream_options":{"include_usage":true}"#.into()),
        Some(options) if options.kind() != Kind::Object => {
            edits.push(Edit { at: options.span(), with: br#"{"include_usage":true}"#.to_vec() });
        }
        Some(options) => match options.get("include_usage") {
            Some(flag) => edits.push(Edit { at: flag.span(), with: b"true".to_vec() }),
            None => edits.push(first_members(options, &[r#""include_usage":true"#.into()])),
        },
    }
}

/// Writes `limit` into every field of `fields` that stands there, or else into the first.
pub(crate) fn output_limit(
    root: Value<'_, '_>,
    fields: &[&str],
    limit: u64,
    edits: &mut Vec<Edit>,
    inserted: &mut Vec<String>,
) {
    let written = limit.to_string().into_bytes();
    let given: Vec<_> = fields.iter().filter_map(|field| root.given(field)).collect();
    if let (true, Some(field)) = (given.is_empty(), fields.first()) {
        match root.get(field) {
            Some(null) => edits.push(Edit { at: null.span(), with: written }),
            None => inserted.push(format!("\"{field}\":{limit}")),
        }
    } else {
        edits.extend(given.iter().map(|value| Edit { at: value.span(), with: written.clone() }));
    }
}

/// Members put at the start of an object.
pub(crate) fn first_members(object: Value<'_, '_>, members: &[String]) -> Edit {
    let start = object.span().start + 1;
    let comma = if object.members().next().is_some() { "," } else { "" };
    Edit { at: start..start, with: format!("{}{comma}", members.join(",")).into_bytes() }
}
