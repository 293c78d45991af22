//! Bytes that wait for the kernel to take them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;

use crate::socket;

/// Slices given to one vectored write.
const SLICES_MAX: usize = 64;

/// Chunks in the order they leave. It has no limit of its own: whoever fills it watches `len` and
/// stops its producer (a transport's write limits).
#[derive(Debug)]
pub struct WriteQueue<C> {
    chunks: VecDeque<C>,
    /// Bytes of the first chunk that are gone. Invariant: zero if `chunks` is empty, and below
    /// the first chunk's length otherwise.
    sent: usize,
    /// Bytes left, over all chunks.
    len: usize,
}

impl<C: AsRef<[u8]>> WriteQueue<C> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self { chunks: VecDeque::new(), sent: 0, len: 0 }
    }

    /// Bytes waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a chunk, of which the first `skip` bytes have left already.
    pub fn push(&mut self, chunk: C, skip: usize) {
        let len = chunk.as_ref().len();
        if skip >= len {
            return;
        }
        debug_assert!(skip == 0 || self.is_empty(), "only the first chunk can be part sent");
        if self.is_empty() {
            self.sent = skip;
        }
        self.len += len - skip;
        self.chunks.push_back(chunk);
    }

    /// The last chunk, to append to; `None` when there is none.
    pub fn last_mut(&mut self) -> Option<&mut C> {
        self.chunks.back_mut()
    }

    /// Notes that `bytes` were appended to the last chunk.
    pub fn grew(&mut self, bytes: usize) {
        self.len += bytes;
    }

    /// Writes until the queue is empty or the kernel takes no more. `true`: empty.
    ///
    /// # Errors
    /// The socket's; `WouldBlock` is not one of them.
    pub fn flush(&mut self, fd: RawFd) -> io::Result<bool> {
        while self.len > 0 {
            let written = match self.write_once(fd) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            self.advance(written);
        }
        Ok(true)
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.chunks.clear();
        self.sent = 0;
        self.len = 0;
    }

    fn write_once(&self, fd: RawFd) -> io::Result<usize> {
        if self.chunks.len() == 1 {
            return socket::send(fd, &self.chunks[0].as_ref()[self.sent..]);
        }
        let mut slices = [io::IoSlice::new(&[]); SLICES_MAX];
        let mut skip = self.sent;
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = io::IoSlice::new(&chunk.as_ref()[skip..]);
            skip = 0;
            count += 1;
        }
        socket::send_vectored(fd, &slices[..count])
    }

    fn advance(&mut self, written: usize) {
        self.len -= written;
        let mut left = self.sent + written;
        while let Some(first) = self.chunks.front() {
            let len = first.as_ref().len();
            if left < len {
                break;
            }
            left -= len;
            self.chunks.pop_front();
        }
        self.sent = left;
    }
}

impl<C: AsRef<[u8]>> Default for WriteQueue<C> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;

    use super::WriteQueue;

    #[test]
    fn what_the_kernel_refused_leaves_later_in_order() {
        let (left, mut right) = UnixStream::pair().unwrap();
        left.set_nonblocking(true).unwrap();
        let mut queue = WriteQueue::new();
        let mut expected = Vec::new();
        for n in 0..200_u32 {
            let chunk = vec![n as u8; 5000 + n as usize];
            expected.extend_from_slice(&chunk);
            queue.push(chunk, 0);
        }
        assert_eq!(queue.len(), expected.len());
        let mut got = vec![0; expected.len()];
        let mut filled = 0;
        while !queue.flush(left.as_raw_fd()).unwrap() {
            filled += right.read(&mut got[filled..]).unwrap();
        }
        assert!(queue.is_empty());
        right.read_exact(&mut got[filled..]).unwrap();
        assert!(got == expected);
    }

    #[test]
    fn a_part_sent_chunk_is_not_sent_twice() {
        let (left, mut right) = UnixStream::pair().unwrap();
        let mut queue = WriteQueue::new();
        queue.push(b"hello".to_vec(), 3);
        queue.push(b" you".to_vec(), 0);
        assert_eq!(queue.len(), 6);
        assert!(queue.flush(left.as_raw_fd()).unwrap());
        let mut got = [0; 6];
        right.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"lo you");
    }
}
