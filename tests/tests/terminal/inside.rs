//! What the command finds in its environment, and what the first line says of it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Result, ensure};
use e2e::harness::Stand;
use e2e::provider::KeySeen;

use super::{asking, program};

#[test]
fn keys_the_gate_cannot_put_in_are_withheld_and_named() -> Result<()> {
    let stand = Stand::new()?;
    let secrets =
        [("AWS_SECRET_ACCESS_KEY", "canary-aws-5512"), ("GITHUB_TOKEN", "canary-github-5513")];
    let mut run = stand.gate(&[])?;
    for (name, value) in secrets {
        run = run.env(name, value);
    }
    // Also not in what the processes inside were started with.
    let outcome = run.run(["sh", "-c", "env; cat /proc/[0-9]*/environ"])?;
    for (name, value) in secrets {
        ensure!(!outcome.stdout.contains(name) && !outcome.stdout.contains(value), "{outcome:?}");
        ensure!(!outcome.stderr.contains(value), "{outcome:?}");
    }
    let first = outcome.stderr.lines().next().unwrap_or_default();
    ensure!(first.contains("withheld: AWS_SECRET_ACCESS_KEY, GITHUB_TOKEN"), "{first}");
    Ok(())
}

#[test]
fn a_kept_variable_has_its_real_value_and_the_first_line_says_what_that_costs() -> Result<()> {
    let stand = Stand::new()?;
    let real = stand.provider().keys().anthropic.clone();
    let args = ["--keep-env", "ANTHROPIC_API_KEY", "--keep-env", "GITHUB_TOKEN"];
    let show = "echo \"$OPENAI_API_KEY $ANTHROPIC_API_KEY $GITHUB_TOKEN\"";
    let outcome = stand.gate(&args)?.env("GITHUB_TOKEN", "kept-token").run(["sh", "-c", show])?;
    let words: Vec<&str> = outcome.stdout.split_whitespace().collect();
    let [openai, anthropic, github] = words.as_slice() else {
        anyhow::bail!("{outcome:?}");
    };
    ensure!(*anthropic == real && *github == "kept-token", "{outcome:?}");
    ensure!(openai.starts_with("sk-tg-"), "the other key is not virtual: {openai}");
    let first = outcome.stderr.lines().next().unwrap_or_default();
    ensure!(
        first.ends_with(
            "real key kept inside, what it pays is not governed: ANTHROPIC_API_KEY, GITHUB_TOKEN"
        ),
        "{first}"
    );
    ensure!(first.contains("key sealed: OPENAI_API_KEY ·"), "{first}");
    Ok(())
}

#[test]
fn a_socket_that_is_shared_is_reached_named_and_recorded_and_another_is_not() -> Result<()> {
    let stand = Stand::new()?;
    // Where the path is short: a socket's has a hundred characters at most.
    let folder = tempfile::tempdir_in("/tmp")?;
    let [path, other] = ["engine.sock", "other.sock"].map(|name| folder.path().join(name));
    let engine = UnixListener::bind(&path)?;
    let _other = UnixListener::bind(&other)?;
    stand.by().own(folder.path())?;
    let ask = |at: &Path| format!("curl -s --unix-socket {} http://engine/; echo $?", at.display());
    let shown = path.display().to_string();
    let answered = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut asked, _) = engine.accept()?;
        // Before all of the request has come there is no need to read it.
        let _some = asked.read(&mut [0; 1024])?;
        asked.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nready")
    });
    let script = [ask(&path), ask(&other)].join("; ");
    let outcome = stand.gate(&["--share-socket", &shown])?.run(["sh", "-c", &script])?;
    ensure!(outcome.stdout == "ready0\n7\n", "{outcome:?}");
    answered.join().map_err(|_panic| anyhow::anyhow!("the engine panicked"))??;
    let first = outcome.stderr.lines().next().unwrap_or_default();
    ensure!(
        first.contains(&format!("socket shared, who listens there is not governed: {shown}")),
        "{first}"
    );
    let entry = stand.tollgate(&["inspect", "0", "--json"])?;
    let recorded = format!("\"share_socket\":[\"{shown}\"]");
    ensure!(entry.stdout.contains(&recorded), "{entry:?}");
    Ok(())
}

#[test]
fn the_virtual_key_of_a_real_one_is_the_same_in_the_next_run() -> Result<()> {
    let stand = Stand::new()?;
    let show = || stand.gate(&[])?.run(["sh", "-c", "echo $OPENAI_API_KEY"]);
    let (one, two) = (show()?, show()?);
    ensure!(one.stdout == two.stdout && one.stdout.starts_with("sk-tg-"), "{one:?} {two:?}");
    Ok(())
}

#[test]
fn a_profile_comes_with_the_commands_file_name_also_by_path_but_not_over_a_policy() -> Result<()> {
    let stand = Stand::new()?;
    let policy = stand.home().join("policy.yaml");
    std::fs::write(&policy, super::policy::CONTRACT)?;
    let policy = policy.display().to_string();
    for name in ["codex", "claude"] {
        let path = stand.work().join(name);
        program(&path, "echo runs")?;
        let path = path.display().to_string();
        let search = format!("{}:/usr/bin:/bin", stand.work().display());
        let profile = format!("policy: built in (starter), profile {name} ·");
        for word in [name, &path] {
            let outcome = stand.gate(&[])?.env("PATH", &search).run([word])?;
            let first = outcome.stderr.lines().next().unwrap_or_default();
            ensure!(outcome.stdout == "runs\n" && first.contains(&profile), "{word}: {outcome:?}");
        }
        let written = stand.gate(&["--policy", &policy])?.run([path.as_str()])?;
        ensure!(
            written.stdout == "runs\n" && !written.stderr.contains("profile"),
            "a written contract was widened: {written:?}"
        );
    }
    let other = stand.gate(&[])?.run(["true"])?;
    ensure!(!other.stderr.contains("profile"), "{other:?}");
    Ok(())
}

#[test]
fn observe_lets_an_unlisted_host_be_reached_and_reports_it_and_the_key_stays_virtual() -> Result<()>
{
    let stand = Stand::new()?;
    let script = "echo key=$OPENAI_API_KEY; ask 'say:hello'; \
                  curl -sS --max-time 20 --data x=1 https://uploads.example/file; \
                  curl -sS --max-time 20 https://uploads.example/file";
    let refused = stand.gate(&[])?.run(asking(script))?;
    ensure!(
        stand.log().records().iter().all(|record| record.host != "uploads.example"),
        "reached in enforce: {refused:?}"
    );
    stand.log().reset();

    let observed = stand.gate(&["--observe"])?.run(asking(script))?;
    let key = observed.stdout.lines().next().unwrap_or_default();
    ensure!(key.starts_with("key=sk-tg-"), "{observed:?}");
    let (asked, sent): (Vec<_>, Vec<_>) =
        stand.log().records().into_iter().partition(|record| record.host == "api.openai.com");
    ensure!(asked.len() == 1 && asked.iter().all(|record| record.key == KeySeen::Real));
    let methods: Vec<&str> = sent.iter().map(|record| record.method.as_str()).collect();
    ensure!(methods == ["POST", "GET"], "{methods:?} {observed:?}");
    ensure!(observed.stderr.starts_with("tollgate: observing · "), "{observed:?}");
    let report =
        "          would be refused: destination: uploads.example (not in the contract) (2 times)";
    ensure!(observed.stderr.lines().any(|line| line == report), "{observed:?}");
    ensure!(observed.stderr.contains("· 0 refused ·"), "{observed:?}");
    stand.verified()?;
    Ok(())
}
