//! npm, pip and git against the small registries, each as a developer would call it.

use std::path::Path;

use anyhow::{Result, ensure};
use e2e::harness::{Run, Stand};

fn npm(stand: &Stand, run: Run<'_>) -> Result<()> {
    let mut words = stand.clients().npm()?;
    words.extend(["install", "--no-audit", "--no-fund", "tollgate-sample"].map(str::to_owned));
    let outcome = run.run(words)?;
    ensure!(outcome.status.success(), "{outcome:?}");
    let installed = stand.work().join("node_modules/tollgate-sample/index.js");
    ensure!(
        std::fs::read_to_string(&installed)?.contains("sample"),
        "{} is empty",
        installed.display()
    );
    Ok(std::fs::remove_dir_all(stand.work().join("node_modules"))?)
}

fn pip(stand: &Stand, run: Run<'_>) -> Result<()> {
    let mut words = stand.clients().pip();
    let flags = [
        "install",
        "--isolated",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--target",
        "packages",
    ];
    words.extend(flags.map(str::to_owned));
    words.push("tollgate-sample".to_owned());
    let outcome = run.run(words)?;
    ensure!(outcome.status.success(), "{outcome:?}");
    ensure!(stand.work().join("packages/tollgate_sample.py").is_file(), "nothing was installed");
    Ok(std::fs::remove_dir_all(stand.work().join("packages"))?)
}

fn git(stand: &Stand, run: Run<'_>) -> Result<()> {
    let outcome =
        run.run(["git", "clone", "--quiet", "https://github.com/acme/sample.git", "clone"])?;
    ensure!(outcome.status.success(), "{outcome:?}");
    ensure!(stand.work().join("clone/README").is_file(), "nothing was cloned");
    Ok(std::fs::remove_dir_all(stand.work().join("clone"))?)
}

#[test]
fn npm_installs_through_the_gate_as_without_it() -> Result<()> {
    let stand = Stand::new()?;
    npm(&stand, stand.direct()?)?;
    // What npm keeps in its home would answer the second time.
    fresh(&stand.home())?;
    npm(&stand, stand.gate(&["--allow", "registry.npmjs.org"])?)
}

#[test]
fn pip_installs_through_the_gate_as_without_it() -> Result<()> {
    let stand = Stand::new()?;
    pip(&stand, stand.direct()?)?;
    pip(&stand, stand.gate(&["--allow", "pypi.org", "--allow", "files.pythonhosted.org"])?)
}

#[test]
fn git_clones_through_the_gate_as_without_it() -> Result<()> {
    let stand = Stand::new()?;
    git(&stand, stand.direct()?)?;
    git(&stand, stand.gate(&["--allow", "github.com"])?)
}

#[test]
fn git_pushes_only_where_writing_is_allowed() -> Result<()> {
    let stand = Stand::new()?;
    let push = "git clone --quiet https://github.com/acme/sample.git clone && cd clone \
                && git -c user.name=e2e -c user.email=e2e@localhost commit --quiet --allow-empty -m more \
                && git push --quiet origin HEAD; code=$?; rm -rf ../clone; exit $code";
    let refused = stand.gate(&["--allow", "github.com"])?.run(["sh", "-c", push])?;
    ensure!(!refused.status.success(), "a push is writing: {refused:?}");
    std::fs::remove_dir_all(stand.work())?;
    std::fs::create_dir(stand.work())?;
    let pushed = stand.gate(&["--allow", "github.com:write"])?.run(["sh", "-c", push])?;
    ensure!(pushed.status.success(), "{pushed:?}");
    Ok(())
}

fn fresh(dir: &Path) -> Result<()> {
    std::fs::remove_dir_all(dir)?;
    Ok(std::fs::create_dir(dir)?)
}
