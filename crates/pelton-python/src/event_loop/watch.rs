//! `add_reader` and `add_writer`: level-triggered callbacks on any descriptor.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

use pelton_reactor::{Interest, Readiness};

use super::core::{LoopCore, Ready};
use super::handle::HandleRef;
use super::sources::Source;

/// One descriptor's callbacks.
pub(crate) struct Watch {
    fd: RawFd,
    key: Cell<usize>,
    reader: RefCell<Option<HandleRef>>,
    writer: RefCell<Option<HandleRef>>,
    /// It waits in the loop's `rearm` list.
    rearming: Cell<bool>,
}

/// Which of the two callbacks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Read,
    Write,
}

impl Watch {
    fn side(&self, side: Side) -> &RefCell<Option<HandleRef>> {
        match side {
            Side::Read => &self.reader,
            Side::Write => &self.writer,
        }
    }

    fn interest(&self) -> Interest {
        Interest { read: self.reader.borrow().is_some(), write: self.writer.borrow().is_some() }
    }

    /// The callbacks, for the collector.
    pub(super) fn each_handle(&self, mut visit: impl FnMut(&HandleRef)) {
        for side in [&self.reader, &self.writer] {
            if let Ok(Some(handle)) = side.try_borrow().as_deref() {
                visit(handle);
            }
        }
    }
}

impl LoopCore {
    /// Sets the callback of one side; the one that was there is cancelled.
    pub(super) fn add_watch(&self, fd: RawFd, side: Side, handle: HandleRef) -> io::Result<()> {
        let existing = self.watches.borrow().get(&fd).cloned();
        if let Some(watch) = existing {
            let replaced = watch.side(side).replace(Some(handle));
            if let Some(replaced) = replaced {
                replaced.cancel();
            }
            return self.look_again(&watch);
        }
        let watch = Rc::new(Watch {
            fd,
            key: Cell::new(0),
            reader: RefCell::new(None),
            writer: RefCell::new(None),
            rearming: Cell::new(false),
        });
        *watch.side(side).borrow_mut() = Some(handle);
        let key = self.add_source(fd, Source::Watch(watch.clone()), watch.interest())?;
        watch.key.set(key);
        self.watches.borrow_mut().insert(fd, watch);
        self.wake_if_parked();
        Ok(())
    }

    /// Cancels the callback of one side. `false`: there was none.
    pub(super) fn remove_watch(&self, fd: RawFd, side: Side) -> bool {
        let Some(watch) = self.watches.borrow().get(&fd).cloned() else {
            return false;
        };
        let Some(removed) = watch.side(side).take() else {
            return false;
        };
        if watch.interest().is_empty() {
            let gone = self.watches.borrow_mut().remove(&fd);
            drop(gone);
            self.remove_source(fd, watch.key.get());
        } else {
            // The other side goes on; a descriptor closed meanwhile gives no events anyway.
            let _ = self.registry.modify(fd, watch.key.get(), watch.interest());
        }
        removed.cancel();
        true
    }

    /// Which sides have a callback: 1 for reading, plus 2 for writing.
    pub(super) fn watched(&self, fd: RawFd) -> u8 {
        let watches = self.watches.borrow();
        let interest = watches.get(&fd).map(|watch| watch.interest()).unwrap_or_default();
        u8::from(interest.read) | u8::from(interest.write) << 1
    }

    /// Queues the callbacks of a descriptor that is ready.
    pub(super) fn dispatch_watch(&self, watch: &Rc<Watch>, event: Readiness) {
        for (side, ready) in [(Side::Read, event.readable), (Side::Write, event.writable)] {
            if ready && let Some(handle) = watch.side(side).borrow().as_ref() {
                self.ready.borrow_mut().push_back(Ready::Handle(handle.share()));
            }
        }
        if !watch.rearming.replace(true) {
            self.rearm.borrow_mut().push(watch.clone());
        }
    }

    /// Before a wait: looks again at every descriptor whose callback has run.
    pub(super) fn rearm_watches(&self) {
        loop {
            let Some(watch) = self.rearm.borrow_mut().pop() else {
                return;
            };
            watch.rearming.set(false);
            if !watch.interest().is_empty() {
                // Only a closed descriptor fails: it gives no events, as with any selector.
                let _ = self.look_again(&watch);
            }
        }
    }

    fn look_again(&self, watch: &Watch) -> io::Result<()> {
        let (fd, key, interest) = (watch.fd, watch.key.get(), watch.interest());
        match self.registry.modify(fd, key, interest) {
            // The descriptor was closed and its number used again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.registry.register(fd, key, interest)
            }
            result => result,
        }
    }
}
