//! `gather`: the results of several awaitables, in their order.

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr::null_mut;

use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use super::arguments::Arguments;
use super::callback::{self, Callback, callback};
use super::coroutine::Visitor;
use super::future::{Future, call_method, cancelled_error};
use super::gathering::{self, cancel_child};
use super::raw_class::{Field, MethodFunction, RawClass, RawType, Spec, add_function, value_of};
use super::seen::{Seen, has_plain_identity};
use super::task::{Outcome, ensure_future, event_loop, exception, loop_of, outcome};
use crate::event_loop::{Owned, entry};

/// Adds this file's names to `pelton._core`.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    Gather::class().register(module.py())?;
    add_function(
        module,
        c"gather",
        MethodFunction::FastWithKeywords(gather),
        c"gather(*coros_or_futures, return_exceptions=False)\n--\n\nA future of the list of the \
          awaitables' results.",
    )
}

unsafe extern "C" fn gather(
    _module: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes.
        let args = unsafe { Arguments::new(args, count, names) };
        let mut return_exceptions = false;
        for (name, value) in args.each_named() {
            if name.extract::<&str>()? != "return_exceptions" {
                return Err(pyo3::exceptions::PyTypeError::new_err(format!(
                    "gather() got an unexpected keyword argument '{name}'"
                )));
            }
            // SAFETY: an argument of the call, alive.
            return_exceptions = unsafe { Bound::from_borrowed_ptr(py, value) }.is_truthy()?;
        }
        if args.positional.is_empty() {
            let outer = Future::new(py, event_loop(py)?.as_ptr())?;
            outer.set_result(py, PyList::empty(py).as_ptr())?;
            return Ok(outer.into_owned().into_ptr());
        }
        Ok(start(py, args.positional, return_exceptions)?.into_owned().into_ptr())
    })
}

fn start(py: Python<'_>, given: &[*mut PyObject], return_exceptions: bool) -> PyResult<Future> {
    let gather = Gather {
        children: Field::empty(),
        outer: Field::empty(),
        left: Cell::new(usize::MAX),
        return_exceptions,
        cancel_requested: Cell::new(false),
    };
    let object = callback(py, gather)?;
    let mut starting = Starting { callback: &object, event_loop: None, distinct: 0, done: vec![] };
    let children = if given.iter().all(|arg| has_plain_identity(py, *arg)) {
        starting.by_identity(py, given)?
    } else {
        starting.by_equality(py, given)?
    };
    let Starting { event_loop: Some(event_loop), distinct, done, .. } = starting else {
        return Err(pyo3::exceptions::PyRuntimeError::new_err("gather() found no event loop"));
    };
    // SAFETY: a `Gather`, made above and held.
    let gather = unsafe { value_of::<Gather>(object.as_ptr()) };
    // Callbacks run in turns of the loop, so that none has been called yet.
    gather.left.set(distinct);
    gather.children.set(tuple_of(py, children)?);
    let outer = gathering::future(py, &event_loop, &object)?;
    gather.outer.set(outer.share().into_owned());
    for child in done {
        gather.call(py, Some(child))?;
    }
    Ok(outer)
}

/// `gather`, as it makes futures of what it was given.
struct Starting<'a> {
    callback: &'a Owned,
    /// The loop of the first future.
    event_loop: Option<Owned>,
    /// Futures, each counted once.
    distinct: usize,
    /// Those that are done already.
    done: Vec<Future>,
}

impl Starting<'_> {
    /// For awaitables that are equal only to themselves.
    fn by_identity(&mut self, py: Python<'_>, given: &[*mut PyObject]) -> PyResult<Vec<Owned>> {
        let mut children: Vec<Owned> = Vec::with_capacity(given.len());
        let mut seen = Seen::with_capacity(given.len());
        for (n, arg) in given.iter().enumerate() {
            let child = match seen.first(*arg, n) {
                // SAFETY: the list holds it.
                Some(first) => unsafe { Owned::share(children[first].as_ptr()) },
                None => self.child(py, *arg)?,
            };
            children.push(child);
        }
        Ok(children)
    }

    fn by_equality(&mut self, py: Python<'_>, given: &[*mut PyObject]) -> PyResult<Vec<Owned>> {
        let known = PyDict::new(py);
        let mut children = Vec::with_capacity(given.len());
        for arg in given {
            // SAFETY: arguments of the call, alive; references are given away.
            unsafe {
                let bound = Bound::from_borrowed_ptr(py, *arg);
                let child = match known.get_item(&bound)? {
                    Some(child) => Owned::steal(child.into_ptr()),
                    None => {
                        let child = self.child(py, *arg)?;
                        known.set_item(bound, child.as_py())?;
                        child
                    }
                };
                children.push(child);
            }
        }
        Ok(children)
    }

    /// The future of an awaitable that was not there before.
    fn child(&mut self, py: Python<'_>, arg: *mut PyObject) -> PyResult<Owned> {
        let child = ensure_future(py, arg, self.event_loop.as_ref())?;
        if self.event_loop.is_none() {
            self.event_loop = Some(loop_of(py, &child)?);
        }
        if child.as_ptr() != arg {
            // The caller has no hold on it, so that he need not hear if it is dropped.
            let name = intern!(py, "_log_destroy_pending");
            child.as_owned().as_py().bind(py).setattr(name, false)?;
        }
        self.distinct += 1;
        if child.done(py)? {
            self.done.push(child.share());
        } else {
            let name = intern!(py, "add_done_callback");
            call_method(name, child.as_ptr(), &[self.callback.as_ptr()])?;
        }
        Ok(child.into_owned())
    }
}

fn tuple_of(py: Python<'_>, objects: Vec<Owned>) -> PyResult<Owned> {
    // SAFETY: a new tuple takes over one reference for each of its places.
    unsafe {
        let tuple = super::future::owned(py, ffi::PyTuple_New(objects.len() as Py_ssize_t))?;
        for (n, object) in objects.into_iter().enumerate() {
            ffi::PyTuple_SET_ITEM(tuple.as_ptr(), n as Py_ssize_t, object.into_ptr());
        }
        Ok(tuple)
    }
}

/// What is gathered; it is the callback of each child too.
pub(super) struct Gather {
    /// A tuple with a future for each argument.
    children: Field,
    /// Empty once it is done.
    outer: Field,
    /// Distinct children that are not done.
    left: Cell<usize>,
    return_exceptions: bool,
    cancel_requested: Cell<bool>,
}

impl RawClass for Gather {
    const NAME: &'static CStr = c"pelton._core.gather_callback";

    fn class() -> &'static RawType<Self> {
        static CLASS: RawType<Gather> = RawType::new();
        &CLASS
    }

    fn declare(spec: Spec<Self>) -> Spec<Self> {
        callback::declare(spec)
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see_ptr(self.children.as_ptr());
        visitor.see_ptr(self.outer.as_ptr());
    }

    fn clear(&self) {
        drop(self.children.take());
        drop(self.outer.take());
    }
}

impl Callback for Gather {
    const QUALNAME: &'static CStr = c"gather.<locals>._done_callback";

    fn call(&self, py: Python<'_>, child: Option<Future>) -> PyResult<()> {
        let Some(child) = child else {
            return Ok(());
        };
        self.left.set(self.left.get().saturating_sub(1));
        if self.left.get() > 0 && child.plain_result(py)?.is_some() {
            return Ok(()); // nothing to say before the last
        }
        let over = match self.outer.share().map(Future::from_object) {
            Some(outer) => is_done(py, &outer)?,
            None => true,
        };
        if over {
            if !child.cancelled(py)? {
                exception(py, &child)?; // counts as retrieved then
            }
            return Ok(());
        }
        if !self.return_exceptions {
            if child.cancelled(py)? {
                return self.fail(py, &cancellation_of(py, &child)?);
            }
            if let Some(error) = exception(py, &child)? {
                return self.fail(py, &error);
            }
        }
        if self.left.get() == 0 { self.finish(py) } else { Ok(()) }
    }
}

impl Gather {
    /// All children are done.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        let Some(children) = self.children.share() else {
            return Ok(());
        };
        let children = children.as_py().bind(py).cast::<PyTuple>()?;
        let results = PyList::empty(py);
        let mut last = None;
        for child in children {
            // SAFETY: the tuple holds it.
            let child = Future::from_object(unsafe { Owned::share(child.as_ptr()) });
            match outcome(py, &child)? {
                Outcome::Result(value) | Outcome::Exception(value) => {
                    results.append(value.as_py())?;
                }
                Outcome::Cancelled => results.append(cancelled_child(py, &child)?)?,
            }
            last = Some(child);
        }
        match last {
            // Whoever cancelled `gather` gets the cancellation, whatever `return_exceptions` says.
            Some(last) if self.cancel_requested.get() => {
                self.fail(py, &cancellation_of(py, &last)?)
            }
            _ => self.end(intern!(py, "set_result"), results.as_ptr()),
        }
    }

    fn fail(&self, py: Python<'_>, error: &Owned) -> PyResult<()> {
        self.end(intern!(py, "set_exception"), error.as_ptr())
    }

    /// Ends the outer future. It holds us, so we let go of it.
    fn end(&self, method: &Bound<'_, PyString>, value: *mut PyObject) -> PyResult<()> {
        match self.outer.take() {
            Some(outer) => call_method(method, outer.as_ptr(), &[value]).map(drop),
            None => Ok(()),
        }
    }

    /// Cancels the children. Returns whether one of them took it.
    pub(super) fn cancel_children(&self, py: Python<'_>, message: *mut PyObject) -> PyResult<bool> {
        let Some(children) = self.children.share() else {
            return Ok(false);
        };
        let mut asked = false;
        for child in children.as_py().bind(py).cast::<PyTuple>()? {
            asked |= cancel_child(py, child.as_ptr(), message)?;
        }
        if asked {
            self.cancel_requested.set(true);
        }
        Ok(asked)
    }
}

fn is_done(py: Python<'_>, future: &Future) -> PyResult<bool> {
    call_method(intern!(py, "done"), future.as_ptr(), &[])?.as_py().bind(py).is_truthy()
}

/// The `CancelledError` that awaiting `child` would raise.
fn cancellation_of(py: Python<'_>, child: &Future) -> PyResult<Owned> {
    call_method(intern!(py, "_make_cancelled_error"), child.as_ptr(), &[])
}

/// The `CancelledError` that stands for a cancelled child among results.
fn cancelled_child<'py>(py: Python<'py>, child: &Future) -> PyResult<Bound<'py, PyAny>> {
    let message = child.as_owned().as_py().bind(py).getattr(intern!(py, "_cancel_message"))?;
    let class = cancelled_error(py)?;
    if message.is_none() { class.call1(("",)) } else { class.call1((message,)) }
}
