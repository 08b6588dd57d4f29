//! Every request that arrives is a record, from its head on; tests assert on records, and wait for them.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::keys::KeySeen;

/// How the answer to a request went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// Not yet finished.
    Open,
    /// Handed to the connection to its last byte.
    Complete,
    /// The other side went away first.
    Dropped,
    /// Broken off on purpose, as the script says.
    Broken,
}

/// One request as it arrived.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// Which connection carried it, counted from 1.
    pub connection: u64,
    /// The protocol agreed in the handshake: `h2`, `http/1.1` or empty.
    pub alpn: String,
    /// The name in the handshake.
    pub sni: String,
    /// The request's method.
    pub method: String,
    /// The name in `:authority` or `Host`.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// The headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body, once it is whole.
    pub body_len: Option<usize>,
    /// SHA-256 of the body in hexadecimal, once it is whole.
    pub body_sha256: Option<String>,
    /// The body as text, where it is text.
    pub body: Option<String>,
    /// Whether the real key came with it.
    pub key: KeySeen,
    /// The status it was answered with.
    pub status: Option<u16>,
    /// How the answer ended.
    pub finish: Finish,
}

impl Record {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Default)]
struct Inner {
    accepted: u64,
    records: Vec<Record>,
    /// Counts resets, so that a request that outlives one cannot write into its successor's record.
    epoch: u64,
}

/// Names a record within one epoch of the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordId {
    epoch: u64,
    index: usize,
}

/// The log of one provider.
#[derive(Debug, Default)]
pub struct Log {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Log {
    /// All records so far, in the order of arrival.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.lock().records.clone()
    }

    /// The records whose path begins so.
    #[must_use]
    pub fn at(&self, path: &str) -> Vec<Record> {
        self.lock().records.iter().filter(|record| record.path.starts_with(path)).cloned().collect()
    }

    /// TCP connections accepted, with or without a handshake.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.lock().accepted
    }

    /// Forgets all records and counts.
    pub fn reset(&self) {
        let mut inner = self.lock();
        *inner = Inner { epoch: inner.epoch + 1, ..Inner::default() };
        self.changed.notify_all();
    }

    /// Waits until the records satisfy `wanted` and returns them; none when `limit` passes first.
    #[must_use]
    pub fn wait(&self, limit: Duration, wanted: impl Fn(&[Record]) -> bool) -> Option<Vec<Record>> {
        let deadline = Instant::now() + limit;
        let mut inner = self.lock();
        while !wanted(&inner.records) {
            let left = deadline.checked_duration_since(Instant::now())?;
            inner =
                self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(inner.records.clone())
    }

    /// Forgets the newest record, of a question that was the test's own.
    pub fn forget_last(&self) {
        let mut inner = self.lock();
        inner.records.pop();
        self.changed.notify_all();
    }

    /// Counts a connection and returns its number.
    pub(super) fn accept(&self) -> u64 {
        let mut inner = self.lock();
        inner.accepted += 1;
        inner.accepted
    }

    pub(super) fn push(&self, record: Record) -> RecordId {
        let mut inner = self.lock();
        let id = RecordId { epoch: inner.epoch, index: inner.records.len() };
        inner.records.push(record);
        self.changed.notify_all();
        id
    }

    pub(super) fn amend(&self, id: RecordId, amend: impl FnOnce(&mut Record)) {
        let mut inner = self.lock();
        if inner.epoch == id.epoch
            && let Some(record) = inner.records.get_mut(id.index)
        {
            amend(record);
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
