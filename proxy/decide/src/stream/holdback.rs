//! Keeps an answer's events until nothing in them can become a violation any more.

use alloc::collections::VecDeque;
use alloc::collections::vec_deque::Drain;

/// Events of one answer that wait. The edge writes what [`Holdback::push`] gives it, and nothing
/// else; after a cut it drops this, and with it everything that waited.
#[derive(Debug)]
pub struct Holdback<T> {
    held: VecDeque<(u64, T)>,
}

/// What an event is to the order of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It holds a part of the answer.
    Content,
    /// It only keeps the connection alive, so it may overtake what waits.
    KeepAlive,
}

impl<T> Default for Holdback<T> {
    fn default() -> Self {
        Self { held: VecDeque::new() }
    }
}

impl<T> Holdback<T> {
    /// Takes event `number` (as the scanner was told; numbers never fall), after the scanner saw it
    /// and no watch objected. `waits_from` is the scanner's last word. Gives what may be written
    /// now, in order.
    #[must_use = "an event that is released and not written is lost"]
    pub fn push(
        &mut self,
        number: u64,
        event: T,
        kind: Kind,
        waits_from: Option<u64>,
    ) -> Released<'_, T> {
        let count = match kind {
            Kind::Content => {
                self.held.push_back((number, event));
                let free = |(number, _): &&(u64, T)| waits_from.is_none_or(|from| *number < from);
                self.held.iter().take_while(free).count()
            }
            Kind::KeepAlive => {
                self.held.push_front((number, event));
                1
            }
        };
        Released(self.held.drain(..count))
    }

    /// The answer ended and nothing was cut: everything that waited.
    #[must_use = "an event that is released and not written is lost"]
    pub fn end(&mut self) -> Released<'_, T> {
        Released(self.held.drain(..))
    }

    /// Events that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.held.len()
    }
}

/// Events that may be written, in order.
#[derive(Debug)]
pub struct Released<'a, T>(Drain<'a, (u64, T)>);

impl<T> Iterator for Released<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.next().map(|(_, event)| event)
    }
}

#[cfg(test)]
mod tests;
