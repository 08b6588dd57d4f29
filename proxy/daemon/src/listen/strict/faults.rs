//! What is wrong with the framing of a connection's requests, for the exchange that carries each.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use decide::case::EnvelopeFault;

/// The one fault of a connection: nothing is read of it after that.
#[derive(Debug, Default)]
pub struct Faults {
    found: OnceLock<(u64, EnvelopeFault)>,
    /// Requests that hyper handed on.
    requests: AtomicU64,
    /// The last request was for a tunnel, and it was opened.
    tunnel: AtomicBool,
}

impl Faults {
    /// The next request, in the order in which they came.
    pub fn next(self: &Arc<Self>) -> Framed {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        Framed { faults: Arc::clone(self), request }
    }

    pub(super) fn any(&self) -> bool {
        self.found.get().is_some()
    }

    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Ordering::Acquire)
    }

    /// The fault, with the number of its request.
    #[cfg(test)]
    pub(super) fn entered(&self) -> Option<(u64, EnvelopeFault)> {
        self.found.get().cloned()
    }

    /// Enters the fault of a request before hyper sees of it what the fault leaves.
    pub(super) fn found(&self, request: u64, fault: EnvelopeFault) {
        self.found.get_or_init(|| (request, fault));
    }
}

/// How one request is framed.
#[derive(Debug, Clone)]
pub struct Framed {
    faults: Arc<Faults>,
    request: u64,
}

impl Framed {
    /// What follows this request is no request any more: it was a CONNECT, and is granted.
    pub fn open_tunnel(&self) {
        self.faults.tunnel.store(true, Ordering::Release);
    }

    /// What is wrong with it, as far as it was read. Of a body it is known once the body's end, or its failure, is.
    #[must_use]
    pub fn fault(&self) -> Option<EnvelopeFault> {
        let found = self.faults.found.get().filter(|(request, _)| *request == self.request);
        found.map(|(_, fault)| fault.clone())
    }
}
