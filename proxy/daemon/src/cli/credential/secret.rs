//! Reads a secret: from a file, from a pipe, or from a terminal that does not show it.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

use crate::cli::failure::Failure;
use crate::cli::out::Out;
use crate::gate::protocol::Sealing;
use crate::keys;

/// No real key comes near this many bytes.
const LONGEST: usize = 16 << 10;

/// The real key to be sealed as `name`.
pub(super) fn read(from_file: Option<&Path>, name: &str) -> Result<Sealing, Failure> {
    if let Some(path) = from_file {
        let failed = |error| Failure::could_not(format!("{}: {error}", path.display()));
        return checked(&whole(File::open(path).map_err(failed)?).map_err(failed)?);
    }
    let stdin = io::stdin();
    let failed = |error| Failure::could_not(format!("standard input: {error}"));
    if !stdin.is_terminal() {
        return checked(&whole(stdin.lock()).map_err(failed)?);
    }
    let question = format!("the real key of {name} (not shown): ");
    let ask = || Out::stderr().raw(&crate::cli::out::harmless(&question));
    let typed = hidden(stdin.as_fd(), ask);
    Out::stderr().raw("\n")?;
    match typed? {
        Some(typed) => checked(&typed),
        None => Err(Failure::no("nothing was sealed")),
    }
}

/// All that there is, up to one byte more than is allowed. Sized once: growing would leave copies that
/// nothing wipes.
fn whole(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 2));
    from.take(LONGEST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// One line of a terminal, which does not show it; `None` where it was broken off. It is asked for only once nothing is
/// shown any more: who sees the question types.
fn hidden(
    terminal: BorrowedFd<'_>,
    ask: impl FnOnce() -> Result<(), Failure>,
) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
    let failed = |error| Failure::could_not(format!("standard input: {error}"));
    let quiet = Quiet::on(terminal).map_err(failed)?;
    ask()?;
    let mut typed = Zeroizing::new(Vec::with_capacity(LONGEST + 2));
    let mut byte = [0];
    let line = loop {
        if rustix::io::read(terminal, &mut byte).map_err(|errno| failed(errno.into()))? == 0 {
            break true;
        }
        match byte[0] {
            // Interrupt and end of input, as every terminal sends them: without ISIG they are bytes.
            0x03 => break false,
            0x04 if typed.is_empty() => break false,
            b'\n' | b'\r' | 0x04 => break true,
            0x08 | 0x7f => drop(typed.pop()),
            other if typed.len() <= LONGEST => typed.push(other),
            _ => {}
        }
    };
    drop(quiet);
    Ok(line.then_some(typed))
}

/// A terminal that shows nothing of what is typed; shows it again when dropped.
struct Quiet<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn on(terminal: BorrowedFd<'a>) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        // Signals are taken as bytes, so that none ends the process with the terminal left quiet.
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing anyway.
        if tcsetattr(self.terminal, OptionalActions::Flush, &self.before).is_err() {}
    }
}

/// A key as providers write them: one line of printable characters.
pub(super) fn checked(bytes: &[u8]) -> Result<Sealing, Failure> {
    let line = bytes.trim_ascii();
    if line.is_empty() {
        return Err(Failure::usage(
            "there is no key: it is read from standard input, or with --from-file FILE",
        ));
    }
    if line.len() > LONGEST {
        return Err(Failure::usage(format!("that is no key: it is longer than {LONGEST} bytes")));
    }
    if !line.iter().all(u8::is_ascii_graphic) {
        return Err(Failure::usage(
            "that is no key: one line of printable characters is wanted, and nothing else",
        ));
    }
    // It is ASCII, so this keeps every byte.
    let text = Sealing(String::from_utf8_lossy(line).into_owned());
    if keys::is_virtual(&text.0) {
        return Err(Failure::usage("that is a virtual key: the real one is wanted"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

    use super::*;

    #[test]
    fn a_key_is_one_line_of_printable_characters() {
        assert_eq!(checked(b"sk-proj-1\r\n").unwrap().0, "sk-proj-1");
        for wrong in
            [&b""[..], b"\n", b"a b", b"a\nb", b"a\0b", "ü".as_bytes(), &vec![b'x'; LONGEST + 1]]
        {
            assert!(checked(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_key_that_is_typed_as_soon_as_it_is_asked_for_is_taken_and_not_shown() {
        let how = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let keyboard = openpt(how).unwrap();
        unlockpt(&keyboard).unwrap();
        let terminal = ioctl_tiocgptpeer(&keyboard, how).unwrap();
        let asked = || tcgetattr(&terminal).unwrap().local_modes;
        let shown = LocalModes::ECHO | LocalModes::ISIG;
        assert!(asked().contains(shown), "a terminal begins by showing what is typed");
        let typed = hidden(terminal.as_fd(), || {
            assert!(!asked().intersects(shown), "it is asked for while it would be shown");
            rustix::io::write(&keyboard, b"sk-typed\n").unwrap();
            Ok(())
        });
        assert_eq!(**typed.unwrap().unwrap(), *b"sk-typed");
        assert!(asked().contains(shown), "the terminal was left quiet");
    }

    #[test]
    fn what_is_wrong_with_a_key_is_said_without_it() {
        let virtual_key = format!("sk-tg-{}", "a".repeat(43));
        for wrong in [virtual_key.as_str(), "sk-canary-1 2"] {
            let said = format!("{:?}", checked(wrong.as_bytes()).unwrap_err());
            assert!(!said.contains("canary") && !said.contains("aaa"), "{said}");
        }
    }

    #[test]
    fn what_is_longer_than_a_key_is_not_read_to_its_end() {
        assert_eq!(whole(io::repeat(b'x')).unwrap().len(), LONGEST + 1);
    }
}
