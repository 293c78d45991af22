//! What stands between a connection that was accepted and the protocol it turns out to speak.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use pelton_http::h2::{self, PREFACE};
use pyo3::prelude::*;

use crate::transport::native::{NativeProtocol, NativeTransport};

use super::connection::HttpConnection;
use super::http2::Http2Connection;
use super::shared::Shared;

/// A connection that has asked for nothing yet gets so long when the server stops: its first request
/// may be on its way, and its client could not know better.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// Connections that linger after they were turned away; beyond them, they are closed at once.
const TURNED_AWAY_MAX: usize = 64;
/// What they are told.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
    content-length: 21\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\n\
    Too many connections\n";

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
    /// There was no room for it. It has its answer, and lingers.
    turned_away: Cell<bool>,
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
            turned_away: Cell::new(false),
            inner: OnceCell::new(),
        })
    }

    /// Looks at the timeouts.
    pub(super) fn tick(&self, py: Python<'_>) {
        if let Some(inner) = self.inner.get() {
            return inner.tick(py);
        }
        let limits = &self.shared.options.limits;
        let patience = match self.held.borrow().is_empty() {
            _ if self.turned_away.get() => limits.linger,
            true => limits.keep_alive,
            false => limits.head_timeout,
        };
        if self.shared.now().saturating_sub(self.opened) >= patience {
            self.close(py);
        }
    }

    /// Serves no further request: closes now, or after those under way.
    pub(super) fn shutdown(&self, py: Python<'_>) {
        match self.inner.get() {
            Some(inner) => inner.shutdown(py),
            None if self.turned_away.get() => self.close(py),
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

    /// Too many connections: the client may come again. It is read on for a moment, its bytes
    /// dropped: what it sends into a closed connection would take the answer from it.
    fn turn_away(&self, py: Python<'_>, transport: Rc<dyn NativeTransport>) {
        let shared = &self.shared;
        shared.counters.rejected.add(1);
        let agreed_on_http2 = transport.alpn().as_deref() == Some(b"h2");
        if agreed_on_http2 {
            transport.write(py, &h2::goodbye("too many connections"));
        } else {
            shared.counters.count_status(503);
            transport.write(py, TOO_MANY);
        }
        if shared.turned_away.get() >= TURNED_AWAY_MAX {
            return transport.close(py);
        }
        shared.turned_away.set(shared.turned_away.get() + 1);
        self.turned_away.set(true);
        transport.write_eof(py);
        self.keep(transport);
    }

    /// From here on the server knows of it.
    fn keep(&self, transport: Rc<dyn NativeTransport>) {
        *self.transport.borrow_mut() = Some(transport);
        if let Some(me) = self.me.upgrade() {
            self.shared.add_connection(self.id, me);
        }
    }
}

impl NativeProtocol for Door {
    fn name(&self) -> &'static str {
        "HTTP connection"
    }

    fn connection_made(&self, py: Python<'_>, transport: Rc<dyn NativeTransport>) {
        if self.shared.is_full() {
            return self.turn_away(py, transport);
        }
        self.shared.counters.accepted.add(1);
        let agreed = transport.alpn();
        self.keep(transport);
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
            None if self.turned_away.get() => {}
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
        if self.turned_away.take() {
            self.shared.turned_away.set(self.shared.turned_away.get() - 1);
        }
        self.shared.remove_connection(py, self.id);
    }
}
