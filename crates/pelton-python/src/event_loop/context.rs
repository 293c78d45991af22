//! The context a callback was given, kept as its variables alone.
//!
//! asyncio copies the current context for every callback. A copy is an object of its own over the
//! same immutable table of variables, and most die unchanged right after the callback. A handle
//! keeps a reference to the table instead. When the callback runs, it gets a context with this
//! table, one that the callback before it has left untouched by others; whatever can be seen of it,
//! by a token or through the handle, makes it stay that callback's own.
//!
//! The interpreter has no function for this, so two offsets are found out when the module is
//! imported, by experiments with known outcomes. Where one of them fails, as it would on a version
//! that keeps its contexts otherwise, handles copy contexts as asyncio does.

use std::cell::UnsafeCell;
use std::ptr::{self, null_mut};
use std::sync::OnceLock;

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

/// How far into the thread's state the current context is looked for; no version's is smaller.
const THREAD_STATE_BYTES: usize = 256;
const WORD: usize = size_of::<*mut PyObject>();

/// Where the interpreter keeps what it has no function for, in bytes.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// The current context (or null) in a thread's state.
    current: usize,
    /// The table of variables in a context.
    variables: usize,
}

static LAYOUT: OnceLock<Option<Layout>> = OnceLock::new();

/// A context that no one else has, with no variables; null when it is lent. And the table of no
/// variables. The GIL guards both.
struct Spare(UnsafeCell<(*mut PyObject, *mut PyObject)>);
// SAFETY: it is touched only with the GIL held, and no Python runs while it is.
unsafe impl Sync for Spare {}
static SPARE: Spare = Spare(UnsafeCell::new((null_mut(), null_mut())));

/// Finds out the layout. To be called once, when the module is imported.
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    let layout = probe(py)?;
    if let Some(layout) = layout {
        // SAFETY: the GIL is held; a new context has a table.
        unsafe {
            let empty = ffi::PyContext_New();
            if empty.is_null() {
                return Err(PyErr::fetch(py));
            }
            (*SPARE.0.get()).1 = ffi::Py_NewRef(*word(empty, layout.variables));
            ffi::Py_DECREF(empty);
        }
    }
    let _ = LAYOUT.set(layout); // the module is imported once
    Ok(())
}

fn layout() -> Option<Layout> {
    LAYOUT.get().copied().flatten()
}

/// A new reference to the current context's variables. Null, with no exception: they cannot be had
/// without a copy of the context.
///
/// # Safety
/// The GIL is held.
#[inline]
pub(super) unsafe fn current_variables() -> *mut PyObject {
    let Some(layout) = layout() else {
        return null_mut();
    };
    // SAFETY: the layout was found to hold for this interpreter; the GIL is held.
    unsafe {
        let context = *word(ffi::PyThreadState_Get().cast(), layout.current);
        if context.is_null() {
            return null_mut(); // no context was used in this thread yet
        }
        ffi::Py_NewRef(*word(context, layout.variables))
    }
}

/// A context with these variables, which nobody else has: a new reference, or null with an
/// exception. Takes over the reference to `variables`.
///
/// # Safety
/// `variables` came from `current_variables`; the GIL is held.
pub(super) unsafe fn with_variables(variables: *mut PyObject) -> *mut PyObject {
    // SAFETY: the caller's. Swapping the table of a context that nobody has entered or can see is
    // what `Context.copy` does; what it had is the table of no variables, which stays alive.
    unsafe {
        let spare = ptr::replace(&raw mut (*SPARE.0.get()).0, null_mut());
        let context = if spare.is_null() { ffi::PyContext_New() } else { spare };
        let Some(layout) = layout().filter(|_| !context.is_null()) else {
            ffi::Py_DECREF(variables);
            return context;
        };
        ffi::Py_DECREF(ptr::replace(word(context, layout.variables), variables));
        context
    }
}

/// Takes a context from `with_variables` back once its callback has run.
///
/// # Safety
/// Its only reference is handed over; it is not entered; the GIL is held.
pub(super) unsafe fn give_back(context: *mut PyObject) {
    // SAFETY: the caller's. The table goes last: dropping values may run Python.
    unsafe {
        let spare = SPARE.0.get();
        match layout() {
            Some(layout) if (*spare).0.is_null() => {
                let empty = ffi::Py_NewRef((*spare).1);
                let variables = ptr::replace(word(context, layout.variables), empty);
                (*spare).0 = context;
                ffi::Py_DECREF(variables);
            }
            _ => ffi::Py_DECREF(context),
        }
    }
}

/// # Safety
/// `base` has a pointer at this offset.
#[inline]
unsafe fn word(base: *mut PyObject, offset: usize) -> *mut *mut PyObject {
    // SAFETY: the caller's.
    unsafe { base.cast::<u8>().add(offset).cast() }
}

/// Experiments: `None` unless each of them has the outcome that the layout asks for.
fn probe(py: Python<'_>) -> PyResult<Option<Layout>> {
    let variable = py.import("contextvars")?.call_method1("ContextVar", ("pelton.probe",))?;
    let (first, second) = (new_context(py)?, new_context(py)?);
    let Some(current) = current_offset(py, &first, &second)? else {
        return Ok(None);
    };
    first.call_method1("run", (variable.getattr("set")?, 1))?;
    let Some(variables) = variables_offset(&first)? else {
        return Ok(None);
    };
    // Once more, through what the loop will do with it.
    // SAFETY: `variables_offset` has seen that an object is there in every context.
    unsafe {
        let target = second.as_ptr();
        let table = ffi::Py_NewRef(*word(first.as_ptr(), variables));
        ffi::Py_DECREF(ptr::replace(word(target, variables), table));
    }
    second.call_method1("run", (variable.getattr("set")?, 2))?;
    let value = |context: &Bound<'_, PyAny>| context.get_item(&variable)?.extract::<u8>();
    let holds = value(&first)? == 1 && value(&second)? == 2;
    Ok(holds.then_some(Layout { current, variables }))
}

fn new_context(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: the GIL is held; a new reference or an exception.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_New()) }
}

/// Where the thread's state points to a context exactly while that one is entered.
fn current_offset(
    py: Python<'_>,
    first: &Bound<'_, PyAny>,
    second: &Bound<'_, PyAny>,
) -> PyResult<Option<usize>> {
    let matching = |context: &Bound<'_, PyAny>| -> PyResult<Vec<usize>> {
        // SAFETY: a live context that is entered here alone; the thread's state is larger than what
        // is read of it, and words are only compared.
        unsafe {
            if ffi::PyContext_Enter(context.as_ptr()) < 0 {
                return Err(PyErr::fetch(py));
            }
            let state: *mut PyObject = ffi::PyThreadState_Get().cast();
            let offsets = (0..THREAD_STATE_BYTES)
                .step_by(WORD)
                .filter(|offset| *word(state, *offset) == context.as_ptr())
                .collect();
            if ffi::PyContext_Exit(context.as_ptr()) < 0 {
                return Err(PyErr::fetch(py));
            }
            Ok(offsets)
        }
    };
    let found = matching(first)?;
    Ok(if found.len() == 1 && matching(second)? == found { found.first().copied() } else { None })
}

/// Where a context and its copy point to the same thing.
fn variables_offset(context: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    let copy = context.call_method0("copy")?;
    // SAFETY: both are live objects of the size that their type says; words are only compared.
    unsafe {
        let size = (*ffi::Py_TYPE(context.as_ptr())).tp_basicsize as usize;
        let shared: Vec<_> = (size_of::<PyObject>()..size.saturating_sub(WORD - 1))
            .step_by(WORD)
            .filter(|offset| {
                let table = *word(context.as_ptr(), *offset);
                table as usize > u32::MAX as usize && table == *word(copy.as_ptr(), *offset)
            })
            .collect();
        Ok(if shared.len() == 1 { shared.first().copied() } else { None })
    }
}
