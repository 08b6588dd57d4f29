//! How one attempt is carried out: by which process, on which socket, with whom on the other side.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::Harness;
use crate::attempt::{Attempt, Report};
use crate::case::{Case, Stage, Who};
use crate::container::{Started, User};
use crate::sys::{self, Address};
use crate::topology::{POD, inside};

/// How long somebody in the world waits for the pod.
const PATIENCE: Duration = Duration::from_millis(250);

impl Harness {
    pub(super) fn staged(
        &mut self,
        case: &Case,
        who: Who,
        user: User,
    ) -> Result<(Attempt, Report)> {
        let attempt = self.attempt(case.technique, &case.words)?;
        let cgroup = self.cgroup_of(case.stage)?;
        let report = match case.stage {
            Stage::Container
            | Stage::Nested
            | Stage::Another
            | Stage::Outside
            | Stage::WithoutGate
            | Stage::AfterRestart => self.member(&cgroup, user)?.carry_out(&attempt)?,
            Stage::Passed | Stage::PassedConnected => self.passed(case, &attempt, user)?,
            Stage::Inherited => {
                let socket = self.foreign(&attempt, true)?;
                let place = self.place(&cgroup, user);
                place.start_with(&self.programs.techniques, socket)?.carry_out(&attempt)?
            }
            Stage::MovedIn => {
                let mut process = self.recruit(&cgroup, user)?;
                hold(&mut process, &attempt)?;
                process.move_to(&self.cgroups.agent)?;
                use_held(&mut process, &attempt)?
            }
            Stage::Older => return self.older(case, who, user, attempt),
            Stage::Inbound => self.inbound(&attempt, user)?,
        };
        Ok((attempt, report))
    }

    fn cgroup_of(&mut self, stage: Stage) -> Result<PathBuf> {
        Ok(match stage {
            Stage::Nested => self.cgroups.nested.clone(),
            Stage::Another => self.cgroups.another("debug")?,
            Stage::Outside | Stage::MovedIn => self.cgroups.outside.clone(),
            Stage::Container
            | Stage::Passed
            | Stage::PassedConnected
            | Stage::Inherited
            | Stage::Older
            | Stage::Inbound
            | Stage::WithoutGate
            | Stage::AfterRestart => self.cgroups.agent.clone(),
        })
    }

    /// A socket that was made elsewhere is passed to the agent.
    fn passed(&mut self, case: &Case, attempt: &Attempt, user: User) -> Result<Report> {
        let socket = self.foreign(attempt, case.stage == Stage::PassedConnected)?;
        let cgroup = self.cgroups.agent.clone();
        let member = self.member(&cgroup, user)?;
        sys::send_descriptor(member.channel().as_fd(), socket.as_fd())?;
        member.carry_out(attempt)
    }

    /// A socket of this process, which is in no cgroup of the pod's.
    fn foreign(&self, attempt: &Attempt, connected: bool) -> Result<OwnedFd> {
        let kind = if attempt.says("tcp") { libc::SOCK_STREAM } else { libc::SOCK_DGRAM };
        let to = Address::inet(attempt.to(false), 0);
        inside(&self.topology.pod, || {
            let socket = sys::socket(libc::AF_INET, kind, 0)?;
            if connected {
                sys::connect(socket.as_fd(), &to)?;
            }
            Ok(socket)
        })
    }

    /// Prepares what has to be there before the rules are, for each case that needs it.
    ///
    /// # Errors
    /// When a connection cannot be made.
    pub(super) fn prepare_older(&mut self, cases: &[Case]) -> Result<()> {
        for case in cases.iter().filter(|case| case.stage == Stage::Older) {
            for who in case.who {
                let user = match who {
                    Who::Agent => User::Plain(super::AGENT),
                    Who::Root => User::ContainerRoot,
                };
                let attempt = self.attempt(case.technique, &case.words)?;
                let mut process = self.recruit(self.home(&attempt), user)?;
                hold(&mut process, &attempt)?;
                self.older.insert((case.name, *who), (process, attempt));
            }
        }
        Ok(())
    }

    /// The cgroup in which what is older than the rules was made.
    fn home(&self, attempt: &Attempt) -> &Path {
        if attempt.says("outside") { &self.cgroups.outside } else { &self.cgroups.agent }
    }

    /// On what was prepared; without enforcement nothing was, and it is made now.
    fn older(
        &mut self,
        case: &Case,
        who: Who,
        user: User,
        attempt: Attempt,
    ) -> Result<(Attempt, Report)> {
        let (mut process, attempt) = if let Some(prepared) = self.older.remove(&(case.name, who)) {
            prepared
        } else {
            let mut process = self.recruit(self.home(&attempt), user)?;
            hold(&mut process, &attempt)?;
            (process, attempt)
        };
        let report = use_held(&mut process, &attempt)?;
        Ok((attempt, report))
    }

    /// Somebody in the world connects to what the technique opened and reads what it says.
    fn inbound(&mut self, attempt: &Attempt, user: User) -> Result<Report> {
        let (v4, v6) = POD;
        let to = if attempt.says("v6") {
            SocketAddr::from((v6, attempt.port))
        } else {
            SocketAddr::from((v4, attempt.port))
        };
        let is_udp = attempt.says("udp");
        let world = self.topology.world.try_clone()?;
        let cgroup = self.cgroups.agent.clone();
        let member = self.member(&cgroup, user)?;
        member.tell(&serde_json::to_string(attempt)?)?;
        if !sys::wait(member.channel().as_fd(), libc::POLLIN, 2000)? {
            bail!("the technique opened no port");
        }
        sys::receive(member.channel().as_fd(), 0)?;
        let answer = inside(&world, || Ok(if is_udp { ask(to) } else { read(to) }))?;
        let line = member.line_within(10_000)?.context("no report")?;
        let mut report: Report = serde_json::from_str(&line)?;
        // What counts is what the world heard.
        report.answer = answer.filter(|heard| heard.contains(&attempt.marker));
        Ok(report)
    }
}

/// What the pod says to somebody who connects.
fn read(to: SocketAddr) -> Option<String> {
    let mut connection = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
    connection.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut heard = [0; 256];
    let length = connection.read(&mut heard).ok()?;
    Some(String::from_utf8_lossy(heard.get(..length)?).into_owned())
}

/// What the pod answers to a datagram.
fn ask(to: SocketAddr) -> Option<String> {
    let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.send_to(b"?", to).ok()?;
    let mut heard = [0; 256];
    let length = socket.recv(&mut heard).ok()?;
    Some(String::from_utf8_lossy(heard.get(..length)?).into_owned())
}

/// Has the process open the attempt's socket and keep it.
fn hold(process: &mut Started, attempt: &Attempt) -> Result<()> {
    let mut asked = attempt.clone();
    "hold".clone_into(&mut asked.technique);
    let report = process.carry_out(&asked)?;
    match report.error {
        None => Ok(()),
        Some(error) => bail!("no socket to keep: {error} ({})", report.step),
    }
}

/// Has it use what it kept.
fn use_held(process: &mut Started, attempt: &Attempt) -> Result<Report> {
    let mut asked = attempt.clone();
    asked.words.push("held".to_owned());
    process.carry_out(&asked)
}
