//! Reading from pipes.

use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use pelton_reactor::socket;
use pyo3::ffi::{self, Py_ssize_t};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::stream::as_uninit;
use crate::event_loop::{LoopRef, os_error};

/// After a read of this length, the next is made straight into the bytes object Python gets.
const DIRECT_READ_MIN: usize = 32 * 1024;
/// Length of such reads: a pipe holds 64 KiB, and an object below 128 KiB is memory that the
/// allocator has at hand.
const DIRECT_READ_SIZE: usize = 72 * 1024;

unsafe extern "C" {
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: Py_ssize_t) -> std::ffi::c_int;
}

/// What can be read from `fd` now, `size` bytes at most; empty at its end, None if nothing is there.
/// `last` is the length of the read before this one.
///
/// `os.read` makes an object of `size` bytes for each call, whatever comes.
#[pyfunction]
pub(super) fn read_pipe<'py>(
    event_loop: &Bound<'py, PyAny>,
    fd: RawFd,
    size: usize,
    last: usize,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let py = event_loop.py();
    let read = if last >= DIRECT_READ_MIN {
        read_direct(py, fd, size.min(DIRECT_READ_SIZE))?
    } else {
        let core = LoopRef::from_object(event_loop)?.into_core();
        let mut buffer = core.take_buffer();
        let size = size.min(buffer.len());
        let read = socket::read(fd, as_uninit(&mut buffer[..size]));
        let read = read.map(|count| PyBytes::new(py, &buffer[..count]));
        core.return_buffer(buffer);
        read
    };
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(os_error(&error)),
    }
}

/// Reads into a new bytes object, then cuts it to what came.
fn read_direct(
    py: Python<'_>,
    fd: RawFd,
    size: usize,
) -> PyResult<std::io::Result<Bound<'_, PyBytes>>> {
    // SAFETY: a new bytes object that nobody else has: its memory may be written, and it may be
    // resized. On failure `_PyBytes_Resize` frees it and leaves null.
    unsafe {
        let mut bytes = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size as Py_ssize_t);
        if bytes.is_null() {
            return Err(PyErr::fetch(py));
        }
        let memory = ffi::PyBytes_AsString(bytes).cast::<MaybeUninit<u8>>();
        match socket::read(fd, std::slice::from_raw_parts_mut(memory, size)) {
            Ok(count) => {
                if count != size && _PyBytes_Resize(&raw mut bytes, count as Py_ssize_t) < 0 {
                    return Err(PyErr::fetch(py));
                }
                Ok(Ok(Bound::from_owned_ptr(py, bytes).cast_into_unchecked()))
            }
            Err(error) => {
                ffi::Py_DECREF(bytes);
                Ok(Err(error))
            }
        }
    }
}
