//! Decompression of a body, piece by piece, within a limit.

use std::fmt;
use std::io::{self, Write};

use brotli::DecompressorWriter;
use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use thiserror::Error;
use zstd::stream::raw::DParameter;

use super::Coding;

/// zstd's largest window, as a power of two: RFC 9659 allows a content coding 8 MiB.
const ZSTD_WINDOW: u32 = 23;
/// Bytes that brotli hands on at a time.
const BROTLI_BUFFER: usize = 16 * 1024;

/// Bytes that zlib hands on at a time.
const INFLATE_BUFFER: usize = 16 * 1024;

/// Why a body could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// More came out than is allowed.
    #[error("the content is larger than {0} bytes")]
    TooLarge(u64),
    /// Not in this coding, or damaged, or cut off.
    #[error("the content is not valid {0}")]
    Invalid(&'static str),
}

/// One body on its way in.
pub struct Decoder {
    coding: Coding,
    limit: u64,
    kind: Kind,
    /// Something was wrong: nothing more is read.
    failed: Option<DecodeError>,
    /// Anything was there.
    begun: bool,
}

enum Kind {
    Gzip(Box<MultiGzDecoder<Bounded>>),
    Deflate(Inflate),
    Brotli(Box<DecompressorWriter<Bounded>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Bounded>>),
}

/// zlib's format. flate2's own writer does not say whether the stream came to its end.
struct Inflate {
    stream: Decompress,
    ended: bool,
    out: Bounded,
}

impl Write for Inflate {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut piece = [0; INFLATE_BUFFER];
        let mut used = 0;
        while !self.ended {
            let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
            let status =
                self.stream.decompress(&data[used..], &mut piece, FlushDecompress::None)?;
            used += usize::try_from(self.stream.total_in() - before_in).unwrap_or(usize::MAX);
            let made = usize::try_from(self.stream.total_out() - before_out).unwrap_or(usize::MAX);
            self.out.write_all(&piece[..made])?;
            self.ended = status == Status::StreamEnd;
            if made < piece.len() {
                break;
            }
        }
        // Nothing taken of what follows the end makes `write_all` fail.
        Ok(used)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What comes out, and how much more may.
#[derive(Debug)]
struct Bounded {
    out: Vec<u8>,
    left: u64,
    exceeded: bool,
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left.checked_sub(data.len() as u64) else {
            self.exceeded = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        self.left = left;
        self.out.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("coding", &self.coding).finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder that lets `limit` bytes out.
    ///
    /// # Errors
    /// zstd found no memory.
    pub fn new(coding: Coding, limit: u64) -> io::Result<Self> {
        let out = Bounded { out: Vec::new(), left: limit, exceeded: false };
        let kind = match coding {
            Coding::Gzip => Kind::Gzip(Box::new(MultiGzDecoder::new(out))),
            Coding::Deflate => {
                Kind::Deflate(Inflate { stream: Decompress::new(true), ended: false, out })
            }
            Coding::Brotli => Kind::Brotli(Box::new(DecompressorWriter::new(out, BROTLI_BUFFER))),
            Coding::Zstd => {
                let mut decoder = zstd::stream::raw::Decoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW))?;
                Kind::Zstd(Box::new(zstd::stream::write::Decoder::with_decoder(out, decoder)))
            }
        };
        Ok(Self { coding, limit, kind, failed: None, begun: false })
    }

    /// Takes bytes and gives what they hold.
    ///
    /// # Errors
    /// Too much came out, or what came in is wrong; so is all that follows.
    pub fn decode(&mut self, data: &[u8]) -> Result<Vec<u8>, DecodeError> {
        self.begun |= !data.is_empty();
        self.step(|writer| {
            writer.write_all(data)?;
            writer.flush()
        })
    }

    /// The end of the body: what is left. An empty body is good in any coding.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), or the body was cut off.
    pub fn finish(&mut self) -> Result<Vec<u8>, DecodeError> {
        if !self.begun {
            return Ok(Vec::new());
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        let finished = match &mut self.kind {
            Kind::Gzip(decoder) => decoder.try_finish(),
            Kind::Deflate(decoder) if decoder.ended => Ok(()),
            Kind::Deflate(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Kind::Brotli(decoder) => decoder.close(),
            Kind::Zstd(decoder) => decoder.do_finish(),
        };
        self.outcome(finished)
    }

    fn step(
        &mut self,
        step: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Vec<u8>, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let done = match &mut self.kind {
            Kind::Gzip(decoder) => step(decoder.as_mut()),
            Kind::Deflate(decoder) => step(decoder),
            Kind::Brotli(decoder) => step(decoder.as_mut()),
            Kind::Zstd(decoder) => step(decoder.as_mut()),
        };
        self.outcome(done)
    }

    fn outcome(&mut self, done: io::Result<()>) -> Result<Vec<u8>, DecodeError> {
        let name = self.coding.name();
        let out = match &mut self.kind {
            Kind::Gzip(decoder) => decoder.get_mut(),
            Kind::Deflate(decoder) => &mut decoder.out,
            Kind::Brotli(decoder) => decoder.get_mut(),
            Kind::Zstd(decoder) => decoder.get_mut(),
        };
        let error = if out.exceeded {
            DecodeError::TooLarge(self.limit)
        } else if done.is_err() {
            DecodeError::Invalid(name)
        } else {
            return Ok(std::mem::take(&mut out.out));
        };
        self.failed = Some(error);
        Err(error)
    }
}
