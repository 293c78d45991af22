//! What is watched on a descriptor for Python: `add_reader` and `add_writer`, which are level-triggered
//! callbacks, and `sock_*` calls, which take edges as they come.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

use pelton_reactor::{Interest, Readiness};

use pyo3::prelude::*;
use pyo3::types::PyInt;

use super::core::{LoopCore, Ready};
use super::handle::HandleRef;
use super::socket_calls::SocketCalls;
use super::sources::Source;

/// One descriptor's callbacks, and the `sock_*` calls that wait for it.
pub(crate) struct Watch {
    fd: RawFd,
    key: Cell<usize>,
    /// The object that was given instead of a number: a closed socket is found by it.
    given: RefCell<Option<Py<PyAny>>>,
    reader: RefCell<Option<HandleRef>>,
    writer: RefCell<Option<HandleRef>>,
    pub(crate) calls: SocketCalls,
    /// It waits in the loop's `rearm` list.
    rearming: Cell<bool>,
}

/// Which of the two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Read,
    Write,
}

impl Watch {
    fn new(fd: RawFd) -> Rc<Self> {
        Rc::new(Self {
            fd,
            key: Cell::new(0),
            given: RefCell::new(None),
            reader: RefCell::new(None),
            writer: RefCell::new(None),
            calls: SocketCalls::default(),
            rearming: Cell::new(false),
        })
    }

    fn side(&self, side: Side) -> &RefCell<Option<HandleRef>> {
        match side {
            Side::Read => &self.reader,
            Side::Write => &self.writer,
        }
    }

    /// What `add_reader` and `add_writer` ask for.
    fn callbacks(&self) -> Interest {
        Interest { read: self.reader.borrow().is_some(), write: self.writer.borrow().is_some() }
    }

    fn interest(&self) -> Interest {
        let (callbacks, calls) = (self.callbacks(), self.calls.interest());
        Interest { read: callbacks.read || calls.read, write: callbacks.write || calls.write }
    }

    /// The Python objects it holds, for the collector.
    pub(super) fn each_object(&self, mut visit: impl FnMut(&Py<PyAny>)) {
        for side in [&self.reader, &self.writer] {
            if let Ok(Some(handle)) = side.try_borrow().as_deref() {
                visit(handle.as_py());
            }
        }
        if let Ok(Some(given)) = self.given.try_borrow().as_deref() {
            visit(given);
        }
        self.calls.each_waiter(visit);
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
        let watch = Watch::new(fd);
        *watch.side(side).borrow_mut() = Some(handle);
        self.start_watch(watch)
    }

    /// Notes the object that a watch was asked for with, so that it can be removed by it.
    pub(super) fn note_given(&self, fd: RawFd, given: &Bound<'_, PyAny>) {
        if let Some(watch) = self.watch_of(fd) {
            let given = (!given.is_instance_of::<PyInt>()).then(|| given.clone().unbind());
            let before = watch.given.replace(given);
            drop(before);
        }
    }

    /// The number that an object had when it was given; a closed one cannot tell it any more.
    pub(super) fn number_of_given(&self, given: &Bound<'_, PyAny>) -> Option<RawFd> {
        let watches = self.watches.borrow();
        let watch = watches
            .values()
            .find(|watch| watch.given.borrow().as_ref().is_some_and(|object| object.is(given)));
        watch.map(|watch| watch.fd)
    }

    fn start_watch(&self, watch: Rc<Watch>) -> io::Result<()> {
        let key = self.add_source(watch.fd, Source::Watch(watch.clone()), watch.interest())?;
        watch.key.set(key);
        self.watches.borrow_mut().insert(watch.fd, watch);
        Ok(())
    }

    /// The watch of a descriptor, whoever made it.
    pub(crate) fn watch_of(&self, fd: RawFd) -> Option<Rc<Watch>> {
        self.watches.borrow().get(&fd).cloned()
    }

    /// Has the kernel tell of `side` of `fd` for the `sock_*` calls of `socket`, from now on.
    pub(crate) fn watch_socket(
        &self,
        fd: RawFd,
        socket: &Bound<'_, PyAny>,
        side: Side,
    ) -> PyResult<Rc<Watch>> {
        let existing = self.watch_of(fd);
        let watch = existing.clone().unwrap_or_else(|| Watch::new(fd));
        let known = existing.is_some() && watch.calls.is_of(socket);
        if !known {
            watch.calls.begin(fd, socket)?;
        }
        let asked = watch.calls.ask_for(side);
        let watching = match existing {
            None => self.start_watch(watch.clone()),
            // Another socket now has the number, or the kernel was not asked for this side yet.
            Some(_) if !known || asked => self.look_again(&watch),
            Some(_) => Ok(()),
        };
        watching.map_err(|error| super::os_error(&error))?;
        Ok(watch)
    }

    /// Ends the watch of a descriptor that gets another source: its calls look for themselves.
    pub(super) fn retire_watch(&self, fd: RawFd) {
        // A `let` of its own: the borrow ends before handles are cancelled.
        let retired = self.watches.borrow_mut().remove(&fd);
        let Some(watch) = retired else {
            return;
        };
        self.remove_source(fd, watch.key.get());
        for side in [&watch.reader, &watch.writer] {
            if let Some(handle) = side.take() {
                handle.cancel();
            }
        }
        for side in [Side::Read, Side::Write] {
            watch.calls.wake(self, side);
        }
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
        } else if !watch.callbacks().is_empty() {
            // The other side goes on; a descriptor closed meanwhile gives no events anyway.
            let _ = self.registry.modify(fd, watch.key.get(), watch.interest());
        }
        removed.cancel();
        true
    }

    /// Which sides have a callback: 1 for reading, plus 2 for writing.
    pub(super) fn watched(&self, fd: RawFd) -> u8 {
        let watches = self.watches.borrow();
        let interest = watches.get(&fd).map(|watch| watch.callbacks()).unwrap_or_default();
        u8::from(interest.read) | u8::from(interest.write) << 1
    }

    /// Queues the callbacks of a descriptor that is ready.
    pub(super) fn dispatch_watch(&self, watch: &Rc<Watch>, event: Readiness) {
        watch.calls.note(event);
        for (side, ready) in [(Side::Read, event.readable), (Side::Write, event.writable)] {
            if !ready {
                continue;
            }
            if let Some(handle) = watch.side(side).borrow().as_ref() {
                self.ready.borrow_mut().push_back(Ready::Handle(handle.share()));
            }
            watch.calls.wake(self, side);
        }
        if !watch.callbacks().is_empty() && !watch.rearming.replace(true) {
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
            if !watch.callbacks().is_empty() {
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
