//! One layer of content-encoding, fed in pieces.

use std::io::{self, Write};

use brotli::writer::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use decide::case::EnvelopeFault;
use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, Operation};

use super::{Coding, Sink};

/// Bytes decoded at a time, so that a bomb is noticed before it has grown.
const STEP: usize = 16 << 10;

/// Base-2 logarithm of the largest zstd window, 8 MiB: RFC 9659 lets nobody write more over HTTP.
const ZSTD_WINDOW: u32 = 23;

type Brotli = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

pub(super) enum Layer {
    Gzip(Box<MultiGzDecoder<Sink>>),
    /// Which of its two forms it is shows in the first two bytes, which wait in `head`.
    Deflate {
        head: Vec<u8>,
        inner: Option<Decompress>,
        ended: bool,
    },
    Brotli {
        inner: Box<Brotli>,
        ended: bool,
    },
    Zstd {
        inner: Decoder<'static>,
        ended: bool,
    },
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What one step read and wrote, and whether the stream is at its end.
struct Step {
    read: usize,
    written: usize,
    ended: bool,
}

impl Layer {
    pub(super) fn new(coding: Coding) -> Result<Self, EnvelopeFault> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(Sink::default()))),
            Coding::Deflate => Self::Deflate { head: Vec::new(), inner: None, ended: false },
            Coding::Brotli => {
                let alloc = StandardAlloc::default;
                Self::Brotli {
                    inner: Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())),
                    ended: false,
                }
            }
            Coding::Zstd => {
                let limited = |mut inner: Decoder<'static>| {
                    inner.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW)).map(|()| inner)
                };
                let inner = Decoder::new().and_then(limited);
                Self::Zstd { inner: inner.map_err(|_ignored| bad("zstd"))?, ended: false }
            }
        })
    }

    pub(super) fn fault(&self) -> EnvelopeFault {
        bad(self.name())
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Gzip(_) => "gzip",
            Self::Deflate { .. } => "deflate",
            Self::Brotli { .. } => "br",
            Self::Zstd { .. } => "zstd",
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8], sink: &mut Sink) -> io::Result<()> {
        match self {
            Self::Gzip(inner) => {
                std::mem::swap(inner.get_mut(), sink);
                let written = inner.write_all(bytes).and_then(|()| inner.flush());
                std::mem::swap(inner.get_mut(), sink);
                written
            }
            Self::Deflate { head, inner, ended } => {
                if let Some(inner) = inner {
                    return deflate(inner, ended, bytes, sink);
                }
                head.extend_from_slice(bytes);
                let [first, second, ..] = *head.as_slice() else { return Ok(()) };
                let inner = inner.insert(Decompress::new(zlib_header(first, second)));
                deflate(inner, ended, &std::mem::take(head), sink)
            }
            Self::Brotli { inner, ended } => {
                pump(bytes, sink, ended, false, |input, out| brotli(inner, input, out))
            }
            Self::Zstd { inner, ended } => pump(bytes, sink, ended, true, |input, out| {
                let status = inner.run_on_buffers(input, out).ok()?;
                // Nothing left to read or write, or a whole frame.
                let ended = status.remaining == 0;
                Some(Step { read: status.bytes_read, written: status.bytes_written, ended })
            }),
        }
    }

    /// The stream must be complete here.
    pub(super) fn end(&mut self, sink: &mut Sink) -> io::Result<()> {
        match self {
            Self::Gzip(inner) => {
                std::mem::swap(inner.get_mut(), sink);
                let done = inner.try_finish();
                std::mem::swap(inner.get_mut(), sink);
                done
            }
            Self::Deflate { ended, .. } | Self::Brotli { ended, .. } | Self::Zstd { ended, .. } => {
                if *ended {
                    Ok(())
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                }
            }
        }
    }
}

fn bad(name: &str) -> EnvelopeFault {
    EnvelopeFault::BadEncoding(name.into())
}

/// RFC 1950, section 2.2: method 8, a window of at most 32 KiB, and a check that makes it a multiple of 31.
fn zlib_header(method: u8, flags: u8) -> bool {
    method & 0x0F == 8 && method >> 4 <= 7 && u16::from_be_bytes([method, flags]).is_multiple_of(31)
}

fn deflate(
    inner: &mut Decompress,
    ended: &mut bool,
    bytes: &[u8],
    sink: &mut Sink,
) -> io::Result<()> {
    pump(bytes, sink, ended, false, |input, out| {
        let (read, written) = (inner.total_in(), inner.total_out());
        let status = inner.decompress(input, out, FlushDecompress::None).ok()?;
        let grown = |after: u64, before: u64| usize::try_from(after - before).unwrap_or(usize::MAX);
        Some(Step {
            read: grown(inner.total_in(), read),
            written: grown(inner.total_out(), written),
            ended: status == Status::StreamEnd,
        })
    })
}

fn brotli(state: &mut Brotli, input: &[u8], out: &mut [u8]) -> Option<Step> {
    let (mut left, mut read, mut room, mut written, mut total) = (input.len(), 0, out.len(), 0, 0);
    let result = BrotliDecompressStream(
        &mut left,
        &mut read,
        input,
        &mut room,
        &mut written,
        out,
        &mut total,
        state,
    );
    match result {
        BrotliResult::ResultFailure => None,
        BrotliResult::ResultSuccess => Some(Step { read, written, ended: true }),
        BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {
            Some(Step { read, written, ended: false })
        }
    }
}

/// Steps until `input` is used up. `again`: after its end another stream may follow.
fn pump(
    mut input: &[u8],
    sink: &mut Sink,
    ended: &mut bool,
    again: bool,
    mut step: impl FnMut(&[u8], &mut [u8]) -> Option<Step>,
) -> io::Result<()> {
    let mut out = [0; STEP];
    loop {
        if *ended && (!again || input.is_empty()) {
            return if input.is_empty() { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) };
        }
        let done = step(input, &mut out).ok_or(io::ErrorKind::InvalidData)?;
        sink.write_all(out.get(..done.written).unwrap_or_default())?;
        input = input.get(done.read..).unwrap_or_default();
        *ended = done.ended;
        if done.read == 0 && done.written == 0 && !done.ended {
            return if input.is_empty() { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) };
        }
    }
}
