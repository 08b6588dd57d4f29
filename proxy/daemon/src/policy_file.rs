//! Reads a contract from a file, or says everything that is wrong with it: file, line, key path.

mod places;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use decide::Policy;
use decide::case::Timestamp;
use decide::policy::raw::{Bundle, Profile};
use decide::policy::{PolicyError, builtin, compile, with_profile};
use sha2::{Digest, Sha256};

use places::Places;

/// The most bytes of a contract.
const LONGEST: u64 = 1 << 20;

/// One thing that is wrong with a contract's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFault {
    /// The file, or what stands for it.
    pub file: String,
    /// Line and column, from 1, where known.
    pub at: Option<(u64, u64)>,
    /// The key path, where known: `agents.refund-bot.budgets.run`.
    pub path: Option<String>,
    /// What is wrong there, and what to do.
    pub message: String,
}

impl fmt::Display for PolicyFault {
    /// `policy.yaml:12:5: agents.refund-bot.tools: is not a key of this version; remove it`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        match &self.path {
            Some(path) if !path.is_empty() => write!(f, ": {path}: {}", self.message),
            Some(_) | None => write!(f, ": {}", self.message),
        }
    }
}

impl std::error::Error for PolicyFault {}

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
        let fault =
            |message: String| PolicyFault { file: name.clone(), at: None, path: None, message };
        let file = File::open(path).map_err(|error| fault(format!("cannot be read: {error}")))?;
        let is_file = file.metadata().is_ok_and(|meta| meta.is_file());
        if !is_file {
            return Err(fault("is not a file".to_owned()));
        }
        let mut bytes = Vec::new();
        file.take(LONGEST + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| fault(format!("cannot be read: {error}")))?;
        if bytes.len() as u64 > LONGEST {
            return Err(fault(format!("is longer than {LONGEST} bytes, which no contract is")));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            fault(format!("is not UTF-8 text at byte {}", error.utf8_error().valid_up_to()))
        })?;
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
        serde_saphyr::from_str(&self.text).map_err(|error| vec![self.unread(&error)])
    }

    /// What the reader could not make sense of.
    fn unread(&self, error: &serde_saphyr::Error) -> PolicyFault {
        let at = error.location().map(|at| (at.line(), at.column())).filter(|at| at.0 > 0);
        let path = at.and_then(|at| Places::of(&self.text)?.path_at(at));
        let options = serde_saphyr::RenderOptions::new(&serde_saphyr::UserMessageFormatter);
        let said = error.without_snippet().render_with_options(options);
        let said = said.split_once(" at line ").map_or(said.as_str(), |(said, _)| said);
        let message = said.lines().next().unwrap_or("cannot be read").to_owned();
        PolicyFault { file: self.name.clone(), at, path, message }
    }

    fn placed(&self, errors: Vec<PolicyError>) -> Vec<PolicyFault> {
        let places = Places::of(&self.text);
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

/// Reads and compiles the contract at `path` as of `now`.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn load(path: &Path, now: Timestamp) -> Result<Policy, Vec<PolicyFault>> {
    PolicyFile::read(path).map_err(|fault| vec![fault])?.compile(now)
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
