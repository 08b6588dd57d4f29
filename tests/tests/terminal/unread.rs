//! What is not HTTP: refused with what to do instead, and carried unread where a flag says so.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, ensure};
use e2e::harness::Stand;
use e2e::process::Outcome;

/// A server that repeats what it hears, as lines, and counts who came.
struct Echo {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Echo {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let Ok(heard) = stream.try_clone() else { continue };
                for line in BufReader::new(heard).lines().map_while(Result::ok) {
                    if writeln!(stream, "echo {line}").is_err() {
                        break;
                    }
                }
            }
        });
        Ok(Self { address, accepted })
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Says two lines to `host`'s port 22, as git over ssh would, and prints what comes back.
    fn asked(&self, stand: &Stand, host: &str, flags: &[&str]) -> Result<Outcome> {
        let to = format!("{host}:22:{}", self.address);
        let args = [&["--connect-to", to.as_str()], flags].concat();
        let script = format!(
            "exec 3<>/dev/tcp/{host}/22 || exit 9; printf 'SSH-2.0-test\\nbye\\n' >&3; \
             head -n 2 <&3"
        );
        stand.gate(&args)?.run(["bash", "-c", &script])
    }
}

const ECHOED: &str = "echo SSH-2.0-test\necho bye\n";

#[test]
fn git_over_ssh_to_an_allowed_host_is_refused_with_the_flag_that_opens_it() -> Result<()> {
    let (stand, echo) = (Stand::new()?, Echo::start()?);
    for flags in [&["--allow", "github.com"][..], &["--allow", "github.com:22"]] {
        let outcome = echo.asked(&stand, "github.com", flags)?;
        ensure!(outcome.stdout.is_empty() && echo.accepted() == 0, "{outcome:?}");
        let line = "          refused: destination: github.com:22 (neither TLS nor HTTP/1, and not allowed \
                    unread): use https, or start the command with --allow github.com:22:opaque     why: tollgate \
                    inspect ";
        ensure!(outcome.stderr.contains(line), "{outcome:?}");
    }
    let outcome = echo.asked(&stand, "github.com", &["--allow", "github.com:22:opaque"])?;
    ensure!(outcome.stdout == ECHOED && echo.accepted() == 1, "{outcome:?}");
    ensure!(outcome.stderr.contains("· 0 refused ·"), "{outcome:?}");
    stand.verified()?;
    Ok(())
}

#[test]
fn git_over_ssh_to_another_host_is_refused_by_name_and_then_by_what_it_speaks() -> Result<()> {
    let (stand, echo) = (Stand::new()?, Echo::start()?);
    let outcome = echo.asked(&stand, "ssh.example", &[])?;
    ensure!(outcome.status.code() == Some(9) && echo.accepted() == 0, "{outcome:?}");
    let line = "refused: destination: ssh.example (not in the contract)";
    ensure!(outcome.stderr.contains(line), "{outcome:?}");

    // A flag for one host, and one port of it, is for no other.
    let flags = ["--allow", "github.com:22:opaque", "--allow", "ssh.example:2222:opaque"];
    let outcome = echo.asked(&stand, "ssh.example", &flags)?;
    ensure!(outcome.stdout.is_empty() && echo.accepted() == 0, "{outcome:?}");
    ensure!(outcome.stderr.contains("--allow ssh.example:22:opaque"), "{outcome:?}");
    stand.verified()?;
    Ok(())
}

#[test]
fn a_bare_address_is_refused_with_the_same_words() -> Result<()> {
    let (stand, echo) = (Stand::new()?, Echo::start()?);
    let outcome = echo.asked(&stand, "192.0.2.7", &[])?;
    ensure!(outcome.stdout.is_empty() && echo.accepted() == 0, "{outcome:?}");
    ensure!(outcome.stderr.contains("--allow 192.0.2.7:22:opaque"), "{outcome:?}");
    let outcome = echo.asked(&stand, "192.0.2.7", &["--allow", "192.0.2.7:22:opaque"])?;
    ensure!(outcome.stdout == ECHOED && echo.accepted() == 1, "{outcome:?}");
    Ok(())
}

#[test]
fn observe_carries_what_it_cannot_read_and_reports_it() -> Result<()> {
    let (stand, echo) = (Stand::new()?, Echo::start()?);
    let outcome = echo.asked(&stand, "ssh.example", &["--observe"])?;
    ensure!(outcome.stdout == ECHOED && echo.accepted() == 1, "{outcome:?}");
    let line = "would be refused: destination: ssh.example:22 (neither TLS nor HTTP/1, and not allowed unread)";
    ensure!(outcome.stderr.contains(line), "{outcome:?}");
    stand.verified()?;
    Ok(())
}
