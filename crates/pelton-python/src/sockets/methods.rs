//! The loop's `sock_*` methods.

use std::ffi::CStr;
use std::ptr::null_mut;

use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::call;
use super::operation::Operation;
use crate::event_loop::{BaseLoop, calls, entry, rawtype};

/// Adds the methods to `BaseLoop`.
pub(super) fn register(py: Python<'_>) -> PyResult<()> {
    let kind = py.get_type::<BaseLoop>();
    let methods: [(&'static CStr, ffi::PyCFunctionFastWithKeywords, &'static CStr); 7] = [
        (c"sock_recv", sock_recv, c"Receive n bytes at most."),
        (c"sock_recv_into", sock_recv_into, c"Receive into a buffer; how many bytes came."),
        (c"sock_recvfrom", sock_recvfrom, c"Receive a datagram, and where it is from."),
        (c"sock_recvfrom_into", sock_recvfrom_into, c"Receive a datagram into a buffer."),
        (c"sock_sendall", sock_sendall, c"Send all of the data."),
        (c"sock_sendto", sock_sendto, c"Send a datagram to an address."),
        (c"sock_accept", sock_accept, c"Accept a connection."),
    ];
    for (name, function, doc) in methods {
        let method = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function };
        calls::add(&kind, name, method, ffi::METH_FASTCALL | ffi::METH_KEYWORDS, doc)?;
    }
    Ok(())
}

/// A C entry point for each operation.
macro_rules! methods {
    ($($name:ident: $operation:ident),* $(,)?) => {$(
        unsafe extern "C" fn $name(
            event_loop: *mut PyObject,
            args: *const *mut PyObject,
            count: Py_ssize_t,
            names: *mut PyObject,
        ) -> *mut PyObject {
            entry(null_mut(), |py| {
                // SAFETY: what the interpreter passes.
                unsafe { start(py, Operation::$operation, event_loop, args, count, names) }
            })
        }
    )*};
}

methods! {
    sock_recv: Recv,
    sock_recv_into: RecvInto,
    sock_recvfrom: RecvFrom,
    sock_recvfrom_into: RecvFromInto,
    sock_sendall: SendAll,
    sock_sendto: SendTo,
    sock_accept: Accept,
}

/// The awaitable; nothing happens before it is awaited.
#[inline]
unsafe fn start(
    py: Python<'_>,
    operation: Operation,
    event_loop: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> PyResult<*mut PyObject> {
    // SAFETY: what the interpreter passes; the caller says so.
    unsafe {
        let given = rawtype::Arguments::new(args, count, names);
        let parameters = operation.parameters();
        let required = parameters.len() - usize::from(operation == Operation::RecvFromInto);
        let [socket, first, second] = given.parse(py, operation.name(), parameters, required)?;
        if ffi::Py_TYPE(socket).cast() != socket_class(py)? {
            return asyncios(py, operation, event_loop, args, count, names);
        }
        call::new(py, event_loop, operation, socket, [first, second])
    }
}

/// `socket.socket`, looked up once.
fn socket_class(py: Python<'_>) -> PyResult<*mut PyObject> {
    static SOCKET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let class = SOCKET
        .get_or_try_init(py, || Ok::<_, PyErr>(py.import("socket")?.getattr("socket")?.unbind()))?;
    Ok(class.as_ptr())
}

/// asyncio's own coroutine: for objects that only behave like sockets, subclasses that may have
/// methods of their own, and TLS sockets, which it refuses.
#[cold]
unsafe fn asyncios(
    py: Python<'_>,
    operation: Operation,
    event_loop: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> PyResult<*mut PyObject> {
    let class = py.import("asyncio.selector_events")?.getattr("BaseSelectorEventLoop")?;
    let method = class.getattr(operation.name())?;
    let mut all = vec![event_loop];
    // SAFETY: what the interpreter passed: `count` values and one more per name.
    unsafe {
        let named = if names.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(names) };
        all.extend_from_slice(std::slice::from_raw_parts(args, (count + named) as usize));
        let result =
            ffi::PyObject_Vectorcall(method.as_ptr(), all.as_ptr(), 1 + count as usize, names);
        if result.is_null() { Err(PyErr::fetch(py)) } else { Ok(result) }
    }
}
