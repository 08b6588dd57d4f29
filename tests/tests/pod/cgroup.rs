//! A gate that the firewall knows by its control group: found by the installer once it listens, lost when it is started
//! anew in another.

use anyhow::{Result, ensure};
use e2e::proofs::SOON;

use super::stage::{Mode, PYTHON, SERVES, stage};
use super::{SERVER, ask, everything, outside, serving};

const MINIMUM: &str = "  minimum: nft-cgroup\n";

#[test]
fn a_gate_known_by_its_control_group_serves_its_pod_like_the_strongest() -> Result<()> {
    stage(Mode::NftCgroup, |stage| {
        everything(stage, MINIMUM)?;
        let (_, ready) = stage.get("/readyz")?;
        ensure!(ready.contains(r#""says":"nft-cgroup"#), "{ready}");
        let port = SERVES.to_string();
        let mut server = stage.agent(&[PYTHON, "-c", SERVER, &port])?;
        server.until_stdout(SOON, |text| text.contains("ready"))?;
        let mut stream = outside(stage, SERVES, b"hello")?;
        let mut first = [0; 1];
        std::io::Read::read_exact(&mut stream, &mut first)?;
        ensure!(first == *b"a", "{first:?}");
        // Whoever is the gate's user in another group is not the gate.
        let udp = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ntry:\n  s.sendto(b'x', ('10.213.9.1', 9)); print('out')\nexcept OSError as e:\n  print('error', e.errno)";
        ensure!(stage.python(".", udp)? == "error 1", "the user alone is exempt");
        ensure!(stage.python(&stage.gate_group(), udp)? == "out", "the gate's group is not");
        Ok(())
    })
}

#[test]
fn a_gate_that_the_firewall_does_not_know_says_so_and_nothing_leaves_until_it_does() -> Result<()> {
    stage(Mode::NftCgroup, |stage| {
        const UNKNOWN: &str = "the firewall does not know this gate";
        const KNOWN: &str = "the firewall knows this gate";
        let key = serving(stage, MINIMUM)?;
        ensure!(stage.log().contains(UNKNOWN), "it began without a word: {}", stage.log());
        ensure!(stage.log().contains("run tollgate-init install in this pod again"), "no remedy");
        let (status, body) = ask(stage, &key, "gpt-5-mini")?;
        ensure!(status == "200" && stage.log().contains(KNOWN), "{status}: {body}");

        // Another container: the rules still name the group of the one before.
        stage.slay()?;
        stage.begin_gate()?;
        ensure!(stage.log().contains(UNKNOWN), "{}", stage.log());
        let left = stage.arriving(|| {
            let (status, body) = ask(stage, &key, "gpt-5-mini")?;
            ensure!(status != "200", "it went out: {body}");
            ensure!(stage.get("/readyz").is_err(), "its own answers leave");
            Ok(())
        })?;
        ensure!(left == 0, "{left} packets left the pod");
        stage.find_gate()?;
        stage.until_ready()?;
        let arrived = stage.arriving(|| {
            let (status, body) = ask(stage, &key, "gpt-5-mini")?;
            ensure!(status == "200", "{status}: {body}");
            Ok(())
        })?;
        ensure!(arrived > 0, "nothing is counted at all");

        // In a group that stays nobody has to be told.
        stage.slay()?;
        stage.start_gate_in_its_group()?;
        ensure!(!stage.log().contains(UNKNOWN), "{}", stage.log());
        let (status, body) = ask(stage, &key, "gpt-5-mini")?;
        ensure!(status == "200", "{status}: {body}");
        Ok(())
    })
}
