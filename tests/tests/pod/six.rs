//! What comes in over IPv6: the declared port, another, the gate's own, and a probe of its health.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::proofs::SOON;

use super::stage::{Mode, POD_V6, PYTHON, SERVES, Stage, stage};
use super::{outside_to, serving};

/// A server of the agent's over IPv6, at every address or at one.
const SERVER: &str = r"
import socket, sys, threading
s = socket.socket(socket.AF_INET6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[2], int(sys.argv[1])))
s.listen(8)
print('ready', flush=True)
def serve(c):
    c.recv(100)
    c.sendall(b'a')
    c.recv(100)
    c.sendall(b'bc')
    c.close()
while True:
    c, _ = s.accept()
    threading.Thread(target=serve, args=(c,), daemon=True).start()
";

fn at(port: u16) -> Result<SocketAddr> {
    Ok(SocketAddr::new(POD_V6.parse()?, port))
}

/// How long a port that is dropped is waited for.
const A_MOMENT: Duration = Duration::from_millis(700);

/// Whether nobody answers there with so much as a byte.
fn is_mute(stage: &Stage, port: u16) -> Result<bool> {
    let to = at(port)?;
    stage.stand.at_home(|| {
        let mut said = Vec::new();
        let heard = TcpStream::connect_timeout(&to, A_MOMENT).and_then(|mut stream| {
            stream.set_read_timeout(Some(A_MOMENT))?;
            stream.write_all(b"hello")?;
            stream.read_to_end(&mut said)
        });
        Ok(heard.is_err() && said.is_empty())
    })
}

fn enters(stage: &mut Stage, pod: &str) -> Result<()> {
    serving(stage, pod)?;
    // At the pod's own address only, so that nobody could have dialled it at the loopback.
    let port = SERVES.to_string();
    let mut server = stage.agent(&[PYTHON, "-c", SERVER, &port, POD_V6])?;
    server.until_stdout(SOON, |text| text.contains("ready"))?;
    let mut other = stage.agent(&[PYTHON, "-c", SERVER, "9090", "::"])?;
    other.until_stdout(SOON, |text| text.contains("ready"))?;

    let mut stream = outside_to(stage, at(SERVES)?, b"hello")?;
    let mut first = [0; 8];
    ensure!(stream.read(&mut first)? == 1 && first[0] == b'a', "{first:?}");
    stream.write_all(b"go")?;
    let mut rest = String::new();
    stream.read_to_string(&mut rest)?;
    ensure!(rest == "bc", "{rest}");
    let bytes = |direction: &str| {
        let port = format!("direction=\"{direction}\",port=\"{SERVES}\"");
        stage.metric(&format!("tollgate_inbound_bytes_total{{{port}}}"))
    };
    ensure!((bytes("in")?, bytes("out")?) == (7, 3), "{:?}", (bytes("in")?, bytes("out")?));

    ensure!(is_mute(stage, 9090)?, "an undeclared port answers");
    for own in [16801, 16806] {
        ensure!(is_mute(stage, own)?, "the gate's own port {own} answers");
    }
    let probe = |path| stage.stand.at_home(|| e2e::service::page(at(16815)?, path));
    ensure!(probe("/healthz")? == (200, "alive\n".to_owned()), "{:?}", probe("/healthz")?);
    ensure!(probe("/readyz")?.0 == 200, "{:?}", probe("/readyz")?);
    stage.end()?;
    stage.stand.verified()?;
    Ok(())
}

#[test]
fn what_is_declared_is_reached_over_ipv6_by_way_of_the_gate_and_nothing_else_is() -> Result<()> {
    stage(Mode::Kernel, |stage| enters(stage, ""))
}

#[test]
fn nor_behind_the_installers_own_floor() -> Result<()> {
    stage(Mode::Installed, |stage| enters(stage, ""))
}

#[test]
fn nor_where_the_gate_is_known_by_its_control_group() -> Result<()> {
    stage(Mode::NftCgroup, |stage| enters(stage, "  minimum: nft-cgroup\n"))
}
