//! The only code of the core that sees content. Content goes in; classes, counts and offsets come
//! out. What rules judge, and what is recorded, is the latter.

mod answer;
mod automaton;
mod class;
mod finder;
pub(crate) mod patterns;
mod unescape;

pub use answer::{AnswerScanner, Sight, TRACKS_MAX};
pub use class::SecretClass;
pub use finder::{Found, find};
