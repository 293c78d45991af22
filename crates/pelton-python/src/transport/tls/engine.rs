//! A connection's TLS: Python's `ssl.SSLObject`, and the short way to the OpenSSL object in it.
//!
//! The `SSLObject` is made by `SSLContext.wrap_bio`, so certificates, ALPN, SNI callbacks, sessions
//! and whatever a subclass of the context adds are Python's own. It also does the handshake and the
//! shutdown, once per connection, and gives every error its exception. Records go the short way
//! where there is one, and through its methods where there is not.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyType};

use super::openssl::{
    Bio, CLEAR_MODE, OpenSsl, RELEASE_BUFFERS, SET_MODE, Ssl, SslContext, WANT_READ, WANT_WRITE,
    ZERO_RETURN,
};
use super::wire::Wire;

/// What a step on the connection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many bytes; for a handshake or a shutdown, that it is over.
    Done(usize),
    /// It goes on when more came from the peer.
    Wants,
    /// The peer's close_notify came.
    Closed,
}

/// One connection's TLS.
pub(super) struct Engine {
    /// The `ssl.SSLObject`.
    object: Py<PyAny>,
    way: Way,
}

enum Way {
    Short(ShortWay),
    Long(LongWay),
}

/// OpenSSL's functions on the object's own `SSL`.
struct ShortWay {
    openssl: &'static OpenSsl,
    /// Lives as long as `Engine::object`.
    ssl: NonNull<Ssl>,
    wire: Arc<Wire>,
    /// A call is on its way. A callback of the context (`sni_callback` in a renegotiation) may come
    /// back here from within it, which OpenSSL does not allow.
    busy: Cell<bool>,
}

/// The object's methods, and the two `ssl.MemoryBIO`.
struct LongWay {
    incoming: Py<PyAny>,
    outgoing: Py<PyAny>,
}

impl Engine {
    /// The engine of a new connection. `short` false keeps it on Python's methods.
    pub(super) fn new(
        context: &Bound<'_, PyAny>,
        server_side: bool,
        server_hostname: &Bound<'_, PyAny>,
        short: bool,
    ) -> PyResult<Self> {
        let py = context.py();
        let memory = memory_bio(py)?;
        let (incoming, outgoing) = (memory.call0()?, memory.call0()?);
        let kwargs = pyo3::types::PyDict::new(py);
        kwargs.set_item(intern!(py, "server_side"), server_side)?;
        kwargs.set_item(intern!(py, "server_hostname"), server_hostname)?;
        let arguments = (&incoming, &outgoing);
        let object = context.call_method(intern!(py, "wrap_bio"), arguments, Some(&kwargs))?;
        let way = match OpenSsl::get(py).filter(|_| short) {
            Some(openssl) => ShortWay::of(openssl, &object, &incoming).map(Way::Short),
            None => None,
        };
        let way = way.unwrap_or_else(|| {
            Way::Long(LongWay { incoming: incoming.unbind(), outgoing: outgoing.unbind() })
        });
        Ok(Self { object: object.unbind(), way })
    }

    /// The `ssl.SSLObject`.
    pub(super) fn object<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.object.bind(py)
    }

    /// Runs `work` with `data` as what came from the peer.
    pub(super) fn with_input(
        &self,
        py: Python<'_>,
        data: &[u8],
        work: impl FnOnce() -> PyResult<()>,
    ) -> PyResult<()> {
        match &self.way {
            Way::Short(way) => way.wire.with_input(data, work),
            Way::Long(way) => {
                way.incoming.call_method1(py, intern!(py, "write"), (data,))?;
                work()
            }
        }
    }

    /// Bytes of ciphertext that were not looked at yet.
    pub(super) fn unread(&self, py: Python<'_>) -> PyResult<usize> {
        match &self.way {
            Way::Short(way) => Ok(way.wire.unread()),
            Way::Long(way) => way.incoming.getattr(py, intern!(py, "pending"))?.extract(py),
        }
    }

    /// Whether a read may give more than `Wants`.
    pub(super) fn may_read(&self, py: Python<'_>) -> PyResult<bool> {
        match &self.way {
            Way::Short(way) => Ok(way.wire.unread() > 0 || way.pending() > 0),
            Way::Long(_) => {
                let pending = self.object.call_method0(py, intern!(py, "pending"))?;
                Ok(self.unread(py)? > 0 || pending.extract::<usize>(py)? > 0)
            }
        }
    }

    /// Plaintext into `target`, at most a record of it.
    pub(super) fn read(&self, py: Python<'_>, target: &mut [u8]) -> PyResult<Step> {
        match &self.way {
            Way::Short(way) => match way.read(target) {
                Some(step) => Ok(step),
                None => Err(self.error(py)),
            },
            Way::Long(_) => {
                let read = self.object.call_method1(py, intern!(py, "read"), (target.len(),));
                let read = match read {
                    Ok(data) => data,
                    Err(error) => return step_of(py, error),
                };
                let data = read.bind(py).cast::<PyBytes>()?.as_bytes();
                if data.is_empty() {
                    return Ok(Step::Closed);
                }
                target[..data.len()].copy_from_slice(data);
                Ok(Step::Done(data.len()))
            }
        }
    }

    /// Encrypts the start of `data`, at most a record of it.
    pub(super) fn write(&self, py: Python<'_>, data: &[u8]) -> PyResult<Step> {
        match &self.way {
            Way::Short(way) => match way.write(data) {
                Some(step) => Ok(step),
                None => Err(self.error(py)),
            },
            Way::Long(_) => {
                let written = self.object.call_method1(py, intern!(py, "write"), (data,));
                match written {
                    Ok(count) => Ok(Step::Done(count.extract(py)?)),
                    Err(error) => step_of(py, error),
                }
            }
        }
    }

    /// Goes on with the handshake: over, or `Wants`. A peer that closes is an error here.
    pub(super) fn handshake(&self, py: Python<'_>) -> PyResult<Step> {
        match self.object.call_method0(py, intern!(py, "do_handshake")) {
            Ok(_) => Ok(Step::Done(0)),
            Err(error) if error.is_instance(py, again(py)?.closed.bind(py)) => Err(error),
            Err(error) => step_of(py, error),
        }
    }

    /// Sends our close_notify, if it was not sent: over when the peer's is there, else `Wants`.
    pub(super) fn shutdown(&self, py: Python<'_>) -> PyResult<Step> {
        match self.object.call_method0(py, intern!(py, "unwrap")) {
            Ok(_) => Ok(Step::Done(0)),
            Err(error) => step_of(py, error),
        }
    }

    /// Bytes of ciphertext to send.
    pub(super) fn output_len(&self, py: Python<'_>) -> PyResult<usize> {
        match &self.way {
            Way::Short(way) => Ok(way.wire.output_len()),
            Way::Long(way) => way.outgoing.getattr(py, intern!(py, "pending"))?.extract(py),
        }
    }

    /// Gives the ciphertext to `send`.
    pub(super) fn drain(
        &self,
        py: Python<'_>,
        send: impl FnOnce(&[u8]) -> PyResult<()>,
    ) -> PyResult<()> {
        match &self.way {
            Way::Short(way) => {
                let mut output = way.wire.take_output(Vec::new());
                let sent = if output.is_empty() { Ok(()) } else { send(&output) };
                output.clear();
                spare::keep(output);
                sent
            }
            Way::Long(way) => {
                let output = way.outgoing.call_method0(py, intern!(py, "read"))?;
                match output.bind(py).cast::<PyBytes>()?.as_bytes() {
                    [] => Ok(()),
                    output => send(output),
                }
            }
        }
    }

    /// Drops what came and what is to send.
    pub(super) fn clear(&self, py: Python<'_>) -> PyResult<()> {
        match &self.way {
            Way::Short(way) => {
                way.wire.clear_input();
                drop(way.wire.take_output(Vec::new()));
                Ok(())
            }
            Way::Long(way) => {
                way.incoming.call_method0(py, intern!(py, "read"))?;
                way.outgoing.call_method0(py, intern!(py, "read")).map(drop)
            }
        }
    }

    /// Whether `keep_buffers` has an effect.
    pub(super) fn can_keep_buffers(&self) -> bool {
        matches!(self.way, Way::Short(_))
    }

    /// Has OpenSSL keep its buffers between records, or give them back: see `warm`.
    pub(super) fn keep_buffers(&self, keep: bool) {
        if let Way::Short(way) = &self.way {
            way.keep_buffers(keep);
        }
    }

    /// The exception for the error that OpenSSL just met. Its connection has failed: whatever it is
    /// asked for now fails with the same error, and Python's own method makes the exception.
    fn error(&self, py: Python<'_>) -> PyErr {
        match self.object.call_method1(py, intern!(py, "read"), (1,)) {
            Err(error) => error,
            Ok(_) => PyRuntimeError::new_err("OpenSSL failed and does not say why"),
        }
    }
}

/// The exceptions of `ssl` that are no errors to us.
struct Again {
    read: Py<PyType>,
    syscall: Py<PyType>,
    closed: Py<PyType>,
}

fn again(py: Python<'_>) -> PyResult<&'static Again> {
    static AGAIN: PyOnceLock<Again> = PyOnceLock::new();
    AGAIN.get_or_try_init(py, || {
        let ssl = py.import("ssl")?;
        let class = |name| Ok::<_, PyErr>(ssl.getattr(name)?.cast_into::<PyType>()?.unbind());
        Ok(Again {
            read: class("SSLWantReadError")?,
            syscall: class("SSLSyscallError")?,
            closed: class("SSLZeroReturnError")?,
        })
    })
}

/// An exception of `ssl` as the step that it stands for, if it is no error.
fn step_of(py: Python<'_>, error: PyErr) -> PyResult<Step> {
    let again = again(py)?;
    if error.is_instance(py, again.read.bind(py)) || error.is_instance(py, again.syscall.bind(py)) {
        Ok(Step::Wants)
    } else if error.is_instance(py, again.closed.bind(py)) {
        Ok(Step::Closed)
    } else {
        Err(error)
    }
}

fn memory_bio(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static MEMORY_BIO: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let class = MEMORY_BIO
        .get_or_try_init(py, || Ok::<_, PyErr>(py.import("ssl")?.getattr("MemoryBIO")?.unbind()))?;
    Ok(class.bind(py))
}

/// The beginning of `_ssl._SSLSocket`, the same in CPython 3.11, 3.12 and 3.13 (`Modules/_ssl.c`).
#[repr(C)]
struct SocketObject {
    head: ffi::PyObject,
    socket: *mut ffi::PyObject,
    ssl: *mut Ssl,
    context: *mut ffi::PyObject,
}

/// The beginning of `_ssl._SSLContext`.
#[repr(C)]
struct ContextObject {
    head: ffi::PyObject,
    context: *mut SslContext,
}

/// The beginning of `_ssl.MemoryBIO`.
#[repr(C)]
struct MemoryBioObject {
    head: ffi::PyObject,
    bio: *mut Bio,
}

impl ShortWay {
    /// The short way of an `SSLObject` just made; `None` where the object is not made as we know it.
    fn of(
        openssl: &'static OpenSsl,
        object: &Bound<'_, PyAny>,
        incoming: &Bound<'_, PyAny>,
    ) -> Option<Self> {
        let ssl = find_ssl(openssl, object, incoming)?;
        let wire = Arc::<Wire>::default();
        // SAFETY: `find_ssl` checked that it is OpenSSL's object; it is new, so not in a call.
        let attached = unsafe { wire.attach(openssl, ssl.as_ptr()) };
        attached.then_some(Self { openssl, ssl, wire, busy: Cell::new(false) })
    }

    /// Whether OpenSSL keeps its buffers between records.
    fn keep_buffers(&self, keep: bool) {
        if self.busy.get() {
            return; // the mode stays as it is; the next round sets it
        }
        let command = if keep { CLEAR_MODE } else { SET_MODE };
        // SAFETY: the object is alive and in no call. Buffers are freed between records only: older
        // OpenSSL frees them within one, too, and reads on there (CVE-2024-4741). Where they stay,
        // the mode frees them after the next record.
        unsafe {
            (self.openssl.ssl_ctrl)(self.ssl.as_ptr(), command, RELEASE_BUFFERS, null_mut());
            if !keep && self.is_between_records() {
                (self.openssl.ssl_free_buffers)(self.ssl.as_ptr());
            }
        }
    }

    /// Whether nothing of a record was read: its header is what OpenSSL reads next.
    fn is_between_records(&self) -> bool {
        let Some(state) = self.openssl.ssl_rstate_string else { return false };
        // SAFETY: the object is alive; the text is a constant of OpenSSL's.
        self.pending() == 0 && unsafe { CStr::from_ptr(state(self.ssl.as_ptr())) } == c"RH"
    }

    fn pending(&self) -> usize {
        // SAFETY: the object is alive.
        usize::try_from(unsafe { (self.openssl.ssl_pending)(self.ssl.as_ptr()) }).unwrap_or(0)
    }

    fn read(&self, target: &mut [u8]) -> Option<Step> {
        let size = c_int::try_from(target.len()).unwrap_or(c_int::MAX);
        // SAFETY: memory of `size` bytes, which OpenSSL only writes to.
        self.step(|ssl| unsafe {
            (self.openssl.ssl_read)(ssl, target.as_mut_ptr().cast::<c_void>(), size)
        })
    }

    fn write(&self, data: &[u8]) -> Option<Step> {
        if self.wire.output_len() == 0 {
            // Records are collected in memory that all connections share.
            let idle = self.wire.take_output(spare::take());
            drop(idle);
        }
        let size = c_int::try_from(data.len()).unwrap_or(c_int::MAX);
        // SAFETY: memory of `size` bytes, which OpenSSL only reads.
        self.step(|ssl| unsafe {
            (self.openssl.ssl_write)(ssl, data.as_ptr().cast::<c_void>(), size)
        })
    }

    /// `None`: OpenSSL met an error, and remembers it.
    fn step(&self, call: impl FnOnce(*mut Ssl) -> c_int) -> Option<Step> {
        if self.busy.replace(true) {
            return Some(Step::Wants);
        }
        let ssl = self.ssl.as_ptr();
        // SAFETY: the object is alive and in no other call. The queue of errors must be empty before
        // a call whose `SSL_get_error` is asked for; others may have left something there.
        let (count, reason) = unsafe {
            if (self.openssl.err_peek_error)() != 0 {
                (self.openssl.err_clear_error)(); // to look costs a tenth of clearing
            }
            let count = call(ssl);
            (count, if count > 0 { 0 } else { (self.openssl.ssl_get_error)(ssl, count) })
        };
        self.busy.set(false);
        match (usize::try_from(count), reason) {
            (Ok(count @ 1..), _) => Some(Step::Done(count)),
            (_, WANT_READ | WANT_WRITE) => Some(Step::Wants),
            (_, ZERO_RETURN) => Some(Step::Closed),
            _ => None,
        }
    }
}

/// Takes the `SSL` out of Python's object. Every pointer on the way is compared with one that is
/// known from elsewhere before it is followed.
fn find_ssl(
    openssl: &OpenSsl,
    object: &Bound<'_, PyAny>,
    incoming: &Bound<'_, PyAny>,
) -> Option<NonNull<Ssl>> {
    let py = object.py();
    let version = py.version_info();
    if !((3, 11)..(3, 14)).contains(&(version.major, version.minor)) {
        return None; // not looked at
    }
    let inner = object.getattr(intern!(py, "_sslobj")).ok()?;
    let context = inner.getattr(intern!(py, "context")).ok()?;
    let builtin = |value: &Bound<'_, PyAny>, class: &str, size: usize| {
        let found = py.import("_ssl").and_then(|module| module.getattr(class));
        found.is_ok_and(|class| {
            // SAFETY: a type object.
            let basic = unsafe { (*class.as_ptr().cast::<ffi::PyTypeObject>()).tp_basicsize };
            value.is_instance(&class).unwrap_or(false) && basic >= size as ffi::Py_ssize_t
        })
    };
    if !builtin(&inner, "_SSLSocket", size_of::<SocketObject>())
        || !builtin(&context, "_SSLContext", size_of::<ContextObject>())
        || !builtin(incoming, "MemoryBIO", size_of::<MemoryBioObject>())
    {
        return None;
    }
    // SAFETY: objects of these types, at least this large. The field behind the `SSL` must be the
    // context that Python says it has: then the layout is the one we know, and the pointers are
    // what their names say. OpenSSL must agree, and know the BIO that Python gave it.
    unsafe {
        let socket = &*inner.as_ptr().cast::<SocketObject>();
        if socket.context != context.as_ptr() {
            return None;
        }
        let ssl = NonNull::new(socket.ssl)?;
        let ssl_context = (*context.as_ptr().cast::<ContextObject>()).context;
        let bio = (*incoming.as_ptr().cast::<MemoryBioObject>()).bio;
        let agreed = (openssl.ssl_get_ssl_ctx)(ssl.as_ptr()) == ssl_context
            && (openssl.ssl_get_rbio)(ssl.as_ptr()) == bio;
        agreed.then_some(ssl)
    }
}

/// Memory for records on their way from OpenSSL to the socket: one for all connections of a thread.
mod spare {
    use std::cell::Cell;

    /// Larger memory is given back to the system.
    const KEPT_MAX: usize = 512 * 1024;

    thread_local! {
        static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }

    pub(super) fn take() -> Vec<u8> {
        SPARE.take()
    }

    pub(super) fn keep(memory: Vec<u8>) {
        if memory.capacity() <= KEPT_MAX {
            SPARE.set(memory);
        }
    }
}
