//! Carries out every known way round the gate, with and without enforcement, and counts what arrives on the far side.
//!
//! A pod and a world are two network namespaces with a wire between them. A case is a program of `techniques` that
//! runs in the pod as one of its processes would; it holds if what it saw is what was promised, no frame of it was seen
//! by a packet socket in the world, and what is led to the gate arrives there with the destination that was wanted.

pub mod attempt;
pub mod case;
pub mod catalogue;
pub mod container;
pub mod enforcement;
pub mod gate;
pub mod helpers;
pub mod judge;
pub mod results;
pub mod run;
pub mod sniffer;
pub mod sys;
pub mod topology;

use std::io::Read as _;

/// A path as text, which all paths of the harness are.
///
/// # Errors
/// When it is none.
pub(crate) fn text(path: &std::path::Path) -> anyhow::Result<&str> {
    anyhow::Context::context(path.to_str(), "a path that is no text")
}

/// A number that no other attempt or run has.
///
/// # Errors
/// When the kernel gives none.
pub fn random() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}
