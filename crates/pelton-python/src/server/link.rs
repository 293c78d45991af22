//! What every kind of connection has on its transport's side, whatever it speaks.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use pyo3::prelude::*;

use crate::transport::native::NativeTransport;

use super::origin::Addresses;

/// The transport's queue: above the first number of bytes applications wait, until the second.
const WRITE_LIMITS: (usize, usize) = (256 * 1024, 64 * 1024);

/// A connection's hold on its transport, from when it was made until it is lost.
#[derive(Default)]
pub(super) struct Link {
    transport: RefCell<Option<Rc<dyn NativeTransport>>>,
    addresses: OnceCell<Addresses>,
    reading_paused: Cell<bool>,
    /// The transport has enough for now.
    pub(super) writing_paused: Cell<bool>,
    /// The transport was told to close, or is gone.
    pub(super) closing: Cell<bool>,
}

impl Link {
    /// The connection was made.
    pub(super) fn connect(&self, transport: Rc<dyn NativeTransport>) {
        transport.set_write_limits(WRITE_LIMITS.0, WRITE_LIMITS.1);
        *self.transport.borrow_mut() = Some(transport);
    }

    /// The connection is lost. Let go of the transport with [`release`](Self::release) when all who
    /// must hear of it have.
    pub(super) fn lose(&self) {
        self.closing.set(true);
        self.writing_paused.set(false);
    }

    /// Lets go of the transport.
    pub(super) fn release(&self) {
        // A `let` of its own: the borrow ends before the transport is dropped.
        let transport = self.transport.borrow_mut().take();
        drop(transport);
    }

    /// The transport, while there is one.
    pub(super) fn transport(&self) -> Option<Rc<dyn NativeTransport>> {
        self.transport.borrow().clone()
    }

    /// Has the transport read on, or not.
    pub(super) fn set_reading(&self, transport: &dyn NativeTransport, wanted: bool) {
        if wanted != self.reading_paused.get() {
            return;
        }
        self.reading_paused.set(!wanted);
        if wanted {
            transport.resume_reading();
        } else {
            transport.pause_reading();
        }
    }

    /// Bytes that the transport has not sent.
    pub(super) fn queued(&self) -> usize {
        self.transport.borrow().as_ref().map_or(0, |transport| transport.write_buffer_len())
    }

    /// Closes at once.
    pub(super) fn abort(&self, py: Python<'_>) {
        if let Some(transport) = self.transport() {
            transport.abort(py);
        }
    }

    /// The addresses of both ends, made when first asked for.
    pub(super) fn addresses(&self, py: Python<'_>) -> PyResult<&Addresses> {
        if let Some(addresses) = self.addresses.get() {
            return Ok(addresses);
        }
        let addresses = Addresses::new(py, self.transport().as_deref())?;
        Ok(self.addresses.get_or_init(|| addresses))
    }

    /// The client's address for people.
    pub(super) fn client_text(&self) -> String {
        peer_text(self.transport.borrow().as_deref())
    }
}

/// Who is at the other end of a transport, for people.
pub(super) fn peer_text(transport: Option<&dyn NativeTransport>) -> String {
    let peer = transport.and_then(NativeTransport::peer);
    peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string())
}
