//! The gate's process: what it holds, how it starts and ends, and what it is asked over its socket.

pub mod protocol;
