//! docs/deploy/compose as somebody brings it up: Docker Compose on podman, an agent's image that nobody changed, a
//! gate's image built from its Containerfile, and an offline provider where the internet would be.
//!
//! One project is brought up for all claims, in namespaces of its own (`tests/compose/pair.sh`).

#![expect(clippy::unwrap_used, reason = "these are tests and their helpers")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::clients::images;
use e2e::harness::tollgate;
use e2e::process::Running;

/// Two images are made and five containers started, on a machine that does other things.
const LIMIT: Duration = Duration::from_mins(5);

/// What the script found out, by name.
fn brought_up() -> BTreeMap<String, String> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let images = images().unwrap();
    let dir = tempfile::TempDir::with_prefix("compose-").unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "--"])
        .arg(repository.join("tests/compose/pair.sh"))
        .arg(repository)
        .arg(tollgate().unwrap().parent().unwrap())
        .args([images.join("bookworm"), images.join("sdk")])
        .current_dir(dir.path());
    let outcome = Running::start(&mut command).unwrap().end(LIMIT).unwrap();
    let log = |name| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
    assert!(
        outcome.status.success(),
        "{}{}{}{}",
        outcome.stdout,
        outcome.stderr,
        log("compose.log"),
        log("gate.log")
    );
    let lines = outcome.stdout.lines().filter_map(|line| line.split_once(": "));
    lines.map(|(name, found)| (name.to_owned(), found.trim().to_owned())).collect()
}

#[test]
fn an_unchanged_agent_behind_the_gate_reaches_its_provider_and_nothing_past_the_gate() {
    let found = brought_up();
    let of = |name: &str| found.get(name).unwrap_or_else(|| panic!("{name}: {found:#?}")).as_str();
    assert_eq!(of("up"), "pair_agent_1 pair_gate_1");

    assert!(of("curl").contains(r#""object":"chat.completion""#), "{}", of("curl"));
    assert!(of("curl").ends_with(" 200"), "{}", of("curl"));
    for sdk in ["sdk", "base_url"] {
        assert_eq!(of(sdk), "Hello from the offline provider. 32", "{sdk}");
    }
    assert!(of("elsewhere").contains("response 403"), "{}", of("elsewhere"));

    for past in ["address", "name", "udp", "udp6"] {
        assert!(of(past).ends_with("not reached"), "{past}: {}", of(past));
    }
    // The control: the same address from a network that is not internal.
    assert_eq!(of("outside"), "reached");
    // What the page says is open on podman is: a change here is one to the page.
    for open in ["machine", "engine_dns"] {
        assert_eq!(of(open), "reached", "{open}");
    }

    let entries = of("tail");
    let forwarded = "api.openai.com chat_completions gpt-5-mini";
    assert_eq!(entries.matches(forwarded).count(), 3, "{entries}");
    assert!(entries.contains("pastebin.com (not in the contract)"), "{entries}");
    assert!(of("verify").contains(r#""valid":true"#), "{}", of("verify"));
}
