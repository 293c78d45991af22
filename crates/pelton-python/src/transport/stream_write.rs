//! The write side of a connection: at once when nothing waits (Python's protocols, as asyncio does
//! it), or all of a turn in one vectored write at its end (native ones).

use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::rc::Rc;

use pelton_reactor::{Content, Flushed, Interest, socket};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use socket2::SockAddr;

use super::native::{FilePart, NativeTransport};
use super::sink::{Lost, Sink};
use super::stream::Stream;
use crate::event_loop::Owned;

/// Native writes below this size are joined in one chunk.
const JOIN_MAX: usize = 16 * 1024;

/// Bytes in a write queue.
pub(super) enum Chunk {
    /// Our own copy.
    Copied(Vec<u8>),
    /// A Python bytes object, which never changes.
    Bytes(Owned),
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Copied(data) => data,
            // SAFETY: an exact bytes object, kept alive by our reference; it never changes.
            Self::Bytes(bytes) => unsafe {
                let pointer = ffi::PyBytes_AsString(bytes.as_ptr()).cast::<u8>();
                std::slice::from_raw_parts(pointer, ffi::PyBytes_Size(bytes.as_ptr()) as usize)
            },
        }
    }
}

/// What a socket's queue holds.
pub(super) enum Piece {
    Chunk(Chunk),
    /// A part of a file, which the kernel sends.
    File(FilePart),
}

impl pelton_reactor::Chunk for Piece {
    fn content(&self) -> Content<'_> {
        match self {
            Self::Chunk(chunk) => Content::Bytes(chunk.as_ref()),
            Self::File(part) => Content::File {
                fd: part.file.as_raw_fd(),
                offset: part.offset,
                length: part.length,
            },
        }
    }
}

impl Stream {
    /// Writes what the kernel takes now, and queues the rest as `rest` gives it.
    pub(super) fn write_now(
        self: &Rc<Self>,
        py: Python<'_>,
        data: &[u8],
        rest: impl FnOnce(usize) -> (Chunk, usize),
    ) -> PyResult<()> {
        let mut sent = 0;
        if self.queue.borrow().is_empty() {
            match socket::send(self.fd, data) {
                Ok(count) if count == data.len() => return Ok(()),
                Ok(count) => sent = count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    let message = "Fatal write error on socket transport";
                    return self.fail(py, Lost::Io(error), message);
                }
            }
        }
        let (chunk, skip) = rest(sent);
        self.queue.borrow_mut().push(Piece::Chunk(chunk), skip);
        self.want_write();
        self.pause_if_full(py)
    }

    /// Writes all chunks in one call, as far as the kernel takes them.
    pub(super) fn write_many(self: &Rc<Self>, py: Python<'_>, chunks: Vec<Chunk>) -> PyResult<()> {
        let idle = {
            let mut queue = self.queue.borrow_mut();
            let idle = queue.is_empty();
            for chunk in chunks {
                queue.push(Piece::Chunk(chunk), 0);
            }
            idle
        };
        if idle {
            self.flush(py)?;
        }
        self.pause_if_full(py)
    }

    /// Writes the queue; what stays waits for the socket's next event.
    pub(crate) fn flush(self: &Rc<Self>, py: Python<'_>) -> PyResult<()> {
        self.in_dirty.set(false);
        if self.lost.get() {
            return Ok(());
        }
        let flushed = self.queue.borrow_mut().flush(self.fd);
        match flushed {
            Ok(flushed) => {
                match flushed {
                    Flushed::All => {}
                    Flushed::Blocked => self.want_write(),
                    Flushed::Enough => self.flush_later(),
                }
                self.resume_if_short(py)?;
                if self.queue.borrow().is_empty() {
                    self.sendfile.note_drained(py)?;
                    self.after_drain();
                }
                Ok(())
            }
            Err(error) => self.fail(py, Lost::Io(error), "Fatal write error on socket transport"),
        }
    }

    /// Has the queue written at the turn's end.
    fn flush_later(self: &Rc<Self>) {
        if !self.in_dirty.replace(true) {
            self.core.mark_dirty(self.clone());
        }
    }

    fn after_drain(self: &Rc<Self>) {
        if self.closing.get() {
            self.lose(Lost::Closed);
        } else if self.write_eof.get() {
            // The peer may have reset the connection; reading will tell.
            let _ = socket::shutdown_write(self.fd);
        }
    }

    /// Ends our side once the queue has left.
    pub(super) fn end_writing(&self) -> std::io::Result<()> {
        if self.closing.get() || self.write_eof.replace(true) || !self.queue.borrow().is_empty() {
            return Ok(());
        }
        socket::shutdown_write(self.fd)
    }

    /// From the first time on, the socket is watched for room to write, too.
    pub(super) fn want_write(self: &Rc<Self>) {
        if self.watches_write.replace(true) {
            return;
        }
        if let Some(key) = self.key() {
            // It can only fail when the descriptor was closed behind our back: the next call on
            // it says so.
            let _ = self.core.registry.modify(self.fd, key, Interest::BOTH);
        }
    }

    pub(super) fn pause_if_full(self: &Rc<Self>, py: Python<'_>) -> PyResult<()> {
        if self.queue.borrow().len() <= self.high.get() || self.paused_writing.replace(true) {
            return Ok(());
        }
        match self.sink(py) {
            Sink::Native(protocol) => protocol.pause_writing(py),
            Sink::Python(sink) => {
                let called = sink.protocol.call_method0(py, intern!(py, "pause_writing"));
                return self.report_flow(py, called, "protocol.pause_writing() failed");
            }
            Sink::Gone => {}
        }
        Ok(())
    }

    pub(super) fn resume_if_short(self: &Rc<Self>, py: Python<'_>) -> PyResult<()> {
        if !self.paused_writing.get() || self.queue.borrow().len() > self.low.get() {
            return Ok(());
        }
        self.paused_writing.set(false);
        match self.sink(py) {
            Sink::Native(protocol) => protocol.resume_writing(py),
            Sink::Python(sink) => {
                let called = sink.within(py, |protocol| {
                    protocol.call_method0(intern!(py, "resume_writing")).map(Bound::unbind)
                });
                return self.report_flow(py, called, "protocol.resume_writing() failed");
            }
            Sink::Gone => {}
        }
        Ok(())
    }

    fn report_flow(
        &self,
        py: Python<'_>,
        called: PyResult<Py<PyAny>>,
        message: &str,
    ) -> PyResult<()> {
        let Err(error) = called else {
            return Ok(());
        };
        let details = PyDict::new(py);
        if let Sink::Python(sink) = self.sink(py) {
            details.set_item("transport", sink.transport)?;
            details.set_item("protocol", sink.protocol)?;
        }
        self.core.report(py, error, message, Some(&details))
    }
}

/// The face for protocols in Rust.
impl NativeTransport for Rc<Stream> {
    fn write(&self, py: Python<'_>, data: &[u8]) {
        Stream::write_later(self, py, data);
    }
    fn write_buffer_len(&self) -> usize {
        self.queue.borrow().len()
    }
    fn sends_files(&self) -> bool {
        true
    }
    fn send_file(&self, py: Python<'_>, part: FilePart) {
        if !self.closing.get() && !self.lost.get() {
            self.queue.borrow_mut().push(Piece::File(part), 0);
            self.flush_later();
            // A native protocol's callbacks cannot fail.
            let _ = self.pause_if_full(py);
        }
    }
    fn write_eof(&self, _py: Python<'_>) {
        // The peer may have reset the connection; reading will tell.
        let _ = self.end_writing();
    }
    fn pause_reading(&self) {
        self.set_paused_reading(true);
    }
    fn resume_reading(&self) {
        self.set_paused_reading(false);
    }
    fn close(&self, _py: Python<'_>) {
        Stream::close(self);
    }
    fn abort(&self, _py: Python<'_>) {
        self.force_close(Lost::Closed);
    }
    fn peer(&self) -> Option<SocketAddr> {
        self.peer.as_ref()?.as_socket()
    }
    fn local(&self) -> Option<SocketAddr> {
        self.local.as_ref()?.as_socket()
    }
    fn is_unix(&self) -> bool {
        self.local.as_ref().is_some_and(SockAddr::is_unix)
    }
    fn set_write_limits(&self, high: usize, low: usize) {
        self.high.set(high.max(low));
        self.low.set(low);
    }
}

impl Stream {
    /// Queues `data` for the turn's end.
    fn write_later(self: &Rc<Self>, py: Python<'_>, data: &[u8]) {
        if self.closing.get() || self.lost.get() || data.is_empty() {
            return;
        }
        self.append(data);
        self.flush_later();
        // A native protocol's callbacks cannot fail.
        let _ = self.pause_if_full(py);
    }

    fn append(&self, data: &[u8]) {
        let mut queue = self.queue.borrow_mut();
        if let Some(Piece::Chunk(Chunk::Copied(last))) = queue.last_mut()
            && last.len() + data.len() <= JOIN_MAX
        {
            last.extend_from_slice(data);
            queue.grew(data.len());
        } else {
            queue.push(Piece::Chunk(Chunk::Copied(data.to_vec())), 0);
        }
    }
}
