//! The methods that are called per callback, as C entry points: no argument tuple, no dictionary.

use std::ffi::CStr;
use std::ops::Deref;
use std::ptr::{null_mut, slice_from_raw_parts};

use pelton_reactor::monotonic_ns;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple, PyType};

use super::base::BaseLoop;
use super::core::{LoopCore, Ready, Timer};
use super::executor;
use super::gil::entry;
use super::handle::HandleRef;

/// Adds the methods to `BaseLoop`.
pub(super) fn register(py: Python<'_>) -> PyResult<()> {
    let kind = py.get_type::<BaseLoop>();
    let fast: [(&'static CStr, ffi::PyCFunctionFastWithKeywords, &'static CStr); 7] = [
        (c"call_soon", call_soon, c"Call callback(*args) in the next turn of the loop."),
        (c"call_soon_threadsafe", call_soon_threadsafe, c"call_soon, from any thread."),
        (c"call_later", call_later, c"Call callback(*args) once delay seconds are over."),
        (c"call_at", call_at, c"Call callback(*args) once the loop's time is when."),
        (c"create_task", create_task, c"A new asyncio.Task of this loop that runs a coroutine."),
        (c"run_in_executor", run_in_executor, c"A future of func(*args), called in a thread."),
        (c"create_future", create_future, c"A new asyncio.Future of this loop."),
    ];
    for (name, function, doc) in fast {
        let method = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function };
        add(&kind, name, method, ffi::METH_FASTCALL | ffi::METH_KEYWORDS, doc)?;
    }
    let plain: [(&'static CStr, ffi::PyCFunction, &'static CStr); 2] = [
        (c"time", time, c"Seconds of the monotonic clock."),
        (c"get_debug", get_debug, c"Whether debug mode is on."),
    ];
    for (name, function, doc) in plain {
        let method = ffi::PyMethodDefPointer { PyCFunction: function };
        add(&kind, name, method, ffi::METH_NOARGS, doc)?;
    }
    Ok(())
}

/// Adds a method to a class. What it is given lives as long as the process.
pub(crate) fn add(
    kind: &Bound<'_, PyType>,
    name: &'static CStr,
    method: ffi::PyMethodDefPointer,
    flags: std::ffi::c_int,
    doc: &'static CStr,
) -> PyResult<()> {
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: method,
        ml_flags: flags,
        ml_doc: doc.as_ptr(),
    }));
    // SAFETY: the definition lives as long as the process; the descriptor checks that `self` is of
    // `kind` before it calls.
    let descriptor = unsafe {
        let descriptor = ffi::PyDescr_NewMethod(kind.as_type_ptr(), definition);
        Bound::from_owned_ptr_or_err(kind.py(), descriptor)?
    };
    kind.setattr(PyString::new(kind.py(), &name.to_string_lossy()), descriptor)
}

/// Arguments of a vectorcall: `(leading..., callback, *args, context=None)`.
struct Call<'a> {
    args: Args<'a>,
    /// Null for None.
    context: *mut PyObject,
}

/// Positional arguments. Those of `asyncio` may be given by name too, which leaves no `*args`.
enum Args<'a> {
    Given(&'a [*mut PyObject]),
    Named([*mut PyObject; FIELDS_MAX], usize),
}

/// `delay` or `when`, and `callback`.
const FIELDS_MAX: usize = 2;

impl Deref for Args<'_> {
    type Target = [*mut PyObject];

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Given(args) => args,
            Self::Named(args, count) => &args[..*count],
        }
    }
}

impl<'a> Call<'a> {
    /// `fields`: the names of the leading arguments and of the callback.
    ///
    /// # Safety
    /// What the interpreter passes to a `METH_FASTCALL | METH_KEYWORDS` function.
    unsafe fn parse(
        py: Python<'_>,
        name: &str,
        fields: &[&str],
        args: *const *mut PyObject,
        count: Py_ssize_t,
        names: *mut PyObject,
    ) -> PyResult<Self> {
        let count = count as usize;
        // SAFETY: the caller's: `args` holds `count` positional values and then one per name.
        let given =
            unsafe { if count == 0 { &[][..] } else { &*slice_from_raw_parts(args, count) } };
        let mut call = Self { args: Args::Given(given), context: null_mut() };
        if !names.is_null() {
            // SAFETY: as above; `names` is a tuple of str.
            unsafe {
                for n in 0..ffi::PyTuple_GET_SIZE(names) {
                    let key = ffi::PyTuple_GET_ITEM(names, n);
                    let value = *args.add(count + n as usize);
                    let expected = intern!(py, "context").as_ptr();
                    if key == expected || ffi::PyUnicode_Compare(key, expected) == 0 {
                        call.set_context(value)?;
                    } else {
                        let key = Bound::from_borrowed_ptr(py, key);
                        call.set_named(name, fields, &key, value)?;
                    }
                }
            }
        }
        let missing = match &call.args {
            Args::Given(given) => given.len() < fields.len(),
            Args::Named(args, _) => args[..fields.len()].contains(&null_mut()),
        };
        if missing {
            return Err(PyTypeError::new_err(format!(
                "{name}() missing a required argument: {} expected before *args, {count} given",
                fields.len()
            )));
        }
        Ok(call)
    }

    fn set_context(&mut self, context: *mut PyObject) -> PyResult<()> {
        // SAFETY: a live argument.
        unsafe {
            if context == ffi::Py_None() {
                self.context = null_mut();
            } else if ffi::PyContext_CheckExact(context) == 0 {
                return Err(PyTypeError::new_err("context must be a contextvars.Context"));
            } else {
                self.context = context;
            }
        }
        Ok(())
    }

    #[cold]
    fn set_named(
        &mut self,
        name: &str,
        fields: &[&str],
        key: &Bound<'_, PyAny>,
        value: *mut PyObject,
    ) -> PyResult<()> {
        let key: String = key.extract()?;
        let Some(at) = fields.iter().position(|field| *field == key) else {
            return Err(PyTypeError::new_err(format!(
                "{name}() got an unexpected keyword argument '{key}'"
            )));
        };
        let mut args = [null_mut(); FIELDS_MAX];
        let known = self.args.len().min(FIELDS_MAX);
        args[..known].copy_from_slice(&self.args[..known]);
        if self.args.len() > FIELDS_MAX || !args[at].is_null() {
            return Err(PyTypeError::new_err(format!(
                "{name}() got multiple values for argument '{key}'"
            )));
        }
        args[at] = value;
        self.args = Args::Named(args, fields.len());
        Ok(())
    }
}

/// The loop's state, once it is sure that the loop takes callbacks.
unsafe fn open_core<'a>(event_loop: *mut PyObject) -> PyResult<&'a LoopCore> {
    // SAFETY: `self` of a method, alive for the call.
    let core = unsafe { BaseLoop::core_of(event_loop) };
    if core.is_closed() {
        return Err(PyRuntimeError::new_err("Event loop is closed"));
    }
    Ok(core)
}

/// asyncio's checks in debug mode.
#[cold]
fn debug_checks(
    py: Python<'_>,
    event_loop: *mut PyObject,
    callback: *mut PyObject,
    name: &str,
    any_thread: bool,
) -> PyResult<()> {
    // SAFETY: both are arguments of the call under way.
    let (event_loop, callback) = unsafe {
        (Bound::from_borrowed_ptr(py, event_loop), Bound::from_borrowed_ptr(py, callback))
    };
    if !any_thread {
        event_loop.call_method0("_check_thread")?;
    }
    event_loop.call_method1("_check_callback", (callback, name))?;
    Ok(())
}

/// Notes where a handle was made, in debug mode.
#[cold]
fn trace(py: Python<'_>, handle: &HandleRef) -> PyResult<()> {
    let frame = py.import("sys")?.call_method1("_getframe", (0,))?;
    let stack = py.import("asyncio.format_helpers")?.call_method1("extract_stack", (frame,))?;
    handle.set_traceback(stack);
    Ok(())
}

unsafe extern "C" fn call_soon(
    event_loop: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes.
        unsafe { schedule(py, "call_soon", event_loop, args, count, names, false) }
    })
}

unsafe extern "C" fn call_soon_threadsafe(
    event_loop: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // The GIL is the lock: see `LoopCore::wake_if_parked`.
        // SAFETY: what the interpreter passes.
        unsafe { schedule(py, "call_soon_threadsafe", event_loop, args, count, names, true) }
    })
}

#[inline]
unsafe fn schedule(
    py: Python<'_>,
    name: &str,
    event_loop: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
    any_thread: bool,
) -> PyResult<*mut PyObject> {
    // SAFETY: what the interpreter passes; `schedule`'s caller says so.
    unsafe {
        let core = open_core(event_loop)?;
        let call = Call::parse(py, name, &["callback"], args, count, names)?;
        if core.is_debug() {
            debug_checks(py, event_loop, call.args[0], name, any_thread)?;
        }
        if !any_thread && core.capture_call(&call.args[0], &call.args[1..], call.context) {
            return Ok(py.None().into_ptr());
        }
        let handle = HandleRef::new(event_loop, call.args[0], &call.args[1..], call.context, None)?;
        if core.is_debug() {
            trace(py, &handle)?;
        }
        if !core.running.get() {
            handle.track();
        }
        core.push_ready(Ready::Handle(handle.share()));
        if any_thread {
            core.give_way(py);
        }
        Ok(handle.into_ptr())
    }
}

unsafe extern "C" fn call_later(
    event_loop: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes.
        unsafe { schedule_at(py, "call_later", true, event_loop, args, count, names) }
    })
}

unsafe extern "C" fn call_at(
    event_loop: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes.
        unsafe { schedule_at(py, "call_at", false, event_loop, args, count, names) }
    })
}

unsafe fn schedule_at(
    py: Python<'_>,
    name: &str,
    relative: bool,
    event_loop: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> PyResult<*mut PyObject> {
    // SAFETY: what the interpreter passes; the caller says so.
    unsafe {
        let core = open_core(event_loop)?;
        let fields = [if relative { "delay" } else { "when" }, "callback"];
        let call = Call::parse(py, name, &fields, args, count, names)?;
        if call.args[0] == ffi::Py_None() {
            let what = if relative { "delay" } else { "when" };
            return Err(PyTypeError::new_err(format!("{what} cannot be None")));
        }
        let mut when = ffi::PyFloat_AsDouble(call.args[0]);
        if when == -1.0 && !ffi::PyErr_Occurred().is_null() {
            return Err(PyErr::fetch(py));
        }
        if relative {
            when += if core.own_clock.get() {
                replaced_time(py, event_loop)?
            } else {
                seconds(monotonic_ns())
            };
        }
        if core.is_debug() {
            debug_checks(py, event_loop, call.args[1], name, false)?;
        }
        let handle =
            HandleRef::new(event_loop, call.args[1], &call.args[2..], call.context, Some(when))?;
        // asyncio hands out what it was given: `when()` of `call_at(7, ...)` is an int.
        handle.set_whole(!relative && ffi::PyLong_CheckExact(call.args[0]) != 0);
        if core.is_debug() {
            trace(py, &handle)?;
        }
        if !core.running.get() {
            handle.track();
        }
        handle.set_scheduled(true);
        // Saturates: what lies in the past is due now, infinity never is.
        core.push_timer((when * 1e9) as u64, Timer::Handle(handle.share()));
        Ok(handle.into_ptr())
    }
}

/// The native pool takes what is for the default executor; the rest is asyncio's.
unsafe extern "C" fn run_in_executor(
    event_loop: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes: `count` values and one more per name.
        unsafe {
            let core = BaseLoop::core_of(event_loop);
            let named = if names.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(names) };
            if named == 0 && count >= 2 && *args == ffi::Py_None() && !core.is_debug() {
                let pool = core.executor.borrow().as_ref().map(|pool| pool.clone_ref(py));
                if let Some(pool) = pool {
                    let call = &*slice_from_raw_parts(args.add(1), count as usize - 1);
                    return executor::run(py, &pool, event_loop, call);
                }
            }
            let mut all = vec![event_loop];
            if count + named > 0 {
                all.extend_from_slice(&*slice_from_raw_parts(args, (count + named) as usize));
            }
            let result = ffi::PyObject_VectorcallMethod(
                intern!(py, "_run_in_executor").as_ptr(),
                all.as_ptr(),
                1 + count as usize,
                names,
            );
            if result.is_null() { Err(PyErr::fetch(py)) } else { Ok(result) }
        }
    })
}

#[cold]
fn replaced_time(py: Python<'_>, event_loop: *mut PyObject) -> PyResult<f64> {
    // SAFETY: `self` of the call under way.
    unsafe { Bound::from_borrowed_ptr(py, event_loop) }.call_method0("time")?.extract()
}

unsafe extern "C" fn create_future(
    event_loop: *mut PyObject,
    _args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        if count != 0 || !names.is_null() {
            return Err(PyTypeError::new_err("create_future() takes no arguments"));
        }
        new_future(py, event_loop)
    })
}

/// A new reference to a new `asyncio.Future`.
fn new_future(py: Python<'_>, event_loop: *mut PyObject) -> PyResult<*mut PyObject> {
    static FUTURE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let future = asyncio_name(py, &FUTURE, "Future")?;
    let mut args = [null_mut(), event_loop];
    // SAFETY: a call with one keyword argument; one word before it may be used by the callee.
    unsafe {
        let result = ffi::PyObject_Vectorcall(
            future,
            (&raw mut args).cast::<*mut PyObject>().add(1),
            ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
            loop_keyword(py)?,
        );
        if result.is_null() { Err(PyErr::fetch(py)) } else { Ok(result) }
    }
}

unsafe extern "C" fn create_task(
    event_loop: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes: `count` values and one more per name.
        unsafe {
            let core = BaseLoop::core_of(event_loop);
            let named = if names.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(names) };
            let given = if count + named == 0 {
                &[][..]
            } else {
                &*slice_from_raw_parts(args, (count + named) as usize)
            };
            if count != 1
                || named > TASK_KEYWORDS_MAX as Py_ssize_t
                || core.is_closed()
                || core.is_debug()
                || core.task_factory.get()
            {
                return asyncios_create_task(py, event_loop, given, names);
            }
            plain_task(py, event_loop, given, names)
        }
    })
}

/// Keyword arguments of `create_task` that the fast path has room for.
const TASK_KEYWORDS_MAX: usize = 4;

/// `asyncio.Task(coro, loop=event_loop, **keywords)`.
unsafe fn plain_task(
    py: Python<'_>,
    event_loop: *mut PyObject,
    given: &[*mut PyObject],
    names: *mut PyObject,
) -> PyResult<*mut PyObject> {
    static TASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let task = asyncio_name(py, &TASK, "Task")?;
    // One word that the callee may use, the coroutine, the loop, the other keywords' values.
    let mut args = [null_mut(); 3 + TASK_KEYWORDS_MAX];
    args[1] = given[0];
    args[2] = event_loop;
    args[3..2 + given.len()].copy_from_slice(&given[1..]);
    // SAFETY: the caller's: live objects; `names` names all but the first of them.
    unsafe {
        let all_names = if names.is_null() {
            ffi::Py_NewRef(loop_keyword(py)?)
        } else {
            ffi::PySequence_Concat(loop_keyword(py)?, names)
        };
        if all_names.is_null() {
            return Err(PyErr::fetch(py));
        }
        let result = ffi::PyObject_Vectorcall(
            task,
            (&raw mut args).cast::<*mut PyObject>().add(1),
            1 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
            all_names,
        );
        ffi::Py_DECREF(all_names);
        if result.is_null() { Err(PyErr::fetch(py)) } else { Ok(result) }
    }
}

/// What the running Python's own loop does: for task factories, debug mode, and wrong calls.
#[cold]
unsafe fn asyncios_create_task(
    py: Python<'_>,
    event_loop: *mut PyObject,
    given: &[*mut PyObject],
    names: *mut PyObject,
) -> PyResult<*mut PyObject> {
    let method =
        py.import("asyncio.base_events")?.getattr("BaseEventLoop")?.getattr("create_task")?;
    let mut args = vec![event_loop];
    args.extend_from_slice(given);
    // SAFETY: the caller's: live objects; `names` names the last of them.
    unsafe {
        let named = if names.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(names) as usize };
        let result =
            ffi::PyObject_Vectorcall(method.as_ptr(), args.as_ptr(), args.len() - named, names);
        if result.is_null() { Err(PyErr::fetch(py)) } else { Ok(result) }
    }
}

/// A name of `asyncio`, looked up once.
fn asyncio_name(
    py: Python<'_>,
    cell: &'static PyOnceLock<Py<PyAny>>,
    name: &str,
) -> PyResult<*mut PyObject> {
    let found =
        cell.get_or_try_init(py, || Ok::<_, PyErr>(py.import("asyncio")?.getattr(name)?.unbind()))?;
    Ok(found.as_ptr())
}

/// `("loop",)`, the names of a call's keyword arguments.
fn loop_keyword(py: Python<'_>) -> PyResult<*mut PyObject> {
    static NAMES: PyOnceLock<Py<PyTuple>> = PyOnceLock::new();
    let names = NAMES.get_or_try_init(py, || {
        Ok::<_, PyErr>(PyTuple::new(py, [intern!(py, "loop")])?.unbind())
    })?;
    Ok(names.as_ptr())
}

unsafe extern "C" fn time(_event_loop: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: the GIL is held.
    unsafe { ffi::PyFloat_FromDouble(seconds(monotonic_ns())) }
}

unsafe extern "C" fn get_debug(event_loop: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: `self` of a method.
    unsafe { ffi::PyBool_FromLong(BaseLoop::core_of(event_loop).is_debug().into()) }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
