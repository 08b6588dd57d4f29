//! A client that asks and gives up, again and again, costs an exchange each time (CVE-2023-44487).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

/// What is left of the gate's patience with one client.
#[derive(Debug, Clone)]
pub(super) struct Patience(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: u32,
    /// Requests given up, less those whose answer began.
    given_up: AtomicU32,
    lost: Notify,
}

impl Patience {
    /// For so many requests.
    pub(super) fn of(most: u32) -> Self {
        Self(Arc::new(Shared { most, given_up: AtomicU32::new(0), lost: Notify::new() }))
    }

    /// The answer, and whether the client waited for it.
    pub(super) fn waits<F: Future>(&self, answer: F) -> impl Future<Output = F::Output> + use<F> {
        let asked = Asked { shared: Arc::clone(&self.0), answered: false };
        async move {
            let mut asked = asked;
            let answer = answer.await;
            asked.answered = true;
            answer
        }
    }

    /// Resolves when there is none left.
    pub(super) async fn lost(&self) {
        self.0.lost.notified().await;
    }
}

/// A request whose answer has not begun.
struct Asked {
    shared: Arc<Shared>,
    answered: bool,
}

impl Drop for Asked {
    fn drop(&mut self) {
        let Shared { most, given_up, lost } = &*self.shared;
        if self.answered {
            let before = given_up.load(Ordering::Relaxed);
            if before > 0 {
                // Two at once may count as one, which is no harm.
                given_up.store(before - 1, Ordering::Relaxed);
            }
        } else if given_up.fetch_add(1, Ordering::Relaxed) >= *most {
            lost.notify_one();
        }
    }
}
