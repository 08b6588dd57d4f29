//! Runs `nft`: one transaction by its standard input, and the counters by name.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use serde::{Deserialize, Serialize};

use crate::floor::TABLE;

#[cfg(test)]
mod tests;

/// Where nftables looks up the cgroups of its rules; it has no option for that.
pub(crate) const CGROUPS: &str = "/sys/fs/cgroup";

/// The program, and what it sees as the cgroup tree.
#[derive(Debug, Clone)]
pub struct Nft {
    program: PathBuf,
    cgroups: Option<PathBuf>,
}

/// Why the rules are not in force; those from before still are.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no such program.
    #[error(
        "the program nft is neither in PATH nor in /usr/sbin: install nftables (Debian: apt-get install nftables)"
    )]
    Absent,
    /// The process may not.
    #[error("nft is not permitted to change the rules of this network: CAP_NET_ADMIN is needed")]
    Privilege,
    /// The kernel or the program refuses them.
    #[error("nft refuses the rules: {0}")]
    Refused(String),
    /// It could not be run.
    #[error("cannot run nft: {0}")]
    Run(#[from] io::Error),
    /// Its list cannot be read.
    #[error("the list of nft cannot be read: {0}")]
    List(#[from] serde_json::Error),
}

/// Packets by counter name.
pub type Counters = BTreeMap<String, u64>;

/// What the floor dropped of somebody's sockets to one destination, in the modes without programs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Refused {
    /// Who tried.
    pub uid: u32,
    /// The number of the protocol (`/etc/protocols`).
    pub protocol: u16,
    /// Where to.
    pub destination: IpAddr,
    /// Which port; 0 where the protocol has none.
    pub port: u16,
    /// How many packets.
    pub packets: u64,
}

impl Nft {
    /// Finds the program.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn find() -> Result<Self, NftError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
        let found = folders.map(|folder| folder.join("nft")).find(|program| program.is_file());
        Ok(Self { program: found.ok_or(NftError::Absent)?, cgroups: None })
    }

    /// The same with the cgroup tree at `root` as the one that rules name: where that is not at `/sys/fs/cgroup`, the
    /// program runs in a mount namespace of its own, which takes `CAP_SYS_ADMIN`.
    #[must_use]
    pub fn with_cgroups(mut self, root: &Path) -> Self {
        self.cgroups = (root != Path::new(CGROUPS)).then(|| root.to_owned());
        self
    }

    /// Brings `text` into force in the network of the calling thread, as a whole or not at all.
    ///
    /// # Errors
    /// When it cannot be; what was in force still is.
    pub fn apply(&self, text: &str) -> Result<(), NftError> {
        self.run(&["-f", "-"], text).map(drop)
    }

    /// Asks the kernel whether it would take `text`, which it does not.
    ///
    /// # Errors
    /// When it would not.
    pub fn check(&self, text: &str) -> Result<(), NftError> {
        self.run(&["-c", "-f", "-"], text).map(drop)
    }

    /// Our counters in the network of the calling thread; none where there is no floor.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn counters(&self) -> Result<Counters, NftError> {
        let output = self.run(&["-j", "list", "counters"], "")?;
        let list: List = serde_json::from_slice(&output.stdout)?;
        let ours = list.nftables.into_iter().filter_map(|item| item.counter);
        let ours = ours.filter(|counter| counter.table == TABLE);
        Ok(ours.map(|counter| (counter.name, counter.packets)).collect())
    }

    /// What the floor remembers of what it dropped; nothing where there is none, or where programs tell it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn refused(&self) -> Result<Vec<Refused>, NftError> {
        if self.counters()?.is_empty() {
            return Ok(Vec::new());
        }
        let output = self.run(&["-j", "-n", "list", "sets", "table", "inet", TABLE], "")?;
        let list: List = serde_json::from_slice(&output.stdout)?;
        let sets = list.nftables.into_iter().filter_map(|item| item.set);
        let mut all: Vec<_> = sets.flat_map(|set| set.elem).map(|item| item.elem.into()).collect();
        all.sort();
        Ok(all)
    }

    /// The names of all chains in the network of the calling thread.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn chains(&self) -> Result<Vec<String>, NftError> {
        let output = self.run(&["-j", "list", "chains"], "")?;
        let list: List = serde_json::from_slice(&output.stdout)?;
        Ok(list
            .nftables
            .into_iter()
            .filter_map(|item| item.chain)
            .map(|chain| chain.name)
            .collect())
    }

    fn run(&self, arguments: &[&str], text: &str) -> Result<Output, NftError> {
        let output = match &self.cgroups {
            None => self.spawn(arguments, text)?,
            Some(root) => thread::scope(|scope| {
                let run = || {
                    see_cgroups_at(root)?;
                    self.spawn(arguments, text)
                };
                scope
                    .spawn(run)
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("its thread panicked")))
            })?,
        };
        if output.status.success() {
            return Ok(output);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("Operation not permitted") {
            return Err(NftError::Privilege);
        }
        // The first complaint; what follows repeats the rules.
        Err(NftError::Refused(said.lines().take(3).collect::<Vec<_>>().join(" ")))
    }

    fn spawn(&self, arguments: &[&str], text: &str) -> io::Result<Output> {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // One that ends before it has read everything says why on its standard error.
            match input.write_all(text.as_bytes()) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        child.wait_with_output()
    }
}

/// Puts the tree at `root` where nftables looks, for the calling thread and its children.
fn see_cgroups_at(root: &Path) -> io::Result<()> {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    mount(Some(root), CGROUPS, NONE, MsFlags::MS_BIND, NONE)?;
    Ok(())
}

#[derive(Deserialize)]
struct List {
    nftables: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    counter: Option<Counter>,
    chain: Option<Named>,
    set: Option<Set>,
}

#[derive(Deserialize)]
struct Set {
    #[serde(default)]
    elem: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    elem: Entry,
}

#[derive(Deserialize)]
struct Entry {
    val: Value,
    counter: Count,
}

#[derive(Deserialize)]
struct Value {
    concat: (u32, u16, IpAddr, u16),
}

#[derive(Deserialize)]
struct Count {
    packets: u64,
}

impl From<Entry> for Refused {
    fn from(Entry { val, counter }: Entry) -> Self {
        let (uid, protocol, destination, port) = val.concat;
        Self { uid, protocol, destination, port, packets: counter.packets }
    }
}

#[derive(Deserialize)]
struct Counter {
    name: String,
    table: String,
    packets: u64,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}
