//! A pod of real containers: the installer, the gate and the validator as a node runs them, and an agent whose image
//! nobody changed.
//!
//! One pod is brought up for all claims, in namespaces of its own (`tests/containers/pair.sh`).

use anyhow::{Result, ensure};
use e2e::pods::{Counted, Found};

#[test]
fn a_pod_of_real_containers_reaches_its_provider_and_nothing_past_the_gate() -> Result<()> {
    let found = Found::by("containers/pair.sh", &[])?;

    // The control: without the gate the same image and the same attempts arrive.
    found.is("before", |said| said == "401")?;
    let Counted { attempts, arrived } = found.catalogue("catalogue-before")?;
    ensure!(attempts > 100 && arrived.len() > 70, "{attempts}, of which arrived {arrived:?}");

    for installed in ["install", "again"] {
        found.is(installed, |said| said.starts_with("mode kernel"))?;
    }
    for valid in ["validate", "revalidate"] {
        found.is(valid, |said| said.ends_with("mode kernel: holds"))?;
    }

    for who in ["root", "user"] {
        found.is(&format!("curl-{who}"), |said| {
            said.contains(r#""object":"chat.completion""#) && said.ends_with(" 200")
        })?;
        found.is(&format!("sdk-{who}"), |said| said == "Hello from the offline provider. 25")?;
        found.is(&format!("elsewhere-{who}"), |said| said.contains("access denied"))?;
        found.let_through(&format!("catalogue-{who}"), attempts, &[])?;
        found.is(&format!("reports-{who}"), |made| made == attempts.to_string())?;
    }

    found.is("declared", |said| said == "first and last")?;
    found.is("undeclared", |said| said.contains("timed out"))?;
    found.is("gone", |said| said.contains("Failed to connect"))?;
    found.is("back", |said| said == "Hello from the offline provider. 25")?;

    found.is("tail", |said| said.contains("past the gate: datagram"))?;
    found.is("metrics", |said| said.contains(r#"tollgate_enforcement{mode="kernel"} 1"#))?;
    found.is("gc", |said| said.starts_with("removed "))?;
    found.is("left", str::is_empty)
}
