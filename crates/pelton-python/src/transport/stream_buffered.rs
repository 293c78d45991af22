//! Reading into the buffer of an `asyncio.BufferedProtocol`.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::rc::Rc;

use pelton_reactor::socket;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;

use super::sink::{Lost, PythonSink};
use super::stream::Stream;
use crate::event_loop::core::READ_MAX;

/// One turn of `get_buffer`, `recv`, `buffer_updated`.
struct Round {
    /// What the socket said. An error of the protocol came before, or after.
    read: io::Result<usize>,
    /// Length of the protocol's buffer.
    size: usize,
    /// What the protocol raised, and where.
    raised: Option<(PyErr, &'static str)>,
}

impl Stream {
    /// Reads into the protocol's own buffer, again while it is filled, up to a turn's share.
    pub(super) fn read_buffered(
        self: &Rc<Self>,
        py: Python<'_>,
        sink: &PythonSink,
    ) -> PyResult<bool> {
        let mut total = 0;
        while total < READ_MAX {
            let round = sink.within(py, |protocol| Ok(round(self.fd, protocol)))?;
            let came = round.read.as_ref().copied().unwrap_or(0);
            if let Some((error, message)) = round.raised {
                self.fail(py, Lost::Python(error), message)?;
                return Ok(false);
            }
            if !self.after_read(py, round.read, round.size)? {
                return Ok(false);
            }
            total += came;
            if came < round.size || self.is_read_stopped() || !self.is_sink(sink) {
                break;
            }
        }
        Ok(true)
    }
}

/// Runs in the protocol's context.
fn round(fd: RawFd, protocol: &Bound<'_, PyAny>) -> Round {
    let py = protocol.py();
    let (read, size) = match fill(fd, protocol) {
        Ok(filled) => filled,
        Err(error) => {
            let raised = Some((error, "Fatal error: protocol.get_buffer() call failed."));
            return Round { read: Ok(0), size: 0, raised };
        }
    };
    let mut raised = None;
    if let Ok(count @ 1..) = read
        && let Err(error) = protocol.call_method1(intern!(py, "buffer_updated"), (count,))
    {
        raised = Some((error, "Fatal error: protocol.buffer_updated() call failed."));
    }
    Round { read, size, raised }
}

/// Asks for the buffer and reads into it: with its length.
fn fill(fd: RawFd, protocol: &Bound<'_, PyAny>) -> PyResult<(io::Result<usize>, usize)> {
    let py = protocol.py();
    let buffer = protocol.call_method1(intern!(py, "get_buffer"), (-1,))?;
    let mut view = MaybeUninit::<ffi::Py_buffer>::uninit();
    // SAFETY: on success the view is filled in, and describes writable, contiguous memory that
    // stays where it is until the view is released; the GIL is held, so nobody else touches it.
    unsafe {
        if ffi::PyObject_GetBuffer(buffer.as_ptr(), view.as_mut_ptr(), ffi::PyBUF_WRITABLE) < 0 {
            return Err(PyErr::fetch(py));
        }
        let view = view.assume_init_mut();
        let size = view.len as usize;
        if size == 0 {
            ffi::PyBuffer_Release(view);
            return Err(PyRuntimeError::new_err("get_buffer() returned an empty buffer"));
        }
        let memory = std::slice::from_raw_parts_mut(view.buf.cast::<MaybeUninit<u8>>(), size);
        let read = socket::recv(fd, memory);
        ffi::PyBuffer_Release(view);
        Ok((read, size))
    }
}
