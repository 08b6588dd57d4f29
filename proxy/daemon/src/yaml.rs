//! Files that people write: read whole, and every fault of them told by file, line and key path.

mod node;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

pub(crate) use node::{Node, Places};

/// The most bytes of a file: room for the contracts of ten thousand agents.
const LONGEST: u64 = 16 << 20;

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, or what stands for it.
    pub file: String,
    /// Line and column, from 1, where known.
    pub at: Option<(u64, u64)>,
    /// The key path, where known: `agents.refund-bot.budgets.run`.
    pub path: Option<String>,
    /// What is wrong there, and what to do.
    pub message: String,
}

impl fmt::Display for Fault {
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

impl std::error::Error for Fault {}

/// The text of the file at `path`.
///
/// # Errors
///
/// It cannot be read, is not a file, is too long or is not text.
pub(crate) fn read(path: &Path) -> Result<String, Fault> {
    let fault =
        |message: String| Fault { file: path.display().to_string(), at: None, path: None, message };
    let file = File::open(path).map_err(|error| fault(format!("cannot be read: {error}")))?;
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return Err(fault("is not a file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fault(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > LONGEST {
        return Err(fault(format!("is longer than {LONGEST} bytes, which no such file is")));
    }
    String::from_utf8(bytes).map_err(|error| {
        fault(format!("is not UTF-8 text at byte {}", error.utf8_error().valid_up_to()))
    })
}

/// What `text` says, which is the file `name`.
///
/// # Errors
///
/// The first thing that the reader could not make sense of.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> Result<T, Fault> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| unread(name, text, &error))
}

/// As the library's own, with room for the contracts of ten thousand agents.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: 2_000_000, max_events: 8_000_000 },
    }
}

fn unread(name: &str, text: &str, error: &serde_saphyr::Error) -> Fault {
    let at = error.location().map(|at| (at.line(), at.column())).filter(|at| at.0 > 0);
    let path = at.and_then(|at| Places::of(text)?.path_at(at));
    let options = serde_saphyr::RenderOptions::new(&serde_saphyr::UserMessageFormatter);
    let said = error.without_snippet().render_with_options(options);
    let said = said.split_once(" at line ").map_or(said.as_str(), |(said, _)| said);
    let message = said.lines().next().unwrap_or("cannot be read").to_owned();
    Fault { file: name.to_owned(), at, path, message }
}
