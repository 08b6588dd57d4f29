//! A request is logged, read, sent to the part that knows its host and path, and answered as its script says.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION,
    UPGRADE,
};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::answer::Answer;
use super::ask::{Ask, Dialect};
use super::body::{Paced, Plan};
use super::keys::KeySeen;
use super::log::{Finish, Record, RecordId};
use super::script::{Fault, Script};
use super::serve::Connection;
use super::{Shared, anthropic, chat, git, responses};

/// The largest request body that is read.
const BODY_LIMIT: usize = 256 << 20;
/// The part of a text body that is kept in its record.
const BODY_KEPT: usize = 256 << 10;

/// What one part of the provider answers.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// One frame is a document, several are a stream.
    pub(super) frames: Vec<Bytes>,
    pub(super) script: Script,
}

impl Reply {
    /// A document of that type.
    pub(super) fn document(
        status: StatusCode,
        content_type: &'static str,
        body: impl Into<Bytes>,
    ) -> Self {
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static(content_type))];
        Self { status, headers, frames: vec![body.into()], script: Script::default() }
    }

    pub(super) fn json(status: StatusCode, value: &Value) -> Self {
        Self::document(status, "application/json", value.to_string())
    }

    pub(super) fn not_found() -> Self {
        Self::document(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "not found\n")
    }
}

/// Answers one request.
pub(super) async fn answer(
    request: Request<Incoming>,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
) -> Response<Paced> {
    let (head, body) = request.into_parts();
    let host = host(&head);
    let dialect = dialect(&host, head.uri.path());
    let (key, credential) = shared.keys.seen(dialect, &head.headers);
    let id = shared.log.push(record(&head, &host, key, &connection));
    let in_query = Script::in_query(head.uri.query());
    let reply = if in_query.as_ref().is_some_and(|script| script.early) {
        early(dialect, in_query.unwrap_or_default())
    } else {
        match Limited::new(body, BODY_LIMIT).collect().await {
            Err(_) => {
                error(dialect, StatusCode::PAYLOAD_TOO_LARGE, "the body did not arrive whole")
            }
            Ok(body) => {
                let body = body.to_bytes();
                shared.log.amend(id, |record| note_body(record, &body));
                let mut reply =
                    dispatch(&shared, &host, dialect, &head, &body, (key, &credential)).await;
                if let Some(script) = in_query {
                    reply.script = script;
                }
                reply
            }
        }
    };
    send(reply, connection, &shared, id)
}

async fn dispatch(
    shared: &Shared,
    host: &str,
    dialect: Dialect,
    head: &Parts,
    body: &Bytes,
    key: (KeySeen, &str),
) -> Reply {
    match host {
        "registry.npmjs.org" => shared.npm.answer(head.uri.path()),
        "pypi.org" | "files.pythonhosted.org" => shared.pypi.answer(head.uri.path()),
        "github.com" => git::answer(&shared.dir.join("git"), head, body).await,
        "api.openai.com" | "api.anthropic.com" | "localhost" | "127.0.0.1" => {
            model(dialect, head, body, key)
        }
        _ => plain(head, body),
    }
}

/// The models' own paths.
fn model(dialect: Dialect, head: &Parts, body: &[u8], (key, credential): (KeySeen, &str)) -> Reply {
    let path = head.uri.path();
    if path == "/api/hello" {
        return Reply::json(StatusCode::OK, &json!({"message": "hello"}));
    }
    if head.headers.contains_key(UPGRADE) {
        return error(dialect, StatusCode::UPGRADE_REQUIRED, "this endpoint speaks HTTP");
    }
    if key != KeySeen::Real {
        let shown: String = credential.chars().take(8).collect();
        return error(
            dialect,
            StatusCode::UNAUTHORIZED,
            &format!("Incorrect API key provided: {shown}***"),
        );
    }
    match (head.method == Method::POST, path) {
        (false, "/v1/models") => Reply::json(StatusCode::OK, &models(dialect)),
        (true, "/v1/messages/count_tokens") => {
            Reply::json(StatusCode::OK, &json!({"input_tokens": (body.len() / 4).max(1)}))
        }
        (true, "/v1/chat/completions" | "/v1/responses" | "/v1/messages") => {
            exchange(dialect, body, credential)
        }
        _ => {
            error(dialect, StatusCode::NOT_FOUND, &format!("Invalid URL ({} {path})", head.method))
        }
    }
}

fn exchange(dialect: Dialect, body: &[u8], credential: &str) -> Reply {
    let ask = match Ask::read(dialect, body) {
        Ok(ask) => ask,
        Err(message) => return error(dialect, StatusCode::BAD_REQUEST, &message),
    };
    if let Some(status) = ask.script.status {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut reply = error(dialect, status, "the script asked for an error");
        reply.script = ask.script;
        return reply;
    }
    let answer = Answer::to(&ask, credential);
    let mut reply = if ask.stream.is_some() {
        let events = match dialect {
            Dialect::Chat => chat::events(&ask, &answer),
            Dialect::Responses => responses::events(&ask, &answer),
            Dialect::Anthropic => anthropic::events(&ask, &answer),
        };
        let headers =
            vec![(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"))];
        let frames = events.iter().map(|event| Bytes::from(event.bytes())).collect();
        Reply { status: StatusCode::OK, headers, frames, script: Script::default() }
    } else {
        let document = match dialect {
            Dialect::Chat => chat::whole(&ask, &answer),
            Dialect::Responses => responses::whole(&ask, &answer),
            Dialect::Anthropic => anthropic::whole(&ask, &answer),
        };
        Reply::json(StatusCode::OK, &document)
    };
    reply.headers.push(request_id(dialect));
    let repeating = ask.script.header.as_ref().map(|name| HeaderName::from_bytes(name.as_bytes()));
    if let (Some(Ok(name)), Ok(key)) = (repeating, HeaderValue::from_str(credential)) {
        reply.headers.push((name, key));
    }
    reply.script = ask.script;
    reply
}

/// Any other host tells back what arrived.
fn plain(head: &Parts, body: &Bytes) -> Reply {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let told = json!({"method": head.method.as_str(), "path": path, "bytes": body.len(), "sha256": hex(body)});
    let script = Script::in_query(head.uri.query()).unwrap_or_default();
    if let Some(Ok(to)) = script.goto.as_deref().map(HeaderValue::from_str) {
        let mut reply = Reply::document(StatusCode::FOUND, "text/plain; charset=utf-8", "");
        reply.headers.push((LOCATION, to));
        return reply;
    }
    match &script.say {
        Some(text) => Reply::document(StatusCode::OK, "text/plain; charset=utf-8", text.clone()),
        None => Reply::json(StatusCode::OK, &told),
    }
}

fn early(dialect: Dialect, script: Script) -> Reply {
    let status = script.status.and_then(|status| StatusCode::from_u16(status).ok());
    let mut reply = error(
        dialect,
        status.unwrap_or(StatusCode::PAYLOAD_TOO_LARGE),
        "answered before the body was read",
    );
    reply.script = script;
    reply
}

/// An error in the provider's own format.
fn error(dialect: Dialect, status: StatusCode, message: &str) -> Reply {
    let kind = match (dialect, status.as_u16()) {
        (_, 401) if dialect == Dialect::Anthropic => "authentication_error",
        (Dialect::Anthropic, 404) => "not_found_error",
        (Dialect::Anthropic, 413) => "request_too_large",
        (_, 429) => "rate_limit_error",
        (Dialect::Anthropic, 529) => "overloaded_error",
        (Dialect::Anthropic, 500..) => "api_error",
        (_, 500..) => "server_error",
        _ => "invalid_request_error",
    };
    let body = if dialect == Dialect::Anthropic {
        let id = "req_011CVQ7s4kXbWm2ZpT9dLcRf";
        json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": id})
    } else {
        let code = (status == StatusCode::UNAUTHORIZED).then_some("invalid_api_key");
        json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
    };
    let mut reply = Reply::json(status, &body);
    reply.headers.push(request_id(dialect));
    reply
}

fn models(dialect: Dialect) -> Value {
    if dialect == Dialect::Anthropic {
        let ids = ["claude-sonnet-4-5", "claude-haiku-4-5"];
        let model = |id| json!({"type": "model", "id": id, "display_name": id, "created_at": "2026-01-01T00:00:00Z"});
        let data = ids.map(model);
        return json!({"data": data, "has_more": false, "first_id": ids[0], "last_id": ids[1]});
    }
    let model =
        |id| json!({"id": id, "object": "model", "created": 1_795_000_000, "owned_by": "openai"});
    let data = ["gpt-5", "gpt-5-mini", "gpt-5-nano"].map(model);
    json!({"object": "list", "data": data})
}

fn request_id(dialect: Dialect) -> (HeaderName, HeaderValue) {
    if dialect == Dialect::Anthropic {
        (
            HeaderName::from_static("request-id"),
            HeaderValue::from_static("req_011CVQ7s4kXbWm2ZpT9dLcRf"),
        )
    } else {
        (
            HeaderName::from_static("x-request-id"),
            HeaderValue::from_static("req_7d1f0c9e5b2a4c8e9f3a6b0d"),
        )
    }
}

fn send(
    reply: Reply,
    connection: Arc<Connection>,
    shared: &Shared,
    id: RecordId,
) -> Response<Paced> {
    let script = reply.script;
    let document = reply.frames.len() == 1;
    let frames = script.coding.encode(reply.frames).unwrap_or_default();
    let mut length: usize = frames.iter().map(Bytes::len).sum();
    if script.fault == Some(Fault::Short) {
        length += 1000;
    }
    let plan = Plan::new(frames, &script);
    shared.log.amend(id, |record| record.status = Some(reply.status.as_u16()));
    let mut response = Response::new(Paced::start(plan, connection, shared.log.clone(), id));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.extend(reply.headers);
    if let Some(name) = script.coding.name() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    if document {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

fn dialect(host: &str, path: &str) -> Dialect {
    match path {
        "/v1/responses" => Dialect::Responses,
        _ if host == "api.anthropic.com" || path.starts_with("/v1/messages") => Dialect::Anthropic,
        _ => Dialect::Chat,
    }
}

fn host(head: &Parts) -> String {
    let authority = head.uri.authority().map(Authority::as_str);
    let host = authority
        .or_else(|| head.headers.get(HOST).and_then(|host| host.to_str().ok()))
        .unwrap_or_default();
    host.rsplit_once(':').map_or(host, |(host, _)| host).to_ascii_lowercase()
}

fn record(head: &Parts, host: &str, key: KeySeen, connection: &Connection) -> Record {
    Record {
        connection: connection.number,
        alpn: connection.alpn.clone(),
        sni: connection.sni.clone(),
        method: head.method.to_string(),
        host: host.to_owned(),
        path: head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        headers: pairs(&head.headers),
        body_len: None,
        body_sha256: None,
        body: None,
        key,
        status: None,
        finish: Finish::Open,
    }
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn note_body(record: &mut Record, body: &Bytes) {
    record.body_len = Some(body.len());
    record.body_sha256 = Some(hex(body));
    let kept = body.get(..BODY_KEPT.min(body.len())).unwrap_or_default();
    record.body = String::from_utf8(kept.to_vec()).ok();
}

/// SHA-256 in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}
