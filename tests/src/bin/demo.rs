//! The main job in eight steps: a real client program under `tollgate exec` against the offline provider.
//!
//! Run by `cargo xtask demo`. Each step shows what it claims, or ends the demo with what it saw instead.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::clients::Language;
use e2e::harness::{LIMIT, Stand};
use e2e::process::Outcome;
use e2e::provider::secrets::Class;
use e2e::provider::{Finish, KeySeen, Record};
use serde_json::Value;

/// Prints one line; a closed stdout ends the demo.
fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").context("nobody reads the demo")
}

fn shown(what: &str) -> Result<()> {
    say(&format!("   ✓ {what}"))
}

/// The demo's stage.
struct Demo {
    stand: Stand,
}

impl Demo {
    /// Asks through the official Python client under the gate; what its script says of the answer.
    fn ask(&self, args: &[&str], words: &[&str]) -> Result<(Value, Outcome)> {
        let mut command = self.stand.clients().agent(Language::Python)?;
        command.extend(words.iter().map(|word| (*word).to_owned()));
        say(&format!("   $ tollgate exec {}-- python agent.py {}", spaced(args), words.join(" ")))?;
        let outcome = self.stand.gate(args)?.run(command)?;
        let line = outcome.stdout.lines().last().unwrap_or_default();
        let said = serde_json::from_str(line)
            .with_context(|| format!("the client said nothing: {}", outcome.stderr))?;
        Ok((said, outcome))
    }

    fn allowed(&self) -> Result<()> {
        let (said, outcome) =
            self.ask(&[], &["chat", "gpt-5-mini", "say:Hello, governed world.", "--stream"])?;
        ensure!(
            text(&said, "text") == "Hello, governed world.",
            "the answer did not come through: {said}"
        );
        shown(&format!("the client got its answer: {:?}", text(&said, "text")))?;
        let seen = self.asked();
        ensure!(
            seen.len() == 1 && seen.iter().all(|r| r.key == KeySeen::Real),
            "the provider saw no real key"
        );
        shown("the provider got the real key, which the gate put in")?;
        let inside = self.stand.gate(&[])?.run(["sh", "-c", "printf %s \"$OPENAI_API_KEY\""])?;
        let held = inside.stdout.trim();
        let virtual_key = held.starts_with("sk-") && !held.contains("CANARY");
        ensure!(virtual_key, "the program does not hold a virtual key");
        shown(&format!(
            "the program itself holds only {}…",
            held.chars().take(10).collect::<String>()
        ))?;
        for line in outcome.stderr.lines() {
            say(&format!("   | {line}"))?;
        }
        Ok(())
    }

    fn refused_model(&self) -> Result<()> {
        let (said, _) = self.ask(&["--model", "gpt-5-mini"], &["chat", "gpt-5", "say:hello"])?;
        self.nothing_arrived()?;
        Self::raised(&said, "model_scope")
    }

    fn refused_key(&self) -> Result<()> {
        let key = self.stand.work().join("leaked.txt");
        std::fs::write(&key, &self.stand.provider().keys().openai)?;
        let script = "curl --silent --max-time 20 --write-out '\\n%{http_code}' https://api.openai.com/v1/models \
                      -H \"authorization: Bearer $(cat leaked.txt)\"";
        say(
            "   $ tollgate exec -- curl https://api.openai.com/v1/models -H \"authorization: Bearer $(cat leaked.txt)\"",
        )?;
        let outcome = self.stand.gate(&[])?.run(["sh", "-c", script])?;
        std::fs::remove_file(key)?;
        self.nothing_arrived()?;
        let status = outcome.stdout.lines().last().unwrap_or_default().to_owned();
        ensure!(
            status == "401" || status == "403",
            "the real key was not refused: {}",
            outcome.stdout
        );
        ensure!(!outcome.stdout.contains("CANARY"), "the refusal repeats the key");
        let body = outcome.stdout.lines().next().unwrap_or_default();
        shown(&format!("answered {status}: {}", message(body)))
    }

    fn cut_secret(&self) -> Result<()> {
        let (said, _) =
            self.ask(&[], &["chat", "gpt-5-mini", "leak:github:3 slow:20", "--stream"])?;
        let start: String = Class::GitHub.specimen().chars().take(5).collect();
        ensure!(!text(&said, "text").contains(&start), "the secret came through: {said}");
        shown(&format!("the client had read {:?} when the stream was cut", text(&said, "text")))?;
        Self::raised(&said, "secrets")
    }

    fn refused_budget(&self) -> Result<()> {
        let (said, _) =
            self.ask(&["--budget", "0.0001"], &["anthropic", "claude-opus-5", "say:hello"])?;
        self.nothing_arrived()?;
        Self::raised(&said, "budget")
    }

    fn killed(&self) -> Result<()> {
        let mut words = self.stand.clients().agent(Language::Python)?;
        words.extend(
            ["chat", "gpt-5-mini", "slow:50 split:1 big:4000", "--stream"].map(str::to_owned),
        );
        say(
            "   $ tollgate exec --agent refund-bot -- python agent.py …            (a long stream)",
        )?;
        let running = self.stand.gate(&["--agent", "refund-bot"])?.start(words)?;
        ensure!(
            self.stand.log().wait(LIMIT, |seen| !seen.is_empty()).is_some(),
            "the stream never began"
        );
        say(
            "   $ tollgate kill --agent refund-bot --reason INC-4711               (another terminal)",
        )?;
        let begun = Instant::now();
        let kill =
            self.stand.tollgate(&["kill", "--agent", "refund-bot", "--reason", "INC-4711"])?;
        ensure!(kill.status.success(), "the kill failed: {}", kill.stderr);
        say(&format!("   | {}{}", kill.stdout.trim(), kill.stderr.trim()))?;
        let dropped = |seen: &[Record]| seen.iter().any(|record| record.finish == Finish::Dropped);
        ensure!(
            self.stand.log().wait(Duration::from_secs(5), dropped).is_some(),
            "the stream went on"
        );
        shown(&format!(
            "the provider's stream was dropped {} ms after the command began",
            begun.elapsed().as_millis()
        ))?;
        let said: Value = serde_json::from_str(running.end(LIMIT)?.stdout.trim())?;
        ensure!(!said.get("error").is_none_or(Value::is_null), "the client did not notice: {said}");
        shown("the client saw its stream end with an error")?;
        let lifted = self.stand.tollgate(&[
            "unkill",
            "--agent",
            "refund-bot",
            "--reason",
            "INC-4711 closed",
        ])?;
        ensure!(lifted.status.success(), "the kill could not be lifted: {}", lifted.stderr);
        Ok(())
    }

    fn around(&self) -> Result<()> {
        let provider = self.stand.provider().addr();
        let before = self.stand.log().accepted();
        let attempts = [
            (
                "TCP to the provider's own address",
                format!("exec 3<>/dev/tcp/{}/{}", provider.ip(), provider.port()),
            ),
            ("UDP to port 443 (QUIC)", "echo x > /dev/udp/192.0.2.1/443".to_owned()),
            (
                "TLS that names the provider's address",
                format!(
                    "curl --silent --fail --insecure --max-time 10 --connect-to ::{provider} https://pastebin.com/"
                ),
            ),
            ("a network interface of its own", "ip link add e2e0 type veth".to_owned()),
        ];
        for (name, script) in attempts {
            let outcome = self.stand.gate(&[])?.run(["bash", "-c", &script])?;
            ensure!(!outcome.status.success(), "{name} worked: {outcome:?}");
            shown(&format!("{name}: failed"))?;
        }
        ensure!(self.stand.log().accepted() == before, "a connection reached the provider");
        shown("not one connection reached the provider")
    }

    fn verified(&self) -> Result<()> {
        say("   $ tollgate audit verify --json")?;
        let entries = self.stand.verified()?;
        ensure!(entries >= 6, "only {entries} entries");
        shown(&format!("{entries} entries, chain valid"))
    }

    /// The client raised its own exception once, and its words name the rule.
    fn raised(said: &Value, rule: &str) -> Result<()> {
        let raised = said.get("error").filter(|raised| !raised.is_null());
        let raised = raised.with_context(|| format!("the client was not refused: {said}"))?;
        ensure!(
            text(raised, "message").contains(rule),
            "the client was refused for something else: {raised}"
        );
        ensure!(said.get("attempts") == Some(&1.into()), "the client tried again: {said}");
        shown(&format!("{}, raised once: {}", text(raised, "class"), text(raised, "message")))
    }

    fn nothing_arrived(&self) -> Result<()> {
        let seen = self.asked();
        ensure!(seen.is_empty(), "the provider was asked: {seen:?}");
        shown("the provider was not asked")
    }

    fn asked(&self) -> Vec<Record> {
        self.stand.log().records()
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The message in a provider's error.
fn message(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    body.pointer("/error/message").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn spaced(args: &[&str]) -> String {
    args.iter().fold(String::new(), |line, word| line + word + " ")
}

/// A step's claim and what shows it.
type Step = (&'static str, fn(&Demo) -> Result<()>);

const STEPS: [Step; 8] = [
    ("An allowed call goes through, with the real key put in by the gate", Demo::allowed),
    ("A model outside the contract is refused", Demo::refused_model),
    ("A real key that turns up inside is refused", Demo::refused_key),
    ("A secret in the answer cuts the stream before its first byte", Demo::cut_secret),
    ("What does not fit the budget never leaves", Demo::refused_budget),
    ("A kill ends a live stream", Demo::killed),
    ("There is no way around", Demo::around),
    ("Everything above is on record, and the record is intact", Demo::verified),
];

fn main() -> Result<()> {
    let demo = Demo { stand: Stand::new()? };
    for (number, (claim, show)) in STEPS.iter().enumerate() {
        say(&format!("\n{}. {claim}", number + 1))?;
        demo.stand.log().reset();
        if let Err(error) = show(&demo) {
            bail!("step {} does not show what it claims ({claim}): {error:#}", number + 1);
        }
    }
    say("\nAll eight steps showed what they claim.")
}
