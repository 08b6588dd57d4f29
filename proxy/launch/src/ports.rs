//! Opens the ports that a run shares with its host, and connects to the command's own on the gate's behalf.
//!
//! A listener inside stands for a service of the host; the gate holds it and connects outside. The other way round
//! the gate holds a listener of the host, and has a *connector* connect inside: a process that was started in the
//! run's network and gives back connected sockets. So the gate never enters a namespace, with root or without.

use std::{
    io::{self, Read},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    error::LaunchError,
    fds,
    listeners::{DNS_PORT, INTAKE_PORT, Listeners, RESPONDER_PORT, is_absent},
    sys,
};

/// The hidden first argument that makes a program be the connector.
pub(crate) const WORD: &str = "__connect";
/// Of each kind; the listeners' descriptors must fit in one message.
const MOST: usize = 16;
/// How long the command's port may take to answer: longer only where its backlog is full.
const PATIENCE: Duration = Duration::from_secs(2);
/// The ports that a gate listens on, in one form or another (DESIGN §9): proxy 16802, inbound 16806, control 16809,
/// health 16815 and those that a run has itself.
const GATE: [u16; 7] = [INTAKE_PORT, RESPONDER_PORT, DNS_PORT, 16802, 16806, 16809, 16815];

/// The ports that a run shares with its host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports {
    /// Inside, `127.0.0.1` and `::1` at these ports are the host's (`--reach-port`).
    pub reach: Vec<u16>,
    /// On the host, `127.0.0.1` and `::1` at these ports are the command's (`--publish-port`).
    pub publish: Vec<u16>,
}

impl Ports {
    /// Sorted, each once.
    ///
    /// # Errors
    /// When one cannot be shared: a port of the gate's, one that would lead in a circle, or too many.
    pub fn checked(mut self) -> Result<Self, LaunchError> {
        for (flag, ports) in [(REACH, &mut self.reach), (PUBLISH, &mut self.publish)] {
            ports.sort_unstable();
            ports.dedup();
            let refused = |port, why| LaunchError::Port { flag, port, why };
            for &port in ports.iter() {
                if port == DNS_PORT {
                    return Err(refused(port, "names are answered there by the gate".to_owned()));
                }
                if GATE.contains(&port) {
                    return Err(refused(port, "it is a port of the gate's own".to_owned()));
                }
            }
            if let Some(&port) = ports.get(MOST) {
                return Err(refused(port, format!("at most {MOST} ports are shared")));
            }
        }
        if let Some(&port) = self.publish.iter().find(|port| self.reach.contains(port)) {
            let why = "it is shared the other way too, and would lead to itself: leave one out";
            return Err(LaunchError::Port { flag: PUBLISH, port, why: why.to_owned() });
        }
        Ok(self)
    }

    /// Opens those of the host. Called in the host's network.
    pub(crate) fn open_outside(&self, listeners: &mut Listeners) -> Result<(), LaunchError> {
        listeners.shared.extend(listen(PUBLISH, &self.publish)?);
        Ok(())
    }

    /// Opens those inside, and the way to what the command listens on. Called in the run's network.
    pub(crate) fn open_inside(&self, listeners: &mut Listeners) -> Result<(), LaunchError> {
        listeners.shared.extend(listen(REACH, &self.reach)?);
        if !self.publish.is_empty() {
            let connector = start_connector()
                .map_err(|error| LaunchError::setup("starting the connector", error))?;
            listeners.connector = Some(connector);
        }
        Ok(())
    }
}

const REACH: &str = "--reach-port";
const PUBLISH: &str = "--publish-port";

fn listen(flag: &'static str, ports: &[u16]) -> Result<Vec<(u16, TcpListener)>, LaunchError> {
    let mut open = Vec::new();
    for &port in ports {
        let at = |ip: &str, error: io::Error| {
            let why = if error.kind() == io::ErrorKind::AddrInUse {
                format!(
                    "another program listens at {ip} already: end it, or let the command listen elsewhere"
                )
            } else {
                format!("listening at {ip}: {error}")
            };
            LaunchError::Port { flag, port, why }
        };
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        open.push((port, v4.map_err(|error| at("127.0.0.1", error))?));
        match TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
            Ok(listener) => open.push((port, listener)),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(at("::1", error)),
        }
    }
    Ok(open)
}

/// Starts the connector in the network of the calling thread, executed anew: it holds nothing of this process. It ends
/// when the last holder of the other end has closed it, which is the gate.
fn start_connector() -> io::Result<Connector> {
    let (gates, own) = UnixStream::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("tollgate").arg(WORD).env_clear().current_dir("/");
    command.stdin(OwnedFd::from(own)).stdout(Stdio::null()).stderr(Stdio::null());
    // Not to be ended by a Ctrl-C that is meant for the command.
    command.process_group(0);
    // SAFETY: one system call that allocates nothing.
    unsafe { command.pre_exec(|| sys::close_all_at_exec(3)) };
    drop(command.spawn()?);
    Ok(Connector::new(gates.into()))
}

/// The gate's way to the ports that the command listens on inside.
#[derive(Debug)]
pub struct Connector {
    socket: UnixStream,
    turn: Mutex<()>,
}

impl Connector {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket: UnixStream::from(socket), turn: Mutex::new(()) }
    }

    /// A connection to the command's `127.0.0.1` or `::1` at `port`. Blocks, one call at a time.
    ///
    /// # Errors
    /// When nothing listens there, or the run has ended.
    pub fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        fds::send(self.socket.as_fd(), &port.to_be_bytes(), &[])?;
        let mut errno = [0; 4];
        let (came, mut sockets) = fds::recv(self.socket.as_fd(), &mut errno)?;
        match (came, sockets.pop()) {
            (4, Some(connected)) => Ok(connected.into()),
            (4, None) => Err(io::Error::from_raw_os_error(i32::from_be_bytes(errno))),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl AsFd for Connector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<Connector> for OwnedFd {
    fn from(connector: Connector) -> Self {
        connector.socket.into()
    }
}

/// Connects inside for whoever holds the other end of standard input, until that is closed.
pub(crate) fn serve() -> ! {
    let served = sys::take(0).map(UnixStream::from).and_then(|mut asker| {
        let mut port = [0; 2];
        while asker.read_exact(&mut port).is_ok() {
            match connect(u16::from_be_bytes(port)) {
                Ok(stream) => fds::send(asker.as_fd(), &0_i32.to_be_bytes(), &[stream.as_fd()])?,
                Err(error) => {
                    let number = error.raw_os_error().unwrap_or(libc::ETIMEDOUT);
                    fds::send(asker.as_fd(), &number.to_be_bytes(), &[])?;
                }
            }
        }
        Ok(())
    });
    sys::exit_now(if served.is_ok() { 0 } else { crate::OWN_FAILURE })
}

/// Programs listen on one of the two, and mean both.
fn connect(port: u16) -> io::Result<TcpStream> {
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&v4, PATIENCE).or_else(|error| {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            TcpStream::connect_timeout(&v6, PATIENCE)
        } else {
            Err(error)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(reach: &[u16], publish: &[u16]) -> Result<Ports, String> {
        let ports = Ports { reach: reach.to_vec(), publish: publish.to_vec() };
        ports.checked().map_err(|error| error.to_string())
    }

    #[test]
    fn ports_are_shared_once_each() {
        let shared = ports(&[5432, 80, 5432], &[5173]).unwrap();
        assert_eq!(shared, Ports { reach: vec![80, 5432], publish: vec![5173] });
    }

    #[test]
    fn a_port_of_the_gate_and_one_that_leads_to_itself_are_refused_with_the_reason() {
        for port in GATE {
            let whose = if port == 53 { "names are answered" } else { "of the gate's own" };
            assert!(ports(&[port], &[]).unwrap_err().contains(whose), "{port}");
            assert!(ports(&[], &[port]).unwrap_err().contains(whose), "{port}");
        }
        let circle = ports(&[8080], &[8080]).unwrap_err();
        assert!(circle.starts_with("--publish-port 8080: it is shared the other way"), "{circle}");
        let many: Vec<u16> = (1000..1017).collect();
        assert!(ports(&many, &[]).is_err() && ports(&many[1..], &[]).is_ok());
    }

    #[test]
    fn a_port_in_use_is_refused_and_named() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let said = listen(PUBLISH, &[port]).unwrap_err().to_string();
        let start = format!("--publish-port {port}: another program listens at 127.0.0.1");
        assert!(said.starts_with(&start), "{said}");
    }
}
