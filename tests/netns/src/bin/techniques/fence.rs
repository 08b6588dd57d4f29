//! The socket of the fences that say that all sent before them has arrived.

use std::os::fd::AsFd as _;

use netns::attempt::{At as _, Attempt, Met};
use netns::container::CHANNEL;
use netns::sniffer::FENCED;
use netns::sys::{self, Address};

/// Opens it as the gate's user, with the gate's mark, connects it, and passes it out.
pub(crate) fn run(attempt: &Attempt) -> Met {
    let channel = sys::close_on_exec(CHANNEL).at("channel")?;
    sys::files_as(attempt.site.gate_uid);
    let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).at("socket")?;
    let mark = attempt.site.mark.to_ne_bytes();
    sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_MARK, &mark).at("SO_MARK")?;
    sys::connect(socket.as_fd(), &Address::inet(FENCED.into(), 0)).at("connect")?;
    sys::send_descriptor(channel.as_fd(), socket.as_fd()).at("pass")?;
    Ok(None)
}
