//! What a message request asks for.

use decide::case::ToolKind;

use crate::json::{Kind, Value};
use crate::request::{Facts, safe, undated};

/// Everything but model, limit and stream.
pub(super) fn read(root: Value<'_, '_>, facts: &mut Facts) {
    blocks(root, "system", facts);
    for message in facts.list(root, "messages") {
        blocks(message, "content", facts);
    }
    for tool in facts.list(root, "tools") {
        offered(tool, facts);
    }
    for server in facts.list(root, "mcp_servers") {
        let name = facts.string(server, "name");
        facts.tool(name.as_deref().unwrap_or("mcp"), ToolKind::Provider("mcp".into()));
        facts.url(server, "url");
    }
    if let Some(container) = root.given("container") {
        if container.kind() == Kind::Object {
            facts.object(container, "id");
            if container.given("skills").is_some() {
                facts.ungoverned("skills");
            }
        } else {
            facts.object(root, "container");
        }
    }
    // Both change the price of every token.
    for (field, usual) in [("speed", "standard"), ("inference_geo", "global")] {
        if let Some(value) = facts.string(root, field)
            && value != usual
        {
            facts.ungoverned(&format!("{field} {value}"));
        }
    }
}

fn blocks(at: Value<'_, '_>, key: &str, facts: &mut Facts) {
    let Some(content) = at.given(key) else { return };
    match content.kind() {
        Kind::String => {}
        Kind::Array => content.items().for_each(|each| block(each, facts)),
        // The result of a server's tool is one object.
        Kind::Object => block(content, facts),
        Kind::Null | Kind::Bool | Kind::Number | Kind::Key => facts.wrong(key),
    }
}

fn block(block: Value<'_, '_>, facts: &mut Facts) {
    let Some(kind) = facts.string(block, "type") else { return facts.wrong("content type") };
    match kind.as_str() {
        "image" | "document" => source(block, facts),
        "tool_result" | "mcp_tool_result" => blocks(block, "content", facts),
        "container_upload" => facts.object(block, "file_id"),
        "text"
        | "tool_use"
        | "thinking"
        | "redacted_thinking"
        | "server_tool_use"
        | "mcp_tool_use"
        | "search_result"
        | "web_search_tool_result"
        | "web_fetch_tool_result"
        | "code_execution_tool_result"
        | "bash_code_execution_tool_result"
        | "text_editor_code_execution_tool_result"
        | "tool_search_tool_result"
        | "tool_reference"
        | "compaction" => {}
        other => facts.ungoverned(&format!("content block {other}")),
    }
}

fn source(block: Value<'_, '_>, facts: &mut Facts) {
    let Some(source) = block.given("source") else { return facts.wrong("source") };
    let Some(kind) = facts.string(source, "type") else { return facts.wrong("source type") };
    match kind.as_str() {
        "base64" | "text" => {}
        "url" => facts.url(source, "url"),
        "file" => facts.object(source, "file_id"),
        "content" => blocks(source, "content", facts),
        other => facts.ungoverned(&format!("source {other}")),
    }
}

fn offered(tool: Value<'_, '_>, facts: &mut Facts) {
    let kind = facts.string(tool, "type").unwrap_or_else(|| "custom".into());
    let kind = undated(&kind);
    let name = facts.string(tool, "name");
    if name.is_none() && kind != "mcp_toolset" {
        facts.wrong("name");
    }
    let label = name.as_deref().unwrap_or(kind);
    match kind {
        // Run by the agent, with schemas that the model knows.
        "custom" | "bash" | "text_editor" | "computer" | "memory" => {
            facts.tool(label, ToolKind::Agent);
        }
        "web_search"
        | "web_fetch"
        | "code_execution"
        | "tool_search_tool_regex"
        | "tool_search_tool_bm25" => {
            facts.tool(label, ToolKind::Provider(kind.to_owned()));
        }
        "mcp_toolset" => {
            let server = facts.string(tool, "mcp_server_name");
            facts.tool(server.as_deref().unwrap_or(kind), ToolKind::Provider("mcp".into()));
        }
        other => facts.tool(label, ToolKind::Unknown(safe(other))),
    }
}
