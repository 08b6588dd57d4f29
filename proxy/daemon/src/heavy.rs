//! Where much is read at once: on threads of their own, which give way to those that carry traffic.
//!
//! A thread that carries traffic serves all agents in turn, and while it decodes, reads or scans a body of
//! 32 MiB everybody behind it waits. So what is large goes to threads of a lower priority, on which no
//! agent has more than its share. The exchange waits for its turn without holding a thread, and has a
//! turn only while it reckons, never while it waits for money or the network.

use std::num::NonZero;
use std::sync::Arc;

use rayon_core::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most bytes that are read where traffic is carried. Reading and scanning as many takes well under a
/// millisecond; handing them over costs some ten microseconds.
pub(crate) const LARGE: usize = 256 << 10;
/// The niceness of the threads: a tenth of the weight of one that carries traffic, so that they get on
/// while others are busy, and what carries traffic preempts them when it wakes.
const NICE: i32 = 10;
/// The most threads.
const MOST: usize = 8;

/// The threads.
pub(crate) struct Heavy {
    threads: ThreadPool,
    free: Arc<Semaphore>,
}

impl std::fmt::Debug for Heavy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heavy").field("free", &self.free).finish_non_exhaustive()
    }
}

/// One for each processor, and two at least, so that one agent never holds the last.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, NonZero::get).clamp(2, MOST)
}

/// What one agent may have of the threads at once: half of them.
#[must_use]
pub(crate) fn share() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(threads() / 2))
}

impl Heavy {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// The system gives no threads.
    pub(crate) fn start() -> Result<Self, ThreadPoolBuildError> {
        let threads = threads();
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|_| "heavy".to_owned())
            .start_handler(|_| give_way())
            .build()?;
        Ok(Self { threads: pool, free: Arc::new(Semaphore::new(threads)) })
    }

    /// Waits for a turn of an agent with this `share`. Cancel-safe.
    pub(crate) async fn turn(&self, share: &Arc<Semaphore>) -> Turn<'_> {
        // Neither is ever closed. The agent's own first: who has had its share waits behind itself, and
        // not in front of others.
        let own = Arc::clone(share).acquire_owned().await.ok();
        let free = Arc::clone(&self.free).acquire_owned().await.ok();
        Turn { threads: &self.threads, _own: own, _free: free }
    }
}

/// A thread that is free for one agent.
pub(crate) struct Turn<'a> {
    threads: &'a ThreadPool,
    _own: Option<OwnedSemaphorePermit>,
    _free: Option<OwnedSemaphorePermit>,
}

impl Turn<'_> {
    /// Does `work` there. The thread that asks waits, and another carries its traffic meanwhile.
    pub(crate) fn take<T: Send>(self, work: impl FnOnce() -> T + Send) -> T {
        let there = || self.threads.install(work);
        match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(there),
            // There is no other thread that could carry traffic.
            Ok(_) | Err(_) => there(),
        }
    }
}

/// Lowers the priority of this thread. Where a sandbox forbids even that, the share alone holds.
fn give_way() {
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!(%error, "the threads for large bodies have the priority of all others");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn what_is_large_is_done_on_a_thread_that_gives_way() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let heavy = Heavy::start().unwrap();
        let (name, nice) = runtime.block_on(async {
            heavy.turn(&share()).await.take(|| {
                let name = std::thread::current().name().map(str::to_owned);
                (name, rustix::process::getpriority_process(None).unwrap())
            })
        });
        assert_eq!((name.as_deref(), nice), (Some("heavy"), NICE));
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), 0, "this one does not");
    }

    /// With one thread for traffic: what is large does not keep it.
    #[test]
    fn traffic_goes_on_while_something_large_is_read() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let heavy = Arc::new(Heavy::start().unwrap());
        let (begun, mut has_begun) = mpsc::unbounded_channel();
        let (end, ending) = std::sync::mpsc::channel::<()>();
        let ending = Mutex::new(ending);
        let reading = runtime.spawn(async move {
            heavy.turn(&share()).await.take(move || {
                begun.send(()).unwrap();
                ending.lock().unwrap().recv().unwrap();
            });
        });
        runtime.block_on(async {
            has_begun.recv().await.unwrap();
            // On the one thread, which is the reader's until it is told to end.
            tokio::spawn(async move { end.send(()).unwrap() }).await.unwrap();
            reading.await.unwrap();
        });
    }

    #[tokio::test(start_paused = true)]
    async fn one_agent_has_half_of_the_threads_and_another_finds_one_free() {
        let heavy = Heavy::start().unwrap();
        let (one, other) = (share(), share());
        let mut turns = Vec::new();
        for _ in 0..threads() / 2 {
            turns.push(heavy.turn(&one).await);
        }
        let waits = timeout(Duration::from_secs(1), heavy.turn(&one));
        assert!(waits.await.is_err(), "the agent has had its share");
        drop(timeout(Duration::from_secs(1), heavy.turn(&other)).await.unwrap());
        turns.pop();
        drop(timeout(Duration::from_secs(1), heavy.turn(&one)).await.unwrap());
    }
}
