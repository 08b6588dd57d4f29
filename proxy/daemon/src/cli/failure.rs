//! How a command ends, and what is said when it does not end well.

use std::fmt;
use std::io;

use crate::folder::FolderError;
use crate::gate::client::ClientError;
use crate::gate::socket::KeyError;

/// The exit codes of every command but `exec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// The answer is no: refused, invalid, falls short, not found.
    No = 1,
    /// Wrong use.
    Usage = 2,
    /// Could not: privileges, kernel, disk.
    Could = 3,
}

/// Why a command stops early.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    what: Vec<String>,
    next: Option<String>,
}

impl Failure {
    /// The answer is no.
    pub(crate) fn no(what: impl fmt::Display) -> Self {
        Self { exit: Exit::No, what: vec![what.to_string()], next: None }
    }

    /// Wrong use.
    pub(crate) fn usage(what: impl fmt::Display) -> Self {
        Self { exit: Exit::Usage, what: vec![what.to_string()], next: None }
    }

    /// It could not be done.
    pub(crate) fn could_not(what: impl fmt::Display) -> Self {
        Self { exit: Exit::Could, what: vec![what.to_string()], next: None }
    }

    /// The same with more than one thing wrong.
    pub(crate) fn with_all(mut self, more: impl IntoIterator<Item = String>) -> Self {
        self.what.extend(more);
        self
    }

    /// The same with the next command to type.
    pub(crate) fn then(mut self, next: impl fmt::Display) -> Self {
        self.next = Some(next.to_string());
        self
    }

    /// Printing failed. Where the reader has gone, all that it wanted is done.
    pub(crate) fn print(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { exit: Exit::Done, what: Vec::new(), next: None };
        }
        Self::could_not(format!("cannot print: {error}"))
    }

    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    /// What is wrong, one a line.
    pub(crate) fn what(&self) -> &[String] {
        &self.what
    }

    /// The next command to type.
    pub(crate) fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        if !matches!(error, FolderError::Absent(_)) {
            return Self::could_not(error);
        }
        Self::could_not(format!("no state: {error}")).then(
            "name the state folder with --state DIR, or begin with `tollgate exec -- COMMAND`",
        )
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::could_not(error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::could_not(error)
    }
}

/// What a command ends with.
pub(crate) type Ended = Result<Exit, Failure>;
