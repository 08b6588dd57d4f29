//! The last lines of a run, on standard error.

use audit::{MasterKey, Reader};
use decide::case::MicroUsd;

use crate::cli::out::{Line, Out, counted, grouped};
use crate::folder::StateFolder;
use crate::gate::protocol::Summary;
use crate::gate::socket::load_or_make_master_key;
use crate::record::{SharedPort, SharedWay};

/// Prints how the run went.
pub(super) fn print(summary: &Summary, state: &StateFolder, changed: &[String]) {
    let mut err = Out::stderr();
    let lines = lines(summary, &chain(summary, state));
    for line in lines.iter().chain(changed) {
        // Where standard error is closed nobody wants to know.
        drop(err.line(&Line::of(line)));
    }
}

fn lines(summary: &Summary, chain: &str) -> Vec<String> {
    let limit = summary.limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
    let doubt = match summary.in_doubt {
        MicroUsd(0) => String::new(),
        amount => format!(" · up to {} in doubt", cents(amount)),
    };
    let first = format!(
        "tollgate: {} to {}, {} tokens, ≈ {}{limit} (prices of {}){doubt} · {} refused · {chain}",
        counted(summary.requests, "request", "requests"),
        counted(summary.models.len() as u64, "model", "models"),
        grouped(summary.tokens),
        cents(summary.spent),
        summary.prices_of,
        grouped(summary.refused),
    );
    let mut lines = vec![first];
    lines.extend(
        summary
            .refusals
            .iter()
            .map(|(what, id)| format!("          refused: {what}     why: tollgate inspect {id}")),
    );
    lines.extend(
        summary
            .observed
            .iter()
            .map(|(what, count)| format!("          would be refused: {what}{}", times(*count))),
    );
    lines.extend(summary.distrusted.iter().map(|(host, count)| {
        format!("          not trusted: {host}{}     {}", times(*count), untrusting(host))
    }));
    lines.extend(summary.ports.iter().map(port));
    lines
}

/// What the user of a program does that does not take the gate's certificate.
fn untrusting(host: &str) -> String {
    format!(
        "the program has certificates of its own: give it those of `tollgate ca`, or --allow {host}:443:opaque"
    )
}

fn port(shared: &SharedPort) -> String {
    let SharedPort { port, way, connections, written, read } = shared;
    let what = match way {
        SharedWay::Reach => "reached",
        SharedWay::Publish => "published",
    };
    format!(
        "          port {port} {what}: {}, {} bytes from the command, {} to it",
        counted(*connections, "connection", "connections"),
        grouped(*written),
        grouped(*read),
    )
}

fn times(count: u64) -> String {
    if count > 1 { format!(" ({} times)", grouped(count)) } else { String::new() }
}

/// Rounded up to a cent, or exact below ten cents.
fn cents(amount: MicroUsd) -> String {
    const CENT: u64 = 10_000;
    if amount.0 < 10 * CENT {
        amount.to_string()
    } else {
        MicroUsd(amount.0.div_ceil(CENT) * CENT).to_string()
    }
}

/// Reads the run's entries back from disk, with every hash and link.
fn chain(summary: &Summary, state: &StateFolder) -> String {
    let Some((from, to)) = summary.entries else {
        return "its end could not be recorded: tollgate audit verify".to_owned();
    };
    let read = || -> Option<u64> {
        let key = load_or_make_master_key(state).ok()?;
        let mut reader = Reader::open(&state.path(), &MasterKey::new(*key), from).ok()?;
        let (mut count, mut previous) = (0, None);
        while let Some(entry) = reader.next().ok()? {
            if previous.is_some_and(|hash| hash != entry.prev) {
                return None;
            }
            previous = Some(entry.hash);
            count += 1;
            if entry.seq == to {
                return Some(count);
            }
        }
        None
    };
    match read() {
        Some(_) => "chain valid".to_owned(),
        None => "chain NOT valid: tollgate audit verify".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_was_spent_and_what_was_refused() {
        let summary = Summary {
            requests: 14,
            models: vec!["a".into(), "b".into()],
            tokens: 38_112,
            spent: MicroUsd(402_113),
            limit: Some(MicroUsd(5_000_000)),
            prices_of: "2026-11-20".into(),
            refused: 1,
            refusals: vec![(
                "destination: pastebin.com (not in the contract)".into(),
                "01JD".into(),
            )],
            distrusted: vec![("pinned.example".into(), 3)],
            ports: vec![SharedPort {
                port: 5432,
                way: SharedWay::Reach,
                connections: 1,
                written: 1234,
                read: 5,
            }],
            ..Summary::default()
        };
        assert_eq!(
            lines(&summary, "chain valid"),
            [
                "tollgate: 14 requests to 2 models, 38,112 tokens, ≈ $0.41 of $5.00 (prices of 2026-11-20) · 1 refused · chain valid",
                "          refused: destination: pastebin.com (not in the contract)     why: tollgate inspect 01JD",
                "          not trusted: pinned.example (3 times)     the program has certificates of its own: give it those of `tollgate ca`, or --allow pinned.example:443:opaque",
                "          port 5432 reached: 1 connection, 1,234 bytes from the command, 5 to it",
            ]
        );
    }
}
