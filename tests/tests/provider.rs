//! The provider's faults are on the wire as its script's table says, so that a test of the gate meets the real thing.

use anyhow::{Context as _, Result, ensure};
use e2e::bench::connector;
use e2e::provider::{Alpn, KeySeen, Options, Provider};
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn provider(dir: &TempDir) -> Result<Provider> {
    let options = Options {
        listen: "127.0.0.1:0".parse()?,
        dir: dir.path().to_owned(),
        names: Vec::new(),
        alpn: Alpn::Http1,
    };
    Provider::start(options).await
}

/// All bytes that come back for one question, until the connection ends.
async fn raw(provider: &Provider, key: &str, prompt: &str) -> Result<String> {
    let stream = TcpStream::connect(provider.addr()).await?;
    let name = ServerName::try_from("api.openai.com")?;
    let mut stream = connector(provider.ca())?.connect(name, stream).await?;
    let body = format!(
        "{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"{prompt}\"}}]}}"
    );
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: api.openai.com\r\nauthorization: Bearer {key}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await?;
    let mut bytes = Vec::new();
    // A connection that is broken off has still said what it said.
    drop(stream.read_to_end(&mut bytes).await);
    Ok(String::from_utf8(bytes)?)
}

/// The stated length and the bytes that follow the head.
fn parts(answer: &str) -> Result<(usize, &str)> {
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    let stated =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).context("no length")?;
    Ok((stated.parse()?, body))
}

#[tokio::test]
async fn faults_are_on_the_wire() -> Result<()> {
    let dir = TempDir::new()?;
    let provider = provider(&dir).await?;
    let key = provider.keys().openai.clone();

    let answer = raw(&provider, &key, "say:hello").await?;
    let (stated, body) = parts(&answer)?;
    ensure!(stated == body.len() && body.contains("hello"), "{answer}");

    let answer = raw(&provider, &key, "double say:hello").await?;
    let (stated, body) = parts(&answer)?;
    let second = body.get(stated..).unwrap_or_default();
    ensure!(second.starts_with("HTTP/1.1 200 OK") && second.contains("smuggled"), "{answer}");

    let answer = raw(&provider, &key, "overlong say:hello").await?;
    let (stated, body) = parts(&answer)?;
    ensure!(body.len() > stated, "{answer}");

    let answer = raw(&provider, &key, "truncate say:hello").await?;
    let (stated, body) = parts(&answer)?;
    ensure!(!body.is_empty() && body.len() < stated, "{answer}");
    Ok(())
}

#[tokio::test]
async fn only_the_real_key_is_answered() -> Result<()> {
    let dir = TempDir::new()?;
    let provider = provider(&dir).await?;
    let answer = raw(&provider, "sk-tg-virtual", "say:hello").await?;
    ensure!(answer.starts_with("HTTP/1.1 401") && answer.contains("invalid_api_key"), "{answer}");
    let seen = provider.log().records();
    ensure!(seen.len() == 1 && seen.iter().all(|record| record.key == KeySeen::Other), "{seen:?}");
    Ok(())
}
