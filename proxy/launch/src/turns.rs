//! How long the kernel lets a thread run before another one has its turn.

use std::io;
use std::time::Duration;

use crate::sys;

/// The shortest that Linux knows (kernel 6.12; `sched_setattr(2)`).
const TURN: Duration = Duration::from_micros(100);

/// Gives this thread short turns, and the threads that it starts. It has no less of the processor, but in smaller
/// pieces, so that others wait less for theirs. A kernel before 6.12 takes it and does nothing, and so does a thread that
/// an operator has put under another policy.
///
/// # Errors
///
/// The system forbids it.
pub fn take_short_turns() -> io::Result<()> {
    sys::set_turn(u64::try_from(TURN.as_nanos()).map_err(io::Error::other)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_and_those_that_it_starts_take_short_turns_with_the_niceness_they_had() {
        let own = std::thread::spawn(|| {
            let usual = sys::turn().unwrap();
            rustix::process::setpriority_process(None, 5).unwrap();
            take_short_turns().unwrap();
            let nice = rustix::process::getpriority_process(None).unwrap();
            let started = std::thread::spawn(|| sys::turn().unwrap()).join().unwrap();
            (usual, sys::turn().unwrap(), started, nice)
        });
        let (usual, own, started, nice) = own.join().unwrap();
        assert_eq!((own, nice), (started, 5));
        // A kernel before 6.12 says 0 both times.
        assert!(usual == 0 || own == 100_000, "{usual} {own}");
    }
}
