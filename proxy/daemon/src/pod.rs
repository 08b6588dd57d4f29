//! The gate in a pod: what shuts the pod in, who is in it, and what the kernel says of its connections.

mod exempt;
mod file;
mod guard;
mod mode;

pub(crate) use guard::{Came, Pod, standing, translated};
pub use mode::Mode;

/// Why a gate does not start in a pod; every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// There is no pod file.
    #[error(
        "{0} is not there: run tollgate-init install in an init container of this pod, and mount the folder that it writes into"
    )]
    Absent(String),
    /// It cannot be read.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody else may have written it.
    #[error(
        "{0} is no file of this user's or root's that nobody else may write: mount its folder in the installer's and the gate's containers only"
    )]
    Foreign(String),
    /// It says nothing that this gate understands.
    #[error("{path} {why}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The pod is shut in less well than it must be.
    #[error(
        "the pod is shut in by {mode} ({why}), and pod.minimum is {minimum}: give the node what the stronger mode needs \
         (tollgate check), or set pod.minimum: {mode} and take the capabilities at admission"
    )]
    Weak {
        /// The mode in force.
        mode: Mode,
        /// What the installer says of it.
        why: String,
        /// The least that the configuration accepts.
        minimum: Mode,
    },
    /// The kernel programs that the installer pinned cannot be used.
    #[error("the pod's kernel programs cannot be used: {0}")]
    Kernel(#[from] ebpf::EbpfError),
    /// The queues of its interfaces cannot be held.
    #[error(
        "AF_XDP cannot be held, as the installer asks for: {0}; give the gate CAP_NET_RAW, and let it lock 4 KiB of \
         memory for each queue (RLIMIT_MEMLOCK)"
    )]
    Xdp(std::io::Error),
    /// The gate cannot be told apart from the agent.
    #[error("the gate cannot tell its own connections from the agent's: {0}")]
    Myself(&'static str),
}
