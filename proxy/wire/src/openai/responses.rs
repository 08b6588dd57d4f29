//! What a response asks for.

use decide::case::ToolKind;

use crate::json::{Kind, Value};
use crate::request::{Facts, safe, undated};

/// Output limit and number of answers; the rest goes into `facts`.
pub(super) fn read(root: Value<'_, '_>, facts: &mut Facts) -> (Option<u64>, u32) {
    if let Some(input) = root.given("input") {
        match input.kind() {
            Kind::String => {}
            Kind::Array => input.items().for_each(|each| item(each, facts)),
            Kind::Null | Kind::Bool | Kind::Number | Kind::Object | Kind::Key => {
                facts.wrong("input");
            }
        }
    }
    facts.object(root, "previous_response_id");
    state(root, facts);
    for tool in facts.list(root, "tools") {
        offered(tool, facts);
    }
    (facts.count(root, "max_output_tokens"), 1)
}

/// What the provider would keep, look up or go on with.
fn state(root: Value<'_, '_>, facts: &mut Facts) {
    if facts.flag(root, "background") {
        facts.ungoverned("background");
    }
    if let Some(conversation) = root.given("conversation") {
        facts.ungoverned("conversation");
        reference(root, conversation, "conversation", facts);
    }
    if let Some(prompt) = root.given("prompt") {
        facts.ungoverned("prompt");
        reference(root, prompt, "prompt", facts);
    }
}

/// An object named by its id or by an object that has one.
fn reference(at: Value<'_, '_>, value: Value<'_, '_>, key: &str, facts: &mut Facts) {
    if value.kind() == Kind::Object { facts.object(value, "id") } else { facts.object(at, key) }
}

fn item(item: Value<'_, '_>, facts: &mut Facts) {
    let kind = facts.string(item, "type").unwrap_or_else(|| "message".into());
    match kind.as_str() {
        "message" => content(item, "content", facts),
        "function_call_output" | "custom_tool_call_output" | "computer_call_output" => {
            content(item, "output", facts);
        }
        "item_reference" => facts.object(item, "id"),
        "code_interpreter_call" => facts.object(item, "container_id"),
        "reasoning" => {
            content(item, "content", facts);
            content(item, "summary", facts);
        }
        "function_call"
        | "custom_tool_call"
        | "computer_call"
        | "local_shell_call"
        | "local_shell_call_output"
        | "shell_call"
        | "shell_call_output"
        | "apply_patch_call"
        | "apply_patch_call_output"
        | "file_search_call"
        | "web_search_call"
        | "image_generation_call"
        | "mcp_list_tools"
        | "mcp_call"
        | "mcp_approval_request"
        | "mcp_approval_response"
        | "tool_search_call"
        | "tool_search_output"
        | "compaction" => {}
        other => facts.ungoverned(&format!("input item {other}")),
    }
}

fn content(item: Value<'_, '_>, key: &str, facts: &mut Facts) {
    let Some(content) = item.given(key) else { return };
    match content.kind() {
        Kind::String => {}
        Kind::Array => content.items().for_each(|part| self::part(part, facts)),
        Kind::Object => part(content, facts),
        Kind::Null | Kind::Bool | Kind::Number | Kind::Key => facts.wrong(key),
    }
}

fn part(part: Value<'_, '_>, facts: &mut Facts) {
    let Some(kind) = facts.string(part, "type") else { return facts.wrong("content type") };
    match kind.as_str() {
        "input_text" | "output_text" | "text" | "refusal" | "summary_text" | "reasoning_text" => {}
        "input_image" | "computer_screenshot" => {
            facts.url(part, "image_url");
            facts.object(part, "file_id");
        }
        "input_file" => {
            facts.url(part, "file_url");
            facts.object(part, "file_id");
        }
        other => facts.ungoverned(&format!("content part {other}")),
    }
}

fn offered(tool: Value<'_, '_>, facts: &mut Facts) {
    let Some(kind) = facts.string(tool, "type") else { return facts.wrong("tools") };
    let kind = undated(&kind);
    let name = facts.string(tool, "name");
    let label = name.as_deref().unwrap_or(kind);
    match kind {
        "function" | "custom" if name.is_none() => facts.wrong("name"),
        "function"
        | "custom"
        | "local_shell"
        | "apply_patch"
        | "computer"
        | "computer_use_preview"
        | "computer-preview" => facts.tool(label, ToolKind::Agent),
        "namespace" => {
            for inner in facts.list(tool, "tools") {
                offered(inner, facts);
            }
        }
        "shell" => {
            let local =
                tool.given("environment").and_then(|environment| environment.get("type")?.as_str());
            let runs = if local.is_some_and(|kind| kind == "local") {
                ToolKind::Agent
            } else {
                provider("shell")
            };
            facts.tool(label, runs);
            container(tool, "environment", facts);
        }
        "tool_search" => {
            let client =
                facts.string(tool, "execution").is_some_and(|execution| execution == "client");
            facts.tool(label, if client { ToolKind::Agent } else { provider("tool_search") });
        }
        "web_search" | "web_search_preview" => facts.tool("web_search", provider("web_search")),
        "image_generation" => facts.tool(label, provider(kind)),
        "file_search" => {
            facts.objects(tool, "vector_store_ids");
            facts.tool(label, provider(kind));
        }
        "code_interpreter" => {
            container(tool, "container", facts);
            facts.tool(label, provider(kind));
        }
        "mcp" => {
            let label = facts.string(tool, "server_label");
            facts.tool(label.as_deref().unwrap_or("mcp"), provider("mcp"));
            facts.url(tool, "server_url");
            if let Some(connector) = facts.string(tool, "connector_id") {
                facts.ungoverned(&format!("connector {connector}"));
            }
        }
        other => facts.tool(label, ToolKind::Unknown(safe(other))),
    }
}

fn provider(kind: &str) -> ToolKind {
    ToolKind::Provider(kind.to_owned())
}

/// A container named by its id, or made anew with files and with what network it may reach.
fn container(tool: Value<'_, '_>, key: &str, facts: &mut Facts) {
    let Some(value) = tool.given(key) else { return };
    if value.kind() == Kind::Object {
        facts.object(value, "container_id");
        facts.objects(value, "file_ids");
        if let Some(network) = value.given("network_policy")
            && network
                .get("type")
                .and_then(|kind| kind.as_str())
                .is_none_or(|kind| kind != "disabled")
        {
            facts.ungoverned("container network");
        }
        if value.given("skills").is_some() {
            facts.ungoverned("skills");
        }
    } else {
        facts.object(tool, key);
    }
}
