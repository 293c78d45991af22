//! What all connections of a server share.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pelton_http::h1::{RequestError, Stamp};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::event_loop::LoopRef;
use crate::web::WebApp;

use super::access_log::{AccessLog, Ended};
use super::counters::Counters;
use super::door::Door;
use super::guard;
use super::header_names::HeaderNames;
use super::options::Options;
use super::scope::Templates;

/// A server's state; lives in the loop's thread.
pub(super) struct Shared {
    pub(super) event_loop: LoopRef,
    pub(super) options: Options,
    pub(super) app: Py<PyAny>,
    /// The app's compiled routes, where it is one of ours.
    pub(super) web: Option<WebApp>,
    /// What the app's lifespan left for its requests.
    pub(super) state: Py<PyDict>,
    pub(super) templates: Templates,
    pub(super) header_names: HeaderNames,
    pub(super) counters: Counters,
    pub(super) access_log: Option<Rc<AccessLog>>,
    pub(super) stamp: RefCell<Stamp>,
    /// The open connections.
    pub(super) connections: RefCell<HashMap<u64, Rc<Door>>>,
    /// Those of them that there was no room for, which have been told so.
    pub(super) turned_away: Cell<usize>,
    /// Tasks of requests that did not end in their first step. Asyncio itself holds them weakly.
    pub(super) tasks: RefCell<HashMap<u64, Py<PyAny>>>,
    /// Called once when the last connection and the last task are gone.
    pub(super) on_idle: RefCell<Option<Py<PyAny>>>,
    pub(super) shutting_down: Cell<bool>,
    /// The next read panics: for the tests of the guard.
    pub(super) fault: Cell<bool>,
    /// Connections in the lobby.
    pub(super) handshaking: Cell<usize>,
    /// The context of those who started the server; each request gets a copy.
    context: Py<PyAny>,
    logger: Py<PyAny>,
    last_id: Cell<u64>,
    ticking: Cell<bool>,
    me: Weak<Self>,
}

impl Shared {
    pub(super) fn new(
        event_loop: LoopRef,
        app: &Bound<'_, PyAny>,
        options: Options,
        state: Bound<'_, PyDict>,
    ) -> PyResult<Rc<Self>> {
        let py = app.py();
        let stamp = Stamp::new(epoch_seconds(), options.server_header.as_bytes())
            .map_err(|error| PyValueError::new_err(format!("server_header: {error}")))?;
        let access_log = match &options.access_log {
            Some(log) => {
                let file = log.file.as_deref();
                Some(AccessLog::new(py, event_loop.clone(), &log.format, file)?)
            }
            None => None,
        };
        let logger = py.import("logging")?.call_method1("getLogger", ("pelton.server",))?;
        let context = py.import("contextvars")?.call_method0("copy_context")?;
        let templates = Templates::new(py)?;
        let web = WebApp::find(app)?;
        Ok(Rc::new_cyclic(|me| Self {
            event_loop,
            options,
            app: app.clone().unbind(),
            web,
            state: state.unbind(),
            templates,
            header_names: HeaderNames::new(py),
            counters: Counters::default(),
            access_log,
            stamp: RefCell::new(stamp),
            connections: RefCell::default(),
            turned_away: Cell::new(0),
            tasks: RefCell::default(),
            on_idle: RefCell::default(),
            shutting_down: Cell::new(false),
            fault: Cell::new(false),
            handshaking: Cell::new(0),
            context: context.unbind(),
            logger: logger.unbind(),
            last_id: Cell::new(0),
            ticking: Cell::new(false),
            me: me.clone(),
        }))
    }

    /// The loop's time, as the engines take it.
    pub(super) fn now(&self) -> Duration {
        Duration::from_nanos(self.event_loop.now())
    }

    /// A context for a request: what was set when the server started, and nothing of other
    /// requests, in whose tasks this one may be found.
    pub(super) fn new_context<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: `context` is a context object; the result is a new reference or null with an
        // error.
        unsafe {
            let copy = pyo3::ffi::PyContext_Copy(self.context.as_ptr());
            Bound::from_owned_ptr_or_err(py, copy)
        }
    }

    /// Whether there is no room for another connection.
    pub(super) fn is_full(&self) -> bool {
        let served = self.connections.borrow().len() - self.turned_away.get();
        served >= self.options.max_connections
    }

    /// Whether so many requests are under way that another is answered 503.
    pub(super) fn is_overloaded(&self) -> bool {
        self.options.max_concurrency.is_some_and(|most| self.counters.in_flight.value() >= most)
    }

    /// A number that no other connection or request of this server has.
    pub(super) fn new_id(&self) -> u64 {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        id
    }

    /// Logs an error with its traceback.
    pub(super) fn log_error(&self, py: Python<'_>, message: &str, error: &PyErr) {
        let arguments = PyDict::new(py);
        // Before Python 3.12 the value alone does not know its traceback.
        let exc_info = (error.get_type(py), error.value(py), error.traceback(py));
        let logged = arguments
            .set_item("exc_info", exc_info)
            .and_then(|()| self.logger.call_method(py, "error", (message,), Some(&arguments)));
        if let Err(failure) = logged {
            failure.write_unraisable(py, None);
        }
    }

    /// Logs an error that has no traceback.
    pub(super) fn log_message(&self, py: Python<'_>, level: &str, message: &str) {
        if let Err(failure) = self.logger.call_method1(py, level, (message,)) {
            failure.write_unraisable(py, None);
        }
    }

    /// A connection itself answered a request, which no application has seen.
    pub(super) fn note_refused(&self, py: Python<'_>, client: &str, error: RequestError) {
        self.counters.refused.add(1);
        self.counters.count_status(error.status());
        self.log_message(py, "debug", &format!("refused a request of {client}: {error}"));
        self.log_refused(py, client, error.status());
    }

    /// The access log's line for a request that was too malformed to be read.
    fn log_refused(&self, py: Python<'_>, client: &str, status: u16) {
        let Some(access_log) = &self.access_log else { return };
        let ended = Ended { client, head: None, status, bytes: 0, elapsed: Duration::ZERO };
        if let Err(error) = access_log.log(py, &ended) {
            self.log_error(py, "Error in the access log", &error);
        }
    }

    /// Keeps a connection, and looks at its timeouts from now on.
    pub(super) fn add_connection(&self, id: u64, connection: Rc<Door>) {
        self.connections.borrow_mut().insert(id, connection);
        if !self.ticking.replace(true) {
            self.stamp.borrow_mut().set_time(epoch_seconds());
            self.schedule_tick();
        }
    }

    /// Forgets a connection.
    pub(super) fn remove_connection(&self, py: Python<'_>, id: u64) {
        // A `let` of its own: the borrow ends before the connection is dropped.
        let removed = self.connections.borrow_mut().remove(&id);
        drop(removed);
        self.check_idle(py);
    }

    /// Keeps the task of a request until [`remove_task`](Self::remove_task).
    pub(super) fn keep_task(&self, id: u64, task: Bound<'_, PyAny>) {
        self.tasks.borrow_mut().insert(id, task.unbind());
    }

    /// Whether a task is kept for this request.
    pub(super) fn has_task(&self, id: u64) -> bool {
        self.tasks.borrow().contains_key(&id)
    }

    /// Forgets the task of a request that ended.
    pub(super) fn remove_task(&self, py: Python<'_>, id: u64) {
        let removed = self.tasks.borrow_mut().remove(&id);
        if removed.is_some() {
            self.check_idle(py);
        }
    }

    /// Calls `on_idle` if nothing is open any more.
    pub(super) fn check_idle(&self, py: Python<'_>) {
        if self.on_idle.borrow().is_none()
            || !self.connections.borrow().is_empty()
            || !self.tasks.borrow().is_empty()
            || self.handshaking.get() > 0
        {
            return;
        }
        let callback = self.on_idle.borrow_mut().take();
        if let Some(callback) = callback
            && let Err(error) = callback.call0(py)
        {
            self.log_error(py, "Error in a server's on_idle callback", &error);
        }
    }

    /// All open connections, to be called without the registry borrowed.
    pub(super) fn all_connections(&self) -> Vec<Rc<Door>> {
        self.connections.borrow().values().cloned().collect()
    }

    fn schedule_tick(&self) {
        let me = self.me.clone();
        self.event_loop.call_later_native(self.options.tick(), move |py| {
            if let Some(shared) = me.upgrade() {
                shared.tick(py);
            }
            Ok(())
        });
    }

    /// Looks at every connection's timeouts.
    fn tick(&self, py: Python<'_>) {
        self.stamp.borrow_mut().set_time(epoch_seconds());
        for connection in self.all_connections() {
            if guard::run(self, py, || connection.tick(py)).is_none() {
                guard::run(self, py, || connection.abort(py));
            }
        }
        if self.connections.borrow().is_empty() {
            self.ticking.set(false);
        } else {
            self.schedule_tick();
        }
    }
}

fn epoch_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
