//! Provider dialects: bytes to meaning, and refusals to bytes.
