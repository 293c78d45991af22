//! Reading into the buffer of an `asyncio.BufferedProtocol`.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::rc::Rc;

use pelton_reactor::socket;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;

use super::sink::{Lost, PythonSink};
use super::stream::Stream;
use super::view::View;
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
    let (read, size) = match fill(protocol, -1, |memory| socket::recv(fd, memory)) {
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

/// Asks a buffered protocol for its buffer, with `hint`, and has `work` write to it: what that
/// says, and the buffer's length.
pub(super) fn fill<R>(
    protocol: &Bound<'_, PyAny>,
    hint: isize,
    work: impl FnOnce(&mut [MaybeUninit<u8>]) -> R,
) -> PyResult<(R, usize)> {
    let py = protocol.py();
    let buffer = protocol.call_method1(intern!(py, "get_buffer"), (hint,))?;
    let mut view = View::writable(&buffer)?;
    let memory = view.memory();
    if memory.is_empty() {
        return Err(PyRuntimeError::new_err("get_buffer() returned an empty buffer"));
    }
    let size = memory.len();
    Ok((work(memory), size))
}
