//! `Handle` and `TimerHandle`: a callback with its arguments inline and its context.
//!
//! These are made for every callback the loop runs, so they are plain C types: no tuple for up to
//! three arguments, no attribute dictionary, and memory that is used again. Their `__class__` says
//! `asyncio.Handle` and `asyncio.TimerHandle`, so that `isinstance` holds; they cannot inherit from
//! them, as both sides have a memory layout of their own.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::ptr::{self, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::prelude::*;

use super::base::BaseLoop;
use super::context;
use super::gil::{Owned, entry};
use super::handle_type;

/// Arguments kept without a tuple.
const INLINE_ARGS: usize = 3;
/// `HandleObject::count` when the arguments are a tuple.
const IN_TUPLE: u8 = u8::MAX;
/// Handles kept for use again: about 1 MiB.
const FREE_MAX: usize = 8192;

/// The object behind both Python types.
#[repr(C)]
pub(crate) struct HandleObject {
    ob_base: PyObject,
    /// Null once cancelled.
    pub(super) callback: *mut PyObject,
    /// One word that a vectorcall may use as it likes, then the arguments (or one tuple of them).
    args: [*mut PyObject; 1 + INLINE_ARGS],
    /// Null while it is only known by its variables.
    context: *mut PyObject,
    /// The variables its context will have once it is needed, or null.
    variables: *mut PyObject,
    pub(super) event_loop: *mut PyObject,
    /// Where it was made (debug mode), or null.
    pub(super) traceback: *mut PyObject,
    pub(super) weakrefs: *mut PyObject,
    /// The loop's time at which a timer is due, in seconds.
    pub(super) when: f64,
    /// `when` was given as an int, and is one for who asks.
    pub(super) whole: bool,
    count: u8,
    pub(super) cancelled: bool,
    /// Its arguments are lent to a call, so cancelling must leave them in place.
    running: bool,
    /// It is in the loop's timer heap.
    pub(super) scheduled: bool,
    /// The garbage collector knows it; see `HandleRef::track`.
    tracked: bool,
}

static HANDLE: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());
static TIMER_HANDLE: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());

/// Memory of handles that died. The GIL guards it.
struct FreeList(UnsafeCell<Vec<*mut HandleObject>>);
// SAFETY: it is touched only in `allocate` and `dealloc`, both with the GIL held and neither
// calling Python while it holds the reference.
unsafe impl Sync for FreeList {}
static FREE: FreeList = FreeList(UnsafeCell::new(Vec::new()));

/// A strong reference to a handle. One that is dropped while the handle lives on elsewhere tells
/// the garbage collector of the handle.
#[derive(Debug)]
pub(crate) struct HandleRef(Owned);

impl HandleRef {
    /// A handle that calls `callback` with `args` in `context` (null: a copy of the current one).
    /// The garbage collector does not know it yet: see `track`.
    ///
    /// # Safety
    /// All pointers are live objects (`context` may be null); the GIL is held.
    pub(super) unsafe fn new(
        event_loop: *mut PyObject,
        callback: *mut PyObject,
        args: &[*mut PyObject],
        context: *mut PyObject,
        when: Option<f64>,
    ) -> PyResult<Self> {
        // SAFETY: the caller's promises; `allocate` gives memory whose fields we fill in full
        // before the collector or anyone else can see the object.
        unsafe {
            let (mut context, mut variables) = (context, null_mut());
            if context.is_null() {
                variables = context::current_variables();
                if variables.is_null() {
                    context = ffi::PyContext_CopyCurrent();
                    if context.is_null() {
                        return Err(PyErr::fetch(Python::assume_attached()));
                    }
                }
            } else {
                ffi::Py_INCREF(context);
            }
            let handle = allocate(if when.is_some() { &TIMER_HANDLE } else { &HANDLE });
            if handle.is_null() {
                ffi::Py_XDECREF(context);
                ffi::Py_XDECREF(variables);
                return Err(PyErr::fetch(Python::assume_attached()));
            }
            ffi::Py_INCREF(callback);
            ffi::Py_INCREF(event_loop);
            (*handle).callback = callback;
            (*handle).event_loop = event_loop;
            (*handle).context = context;
            (*handle).variables = variables;
            (*handle).traceback = null_mut();
            (*handle).weakrefs = null_mut();
            (*handle).when = when.unwrap_or(0.0);
            (*handle).whole = false;
            (*handle).cancelled = false;
            (*handle).running = false;
            (*handle).scheduled = false;
            (*handle).tracked = false;
            (*handle).args = [null_mut(); 1 + INLINE_ARGS];
            (*handle).count = 0;
            if args.len() <= INLINE_ARGS {
                for (slot, arg) in (&mut (*handle).args)[1..].iter_mut().zip(args) {
                    ffi::Py_INCREF(*arg);
                    *slot = *arg;
                }
                (*handle).count = args.len() as u8;
            } else {
                (*handle).args[1] = tuple_of(args);
                (*handle).count = IN_TUPLE;
            }
            Ok(Self(Owned::steal(handle.cast())))
        }
    }

    /// Lets the garbage collector know the handle.
    ///
    /// In the queues of a loop that runs, handles live without: they are reachable there, so the
    /// collector could only lose time on them, and a thread that sends a hundred thousand would
    /// have it do so again and again. It gets to know those that leave a queue while somebody else
    /// holds them, and those that are in a queue while the loop does not run.
    pub(super) fn track(&self) {
        let handle = self.raw();
        // SAFETY: a live handle with all its fields set, and not tracked yet; the GIL is held.
        unsafe {
            if !(*handle).tracked {
                (*handle).tracked = true;
                ffi::PyObject_GC_Track(handle.cast());
            }
        }
    }

    /// Another reference to the same handle.
    pub(super) fn share(&self) -> Self {
        // SAFETY: it is live, as we hold it; the GIL is held wherever loop state is reached.
        Self(unsafe { Owned::share(self.0.as_ptr()) })
    }

    /// The Python object, for the collector.
    pub(super) fn as_py(&self) -> &Py<PyAny> {
        self.0.as_py()
    }

    /// What it calls; None once it is cancelled.
    pub(super) fn callback<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        // SAFETY: a live handle, whose callback is a live object or null; the GIL is held.
        unsafe {
            Bound::from_borrowed_ptr_or_opt(py, (*self.raw()).callback)
                .unwrap_or_else(|| py.None().into_bound(py))
        }
    }

    /// A new reference, given away.
    pub(super) fn into_ptr(self) -> *mut PyObject {
        let pointer = self.0.as_ptr();
        std::mem::forget(self);
        pointer
    }

    pub(super) fn is_cancelled(&self) -> bool {
        // SAFETY: a live handle; the GIL is held.
        unsafe { (*self.raw()).cancelled }
    }

    /// The time of a timer was given as an int.
    pub(super) fn set_whole(&self, whole: bool) {
        // SAFETY: a live handle; the GIL is held.
        unsafe { (*self.raw()).whole = whole }
    }

    pub(super) fn set_scheduled(&self, scheduled: bool) {
        // SAFETY: as above.
        unsafe { (*self.raw()).scheduled = scheduled }
    }

    pub(super) fn set_traceback(&self, stack: Bound<'_, PyAny>) {
        // SAFETY: as above; the reference moves into the handle, which had none.
        unsafe { (*self.raw()).traceback = stack.into_ptr() }
    }

    pub(super) fn cancel(&self) {
        // SAFETY: as above.
        unsafe { cancel(self.raw()) }
    }

    /// Calls the callback in its context. The caller has seen that it is not cancelled.
    pub(super) fn run(&self, py: Python<'_>) -> PyResult<()> {
        let handle = self.raw();
        // SAFETY: we hold the handle. `running` keeps `cancel` from dropping the callback and its
        // arguments, which the call only borrows; the word before the arguments is ours to lend.
        unsafe {
            let borrowed = (*handle).context.is_null();
            if context_of(handle).is_null() || ffi::PyContext_Enter((*handle).context) < 0 {
                return Err(PyErr::fetch(py));
            }
            (*handle).running = true;
            let result = if (*handle).count == IN_TUPLE {
                ffi::PyObject_Call((*handle).callback, (*handle).args[1], null_mut())
            } else {
                let args = (&raw mut (*handle).args).cast::<*mut PyObject>().add(1);
                let count = (*handle).count as usize | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
                ffi::PyObject_Vectorcall((*handle).callback, args, count, null_mut())
            };
            (*handle).running = false;
            let error = if result.is_null() {
                Some(PyErr::fetch(py))
            } else {
                ffi::Py_DECREF(result);
                None
            };
            if (*handle).cancelled {
                drop_call(handle);
            }
            if ffi::PyContext_Exit((*handle).context) < 0 {
                return Err(error.unwrap_or_else(|| PyErr::fetch(py)));
            }
            if borrowed && error.is_none() {
                return_context(handle);
            }
            error.map_or(Ok(()), Err)
        }
    }

    fn raw(&self) -> *mut HandleObject {
        self.0.as_ptr().cast()
    }
}

impl Drop for HandleRef {
    fn drop(&mut self) {
        // SAFETY: a live handle, as we hold it; the GIL is held.
        if unsafe { ffi::Py_REFCNT(self.0.as_ptr()) } > 1 {
            self.track();
        }
    }
}

/// Makes both types and adds them to the module.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    for (name, cell) in [("Handle", &HANDLE), ("TimerHandle", &TIMER_HANDLE)] {
        let kind = handle_type::create(module.py(), name == "TimerHandle")?;
        module.add(name, &kind)?;
        cell.store(kind.into_ptr().cast(), Ordering::Relaxed);
    }
    Ok(())
}

/// Cancels a handle: its callback and arguments go, and its loop is told if it is a timer.
///
/// # Safety
/// A live handle; the GIL is held.
pub(super) unsafe fn cancel(handle: *mut HandleObject) {
    // SAFETY: the caller's. The handle stays alive through the drops below, as its caller holds it.
    unsafe {
        if (*handle).cancelled {
            return;
        }
        (*handle).cancelled = true;
        if !(*handle).running {
            drop_call(handle);
        }
        if (*handle).scheduled {
            BaseLoop::core_of((*handle).event_loop).timer_cancelled();
        }
    }
}

/// The handle's context, borrowed; null with an exception.
///
/// # Safety
/// A live handle; the GIL is held.
pub(super) unsafe fn context_of(handle: *mut HandleObject) -> *mut PyObject {
    // SAFETY: the caller's; the reference to the variables moves into the context.
    unsafe {
        if (*handle).context.is_null() {
            let variables = ptr::replace(&raw mut (*handle).variables, null_mut());
            (*handle).context = if variables.is_null() {
                ffi::PyContext_New() // its own was given back: it had run for the last time
            } else {
                context::with_variables(variables)
            };
        }
        (*handle).context
    }
}

/// After a run: the context serves the next handle, if this one was its only user and is done.
unsafe fn return_context(handle: *mut HandleObject) {
    // SAFETY: a live handle with a context that is not entered; the GIL is held. With one
    // reference to the handle, ours, nobody can ask it for the context any more.
    unsafe {
        if ffi::Py_REFCNT(handle.cast()) == 1 && ffi::Py_REFCNT((*handle).context) == 1 {
            context::give_back(ptr::replace(&raw mut (*handle).context, null_mut()));
        }
    }
}

/// The arguments as a new tuple.
///
/// # Safety
/// A live handle; the GIL is held.
pub(super) unsafe fn args_tuple(handle: *mut HandleObject) -> *mut PyObject {
    // SAFETY: the caller's; the first `count` arguments are live.
    unsafe {
        if (*handle).count == IN_TUPLE {
            ffi::Py_NewRef((*handle).args[1])
        } else {
            tuple_of(&(&(*handle).args)[1..=(*handle).count as usize])
        }
    }
}

/// `tp_traverse`.
pub(super) unsafe extern "C" fn traverse(
    object: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    let handle = object.cast::<HandleObject>();
    // SAFETY: the collector passes a live handle and its own visitor; null fields are skipped.
    unsafe {
        let kind = ffi::Py_TYPE(object).cast::<PyObject>();
        let fields = [
            kind,
            (*handle).callback,
            (*handle).args[1],
            (*handle).args[2],
            (*handle).args[3],
            (*handle).context,
            (*handle).variables,
            (*handle).event_loop,
            (*handle).traceback,
        ];
        for field in fields.into_iter().filter(|field| !field.is_null()) {
            let stop = visit(field, arg);
            if stop != 0 {
                return stop;
            }
        }
    }
    0
}

/// `tp_clear`. The loop and the context stay: a handle that is cleared but still reached (from a
/// weak reference's callback, say) must be able to answer.
pub(super) unsafe extern "C" fn clear(object: *mut PyObject) -> c_int {
    // SAFETY: the collector passes a live handle.
    unsafe {
        let handle = object.cast::<HandleObject>();
        (*handle).cancelled = true;
        drop_call(handle);
    }
    0
}

/// `tp_dealloc`.
pub(super) unsafe extern "C" fn dealloc(object: *mut PyObject) {
    let handle = object.cast::<HandleObject>();
    // SAFETY: the last reference is gone, so the memory is ours. It leaves the collector's lists
    // first; then every owned field is dropped once, and the type, which each instance holds.
    unsafe {
        if (*handle).tracked {
            ffi::PyObject_GC_UnTrack(object.cast());
        }
        if !(*handle).weakrefs.is_null() {
            ffi::PyObject_ClearWeakRefs(object);
        }
        drop_call(handle);
        ffi::Py_CLEAR(&raw mut (*handle).traceback);
        ffi::Py_CLEAR(&raw mut (*handle).context);
        ffi::Py_CLEAR(&raw mut (*handle).variables);
        ffi::Py_CLEAR(&raw mut (*handle).event_loop);
        let kind = ffi::Py_TYPE(object);
        let free = &mut *FREE.0.get();
        if free.len() < FREE_MAX {
            free.push(handle);
        } else {
            ffi::PyObject_GC_Del(object.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}

/// Runs the handle as the loop would (`_run`, which test loops call).
pub(super) unsafe extern "C" fn run_method(
    object: *mut PyObject,
    _unused: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: a method gets a live `self` of its own type.
        let handle = HandleRef(unsafe { Owned::share(object) });
        if !handle.is_cancelled() {
            // SAFETY: a handle holds its loop.
            let core = unsafe { BaseLoop::core_of((*handle.raw()).event_loop) };
            core.run_handle(py, &handle)?;
        }
        Ok(py.None().into_ptr())
    })
}

unsafe fn allocate(kind: &AtomicPtr<ffi::PyTypeObject>) -> *mut HandleObject {
    let kind = kind.load(Ordering::Relaxed);
    // SAFETY: `register` ran when the module was imported, so the type is there. Memory from the
    // free list came from `PyObject_GC_New` of a type with the same size, and is untracked.
    unsafe {
        match (*FREE.0.get()).pop() {
            Some(handle) => ffi::PyObject_Init(handle.cast(), kind).cast(),
            None => ffi::PyObject_GC_New::<HandleObject>(kind),
        }
    }
}

/// Drops callback and arguments. What is dropped may run Python, so the fields are emptied first.
unsafe fn drop_call(handle: *mut HandleObject) {
    // SAFETY: a live handle whose fields are owned references or null.
    unsafe {
        let callback = ptr::replace(&raw mut (*handle).callback, null_mut());
        let args = ptr::replace(&raw mut (*handle).args, [null_mut(); 1 + INLINE_ARGS]);
        (*handle).count = 0;
        ffi::Py_XDECREF(callback);
        for arg in &args[1..] {
            ffi::Py_XDECREF(*arg);
        }
    }
}

unsafe fn tuple_of(args: &[*mut PyObject]) -> *mut PyObject {
    // SAFETY: live objects; a tuple of this size is filled with one new reference each.
    unsafe {
        let tuple = ffi::PyTuple_New(args.len() as Py_ssize_t);
        if !tuple.is_null() {
            for (n, arg) in args.iter().enumerate() {
                ffi::PyTuple_SET_ITEM(tuple, n as Py_ssize_t, ffi::Py_NewRef(*arg));
            }
        }
        tuple
    }
}
