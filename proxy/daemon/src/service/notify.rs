//! Tells the service manager how the service stands, in the protocol of `sd_notify(3)`.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::ClockId;

/// Where the service manager listens, if there is one.
#[derive(Debug)]
pub(super) struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// The one that `NOTIFY_SOCKET` names.
    pub(super) fn from_env() -> Self {
        let named = std::env::var("NOTIFY_SOCKET").ok();
        Self(named.and_then(|name| Some((UnixDatagram::unbound().ok()?, address(&name)?))))
    }

    /// It serves.
    pub(super) fn ready(&self) {
        self.say(&format!("READY=1\nMAINPID={}", std::process::id()));
    }

    /// It reads its contracts again.
    pub(super) fn reloading(&self) {
        // systemd wants to know since when, so that it does not take an older READY for the answer.
        let now = rustix::time::clock_gettime(ClockId::Monotonic);
        let now = Duration::try_from(now).unwrap_or_default().as_micros();
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// It ends.
    pub(super) fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// A manager that does not listen needs to know nothing.
    fn say(&self, words: &str) {
        if let Some((socket, at)) = &self.0 {
            drop(socket.send_to_addr(words.as_bytes(), at));
        }
    }
}

/// A path, or a name in the abstract namespace after an `@`.
fn address(name: &str) -> Option<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok(),
        None => name.starts_with('/').then(|| SocketAddr::from_pathname(name).ok())?,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_each_word() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let at = address(path.to_str().unwrap()).unwrap();
        let notify = Notify(Some((UnixDatagram::unbound().unwrap(), at)));
        let mut heard = [0; 256];
        let mut hear = || {
            let size = manager.recv(&mut heard).unwrap();
            String::from_utf8(heard[..size].to_vec()).unwrap()
        };
        notify.ready();
        assert_eq!(hear(), format!("READY=1\nMAINPID={}", std::process::id()));
        notify.reloading();
        assert!(hear().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        notify.stopping();
        assert_eq!(hear(), "STOPPING=1");
    }

    #[test]
    fn a_name_that_is_no_address_is_nobody() {
        assert!(address("relative").is_none());
        assert!(address("@abstract").is_some());
    }
}
