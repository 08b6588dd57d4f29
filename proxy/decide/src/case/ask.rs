//! Facts of what a request asks for.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::Framing;
use crate::scan::SecretClass;

/// One operation of a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Who speaks there: `openai`, `anthropic` or `plain`.
    pub dialect: String,
    /// The operation's permanent name: `chat_completions`, `read`, `write`.
    pub operation: String,
    /// What the gate does with it.
    pub class: EndpointClass,
}

/// What the gate does with an operation. Every path of a known provider has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointClass {
    /// Costs money: reserved, settled.
    Priced,
    /// Costs nothing.
    Free,
    /// Reads from a destination that is not a provider: GET, HEAD, a git fetch.
    Read,
    /// Changes something at a destination that is not a provider.
    Write,
    /// Not governed by this version, so not sent.
    Ungoverned,
    /// A path that this provider is not known to have.
    Unlisted,
}

/// Whether two parsers could read the request differently.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Envelope {
    /// What is wrong with it, in order of appearance; empty is well formed.
    pub faults: Vec<EnvelopeFault>,
    /// Bytes of the body as sent.
    pub bytes: u64,
}

/// One way in which a request is not readable, or readable in two ways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum EnvelopeFault {
    /// An object has the same key twice.
    #[error("the key {0} stands twice in one object")]
    DuplicateKey(String),
    /// The body is not JSON where JSON is required.
    #[error("the body is not valid JSON at byte {0}")]
    NotJson(u64),
    /// A field has another type than the provider documents.
    #[error("{0} is not of the documented type")]
    WrongType(String),
    /// Text is not Unicode, or has a lone surrogate.
    #[error("the text at byte {0} is not valid Unicode")]
    NotUnicode(u64),
    /// Nested deeper than any documented request.
    #[error("nested deeper than {0} levels")]
    TooDeep(u32),
    /// A `content-encoding` that the gate cannot read, or one that does not decode.
    #[error("the content-encoding {0} cannot be read")]
    BadEncoding(String),
    /// Decodes to more than the limit allows.
    #[error("decodes to more than {0} bytes")]
    Bomb(u64),
    /// Larger than the endpoint's limit.
    #[error("larger than {0} bytes")]
    Oversize(u64),
    /// Conflicting or repeated framing or routing headers.
    #[error("the header {0} stands twice or contradicts another")]
    ConflictingHeader(String),
    /// An upgrade to a protocol that the gate does not read.
    #[error("an upgrade to {0} cannot be read")]
    Upgrade(String),
    /// The request target is not in the one form that everybody reads alike.
    #[error("the path is not in normal form")]
    PathForm,
    /// Two servers could cut the bytes into different requests.
    #[error("{0}")]
    Framing(Framing),
}

/// What is asked of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The model, exactly as written in the request.
    pub model: String,
    /// The answer is to be streamed.
    pub stream: bool,
    /// Output limit in tokens that the request sets.
    pub output_limit: Option<u64>,
    /// Number of answers asked for (`n`), 1 where not stated.
    pub choices: u32,
    /// Bytes of the decoded body: an upper bound of what the prompt adds.
    pub input_bytes: u64,
    /// The service tier asked for, which can change the price.
    pub service_tier: Option<String>,
    /// Tools that the request offers, in order.
    pub tools: Vec<ToolOffered>,
    /// Hosts that the provider is asked to contact (media, files, tools, callbacks), with port.
    pub contacts: Vec<String>,
    /// Objects at the provider that the request names and this run was not given.
    pub foreign_objects: Vec<String>,
    /// Features that keep state or go on working at the provider (`background`, `conversation`).
    pub ungoverned: Vec<String>,
}

/// A tool that a request offers to the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolOffered {
    /// Its name, or its type where it has none.
    pub name: String,
    /// Who runs it.
    pub kind: ToolKind,
}

/// Who runs a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolKind {
    /// The agent.
    Agent,
    /// The provider; the type as the dialect writes it without its date (`web_search`).
    Provider(String),
    /// A type that this version does not know.
    Unknown(String),
}

/// What the scanner found in a request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Findings {
    /// Findings by class.
    pub secrets: BTreeMap<SecretClass, u32>,
    /// Every finding stands where a splice leaves the request valid (inside a string of the body).
    pub replaceable: bool,
}
