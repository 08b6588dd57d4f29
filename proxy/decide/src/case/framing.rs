//! Where the bytes of one HTTP/1 request begin and end, and how that can be said in two ways.

use serde::{Deserialize, Serialize};

/// One way in which two servers could cut the same bytes into different HTTP/1 requests (RFC 9112).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// The first line is not method, target and version with one space between them.
    #[error("the request line is not METHOD TARGET VERSION")]
    RequestLine,
    /// The version is neither 1.0 nor 1.1.
    #[error("the version is neither HTTP/1.0 nor HTTP/1.1")]
    Version,
    /// The target has bytes that no target has, or is of no known form.
    #[error("the request target cannot be read")]
    Target,
    /// A line of the head ends otherwise than with CR LF, or has one of them inside.
    #[error("a line of the head does not end with CR LF")]
    LineEnd,
    /// A field continues on the next line (`obs-fold`).
    #[error("a header is folded over two lines")]
    Folded,
    /// Whitespace stands between a field's name and its colon.
    #[error("a space stands before the colon of a header")]
    SpaceBeforeColon,
    /// A field's name is empty or has bytes that no name has.
    #[error("a header has no readable name")]
    FieldName,
    /// A control character stands in the head.
    #[error("a control character stands in the head")]
    Control,
    /// More fields than any client sends.
    #[error("more than {0} headers")]
    TooManyFields(u32),
    /// There is no Host.
    #[error("there is no Host")]
    NoHost,
    /// A chunk's size or its line ends cannot be read in one way only.
    #[error("a chunk of the body is not framed by its size and CR LF")]
    Chunk,
    /// A chunk has an extension, which servers skip differently.
    #[error("a chunk has an extension")]
    ChunkExtension,
    /// Fields follow the body, which servers merge into the head or drop.
    #[error("headers follow the body")]
    Trailers,
}
