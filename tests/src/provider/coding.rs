//! Content codings, flushed frame by frame so that a stream stays one.

use std::io::{self, Write};

use bytes::Bytes;

use super::script::Coding;

/// An encoder of one body.
enum Encoder {
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Deflate(flate2::write::ZlibEncoder<Vec<u8>>),
}

impl Coding {
    /// Its name in `content-encoding`, where it is not `identity`.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Brotli => Some("br"),
            Self::Zstd => Some("zstd"),
            Self::Deflate => Some("deflate"),
        }
    }

    /// Encodes the frames of one body, each so that it can be read when it arrives.
    pub(super) fn encode(self, frames: Vec<Bytes>) -> io::Result<Vec<Bytes>> {
        let level = flate2::Compression::default();
        let mut encoder = match self {
            Self::Identity => return Ok(frames),
            Self::Gzip => Encoder::Gzip(flate2::write::GzEncoder::new(Vec::new(), level)),
            Self::Brotli => {
                Encoder::Brotli(Box::new(brotli::CompressorWriter::new(Vec::new(), 4096, 5, 20)))
            }
            Self::Zstd => Encoder::Zstd(zstd::stream::write::Encoder::new(Vec::new(), 3)?),
            Self::Deflate => Encoder::Deflate(flate2::write::ZlibEncoder::new(Vec::new(), level)),
        };
        let mut out =
            frames.iter().map(|frame| encoder.push(frame)).collect::<io::Result<Vec<_>>>()?;
        out.push(encoder.finish()?);
        Ok(out)
    }
}

impl Encoder {
    fn push(&mut self, bytes: &[u8]) -> io::Result<Bytes> {
        let written = match self {
            Self::Gzip(inner) => flushed(inner, bytes)?.get_mut(),
            Self::Brotli(inner) => flushed(inner.as_mut(), bytes)?.get_mut(),
            Self::Zstd(inner) => flushed(inner, bytes)?.get_mut(),
            Self::Deflate(inner) => flushed(inner, bytes)?.get_mut(),
        };
        Ok(Bytes::from(std::mem::take(written)))
    }

    fn finish(self) -> io::Result<Bytes> {
        Ok(Bytes::from(match self {
            Self::Gzip(inner) => inner.finish()?,
            Self::Brotli(inner) => inner.into_inner(),
            Self::Zstd(inner) => inner.finish()?,
            Self::Deflate(inner) => inner.finish()?,
        }))
    }
}

fn flushed<'a, W: Write>(inner: &'a mut W, bytes: &[u8]) -> io::Result<&'a mut W> {
    inner.write_all(bytes)?;
    inner.flush()?;
    Ok(inner)
}
