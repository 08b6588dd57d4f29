//! Provider dialects: bytes in, meaning out, refusals back to bytes.
//!
//! Nothing here does I/O, awaits or names a secret. A request's body becomes a [`Reading`], an answer's bytes become a
//! sequence of [`Heard`], and a refusal becomes the error that the provider's own client raises.

pub mod encoding;
pub mod envelope;
pub mod json;
pub mod scan;
pub mod sse;

mod answer;
mod anthropic;
mod dialect;
mod edit;
mod leaves;
mod openai;
mod place;
mod plain;
mod price;
mod refusal;
mod request;
mod route;

pub use answer::{Decoder, Heard, HeardKind, Piece, ToolCall, Unreadable, Usage};
pub use dialect::{
    Amendment, AnswerTerms, CutState, Dialect, Provider, Reading, Told, dialect, provider_of,
};
pub use edit::{Edit, splice};
pub use place::{Form, Kind, Place, Role};
pub use price::{PriceFacts, price_facts};
pub use scan::{Scanned, Splice, redactions, scan_request};
