//! Cgroups of this host whose TCP connections and questions for names the kernel sends to this gate.
//!
//! Nothing is pinned: the kernel takes its programs away with the gate's process, however that ends, and from then on
//! the attached cgroups go where they want. So an attachment redirects and identifies; it is no boundary, and says so
//! ([`ADVISORY`], [`UNPINNED`]).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use decide::case::Timestamp;
use ebpf::sockets::{self, Transport};
use ebpf::{Attempts, EbpfError, Links, Ports, Redirection};
use serde::{Deserialize, Serialize};

mod find;
mod refusal;
pub use refusal::AttachError;

use find::Found;

/// What an attachment is worth until packets are dropped too.
pub const ADVISORY: &str = "advisory: TCP and DNS are redirected, nothing else is dropped";
/// What becomes of it when the gate ends.
pub const UNPINNED: &str =
    "it holds while this gate runs: when the gate ends, nothing is redirected any more";

/// What to attach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A cgroup, by the path of its folder or by its own (`/system.slice/bot.service`).
    Cgroup(PathBuf),
    /// The cgroup of a systemd unit, by the unit's name; `.service` may be left out.
    Unit(String),
}

/// A cgroup that an operator attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The cgroup, as `/proc/PID/cgroup` writes it.
    pub cgroup: String,
    /// Since when it is to be redirected.
    pub at: Timestamp,
}

/// How an attachment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The programs are attached.
    Redirected,
    /// Its cgroup is not there: the unit is stopped, or was started anew and is not attached yet.
    Absent,
    /// Its cgroup is there and may not be attached; readiness says why.
    Refused,
}

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// What was attached.
    #[serde(flatten)]
    pub attachment: Attachment,
    /// How it stands.
    pub standing: Standing,
}

/// Who is behind a connection or a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The cgroup in which the process is: the attached one or one below it.
    pub cgroup: Arc<str>,
    /// The attached one.
    pub attachment: Arc<str>,
}

/// Where a redirected connection wanted to go, and who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The destination.
    pub wanted: SocketAddr,
    /// Who asked.
    pub by: Member,
}

/// All attachments of this gate.
#[derive(Debug)]
pub struct Attachments {
    ports: Ports,
    /// Loaded at the first attachment: a gate that has none needs no privilege.
    redirection: OnceLock<Redirection>,
    all: RwLock<Vec<Attached>>,
    /// Who a cgroup's id is: ids are never given twice. Emptied when an attachment changes.
    members: Mutex<HashMap<u64, Member>>,
}

#[derive(Debug)]
struct Attached {
    attachment: Attachment,
    live: Result<Live, Idle>,
}

/// Where among what is attached that is which `target` means.
fn place(all: &[Attached], target: &Target) -> Result<usize, AttachError> {
    let named = find::names(target);
    let mut meant = all.iter().enumerate().filter(|(_, one)| named.mean(&one.attachment.cgroup));
    match (meant.next(), meant.next()) {
        (Some((at, _)), None) => Ok(at),
        (None, _) => Err(not_attached(all, target)),
        (Some((_, one)), Some((_, other))) => {
            let found = [one, other].map(|one| one.attachment.cgroup.clone()).to_vec();
            Err(AttachError::Ambiguous { unit: named.to_string(), found })
        }
    }
}

fn not_attached(all: &[Attached], target: &Target) -> AttachError {
    let attached = all.iter().map(|one| one.attachment.cgroup.clone()).collect();
    AttachError::NotAttached { asked: find::names(target).to_string(), attached }
}

/// Why nothing is redirected.
#[derive(Debug, PartialEq, Eq)]
enum Idle {
    Absent,
    Refused(String),
}

#[derive(Debug)]
struct Live {
    found: Found,
    _links: Links,
}

impl Attachments {
    /// None yet, for a gate whose intake and responder listen at `ports` of `127.0.0.1` and `::1`.
    #[must_use]
    pub fn new(ports: Ports) -> Self {
        Self {
            ports,
            redirection: OnceLock::new(),
            all: RwLock::default(),
            members: Mutex::default(),
        }
    }

    /// Attaches `target`: what its processes, and those of the cgroups below, connect to from now on comes here.
    /// Connections that are open stay as they are.
    ///
    /// # Errors
    /// When there is no such cgroup, it may not be attached, or the kernel does not allow it. Nothing changes then.
    pub fn attach(&self, target: &Target, at: Timestamp) -> Result<Attachment, AttachError> {
        let found = find::find(target)?;
        let attachment = Attachment { cgroup: found.cgroup.clone(), at };
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        find::may_be_attached(&found.cgroup)?;
        if let Some(other) =
            all.iter().find(|other| overlap(&other.attachment.cgroup, &found.cgroup))
        {
            return Err(AttachError::Overlaps {
                asked: found.cgroup,
                attached: other.attachment.cgroup.clone(),
            });
        }
        let live = self.link(found)?;
        all.push(Attached { attachment: attachment.clone(), live: Ok(live) });
        self.renamed();
        Ok(attachment)
    }

    /// Takes up what was attached before a restart. What is not there now is attached as soon as it is, by
    /// [`Attachments::refresh`].
    ///
    /// Returns what may not be attached any more, and why: it is not taken up.
    pub fn restore(&self, before: Vec<Attachment>) -> Vec<(Attachment, AttachError)> {
        let mut refused = Vec::new();
        for attachment in before {
            let target = Target::Cgroup(PathBuf::from(&attachment.cgroup));
            match self.attach(&target, attachment.at) {
                Ok(_) => {}
                Err(AttachError::Absent { .. }) => {
                    let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
                    all.push(Attached { attachment, live: Err(Idle::Absent) });
                }
                Err(error) => refused.push((attachment, error)),
            }
        }
        refused
    }

    /// Detaches `target`: its new connections go direct. Those that came here are carried to their end.
    ///
    /// # Errors
    /// When it is not attached.
    pub fn detach(&self, target: &Target) -> Result<Attachment, AttachError> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let at = place(&all, target)?;
        let Attached { attachment, live } = all.remove(at);
        drop(live);
        self.forget(&all);
        Ok(attachment)
    }

    /// What is attached that `target` means.
    ///
    /// # Errors
    /// When that is nothing, or more than one.
    pub fn attached(&self, target: &Target) -> Result<Attachment, AttachError> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let at = place(&all, target)?;
        all.get(at).map(|one| one.attachment.clone()).ok_or_else(|| not_attached(&all, target))
    }

    /// Attaches again where a cgroup has come back, as that of a unit does at each start. A gap is left in which
    /// nothing of it is redirected: call this often. Returns what changed.
    ///
    /// Costs one look at a folder for each attachment.
    pub fn refresh(&self) -> Vec<Listed> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Vec::new();
        for one in all.iter_mut() {
            let target = Target::Cgroup(PathBuf::from(&one.attachment.cgroup));
            let found = find::find(&target);
            if let (Ok(found), Ok(live)) = (&found, &one.live)
                && found.id == live.found.id
            {
                continue;
            }
            let before = std::mem::replace(&mut one.live, Err(Idle::Absent));
            // Nothing is attached there while it is attached anew.
            let before = before.map(drop);
            let linked = found.and_then(|found| {
                find::may_be_attached(&found.cgroup)?;
                self.link(found)
            });
            one.live = linked.map_err(Idle::from);
            if before.as_ref().err() != one.live.as_ref().err() {
                changed.push(one.listed());
            }
        }
        if !changed.is_empty() {
            self.forget(&all);
        }
        changed
    }

    /// All of them.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(Attached::listed).collect()
    }

    /// What an operator must know before relying on them; empty when nothing is attached.
    #[must_use]
    pub fn readiness(&self) -> Vec<String> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let (mut live, mut idle) = (Vec::new(), Vec::new());
        for one in all.iter() {
            let cgroup = one.attachment.cgroup.as_str();
            match &one.live {
                Ok(_) => live.push(cgroup),
                Err(Idle::Absent) => {
                    idle.push(format!("not redirected: {cgroup}: the cgroup is not there"));
                }
                Err(Idle::Refused(why)) => idle.push(format!("not redirected: {cgroup}: {why}")),
            }
        }
        let mut lines = Vec::new();
        if !live.is_empty() {
            lines.push(format!("{ADVISORY}: {}", live.join(", ")));
        }
        lines.extend(idle);
        // The gate can be moved after it was looked at.
        let inside = live.iter().find_map(|cgroup| find::may_be_attached(cgroup).err());
        lines.extend(inside.map(|error| error.to_string()));
        lines
    }

    /// Where the connection that the intake or the responder accepted from `peer` at its local address `at` wanted to
    /// go, and who asked; or nothing: then it must be closed.
    ///
    /// One system call; the first connection from a cgroup also reads the folders of what is attached.
    #[must_use]
    pub fn origin(&self, peer: SocketAddr, at: SocketAddr) -> Option<Origin> {
        let origin = self.redirection.get()?.origin(peer, at)?;
        Some(Origin { wanted: origin.wanted, by: self.member(origin.cgroup)? })
    }

    /// Who has the socket at `peer` that talks to the gate's at `at`, both of this host: for questions over UDP and
    /// for connections that were not redirected. Nothing where that is nobody who is attached.
    ///
    /// Goes by the cgroup in which the socket was made. A few system calls.
    #[must_use]
    pub fn asker(&self, transport: Transport, peer: SocketAddr, at: SocketAddr) -> Option<Member> {
        self.redirection.get()?;
        self.member(sockets::owner(transport, peer, at)?.cgroup?)
    }

    /// What the programs refuse in whatever is attached, for one reader; nothing before the first attachment, and when
    /// it was taken before.
    #[must_use]
    pub(crate) fn attempts(&self) -> Option<Attempts> {
        self.redirection.get()?.attempts()
    }

    /// Who is in the cgroup of this id.
    pub(crate) fn member_of(&self, cgroup: u64) -> Option<Member> {
        self.member(cgroup)
    }

    fn member(&self, id: u64) -> Option<Member> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = members.get(&id) {
            return Some(known.clone());
        }
        let member = search(&all, id)?;
        if members.len() >= find::MOST_FOLDERS {
            members.clear();
        }
        members.insert(id, member.clone());
        Some(member)
    }

    /// Loads the programs once and attaches them to a folder.
    fn link(&self, found: Found) -> Result<Live, AttachError> {
        let redirection = if let Some(loaded) = self.redirection.get() {
            loaded
        } else {
            let loaded = Redirection::load(self.ports)?;
            self.redirection.get_or_init(|| loaded)
        };
        let links = redirection.attach(found.as_fd())?;
        Ok(Live { found, _links: links })
    }

    /// Forgets the connections of what is attached no longer: nobody would when they close.
    fn forget(&self, all: &[Attached]) {
        self.renamed();
        let Some(redirection) = self.redirection.get() else { return };
        // Nobody is established for them any more; what stays only fills the kernel's list.
        let forgotten: Result<(), EbpfError> = redirection.forget(|id| search(all, id).is_none());
        forgotten.unwrap_or_else(|error| tracing::error!(%error, "after a detachment"));
    }

    fn renamed(&self) {
        self.members.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Attached {
    fn listed(&self) -> Listed {
        let standing = match &self.live {
            Ok(_) => Standing::Redirected,
            Err(Idle::Absent) => Standing::Absent,
            Err(Idle::Refused(_)) => Standing::Refused,
        };
        Listed { attachment: self.attachment.clone(), standing }
    }
}

impl From<AttachError> for Idle {
    fn from(error: AttachError) -> Self {
        if let AttachError::Absent { .. } = error {
            Self::Absent
        } else {
            Self::Refused(error.to_string())
        }
    }
}

/// Whether one covers the other: programs of both would redirect what is redirected already.
fn overlap(one: &str, other: &str) -> bool {
    let (one, other) = (Path::new(one), Path::new(other));
    one.starts_with(other) || other.starts_with(one)
}

/// Finds the cgroup with this id among what is attached.
fn search(all: &[Attached], id: u64) -> Option<Member> {
    all.iter().find_map(|one| {
        let attachment: Arc<str> = one.attachment.cgroup.as_str().into();
        let found = &one.live.as_ref().ok()?.found;
        if found.id == id {
            return Some(Member { cgroup: Arc::clone(&attachment), attachment });
        }
        let cgroup = found.below(id)?.into();
        Some(Member { cgroup, attachment })
    })
}

#[cfg(test)]
mod tests;
