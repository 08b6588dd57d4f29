//! The only code of the core that sees content. Content goes in; classes, counts and offsets come
//! out. What rules judge, and what is recorded, is the latter.

mod answer;
mod class;
mod finder;
mod patterns;

pub use answer::{AnswerScanner, Sight};
pub use class::SecretClass;
pub use finder::{Found, find};
