//! Content-encodings: gzip, br, zstd and deflate, in layers, under a limit of what they may decode to.

use std::io::{self, Write};

use bytes::Bytes;
use decide::case::EnvelopeFault;

mod layer;

use layer::Layer;

/// Layers that are taken off. Nobody writes more than one.
const MAX_LAYERS: usize = 3;

/// The content-encodings of a body, outermost last, as the header lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, or RFC 1951 as some servers write it.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878 with a window of at most 8 MiB (RFC 9659).
    Zstd,
}

/// The codings that a `content-encoding` value lists; `identity` is none.
///
/// # Errors
///
/// [`EnvelopeFault::BadEncoding`] for one that is not known, or too many.
pub fn codings(value: &str) -> Result<Vec<Coding>, EnvelopeFault> {
    let bad = || EnvelopeFault::BadEncoding(value.chars().take(64).collect());
    let mut list = Vec::new();
    for name in value.split(',').map(str::trim) {
        match name.to_ascii_lowercase().as_str() {
            "identity" => {}
            "gzip" | "x-gzip" => list.push(Coding::Gzip),
            "deflate" => list.push(Coding::Deflate),
            "br" => list.push(Coding::Brotli),
            "zstd" => list.push(Coding::Zstd),
            _ => return Err(bad()),
        }
    }
    if list.len() > MAX_LAYERS { Err(bad()) } else { Ok(list) }
}

/// `body` free of the encodings that its `content-encoding` value lists; `None` is no header.
///
/// # Errors
///
/// [`EnvelopeFault::BadEncoding`] where it does not decode to its end, [`EnvelopeFault::Bomb`] beyond `limit` bytes.
pub fn decode(value: Option<&str>, body: &Bytes, limit: u64) -> Result<Bytes, EnvelopeFault> {
    let list = value.map_or(Ok(Vec::new()), codings)?;
    if list.is_empty() {
        return Ok(body.clone());
    }
    let mut unpacker = Unpacker::new(&list, limit)?;
    let mut out = unpacker.push(body)?;
    out.extend_from_slice(&unpacker.finish()?);
    Ok(Bytes::from(out))
}

/// Takes the encodings off a body that arrives in pieces.
#[derive(Debug)]
pub struct Unpacker {
    /// Outermost first.
    layers: Vec<Layer>,
    left: u64,
    limit: u64,
    any: bool,
}

impl Unpacker {
    /// For a body with these encodings that may decode to `limit` bytes in each layer.
    ///
    /// # Errors
    ///
    /// [`EnvelopeFault::BadEncoding`] where a decoder cannot be set up.
    pub fn new(list: &[Coding], limit: u64) -> Result<Self, EnvelopeFault> {
        let layers =
            list.iter().rev().map(|coding| Layer::new(*coding)).collect::<Result<_, _>>()?;
        Ok(Self { layers, left: limit, limit, any: false })
    }

    /// What `bytes` decodes to.
    ///
    /// # Errors
    ///
    /// As [`decode`].
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, EnvelopeFault> {
        self.any |= !bytes.is_empty();
        self.run(bytes, false)
    }

    /// What the end of the body decodes to. A body of no bytes at all has no encoding.
    ///
    /// # Errors
    ///
    /// [`EnvelopeFault::BadEncoding`] where a layer is not complete.
    pub fn finish(&mut self) -> Result<Vec<u8>, EnvelopeFault> {
        if self.any { self.run(&[], true) } else { Ok(Vec::new()) }
    }

    fn run(&mut self, bytes: &[u8], end: bool) -> Result<Vec<u8>, EnvelopeFault> {
        let mut current = bytes.to_vec();
        let last = self.layers.len().saturating_sub(1);
        for (index, layer) in self.layers.iter_mut().enumerate() {
            // An inner layer may use the whole limit again in this piece: it is taken off at once.
            let room = if index == last { self.left } else { self.limit };
            let mut sink = Sink { out: Vec::new(), room, over: false };
            let done = layer
                .write(&current, &mut sink)
                .and_then(|()| if end { layer.end(&mut sink) } else { Ok(()) });
            if done.is_err() {
                return Err(if sink.over {
                    EnvelopeFault::Bomb(self.limit)
                } else {
                    layer.fault()
                });
            }
            current = sink.out;
        }
        self.left = self.left.saturating_sub(current.len() as u64);
        Ok(current)
    }
}

/// Takes decoded bytes up to a limit; the first beyond it fails.
#[derive(Debug, Default)]
struct Sink {
    out: Vec<u8>,
    room: u64,
    over: bool,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len() as u64;
        if length > self.room {
            self.over = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.room -= length;
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
