//! Messages compressed by `permessage-deflate` (RFC 7692).

use std::fmt;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Agreement, Close, CloseCode, DeflateOptions};

/// What ends each message, and does not travel.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Room made at a time for what comes out.
const STEP: usize = 16 * 1024;

/// Both directions of one connection. Their windows are made when they are first needed.
pub(super) struct Deflate {
    agreement: Agreement,
    options: DeflateOptions,
    compress: Option<Compress>,
    decompress: Option<Decompress>,
}

impl fmt::Debug for Deflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflate").field("agreement", &self.agreement).finish_non_exhaustive()
    }
}

impl Deflate {
    pub(super) fn new(agreement: Agreement, options: DeflateOptions) -> Self {
        Self { agreement, options, compress: None, decompress: None }
    }

    /// Whether a message of this size is worth it.
    pub(super) fn pays_for(&self, size: usize) -> bool {
        size >= self.options.min_size
    }

    /// A message's content, compressed into `out`; `false` (and `out` is of no use) where that
    /// fails, which zlib does for no input.
    pub(super) fn compress(&mut self, data: &[u8], out: &mut Vec<u8>) -> bool {
        let Self { agreement, options, compress, .. } = self;
        let compress = compress.get_or_insert_with(|| {
            let level = Compression::new(options.level);
            Compress::new_with_window_bits(level, false, agreement.server_window_bits)
        });
        let start = compress.total_in();
        loop {
            let used = usize::try_from(compress.total_in() - start).unwrap_or(data.len());
            let rest = &data[used..];
            out.reserve(if rest.is_empty() { 64 } else { (rest.len() / 2).clamp(64, STEP) });
            let before = out.len();
            if compress.compress_vec(rest, out, FlushCompress::Sync).is_err() {
                return false;
            }
            // Room left over: it was flushed. So it was where there was nothing left to give.
            let all_in = compress.total_in() - start == data.len() as u64;
            if all_in && (out.len() < out.capacity() || out.len() == before) {
                break;
            }
        }
        if agreement.server_no_context_takeover {
            compress.reset();
        }
        if out.ends_with(&TAIL) {
            out.truncate(out.len() - TAIL.len());
        }
        if out.is_empty() {
            // The empty message (7.2.3.6).
            out.push(0);
        }
        true
    }

    /// Decompresses a piece of a message to the end of `out`, which may hold `limit` bytes.
    pub(super) fn inflate(
        &mut self,
        mut data: &[u8],
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), Close> {
        let bits = self.agreement.client_window_bits.max(9);
        let decompress =
            self.decompress.get_or_insert_with(|| Decompress::new_with_window_bits(false, bits));
        loop {
            if out.len() == out.capacity() {
                let room = (data.len() * 2).clamp(512, STEP).min(limit + 1 - out.len());
                out.reserve(room);
            }
            let before = decompress.total_in();
            let status = decompress.decompress_vec(data, out, FlushDecompress::Sync);
            let status = status.map_err(|_| Close::new(CloseCode::INVALID_DATA, "bad deflate"))?;
            if out.len() > limit {
                return Err(Close::new(CloseCode::TOO_BIG, "message too big"));
            }
            let used = usize::try_from(decompress.total_in() - before).unwrap_or(data.len());
            data = &data[used..];
            if status == Status::StreamEnd {
                // A final block: what follows begins anew (7.2.3.4).
                decompress.reset(false);
                if data.is_empty() {
                    return Ok(());
                }
            } else if out.len() < out.capacity() {
                // There was room for more, so all that is in is out.
                return Ok(());
            }
        }
    }

    /// The end of a message.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>, limit: usize) -> Result<(), Close> {
        self.inflate(&TAIL, out, limit)?;
        if self.agreement.client_no_context_takeover
            && let Some(decompress) = &mut self.decompress
        {
            decompress.reset(false);
        }
        Ok(())
    }
}
