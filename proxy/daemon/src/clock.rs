//! Time and randomness: the only callers of the system's clock and of its random numbers.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use decide::case::Timestamp;

/// Where the gate takes the time from, so that tests own it.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(|| {
            #[expect(
                clippy::disallowed_methods,
                reason = "this is the one place that reads the clock"
            )]
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
        }))
    }

    /// A clock that asks `read`.
    #[must_use]
    pub fn from_fn(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

/// Fills `N` bytes from the operating system's random numbers.
///
/// # Errors
///
/// The operating system has none to give; nothing may go on without them.
pub fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(std::io::Error::from)?;
    Ok(bytes)
}

/// Ids for which random numbers are fetched at once.
const IDS: usize = 64;

thread_local! {
    /// Random numbers for ids: an id is no secret, so these may lie here for a while.
    static FETCHED: RefCell<([[u8; 16]; IDS], usize)> = const { RefCell::new(([[0; 16]; IDS], 0)) };
}

/// A new ULID of `now`: the id of a decision or a run.
///
/// # Errors
///
/// As [`random`].
pub fn ulid(now: Timestamp) -> std::io::Result<String> {
    let random = u128::from_be_bytes(fetched()?);
    Ok(ulid::Ulid::from_parts(now.0 / 1000, random).to_string())
}

/// Random numbers that nobody else is given.
fn fetched() -> std::io::Result<[u8; 16]> {
    FETCHED.with_borrow_mut(|(numbers, left)| {
        if *left == 0 {
            getrandom::fill(numbers.as_flattened_mut()).map_err(std::io::Error::from)?;
            *left = IDS;
        }
        *left -= 1;
        Ok(numbers.get(*left).copied().unwrap_or_default())
    })
}
