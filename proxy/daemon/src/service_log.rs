//! The log of `tollgate serve`: JSON lines on stderr, or lines for people where stderr is a terminal.
//!
//! Libraries that carry traffic log what they carry when they are asked for everything, so `TOLLGATE_LOG` reaches below
//! `info` for the gate's own packages only.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, filter};

/// What begins the name of every package of this repository.
const OURS: &str = "tollgate";

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    People { colour: bool },
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `TOLLGATE_LOG` cannot be read.
    #[error("TOLLGATE_LOG={0:?} is no filter such as `debug` or `tollgate::exchange=trace`: {1}")]
    Filter(String, filter::ParseError),
    /// The process logs already.
    #[error("the log was set up before")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Logs on stderr what `filter` (the value of `TOLLGATE_LOG`; `info` without one) asks for.
///
/// # Errors
///
/// [`LogError`].
pub fn start(filter: Option<&str>) -> Result<(), LogError> {
    let form = if io::stderr().is_terminal() {
        Form::People { colour: std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()) }
    } else {
        Form::Json
    };
    Ok(subscriber(filter, form, io::stderr)?.try_init()?)
}

fn subscriber<W>(
    filter: Option<&str>,
    form: Form,
    writer: W,
) -> Result<impl Subscriber + Send + Sync, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let asked = filter.filter(|filter| !filter.is_empty()).unwrap_or("info");
    let asked = EnvFilter::builder()
        .parse(asked)
        .map_err(|error| LogError::Filter(asked.to_owned(), error))?;
    // A log that cannot be written is not complained about on the same descriptor: that would panic, in a request.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    let lines = match form {
        Form::Json => lines.json().flatten_event(true).boxed(),
        Form::People { colour } => lines.with_ansi(colour).boxed(),
    };
    let capped = filter::filter_fn(is_shown);
    Ok(tracing_subscriber::registry().with(lines.with_filter(capped)).with(asked))
}

/// Whether a line may be shown at all: anything of ours, and of others what they say unasked.
fn is_shown(line: &Metadata<'_>) -> bool {
    *line.level() <= LevelFilter::INFO || is_ours(line.target())
}

fn is_ours(target: &str) -> bool {
    let package = target.split("::").next().unwrap_or_default();
    package == OURS || package.strip_prefix(OURS).is_some_and(|rest| rest.starts_with('_'))
}

#[cfg(test)]
mod tests;
