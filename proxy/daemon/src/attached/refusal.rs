//! Why something is not attached.

use std::io;

use ebpf::EbpfError;

/// Why something is not attached or detached; every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Mounts or folders cannot be read.
    #[error("the cgroups of this host cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// There is no mount of cgroup v2.
    #[error("no cgroup v2 hierarchy is mounted: mount -t cgroup2 none /sys/fs/cgroup")]
    NoHierarchy,
    /// There is no such cgroup or unit.
    #[error("{what} is not there: {hint}")]
    Absent {
        /// What was asked for.
        what: String,
        /// What to do.
        hint: &'static str,
    },
    /// The folder is none of a cgroup v2 mount.
    #[error("{0} is no folder of a cgroup v2 mount: name one below {1}")]
    NoCgroup(String, String),
    /// A name that cannot be kept.
    #[error("the cgroup {0} is not named in UTF-8: attach one above it")]
    Name(String),
    /// Several cgroups are called like the unit.
    #[error("{unit} is ambiguous: name one with --cgroup: {}", .found.join(", "))]
    Ambiguous {
        /// The unit.
        unit: String,
        /// Its cgroups.
        found: Vec<String>,
    },
    /// The whole host.
    #[error(
        "the root cgroup holds the whole host and this gate: attach a slice, a service or a cgroup of your own"
    )]
    Root,
    /// The gate would redirect what it sends itself.
    #[error(
        "{asked} holds this gate ({own}), which would redirect to itself what it sends: attach a cgroup that the \
         gate is not in, or run the gate in another slice"
    )]
    Own {
        /// What was asked for.
        asked: String,
        /// The gate's cgroup.
        own: String,
    },
    /// It is not known where the gate is.
    #[error(
        "the cgroup of this gate cannot be established: /proc/self/cgroup names none of version 2"
    )]
    OwnUnknown,
    /// It is attached already, itself or with one above or below it.
    #[error(
        "{asked} overlaps with {attached}, which is attached: tollgate detach --cgroup {attached}"
    )]
    Overlaps {
        /// What was asked for.
        asked: String,
        /// What is attached.
        attached: String,
    },
    /// It is not attached.
    #[error("{asked} is not attached; attached: {}", if .attached.is_empty() { "nothing".to_owned() } else { .attached.join(", ") })]
    NotAttached {
        /// What was asked for.
        asked: String,
        /// What is.
        attached: Vec<String>,
    },
    /// The kernel's refusal.
    #[error(transparent)]
    Kernel(#[from] EbpfError),
}
