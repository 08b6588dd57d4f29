//! The unit of the service is one that systemd reads without a complaint, and closes what it claims.
//!
//! No systemd runs where these tests do: its restrictions are read here, not applied.

#![expect(clippy::unwrap_used, reason = "these are tests and their helpers")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// What `systemd-analyze security` may reckon at most, in tenths; 20 is its bound of "OK".
const EXPOSURE: &str = "20";

/// The unit in a folder of its own, with a program that is here in the place of the installed one.
fn unit() -> (tempfile::TempDir, PathBuf) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd/tollgate.service");
    let text = fs::read_to_string(path).unwrap();
    let here = std::env::current_exe().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("tollgate.service");
    fs::write(&copy, text.replace("/usr/bin/tollgate", here.to_str().unwrap())).unwrap();
    (dir, copy)
}

fn analyze(args: &[&str]) -> (tempfile::TempDir, Output) {
    let (dir, unit) = unit();
    let output = Command::new("systemd-analyze").args(args).arg(unit).output().unwrap();
    (dir, output)
}

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn systemd_reads_every_line_of_the_unit() {
    let (_dir, output) = analyze(&["verify", "--man=no"]);
    let said = said(&output);
    // Also what is only a warning, such as a misspelt setting; other units of this machine are not ours.
    let ours = said.lines().filter(|line| line.contains("tollgate.service")).count();
    assert!(output.status.success() && ours == 0, "{said}");
}

#[test]
fn the_service_is_exposed_no_more_than_it_claims() {
    let (_dir, output) = analyze(&["security", "--offline=true", "--threshold", EXPOSURE]);
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    for open in [
        "✗ ProtectSystem=",
        "✗ NoNewPrivileges=",
        "✗ MemoryDenyWriteExecute=",
        "✗ RestrictNamespaces=",
    ] {
        assert!(!said.contains(open), "{said}");
    }
    let capabilities: Vec<&str> =
        said.lines().filter(|line| line.contains("✗ CapabilityBoundingSet=")).collect();
    assert_eq!(capabilities.len(), 2, "CAP_BPF and CAP_NET_ADMIN alone: {capabilities:#?}");
}
