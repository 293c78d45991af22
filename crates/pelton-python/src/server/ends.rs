//! What a layer stands between: the socket's connection below it, and the protocol above.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use pyo3::prelude::*;

use crate::transport::native::{NativeProtocol, NativeTransport};

use super::lobby::{Lobby, Place};

/// The two neighbours of a layer, each for as long as it is there.
///
/// A layer is the protocol of the one and the transport of the other. No borrow is held while either
/// of them runs: both may call back.
#[derive(Default)]
pub(super) struct Ends {
    lower: RefCell<Option<Rc<dyn NativeTransport>>>,
    /// Made once the layer has what it needs.
    upper: RefCell<Option<Rc<dyn NativeProtocol>>>,
    /// Among those that are not served yet.
    place: Cell<Option<Place>>,
}

impl Ends {
    /// The connection was made.
    pub(super) fn connect(&self, transport: Rc<dyn NativeTransport>) {
        *self.lower.borrow_mut() = Some(transport);
    }

    /// Waits in the lobby, which ends it where it does not come to [`begin`](Self::begin) in time.
    pub(super) fn wait(&self, py: Python<'_>, lobby: &Lobby) {
        if let Some(lower) = self.lower() {
            self.place.set(lobby.enter(py, &lower));
        }
    }

    /// The waiting is over.
    pub(super) fn leave_lobby(&self) {
        drop(self.place.take());
    }

    /// The protocol above begins, on `me`.
    pub(super) fn begin(
        &self,
        py: Python<'_>,
        upper: Rc<dyn NativeProtocol>,
        me: Rc<dyn NativeTransport>,
    ) {
        *self.upper.borrow_mut() = Some(upper.clone());
        upper.connection_made(py, me);
    }

    pub(super) fn lower(&self) -> Option<Rc<dyn NativeTransport>> {
        self.lower.borrow().clone()
    }

    pub(super) fn upper(&self) -> Option<Rc<dyn NativeProtocol>> {
        self.upper.borrow().clone()
    }

    /// Tells the protocol above to stop producing, or to go on.
    pub(super) fn set_writing(&self, py: Python<'_>, wanted: bool) {
        match self.upper() {
            Some(upper) if wanted => upper.resume_writing(py),
            Some(upper) => upper.pause_writing(py),
            None => {}
        }
    }

    /// The connection is lost.
    pub(super) fn lose(&self, py: Python<'_>, error: Option<io::Error>) {
        self.part(|upper| upper.connection_lost(py, error));
    }

    /// The loop was closed under the open connection.
    pub(super) fn abandon(&self, py: Python<'_>) {
        self.part(|upper| upper.abandoned(py));
    }

    fn part(&self, tell: impl FnOnce(Rc<dyn NativeProtocol>)) {
        self.leave_lobby();
        let upper = self.upper.borrow_mut().take();
        let lower = self.lower.borrow_mut().take();
        if let Some(upper) = upper {
            tell(upper);
        }
        drop(lower);
    }
}
