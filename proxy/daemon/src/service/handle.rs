//! What the command line can ask of a running service.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::listeners::Role;
use crate::attached::Attachments;

/// Why a service ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// It was told to stop.
    Stopped,
    /// Another process has its listeners.
    HandedOver,
}

/// A running service, as others see it.
pub(crate) struct Handle {
    /// What is attached.
    pub(crate) attachments: Arc<Attachments>,
    /// Whether the gate guards a pod: nothing else is attached to it.
    pub(crate) in_pod: bool,
    sockets: Mutex<Option<Vec<(Role, SocketAddr, OwnedFd)>>>,
    leaving: watch::Sender<Option<Leaving>>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Handle {
    pub(super) fn new(
        attachments: Arc<Attachments>,
        in_pod: bool,
        sockets: Vec<(Role, SocketAddr, OwnedFd)>,
    ) -> Self {
        let (leaving, _) = watch::channel(None);
        Self { attachments, in_pod, sockets: Mutex::new(Some(sockets)), leaving }
    }

    /// The listeners, for the process that takes over; once. From then on the service is ending.
    pub(crate) fn hand_over(&self) -> Option<Vec<(Role, SocketAddr, OwnedFd)>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The listeners have reached the other process.
    pub(crate) fn handed_over(&self) {
        self.leaving.send_replace(Some(Leaving::HandedOver));
    }

    /// The service ends, for whatever reason: it is not ready from here on, and hands nothing over.
    pub(super) fn leave(&self, why: Leaving) {
        self.leaving.send_replace(Some(why));
        drop(self.hand_over());
    }

    /// Whether it is ending.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.borrow().is_some()
    }

    /// Resolves when somebody has taken over. Cancel-safe.
    pub(super) async fn left(&self) -> Leaving {
        let mut leaving = self.leaving.subscribe();
        loop {
            if let Some(why) = *leaving.borrow_and_update() {
                return why;
            }
            if leaving.changed().await.is_err() {
                return Leaving::Stopped;
            }
        }
    }
}
