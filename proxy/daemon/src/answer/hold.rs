//! What of an answer waits until it is decided, within a bound.

use bytes::Bytes;
use decide::stream::{Holdback, Kind};

/// The most bytes of an answer that may wait. What is in doubt for longer than this, in an answer
/// that goes on beside it, cannot be told from a way to fill memory.
const WAITING: usize = 4 << 20;

/// Events that wait, and how many bytes they are.
#[derive(Debug, Default)]
pub(super) struct Hold {
    events: Holdback<Bytes>,
    bytes: usize,
}

/// More waits than is held.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {WAITING} bytes of an answer wait to be decided")]
pub(super) struct TooMuch;

impl Hold {
    /// Takes an event, as [`Holdback::push`], and adds to `ready` what may be written now.
    pub(super) fn push(
        &mut self,
        (number, event): (u64, Bytes),
        kind: Kind,
        waits_from: Option<u64>,
        ready: &mut Vec<Bytes>,
    ) -> Result<(), TooMuch> {
        self.bytes += event.len();
        for event in self.events.push(number, event, kind, waits_from) {
            self.bytes -= event.len();
            ready.push(event);
        }
        if self.bytes > WAITING { Err(TooMuch) } else { Ok(()) }
    }

    /// The answer ended and nothing was cut: everything that waited.
    pub(super) fn end(&mut self) -> impl Iterator<Item = Bytes> {
        self.bytes = 0;
        self.events.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_what_is_released_does_not_count() {
        let (mut hold, mut ready) = (Hold::default(), Vec::new());
        let event = |number| (number, Bytes::from(vec![b'x'; 1 << 20]));
        for number in 0..8 {
            assert_eq!(hold.push(event(number), Kind::Content, None, &mut ready), Ok(()));
        }
        assert_eq!(ready.len(), 8);
        for number in 8..12 {
            assert_eq!(hold.push(event(number), Kind::Content, Some(8), &mut ready), Ok(()));
        }
        assert_eq!(hold.push(event(12), Kind::Content, Some(8), &mut ready), Err(TooMuch));
        assert_eq!(ready.len(), 8);
    }
}
