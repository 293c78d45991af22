//! What `loop.sendfile` needs of a stream: that nothing else is written meanwhile, and to know when
//! the queue is empty and when the socket has room. The file's bytes never pass through here.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pyo3::exceptions::{PyConnectionError, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;

use super::stream::Stream;

/// A stream's part in `sendfile`.
#[derive(Default)]
pub(super) struct Sendfile {
    under_way: Cell<bool>,
    /// Futures of the loop, until what they wait for has come.
    drained: RefCell<Option<Py<PyAny>>>,
    writable: RefCell<Option<Py<PyAny>>>,
}

impl Sendfile {
    /// `RuntimeError` while a file is sent.
    pub(super) fn check_write(&self) -> PyResult<()> {
        if self.under_way.get() {
            let text = "unable to write; sendfile is in progress";
            return Err(PyRuntimeError::new_err(text));
        }
        Ok(())
    }

    /// A file may be sent no more.
    pub(super) fn end(&self) {
        self.under_way.set(false);
        let dropped = (self.drained.take(), self.writable.take());
        drop(dropped);
    }

    /// The queue is empty.
    pub(super) fn note_drained(&self, py: Python<'_>) -> PyResult<()> {
        wake(py, self.drained.take())
    }

    /// The socket has room.
    pub(super) fn note_writable(&self, py: Python<'_>) -> PyResult<()> {
        wake(py, self.writable.take())
    }

    /// The connection is gone: who waits is told.
    pub(super) fn note_lost(&self, py: Python<'_>) -> PyResult<()> {
        for waiter in [self.drained.take(), self.writable.take()].into_iter().flatten() {
            if !is_done(py, &waiter)? {
                let error = PyConnectionError::new_err("Connection is closed by peer");
                waiter.call_method1(py, intern!(py, "set_exception"), (error.into_value(py),))?;
            }
        }
        Ok(())
    }
}

impl Stream {
    /// Begins to send a file: no more is written, and the future is done once the queue is empty.
    pub(super) fn make_empty_waiter<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.sendfile.under_way.replace(true) {
            return Err(PyRuntimeError::new_err("Empty waiter is already set"));
        }
        let waiter = self.new_future(py)?;
        let previous = self.sendfile.drained.replace(Some(waiter.clone().unbind()));
        drop(previous);
        if self.lost.get() {
            self.sendfile.note_lost(py)?;
        } else if self.queue.borrow().is_empty() {
            self.sendfile.note_drained(py)?;
        }
        Ok(waiter)
    }

    /// A future that is done once the socket has room again.
    pub(super) fn make_writable_waiter<'py>(
        self: &Rc<Self>,
        py: Python<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let waiter = self.new_future(py)?;
        let previous = self.sendfile.writable.replace(Some(waiter.clone().unbind()));
        drop(previous);
        if self.lost.get() {
            self.sendfile.note_lost(py)?;
        } else {
            self.want_write();
        }
        Ok(waiter)
    }

    fn new_future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.core.object(py)?.call_method0(intern!(py, "create_future"))
    }
}

fn wake(py: Python<'_>, waiter: Option<Py<PyAny>>) -> PyResult<()> {
    if let Some(waiter) = waiter
        && !is_done(py, &waiter)?
    {
        waiter.call_method1(py, intern!(py, "set_result"), (py.None(),))?;
    }
    Ok(())
}

fn is_done(py: Python<'_>, waiter: &Py<PyAny>) -> PyResult<bool> {
    waiter.call_method0(py, intern!(py, "done"))?.is_truthy(py)
}
