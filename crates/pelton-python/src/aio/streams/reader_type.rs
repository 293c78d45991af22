//! `StreamReader`.

use std::ptr::null_mut;
use std::rc::Rc;

use pyo3::exceptions::{PyAssertionError, PyTypeError, PyValueError};
use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::reader::Reader;
use super::reading::{Exactly, Line, Next, Read, Reading, Until};
use crate::aio::coroutine::coroutine;
use crate::aio::future::Future;
use crate::event_loop::{GilBound, Owned, entry};
use crate::methods::add_method;
use crate::transport::{StreamTransport, TlsTransport, bytes_of};

/// asyncio's default limit.
const LIMIT: usize = 64 * 1024;

/// The reading half of a connection. See `pelton.aio.StreamReader`.
// No `dict` here: the interpreter makes it while the object's contents are not there yet, and the
// collector may run then. The class in Python has it.
#[pyclass(frozen, subclass, weakref, module = "pelton._core")]
pub(crate) struct StreamReader {
    inner: GilBound<Rc<Reader>>,
    /// Where it was made (debug mode).
    traceback: Option<Py<PyAny>>,
}

/// The state of a reader.
///
/// # Safety
/// `object` is a live `StreamReader`; the GIL is held.
pub(super) unsafe fn reader_of(py: Python<'_>, object: &Owned) -> Rc<Reader> {
    // SAFETY: the caller's; the class is frozen, so its contents may be shared.
    unsafe {
        let reader = Borrowed::from_ptr(py, object.as_ptr()).cast_unchecked::<StreamReader>();
        Rc::clone(&reader.get().inner)
    }
}

impl StreamReader {
    /// Its state.
    pub(crate) fn inner(&self) -> &Rc<Reader> {
        &self.inner
    }
}

#[pymethods]
impl StreamReader {
    #[new]
    #[pyo3(signature = (limit=None, r#loop=None))]
    fn new(
        py: Python<'_>,
        limit: Option<&Bound<'_, PyAny>>,
        r#loop: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let limit = match limit {
            None => LIMIT,
            Some(limit) if limit.le(0)? => {
                return Err(PyValueError::new_err("Limit cannot be <= 0"));
            }
            // Beyond what can be addressed there is none.
            Some(limit) => limit.extract().unwrap_or(usize::MAX),
        };
        let event_loop = match r#loop {
            Some(event_loop) => event_loop,
            None => py.import("asyncio.events")?.call_method0("get_event_loop")?,
        };
        let debug = event_loop.call_method0(intern!(py, "get_debug"))?.is_truthy()?;
        let traceback = if debug {
            let frame = py.import("sys")?.call_method1("_getframe", (0,))?;
            let helpers = py.import("asyncio.format_helpers")?;
            Some(helpers.call_method1("extract_stack", (frame,))?.unbind())
        } else {
            None
        };
        let reader = Reader::new(event_loop.unbind(), limit);
        Ok(Self { inner: GilBound::new(Rc::new(reader)), traceback })
    }

    /// The exception of `set_exception`, or None.
    fn exception(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.exception.borrow().as_ref().map(|error| error.clone_ref(py))
    }

    /// Has reads fail with `exc` from now on.
    fn set_exception(&self, exc: &Bound<'_, PyAny>) -> PyResult<()> {
        self.inner.set_exception(exc)
    }

    /// The transport that is stopped while too much is buffered. AssertionError if there is one.
    fn set_transport(&self, transport: Bound<'_, PyAny>) -> PyResult<()> {
        if self.inner.transport.borrow().is_some() {
            return Err(PyAssertionError::new_err("Transport already set"));
        }
        self.set_any_transport(Some(transport));
        Ok(())
    }

    /// Takes the bytes of one of our own transports without the protocol, from now on. Anything
    /// else, or a subclass with a `feed_data` of its own, goes on being fed.
    fn _attach(slf: &Bound<'_, Self>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = intern!(slf.py(), "feed_data");
        let own = slf.py().get_type::<Self>().getattr(name)?;
        if !slf.get_type().getattr(name)?.is(&own) {
            return Ok(());
        }
        let inner = &slf.get().inner;
        if let Ok(transport) = transport.cast_exact::<TlsTransport>() {
            transport.get().feed(inner);
        } else if let Ok(transport) = transport.cast_exact::<StreamTransport>()
            && let Some(stream) = transport.get().feed(inner)
        {
            *inner.stream.borrow_mut() = Some(stream);
        }
        Ok(())
    }

    /// The peer will send no more.
    fn feed_eof(&self, py: Python<'_>) -> PyResult<()> {
        self.inner.feed_eof(py)
    }

    /// Whether everything was read and nothing more will come.
    fn at_eof(&self) -> bool {
        self.inner.eof.get() && self.inner.buffer.borrow().is_empty()
    }

    /// Adds bytes that came.
    fn feed_data(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.inner.eof.get() {
            return Err(PyAssertionError::new_err("feed_data after feed_eof"));
        }
        match data.cast_exact::<PyBytes>() {
            Ok(bytes) => self.inner.feed(data.py(), bytes.as_bytes()),
            Err(_) => self.inner.feed(data.py(), &bytes_of(data)?),
        }
    }

    fn __aiter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __anext__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        // SAFETY: a live object, and a new reference that is given away.
        unsafe {
            let next = coroutine(py, Reading::new(Owned::share(slf.as_ptr()), Next::new()))?;
            Ok(Bound::from_owned_ptr(py, next).unbind())
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let inner = &self.inner;
        let mut parts = vec!["StreamReader".to_owned()];
        let buffered = inner.buffer.borrow().len();
        if buffered > 0 {
            parts.push(format!("{buffered} bytes"));
        }
        if inner.eof.get() {
            parts.push("eof".to_owned());
        }
        if inner.limit != LIMIT {
            parts.push(format!("limit={}", inner.limit));
        }
        let objects = [
            ("waiter", self.waiter(py)),
            ("exception", self.exception(py)),
            ("transport", self.transport(py)),
        ];
        for (name, object) in objects {
            if let Some(object) = object {
                parts.push(format!("{name}={}", object.bind(py).repr()?));
            }
        }
        if inner.paused.get() {
            parts.push("paused".to_owned());
        }
        Ok(format!("<{}>", parts.join(" ")))
    }

    /// A copy of what is buffered.
    #[getter]
    fn _buffer<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.inner.buffer.borrow().bytes())
    }

    #[getter]
    fn _limit(&self) -> usize {
        self.inner.limit
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.inner.event_loop.clone_ref(py)
    }

    #[getter]
    fn _eof(&self) -> bool {
        self.inner.eof.get()
    }

    #[getter]
    fn _paused(&self) -> bool {
        self.inner.paused.get()
    }

    #[getter]
    fn _exception(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.exception(py)
    }

    #[getter]
    fn _source_traceback(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.traceback.as_ref().map(|stack| stack.clone_ref(py))
    }

    #[getter(_waiter)]
    fn waiter(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let waiter = self.inner.waiter.borrow();
        waiter.as_ref().map(|waiter| waiter.as_owned().as_py().clone_ref(py))
    }

    #[setter(_waiter)]
    fn set_waiter(&self, waiter: Option<Bound<'_, PyAny>>) {
        // SAFETY: the reference is given away.
        let waiter =
            waiter.map(|waiter| Future::from_object(unsafe { Owned::steal(waiter.into_ptr()) }));
        let old = self.inner.waiter.replace(waiter);
        drop(old);
    }

    #[getter(_transport)]
    fn transport(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.transport.borrow().as_ref().map(|transport| transport.clone_ref(py))
    }

    #[setter(_transport)]
    fn set_any_transport(&self, transport: Option<Bound<'_, PyAny>>) {
        let old = self.inner.transport.replace(transport.map(Bound::unbind));
        drop(old);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.traceback)?;
        // A connection that feeds us holds all this, too, and the loop holds the connection.
        if Rc::strong_count(&self.inner) > 1 {
            return Ok(());
        }
        let inner = &self.inner;
        visit.call(&inner.event_loop)?;
        if let Ok(exception) = inner.exception.try_borrow() {
            visit.call(&*exception)?;
        }
        if let Ok(transport) = inner.transport.try_borrow() {
            visit.call(&*transport)?;
        }
        if let Ok(Some(waiter)) = inner.waiter.try_borrow().as_deref() {
            visit.call(waiter.as_owned().as_py())?;
        }
        if let Ok(spares) = inner.spares.try_borrow() {
            for spare in spares.iter().flatten() {
                visit.call(spare.as_owned().as_py())?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        if Rc::strong_count(&self.inner) > 1 {
            return;
        }
        let exception = self.inner.exception.take();
        let transport = self.inner.transport.take();
        let waiter = self.inner.waiter.take();
        let spares = self.inner.spares.take();
        drop((exception, transport, waiter, spares));
    }
}

/// Adds the methods that are called per message, as C functions.
pub(super) fn register(py: Python<'_>) -> PyResult<()> {
    let kind = py.get_type::<StreamReader>();
    let keywords = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
    let add = |name, function, doc| {
        let function = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function };
        add_method(&kind, name, function, keywords, doc)
    };
    add(c"read", read, c"read($self, n=-1)\n--\n\nUp to n bytes as soon as there are any; all until the end if n is negative.")?;
    add(c"readexactly", readexactly, c"readexactly($self, n)\n--\n\nExactly n bytes.")?;
    add(c"readuntil", readuntil, c"readuntil($self, separator=b'\\n')\n--\n\nThe bytes up to a separator, and the separator.")?;
    add_method(
        &kind,
        c"readline",
        ffi::PyMethodDefPointer { PyCFunction: readline },
        ffi::METH_NOARGS,
        c"readline($self)\n--\n\nA line with its newline; without one at the end of the stream.",
    )
}

/// The one argument of a call, by position or by name; null if it is not given.
unsafe fn one_argument(
    py: Python<'_>,
    function: &str,
    name: &Bound<'_, PyString>,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> PyResult<*mut PyObject> {
    // SAFETY: what the interpreter passes: `count` positional values, then one per name.
    unsafe {
        let named = if names.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(names) };
        if count + named > 1 {
            return Err(PyTypeError::new_err(format!(
                "{function}() takes at most 1 argument ({} given)",
                count + named
            )));
        }
        if named == 1 {
            let key = Bound::from_borrowed_ptr(py, ffi::PyTuple_GET_ITEM(names, 0));
            if !key.eq(name)? {
                return Err(PyTypeError::new_err(format!(
                    "{function}() got an unexpected keyword argument '{key}'"
                )));
            }
        }
        Ok(if count + named == 0 { null_mut() } else { *args })
    }
}

unsafe fn count_of(py: Python<'_>, given: *mut PyObject) -> PyResult<isize> {
    // SAFETY: a live object; without an exception to raise, a large number is cut to the largest.
    unsafe {
        let count = ffi::PyNumber_AsSsize_t(given, null_mut());
        if count == -1 && !ffi::PyErr_Occurred().is_null() {
            return Err(PyErr::fetch(py));
        }
        Ok(count)
    }
}

unsafe extern "C" fn read(
    object: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes.
        unsafe {
            let given = one_argument(py, "read", intern!(py, "n"), args, count, names)?;
            let count = if given.is_null() { -1 } else { count_of(py, given)? };
            coroutine(py, Reading::new(Owned::share(object), Read { count }))
        }
    })
}

unsafe extern "C" fn readexactly(
    object: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes.
        unsafe {
            let given = one_argument(py, "readexactly", intern!(py, "n"), args, count, names)?;
            if given.is_null() {
                return Err(PyTypeError::new_err(
                    "readexactly() missing 1 required positional argument: 'n'",
                ));
            }
            let count = count_of(py, given)?;
            coroutine(py, Reading::new(Owned::share(object), Exactly { count }))
        }
    })
}

unsafe extern "C" fn readuntil(
    object: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes.
        unsafe {
            let given =
                one_argument(py, "readuntil", intern!(py, "separator"), args, count, names)?;
            let given = (!given.is_null()).then(|| Owned::share(given));
            coroutine(py, Reading::new(Owned::share(object), Until::new(given)))
        }
    })
}

unsafe extern "C" fn readline(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: `self` of a method, alive for the call.
        coroutine(py, Reading::new(unsafe { Owned::share(object) }, Line::new()))
    })
}
