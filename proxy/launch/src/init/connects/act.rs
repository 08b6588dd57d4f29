//! Carries one call out.

use std::{
    io::Write as _,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::{fs::FileType, io::Errno, net::AddressFamily};

use super::{
    Supervisor,
    caller::{self, Address, Caller},
    made::Sought,
    notification::Call,
    walk::Start,
};

/// The caller was killed: nobody hears the answer.
const GONE: Errno = Errno::INTR;

impl Supervisor {
    /// What the caller's `connect` returns.
    pub(super) fn connect(&self, call: &Call) -> Result<(), Errno> {
        let socket = caller::socket(call)?;
        let address = Address::copy(call)?;
        let domain = rustix::net::sockopt::socket_domain(&socket)?;
        // Only a Unix socket reads a path, and only from an address of its family.
        if domain != AddressFamily::UNIX || !address.is_unix() {
            caller::take_name(call);
            self.still_waiting(call)?;
            // The kernel asks who connects in other families too: a Netlink socket is led to another's by who may
            // configure the network.
            return self.own.without_rights(|| caller::connect(&socket, address.bytes()));
        }
        let caller = Caller::read(call)?;
        let Some(path) = address.path() else {
            self.still_waiting(call)?;
            // An abstract name is one of the socket's own network namespace.
            return self.own.act_as(&caller, || caller::connect(&socket, address.bytes()));
        };
        let start = Start::of(&caller, path)?;
        self.still_waiting(call)?;
        let file = self.own.act_as(&caller, || start.find(path, &caller))?;
        self.allowed(&file, &caller)?;
        let named = by_number(&file)?;
        self.own.act_as(&caller, || caller::connect(&socket, &named))
    }

    fn still_waiting(&self, call: &Call) -> Result<(), Errno> {
        if self.listener.is_waiting(call) { Ok(()) } else { Err(GONE) }
    }

    /// A file that is no socket is left to the kernel, which refuses it in its own words.
    fn allowed(&self, file: &OwnedFd, caller: &Caller) -> Result<(), Errno> {
        let stat = rustix::fs::fstat(file)?;
        let is_socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
        let inode = (stat.st_dev, stat.st_ino);
        if !is_socket || self.shared.iter().any(|(shared, _)| *shared == inode) {
            return Ok(());
        }
        Sought::of(file)?.is_made_inside(caller, &self.outside)
    }
}

/// The address of an open file, whatever its name is by now.
fn by_number(file: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let family = u16::try_from(libc::AF_UNIX).map_err(|_too_big| Errno::AFNOSUPPORT)?;
    let mut address = family.to_ne_bytes().to_vec();
    write!(address, "/proc/self/fd/{}\0", file.as_raw_fd()).map_err(|_full| Errno::NOMEM)?;
    Ok(address)
}
