//! Programs outside that listen on Unix sockets and do what they are asked: container engine, bus, service manager.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::sys;
use crate::topology::inside;

/// Where the well-known ones listen.
const PLACES: [(&str, &str); 5] = [
    ("docker", "/run/docker.sock"),
    ("system-bus", "/run/dbus/system_bus_socket"),
    ("session-bus", "/run/user/1000/bus"),
    ("systemd", "/run/systemd/private"),
    ("user-systemd", "/run/user/1000/systemd/private"),
];

/// The stand-ins, by the word that a case calls each by.
#[derive(Debug)]
pub struct Helpers {
    addresses: BTreeMap<&'static str, String>,
    relay: Arc<UdpSocket>,
    own: PathBuf,
}

impl Helpers {
    /// Starts those that are there before a command is. `/run` is a folder of this mount namespace's own from now on;
    /// what they send for others leaves from `network`.
    ///
    /// # Errors
    /// When they cannot listen.
    pub fn start(network: &OwnedFd, scratch: &Path) -> Result<Self> {
        sys::mount("none", "/run", "tmpfs", 0).context("cannot mount over /run")?;
        let relay = Arc::new(inside(network, || Ok(UdpSocket::bind("0.0.0.0:0")?))?);
        let own = scratch.join("helpers");
        fs::create_dir(&own)?;
        let mut made = Self { addresses: BTreeMap::new(), relay, own };
        for (word, path) in PLACES {
            made.listen(word, path)?;
        }
        let agent = made.own.join("agent.1");
        made.listen("key-agent", crate::text(&agent)?)?;
        made.listen_for_datagrams(network)?;
        Ok(made)
    }

    /// Starts one more, which a command that is there already cannot have seen when it was started.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start_later(&mut self) -> Result<()> {
        let path = self.own.join(format!("later-{:016x}.sock", crate::random()?));
        self.listen("later", crate::text(&path)?)
    }

    /// Where the one of this word listens; an abstract name begins with `@`.
    #[must_use]
    pub fn address(&self, word: &str) -> Option<&str> {
        self.addresses.get(word).map(String::as_str)
    }

    fn listen(&mut self, word: &'static str, path: &str) -> Result<()> {
        let folder = Path::new(path).parent().context("a socket without a folder")?;
        fs::create_dir_all(folder)?;
        let listener = UnixListener::bind(path).with_context(|| path.to_owned())?;
        // As for those who are let use it: a member of its group, or its user.
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        self.addresses.insert(word, path.to_owned());
        self.serve(listener);
        Ok(())
    }

    /// A datagram socket, and one with an abstract name, which belongs to a network namespace.
    fn listen_for_datagrams(&mut self, network: &OwnedFd) -> Result<()> {
        let path = self.own.join("notify");
        let socket = UnixDatagram::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        self.addresses.insert("notify", crate::text(&path)?.to_owned());
        let relay = Arc::clone(&self.relay);
        std::thread::spawn(move || {
            let mut asked = [0; 256];
            while let Ok(length) = socket.recv(&mut asked) {
                send(&relay, &String::from_utf8_lossy(asked.get(..length).unwrap_or_default()));
            }
        });
        let name = format!("tollgate-netns-{}", std::process::id());
        let listener = inside(network, || {
            let address = UnixAddr::from_abstract_name(name.as_bytes())?;
            Ok(UnixListener::bind_addr(&address)?)
        })?;
        self.addresses.insert("abstract", format!("@{name}"));
        self.serve(listener);
        Ok(())
    }

    fn serve(&self, listener: UnixListener) {
        let relay = Arc::clone(&self.relay);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let Ok(mut connection) = connection else { continue };
                let mut asked = String::new();
                if BufReader::new(&connection).read_line(&mut asked).is_ok() {
                    send(&relay, &asked);
                    drop(connection.write_all(b"sent\n"));
                }
            }
        });
    }
}

/// `MARKER ADDRESS`: sends the marker there. A line of another form is somebody else's, and nothing.
fn send(relay: &UdpSocket, asked: &str) {
    let mut words = asked.split_whitespace();
    let (Some(marker), Some(to)) = (words.next(), words.next()) else { return };
    if let Ok(to) = to.parse::<SocketAddr>() {
        drop(relay.send_to(marker.as_bytes(), to));
    }
}
