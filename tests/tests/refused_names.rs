//! What a service is asked for by name and refuses, it asks nobody for: by CONNECT and in absolute form, of an agent
//! and of a neighbour whom nothing identifies.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::harness::tollgate;
use e2e::process::Running;
use serde_json::Value;

/// It asks 3,300 times, one after the other.
const PATIENCE: Duration = Duration::from_mins(4);

#[test]
fn a_name_refused_at_the_proxy_is_asked_of_no_name_server() {
    let dir = tempfile::TempDir::with_prefix("names-").unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("service/refused_names.py");
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--", "python3"]).arg(script);
    command.arg(tollgate().unwrap()).arg(dir.path()).env("TOLLGATE_LOG", "error");
    let outcome = Running::start(&mut command).unwrap().end(PATIENCE).unwrap();
    let found: Value = serde_json::from_str(outcome.stdout.trim()).unwrap_or_default();
    let met = found["met"].as_object().cloned().unwrap_or_default();
    let count = |said: String| met.get(&said).and_then(Value::as_u64);
    for way in ["connect", "http", "https"] {
        assert_eq!(count(format!("127.0.0.1 {way} 403")), Some(1000), "{way}: {outcome:?}");
        let stranger = ["401", "403"].map(|status| count(format!("127.0.0.9 {way} {status}")));
        assert_eq!(stranger.into_iter().flatten().sum::<u64>(), 100, "{way}: {met:?}");
    }
    assert_eq!(found["before"], Value::Array(Vec::new()), "{found}");
    // The control: an allowed name is asked, so the name server would have seen the others.
    let after = found["after"].as_array().unwrap();
    assert!(after.iter().any(|name| name == "allowed.example"), "{found}");
    assert_eq!(found["ended"], 0);
}
