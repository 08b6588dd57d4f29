//! A pod on a real kubelet: docs/deploy/pod/pod.yaml as somebody applies it, in both layouts of cgroups that nodes have.
//!
//! One cluster is brought up for all claims, in namespaces of its own (`tests/containers/kubelet.sh`).

#![expect(clippy::unwrap_used, reason = "these are tests and their helpers")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::harness::tollgate;
use e2e::process::Running;
use serde_json::Value;

/// A control plane, a node and four pods, on a machine that does other things.
const LIMIT: Duration = Duration::from_mins(5);
/// The programs that the pods and their world are made of, beside `tollgate`.
const PROGRAMS: [&str; 4] = ["provider", "tollgate-init", "techniques", "attempts"];

fn cache() -> PathBuf {
    std::env::var_os("TOLLGATE_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/tollgate"),
        PathBuf::from,
    )
}

/// What the script found out, by name; nothing where Kubernetes has not been built.
fn brought_up() -> Option<BTreeMap<String, String>> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let kube = cache().join("parts/kube");
    let parts = ["etcd", "kube-apiserver", "kubectl", "kubelet", "host-local", "loopback", "ptp"];
    if parts.iter().any(|part| !kube.join(part).is_file()) {
        let said = "NOT RUN without Kubernetes (cargo xtask kube): a pod on a real kubelet";
        writeln!(std::io::stderr(), "{said}").unwrap();
        return None;
    }
    let images = cache().join("images");
    let binaries = tollgate().unwrap().parent().unwrap().to_owned();
    for program in PROGRAMS {
        let built = binaries.join(program);
        assert!(built.is_file(), "{} is not there: run cargo xtask test", built.display());
    }
    let dir = tempfile::TempDir::with_prefix("kubelet-").unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--"])
        .arg(repository.join("tests/containers/kubelet.sh"))
        .args([repository, &binaries, &images, &kube])
        .current_dir(dir.path());
    let outcome = Running::start(&mut command).unwrap().end(LIMIT).unwrap();
    assert!(outcome.status.success(), "{}{}", outcome.stdout, outcome.stderr);
    let lines = outcome.stdout.lines().filter_map(|line| line.split_once(": "));
    Some(lines.map(|(name, found)| (name.to_owned(), found.trim().to_owned())).collect())
}

/// The attempts of the catalogue that were made, and the names of those of which a frame arrived in the world.
fn counted(found: &str) -> (u64, Vec<String>) {
    let found: Value = serde_json::from_str(found).unwrap();
    let arrived = found.get("arrived").and_then(Value::as_array).unwrap();
    let names = arrived.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    (found.get("attempts").and_then(Value::as_u64).unwrap(), names)
}

#[test]
fn a_pod_on_a_kubelet_reaches_its_provider_and_nothing_past_the_gate() {
    let Some(found) = brought_up() else { return };
    let of = |name: &str| found.get(name).unwrap_or_else(|| panic!("{name}: {found:#?}")).as_str();

    // The control: without the gate the same attempts arrive.
    let (attempts, arrived) = counted(of("catalogue-before"));
    assert!(attempts > 100 && arrived.len() > 70, "{}", of("catalogue-before"));

    assert!(of("install").starts_with("mode kernel"), "{}", of("install"));
    assert!(of("validate").ends_with("mode kernel: holds"), "{}", of("validate"));
    for who in ["root", "agent"] {
        let of = |name: &str| of(&format!("{name}-{who}"));
        assert!(of("curl").ends_with(" 200"), "{}", of("curl"));
        assert_eq!(of("sdk"), "Hello from the offline provider. 25");
        assert!(of("elsewhere").contains("access denied"), "{}", of("elsewhere"));
        assert_eq!(counted(of("catalogue")), (attempts, Vec::new()), "as {who}");
    }
    // What docs/deploy/pod.md leaves to admission: containerd gives NET_RAW to who does not drop it.
    assert_eq!(counted(of("catalogue-default")), (attempts, vec!["xdp".to_owned()]));
    for who in ["root", "agent", "default"] {
        assert_eq!(
            of(&format!("reports-{who}")),
            attempts.to_string(),
            "not every attempt was made"
        );
    }

    assert_eq!(of("service-80"), "first and last");
    assert!(of("service-81").contains("timed out"), "{}", of("service-81"));

    assert_eq!(of("gone"), "connected ConnectionRefusedError connected");
    assert_eq!(counted(of("gone-seen")), (1, Vec::new()));
    assert_eq!(of("back"), "Hello from the offline provider. 25");
    assert_eq!(of("restarts"), "1 0 0 0", "only the gate's container was started again");
    assert!(of("tail").contains("past the gate: datagram"), "{}", of("tail"));
    assert!(of("metrics").contains(r#"tollgate_enforcement{mode="kernel"} 1"#));
    assert!(of("gc").contains("removed /sys/fs/bpf/"), "{}", of("gc"));
    assert_eq!(of("left"), "");

    // Where the node makes no folder per pod the installer refuses, and no agent starts.
    assert!(of("shared-install").contains("is not this pod's alone"), "{}", of("shared-install"));
    assert_eq!(of("shared-exit"), "3");
    assert_eq!(of("shared-agent"), "PodInitializing");

    // There the node's agent closes the pod. What is exec'd is not led to the gate, and gets nowhere.
    assert!(of("bare-validate").ends_with("mode kernel: holds"), "{}", of("bare-validate"));
    assert!(of("bare-agent").starts_with("allowed 200 elsewhere"), "{}", of("bare-agent"));
    assert!(of("bare-agent").contains("access denied"), "{}", of("bare-agent"));
    assert!(of("bare-agent").ends_with(&format!("reports {attempts}")), "{}", of("bare-agent"));
    assert_eq!(counted(of("bare-seen")), (attempts, Vec::new()));
    assert!(of("bare-exec").contains("timed out"), "{}", of("bare-exec"));
    assert_eq!(counted(of("bare-exec-seen")), (1, Vec::new()));
    assert!(of("bare-gc").contains("/sys/fs/bpf/"), "{}", of("bare-gc"));
}
