//! A panic in one connection ends that connection, and nothing else.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use pyo3::prelude::*;

use crate::transport::native::{NativeProtocol, NativeTransport};

use super::shared::Shared;

/// The outermost protocol of a connection of the server.
pub(super) struct Guarded {
    shared: Rc<Shared>,
    inner: Rc<dyn NativeProtocol>,
    transport: RefCell<Option<Rc<dyn NativeTransport>>>,
    /// It panicked: what holds its state may be half done, so it is not called again, but for its
    /// end.
    broken: Cell<bool>,
}

impl Guarded {
    pub(super) fn new(shared: Rc<Shared>, inner: Rc<dyn NativeProtocol>) -> Rc<Self> {
        Rc::new(Self { shared, inner, transport: RefCell::default(), broken: Cell::new(false) })
    }

    fn call<R>(&self, py: Python<'_>, call: impl FnOnce() -> R) -> Option<R> {
        if self.broken.get() {
            return None;
        }
        let called = run(&self.shared, py, call);
        if called.is_none() {
            self.broken.set(true);
            let transport = self.transport.borrow().clone();
            if let Some(transport) = transport {
                transport.abort(py);
            }
        }
        called
    }
}

/// Runs a part of a connection's work. A panic is logged and counted; `None` says so.
pub(super) fn run<R>(shared: &Shared, py: Python<'_>, work: impl FnOnce() -> R) -> Option<R> {
    // What `work` leaves half done belongs to one connection, which is closed.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => Some(done),
        Err(panic) => {
            shared.counters.panics.add(1);
            let text = format!("A connection was dropped: panic in the server: {}", text(&*panic));
            shared.log_message(py, "error", &text);
            None
        }
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "no message",
    }
}

impl NativeProtocol for Guarded {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn connection_made(&self, py: Python<'_>, transport: Rc<dyn NativeTransport>) {
        *self.transport.borrow_mut() = Some(transport.clone());
        self.call(py, || self.inner.connection_made(py, transport));
    }

    fn data_received(&self, py: Python<'_>, data: &[u8]) {
        self.call(py, || {
            assert!(!self.shared.fault.take(), "a fault was injected");
            self.inner.data_received(py, data);
        });
    }

    fn eof_received(&self, py: Python<'_>) -> bool {
        self.call(py, || self.inner.eof_received(py)).unwrap_or(false)
    }

    fn pause_writing(&self, py: Python<'_>) {
        self.call(py, || self.inner.pause_writing(py));
    }

    fn resume_writing(&self, py: Python<'_>) {
        self.call(py, || self.inner.resume_writing(py));
    }

    fn connection_lost(&self, py: Python<'_>, error: Option<io::Error>) {
        let transport = self.transport.borrow_mut().take();
        drop(transport);
        // Also where it broke: the registry must let go of it.
        run(&self.shared, py, || self.inner.connection_lost(py, error));
    }

    fn abandoned(&self, py: Python<'_>) {
        self.inner.abandoned(py);
    }
}
