//! The loop's Rust interface for the other areas of this crate.
//!
//! `LoopRef` is what they hold. Work given to it runs in the loop's thread with the GIL held, in
//! order with what Python gives to `call_soon` and `call_later`, and with no Python context
//! entered. `spawn_inline` starts a task whose first step has run when it returns.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::time::Duration;

use pelton_reactor::monotonic_ns;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use super::base::BaseLoop;
use super::core::{Deferred, LoopCore, Ready, Timer};
use super::mailbox::Mailbox;
use crate::transport::listener::Listener;
use crate::transport::native::{NativeFactory, NativeListener};

/// Something to run once in the loop's thread. An error goes to the loop's exception handler.
pub(crate) type Work = Box<dyn FnOnce(Python<'_>) -> PyResult<()>>;

/// A timer made by `call_later_native`.
pub(crate) struct NativeTimer {
    core: Weak<LoopCore>,
    deferred: Rc<Deferred>,
}

impl NativeTimer {
    /// Drops the work, if it has not run.
    pub(crate) fn cancel(self) {
        // A `let` of its own: the borrow ends before the work is dropped.
        let work = self.deferred.borrow_mut().take();
        if work.is_some()
            && let Some(core) = self.core.upgrade()
        {
            core.timer_cancelled();
        }
    }
}

/// The loop, for Rust: cheap to clone, and bound to the loop's thread. A Python class holds it as
/// `GilBound<LoopRef>`.
#[derive(Clone)]
pub(crate) struct LoopRef(pub(super) Rc<LoopCore>);

impl LoopRef {
    pub(crate) fn new(core: Rc<LoopCore>) -> Self {
        Self(core)
    }

    pub(crate) fn into_core(self) -> Rc<LoopCore> {
        self.0
    }

    /// The core of a `pelton.Loop`; `TypeError` for any other loop.
    pub(crate) fn from_object(event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        match event_loop.cast::<BaseLoop>() {
            Ok(base) => Ok(Self(base.get().core())),
            Err(_) => Err(PyTypeError::new_err(format!(
                "this needs Pelton's event loop, not {}: run it with pelton.run() or call \
                 pelton.install() first",
                event_loop.get_type().name()?
            ))),
        }
    }

    /// The Python object.
    pub(crate) fn object<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.0.object(py)
    }

    /// Counts the turns: it differs between two of them.
    pub(crate) fn turn_number(&self) -> u64 {
        self.0.turn_number()
    }

    /// Nanoseconds of the clock that `loop.time()` reads, taken when this turn began.
    pub(crate) fn now(&self) -> u64 {
        self.0.turn_ns.get()
    }

    /// Where threads without the GIL leave work for the loop.
    pub(crate) fn mailbox(&self) -> Mailbox {
        self.0.mailbox.clone()
    }

    /// Runs `work` in order with the callbacks of `call_soon`.
    pub(crate) fn run_soon_native(&self, work: impl FnOnce(Python<'_>) -> PyResult<()> + 'static) {
        self.0.push_ready(Ready::Native(Box::new(work)));
    }

    /// Runs `work` once `delay` is over, unless the timer is cancelled; dropping it cancels nothing.
    pub(crate) fn call_later_native(
        &self,
        delay: Duration,
        work: impl FnOnce(Python<'_>) -> PyResult<()> + 'static,
    ) -> NativeTimer {
        let delay_ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: loop state is reached with the GIL held.
        let py = unsafe { Python::assume_attached() };
        let now = monotonic_ns();
        // A replaced clock that fails does so in the loop's next turn as well, and is reported there.
        let deadline_ns = self.0.timer_clock(py, now).unwrap_or(now).saturating_add(delay_ns);
        let work: Work = Box::new(work);
        let deferred = Rc::new(RefCell::new(Some(work)));
        self.0.push_timer(deadline_ns, Timer::Native(deferred.clone()));
        NativeTimer { core: Rc::downgrade(&self.0), deferred }
    }

    /// Accepts connections on `socket`, which is bound and listens; each gets the protocol that
    /// `factory` makes. An error of `factory` closes that connection and is reported.
    pub(crate) fn listen_native(
        &self,
        socket: OwnedFd,
        factory: NativeFactory,
    ) -> PyResult<NativeListener> {
        Listener::open_native(self.0.clone(), socket, factory)
    }
}
