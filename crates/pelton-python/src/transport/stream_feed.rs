//! A connection whose bytes go to a `StreamReader`: no protocol and no Python in between.
//!
//! Where a `read` waits and nothing is buffered, the bytes are left in the socket: the coroutine is
//! woken, and takes them from there straight into the object that it returns. Else they are
//! buffered, as by asyncio's protocol.

use std::rc::Rc;

use pyo3::ffi;
use pyo3::prelude::*;

use super::sink::Lost;
use super::stream::{DIRECT_READ_MIN, Stream, as_uninit};
use crate::aio::Reader;
use crate::aio::future::owned;
use crate::event_loop::Owned;
use crate::event_loop::core::READ_MAX;
use pelton_reactor::socket;

impl Stream {
    /// Gives what comes to `reader` from now on, until the protocol is replaced.
    pub(super) fn feed(&self, reader: &Rc<Reader>) {
        let old = self.feeds.replace(Some(Rc::clone(reader)));
        drop(old);
    }

    /// Gives what comes to the protocol again.
    pub(super) fn stop_feeding(&self) {
        // A `let` of its own: the borrow ends before the reader is dropped.
        let reader = self.feeds.borrow_mut().take();
        if let Some(reader) = reader {
            reader.let_go();
        }
    }

    /// The reader that is fed.
    pub(super) fn fed(&self) -> Option<Rc<Reader>> {
        self.feeds.borrow().clone()
    }

    /// The socket is ready. As `read_once`.
    pub(super) fn read_for(self: &Rc<Self>, py: Python<'_>, reader: &Rc<Reader>) -> PyResult<bool> {
        if reader.reads_itself() {
            self.left.set(true);
            return reader.wake(py).map(|()| false);
        }
        self.buffer_for(py, reader)
    }

    /// Whether bytes, or the end, were left in the socket.
    pub(crate) fn has_left(&self) -> bool {
        self.left.get()
    }

    /// Nobody took what was left: it is read as if it came just now.
    pub(crate) fn read_left_later(self: &Rc<Self>) {
        if self.left.replace(false) {
            self.read_more_later();
        }
    }

    /// Before something that ends or stops reading: buffers what was left.
    pub(super) fn settle_left(self: &Rc<Self>, py: Python<'_>) -> PyResult<()> {
        if !self.left.replace(false) {
            return Ok(());
        }
        let Some(reader) = self.fed() else {
            return Ok(());
        };
        let mut buffer = self.core.take_buffer();
        // Whether it failed or ended is of no interest any more.
        let fed = match socket::recv(self.fd, as_uninit(&mut buffer)) {
            Ok(count @ 1..) => reader.feed(py, &buffer[..count]),
            _ => Ok(()),
        };
        self.core.return_buffer(buffer);
        fed
    }

    /// Buffers what was left, on behalf of a coroutine. `false`: nothing was there, or the end.
    pub(crate) fn fill_reader(
        self: &Rc<Self>,
        py: Python<'_>,
        reader: &Rc<Reader>,
    ) -> PyResult<bool> {
        self.left.set(false);
        if self.is_read_stopped() {
            return Ok(false);
        }
        let more = self.buffer_for(py, reader)?;
        self.read_on(more);
        Ok(more)
    }

    /// Up to `count` bytes of what was left; what is read beyond is buffered. None: nothing was
    /// there, or the end, of which the protocol was told.
    pub(crate) fn pull(
        self: &Rc<Self>,
        py: Python<'_>,
        reader: &Rc<Reader>,
        count: usize,
    ) -> PyResult<Option<Owned>> {
        self.left.set(false);
        if self.is_read_stopped() {
            return Ok(None);
        }
        if self.last_read.get() >= DIRECT_READ_MIN && count > self.last_read.get() {
            let (read, data, size) = self.recv_bytes(py, count)?;
            let more = self.after_read(py, read, size)?;
            self.read_on(more);
            return Ok(data.filter(|_| more));
        }
        let mut buffer = self.core.take_buffer();
        let read = socket::recv(self.fd, as_uninit(&mut buffer));
        let data = match read {
            Ok(came @ 1..) => {
                let taken = came.min(count);
                // SAFETY: the pointer and length describe bytes of the buffer, which are copied.
                let data = unsafe {
                    let first = buffer.as_ptr().cast();
                    owned(py, ffi::PyBytes_FromStringAndSize(first, taken as ffi::Py_ssize_t))
                };
                data.and_then(|data| reader.feed(py, &buffer[taken..came]).map(|()| Some(data)))
            }
            _ => Ok(None),
        };
        self.core.return_buffer(buffer);
        let more = self.after_read(py, read, READ_MAX)?;
        self.read_on(more);
        data
    }

    fn read_on(self: &Rc<Self>, more: bool) {
        if more && (self.filled.get() || self.peer_ended.get()) {
            self.read_more_later();
        }
    }

    fn buffer_for(self: &Rc<Self>, py: Python<'_>, reader: &Rc<Reader>) -> PyResult<bool> {
        self.left.set(false);
        let mut buffer = self.core.take_buffer();
        let read = socket::recv(self.fd, as_uninit(&mut buffer));
        let fed = match read {
            Ok(count @ 1..) => reader.feed(py, &buffer[..count]),
            _ => Ok(()),
        };
        self.core.return_buffer(buffer);
        if let Err(error) = fed {
            let message = "Fatal error: StreamReader.feed_data() failed.";
            self.fail(py, Lost::Python(error), message)?;
            return Ok(false);
        }
        self.after_read(py, read, READ_MAX)
    }
}
