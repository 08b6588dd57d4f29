//! The JSON schema of a contract's file, for editors and for checks before a merge.

use alloc::borrow::{Cow, ToOwned};
use alloc::string::String;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::raw::{Agent, Agents, Bundle, Destination, Terms};

/// The schema. What it allows may still be refused: amounts, hosts and names are read by compiling.
#[must_use]
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Bundle);
    schema.insert("title".to_owned(), "A contract of Tollgate".into());
    schema.to_value()
}

impl JsonSchema for Agents {
    fn schema_name() -> Cow<'static, str> {
        "Agents".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "One contract an agent; the first whose name matches holds.",
            "additionalProperties": generator.subschema_for::<Agent>(),
            "minProperties": 1
        })
    }
}

impl JsonSchema for Destination {
    fn schema_name() -> Cow<'static, str> {
        "Destination".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`HOST[:PORT][:write|:opaque]`, alone or with limits.",
            "anyOf": [generator.subschema_for::<String>(), generator.subschema_for::<Terms>()]
        })
    }
}
