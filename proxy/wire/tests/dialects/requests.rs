//! Golden requests: what each asks for.

use decide::case::{EndpointClass, EnvelopeFault};
use http::{Method, Request};
use tollgate_wire::{Provider, dialect};

use super::golden::{all, head};

#[test]
fn every_golden_request_is_read_as_recorded() {
    for golden in all("requests") {
        let reading = golden.dialect.read(&golden.endpoint, &head(golden.target), &golden.body);
        let shown = format!(
            "{:#?}\nfaults {:#?}\nobjects {:?}\nusage missing {}\n",
            reading.ask, reading.faults, reading.objects, reading.usage_missing
        );
        insta::assert_snapshot!(format!("request__{}", golden.name), shown);
    }
}

#[test]
fn a_priced_body_must_be_announced_as_json() {
    for golden in
        all("requests").iter().filter(|golden| golden.endpoint.class == EndpointClass::Priced)
    {
        for media in [
            "application/x-www-form-urlencoded",
            "text/plain",
            "application/json; charset=utf-16",
            "multipart/form-data",
        ] {
            let head = Request::post(golden.target)
                .header("content-type", media)
                .body(())
                .unwrap()
                .into_parts()
                .0;
            let reading = golden.dialect.read(&golden.endpoint, &head, &golden.body);
            assert_eq!(
                reading.faults,
                [EnvelopeFault::WrongType("content-type".into())],
                "{} {media}",
                golden.name
            );
        }
    }
}

#[test]
fn a_priced_request_that_is_no_object_has_a_fault_and_no_ask() {
    for golden in
        all("requests").iter().filter(|golden| golden.endpoint.class == EndpointClass::Priced)
    {
        for body in ["", "[]", "\"x\"", "{}", "{\"model\":\"a\",\"model\":\"b\"}"] {
            let reading =
                golden.dialect.read(&golden.endpoint, &head(golden.target), body.as_bytes());
            assert!(reading.ask.is_none() && !reading.faults.is_empty(), "{} {body}", golden.name);
        }
    }
}

#[test]
fn every_listed_path_has_its_class() {
    use EndpointClass::{Free, Priced, Read, Ungoverned, Unlisted, Write};
    let (openai, anthropic, plain) = (Some(Provider::OpenAi), Some(Provider::Anthropic), None);
    for (provider, method, target, class) in [
        (openai, "POST", "/v1/chat/completions", Priced),
        (openai, "GET", "/v1/chat/completions", Ungoverned),
        (openai, "POST", "/v1/responses", Priced),
        (openai, "GET", "/v1/responses", Ungoverned),
        (openai, "GET", "/v1/responses/resp_1", Ungoverned),
        (openai, "POST", "/v1/responses/resp_1/cancel", Ungoverned),
        (openai, "DELETE", "/v1/responses/resp_1", Ungoverned),
        (openai, "POST", "/v1/responses/input_tokens", Free),
        (openai, "POST", "/v1/responses/compact", Ungoverned),
        (openai, "POST", "/v1/embeddings", Priced),
        (openai, "POST", "/v1/moderations", Free),
        (openai, "GET", "/v1/models", Free),
        (openai, "HEAD", "/v1/models", Free),
        (openai, "GET", "/v1/models/gpt-5", Free),
        (openai, "DELETE", "/v1/models/ft:gpt", Ungoverned),
        (openai, "GET", "/v1/files", Ungoverned),
        (openai, "POST", "/v1/batches", Ungoverned),
        (openai, "POST", "/v1/conversations", Ungoverned),
        (openai, "GET", "/v1/vector_stores/vs_1/files", Ungoverned),
        (openai, "POST", "/v1/images/generations", Ungoverned),
        (openai, "TRACE", "/v1/models", Ungoverned),
        (openai, "POST", "/v1/Responses", Unlisted),
        (openai, "POST", "/v1/responses/", Ungoverned),
        (openai, "POST", "/v2/responses", Unlisted),
        (openai, "POST", "/v1/new_thing", Unlisted),
        (anthropic, "POST", "/v1/messages?beta=true", Priced),
        (anthropic, "GET", "/v1/messages", Unlisted),
        (anthropic, "POST", "/v1/messages/count_tokens", Free),
        (anthropic, "POST", "/v1/messages/batches", Ungoverned),
        (anthropic, "GET", "/v1/messages/batches/b/results", Ungoverned),
        (anthropic, "GET", "/v1/models?limit=1000", Free),
        (anthropic, "HEAD", "/api/hello", Free),
        (anthropic, "POST", "/api/hello", Unlisted),
        (anthropic, "POST", "/api/event_logging/batch", Ungoverned),
        (anthropic, "POST", "/v1/files", Ungoverned),
        (plain, "GET", "/a", Read),
        (plain, "HEAD", "/a", Read),
        (plain, "POST", "/a.git/git-upload-pack", Read),
        (plain, "POST", "/a.git/git-receive-pack", Write),
        (plain, "PUT", "/a", Write),
        (plain, "PROPFIND", "/a", Write),
        (plain, "TRACE", "/a", Ungoverned),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let endpoint = dialect(provider).endpoint(&method, &target.parse().unwrap());
        assert_eq!(endpoint.class, class, "{provider:?} {method} {target}");
    }
}

#[test]
fn providers_are_known_by_host() {
    assert_eq!(tollgate_wire::provider_of("api.openai.com"), Some(Provider::OpenAi));
    assert_eq!(tollgate_wire::provider_of("eu.api.openai.com"), Some(Provider::OpenAi));
    assert_eq!(tollgate_wire::provider_of("api.anthropic.com"), Some(Provider::Anthropic));
    assert_eq!(tollgate_wire::provider_of("api.openai.com.evil.example"), None);
}

#[test]
fn a_field_that_costs_in_another_case_is_refused() {
    for golden in all("requests").iter().filter(|golden| {
        golden.name.ends_with("plain.json") && golden.endpoint.class == EndpointClass::Priced
    }) {
        let text = String::from_utf8(golden.body.clone()).unwrap();
        let body = text.replacen('{', r#"{"Service_Tier":"priority","#, 1);
        let reading = golden.dialect.read(&golden.endpoint, &head(golden.target), body.as_bytes());
        assert_eq!(
            reading.faults,
            [EnvelopeFault::DuplicateKey("service_tier".into())],
            "{}",
            golden.name
        );
    }
}

#[test]
fn a_secret_in_a_name_is_not_recorded() {
    let secret = format!("ghp_{}", "a1B2".repeat(9));
    for golden in all("requests").iter().filter(|golden| {
        golden.name.contains("__plain") && golden.endpoint.class == EndpointClass::Priced
    }) {
        let mut body: serde_json::Value = serde_json::from_slice(&golden.body).unwrap();
        body["model"] = secret.clone().into();
        body["service_tier"] = secret.clone().into();
        body["tools"] = serde_json::json!([{"type": secret, "name": secret}]);
        let body = body.to_string();
        let reading = golden.dialect.read(&golden.endpoint, &head(golden.target), body.as_bytes());
        assert!(!format!("{reading:?}").contains(&secret), "{}", golden.name);
    }
}
