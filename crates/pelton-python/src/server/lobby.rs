//! Connections that are not served yet: they shake hands, or say for whom they come.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use pyo3::prelude::*;

use crate::event_loop::NativeTimer;
use crate::transport::native::NativeTransport;

use super::link::peer_text;
use super::shared::Shared;

/// When the server stops, those who shake hands get so long: their clients could not know better.
const GRACE: Duration = Duration::from_secs(2);

/// The connections that still have to show that they are worth serving, each for so long at most.
pub(super) struct Lobby {
    shared: Rc<Shared>,
    waiting: RefCell<HashMap<u64, Waiting>>,
    last_id: Cell<u64>,
    closed: Cell<bool>,
    me: Weak<Self>,
}

struct Waiting {
    transport: Rc<dyn NativeTransport>,
    timer: NativeTimer,
}

/// A connection's place in the lobby; dropping it leaves.
pub(super) struct Place {
    lobby: Rc<Lobby>,
    id: u64,
}

impl Lobby {
    /// With the options' timeout for each connection, and as many as they allow at once.
    pub(super) fn new(shared: Rc<Shared>) -> Rc<Self> {
        Rc::new_cyclic(|me| Self {
            shared,
            waiting: RefCell::default(),
            last_id: Cell::new(0),
            closed: Cell::new(false),
            me: me.clone(),
        })
    }

    /// The server that it is the lobby of.
    pub(super) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    /// Takes a connection in. `None`: there is no room, or no more serving, and it was ended.
    pub(super) fn enter(
        &self,
        py: Python<'_>,
        transport: &Rc<dyn NativeTransport>,
    ) -> Option<Place> {
        let lobby = self.me.upgrade()?;
        let options = &self.shared.options;
        if self.closed.get() || self.waiting.borrow().len() >= options.max_handshakes {
            self.shared.counters.rejected.add(1);
            transport.abort(py);
            return None;
        }
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        let me = self.me.clone();
        let event_loop = &self.shared.event_loop;
        let timer = event_loop.call_later_native(options.handshake_timeout, move |py| {
            if let Some(lobby) = me.upgrade() {
                lobby.give_up(py, id);
            }
            Ok(())
        });
        let waiting = Waiting { transport: transport.clone(), timer };
        self.waiting.borrow_mut().insert(id, waiting);
        self.count();
        Some(Place { lobby, id })
    }

    /// A connection ended here, by its own fault.
    pub(super) fn note_failure(&self, py: Python<'_>, message: &str) {
        self.shared.counters.rejected.add(1);
        self.shared.log_message(py, "debug", message);
    }

    /// Ends those who are not through in a moment: the server stops.
    pub(super) fn close_soon(&self) {
        let me = self.me.clone();
        self.shared.event_loop.call_later_native(GRACE, move |py| {
            if let Some(lobby) = me.upgrade() {
                lobby.close(py);
            }
            Ok(())
        });
    }

    /// Ends all; none comes in any more.
    pub(super) fn close(&self, py: Python<'_>) {
        self.closed.set(true);
        // A `let` of its own: the borrow ends before the connections learn of it.
        let waiting = self.waiting.take();
        self.count();
        for (_, waiting) in waiting {
            waiting.timer.cancel();
            waiting.transport.abort(py);
        }
    }

    /// Tells the server how many are here: it is not idle before they are gone.
    fn count(&self) {
        self.shared.handshaking.set(self.waiting.borrow().len());
        if self.shared.on_idle.borrow().is_some() {
            let shared = self.shared.clone();
            // Behind what becomes of the connection that has just left.
            self.shared.event_loop.run_soon_native(move |py| {
                shared.check_idle(py);
                Ok(())
            });
        }
    }

    fn give_up(&self, py: Python<'_>, id: u64) {
        let late = self.waiting.borrow_mut().remove(&id);
        self.count();
        if let Some(late) = late {
            let peer = peer_text(Some(&*late.transport));
            self.note_failure(py, &format!("{peer} did not finish its handshake in time"));
            late.transport.abort(py);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A `let` of its own: the borrow ends before the transport is dropped.
        let left = self.lobby.waiting.borrow_mut().remove(&self.id);
        if let Some(left) = left {
            left.timer.cancel();
            self.lobby.count();
        }
    }
}
