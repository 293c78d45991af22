//! Moments that a Python object of this crate waits for, without a handle for each.
//!
//! A deadline that is set and taken back before it is reached, as nearly every timeout is, costs
//! an entry in the timer heap and nothing else.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use pelton_reactor::monotonic_ns;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::base::BaseLoop;
use super::core::{Ready, Timer};
use super::gil::Owned;
use super::native::LoopRef;

/// What a class whose objects wait for moments does.
pub(crate) struct AlarmKind {
    /// Whether the alarm with this ticket is still set: an object that cancels one, or sets
    /// another, stops knowing the old ticket.
    ///
    /// # Safety
    /// Called with a live object of the class, and the GIL held. It must not run Python.
    pub(crate) is_set: unsafe fn(object: *mut PyObject, ticket: u32) -> bool,
    /// The moment has come, in the loop's thread, as a callback of its own.
    ///
    /// # Safety
    /// As for `is_set`, but that it may run Python.
    pub(crate) ring: unsafe fn(py: Python<'_>, object: *mut PyObject) -> PyResult<()>,
}

/// One moment of one object.
pub(crate) struct Alarm {
    object: Owned,
    ticket: u32,
    kind: &'static AlarmKind,
}

impl Alarm {
    /// An alarm for `object`, which is kept alive until it rings or is swept out of the heap.
    ///
    /// # Safety
    /// `object` is of the class that `kind` belongs to.
    pub(crate) unsafe fn new(object: Owned, ticket: u32, kind: &'static AlarmKind) -> Self {
        Self { object, ticket, kind }
    }

    pub(super) fn is_set(&self) -> bool {
        // SAFETY: the object is live, as we hold it; `new`'s caller matched it with `kind`.
        unsafe { (self.kind.is_set)(self.object.as_ptr(), self.ticket) }
    }

    pub(super) fn ring(&self, py: Python<'_>) -> PyResult<()> {
        // SAFETY: as above.
        unsafe { (self.kind.ring)(py, self.object.as_ptr()) }
    }

    /// The object, for the collector.
    pub(super) fn as_py(&self) -> &Py<PyAny> {
        self.object.as_py()
    }
}

impl LoopRef {
    /// The core of a loop that alarms can be set in; None for a loop that is not ours, whose class
    /// has a clock or timers of its own, or that is in debug mode, where handles say where they
    /// were made.
    ///
    /// # Safety
    /// `event_loop` is a live object; the GIL is held.
    pub(crate) unsafe fn with_alarms(
        py: Python<'_>,
        event_loop: *mut PyObject,
    ) -> PyResult<Option<Self>> {
        // SAFETY: the caller's.
        unsafe {
            if !has_our_timers(py, ffi::Py_TYPE(event_loop))? {
                return Ok(None);
            }
            let base = Borrowed::from_ptr(py, event_loop).cast_unchecked::<BaseLoop>();
            let core = base.get().core();
            let plain = !core.is_closed() && !core.is_debug() && !core.own_clock.get();
            Ok(plain.then_some(Self(core)))
        }
    }

    /// Sets an alarm for `when`, in seconds of the loop's clock. What is due already rings in the
    /// next turn, in order with the loop's other callbacks. Returns whether it lies in the future:
    /// then `alarm_cancelled` must be told when it is taken back.
    pub(crate) fn set_alarm(&self, when: f64, alarm: Alarm) -> bool {
        let later = when > now_seconds();
        if later {
            // Saturates: infinity never comes.
            self.0.push_timer((when * 1e9) as u64, Timer::Alarm(alarm));
        } else {
            self.0.push_ready(Ready::Alarm(alarm));
        }
        later
    }

    /// Notes that an alarm which was set for later will not ring.
    pub(crate) fn alarm_cancelled(&self) {
        self.0.timer_cancelled();
    }
}

/// Seconds of the clock that `time()` of our loops reads.
pub(crate) fn now_seconds() -> f64 {
    monotonic_ns() as f64 / 1e9
}

/// Whether loops of this class have the clock and the timers of `BaseLoop`.
fn has_our_timers(py: Python<'_>, kind: *mut ffi::PyTypeObject) -> PyResult<bool> {
    // The class seen last, either way; both hold a reference, so that no other class can come to
    // lie at the same address.
    static OURS: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());
    static OTHER: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());
    if OURS.load(Ordering::Relaxed) == kind {
        return Ok(true);
    }
    if OTHER.load(Ordering::Relaxed) == kind {
        return Ok(false);
    }
    // SAFETY: the type of a live object.
    let class = unsafe { Bound::from_borrowed_ptr(py, kind.cast()) };
    let base = py.get_type::<BaseLoop>();
    let mut ours = class.cast::<PyType>()?.is_subclass(&base)?;
    for name in ["time", "call_at", "call_later", "call_soon"] {
        ours = ours && class.getattr(name)?.is(&base.getattr(name)?);
    }
    let cell = if ours { &OURS } else { &OTHER };
    let old = cell.swap(class.into_ptr().cast(), Ordering::Relaxed);
    // SAFETY: the reference that the cell held, or null.
    unsafe { ffi::Py_XDECREF(old.cast()) };
    Ok(ours)
}
