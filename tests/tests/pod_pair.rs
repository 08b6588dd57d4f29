//! A pod of real containers: the installer, the gate and the validator as a node runs them, and an agent whose image
//! nobody changed.
//!
//! One pod is brought up for all claims, in namespaces of its own (`tests/containers/pair.sh`).

#![expect(clippy::unwrap_used, reason = "these are tests and their helpers")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::clients::images;
use e2e::harness::tollgate;
use e2e::process::Running;
use serde_json::Value;

/// A dozen containers are started, on a machine that does other things.
const LIMIT: Duration = Duration::from_mins(5);
/// The programs that the pod and its world are made of, beside `tollgate`.
const PROGRAMS: [&str; 4] = ["provider", "tollgate-init", "techniques", "attempts"];

/// What the script found out, by name.
fn brought_up() -> BTreeMap<String, String> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let images = images().unwrap();
    let binaries = tollgate().unwrap().parent().unwrap().to_owned();
    for program in PROGRAMS {
        let built = binaries.join(program);
        assert!(built.is_file(), "{} is not there: run cargo xtask test", built.display());
    }
    let dir = tempfile::TempDir::with_prefix("pair-").unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--"])
        .arg(repository.join("tests/containers/pair.sh"))
        .args([repository, &binaries, &images])
        .current_dir(dir.path());
    let outcome = Running::start(&mut command).unwrap().end(LIMIT).unwrap();
    let log = std::fs::read_to_string(dir.path().join("gate.log")).unwrap_or_default();
    assert!(outcome.status.success(), "{}{}{log}", outcome.stdout, outcome.stderr);
    let lines = outcome.stdout.lines().filter_map(|line| line.split_once(": "));
    lines.map(|(name, found)| (name.to_owned(), found.trim().to_owned())).collect()
}

/// The attempts of the catalogue that were made, and the names of those of which a frame arrived in the world.
fn counted(found: &str) -> (u64, Vec<String>) {
    let found: Value = serde_json::from_str(found).unwrap();
    let arrived = found.get("arrived").and_then(Value::as_array).unwrap();
    let names = arrived.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    (found.get("attempts").and_then(Value::as_u64).unwrap(), names)
}

#[test]
fn a_pod_of_real_containers_reaches_its_provider_and_nothing_past_the_gate() {
    let found = brought_up();
    let of = |name: &str| found.get(name).unwrap_or_else(|| panic!("{name}: {found:#?}")).as_str();

    // The control: without the gate the same image and the same attempts arrive.
    assert_eq!(of("before"), "401");
    let (attempts, arrived) = counted(of("catalogue-before"));
    assert!(attempts > 100 && arrived.len() > 70, "{}", of("catalogue-before"));

    for installed in ["install", "again"] {
        assert!(of(installed).starts_with("mode kernel"), "{installed}: {}", of(installed));
    }
    for valid in ["validate", "revalidate"] {
        assert!(of(valid).ends_with("mode kernel: holds"), "{valid}: {}", of(valid));
    }

    for who in ["root", "user"] {
        let of = |name: &str| of(&format!("{name}-{who}"));
        assert!(of("curl").contains(r#""object":"chat.completion""#), "{}", of("curl"));
        assert!(of("curl").ends_with(" 200"), "{}", of("curl"));
        assert_eq!(of("sdk"), "Hello from the offline provider. 25");
        assert!(of("elsewhere").contains("access denied"), "{}", of("elsewhere"));
        assert_eq!(counted(of("catalogue")), (attempts, Vec::new()), "as {who}");
        assert_eq!(of("reports"), attempts.to_string(), "not every attempt of {who} was made");
    }

    assert_eq!(of("declared"), "first and last");
    assert!(of("undeclared").contains("timed out"), "{}", of("undeclared"));
    assert!(of("gone").contains("Failed to connect"), "{}", of("gone"));
    assert_eq!(of("back"), "Hello from the offline provider. 25");

    assert!(of("tail").contains("past the gate: datagram"), "{}", of("tail"));
    assert!(
        of("metrics").contains(r#"tollgate_enforcement{mode="kernel"} 1"#),
        "{}",
        of("metrics")
    );
    assert!(of("gc").starts_with("removed "), "{}", of("gc"));
    assert_eq!(of("left"), "");
}
