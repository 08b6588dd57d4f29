//! Tools that others wrote in Go, built from the recipes in `shared/parts` beside the clone.
//!
//! Where the folder or Go is absent the checks that need them are not run, and every run says so by name: "not run" is
//! never "passed".

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::setup::step;
use crate::shell::{self, fetch, run, say};

/// One tool.
struct Part {
    name: &'static str,
    sources: &'static [&'static str],
    arguments: &'static [&'static str],
    /// What is not checked without it.
    checks: &'static str,
}

const PARTS: [Part; 2] = [
    Part {
        name: "promtool",
        sources: &["go.mod", "go.sum"],
        arguments: &["-tags", "remove_all_sd", "github.com/prometheus/prometheus/cmd/promtool"],
        checks: "the names of the metrics, the alert rules and their unit tests",
    },
    Part {
        name: "otelcol",
        sources: &["go.mod", "go.sum", "main.go"],
        arguments: &["."],
        checks: "that spans and metrics arrive at an OpenTelemetry collector",
    },
];

/// Kubernetes for one node, by the folder of the recipe: its programs and the packages they are built of.
const KUBE: [(&str, &[(&str, &str)]); 2] = [
    (
        "kube-apiserver",
        &[
            ("etcd", "./etcd"),
            ("kube-apiserver", "."),
            ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
            ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
        ],
    ),
    (
        "cnitool",
        &[
            ("host-local", "github.com/containernetworking/plugins/plugins/ipam/host-local"),
            ("loopback", "github.com/containernetworking/plugins/plugins/main/loopback"),
            ("ptp", "github.com/containernetworking/plugins/plugins/main/ptp"),
        ],
    ),
];
/// Kubernetes takes its version from the linker, and refuses to be of none.
const KUBE_VERSION: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.35.4 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=35 \
    -X k8s.io/client-go/pkg/version.gitVersion=v1.35.4";

/// Builds what of [`KUBE`] is missing, into `parts/kube` of the cache.
pub(crate) fn kube() -> Result<()> {
    let shared = recipes()?.context("no folder shared/parts beside the clone")?;
    ensure!(shell::has("go"), "install Go first: Kubernetes is built from its modules");
    let to = shell::cache()?.join("parts/kube");
    for (recipe, programs) in KUBE {
        // In a copy, because Go writes beside what it builds.
        let copy = to.join("recipes").join(recipe);
        fs::create_dir_all(&copy)?;
        run(Command::new("cp").arg("-r").arg(shared.join(recipe).join(".")).arg(&copy))?;
        for (program, package) in programs {
            let built = to.join(program);
            if built.is_file() {
                continue;
            }
            fetch(30, || {
                let mut go = go(&copy);
                go.args(["build", "-trimpath", "-ldflags", KUBE_VERSION, "-o"])
                    .args([built.as_os_str(), package.as_ref()]);
                Ok(go)
            })?;
        }
    }
    Ok(())
}

/// Builds those that are missing, into `parts/NAME/NAME` of the cache.
pub(crate) fn parts() -> Result<()> {
    let shared = recipes()?;
    for part in &PARTS {
        let built = shell::cache()?.join("parts").join(part.name).join(part.name);
        match shared.as_ref().map(|shared| shared.join(part.name)).filter(|from| from.is_dir()) {
            // An earlier one serves where there is nothing to build from.
            None if built.is_file() => {}
            None => not_run(part, "no folder shared/parts beside the clone has it"),
            Some(_) if !shell::has("go") => not_run(part, "Go is not installed"),
            Some(from) => build(part, &from)?,
        }
    }
    Ok(())
}

/// Where the recipes lie: `shared/parts` beside the clone, or beside a folder that the clone lies in.
pub(crate) fn recipes() -> Result<Option<PathBuf>> {
    let root = shell::root()?;
    Ok(root.ancestors().skip(1).map(|dir| dir.join("shared/parts")).find(|dir| dir.is_dir()))
}

fn not_run(part: &Part, why: &str) {
    say(format_args!("NOT RUN without {}: {} ({why})", part.name, part.checks));
}

/// In a copy, because Go writes beside what it builds.
fn build(part: &Part, from: &Path) -> Result<()> {
    let dir = shell::cache()?.join("parts").join(part.name);
    let sources: Vec<PathBuf> = part.sources.iter().map(|name| from.join(name)).collect();
    let wanted: Vec<&Path> = sources.iter().map(PathBuf::as_path).collect();
    step(&dir, &wanted, || {
        for (name, source) in part.sources.iter().zip(&sources) {
            let text = fs::read(source)?;
            fs::write(dir.join(name), text)
                .with_context(|| format!("cannot copy {}", source.display()))?;
        }
        fetch(10, || {
            let mut go = go(&dir);
            go.args(["build", "-trimpath", "-ldflags", "-s -w", "-o", part.name])
                .args(part.arguments);
            Ok(go)
        })
    })
}

/// Go in that folder, on two processors, building what runs without any library.
pub(crate) fn go(dir: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(dir).env("CGO_ENABLED", "0").env("GOFLAGS", "-p=2 -buildvcs=false -mod=mod");
    go
}
