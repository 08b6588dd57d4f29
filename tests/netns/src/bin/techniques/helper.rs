//! Asks a program outside to send, by the Unix socket that it listens on.

use std::os::fd::AsFd as _;

use netns::attempt::{At as _, Attempt, Met};
use netns::sys::{self, Address};

/// How long an answer is waited for, in milliseconds.
const PATIENCE: i32 = 500;

/// Connects, or sends a datagram, to the socket that the harness names in the last word.
pub(crate) fn run(attempt: &Attempt) -> Met {
    let name = attempt.words.last().map_or("", String::as_str);
    let to = Address::unix(name);
    let asked = format!("{} {}\n", attempt.marker, attempt.to(false));
    if attempt.says("notify") {
        let socket = sys::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0).at("socket")?;
        sys::send_to(socket.as_fd(), asked.as_bytes(), 0, Some(&to)).at("sendto")?;
        // The helper has no way to say that it has sent.
        std::thread::sleep(std::time::Duration::from_millis(50));
        return Ok(None);
    }
    let socket = sys::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).at("socket")?;
    sys::connect(socket.as_fd(), &to).at("connect")?;
    sys::send_to(socket.as_fd(), asked.as_bytes(), 0, None).at("send")?;
    if !sys::wait(socket.as_fd(), libc::POLLIN, PATIENCE).at("poll")? {
        return Ok(None);
    }
    let answer = sys::receive(socket.as_fd(), 0).at("receive")?;
    Ok(Some(String::from_utf8_lossy(&answer).trim().to_owned()))
}
