//! One request, from its head to the end of its response.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use pelton_http::h1::Head;
use pelton_http::{Headers, percent};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::exchange::RequestHead;
use crate::web::Routed;

use super::access_log::Ended;
use super::awaitable::Waiters;
use super::carrier::Carrier;
use super::origin::Origin;
use super::shared::Shared;
use super::{message, scope};

/// A request under way. Its connection holds the current one; the application's `receive` and
/// `send` hold theirs for as long as they like, and find out here that it is over.
pub(super) struct Request {
    pub(super) id: u64,
    pub(super) shared: Rc<Shared>,
    pub(super) carrier: Rc<dyn Carrier>,
    pub(super) head: Head,
    /// The head's fields with the host that a trusted proxy tells, where it tells one, as scopes
    /// have them.
    told: OnceCell<Headers>,
    /// The mounted app that it goes to, as an index of the options' mounts.
    pub(super) mount: Option<usize>,
    /// The plan that waits for the whole body.
    pub(super) plan: RefCell<Option<Routed>>,
    /// The whole body, where it was collected.
    pub(super) collected: RefCell<Option<Py<PyBytes>>>,
    /// `receive` has given the body's end.
    body_given: Cell<bool>,
    half_closed: Cell<bool>,
    /// The application announced trailers.
    pub(super) trailers: Cell<bool>,
    pub(super) status: Cell<u16>,
    /// Bytes of the response's body, so far.
    pub(super) sent: Cell<u64>,
    stage: Cell<Stage>,
    started: Instant,
    /// Those who wait for the body or the end.
    pub(super) receivers: Waiters,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// Answered in full.
    Answered,
    /// The client is gone, or was refused in the middle of its body.
    Gone,
}

impl Request {
    pub(super) fn new(carrier: Rc<dyn Carrier>, head: Head, mount: Option<usize>) -> Self {
        Self {
            id: carrier.shared().new_id(),
            shared: carrier.shared().clone(),
            carrier,
            head,
            told: OnceCell::new(),
            mount,
            plan: RefCell::default(),
            collected: RefCell::default(),
            body_given: Cell::new(false),
            half_closed: Cell::new(false),
            trailers: Cell::new(false),
            status: Cell::new(0),
            sent: Cell::new(0),
            stage: Cell::new(Stage::Open),
            started: Instant::now(),
            receivers: Waiters::default(),
        }
    }

    /// Whether an answer is still owed and can still be given.
    pub(super) fn is_open(&self) -> bool {
        self.stage.get() == Stage::Open
    }

    /// Whether the client left before it had its answer.
    pub(super) fn is_gone(&self) -> bool {
        self.stage.get() == Stage::Gone
    }

    /// The response is complete.
    pub(super) fn answered(&self, py: Python<'_>) -> PyResult<()> {
        if !self.is_open() {
            return Ok(());
        }
        self.stage.set(Stage::Answered);
        let shared = &self.shared;
        shared.counters.in_flight.subtract_one();
        shared.counters.count_status(self.status.get());
        shared.counters.count_latency(self.started.elapsed());
        if let Err(error) = self.log_access(py) {
            // No fault of the application's, and the answer goes out all the same.
            shared.log_error(py, "Error in the access log", &error);
        }
        self.receivers.wake(py)
    }

    fn log_access(&self, py: Python<'_>) -> PyResult<()> {
        let Some(access_log) = &self.shared.access_log else { return Ok(()) };
        let ended = Ended {
            client: &self.client_text(py)?,
            head: Some(&self.head),
            status: self.status.get(),
            bytes: self.sent.get(),
            elapsed: self.started.elapsed(),
        };
        access_log.log(py, &ended)
    }

    /// There will be no answer, or nobody to read it.
    pub(super) fn gone(&self, py: Python<'_>) -> PyResult<()> {
        if !self.is_open() {
            return Ok(());
        }
        self.stage.set(Stage::Gone);
        self.shared.counters.in_flight.subtract_one();
        self.shared.counters.disconnected.add(1);
        self.plan.borrow_mut().take();
        self.receivers.wake(py)
    }

    /// Reads which host a trusted proxy tells, for [`with_head`](Self::with_head) to show it.
    pub(super) fn read_told_host(&self, py: Python<'_>) -> PyResult<()> {
        let options = &self.shared.options;
        if !options.forwarded_host {
            return Ok(());
        }
        let origin = Origin::of(options, self.carrier.addresses(py)?, self.head.headers());
        let Some(host) = origin.host() else { return Ok(()) };
        self.told.get_or_init(|| {
            let mut headers = Headers::new();
            for (name, value) in self.head.headers().iter() {
                headers.push(name, if name == b"host" { host.as_bytes() } else { value });
            }
            headers
        });
        Ok(())
    }

    /// Calls `read` with the head as the seam to the plans has it.
    pub(super) fn with_head(&self, read: &mut dyn FnMut(RequestHead<'_>)) {
        let path = percent::decode_path(self.head.path());
        read(RequestHead {
            method: self.head.method(),
            path: &path,
            query: self.head.query(),
            headers: self.told.get().unwrap_or_else(|| self.head.headers()),
        });
    }

    /// The client for people, as trusted proxies tell.
    fn client_text(&self, py: Python<'_>) -> PyResult<String> {
        let addresses = self.carrier.addresses(py)?;
        Ok(Origin::of(&self.shared.options, addresses, self.head.headers()).client_text())
    }

    /// The client's address as the scope has it, without the cost of making one.
    pub(super) fn client_host(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let addresses = self.carrier.addresses(py)?;
        let client = Origin::of(&self.shared.options, addresses, self.head.headers()).client(py)?;
        let client = client.bind(py);
        if client.is_none() { Ok(None) } else { Ok(Some(client.get_item(0)?.extract()?)) }
    }

    /// Counts bytes of the response's body.
    pub(super) fn note_sent(&self, bytes: usize) {
        self.sent.set(self.sent.get() + bytes as u64);
    }

    /// The ASGI scope.
    pub(super) fn scope<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let shared = &self.shared;
        let mount = self.mount.map(|index| shared.options.mounts[index].0.as_str());
        scope::build(py, shared, &self.head, self.carrier.addresses(py)?, mount, None)
    }

    /// The app that it goes to.
    pub(super) fn app<'a, 'py>(&'a self, py: Python<'py>) -> &'a Bound<'py, PyAny> {
        let shared = &self.shared;
        match self.mount {
            Some(index) => shared.options.mounts[index].1.bind(py),
            None => shared.app.bind(py),
        }
    }

    /// Moves the part of the body that is there into `into`; whether more may come, or None where
    /// one has to wait. A request that is over has no more, and its body may be incomplete.
    pub(super) fn read_body(&self, py: Python<'_>, into: &mut Vec<u8>) -> PyResult<Option<bool>> {
        into.clear();
        if !self.is_open() || self.body_given.get() {
            return Ok(Some(false));
        }
        let more = match self.collected.borrow().as_ref() {
            Some(body) => {
                into.extend_from_slice(body.as_bytes(py));
                false
            }
            None => match self.carrier.swap_body(py, into) {
                Some(more) => more,
                None => return Ok(None),
            },
        };
        self.body_given.set(!more);
        Ok(Some(more))
    }

    /// Whether the body was read to its end.
    pub(super) fn is_body_given(&self) -> bool {
        self.body_given.get()
    }

    /// The client has closed its side, which may mean that it is gone.
    pub(super) fn half_closed(&self, py: Python<'_>) -> PyResult<()> {
        self.half_closed.set(true);
        self.receivers.wake(py)
    }

    /// A piece of the response went out; `more`: others follow.
    pub(super) fn sent_piece(&self, py: Python<'_>, more: bool) -> PyResult<()> {
        if !more && !self.trailers.get() {
            self.carrier.finish_request(py, self)?;
        }
        self.carrier.advance(py);
        Ok(())
    }

    /// What `receive` gives now; None where it has to wait.
    pub(super) fn poll_receive(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        if !self.is_open() {
            let event = message::event(py, intern!(py, "http.disconnect"))?;
            return Ok(Some(event.into_any().unbind()));
        }
        if self.body_given.get() {
            if !self.half_closed.get() {
                return Ok(None);
            }
            // Told so, the application will stop: nobody is answered by halves.
            self.gone(py)?;
            self.carrier.leave(py);
            return self.poll_receive(py);
        }
        let (body, more) = match self.collected.borrow().as_ref() {
            Some(body) => (body.clone_ref(py), false),
            None => match self.carrier.take_body(py)? {
                Some(part) => part,
                None => return Ok(None),
            },
        };
        self.body_given.set(!more);
        let event = message::event(py, intern!(py, "http.request"))?;
        event.set_item(intern!(py, "body"), body)?;
        event.set_item(intern!(py, "more_body"), more)?;
        Ok(Some(event.into_any().unbind()))
    }
}
