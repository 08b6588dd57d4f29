//! A pod on a real kubelet: docs/deploy/pod/pod.yaml as somebody applies it, in both layouts of cgroups that nodes have.
//!
//! One cluster is brought up for all claims, in namespaces of its own (`tests/containers/kubelet.sh`).

use std::io::Write as _;

use anyhow::{Result, ensure};
use e2e::clients::cache;
use e2e::pods::{Counted, Found};

/// What `cargo xtask kube` builds.
const PARTS: [&str; 7] =
    ["etcd", "kube-apiserver", "kubectl", "kubelet", "host-local", "loopback", "ptp"];

/// Nothing where Kubernetes has not been built.
fn brought_up() -> Result<Option<Found>> {
    let kube = cache()?.join("parts/kube");
    if PARTS.iter().any(|part| !kube.join(part).is_file()) {
        let said = "NOT RUN without Kubernetes (cargo xtask kube): a pod on a real kubelet";
        writeln!(std::io::stderr(), "{said}")?;
        return Ok(None);
    }
    Found::by("containers/kubelet.sh", &[&kube]).map(Some)
}

#[test]
fn a_pod_on_a_kubelet_reaches_its_provider_and_nothing_past_the_gate() -> Result<()> {
    let Some(found) = brought_up()? else { return Ok(()) };

    // The control: without the gate the same attempts arrive.
    let Counted { attempts, arrived } = found.catalogue("catalogue-before")?;
    ensure!(attempts > 100 && arrived.len() > 70, "{attempts}, of which arrived {arrived:?}");

    found.is("install", |said| said.starts_with("mode kernel"))?;
    found.is("validate", |said| said.ends_with("mode kernel: holds"))?;
    for who in ["root", "agent"] {
        found.is(&format!("curl-{who}"), |said| said.ends_with(" 200"))?;
        found.is(&format!("sdk-{who}"), |said| said == "Hello from the offline provider. 25")?;
        found.is(&format!("elsewhere-{who}"), |said| said.contains("access denied"))?;
        found.let_through(&format!("catalogue-{who}"), attempts, &[])?;
    }
    // What docs/deploy/pod.md leaves to admission: containerd gives NET_RAW to who does not drop it.
    found.let_through("catalogue-default", attempts, &["xdp"])?;
    for who in ["root", "agent", "default"] {
        found.is(&format!("reports-{who}"), |made| made == attempts.to_string())?;
    }

    found.is("service-80", |said| said == "first and last")?;
    found.is("service-81", |said| said.contains("timed out"))?;

    found.is("gone", |said| said == "connected ConnectionRefusedError connected")?;
    found.let_through("gone-seen", 1, &[])?;
    found.is("back", |said| said == "Hello from the offline provider. 25")?;
    // Only the gate's container was started again.
    found.is("restarts", |said| said == "1 0 0 0")?;
    found.is("tail", |said| said.contains("past the gate: datagram"))?;
    found.is("metrics", |said| said.contains(r#"tollgate_enforcement{mode="kernel"} 1"#))?;
    found.is("gc", |said| said.contains("removed /sys/fs/bpf/"))?;
    found.is("left", str::is_empty)?;

    // Where the node makes no folder per pod the installer refuses, and no agent starts.
    found.is("shared-install", |said| said.contains("is not this pod's alone"))?;
    found.is("shared-exit", |said| said == "3")?;
    found.is("shared-agent", |said| said == "PodInitializing")?;

    // There the node's agent closes the pod. What is exec'd is not led to the gate, and gets nowhere.
    found.is("bare-validate", |said| said.ends_with("mode kernel: holds"))?;
    found.is("bare-agent", |said| {
        said.starts_with("allowed 200 elsewhere")
            && said.contains("access denied")
            && said.ends_with(&format!("reports {attempts}"))
    })?;
    found.let_through("bare-seen", attempts, &[])?;
    found.is("bare-exec", |said| said.contains("timed out"))?;
    found.let_through("bare-exec-seen", 1, &[])?;
    found.is("bare-gc", |said| said.contains("/sys/fs/bpf/"))
}
