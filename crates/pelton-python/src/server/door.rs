//! What stands between a connection that was accepted and the protocol it turns out to speak.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use pelton_http::h2::PREFACE;
use pyo3::prelude::*;

use crate::transport::native::{NativeProtocol, NativeTransport};

use super::connection::HttpConnection;
use super::http2::Http2Connection;
use super::shared::Shared;

/// A connection that has asked for nothing yet gets so long when the server stops: its first request
/// may be on its way, and its client could not know better.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// A connection once its protocol is known.
pub(super) trait Served: NativeProtocol {
    /// Looks at the timeouts.
    fn tick(&self, py: Python<'_>);
    /// Serves no further request: closes now, or after those under way.
    fn shutdown(&self, py: Python<'_>);
    /// Closes at once.
    fn abort(&self, py: Python<'_>);
}

/// A connection of the server: HTTP/2 where TLS has agreed on it or the first bytes are its
/// preface, otherwise HTTP/1.1.
pub(super) struct Door {
    shared: Rc<Shared>,
    id: u64,
    me: Weak<Self>,
    opened: Duration,
    transport: RefCell<Option<Rc<dyn NativeTransport>>>,
    /// The first bytes, while they may become the preface.
    held: RefCell<Vec<u8>>,
    /// TLS has agreed on HTTP/1.1: no preface comes.
    agreed_on_http1: Cell<bool>,
    inner: OnceCell<Rc<dyn Served>>,
}

impl Door {
    pub(super) fn new(shared: Rc<Shared>) -> Rc<Self> {
        let (id, opened) = (shared.new_id(), shared.now());
        Rc::new_cyclic(|me| Self {
            shared,
            id,
            me: me.clone(),
            opened,
            transport: RefCell::default(),
            held: RefCell::default(),
            agreed_on_http1: Cell::new(false),
            inner: OnceCell::new(),
        })
    }

    /// Looks at the timeouts.
    pub(super) fn tick(&self, py: Python<'_>) {
        if let Some(inner) = self.inner.get() {
            return inner.tick(py);
        }
        let limits = &self.shared.options.limits;
        let patience =
            if self.held.borrow().is_empty() { limits.keep_alive } else { limits.head_timeout };
        if self.shared.now().saturating_sub(self.opened) >= patience {
            self.close(py);
        }
    }

    /// Serves no further request: closes now, or after those under way.
    pub(super) fn shutdown(&self, py: Python<'_>) {
        match self.inner.get() {
            Some(inner) => inner.shutdown(py),
            None => self.close_soon(),
        }
    }

    /// Closes the connection unless its first request comes.
    fn close_soon(&self) {
        let me = self.me.clone();
        self.shared.event_loop.call_later_native(FIRST_REQUEST_GRACE, move |py| {
            if let Some(door) = me.upgrade()
                && door.inner.get().is_none()
            {
                door.close(py);
            }
            Ok(())
        });
    }

    /// Closes at once.
    pub(super) fn abort(&self, py: Python<'_>) {
        if let Some(inner) = self.inner.get() {
            return inner.abort(py);
        }
        let transport = self.transport.borrow().clone();
        if let Some(transport) = transport {
            transport.abort(py);
        }
    }

    fn close(&self, py: Python<'_>) {
        let transport = self.transport.borrow().clone();
        if let Some(transport) = transport {
            transport.close(py);
        }
    }

    /// The first bytes may decide.
    fn decide(&self, py: Python<'_>, data: &[u8]) {
        let mut held = self.held.take();
        held.extend_from_slice(data);
        let seen = held.len().min(PREFACE.len());
        if !self.shared.options.http2
            || self.agreed_on_http1.get()
            || held[..seen] != PREFACE[..seen]
        {
            self.begin(py, HttpConnection::new(self.shared.clone()), &held);
        } else if seen == PREFACE.len() {
            self.begin(py, Http2Connection::new(self.shared.clone()), &held);
        } else {
            *self.held.borrow_mut() = held;
        }
    }

    /// The protocol is known.
    fn begin(&self, py: Python<'_>, inner: Rc<dyn Served>, data: &[u8]) {
        let Some(transport) = self.transport.borrow().clone() else { return };
        let inner = self.inner.get_or_init(|| inner);
        inner.connection_made(py, transport);
        if !data.is_empty() {
            inner.data_received(py, data);
            if self.shared.shutting_down.get() {
                inner.shutdown(py);
            }
        }
    }

    /// Too many connections: the client may come again.
    fn turn_away(&self, py: Python<'_>, transport: &dyn NativeTransport) {
        self.shared.counters.rejected.add(1);
        self.shared.counters.count_status(503);
        transport.write(
            py,
            b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 21\r\n\
              content-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\n\
              Too many connections\n",
        );
        transport.close(py);
    }
}

impl NativeProtocol for Door {
    fn name(&self) -> &'static str {
        "HTTP connection"
    }

    fn connection_made(&self, py: Python<'_>, transport: Rc<dyn NativeTransport>) {
        if self.shared.connections.borrow().len() >= self.shared.options.max_connections {
            return self.turn_away(py, transport.as_ref());
        }
        self.shared.counters.accepted.add(1);
        let agreed = transport.alpn();
        *self.transport.borrow_mut() = Some(transport);
        if let Some(me) = self.me.upgrade() {
            self.shared.add_connection(self.id, me);
        }
        match agreed.as_deref() {
            Some(b"h2") => self.begin(py, Http2Connection::new(self.shared.clone()), b""),
            Some(_) => self.agreed_on_http1.set(true),
            None => {}
        }
        if self.shared.shutting_down.get() {
            self.shutdown(py);
        }
    }

    fn data_received(&self, py: Python<'_>, data: &[u8]) {
        match self.inner.get() {
            Some(inner) => inner.data_received(py, data),
            None => self.decide(py, data),
        }
    }

    fn eof_received(&self, py: Python<'_>) -> bool {
        match self.inner.get() {
            Some(inner) => inner.eof_received(py),
            None => false,
        }
    }

    fn pause_writing(&self, py: Python<'_>) {
        if let Some(inner) = self.inner.get() {
            inner.pause_writing(py);
        }
    }

    fn resume_writing(&self, py: Python<'_>) {
        if let Some(inner) = self.inner.get() {
            inner.resume_writing(py);
        }
    }

    fn connection_lost(&self, py: Python<'_>, error: Option<io::Error>) {
        if let Some(inner) = self.inner.get() {
            inner.connection_lost(py, error);
        }
        let transport = self.transport.borrow_mut().take();
        drop(transport);
        self.shared.remove_connection(py, self.id);
    }
}
