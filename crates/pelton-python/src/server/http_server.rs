//! `_core.HttpServer`: what Python starts and stops.

use std::cell::RefCell;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::event_loop::{GilBound, LoopRef};
use crate::transport::native::{NativeFactory, NativeListener, NativeProtocol};

use super::counters::Counters;
use super::door::Door;
use super::guard::Guarded;
use super::lobby::Lobby;
use super::options::Options;
use super::proxied::proxied;
use super::shared::Shared;
use super::tls::{self, Acceptor};

/// A server in the loop's thread. The manual is in `_core/_server.pyi`.
#[pyclass(frozen, weakref, module = "pelton._core")]
pub(super) struct HttpServer {
    shared: GilBound<Rc<Shared>>,
    lobby: GilBound<Rc<Lobby>>,
    tls: GilBound<Option<Rc<Acceptor>>>,
    listeners: GilBound<RefCell<Vec<NativeListener>>>,
}

/// The counters of a server that has served nothing.
#[pyfunction]
pub(super) fn http_stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    Counters::default().to_dict(py, 0)
}

#[pymethods]
impl HttpServer {
    #[new]
    fn new(
        event_loop: &Bound<'_, PyAny>,
        app: &Bound<'_, PyAny>,
        config: &Bound<'_, PyAny>,
        state: Bound<'_, PyDict>,
    ) -> PyResult<Self> {
        let event_loop = LoopRef::from_object(event_loop)?;
        let options = Options::from_config(config)?;
        let tls = Acceptor::from_config(config)?.map(Rc::new);
        let shared = Shared::new(event_loop, app, options, state)?;
        let lobby = Lobby::new(shared.clone());
        Ok(Self {
            shared: GilBound::new(shared),
            lobby: GilBound::new(lobby),
            tls: GilBound::new(tls),
            listeners: GilBound::new(RefCell::default()),
        })
    }

    fn listen(&self, fd: RawFd) -> PyResult<()> {
        if fd < 0 {
            return Err(PyValueError::new_err(format!("{fd} is no file descriptor")));
        }
        // SAFETY: the caller detached the descriptor from its socket: it is open, and ours now.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let shared = self.shared.clone();
        let mut factory: NativeFactory =
            Rc::new(move |_: Python<'_>| Ok(Door::new(shared.clone()) as Rc<dyn NativeProtocol>));
        if let Some(acceptor) = &*self.tls {
            factory = tls::layered(acceptor.clone(), self.lobby.clone(), factory);
        }
        let options = &self.shared.options;
        if options.proxy_protocol {
            factory = proxied(options.trusted_proxies.clone(), self.lobby.clone(), factory);
        }
        let shared = self.shared.clone();
        let inner = factory;
        let factory = Rc::new(move |py: Python<'_>| {
            let guarded = Guarded::new(shared.clone(), inner(py)?);
            Ok(guarded as Rc<dyn NativeProtocol>)
        });
        let listener = self.shared.event_loop.listen_native(socket, factory)?;
        self.listeners.borrow_mut().push(listener);
        Ok(())
    }

    #[pyo3(name = "_panic_at_next_read")]
    fn panic_at_next_read(&self) {
        self.shared.fault.set(true);
    }

    fn shutdown(&self, py: Python<'_>) {
        self.shared.shutting_down.set(true);
        // A `let` of its own: the borrow ends before the listeners are dropped.
        let listeners = self.listeners.take();
        drop(listeners);
        self.lobby.close_soon();
        for connection in self.shared.all_connections() {
            connection.shutdown(py);
        }
    }

    fn abort(&self, py: Python<'_>) -> PyResult<usize> {
        self.shutdown(py);
        self.lobby.close(py);
        for connection in self.shared.all_connections() {
            connection.abort(py);
        }
        let tasks: Vec<_> =
            self.shared.tasks.borrow().values().map(|task| task.clone_ref(py)).collect();
        for task in &tasks {
            task.call_method0(py, "cancel")?;
        }
        Ok(tasks.len())
    }

    fn on_idle(&self, py: Python<'_>, callback: Py<PyAny>) {
        *self.shared.on_idle.borrow_mut() = Some(callback);
        self.shared.check_idle(py);
    }

    /// An error leaves the certificates that were in use.
    fn reload_tls(&self) -> PyResult<()> {
        match &*self.tls {
            Some(acceptor) => acceptor.reload().map_err(PyValueError::new_err),
            None => Ok(()),
        }
    }

    fn reopen_log(&self) -> PyResult<()> {
        match &self.shared.access_log {
            Some(access_log) => access_log.reopen(),
            None => Ok(()),
        }
    }

    #[getter]
    fn connections(&self) -> usize {
        self.shared.connections.borrow().len()
    }

    #[getter]
    fn requests(&self) -> u64 {
        self.shared.counters.requests.value()
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.shared.counters.to_dict(py, self.connections())
    }
}
