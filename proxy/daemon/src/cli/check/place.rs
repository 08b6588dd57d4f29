//! Where state lies, whether there is room, whether the clock can be right, and whom TLS trusts.

use std::fs;
use std::path::Path;

use decide::case::Timestamp;

use super::Item;
use crate::cli::common::Common;
use crate::cli::when;
use crate::clock::Clock;
use crate::folder::{Make, StateFolder};
use crate::gate::socket::{KeyError, load_master_key};
use crate::ledger_view::{LedgerView, ViewError, time};

/// Below this a gate soon stops; one segment of the ledger has 16 MiB.
const LEAST: u64 = 128 << 20;
/// Below this it is time to look.
const LITTLE: u64 = 1 << 30;

/// Whether the state folder is safe, and has its key.
pub(super) fn state(common: &Common) -> Item {
    const NAME: &str = "state folder";
    let path = match common.path() {
        Ok(path) => path,
        Err(error) => {
            return Item::failure(NAME, error.what().join(" "), "tollgate check --state DIR");
        }
    };
    let shown = path.display().to_string();
    if !path.exists() {
        return Item::good(NAME, format!("{shown}, made by the first run"));
    }
    let state = match StateFolder::open(&path, Make::Never, None) {
        Ok(state) => state,
        Err(error) => return Item::failure(NAME, error.to_string(), format!("ls -ld {shown}")),
    };
    match load_master_key(&state) {
        Ok(_) => Item::good(NAME, shown),
        Err(KeyError::Absent(_)) => Item::good(NAME, format!("{shown}, empty")),
        Err(error) => Item::failure(NAME, error.to_string(), format!("ls -l {shown}")),
    }
}

/// Whether there is room for the ledger.
pub(super) fn disk(common: &Common) -> Item {
    const NAME: &str = "disk";
    let Ok(path) = common.path() else {
        return Item::failure(
            NAME,
            "unknown: there is no state folder",
            "tollgate check --state DIR",
        );
    };
    // Before the first run the folder is not there: the room is that of the one above.
    let there = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let next = format!("df -h {}", there.display());
    match rustix::fs::statvfs(there) {
        Ok(room) => judge_room(room.f_bavail.saturating_mul(room.f_frsize), room.f_favail, next),
        Err(error) => Item::failure(NAME, format!("{}: {error}", there.display()), next),
    }
}

fn judge_room(bytes: u64, files: u64, next: String) -> Item {
    const NAME: &str = "disk";
    let free = format!("{} MiB free", crate::cli::out::grouped(bytes >> 20));
    if files < 100 {
        Item::failure(NAME, format!("{files} files can be made: too few"), next)
    } else if bytes < LEAST {
        Item::failure(NAME, format!("{free}: a full disk stops the gate"), next)
    } else if bytes < LITTLE {
        Item::warning(NAME, format!("{free}: little for a ledger"), next)
    } else {
        Item::good(NAME, free)
    }
}

/// Whether the clock can be right: not before this program was put here, nor before what the
/// ledger says has happened.
pub(super) fn clock(common: &Common, terminal: bool) -> Item {
    let now = Clock::system().now();
    let newest = match newest(common) {
        Ok(newest) => newest,
        Err(error) => {
            return Item::failure("clock", format!("the ledger: {error}"), "tollgate audit verify");
        }
    };
    judge_clock(now, installed(), newest, terminal)
}

fn judge_clock(
    now: Timestamp,
    installed: Option<Timestamp>,
    newest: Option<Timestamp>,
    terminal: bool,
) -> Item {
    const NAME: &str = "clock";
    const NEXT: &str = "timedatectl set-ntp true";
    let shown = when::shown(now, terminal);
    match (installed, newest) {
        (_, Some(newest)) if now < newest => Item::failure(
            NAME,
            format!(
                "{shown} is before the newest entry of the ledger, {}",
                when::shown(newest, terminal)
            ),
            NEXT,
        ),
        (Some(installed), _) if now < installed => Item::failure(
            NAME,
            format!(
                "{shown} is before this program was made, {}",
                when::shown(installed, terminal)
            ),
            NEXT,
        ),
        (_, _) => Item::good(NAME, shown),
    }
}

/// When this program was put here.
fn installed() -> Option<Timestamp> {
    let changed = fs::metadata("/proc/self/exe").and_then(|meta| meta.modified()).ok()?;
    let since = changed.duration_since(std::time::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_micros()).ok().map(Timestamp)
}

/// When the newest entry was made, if there is a ledger.
fn newest(common: &Common) -> Result<Option<Timestamp>, ViewError> {
    let Ok(path) = common.path() else { return Ok(None) };
    let Ok(state) = StateFolder::open(&path, Make::Never, None) else { return Ok(None) };
    let mut ledger = match LedgerView::open(&state) {
        Ok(ledger) => ledger,
        // The item of the state folder says what is wrong with the key.
        Err(ViewError::Empty(_) | ViewError::Key(_)) => return Ok(None),
        Err(error @ ViewError::Files(_)) => return Err(error),
    };
    let mut newest = None;
    while let Some(entry) = ledger.next()? {
        newest = Some(time(&entry));
    }
    Ok(newest)
}

/// Whether there are authorities to verify upstreams against.
pub(super) fn authorities() -> Item {
    const NAME: &str = "authorities";
    let found = rustls_native_certs::load_native_certs();
    let count = found.certs.len();
    if count > 0 {
        return Item::good(NAME, format!("{count} of this system verify upstreams"));
    }
    let why = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
    Item::failure(
        NAME,
        format!("no certificate authority is known here, so no upstream can be verified{why}"),
        "apt-get install ca-certificates",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::Level;

    #[test]
    fn little_room_is_a_warning_and_none_a_failure() {
        for (bytes, files, level) in [
            (10 << 30, 1000, Level::Good),
            (512 << 20, 1000, Level::Warning),
            (64 << 20, 1000, Level::Failure),
            (10 << 30, 3, Level::Failure),
        ] {
            assert_eq!(judge_room(bytes, files, String::new()).level, level, "{bytes} {files}");
        }
    }

    #[test]
    fn a_clock_before_what_has_happened_is_wrong() {
        let at = |seconds: u64| Some(Timestamp(seconds * 1_000_000));
        for (installed, newest, level) in [
            (at(50), at(60), Level::Good),
            (None, None, Level::Good),
            (at(101), None, Level::Failure),
            (at(50), at(101), Level::Failure),
        ] {
            assert_eq!(judge_clock(Timestamp(100_000_000), installed, newest, false).level, level);
        }
    }
}
