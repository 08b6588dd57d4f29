use std::os::unix::{
    fs::MetadataExt as _,
    net::{UnixDatagram, UnixListener, UnixStream},
};

use super::*;

/// A message of the kernel's list.
fn message(number: u32, kind: u8, state: u8, key: Key) -> Vec<u8> {
    let mut attributes = vec![8, 0, 0, 0, b'n', b'a', b'm', b'e'];
    attributes.extend([12, 0, 1, 0]);
    attributes.extend(key.inode.to_ne_bytes());
    attributes.extend(key.device.to_ne_bytes());
    let length = u32::try_from(MESSAGE + attributes.len()).unwrap();
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend([0, 0]);
    message.extend(number.to_ne_bytes());
    message.extend([0; 4]);
    message.extend([1, kind, state, 0]);
    message.extend([0; 12]);
    message.extend(attributes);
    message
}

const SOUGHT: &[Key] = &[Key { device: 7, inode: 6 }, HERE];
const HERE: Key = Key { device: 5, inode: 6 };

#[test]
fn a_socket_is_found_by_device_and_inode() {
    for (key, found) in
        [(HERE, true), (Key { device: 6, inode: 6 }, false), (Key { device: 5, inode: 5 }, false)]
    {
        let part = message(1, 1, LISTENING, key);
        assert_eq!(read(&part, 1, SOUGHT).unwrap(), Read { over: false, found });
    }
}

#[test]
fn the_other_end_of_a_connect_is_no_socket_that_was_made_inside() {
    for (kind, state, found) in
        [(1, ESTABLISHED, false), (5, ESTABLISHED, false), (2, ESTABLISHED, true)]
    {
        let part = message(1, kind, state, HERE);
        assert_eq!(read(&part, 1, SOUGHT).unwrap().found, found, "{kind} {state}");
    }
}

#[test]
fn the_rest_of_an_earlier_answer_is_passed_over() {
    let part = [message(1, 1, LISTENING, HERE), message(2, 2, CLOSED, Key { device: 0, inode: 0 })];
    assert!(!read(&part.concat(), 2, SOUGHT).unwrap().found);
}

#[test]
fn an_answer_that_is_cut_or_an_error_is_no_answer() {
    let whole = message(1, 1, LISTENING, HERE);
    for length in 1..whole.len() {
        assert!(read(&whole[..length], 1, SOUGHT).is_err(), "{length}");
    }
    let mut error = whole;
    error[4] = 2;
    assert!(read(&error, 1, SOUGHT).is_err());
}

/// What the kernel says of real sockets of this process.
#[test]
fn the_kernel_lists_what_is_bound_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let key = |name: &str| {
        let stat = std::fs::metadata(folder.path().join(name)).unwrap();
        let device = device(rustix::fs::major(stat.dev()), rustix::fs::minor(stat.dev()));
        Key { device, inode: u32::try_from(stat.ino() & 0xffff_ffff).unwrap() }
    };
    let at = |name: &str| folder.path().join(name);
    let _stream = UnixListener::bind(at("stream")).unwrap();
    let _datagram = UnixDatagram::bind(at("datagram")).unwrap();
    drop(UnixListener::bind(at("left")).unwrap());
    std::fs::write(at("file"), "").unwrap();
    let (_one, _other) = UnixStream::pair().unwrap();
    let mut lister = Lister::new(sockets::lister().unwrap());
    for (name, listed) in [("stream", true), ("datagram", true), ("left", false), ("file", false)] {
        assert_eq!(lister.lists(&[key(name)]).unwrap(), listed, "{name}");
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "says aloud what it cannot test")]
fn only_the_kernel_is_believed() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("NOT TESTED: needs root");
        return;
    }
    let mut lister = Lister::new(sockets::lister().unwrap());
    rustix::net::bind(&lister.socket, &SocketAddrNetlink::new(0, 0)).unwrap();
    let at = rustix::net::getsockname(&lister.socket).unwrap();
    let somebody = sockets::lister().unwrap();
    // A file that no socket has, said to have one, and that being all; before the kernel has been asked.
    let over = [20, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let nobodys = Key { device: 0xfff, inode: 1 };
    let said = [&message(1, 1, LISTENING, nobodys)[..], &over].concat();
    rustix::net::sendto(&somebody, &said, SendFlags::empty(), &at).unwrap();
    assert!(!lister.lists(&[nobodys]).unwrap());
}
