//! Conventions no compiler checks: short files, rules with a sentence, dependencies that point one way.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::shell::{self, command, output, say};
use crate::{chain, schema, threats};

#[cfg(test)]
mod tests;

const LONGEST: usize = 500;

/// What `decide` must not be able to reach, even through others.
const IMPURE: [&str; 8] =
    ["tokio", "hyper", "rand", "getrandom", "chrono", "jiff", "socket2", "mio"];

/// Which package of this workspace may name which.
const EDGES: [(&str, &[&str]); 11] = [
    ("tollgate-decide", &[]),
    ("tollgate-wire", &["tollgate-decide"]),
    ("tollgate-audit", &[]),
    ("tollgate-launch", &[]),
    ("tollgate-ebpf-shared", &[]),
    ("tollgate-ebpf", &["tollgate-ebpf-shared"]),
    (
        "tollgate",
        &["tollgate-decide", "tollgate-wire", "tollgate-audit", "tollgate-launch", "tollgate-ebpf"],
    ),
    ("tollgate-init", &["tollgate-launch", "tollgate-ebpf"]),
    ("xtask", &["tollgate-decide"]),
    ("e2e", &[]),
    ("netns", &["tollgate-ebpf", "tollgate-init"]),
];

/// Checks all conventions and names every breach.
pub(crate) fn tidy() -> Result<()> {
    let root = shell::root()?;
    // Whoever owns the checkout: nothing of it is executed.
    let trusted = format!("safe.directory={}", root.display());
    let listed = output(command("git")?.args([
        "-c",
        &trusted,
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "*.rs",
    ]))?;
    let mut breaches = Vec::new();
    for path in listed.lines() {
        let Ok(text) = fs::read_to_string(root.join(path)) else { continue };
        breaches.extend(source(path, &text));
    }
    let tree = [
        "tree",
        "--package",
        "tollgate-decide",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ];
    let tree = output(command(env!("CARGO"))?.args(tree))?;
    breaches.extend(impure(&tree));
    breaches.extend(chain::breaches(&listed)?);
    breaches.extend(schema::breaches()?);
    breaches.extend(threats::breaches()?);
    let metadata =
        output(command(env!("CARGO"))?.args(["metadata", "--no-deps", "--format-version", "1"]))?;
    breaches.extend(edges(&metadata)?);
    if breaches.is_empty() {
        say(format_args!("tidy: {} files keep the conventions", listed.lines().count()));
        return Ok(());
    }
    for breach in &breaches {
        say(format_args!("{breach}"));
    }
    bail!("{} conventions broken", breaches.len())
}

/// Breaches within one source file.
fn source(path: &str, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    let lines = text.lines().count();
    if lines > LONGEST {
        breaches.push(format!(
            "{path}: {lines} lines, more than {LONGEST}: move a part or its tests to a file"
        ));
    }
    if Path::new(path).file_name().is_some_and(|name| name == "mod.rs") {
        breaches.push(format!("{path}: name it after its module, beside the folder"));
    }
    // Put together, so that this file does not breach its own rule.
    for mark in [["TO", "DO"].concat(), ["FIX", "ME"].concat()] {
        for (number, line) in text.lines().enumerate() {
            if line
                .match_indices(&mark)
                .any(|(at, _)| !line.get(at + mark.len()..).is_some_and(|s| s.starts_with('(')))
            {
                breaches.push(format!("{path}:{}: say whose it is: {mark}(name)", number + 1));
            }
        }
    }
    breaches
}

fn impure(tree: &str) -> Vec<String> {
    let name = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    let found = tree.lines().map(name).filter(|name| IMPURE.contains(&name.as_str()));
    found.map(|name| format!("tollgate-decide depends on {name}: the core is pure")).collect()
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

fn edges(metadata: &str) -> Result<Vec<String>> {
    let metadata: Metadata =
        serde_json::from_str(metadata).context("cargo metadata wrote something else")?;
    let mut breaches = Vec::new();
    for package in &metadata.packages {
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == package.name) else {
            breaches.push(format!(
                "{}: xtask/src/tidy.rs does not say what it may depend on",
                package.name
            ));
            continue;
        };
        let inner = package
            .dependencies
            .iter()
            .filter(|to| to.path.is_some() && to.kind.as_deref() != Some("dev"));
        for to in inner.filter(|to| !allowed.contains(&to.name.as_str())) {
            breaches.push(format!("{} may not depend on {}", package.name, to.name));
        }
    }
    Ok(breaches)
}
