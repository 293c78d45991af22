//! The bytes that came on a connection and were not read, and the one coroutine that may wait for
//! more.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pyo3::exceptions::{PyNotImplementedError, PyRuntimeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;

use crate::aio::future::Future;
use crate::event_loop::Owned;
use crate::transport::stream::Stream;

/// A buffer that grew beyond this is given back when it is empty: idle connections are many.
const KEPT_MAX: usize = 4 * 1024;

/// What a waiting coroutine needs before it is worth waking.
#[derive(Clone, Copy, Debug)]
pub(super) enum Want {
    /// Any bytes.
    Any,
    /// So many bytes in all.
    AtLeast(usize),
    /// This byte among what comes, or more than so many bytes in all.
    Byte(u8, usize),
    /// The end.
    End,
}

/// A reader's state, shared by the Python object and the connection that feeds it.
pub(crate) struct Reader {
    pub(super) event_loop: Py<PyAny>,
    /// `readline` and `readuntil` give up beyond it; twice as much stops the connection's reading.
    pub(super) limit: usize,
    pub(super) buffer: RefCell<Buffer>,
    pub(super) eof: Cell<bool>,
    /// We stopped the transport's reading.
    pub(super) paused: Cell<bool>,
    pub(super) exception: RefCell<Option<Py<PyAny>>>,
    pub(super) waiter: RefCell<Option<Future>>,
    want: Cell<Want>,
    /// Futures of the two waits before: the older can be used again. (The younger is held by the
    /// call that resumes the coroutine, until its next wait.)
    pub(super) spares: RefCell<[Option<Future>; 2]>,
    pub(super) transport: RefCell<Option<Py<PyAny>>>,
    /// The connection, if it is one of ours that feeds us.
    pub(super) stream: RefCell<Option<Rc<Stream>>>,
}

impl Reader {
    pub(super) fn new(event_loop: Py<PyAny>, limit: usize) -> Self {
        Self {
            event_loop,
            limit,
            buffer: RefCell::default(),
            eof: Cell::new(false),
            paused: Cell::new(false),
            exception: RefCell::new(None),
            waiter: RefCell::new(None),
            want: Cell::new(Want::Any),
            spares: RefCell::default(),
            transport: RefCell::new(None),
            stream: RefCell::new(None),
        }
    }

    /// Takes bytes that came.
    pub(crate) fn feed(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        if data.is_empty() {
            return Ok(());
        }
        let len = self.buffer.borrow_mut().extend(data);
        let waits = self.waiter.borrow().is_some();
        let enough = match self.want.get() {
            _ if !waits => true,
            Want::Any => true,
            Want::AtLeast(count) => len >= count,
            Want::Byte(byte, most) => len > most || pelton_reactor::position(data, byte).is_some(),
            Want::End => false,
        };
        if !enough {
            return Ok(()); // it wants more, so reading goes on
        }
        self.wake(py)?;
        self.pause_if_full(py)
    }

    /// Whether a `read` waits that would take what comes straight from the socket.
    pub(crate) fn reads_itself(&self) -> bool {
        self.waiter.borrow().is_some()
            && matches!(self.want.get(), Want::Any)
            && self.buffer.borrow().is_empty()
    }

    /// Wakes the coroutine that waits.
    pub(crate) fn wake(&self, py: Python<'_>) -> PyResult<()> {
        // A `let` of its own: the borrow ends before Python runs.
        let waiter = self.waiter.borrow_mut().take();
        match waiter {
            // SAFETY: None is alive.
            Some(waiter) => waiter.wake(py, unsafe { ffi::Py_None() }).map(drop),
            None => Ok(()),
        }
    }

    /// The connection is gone, or was given to another protocol.
    pub(crate) fn let_go(&self) {
        drop(self.stream.borrow_mut().take());
    }

    pub(super) fn feed_eof(&self, py: Python<'_>) -> PyResult<()> {
        self.eof.set(true);
        self.wake(py)
    }

    pub(super) fn set_exception(&self, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = error.py();
        let old = self.exception.replace(Some(error.clone().unbind()));
        drop(old);
        let waiter = self.waiter.borrow_mut().take();
        match waiter {
            Some(waiter) if !waiter.done(py)? => {
                waiter.set_exception(py, PyErr::from_value(error.clone()))
            }
            _ => Ok(()),
        }
    }

    /// The exception of `set_exception`, raised.
    pub(super) fn check(&self, py: Python<'_>) -> PyResult<()> {
        match &*self.exception.borrow() {
            Some(error) => Err(PyErr::from_value(error.bind(py).clone())),
            None => Ok(()),
        }
    }

    /// The future for a coroutine of `function` that needs more. What it waited for before, if it
    /// was stopped for that, goes on.
    pub(super) fn begin_wait(
        &self,
        py: Python<'_>,
        function: &str,
        want: Want,
    ) -> PyResult<Future> {
        if self.waiter.borrow().is_some() {
            return Err(PyRuntimeError::new_err(format!(
                "{function}() called while another coroutine is already waiting for incoming data"
            )));
        }
        self.resume(py)?;
        let spare = self.spares.borrow_mut()[0].take();
        let again = match spare {
            Some(spare) => spare.reuse(py)?,
            None => None,
        };
        let future = match again {
            Some(future) => future,
            None => Future::new(py, self.event_loop.as_ptr())?,
        };
        self.want.set(want);
        let old = self.waiter.replace(Some(future.share()));
        drop(old);
        Ok(future)
    }

    /// A wait is over, one way or the other.
    pub(super) fn end_wait(&self, future: Future) {
        let ours = self.waiter.borrow().as_ref().is_some_and(|waiter| waiter.is(&future));
        if ours {
            let waiter = self.waiter.borrow_mut().take();
            drop(waiter);
        }
        // A broken connection is not read again, and its futures hold the exception, whose
        // traceback holds the frame that reads, which holds us.
        let broken = self.exception.borrow().is_some();
        let dropped = if broken {
            let [older, younger] = self.spares.take();
            [older, younger, Some(future)]
        } else {
            let mut spares = self.spares.borrow_mut();
            let younger = spares[1].replace(future);
            [std::mem::replace(&mut spares[0], younger), None, None]
        };
        drop(dropped);
    }

    /// The coroutine that was woken will not read: what was left in the socket for it is read as
    /// if it came just now.
    pub(super) fn pass_on(&self) {
        if let Some(stream) = &*self.stream.borrow() {
            stream.read_left_later();
        }
    }

    /// Bytes were taken.
    pub(super) fn resume_if_short(&self, py: Python<'_>) -> PyResult<()> {
        if self.paused.get() && self.buffer.borrow().len() <= self.limit {
            return self.resume(py);
        }
        Ok(())
    }

    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        if !self.paused.replace(false) {
            return Ok(());
        }
        match self.transport(py) {
            Some(transport) => transport.call_method0(py, intern!(py, "resume_reading")).map(drop),
            None => Ok(()),
        }
    }

    /// Stops the connection's reading when twice the limit is buffered.
    pub(super) fn pause_if_full(&self, py: Python<'_>) -> PyResult<()> {
        if self.paused.get() || self.buffer.borrow().len() <= self.limit.saturating_mul(2) {
            return Ok(());
        }
        let Some(transport) = self.transport(py) else {
            return Ok(());
        };
        match transport.call_method0(py, intern!(py, "pause_reading")) {
            Ok(_) => {
                self.paused.set(true);
                Ok(())
            }
            Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => {
                // It cannot: everything is buffered, and it is not asked again.
                let transport = self.transport.borrow_mut().take();
                drop(transport);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn transport(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.transport.borrow().as_ref().map(|transport| transport.clone_ref(py))
    }

    /// Takes up to `count` bytes.
    pub(super) fn take(&self, py: Python<'_>, count: usize) -> PyResult<Owned> {
        let taken = self.buffer.borrow_mut().take(py, count)?;
        self.resume_if_short(py)?;
        Ok(taken)
    }
}

/// Bytes in order, taken from the front.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    data: Vec<u8>,
    /// Bytes of `data` that were taken.
    start: usize,
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.data.len() - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.data.len() == self.start
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.data[self.start..]
    }

    /// Adds bytes; how many there are then.
    fn extend(&mut self, data: &[u8]) -> usize {
        // What was taken is moved over once it is most of the memory, so each byte moves at most
        // once on average.
        if self.start > self.data.len() / 2 {
            self.data.drain(..self.start);
            self.start = 0;
        }
        self.data.extend_from_slice(data);
        self.len()
    }

    /// Drops `count` bytes.
    pub(super) fn skip(&mut self, count: usize) {
        self.start += count.min(self.len());
        if self.is_empty() {
            self.start = 0;
            self.data.clear();
            if self.data.capacity() > KEPT_MAX {
                self.data = Vec::new();
            }
        }
    }

    /// The first `count` bytes, or as many as there are.
    fn take(&mut self, py: Python<'_>, count: usize) -> PyResult<Owned> {
        let count = count.min(self.len());
        // SAFETY: the pointer and length describe our bytes, which are copied.
        let taken = unsafe {
            let first = self.bytes().as_ptr().cast();
            crate::aio::future::owned(
                py,
                ffi::PyBytes_FromStringAndSize(first, count as ffi::Py_ssize_t),
            )?
        };
        self.skip(count);
        Ok(taken)
    }
}
