//! Proves that a pod is behind its gate: one try that must arrive there, and all that must not leave.

use std::{path::PathBuf, time::Duration};

use serde::Serialize;

use crate::{
    capability::{self, NET_ADMIN},
    mode::Mode,
    net::{Network, NetworkError},
    nft::{Nft, NftError},
    pod_file::{PodFile, PodFileError, Xdp},
    probes::{self, Finding, Outcome},
};

/// What a validation is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The file that the installation wrote.
    pub pod_file: PathBuf,
    /// The gate's user.
    pub gate_uid: u32,
    /// How long to wait for the gate.
    pub wait: Duration,
}

/// What was proven.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The mode in force.
    pub mode: Mode,
    /// Whether everything holds.
    pub holds: bool,
    /// What was tried.
    pub probes: Vec<Finding>,
}

/// Why nothing could be proven.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// A capability is missing.
    #[error("{0}")]
    Capability(String),
    /// The tries would be the gate's own.
    #[error(
        "user {0} is the gate's, and in the mode nft-user whoever is that user is the gate: run this as another user"
    )]
    IsTheGate(u32),
    /// The installation's file.
    #[error(transparent)]
    PodFile(#[from] PodFileError),
    /// The network is not known.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The floor's counters cannot be read.
    #[error(transparent)]
    Nft(#[from] NftError),
}

/// Makes all tries in the network of the calling thread.
///
/// # Errors
/// When they cannot be made at all; what they show is in the report.
pub fn validate(options: &Options) -> Result<Report, ValidateError> {
    if let Some(missing) = capability::missing(&[NET_ADMIN]) {
        return Err(ValidateError::Capability(missing));
    }
    let file = PodFile::read(&options.pod_file)?;
    if file.mode == Mode::NftUser && rustix::process::geteuid().as_raw() == options.gate_uid {
        return Err(ValidateError::IsTheGate(options.gate_uid));
    }
    let network = Network::here()?;
    let nft = Nft::find()?;
    let greeting = probes::greeting_of(file.token().reveal());
    let mut all = vec![greeting.probe(options.wait), same_interfaces(&file, &network)];
    all.extend(probes::negative(&network, &nft.counters()?, || nft.counters())?);
    if file.xdp == Xdp::Hold {
        all.iter_mut().for_each(must_be_held);
    }
    Ok(Report { mode: file.mode, holds: probes::hold(&all), probes: all })
}

/// An interface that came after the floor has no chain of its own there.
fn same_interfaces(file: &PodFile, network: &Network) -> Finding {
    let here: Vec<_> = network.interfaces.iter().map(ToString::to_string).collect();
    let outcome = if here == file.interfaces { Outcome::Holds } else { Outcome::Fails };
    Finding {
        name: "interfaces",
        expected: "those that the floor was made for",
        seen: here.join(", "),
        outcome,
    }
}

/// A gate that was told to hold every queue, and does not, leaves open what is counted as closed.
fn must_be_held(finding: &mut Finding) {
    if finding.name == probes::AF_XDP && finding.outcome == Outcome::Weaker {
        finding.outcome = Outcome::Fails;
    }
}
