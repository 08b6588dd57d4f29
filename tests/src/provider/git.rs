//! One git repository, `/acme/sample.git`, served by git's own `http-backend`.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use http::request::Parts;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::routes::Reply;
use super::script::Script;

/// Makes the repository under `dir`, with one commit; one that is there already is kept.
pub(super) async fn repository(dir: &Path) -> Result<()> {
    let bare = dir.join("acme/sample.git");
    if bare.exists() {
        return Ok(());
    }
    let work = dir.join("work");
    std::fs::create_dir_all(&work)?;
    git(dir, &["init", "--quiet", "--bare", "--initial-branch=main", "acme/sample.git"]).await?;
    git(&bare, &["config", "http.receivepack", "true"]).await?;
    git(&work, &["init", "--quiet", "--initial-branch=main"]).await?;
    std::fs::write(work.join("README"), "A sample.\n")?;
    git(&work, &["add", "README"]).await?;
    git(&work, &["commit", "--quiet", "--message", "A sample"]).await?;
    git(&work, &["push", "--quiet", "../acme/sample.git", "main"]).await
}

/// A git command that sees no configuration but the repository's.
fn command(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(dir).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "E2E")
            .env(format!("GIT_{role}_EMAIL"), "e2e@localhost");
    }
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", dir);
    command
}

async fn git(dir: &Path, args: &[&str]) -> Result<()> {
    let status =
        command(dir).args(args).status().await.context("git cannot be started: install it")?;
    ensure!(status.success(), "git {} ended with {status}", args.join(" "));
    Ok(())
}

/// One request, by CGI.
pub(super) async fn answer(root: &Path, head: &Parts, body: &Bytes) -> Reply {
    match backend(root, head, body).await {
        Ok(reply) => reply,
        Err(error) => Reply::document(
            StatusCode::BAD_GATEWAY,
            "text/plain; charset=utf-8",
            format!("git http-backend: {error}\n"),
        ),
    }
}

async fn backend(root: &Path, head: &Parts, body: &Bytes) -> Result<Reply> {
    let mut cgi = command(root);
    cgi.arg("http-backend").stdin(Stdio::piped()).stdout(Stdio::piped());
    cgi.env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1").env("REMOTE_USER", "e2e");
    cgi.env("REQUEST_METHOD", head.method.as_str()).env("PATH_INFO", head.uri.path());
    cgi.env("QUERY_STRING", head.uri.query().unwrap_or_default())
        .env("CONTENT_LENGTH", body.len().to_string());
    let passed: [(HeaderName, &str); 3] = [
        (CONTENT_TYPE, "CONTENT_TYPE"),
        (CONTENT_ENCODING, "HTTP_CONTENT_ENCODING"),
        (HeaderName::from_static("git-protocol"), "GIT_PROTOCOL"),
    ];
    for (header, variable) in passed {
        if let Some(value) = head.headers.get(header).and_then(|value| value.to_str().ok()) {
            cgi.env(variable, value);
        }
    }
    let mut child = cgi.spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let body = body.clone();
    // A backend that ends before it has read the body says so in its answer.
    let feed = tokio::spawn(async move { drop(stdin.write_all(&body).await) });
    let out = child.wait_with_output().await?;
    feed.await?;
    parse(&out.stdout).context("its answer has no head")
}

fn parse(out: &[u8]) -> Option<Reply> {
    let end = out.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(out.get(..end)?).ok()?;
    let body = Bytes::copy_from_slice(out.get(end + 4..)?);
    let mut reply = Reply {
        status: StatusCode::OK,
        headers: Vec::new(),
        frames: vec![body],
        script: Script::default(),
    };
    for line in head.split("\r\n") {
        let (name, value) = line.split_once(": ")?;
        if name == "Status" {
            reply.status = StatusCode::from_bytes(value.get(..3)?.as_bytes()).ok()?;
        } else {
            reply.headers.push((name.to_ascii_lowercase().parse().ok()?, value.parse().ok()?));
        }
    }
    Some(reply)
}
