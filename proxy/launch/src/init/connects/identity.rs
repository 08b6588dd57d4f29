//! Lets a thread act with a caller's ids and without capabilities for a moment.

use rustix::{
    io::Errno,
    process::{Gid, Uid},
    thread::{CapabilitySet, CapabilitySets},
};

use super::caller::Caller;
use crate::sys;

/// Who this process is.
#[derive(Debug)]
pub(super) struct Own {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    capabilities: CapabilitySets,
}

impl Own {
    pub(super) fn current() -> Result<Self, Errno> {
        Ok(Self {
            uid: rustix::process::geteuid(),
            gid: rustix::process::getegid(),
            groups: rustix::process::getgroups()?,
            capabilities: rustix::thread::capabilities(None)?,
        })
    }

    /// Does something as the caller would. Only this thread changes, and only its effective ids, so that the caller
    /// gains no right over it.
    pub(super) fn act_as<T>(
        &self,
        caller: &Caller,
        act: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let result = self.become_caller(caller).and_then(|()| act());
        if self.become_oneself(caller).is_err() {
            // A thread that stays somebody else could act for the wrong one next time: end the run.
            sys::exit_now(crate::OWN_FAILURE);
        }
        result
    }

    /// Does something that needs no right of this process's.
    pub(super) fn without_rights<T>(
        &self,
        act: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let result = self.give_rights_up().and_then(|()| act());
        if rustix::thread::set_capabilities(None, self.capabilities).is_err() {
            sys::exit_now(crate::OWN_FAILURE);
        }
        result
    }

    fn give_rights_up(&self) -> Result<(), Errno> {
        let none = CapabilitySet::empty();
        rustix::thread::set_capabilities(
            None,
            CapabilitySets { effective: none, ..self.capabilities },
        )
    }

    fn become_caller(&self, caller: &Caller) -> Result<(), Errno> {
        if caller.groups != self.groups {
            rustix::thread::set_thread_groups(&caller.groups)?;
        }
        if caller.gid != self.gid {
            rustix::thread::set_thread_res_gid(None, caller.gid, None)?;
        }
        if caller.uid != self.uid {
            rustix::thread::set_thread_res_uid(None, caller.uid, None)?;
        }
        self.give_rights_up()
    }

    fn become_oneself(&self, caller: &Caller) -> Result<(), Errno> {
        rustix::thread::set_capabilities(None, self.capabilities)?;
        if caller.uid != self.uid {
            rustix::thread::set_thread_res_uid(None, self.uid, None)?;
        }
        if caller.gid != self.gid {
            rustix::thread::set_thread_res_gid(None, self.gid, None)?;
        }
        if caller.groups != self.groups {
            rustix::thread::set_thread_groups(&self.groups)?;
        }
        rustix::thread::set_capabilities(None, self.capabilities)
    }
}
