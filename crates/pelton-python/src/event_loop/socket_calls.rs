//! The `sock_*` calls that wait for a descriptor, and what is known of its socket.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::RawFd;

use pelton_reactor::{Interest, Readiness, socket};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

use super::core::LoopCore;
use super::gil::Owned;
use super::watch::Side;
use crate::sockets::waiter::WaiterRef;

/// The part of a watch that belongs to `sock_*`.
///
/// The kernel is asked once per socket, edge-triggered, and not again for each call. Whether that
/// was for the socket at hand, and not for one that had the number before, is known by the socket
/// object: a weak reference tells it from all others.
#[derive(Default)]
pub(crate) struct SocketCalls {
    /// A weak reference to the socket that the kernel was asked for.
    socket: RefCell<Option<Owned>>,
    readers: RefCell<VecDeque<WaiterRef>>,
    writers: RefCell<VecDeque<WaiterRef>>,
    asked_read: Cell<bool>,
    asked_write: Cell<bool>,
    /// The turn in which a read found nothing more: until the next one, the kernel's events tell of
    /// all that comes, so reading again need not be tried.
    drained: Cell<Option<u64>>,
    /// The peer has ended its side: no event comes any more, so reads must be tried.
    peer_ended: Cell<bool>,
    /// It is a TCP connection, where a short read means that no more was there.
    tcp: Cell<bool>,
    /// Length of the last read.
    last_read: Cell<usize>,
}

impl SocketCalls {
    /// Whether the kernel was asked for this very socket.
    pub(crate) fn is_of(&self, socket: &Bound<'_, PyAny>) -> bool {
        let known = self.socket.borrow();
        let Some(known) = &*known else {
            return false;
        };
        let mut target = std::ptr::null_mut();
        // SAFETY: a weak reference, made by `begin`; what it still refers to is a new reference,
        // which is not the last one if it is the socket at hand.
        unsafe {
            if ffi::compat::PyWeakref_GetRef(known.as_ptr(), &raw mut target) != 1 {
                return false;
            }
            let same = target == socket.as_ptr();
            ffi::Py_DECREF(target);
            same
        }
    }

    /// Starts anew for `socket`, of which nothing is known yet.
    pub(super) fn begin(&self, fd: RawFd, socket: &Bound<'_, PyAny>) -> PyResult<()> {
        // SAFETY: makes a weak reference, or fails.
        let weak = unsafe {
            let weak = ffi::PyWeakref_NewRef(socket.as_ptr(), std::ptr::null_mut());
            if weak.is_null() {
                return Err(PyErr::fetch(socket.py()));
            }
            Owned::steal(weak)
        };
        let replaced = self.socket.replace(Some(weak));
        self.drained.set(None);
        self.peer_ended.set(false);
        self.tcp.set(socket::is_tcp(fd));
        self.last_read.set(0);
        drop(replaced);
        Ok(())
    }

    /// Asks for `side`. `true`: it was not asked for before.
    pub(super) fn ask_for(&self, side: Side) -> bool {
        match side {
            Side::Read => !self.asked_read.replace(true),
            Side::Write => !self.asked_write.replace(true),
        }
    }

    pub(super) fn interest(&self) -> Interest {
        Interest { read: self.asked_read.get(), write: self.asked_write.get() }
    }

    /// Takes an event of the descriptor.
    pub(super) fn note(&self, event: Readiness) {
        if event.readable {
            self.drained.set(None);
        }
        if event.read_closed {
            self.peer_ended.set(true);
        }
    }

    /// Whether a read would find nothing, as far as the loop was told.
    pub(crate) fn is_drained(&self, core: &LoopCore) -> bool {
        self.drained.get() == Some(core.turn_number()) && core.running.get()
    }

    /// A read took `count` bytes where it had room for `size`.
    pub(crate) fn note_read(&self, core: &LoopCore, count: usize, size: usize) {
        self.last_read.set(count);
        if count < size && self.tcp.get() && !self.peer_ended.get() {
            self.drained.set(Some(core.turn_number()));
        }
    }

    /// Length of the last read.
    pub(crate) fn last_read(&self) -> usize {
        self.last_read.get()
    }

    fn side(&self, side: Side) -> &RefCell<VecDeque<WaiterRef>> {
        match side {
            Side::Read => &self.readers,
            Side::Write => &self.writers,
        }
    }

    /// Has `waiter` woken by the next event of `side`.
    pub(crate) fn push(&self, side: Side, waiter: WaiterRef) {
        self.side(side).borrow_mut().push_back(waiter);
    }

    /// Forgets a waiter, if it is there.
    pub(crate) fn forget(&self, waiter: *mut PyObject) {
        for side in [&self.readers, &self.writers] {
            // A `let` of its own: the borrow ends before the waiter is dropped.
            let removed = {
                let mut waiting = side.borrow_mut();
                let position = waiting.iter().position(|known| known.as_ptr() == waiter);
                position.and_then(|position| waiting.remove(position))
            };
            drop(removed);
        }
    }

    /// Wakes all that wait for `side` now. One of them gets what is there; the others wait again.
    pub(super) fn wake(&self, core: &LoopCore, side: Side) {
        let count = self.side(side).borrow().len();
        for _ in 0..count {
            let waiter = self.side(side).borrow_mut().pop_front();
            if let Some(waiter) = waiter {
                waiter.wake(core);
            }
        }
    }

    /// The waiters, for the collector.
    pub(super) fn each_waiter(&self, mut visit: impl FnMut(&Py<PyAny>)) {
        for side in [&self.readers, &self.writers] {
            if let Ok(waiting) = side.try_borrow() {
                waiting.iter().for_each(|waiter| visit(waiter.as_py()));
            }
        }
    }
}
