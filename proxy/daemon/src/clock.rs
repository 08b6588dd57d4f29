//! Time and randomness: the only callers of the system's clock and of its random numbers.

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

/// A new ULID of `now`: the id of a decision or a run.
///
/// # Errors
///
/// As [`random`].
pub fn ulid(now: Timestamp) -> std::io::Result<String> {
    let random = u128::from_be_bytes(random::<16>()?);
    Ok(ulid::Ulid::from_parts(now.0 / 1000, random).to_string())
}
