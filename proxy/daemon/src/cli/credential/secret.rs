//! Reads a secret: from a file, from a pipe, or from a terminal that does not show it.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
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
    // Before the question: who answers at once is not shown either.
    let quiet = Quiet::on(&stdin).map_err(failed)?;
    Out::stderr().raw(&crate::cli::out::harmless(&question))?;
    let typed = line(&stdin);
    drop(quiet);
    Out::stderr().raw("\n")?;
    match typed.map_err(failed)? {
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

/// One line of a terminal that is [`Quiet`]; `None` where it was broken off.
fn line(stdin: &io::Stdin) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut typed = Zeroizing::new(Vec::with_capacity(LONGEST + 2));
    let mut byte = [0];
    let whole = loop {
        if rustix::io::read(stdin.as_fd(), &mut byte)? == 0 {
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
    Ok(whole.then_some(typed))
}

/// A terminal that shows nothing of what is typed; shows it again when dropped.
struct Quiet<'a> {
    terminal: &'a io::Stdin,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn on(terminal: &'a io::Stdin) -> io::Result<Self> {
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
