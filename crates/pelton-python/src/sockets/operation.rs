//! The calls themselves: each is tried once and says whether it would block.
//!
//! Reading and sending go to the kernel directly; what has an address goes through Python's socket
//! object, so that addresses, and the errors they cause, are Python's own.

use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr::null_mut;
use std::rc::Rc;

use pelton_reactor::socket;
use pyo3::exceptions::{
    PyBlockingIOError, PyBufferError, PyInterruptedError, PyTypeError, PyValueError,
};
use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::intern;
use pyo3::prelude::*;

use super::call::{CallObject, fileno};
use crate::event_loop::core::{LoopCore, READ_MAX};
use crate::event_loop::{Side, Watch, os_error};

/// After a read of this length, the next is made straight into the bytes object Python gets.
const DIRECT_READ_MIN: usize = 32 * 1024;
/// Lengths of such reads, where more is asked for: above, the allocator would map and unmap each
/// object, which costs more than the copy it saves.
const DIRECT_READ_SIZES: [usize; 2] = [72 * 1024, 112 * 1024];

unsafe extern "C" {
    fn _PyBytes_Resize(bytes: *mut *mut PyObject, size: Py_ssize_t) -> std::ffi::c_int;
}

/// Which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Operation {
    Recv,
    RecvInto,
    RecvFrom,
    RecvFromInto,
    SendAll,
    SendTo,
    Accept,
}

/// What a try led to.
pub(super) enum Attempt {
    /// It is done; a new reference.
    Done(*mut PyObject),
    /// It is to be tried again when this is ready.
    WouldBlock { fd: RawFd, side: Side },
}

impl Operation {
    /// The method's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Recv => "sock_recv",
            Self::RecvInto => "sock_recv_into",
            Self::RecvFrom => "sock_recvfrom",
            Self::RecvFromInto => "sock_recvfrom_into",
            Self::SendAll => "sock_sendall",
            Self::SendTo => "sock_sendto",
            Self::Accept => "sock_accept",
        }
    }

    /// The method's parameters; all but the last of `sock_recvfrom_into` are required.
    pub(super) fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Recv => &["sock", "n"],
            Self::RecvInto => &["sock", "buf"],
            Self::RecvFrom => &["sock", "bufsize"],
            Self::RecvFromInto => &["sock", "buf", "nbytes"],
            Self::SendAll => &["sock", "data"],
            Self::SendTo => &["sock", "data", "address"],
            Self::Accept => &["sock"],
        }
    }

    /// Tries the call once.
    ///
    /// # Safety
    /// A live call under way, which its caller holds; the GIL is held.
    #[inline]
    pub(super) unsafe fn attempt(
        py: Python<'_>,
        core: &LoopCore,
        call: *mut CallObject,
    ) -> PyResult<Attempt> {
        // SAFETY: the caller's.
        unsafe {
            let fd = fileno(py, (*call).socket)?;
            match (*call).operation {
                Self::SendAll => send_all(py, call, fd),
                Self::SendTo => by_method(py, call, fd, Side::Write),
                reading => {
                    let socket = Bound::from_borrowed_ptr(py, (*call).socket);
                    let watch = core.watch_of(fd).filter(|watch| watch.calls.is_of(&socket));
                    if watch.as_ref().is_some_and(|watch| watch.calls.is_drained(core)) {
                        return Ok(Attempt::WouldBlock { fd, side: Side::Read });
                    }
                    match reading {
                        Self::Recv => recv(py, core, call, fd, watch.as_ref()),
                        Self::RecvInto => recv_into(py, core, call, fd, watch.as_ref()),
                        _ => by_method(py, call, fd, Side::Read),
                    }
                }
            }
        }
    }
}

/// `socket.recv(n)`.
unsafe fn recv(
    py: Python<'_>,
    core: &LoopCore,
    call: *mut CallObject,
    fd: RawFd,
    watch: Option<&Rc<Watch>>,
) -> PyResult<Attempt> {
    // SAFETY: a call under way holds its argument.
    let wanted = unsafe { ffi::PyNumber_AsSsize_t((*call).arguments[0], ffi::PyExc_OverflowError) };
    if wanted < 0 {
        return Err(
            PyErr::take(py).unwrap_or_else(|| PyValueError::new_err("negative buffersize in recv"))
        );
    }
    let last = watch.map_or(0, |watch| watch.calls.last_read());
    let wanted = wanted as usize;
    let size = if wanted > READ_MAX {
        wanted
    } else if last >= DIRECT_READ_MIN {
        wanted.min(if last < DIRECT_READ_SIZES[0] {
            DIRECT_READ_SIZES[0]
        } else {
            DIRECT_READ_SIZES[1]
        })
    } else {
        wanted
    };
    let (read, bytes) = if wanted > READ_MAX || last >= DIRECT_READ_MIN {
        recv_direct(py, fd, size)?
    } else {
        let mut buffer = core.take_buffer();
        let read = socket::recv_now(fd, as_uninit(&mut buffer[..size]));
        let bytes = match read {
            // SAFETY: the memory that the kernel has just filled is copied.
            Ok(count) => unsafe {
                ffi::PyBytes_FromStringAndSize(buffer.as_ptr().cast(), count as Py_ssize_t)
            },
            Err(_) => null_mut(),
        };
        core.return_buffer(buffer);
        (read, bytes)
    };
    match read {
        Ok(_) if bytes.is_null() => Err(PyErr::fetch(py)),
        Ok(count) => {
            if let Some(watch) = watch {
                watch.calls.note_read(core, count, size);
            }
            Ok(Attempt::Done(bytes))
        }
        Err(error) => would_block(error, fd, Side::Read),
    }
}

/// Reads into a new bytes object, then cuts it to what came. The object is null after an error.
fn recv_direct(
    py: Python<'_>,
    fd: RawFd,
    size: usize,
) -> PyResult<(std::io::Result<usize>, *mut PyObject)> {
    // SAFETY: a new bytes object that nobody else has: its memory may be written, and it may be
    // resized. On failure `_PyBytes_Resize` frees it and leaves null.
    unsafe {
        let mut bytes = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size as Py_ssize_t);
        if bytes.is_null() {
            return Err(PyErr::fetch(py));
        }
        let memory = ffi::PyBytes_AsString(bytes).cast::<MaybeUninit<u8>>();
        let read = socket::recv_now(fd, std::slice::from_raw_parts_mut(memory, size));
        match read {
            Ok(count) if count == size => {}
            Ok(count) => {
                if _PyBytes_Resize(&raw mut bytes, count as Py_ssize_t) < 0 {
                    return Err(PyErr::fetch(py));
                }
            }
            Err(_) => {
                ffi::Py_DECREF(bytes);
                bytes = null_mut();
            }
        }
        Ok((read, bytes))
    }
}

/// `socket.recv_into(buffer)`.
unsafe fn recv_into(
    py: Python<'_>,
    core: &LoopCore,
    call: *mut CallObject,
    fd: RawFd,
    watch: Option<&Rc<Watch>>,
) -> PyResult<Attempt> {
    // SAFETY: a call under way; `view` gives memory that is exported for writing until the call is
    // finished; the GIL is held, so Python does not touch it meanwhile.
    let (read, size) = unsafe {
        let view = view(py, call, ffi::PyBUF_WRITABLE)?;
        let size = (*view).len as usize;
        let memory: &mut [MaybeUninit<u8>] = if size == 0 {
            &mut []
        } else {
            std::slice::from_raw_parts_mut((*view).buf.cast(), size)
        };
        (socket::recv_now(fd, memory), size)
    };
    match read {
        Ok(count) => {
            if let Some(watch) = watch {
                watch.calls.note_read(core, count, size);
            }
            Ok(Attempt::Done(count.into_pyobject(py)?.into_any().into_ptr()))
        }
        Err(error) => would_block(error, fd, Side::Read),
    }
}

/// `socket.send(data)` until all of it has left.
unsafe fn send_all(py: Python<'_>, call: *mut CallObject, fd: RawFd) -> PyResult<Attempt> {
    // SAFETY: a call under way holds its argument: an exact bytes object, which never changes, or
    // memory that is exported until the call is finished.
    unsafe {
        let data = (*call).arguments[0];
        let (memory, size) = if ffi::PyBytes_CheckExact(data) != 0 {
            (ffi::PyBytes_AsString(data).cast::<u8>(), ffi::PyBytes_Size(data) as usize)
        } else {
            let view = view(py, call, ffi::PyBUF_SIMPLE)?;
            ((*view).buf.cast::<u8>(), (*view).len as usize)
        };
        loop {
            let rest: &[u8] = if size == 0 {
                &[]
            } else {
                std::slice::from_raw_parts(memory.add((*call).sent), size - (*call).sent)
            };
            match socket::send_now(fd, rest) {
                Ok(count) => (*call).sent += count,
                Err(error) => return would_block(error, fd, Side::Write),
            }
            if (*call).sent >= size {
                return Ok(Attempt::Done(ffi::Py_NewRef(ffi::Py_None())));
            }
        }
    }
}

fn would_block(error: std::io::Error, fd: RawFd, side: Side) -> PyResult<Attempt> {
    if error.kind() == std::io::ErrorKind::WouldBlock {
        Ok(Attempt::WouldBlock { fd, side })
    } else {
        Err(os_error(&error))
    }
}

/// The memory of the first argument; it is exported until the call is finished.
unsafe fn view(
    py: Python<'_>,
    call: *mut CallObject,
    flags: std::ffi::c_int,
) -> PyResult<*mut ffi::Py_buffer> {
    // SAFETY: a call under way; on success the view is filled, and then kept where it is.
    unsafe {
        if (*call).view.is_null() {
            let mut view = Box::new(ffi::Py_buffer::new());
            if ffi::PyObject_GetBuffer((*call).arguments[0], &raw mut *view, flags) < 0 {
                let error = PyErr::fetch(py);
                // As Python's socket says it of a buffer that cannot be written.
                return Err(if error.is_instance_of::<PyBufferError>(py) {
                    PyTypeError::new_err(error.value(py).to_string())
                } else {
                    error
                });
            }
            (*call).view = Box::into_raw(view);
        }
        Ok((*call).view)
    }
}

/// A method of Python's socket object, which raises `BlockingIOError` where it would block.
unsafe fn by_method(
    py: Python<'_>,
    call: *mut CallObject,
    fd: RawFd,
    side: Side,
) -> PyResult<Attempt> {
    // SAFETY: a call under way holds its socket and its arguments; null stands for one not given.
    let (socket, operation, [first, second]) = unsafe {
        (
            Bound::from_borrowed_ptr(py, (*call).socket),
            (*call).operation,
            (*call).arguments.map(|argument| Bound::from_borrowed_ptr_or_opt(py, argument)),
        )
    };
    let result = match (operation, first, second) {
        (Operation::RecvFrom, Some(size), _) => {
            socket.call_method1(intern!(py, "recvfrom"), (size,))
        }
        (Operation::RecvFromInto, Some(buffer), size) => {
            let size = match size {
                Some(size) if size.is_truthy()? => size,
                _ => buffer.len()?.into_pyobject(py)?.into_any(),
            };
            socket.call_method1(intern!(py, "recvfrom_into"), (buffer, size))
        }
        (Operation::SendTo, Some(data), Some(address)) => {
            socket.call_method1(intern!(py, "sendto"), (data, address))
        }
        _ => accept(&socket),
    };
    match result {
        Ok(value) => Ok(Attempt::Done(value.into_ptr())),
        Err(error)
            if error.is_instance_of::<PyBlockingIOError>(py)
                || error.is_instance_of::<PyInterruptedError>(py) =>
        {
            Ok(Attempt::WouldBlock { fd, side })
        }
        Err(error) => Err(error),
    }
}

/// `(connection, address)`; the connection does not block.
fn accept<'py>(socket: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = socket.py();
    let accepted = socket.call_method0(intern!(py, "accept"))?;
    accepted.get_item(0)?.call_method1(intern!(py, "setblocking"), (false,))?;
    Ok(accepted)
}

/// As memory that the kernel may fill.
fn as_uninit(buffer: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    // SAFETY: same layout; `recv` only writes initialized bytes into it.
    unsafe { &mut *(std::ptr::from_mut(buffer) as *mut [MaybeUninit<u8>]) }
}
