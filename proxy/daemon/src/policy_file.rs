//! Reads a contract from a file, or says everything that is wrong with it: file, line, key path.

use std::path::Path;

use decide::Policy;
use decide::case::Timestamp;
use decide::policy::raw::{Bundle, Profile};
use decide::policy::{PolicyError, builtin, compile, with_profile};
use sha2::{Digest, Sha256};

use crate::yaml;
pub use crate::yaml::Fault as PolicyFault;

/// A contract's text, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// The file, or what stands for it.
    pub name: String,
    /// What is written.
    pub text: String,
}

impl PolicyFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// It cannot be read, is not a file, is too long or is not text.
    pub fn read(path: &Path) -> Result<Self, PolicyFault> {
        let name = path.display().to_string();
        let text = yaml::read(path)?;
        Ok(Self { name, text })
    }

    /// The contract that holds where no other is given.
    #[must_use]
    pub fn builtin() -> Self {
        Self { name: "built in (starter)".to_owned(), text: builtin::STARTER.to_owned() }
    }

    /// SHA-256 of the bytes of the file.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.text.as_bytes()).into()
    }

    /// Compiles it as of `now`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, in the order of the file.
    pub fn compile(&self, now: Timestamp) -> Result<Policy, Vec<PolicyFault>> {
        let bundle: Bundle = self.parse()?;
        compile(&bundle, now).map_err(|errors| self.placed(errors))
    }

    fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, Vec<PolicyFault>> {
        yaml::parse(&self.name, &self.text).map_err(|fault| vec![fault])
    }

    fn placed(&self, errors: Vec<PolicyError>) -> Vec<PolicyFault> {
        let places = yaml::Places::of(&self.text);
        let place = |error: PolicyError| PolicyFault {
            file: self.name.clone(),
            at: places.as_ref().and_then(|places| places.find(&error.path)),
            path: Some(error.path),
            message: error.message,
        };
        let mut faults: Vec<_> = errors.into_iter().map(place).collect();
        faults.sort_by_key(|fault| fault.at);
        faults
    }
}

/// Adds the built-in profile `name` to `policy`; `None` where there is no such profile.
///
/// # Errors
///
/// The profile is faulty, which a test of this package excludes.
#[must_use]
pub fn add_profile(policy: &Policy, name: &str) -> Option<Result<Policy, Vec<PolicyFault>>> {
    let text = builtin::profile(name)?;
    let file = PolicyFile { name: format!("built in (profile {name})"), text: text.to_owned() };
    let added = file
        .parse::<Profile>()
        .and_then(|profile| with_profile(policy, &profile).map_err(|errors| file.placed(errors)));
    Some(added)
}

#[cfg(test)]
mod tests;
