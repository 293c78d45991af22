//! Compression of a body, piece by piece.

use std::fmt;
use std::io::{self, Write};

use brotli::CompressorWriter;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::Coding;

/// Brotli's window: 4 MiB, as its tools have it.
const BROTLI_WINDOW: u32 = 22;
/// Bytes that brotli hands on at a time.
const BROTLI_BUFFER: usize = 16 * 1024;

/// One body on its way out.
pub struct Encoder(Kind);

enum Kind {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Finished,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder. Levels are the coding's own: gzip 1 to 9, br 0 to 11, zstd 1 to 19.
    ///
    /// # Errors
    /// A level that the coding does not have, or a coding that is only read.
    pub fn new(coding: Coding, level: u32) -> io::Result<Self> {
        let levels = match coding {
            Coding::Gzip => 1..=9,
            Coding::Brotli => 0..=11,
            Coding::Zstd => 1..=19,
            Coding::Deflate => return Err(wrong("deflate is only read, not written")),
        };
        if !levels.contains(&level) {
            let (first, last) = (levels.start(), levels.end());
            return Err(wrong(&format!(
                "{} has no level {level}: it is from {first} to {last}",
                coding.name()
            )));
        }
        Ok(Self(match coding {
            Coding::Gzip => Kind::Gzip(GzEncoder::new(Vec::new(), Compression::new(level))),
            Coding::Brotli => {
                let writer = CompressorWriter::new(Vec::new(), BROTLI_BUFFER, level, BROTLI_WINDOW);
                Kind::Brotli(Box::new(writer))
            }
            Coding::Zstd | Coding::Deflate => {
                let level = i32::try_from(level).unwrap_or(i32::MAX);
                Kind::Zstd(zstd::stream::write::Encoder::new(Vec::new(), level)?)
            }
        }))
    }

    /// Takes bytes and gives what is ready of their compressed form: often nothing.
    ///
    /// # Errors
    /// The encoder has finished, or its library failed.
    pub fn encode(&mut self, data: &[u8]) -> io::Result<Vec<u8>> {
        self.writer()?.write_all(data)?;
        Ok(self.take())
    }

    /// Gives all that is still inside, so that the client can read what was taken so far.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn flush(&mut self) -> io::Result<Vec<u8>> {
        self.writer()?.flush()?;
        Ok(self.take())
    }

    /// The end: what is left, and the coding's own ending.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn finish(&mut self) -> io::Result<Vec<u8>> {
        match std::mem::replace(&mut self.0, Kind::Finished) {
            Kind::Gzip(writer) => writer.finish(),
            Kind::Brotli(writer) => Ok(writer.into_inner()),
            Kind::Zstd(writer) => writer.finish(),
            Kind::Finished => Err(wrong("the encoder has finished")),
        }
    }

    fn writer(&mut self) -> io::Result<&mut dyn Write> {
        match &mut self.0 {
            Kind::Gzip(writer) => Ok(writer),
            Kind::Brotli(writer) => Ok(writer.as_mut()),
            Kind::Zstd(writer) => Ok(writer),
            Kind::Finished => Err(wrong("the encoder has finished")),
        }
    }

    fn take(&mut self) -> Vec<u8> {
        match &mut self.0 {
            Kind::Gzip(writer) => std::mem::take(writer.get_mut()),
            Kind::Brotli(writer) => std::mem::take(writer.get_mut()),
            Kind::Zstd(writer) => std::mem::take(writer.get_mut()),
            Kind::Finished => Vec::new(),
        }
    }
}

fn wrong(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, problem)
}
