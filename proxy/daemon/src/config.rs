//! The configuration of one gate: a file, the environment over it, and what they mean together.

mod build;
pub mod built;
mod effective;
mod env;
mod keys;
mod page;
mod pod;
mod providers;
mod read;
mod schema;
mod shape;
mod tree;

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

pub use built::{
    BaseUrl, Config, Credential, Drain, Inbound, Limits, Listen, MasterKeyFrom, Pod, Provider,
    ProviderName, Scheme, Sink, Source, Tls, Upstream,
};

pub use page::page;
pub use schema::schema;

use crate::yaml::{self, Fault};
use build::Building;
use env::Environment;
use tree::Tree;

/// Everything that is wrong with a configuration, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Fault>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.0.iter();
        if let Some(first) = lines.next() {
            write!(f, "{first}")?;
        }
        lines.try_for_each(|fault| write!(f, "\n{fault}"))
    }
}

impl std::error::Error for ConfigErrors {}

impl Config {
    /// Reads the file at `path`, with `env` over it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with either.
    pub fn load(
        path: &Path,
        env: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigErrors> {
        let one = |fault| ConfigErrors(vec![fault]);
        let whole = std::path::absolute(path).map_err(|error| {
            one(Fault {
                file: path.display().to_string(),
                at: None,
                path: None,
                message: format!("cannot be found: {error}"),
            })
        })?;
        let text = yaml::read(path).map_err(one)?;
        let folder = whole.parent().unwrap_or(Path::new("/"));
        Self::parse(&path.display().to_string(), &text, folder, env)
    }

    /// What `text` says, which is the file `name`; its relative paths begin at `folder`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it or with `env`.
    pub fn parse(
        name: &str,
        text: &str,
        folder: &Path,
        env: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigErrors> {
        let env = Environment::new(env);
        let mut tree = Tree::parse(name, text).map_err(|fault| ConfigErrors(vec![fault]))?;
        let mut faults = env.overlay(&mut tree);
        faults.extend(shape::check(&tree));
        let mut building = Building { tree: &tree, env: &env, folder, faults };
        let config = building.config();
        let mut faults = building.faults;
        faults.sort_by_key(|fault| (fault.at.is_none(), fault.at));
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            Some(_) | None => Err(ConfigErrors(faults)),
        }
    }
}

#[cfg(test)]
mod tests;
