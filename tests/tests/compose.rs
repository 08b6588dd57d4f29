//! docs/deploy/compose as somebody brings it up: Docker Compose on podman, an agent's image that nobody changed, a
//! gate's image built from its Containerfile, and an offline provider where the internet would be.
//!
//! One project is brought up for all claims, in namespaces of its own (`tests/compose/pair.sh`).

use anyhow::{Result, ensure};
use e2e::pods::Found;

#[test]
fn an_unchanged_agent_behind_the_gate_reaches_its_provider_and_nothing_past_the_gate() -> Result<()>
{
    let found = Found::by("compose/pair.sh", &[])?;
    found.is("up", |said| said == "pair_agent_1 pair_gate_1")?;

    found.is("curl", |said| {
        said.contains(r#""object":"chat.completion""#) && said.ends_with(" 200")
    })?;
    for sdk in ["sdk", "base_url"] {
        found.is(sdk, |said| said == "Hello from the offline provider. 32")?;
    }
    found.is("elsewhere", |said| said.contains("response 403"))?;

    for past in ["address", "name", "udp", "udp6"] {
        found.is(past, |said| said.ends_with("not reached"))?;
    }
    // The control: the same address from a network that is not internal.
    found.is("outside", |said| said == "reached")?;
    // What the page says is open on podman is: a change here is one to the page.
    for open in ["machine", "engine_dns"] {
        found.is(open, |said| said == "reached")?;
    }

    let entries = found.of("tail")?;
    let forwarded = "api.openai.com chat_completions gpt-5-mini";
    ensure!(entries.matches(forwarded).count() == 3, "{entries}");
    found.is("tail", |said| said.contains("pastebin.com (not in the contract)"))?;
    found.is("verify", |said| said.contains(r#""valid":true"#))
}
