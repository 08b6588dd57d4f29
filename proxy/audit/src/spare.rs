//! The next segment, filled with zeros ahead of need on a thread of its own.

use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::disk::{Disk, Folder};

/// What the file is called until it is a segment.
pub(crate) const NAME: &str = "spare";

/// Microseconds after which a fill that failed is tried again.
const RETRY: u64 = 1_000_000;

enum State {
    /// Nothing was asked for.
    None,
    Filling,
    Ready(File),
    /// It could not be filled, at this time.
    Failed(u64),
}

/// The next segment.
pub(crate) struct Spare {
    state: Arc<(Mutex<State>, Condvar)>,
    thread: Option<JoinHandle<()>>,
    folder: Arc<Folder>,
    disk: Arc<dyn Disk>,
    pub(crate) capacity: u64,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fill(folder: &Folder, disk: &dyn Disk, capacity: u64, now: u64) -> State {
    let filled = folder.make_file(NAME).and_then(|file| disk.fill(&file, capacity).map(|()| file));
    if let Ok(file) = filled {
        return State::Ready(file);
    }
    // What was filled of it holds space that the disk lacks.
    drop(folder.remove(NAME));
    State::Failed(now)
}

impl Spare {
    pub(crate) fn new(folder: Arc<Folder>, disk: Arc<dyn Disk>, capacity: u64) -> Spare {
        let state = Arc::new((Mutex::new(State::None), Condvar::new()));
        Spare { state, thread: None, folder, disk, capacity }
    }

    /// Begins to fill it, unless that is under way or done, or failed less than a second ago.
    pub(crate) fn ask(&mut self, now: u64) {
        {
            let mut state = lock(&self.state.0);
            match *state {
                State::Ready(_) | State::Filling => return,
                State::Failed(then) if now.saturating_sub(then) < RETRY => return,
                State::None | State::Failed(_) => *state = State::Filling,
            }
        }
        self.join();
        let (state, folder) = (Arc::clone(&self.state), Arc::clone(&self.folder));
        let (disk, capacity) = (Arc::clone(&self.disk), self.capacity);
        let thread = std::thread::Builder::new().name("ledger-spare".to_owned()).spawn(move || {
            let filled = fill(&folder, &*disk, capacity, now);
            // Whoever is told that it is done may take the ledger's lock next.
            drop(folder);
            *lock(&state.0) = filled;
            state.1.notify_all();
        });
        match thread {
            Ok(thread) => self.thread = Some(thread),
            Err(_) => *lock(&self.state.0) = State::Failed(now),
        }
    }

    /// Whether it is there, after waiting for a fill that is under way.
    pub(crate) fn ready(&self) -> bool {
        let mut state = lock(&self.state.0);
        while matches!(*state, State::Filling) {
            state = self.state.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        matches!(*state, State::Ready(_))
    }

    /// Hands it over.
    pub(crate) fn take(&mut self) -> Option<File> {
        let mut state = lock(&self.state.0);
        match std::mem::replace(&mut *state, State::None) {
            State::Ready(file) => Some(file),
            other @ (State::None | State::Filling | State::Failed(_)) => {
                *state = other;
                None
            }
        }
    }

    /// Waits for a fill that is under way.
    fn join(&mut self) {
        // A panic in it leaves the state as it was, and `ready` would wait for ever: nothing in
        // the thread can panic, and a thread that could not run is `Failed`.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.join();
    }
}
