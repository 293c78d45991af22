//! Bytes that wait for the kernel to take them, and parts of files that it sends by itself.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;

use crate::socket;

/// Slices given to one vectored write.
const SLICES_MAX: usize = 64;

/// Bytes of files that one flush sends at most: then others have their turn.
const FILE_BURST: usize = 1 << 20;

/// What a chunk of a queue holds.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// So many bytes of a file, from an offset on.
    File {
        /// The open file.
        fd: RawFd,
        /// Where in it the part begins.
        offset: u64,
        /// Its length.
        length: usize,
    },
}

/// A chunk of a queue.
pub trait Chunk {
    /// What it holds: the same each time, but for bytes appended to the last chunk.
    fn content(&self) -> Content<'_>;
}

impl Chunk for Vec<u8> {
    fn content(&self) -> Content<'_> {
        Content::Bytes(self)
    }
}

impl Content<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File { length, .. } => *length,
        }
    }
}

/// How a flush ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing is left.
    All,
    /// The kernel takes no more now; the socket's next event says when.
    Blocked,
    /// It would take more, but it is others' turn: flush again soon.
    Enough,
}

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

impl<C: Chunk> WriteQueue<C> {
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
        let len = chunk.content().len();
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

    /// Writes until the queue is empty, the kernel takes no more, or much of a file was sent.
    ///
    /// # Errors
    /// The socket's; `WouldBlock` is not one of them. `UnexpectedEof` where a file has become
    /// shorter than what was promised of it.
    pub fn flush(&mut self, fd: RawFd) -> io::Result<Flushed> {
        let mut of_files = 0;
        while self.len > 0 {
            if of_files >= FILE_BURST {
                return Ok(Flushed::Enough);
            }
            let written = match self.write_once(fd, &mut of_files) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Flushed::Blocked);
                }
                Err(error) => return Err(error),
            };
            self.advance(written);
        }
        Ok(Flushed::All)
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.chunks.clear();
        self.sent = 0;
        self.len = 0;
    }

    fn write_once(&self, fd: RawFd, of_files: &mut usize) -> io::Result<usize> {
        match self.chunks[0].content() {
            Content::Bytes(bytes) if self.chunks.len() == 1 => {
                socket::send(fd, &bytes[self.sent..])
            }
            Content::Bytes(_) => self.write_vectored(fd),
            Content::File { fd: file, offset, length } => {
                let wanted = (length - self.sent).min(FILE_BURST);
                let sent = socket::send_file(fd, file, offset + self.sent as u64, wanted)?;
                *of_files += sent;
                Ok(sent)
            }
        }
    }

    fn write_vectored(&self, fd: RawFd) -> io::Result<usize> {
        let mut slices = [io::IoSlice::new(&[]); SLICES_MAX];
        let mut skip = self.sent;
        let mut count = 0;
        let mut before_file = false;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            let Content::Bytes(bytes) = chunk.content() else {
                before_file = true;
                break;
            };
            *slice = io::IoSlice::new(&bytes[skip..]);
            skip = 0;
            count += 1;
        }
        socket::send_vectored(fd, &slices[..count], before_file)
    }

    fn advance(&mut self, written: usize) {
        self.len -= written;
        let mut left = self.sent + written;
        while let Some(first) = self.chunks.front() {
            let len = first.content().len();
            if left < len {
                break;
            }
            left -= len;
            self.chunks.pop_front();
        }
        self.sent = left;
    }
}

impl<C: Chunk> Default for WriteQueue<C> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;

    use super::{Chunk, Content, FILE_BURST, Flushed, WriteQueue};

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
        while queue.flush(left.as_raw_fd()).unwrap() == Flushed::Blocked {
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
        assert_eq!(queue.flush(left.as_raw_fd()).unwrap(), Flushed::All);
        let mut got = [0; 6];
        right.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"lo you");
    }

    /// A chunk of either kind.
    enum Either {
        Bytes(Vec<u8>),
        File { fd: i32, offset: u64, length: usize },
    }

    impl Chunk for Either {
        fn content(&self) -> Content<'_> {
            match self {
                Self::Bytes(bytes) => Content::Bytes(bytes),
                Self::File { fd, offset, length } => {
                    Content::File { fd: *fd, offset: *offset, length: *length }
                }
            }
        }
    }

    fn file_of(bytes: &[u8]) -> std::fs::File {
        let path = std::env::temp_dir().join(format!(
            "pelton-write-queue-{}-{}",
            std::process::id(),
            bytes.len()
        ));
        std::fs::write(&path, bytes).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file
    }

    #[test]
    fn files_leave_between_bytes_and_in_bursts() {
        let (left, mut right) = UnixStream::pair().unwrap();
        left.set_nonblocking(true).unwrap();
        let bytes: Vec<u8> = (0..3 * FILE_BURST).map(|at| (at % 251) as u8).collect();
        let file = file_of(&bytes);
        let part = |offset: usize, length: usize| Either::File {
            fd: file.as_raw_fd(),
            offset: offset as u64,
            length,
        };
        let mut queue = WriteQueue::new();
        queue.push(Either::Bytes(b"head".to_vec()), 0);
        queue.push(part(7, 2 * FILE_BURST), 0);
        queue.push(Either::Bytes(b"middle".to_vec()), 0);
        queue.push(part(1, 0), 0);
        queue.push(part(3, 5), 0);
        let expected = [b"head", &bytes[7..7 + 2 * FILE_BURST], b"middle", &bytes[3..8]].concat();
        assert_eq!(queue.len(), expected.len());
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; expected.len()];
            right.read_exact(&mut got).unwrap();
            assert!(got == expected);
        });
        while queue.flush(left.as_raw_fd()).unwrap() != Flushed::All {
            std::thread::yield_now();
        }
        reader.join().unwrap();
    }

    #[test]
    fn a_file_that_shrank_is_an_error() {
        let (left, _right) = UnixStream::pair().unwrap();
        let file = file_of(b"short");
        let mut queue = WriteQueue::new();
        queue.push(Either::File { fd: file.as_raw_fd(), offset: 0, length: 9 }, 0);
        let error = queue.flush(left.as_raw_fd()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}
