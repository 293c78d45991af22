//! `timeout` and `timeout_at`: a deadline for a block.

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::ptr::null_mut;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::intern;
use pyo3::prelude::*;

use super::arguments::Arguments;
use super::coroutine::{Visitor, coroutine};
use super::future::{call_method, owned, running_loop};
use super::raw_class::{Field, MethodFunction, RawClass, RawType, Spec, add_function, value_of};
use super::task::{current_task, is_none};
use super::timeout_block::{Enter, Exit, expire};
use crate::event_loop::{Alarm, AlarmKind, LoopRef, Owned, entry, now_seconds};

/// Adds this file's names to `pelton._core`.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("Timeout", Timeout::class().register(py)?)?;
    super::timeout_block::register(py)?;
    add_function(
        module,
        c"timeout",
        MethodFunction::FastWithKeywords(timeout),
        c"timeout(delay)\n--\n\nA deadline `delay` seconds from now for the block of `async with`.",
    )?;
    add_function(
        module,
        c"timeout_at",
        MethodFunction::FastWithKeywords(timeout_at),
        c"timeout_at(when)\n--\n\nA deadline at the loop's time `when` for the block of `async with`.",
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Created,
    Entered,
    Expiring,
    Expired,
    Exited,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Entered => "active",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
            Self::Exited => "finished",
        }
    }
}

/// `asyncio.Timeout`.
pub(super) struct Timeout {
    state: Cell<State>,
    /// The deadline as it was given; empty where only `seconds` has it.
    when: Field,
    /// The deadline on the loop's clock, where `when` is empty.
    seconds: Cell<f64>,
    task: Field,
    /// `task.cancelling()` when the block was entered.
    cancelling: Cell<isize>,
    /// The Pelton loop in whose heap the alarm is.
    clock: Cell<Option<LoopRef>>,
    /// Changes with each alarm that is set or taken back.
    ticket: Cell<u32>,
    /// The handle of any other loop.
    handle: Field,
}

impl RawClass for Timeout {
    const NAME: &'static CStr = c"pelton._core.Timeout";

    fn class() -> &'static RawType<Self> {
        static CLASS: RawType<Timeout> = RawType::new();
        &CLASS
    }

    fn declare(spec: Spec<Self>) -> Spec<Self> {
        spec.doc(
            c"Timeout(when)\n--\n\nA deadline for the block of `async with`, at the loop's time \
              `when`; None for never.",
        )
        .slot(ffi::Py_tp_new, new as *mut c_void)
        .slot(ffi::Py_tp_repr, repr as *mut c_void)
        .method(
            c"when",
            MethodFunction::Plain(when),
            c"when($self)\n--\n\nThe deadline on the loop's clock, or None.",
        )
        .method(
            c"reschedule",
            MethodFunction::FastWithKeywords(reschedule),
            c"reschedule($self, when)\n--\n\nMove the deadline; None for never.",
        )
        .method(
            c"expired",
            MethodFunction::Plain(expired),
            c"expired($self)\n--\n\nWhether the deadline was exceeded.",
        )
        .method(c"__aenter__", MethodFunction::Plain(aenter), c"Set the deadline.")
        .method(
            c"__aexit__",
            MethodFunction::Fast(aexit),
            c"Raise TimeoutError if it was exceeded.",
        )
        .method(c"_on_timeout", MethodFunction::Plain(on_timeout), c"Cancel the task.")
    }

    fn traverse(&self, visitor: &mut Visitor) {
        for field in [&self.when, &self.task, &self.handle] {
            visitor.see_ptr(field.as_ptr());
        }
    }

    fn clear(&self) {
        drop(self.task.take());
        drop(self.handle.take());
    }
}

/// How a loop's alarm knows a timeout.
static ALARM: AlarmKind = AlarmKind {
    // SAFETY: alarms of this kind are made with timeouts only.
    is_set: |object, ticket| unsafe { value_of::<Timeout>(object).ticket.get() == ticket },
    // SAFETY: as above.
    ring: |py, object| unsafe { value_of::<Timeout>(object).ring(py) },
};

impl Timeout {
    fn new(when: Option<Owned>, seconds: f64) -> Self {
        Self {
            state: Cell::new(State::Created),
            when: when.map_or(Field::empty(), Field::of),
            seconds: Cell::new(seconds),
            task: Field::empty(),
            cancelling: Cell::new(0),
            clock: Cell::new(None),
            ticket: Cell::new(0),
            handle: Field::empty(),
        }
    }

    /// What `timeout(delay)` returns: a new object of the class.
    pub(super) fn after(py: Python<'_>, delay: *mut PyObject) -> PyResult<Owned> {
        let event_loop = running_loop(py)?;
        // SAFETY: an argument of the call, alive; None is.
        let none = unsafe { delay == ffi::Py_None() };
        let timeout = if none {
            // SAFETY: as above.
            Self::new(Some(unsafe { Owned::share(delay) }), 0.0)
        } else {
            Self::due_after(py, &event_loop, delay)?
        };
        Self::class().object(py, timeout)
    }

    fn due_after(py: Python<'_>, event_loop: &Owned, delay: *mut PyObject) -> PyResult<Self> {
        // SAFETY: live objects; `delay` is read as a float only if it is one.
        unsafe {
            if LoopRef::with_alarms(py, event_loop.as_ptr())?.is_some()
                && let Some(delay) = plain_seconds(delay)
            {
                return Ok(Self::new(None, now_seconds() + delay));
            }
            let now = call_method(intern!(py, "time"), event_loop.as_ptr(), &[])?;
            Ok(Self::new(Some(owned(py, ffi::PyNumber_Add(now.as_ptr(), delay))?), 0.0))
        }
    }

    /// The deadline: a float, whatever number was given, or None.
    fn when(&self, py: Python<'_>) -> PyResult<Owned> {
        match self.when.share() {
            Some(when) => Ok(when),
            // SAFETY: a new object.
            None => unsafe { owned(py, ffi::PyFloat_FromDouble(self.seconds.get())) },
        }
    }

    /// Begins the block, in the task that is current. `object` is the Python object around this.
    pub(super) fn enter(&self, py: Python<'_>, object: &Owned) -> PyResult<()> {
        if self.state.get() != State::Created {
            return Err(PyRuntimeError::new_err("Timeout has already been entered"));
        }
        let event_loop = running_loop(py)?;
        let Some(task) = current_task(py, &event_loop)? else {
            return Err(PyRuntimeError::new_err("Timeout should be used inside a task"));
        };
        self.state.set(State::Entered);
        self.cancelling
            .set(count(py, &call_method(intern!(py, "cancelling"), task.as_ptr(), &[])?)?);
        self.task.set(task);
        self.set_timer(py, object, &event_loop)
    }

    fn set_timer(&self, py: Python<'_>, object: &Owned, event_loop: &Owned) -> PyResult<()> {
        let when = self.when.as_ptr();
        // SAFETY: live objects.
        unsafe {
            if when == ffi::Py_None() {
                return Ok(());
            }
            let seconds =
                if when.is_null() { Some(self.seconds.get()) } else { plain_seconds(when) };
            if let (Some(seconds), Some(clock)) =
                (seconds, LoopRef::with_alarms(py, event_loop.as_ptr())?)
            {
                let alarm = Alarm::new(Owned::share(object.as_ptr()), self.ticket.get(), &ALARM);
                if clock.set_alarm(seconds, alarm) {
                    self.clock.set(Some(clock));
                }
                return Ok(());
            }
        }
        self.set_handle(py, object, event_loop)
    }

    /// The way of asyncio, for loops that are not ours, and for numbers that are no floats.
    fn set_handle(&self, py: Python<'_>, object: &Owned, event_loop: &Owned) -> PyResult<()> {
        let when = self.when(py)?;
        let event_loop = event_loop.as_ptr();
        let now = call_method(intern!(py, "time"), event_loop, &[])?;
        let name = intern!(py, "_on_timeout").as_ptr();
        // SAFETY: live objects.
        let (callback, due) = unsafe {
            let callback = owned(py, ffi::PyObject_GetAttr(object.as_ptr(), name))?;
            let due = ffi::PyObject_RichCompareBool(when.as_ptr(), now.as_ptr(), ffi::Py_LE);
            (callback, due)
        };
        let handle = match due {
            0 => {
                let args = [when.as_ptr(), callback.as_ptr()];
                call_method(intern!(py, "call_at"), event_loop, &args)?
            }
            1 => call_method(intern!(py, "call_soon"), event_loop, &[callback.as_ptr()])?,
            _ => return Err(PyErr::fetch(py)),
        };
        self.handle.set(handle);
        Ok(())
    }

    fn cancel_timer(&self, py: Python<'_>) -> PyResult<()> {
        self.ticket.set(self.ticket.get().wrapping_add(1));
        if let Some(clock) = self.clock.take() {
            clock.alarm_cancelled();
        }
        if let Some(handle) = self.handle.take() {
            call_method(intern!(py, "cancel"), handle.as_ptr(), &[])?;
        }
        Ok(())
    }

    /// The deadline has come.
    fn ring(&self, py: Python<'_>) -> PyResult<()> {
        // The alarm has left the heap.
        drop(self.clock.take());
        self.ticket.set(self.ticket.get().wrapping_add(1));
        if let Some(task) = self.task.share() {
            call_method(intern!(py, "cancel"), task.as_ptr(), &[])?;
            self.state.set(State::Expiring);
        }
        drop(self.handle.take());
        Ok(())
    }

    /// Ends the block, which `error` left (type and value; null if none did). Returns an error if
    /// it was this timeout that ended it.
    ///
    /// If the task was asked to cancel by somebody else too, that request has priority: the
    /// count of requests is compared with the one at entry.
    ///
    /// # Safety
    /// Both are live objects or null.
    pub(super) unsafe fn exit(
        &self,
        py: Python<'_>,
        kind: *mut PyObject,
        error: *mut PyObject,
    ) -> PyResult<()> {
        self.cancel_timer(py)?;
        match self.state.get() {
            State::Entered => self.state.set(State::Exited),
            State::Expiring => {
                self.state.set(State::Expired);
                let Some(task) = self.task.share() else {
                    return Ok(());
                };
                let left = call_method(intern!(py, "uncancel"), task.as_ptr(), &[])?;
                if count(py, &left)? <= self.cancelling.get() && !kind.is_null() {
                    // SAFETY: the caller's.
                    return unsafe { expire(py, kind, error) };
                }
            }
            state => {
                let text = format!("Timeout is not active but {}", state.name());
                return Err(PyRuntimeError::new_err(text));
            }
        }
        Ok(())
    }

    fn reschedule(&self, py: Python<'_>, object: &Owned, when: Owned) -> PyResult<()> {
        match self.state.get() {
            State::Entered => {}
            State::Created => return Err(PyRuntimeError::new_err("Timeout has not been entered")),
            state => {
                let text = format!("Cannot change state of {} Timeout", state.name());
                return Err(PyRuntimeError::new_err(text));
            }
        }
        self.when.set(when);
        self.cancel_timer(py)?;
        let event_loop = running_loop(py)?;
        self.set_timer(py, object, &event_loop)
    }
}

/// A float or an int as seconds, if it is exactly one of these and not too large.
///
/// # Safety
/// A live object.
unsafe fn plain_seconds(number: *mut PyObject) -> Option<f64> {
    // SAFETY: the caller's.
    unsafe {
        if ffi::PyFloat_CheckExact(number) != 0 {
            return Some(ffi::PyFloat_AS_DOUBLE(number));
        }
        if ffi::PyLong_CheckExact(number) == 0 {
            return None;
        }
        let seconds = ffi::PyLong_AsDouble(number);
        if seconds == -1.0 && !ffi::PyErr_Occurred().is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        Some(seconds)
    }
}

/// What `cancelling()` and `uncancel()` return.
pub(super) fn count(py: Python<'_>, number: &Owned) -> PyResult<isize> {
    // SAFETY: a live object.
    let count = unsafe { ffi::PyLong_AsSsize_t(number.as_ptr()) };
    if count == -1 && PyErr::occurred(py) { Err(PyErr::fetch(py)) } else { Ok(count) }
}

extern "C" fn aenter(timeout: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: `self` of a method.
    entry(null_mut(), |py| coroutine(py, Enter::new(unsafe { Owned::share(timeout) })))
}

unsafe extern "C" fn aexit(
    timeout: *mut PyObject,
    args: *mut *mut PyObject,
    count: Py_ssize_t,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        if count != 3 {
            let text = format!("__aexit__() takes 3 arguments, not {count}");
            return Err(PyTypeError::new_err(text));
        }
        // SAFETY: what the interpreter passes: live objects.
        unsafe {
            let error = (*args != ffi::Py_None())
                .then(|| [Owned::share(*args), Owned::share(*args.add(1))]);
            coroutine(py, Exit::new(Owned::share(timeout), error))
        }
    })
}

extern "C" fn when(timeout: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: `self` of a method.
    entry(null_mut(), |py| Ok(unsafe { value_of::<Timeout>(timeout) }.when(py)?.into_ptr()))
}

extern "C" fn expired(timeout: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: `self` of a method.
    unsafe {
        let state = value_of::<Timeout>(timeout).state.get();
        ffi::PyBool_FromLong(matches!(state, State::Expiring | State::Expired).into())
    }
}

extern "C" fn on_timeout(timeout: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: `self` of a method.
        unsafe { value_of::<Timeout>(timeout) }.ring(py)?;
        Ok(py.None().into_ptr())
    })
}

unsafe extern "C" fn reschedule(
    timeout: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes.
        unsafe {
            let [when] = Arguments::new(args, count, names).required("reschedule", ["when"])?;
            value_of::<Timeout>(timeout).reschedule(py, &Owned::share(timeout), when)?;
        }
        Ok(py.None().into_ptr())
    })
}

extern "C" fn repr(timeout: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: Python passes a live object of the class.
        let timeout = unsafe { value_of::<Timeout>(timeout) };
        let state = timeout.state.get();
        let mut text = format!("<Timeout [{}]", state.name());
        if state == State::Entered {
            let when = timeout.when(py)?;
            let mut shown = when.as_py().bind(py).clone();
            if !is_none(&when) {
                shown = py.import("builtins")?.call_method1("round", (shown, 3))?;
            }
            text.push_str(&format!(" when={shown}"));
        }
        text.push('>');
        Ok(pyo3::types::PyString::new(py, &text).into_any().into_ptr())
    })
}

unsafe extern "C" fn new(
    _kind: *mut ffi::PyTypeObject,
    args: *mut PyObject,
    keywords: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        let mut names = [c"when".as_ptr().cast_mut(), null_mut()];
        let mut when = null_mut();
        // SAFETY: what the interpreter passes; one object is asked for and one place given. The
        // class has no subclasses.
        unsafe {
            let parsed = ffi::PyArg_ParseTupleAndKeywords(
                args,
                keywords,
                c"O:Timeout".as_ptr(),
                names.as_mut_ptr().cast(),
                &raw mut when,
            );
            if parsed == 0 {
                return Err(PyErr::fetch(py));
            }
            let timeout = Timeout::new(Some(Owned::share(when)), 0.0);
            Ok(Timeout::class().object(py, timeout)?.into_ptr())
        }
    })
}

unsafe extern "C" fn timeout(
    _module: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes.
        let args = unsafe { Arguments::new(args, count, names) };
        let [delay] = args.required("timeout", ["delay"])?;
        Ok(Timeout::after(py, delay.as_ptr())?.into_ptr())
    })
}

unsafe extern "C" fn timeout_at(
    _module: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes.
        let args = unsafe { Arguments::new(args, count, names) };
        let [when] = args.required("timeout_at", ["when"])?;
        Ok(Timeout::class().object(py, Timeout::new(Some(when), 0.0))?.into_ptr())
    })
}
