//! The two amendments leave every other byte alone.

use tollgate_wire::{Amendment, Provider, dialect, splice};

use super::golden::{all, head};

fn amended(provider: Provider, target: &str, body: &str, amendment: Amendment) -> String {
    let dialect = dialect(Some(provider));
    let endpoint = dialect.endpoint(&http::Method::POST, &target.parse().unwrap());
    let reading = dialect.read(&endpoint, &head(target), body.as_bytes());
    let edits = dialect.amend(&endpoint, &reading, &amendment);
    String::from_utf8(splice(body.as_bytes(), &edits)).unwrap()
}

const USAGE: Amendment = Amendment { include_usage: true, output_limit: None };
const LIMIT: Amendment = Amendment { include_usage: false, output_limit: Some(77) };
const CHAT: &str = "/v1/chat/completions";

#[test]
fn usage_is_asked_for_where_a_chat_stream_lacks_it() {
    let chat = |body: &str| amended(Provider::OpenAi, CHAT, body, USAGE);
    let asked = r#""stream_options":{"include_usage":true}"#;
    assert_eq!(
        chat(r#"{ "model":"m","stream":true}"#),
        format!(r#"{{{asked}, "model":"m","stream":true}}"#)
    );
    assert_eq!(
        chat(r#"{"model":"m","stream":true,"stream_options":null}"#),
        format!(r#"{{"model":"m","stream":true,{asked}}}"#)
    );
    assert_eq!(
        chat(r#"{"model":"m","stream":true,"stream_options":{"include_usage" : false}}"#),
        r#"{"model":"m","stream":true,"stream_options":{"include_usage" : true}}"#
    );
    assert_eq!(
        chat(r#"{"model":"m","stream":true,"stream_options":{"include_obfuscation":false}}"#),
        r#"{"model":"m","stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}"#
    );
    assert_eq!(
        chat(r#"{"model":"m","stream":true,"stream_options":{}}"#),
        format!(r#"{{"model":"m","stream":true,{asked}}}"#)
    );
}

#[test]
fn nothing_changes_where_nothing_lacks() {
    for body in [
        r#"{"model":"m"}"#,
        r#"{"model":"m","stream":false}"#,
        r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
    ] {
        assert_eq!(amended(Provider::OpenAi, CHAT, body, USAGE), body);
        assert_eq!(amended(Provider::OpenAi, CHAT, body, Amendment::default()), body);
    }
    let body = r#"{"model":"m","stream":true}"#;
    assert_eq!(amended(Provider::OpenAi, "/v1/responses", body, USAGE), body);
    assert_eq!(amended(Provider::Anthropic, "/v1/messages", body, USAGE), body);
}

#[test]
fn an_output_limit_is_written_where_the_provider_reads_it() {
    let (openai, anthropic) = (Provider::OpenAi, Provider::Anthropic);
    for (provider, target, body, expected) in [
        (openai, CHAT, r#"{"model":"m"}"#, r#"{"max_completion_tokens":77,"model":"m"}"#),
        (openai, CHAT, r#"{"model":"m","max_tokens": 9 }"#, r#"{"model":"m","max_tokens": 77 }"#),
        (
            openai,
            CHAT,
            r#"{"max_completion_tokens":null,"model":"m"}"#,
            r#"{"max_completion_tokens":77,"model":"m"}"#,
        ),
        (
            openai,
            CHAT,
            r#"{"max_tokens":9,"max_completion_tokens":8}"#,
            r#"{"max_tokens":77,"max_completion_tokens":77}"#,
        ),
        (openai, "/v1/responses", r#"{"model":"m"}"#, r#"{"max_output_tokens":77,"model":"m"}"#),
        (openai, "/v1/embeddings", r#"{"model":"m"}"#, r#"{"model":"m"}"#),
        (
            anthropic,
            "/v1/messages",
            r#"{"max_tokens":1024,"model":"m"}"#,
            r#"{"max_tokens":77,"model":"m"}"#,
        ),
    ] {
        assert_eq!(amended(provider, target, body, LIMIT), expected, "{target} {body}");
    }
}

#[test]
fn an_amended_golden_request_asks_for_the_same_but_for_the_limit() {
    let amendment = Amendment { include_usage: true, output_limit: Some(77) };
    for golden in all("requests")
        .iter()
        .filter(|golden| !golden.name.contains("wrong_types") && !golden.name.starts_with("plain"))
    {
        let reading = golden.dialect.read(&golden.endpoint, &head(golden.target), &golden.body);
        let body =
            splice(&golden.body, &golden.dialect.amend(&golden.endpoint, &reading, &amendment));
        let after = golden.dialect.read(&golden.endpoint, &head(golden.target), &body);
        assert!(!after.usage_missing, "{}", golden.name);
        let (mut before, mut after) = (reading.ask.unwrap(), after.ask.unwrap());
        if !golden.name.starts_with("openai-embeddings") {
            assert_eq!(after.output_limit, Some(77), "{}", golden.name);
        }
        (before.output_limit, before.input_bytes) = (None, 0);
        (after.output_limit, after.input_bytes) = (None, 0);
        assert_eq!(before, after, "{}", golden.name);
    }
}
