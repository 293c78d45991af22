//! Connections in use keep OpenSSL's buffers.
//!
//! Python has OpenSSL free a connection's buffers after every record (`SSL_MODE_RELEASE_BUFFERS`):
//! an idle connection then holds 34 KiB less, and a busy one asks for them again each time. Here a
//! connection that was used within the last second keeps them, up to `KEPT_MAX` connections of a
//! loop; those beyond, and those at rest, are as Python makes them.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::connection::Connection;
use crate::event_loop::LoopRef;
use crate::event_loop::core::LoopCore;

/// Connections of a loop that keep their buffers: 8.5 MiB at most.
const KEPT_MAX: usize = 256;
/// Without use for this long (twice this at most), a connection gives its buffers back.
const REST: Duration = Duration::from_secs(1);

/// Those connections of one loop.
#[derive(Default)]
pub(crate) struct Warm {
    kept: RefCell<Vec<Weak<Connection>>>,
    /// The next look at them is on its way.
    scheduled: Cell<bool>,
}

impl Warm {
    /// Lets `connection`, which is in use, keep its buffers if there is room for one more.
    pub(super) fn add(&self, connection: &Rc<Connection>) -> bool {
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= KEPT_MAX {
            return false;
        }
        kept.push(Rc::downgrade(connection));
        drop(kept);
        self.schedule(&connection.stream.core);
        true
    }

    fn schedule(&self, core: &Rc<LoopCore>) {
        if self.scheduled.replace(true) {
            return;
        }
        let weak = Rc::downgrade(core);
        LoopRef::new(Rc::clone(core)).call_later_native(REST, move |_| {
            if let Some(core) = weak.upgrade() {
                core.warm_tls.scheduled.set(false);
                if core.warm_tls.sweep() {
                    core.warm_tls.schedule(&core);
                }
            }
            Ok(())
        });
    }

    /// Gives back the buffers of those that rested. Whether some are left.
    fn sweep(&self) -> bool {
        let mut kept = self.kept.borrow_mut();
        kept.retain(|connection| connection.upgrade().is_some_and(|connection| !connection.cool()));
        !kept.is_empty()
    }
}
