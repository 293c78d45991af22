//! Listening sockets.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use pelton_reactor::{Interest, socket};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use socket2::SockAddr;

use super::native::{NativeFactory, NativeListener};
use super::stream::{Owner, Stream};
use super::tcp::StreamTransport;
use super::tls::{TlsOptions, TlsTransport};
use crate::event_loop::core::LoopCore;
use crate::event_loop::{GilBound, LoopRef, Source, os_error};

/// Connections taken in one turn, whatever the backlog.
const ACCEPT_MAX: usize = 128;
/// How long accepting rests when the system is out of descriptors or memory.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// A socket that connections are accepted on.
pub(crate) struct Listener {
    core: Rc<LoopCore>,
    fd: RawFd,
    /// `None` where Python's socket object owns the descriptor, or after closing.
    owned: RefCell<Option<OwnedFd>>,
    key: Cell<Option<usize>>,
    protocols: Protocols,
    closed: Cell<bool>,
}

/// Where a new connection's protocol comes from.
enum Protocols {
    Native(NativeFactory),
    Python(PythonProtocols),
}

/// Makes Python protocols.
struct PythonProtocols {
    factory: Py<PyAny>,
    /// It is told of each connection.
    server: Py<PyAny>,
    /// The listening socket, for reports.
    socket: Py<PyAny>,
    tls: Option<Py<TlsOptions>>,
    /// Where serving began. Each connection gets a copy, which its protocol lives in.
    context: Py<PyAny>,
}

impl PythonProtocols {
    fn welcome(&self, py: Python<'_>, make: impl FnOnce() -> Rc<Stream>) -> PyResult<()> {
        // SAFETY: a live context object; the copy is entered here, and left again below.
        let context = unsafe {
            let copy = ffi::PyContext_Copy(self.context.as_ptr());
            let copy = Bound::from_owned_ptr_or_err(py, copy)?;
            if ffi::PyContext_Enter(copy.as_ptr()) < 0 {
                return Err(PyErr::fetch(py));
            }
            copy
        };
        let started = self.factory.call0(py).and_then(|protocol| {
            let (protocol, server) = (protocol.bind(py), Some(self.server.bind(py)));
            match &self.tls {
                Some(tls) => TlsTransport::accept(py, make, protocol, tls.bind(py), server),
                None => StreamTransport::start(py, make(), protocol, None, server).map(drop),
            }
        });
        // SAFETY: it was entered above, and what ran in between left as it entered.
        if unsafe { ffi::PyContext_Exit(context.as_ptr()) } < 0 && started.is_ok() {
            return Err(PyErr::fetch(py));
        }
        started
    }
}

/// A listener of `create_server`, for the Python side.
#[pyclass(frozen, module = "pelton._core")]
pub(crate) struct ListenerHandle(GilBound<Rc<Listener>>);

#[pymethods]
impl ListenerHandle {
    /// Accepts on the listening `socket`, which stays the descriptor's owner.
    #[new]
    #[pyo3(signature = (event_loop, socket, factory, server, tls=None))]
    fn new(
        event_loop: &Bound<'_, PyAny>,
        socket: &Bound<'_, PyAny>,
        factory: Py<PyAny>,
        server: Py<PyAny>,
        tls: Option<Py<TlsOptions>>,
    ) -> PyResult<Self> {
        let core = LoopRef::from_object(event_loop)?.into_core();
        let fd: RawFd = socket.call_method0("fileno")?.extract()?;
        // SAFETY: makes a new context object, or fails.
        let context =
            unsafe { Bound::from_owned_ptr_or_err(event_loop.py(), ffi::PyContext_CopyCurrent())? };
        let socket = socket.clone().unbind();
        let context = context.unbind();
        let protocols =
            Protocols::Python(PythonProtocols { factory, server, socket, tls, context });
        let listener = Listener::open(core, fd, None, protocols)?;
        Ok(Self(GilBound::new(listener)))
    }

    /// Stops accepting. The socket is the caller's to close.
    fn stop(&self) {
        self.0.close();
    }
}

impl Listener {
    pub(crate) fn open_native(
        core: Rc<LoopCore>,
        socket: OwnedFd,
        factory: NativeFactory,
    ) -> PyResult<NativeListener> {
        let fd = socket.as_raw_fd();
        socket::set_nonblocking(fd).map_err(|error| os_error(&error))?;
        let listener = Self::open(core, fd, Some(socket), Protocols::Native(factory))?;
        Ok(NativeListener(listener))
    }

    fn open(
        core: Rc<LoopCore>,
        fd: RawFd,
        owned: Option<OwnedFd>,
        protocols: Protocols,
    ) -> PyResult<Rc<Self>> {
        let listener = Rc::new(Self {
            core,
            fd,
            owned: RefCell::new(owned),
            key: Cell::new(None),
            protocols,
            closed: Cell::new(false),
        });
        listener.watch().map_err(|error| os_error(&error))?;
        Ok(listener)
    }

    fn watch(self: &Rc<Self>) -> io::Result<()> {
        let source = Source::Listener(self.clone());
        self.key.set(Some(self.core.add_source(self.fd, source, Interest::READ)?));
        Ok(())
    }

    pub(super) fn close(&self) {
        self.closed.set(true);
        if let Some(key) = self.key.take() {
            self.core.remove_source(self.fd, key);
        }
        drop(self.owned.borrow_mut().take());
    }

    /// Takes the connections that wait, up to a turn's share.
    pub(crate) fn accept_ready(self: &Rc<Self>, py: Python<'_>) -> PyResult<()> {
        for _ in 0..ACCEPT_MAX {
            let Some(key) = self.key.get() else {
                return Ok(()); // closed, perhaps by the protocol just made
            };
            match socket::accept(self.fd) {
                Ok((fd, peer)) => self.welcome(py, fd, peer)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_exhausted(&error) => return self.rest(py, &error),
                // The client left before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    self.core.remove_source(self.fd, key);
                    self.key.set(None);
                    let message = "Fatal accept error on listening socket";
                    return self.report(py, &error, message);
                }
            }
        }
        // More may wait: look again, behind what else is ready.
        if let Some(key) = self.key.get() {
            self.core
                .registry
                .modify(self.fd, key, Interest::READ)
                .map_err(|error| os_error(&error))?;
        }
        Ok(())
    }

    fn welcome(self: &Rc<Self>, py: Python<'_>, fd: OwnedFd, peer: SockAddr) -> PyResult<()> {
        // Only TCP has the option; elsewhere small writes leave at once anyway.
        let _ = socket::set_nodelay(fd.as_raw_fd());
        let raw = fd.as_raw_fd();
        let make = || {
            let owner = Owner::Fd(fd);
            Stream::new(self.core.clone(), raw, owner, Some(peer))
        };
        let result = match &self.protocols {
            Protocols::Native(factory) => {
                factory(py).and_then(|protocol| make().start_native(py, protocol))
            }
            Protocols::Python(protocols) => protocols.welcome(py, make),
        };
        match result {
            Ok(()) => Ok(()),
            Err(error) => self.core.report(
                py,
                error,
                "Error on transport creation for incoming connection",
                None,
            ),
        }
    }

    /// Out of descriptors: accept again in a while.
    fn rest(self: &Rc<Self>, py: Python<'_>, error: &io::Error) -> PyResult<()> {
        if let Some(key) = self.key.take() {
            self.core.remove_source(self.fd, key);
        }
        let listener = Rc::downgrade(self);
        LoopRef::new(self.core.clone()).call_later_native(ACCEPT_RETRY, move |_| {
            match listener.upgrade() {
                Some(listener) if !listener.closed.get() => {
                    listener.watch().map_err(|error| os_error(&error))
                }
                _ => Ok(()),
            }
        });
        self.report(py, error, "socket.accept() out of system resource")
    }

    /// Reports an error of the listening socket, with asyncio's keys.
    fn report(&self, py: Python<'_>, error: &io::Error, message: &str) -> PyResult<()> {
        let details = PyDict::new(py);
        if let Protocols::Python(protocols) = &self.protocols {
            let class = py.import("asyncio.trsock")?.getattr("TransportSocket")?;
            details.set_item("socket", class.call1((&protocols.socket,))?)?;
        }
        self.core.report(py, os_error(error), message, Some(&details))
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
