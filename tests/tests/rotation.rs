//! The CA is exchanged under agents that trust the old one, the new one or both.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use e2e::harness::Stand;
use e2e::proofs::{SOON, gate, python, said, slay, until};
use serde_json::Value;

/// The certificates that are handed out, each in a file of its own, the one that signs first.
fn handed_out(stand: &Stand) -> Result<Vec<PathBuf>> {
    let told = said(stand, &["ca"])?;
    let pem = told.get("pem").and_then(Value::as_str).context("no PEM")?;
    let fingerprints = told.pointer("/roots").and_then(Value::as_array).context("no roots")?;
    let begin = "-----BEGIN CERTIFICATE-----";
    let mut files = Vec::new();
    for (pem, root) in pem.split(begin).skip(1).zip(fingerprints) {
        let name = root.get("fingerprint").and_then(Value::as_str).context("no fingerprint")?;
        let file = stand.work().join(format!("{name}.pem"));
        fs::write(&file, format!("{begin}{pem}"))?;
        files.push(file);
    }
    ensure!(files.len() == fingerprints.len(), "{told}");
    Ok(files)
}

/// What a client meets that trusts this certificate alone, for each; and one that looks at the run's own bundle.
fn met(stand: &Stand, files: &[&PathBuf]) -> Result<Vec<Value>> {
    let mut words = python(
        stand,
        include_str!("../clients/proofs/trusts.py"),
        &["api.openai.com", "/etc/ssl/certs/ca-certificates.crt"],
    )?;
    words.extend(files.iter().map(|file| file.display().to_string()));
    let outcome = stand.gate(&[])?.run(words)?;
    let lines = outcome.stdout.lines().map(serde_json::from_str::<Value>);
    let met = lines.map(|line| Ok(line?.get("met").cloned().unwrap_or_default()));
    met.collect::<Result<_>>().with_context(|| format!("{outcome:?}"))
}

#[test]
fn agents_with_either_root_are_served_while_the_ca_is_exchanged_and_afterwards_those_with_the_new_one()
-> Result<()> {
    let stand = Stand::new()?;
    let old = handed_out(&stand)?.remove(0);
    let (served, refused) = (Value::from(200), Value::from("CERTIFICATE_VERIFY_FAILED"));
    ensure!(met(&stand, &[&old])? == [served.clone(), served.clone()], "before");
    ensure!(!stand.tollgate(&["ca", "rotate", "--finish"])?.status.success(), "nothing to finish");

    let outcome = stand.tollgate(&["ca", "rotate"])?;
    ensure!(outcome.status.success(), "{outcome:?}");
    let both = handed_out(&stand)?;
    ensure!(both.len() == 2 && both.first() == Some(&old), "{both:?}");
    let new = both.last().context("no new one")?.clone();
    // Another gate than the one that began it, since each command's ends with it.
    let during = met(&stand, &[&old, &new])?;
    ensure!(during.iter().all(|met| *met == served), "during: {during:?}");
    let again = stand.tollgate(&["ca", "rotate"])?;
    ensure!(!again.status.success() && again.stderr.contains("--finish"), "{again:?}");

    let outcome = stand.tollgate(&["ca", "rotate", "--finish"])?;
    ensure!(outcome.status.success(), "{outcome:?}");
    ensure!(handed_out(&stand)? == [new.clone()], "the old one is still handed out");
    let after = met(&stand, &[&old, &new])?;
    ensure!(after == [served.clone(), refused, served], "after: {after:?}");
    stand.verified()?;
    Ok(())
}

#[test]
fn a_live_run_goes_on_over_a_rotation_and_its_gates_death_leaves_the_roots_as_they_were()
-> Result<()> {
    let stand = Stand::new()?;
    let old = handed_out(&stand)?.remove(0);
    let program = "import sys, time, subprocess\nprint('up', flush=True)\n\
                   while not __import__('os').path.exists('go'): time.sleep(0.02)\n\
                   subprocess.run([sys.executable, 'trusts.py', 'api.openai.com', *sys.argv[1:]])\n\
                   print('done', flush=True); time.sleep(60)";
    fs::write(stand.work().join("trusts.py"), include_str!("../clients/proofs/trusts.py"))?;
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    let words = python(&stand, program, &[&old.display().to_string(), bundle])?;
    let mut run = stand.gate(&[])?.start(words)?;
    run.until_stdout(SOON, |text| text.contains("up"))?;
    ensure!(stand.tollgate(&["ca", "rotate"])?.status.success(), "no rotation");
    fs::write(stand.work().join("go"), "")?;
    let text = run.until_stdout(SOON, |text| text.contains("done"))?;
    ensure!(text.matches("\"met\": 200").count() == 2, "{text}");
    slay(gate(&stand)?.pid)?;
    drop(run);
    let both = handed_out(&stand)?;
    ensure!(both.len() == 2 && both.first() == Some(&old), "{both:?}");
    Ok(())
}

#[test]
fn a_declared_overlap_ends_by_itself_and_is_an_entry() -> Result<()> {
    let stand = Stand::new()?;
    let old = handed_out(&stand)?.remove(0);
    let outcome = stand.tollgate(&["ca", "rotate", "--overlap", "1s"])?;
    ensure!(outcome.status.success(), "{outcome:?}");
    let left = until(SOON, "the overlap ends", || {
        let left = handed_out(&stand)?;
        Ok((left.len() == 1).then_some(left))
    })?;
    ensure!(left.first() != Some(&old), "the new one was retired");
    // Each step is an entry, the second by nobody's word but the one at the beginning.
    let mut text = String::new();
    for entry in 0..stand.verified()? {
        text.push_str(&stand.tollgate(&["inspect", &entry.to_string(), "--json"])?.stdout);
    }
    for words in ["ca_rotation_begun", "ca_rotation_finished", "the declared end of the overlap"] {
        ensure!(text.contains(words), "no entry says {words}: {text}");
    }
    Ok(())
}
