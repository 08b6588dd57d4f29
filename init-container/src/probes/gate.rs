//! The try that must succeed: a connection to nobody arrives at this pod's own gate, which proves itself.

use std::{
    io::{self, Read as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    thread,
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};

use super::{Finding, Outcome};
use crate::ports;

/// Where the try goes: an address of a documentation network, at which only a gate answers.
const NOBODY: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 2), ports::INTAKE));

/// How long one try may take, and how long lies between two.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(20);

const EXPECTED: &str = "arrives at this pod's gate, which knows the token";

/// What a gate with a token says to who asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting(String);

/// Why the gate did not prove itself.
#[derive(Debug, thiserror::Error)]
pub enum GreetingError {
    /// Nothing answered.
    #[error("no gate answered: {0}")]
    Silent(#[from] io::Error),
    /// Somebody answered who does not know the token.
    #[error(
        "who answered does not know this pod's token: it is not this pod's gate, or has not read its pod file since the installation"
    )]
    Stranger,
}

/// What the gate that knows `token`, the 64 hexadecimal digits of the pod file, says: one line.
#[must_use]
pub fn greeting_of(token: &str) -> Greeting {
    Greeting(format!("tollgate {}\n", hex(&Sha256::digest(token.as_bytes()))))
}

/// Two digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |at: u8| DIGITS.get(usize::from(at)).copied();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).flatten().collect()
}

impl Greeting {
    /// The line, with its end.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.0
    }

    /// Asks, again until `until`, whether the gate is there and is this pod's.
    #[must_use]
    pub fn probe(&self, wait: Duration) -> Finding {
        let until = Instant::now() + wait;
        let answer = loop {
            match self.ask() {
                Err(GreetingError::Silent(_)) if Instant::now() < until => thread::sleep(PAUSE),
                answer => break answer,
            }
        };
        let (seen, outcome) = match answer {
            Ok(()) => ("the gate answered with the token".to_owned(), Outcome::Holds),
            Err(error) => (error.to_string(), Outcome::Fails),
        };
        Finding { name: "through_the_gate", expected: EXPECTED, seen, outcome }
    }

    fn ask(&self) -> Result<(), GreetingError> {
        let stream = TcpStream::connect_timeout(&NOBODY, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut said = Vec::new();
        // One byte more than it may be.
        let most = u64::try_from(self.0.len()).map_err(io::Error::other)? + 1;
        stream.take(most).read_to_end(&mut said)?;
        if said == self.0.as_bytes() { Ok(()) } else { Err(GreetingError::Stranger) }
    }
}
