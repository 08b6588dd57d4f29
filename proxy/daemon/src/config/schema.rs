//! The JSON schema of the configuration, for editors and for checks before a roll-out.

use serde_json::{Map, Value, json};

use super::keys::{KEYS, Key, Like, SECTIONS};

/// The schema. What it allows may still be refused: addresses, URLs and names are read by loading.
#[must_use]
pub fn schema() -> Value {
    let mut schema = section(&[]);
    if let Value::Object(schema) = &mut schema {
        schema.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        schema.insert("title".into(), "The configuration of Tollgate".into());
    }
    schema
}

fn section(path: &[&str]) -> Value {
    let mut properties = Map::new();
    let mut any = Value::Bool(false);
    let mut needed = Vec::new();
    for key in KEYS.iter().filter(|key| key.like != Like::NotBuilt && key.under(path)) {
        let Some(step) = key.steps().nth(path.len()) else { continue };
        let below = [path, &[step]].concat();
        if key.needed && key.is(&below) {
            needed.push(step);
        }
        if properties.contains_key(step) || (step == "*" && any.is_object()) {
            continue;
        }
        let child = if key.is(&below) { leaf(key) } else { section(&below) };
        if step == "*" {
            any = child;
        } else {
            properties.insert(step.to_owned(), child);
        }
    }
    let name = path.join(".");
    let says = SECTIONS.iter().find(|(section, _)| *section == name).map(|(_, says)| *says);
    let mut schema = json!({
        "type": ["object", "null"],
        "properties": properties,
        "additionalProperties": any,
    });
    if let Value::Object(schema) = &mut schema {
        schema.extend(says.map(|says| ("description".to_owned(), says.into())));
        if !needed.is_empty() {
            schema.insert("required".into(), needed.into());
        }
    }
    schema
}

fn leaf(key: &Key) -> Value {
    let mut schema = match key.like {
        Like::Choice(words) => json!({ "enum": words }),
        Like::Truth => json!({ "type": ["boolean", "null"] }),
        Like::Count(least, most) => {
            json!({ "type": ["integer", "null"], "minimum": least, "maximum": most })
        }
        Like::Url => json!({ "type": ["string", "null"], "pattern": "^https?://" }),
        Like::Addresses => json!({
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" } },
                { "type": "null" },
                { "const": false },
            ]
        }),
        Like::Files | Like::Reroutes => json!({
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" } },
                { "type": "null" },
            ]
        }),
        Like::Secret => json!({ "type": ["string", "number", "boolean", "null"] }),
        Like::File | Like::Folder | Like::Name | Like::Duration | Like::Bytes | Like::NotBuilt => {
            json!({ "type": ["string", "null"] })
        }
    };
    if let Value::Object(schema) = &mut schema {
        schema.insert("description".into(), key.says.into());
        if let Some(default) = key.default {
            let value = serde_json::from_str(default).unwrap_or_else(|_| default.into());
            schema.insert("default".into(), value);
        }
    }
    schema
}
