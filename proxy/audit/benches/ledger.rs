//! Prints what the ledger costs: one append alone, many at once, and a start over a million entries.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tollgate_audit::{
    Body, Draft, Entry, Kind, Ledger, MasterKey, Opened, Options, RestoreError, Urgency, View, Who,
    verify,
};

/// Counts, as the smallest view that must not miss an entry.
struct Count(u64);

impl View for Count {
    fn apply(&mut self, _: &Entry) {
        self.0 += 1;
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let bytes =
            bytes.try_into().map_err(|_odd| RestoreError("its length is odd".to_owned()))?;
        self.0 = u64::from_be_bytes(bytes);
        Ok(())
    }
}

type Outcome<T> = Result<T, Box<dyn Error>>;

#[expect(clippy::disallowed_methods, reason = "a bench has no edge that hands it a clock")]
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn open(state: &Path) -> Outcome<Ledger> {
    let random = Arc::new(|bytes: &mut [u8]| getrandom::fill(bytes).map_err(io::Error::other));
    let options =
        Options::new(state, MasterKey::new([9; 32]), Box::new(Count(0)), Arc::new(now), random);
    match Ledger::open(options)? {
        Opened::Ready(ledger) => Ok(ledger),
        Opened::Behind(behind) => Err(format!("{:?}", behind.loss()).into()),
    }
}

/// About what a decision says.
fn draft(number: u32) -> Outcome<Draft> {
    let who = Who {
        team: Some("payments".into()),
        agent: Some("refund-bot".into()),
        key: Some("vk_01JD3Z".into()),
        run: Some("01JD3ZK8W4QYB9".into()),
        ..Who::default()
    };
    let body = Body::of(&serde_json::json!({
        "number": number, "outcome": "forward", "policy": "5f16ab3c".repeat(8),
        "trail": ["pass", "pass", "pass", "pass", "pass", "pass", "abstain", "pass", "pass", "pass", "pass", "pass", "pass"],
    }))?;
    Ok(Draft { kind: Kind::Decision, who, body, commitment: None })
}

fn show(what: &str, figure: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{what:<44} {figure}")
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
}

fn alone(state: &Path) -> Outcome<()> {
    let ledger = open(state)?;
    let mut times = Vec::new();
    for number in 0..2000 {
        let draft = draft(number)?;
        let began = Instant::now();
        ledger.append_wait(draft)?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let (half, most) = (percentile(&times, 50), percentile(&times, 99));
    show("one append alone, p50 and p99", &format!("{half:?}, {most:?}"))?;

    let file = std::fs::File::create(state.join("floor"))?;
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0; 1 << 20], 0)?;
    file.sync_all()?;
    let mut floor = Vec::new();
    for number in 0..1000u64 {
        let began = Instant::now();
        std::os::unix::fs::FileExt::write_all_at(&file, &[1; 600], number * 600)?;
        file.sync_data()?;
        floor.push(began.elapsed());
    }
    floor.sort_unstable();
    show("the disk's own write and fdatasync, p50", &format!("{:?}", percentile(&floor, 50)))?;
    Ok(())
}

fn many(state: &Path) -> Outcome<()> {
    const EACH: u32 = 400;
    let ledger = open(state)?;
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                (0..EACH).filter_map(|number| draft(number).ok()).try_for_each(|draft| {
                    let (done, wait) = std::sync::mpsc::sync_channel(1);
                    ledger.announce().append(draft, move |result| drop(done.send(result)));
                    wait.recv().ok().and_then(Result::ok).map(drop)
                })
            });
        }
    });
    let rate = f64::from(64 * EACH) / began.elapsed().as_secs_f64();
    show("64 waiters, entries a second", &format!("{rate:.0}"))?;
    Ok(())
}

fn million(state: &Path) -> Outcome<()> {
    let began = Instant::now();
    let ledger = open(state)?;
    for chunk in 0..1000 {
        for number in 0..999 {
            ledger.append(draft(chunk * 1000 + number)?, Urgency::Ride, drop);
        }
        ledger.append_wait(draft(chunk)?)?;
    }
    ledger.close();
    show("a million entries, batches of 1,000, written in", &format!("{:?}", began.elapsed()))?;
    let mut starts = Vec::new();
    for _ in 0..12 {
        let began = Instant::now();
        let ledger = open(state)?;
        starts.push(began.elapsed());
        // The start takes longest when the last segment is almost full, so go through a whole one.
        for number in 0..2999 {
            ledger.append(draft(number)?, Urgency::Ride, drop);
        }
        ledger.append_wait(draft(0)?)?;
        ledger.close();
    }
    starts.sort_unstable();
    let (half, most) = (percentile(&starts, 50), percentile(&starts, 99));
    show("start over them, p50 and slowest of 12", &format!("{half:?}, {most:?}"))?;
    let began = Instant::now();
    let report = verify(state, None, &MasterKey::new([9; 32]))?;
    show("verify them", &format!("{:?}, valid: {}", began.elapsed(), report.valid))?;
    Ok(())
}

fn main() -> Outcome<()> {
    // `cargo test --benches` runs this too, without the argument that `cargo bench` gives.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    for measure in [alone, many, million] {
        let state = tempfile::tempdir_in(".")?;
        measure(state.path())?;
    }
    Ok(())
}
