//! `TaskGroup`: tasks that end before their block does.
//!
//! The rules are those of Python 3.13 on every version: the count of cancellation requests is the
//! same before and after a group, unless somebody outside asked.

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::ptr::null_mut;

use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError, PySystemExit, PyTypeError};
use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySet};

use super::arguments::Arguments;
use super::callback::{self, Callback, callback};
use super::coroutine::{Visitor, coroutine};
use super::future::{Future, call_method, owned, running_loop};
use super::raw_class::{Field, MethodFunction, RawClass, RawType, Spec, value_of};
use super::task::{current_task, exception};
use super::task_group_block::{Enter, Exit};
use crate::event_loop::{Owned, entry};

/// Adds this file's names to `pelton._core`.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    Completion::class().register(py)?;
    super::task_group_block::register(py)?;
    module.add("TaskGroup", TaskGroup::class().register(py)?)
}

/// `asyncio.TaskGroup`.
pub(super) struct TaskGroup {
    pub(super) entered: Cell<bool>,
    /// The block is over; tasks may still be.
    pub(super) exiting: Cell<bool>,
    /// The tasks were told to end.
    pub(super) aborting: Cell<bool>,
    /// The parent was cancelled by the group, not by somebody outside.
    pub(super) parent_cancel_requested: Cell<bool>,
    event_loop: Field,
    pub(super) parent: Field,
    /// A set of the tasks that are not done; empty until one is started.
    tasks: Field,
    /// A list of the exceptions of tasks; empty until there is one.
    pub(super) errors: Field,
    /// The first `KeyboardInterrupt` or `SystemExit`, which leaves the group as it is.
    pub(super) base_error: Field,
    /// What the parent waits in for the last task.
    pub(super) on_completed: Field,
    /// The tasks' callback. It holds the group, so it goes when the block ends.
    completion: Field,
}

impl RawClass for TaskGroup {
    const NAME: &'static CStr = c"pelton._core.TaskGroup";

    fn class() -> &'static RawType<Self> {
        static CLASS: RawType<TaskGroup> = RawType::new();
        &CLASS
    }

    fn declare(spec: Spec<Self>) -> Spec<Self> {
        spec.inheritable()
            .doc(c"TaskGroup()\n--\n\nTasks that end before the block of `async with` does.")
            .slot(ffi::Py_tp_new, new as *mut c_void)
            .slot(ffi::Py_tp_repr, repr as *mut c_void)
            .method(
                c"create_task",
                MethodFunction::FastWithKeywords(create_task),
                c"create_task($self, coro, *, name=None, context=None, **kwargs)\n--\n\nStart a \
                  task in the group.",
            )
            .method(c"__aenter__", MethodFunction::Plain(aenter), c"Enter the group.")
            .method(c"__aexit__", MethodFunction::Fast(aexit), c"Wait for all tasks.")
            .attribute(c"_tasks", tasks)
            .attribute(c"_parent_task", parent_task)
    }

    fn traverse(&self, visitor: &mut Visitor) {
        for field in self.fields() {
            visitor.see_ptr(field.as_ptr());
        }
    }

    fn clear(&self) {
        for field in self.fields() {
            drop(field.take());
        }
    }
}

impl TaskGroup {
    fn new() -> Self {
        Self {
            entered: Cell::new(false),
            exiting: Cell::new(false),
            aborting: Cell::new(false),
            parent_cancel_requested: Cell::new(false),
            event_loop: Field::empty(),
            parent: Field::empty(),
            tasks: Field::empty(),
            errors: Field::empty(),
            base_error: Field::empty(),
            on_completed: Field::empty(),
            completion: Field::empty(),
        }
    }

    fn fields(&self) -> [&Field; 7] {
        let Self {
            event_loop, parent, tasks, errors, base_error, on_completed, completion, ..
        } = self;
        [event_loop, parent, tasks, errors, base_error, on_completed, completion]
    }

    /// Begins the block, in the task that is current. `object` is the Python object around this.
    pub(super) fn enter(&self, py: Python<'_>, object: &Owned) -> PyResult<()> {
        let show = || object.as_py().bind(py).repr();
        if self.entered.get() {
            let text = format!("TaskGroup {} has already been entered", show()?);
            return Err(PyRuntimeError::new_err(text));
        }
        let event_loop = running_loop(py)?;
        let Some(parent) = current_task(py, &event_loop)? else {
            let text = format!("TaskGroup {} cannot determine the parent task", show()?);
            return Err(PyRuntimeError::new_err(text));
        };
        self.event_loop.set(event_loop);
        self.parent.set(parent);
        self.entered.set(true);
        Ok(())
    }

    fn create_task(&self, py: Python<'_>, object: &Owned, args: &Arguments<'_>) -> PyResult<Owned> {
        let mut coroutine = args.positional.first().copied();
        if args.positional.len() > 1 {
            return Err(PyTypeError::new_err(format!(
                "create_task() takes 1 positional argument but {} were given",
                args.positional.len()
            )));
        }
        let mut keywords = None;
        for (name, value) in args.each_named() {
            // SAFETY: an argument of the call, alive.
            let value = unsafe { Bound::from_borrowed_ptr(py, value) };
            if coroutine.is_none() && name.extract::<&str>()? == "coro" {
                coroutine = Some(value.as_ptr());
            } else if !value.is_none() {
                keywords.get_or_insert_with(|| PyDict::new(py)).set_item(name, value)?;
            }
        }
        let Some(coroutine) = coroutine else {
            return Err(PyTypeError::new_err("create_task() missing required argument: 'coro'"));
        };
        self.check_open(py, object, coroutine)?;
        let Some(event_loop) = self.event_loop.share() else {
            return Err(PyRuntimeError::new_err("the group has no event loop"));
        };
        let name = intern!(py, "create_task");
        let task = match keywords {
            None => call_method(name, event_loop.as_ptr(), &[coroutine])?,
            Some(keywords) => {
                let event_loop = event_loop.as_py().bind(py);
                // SAFETY: an argument of the call, alive; the task's reference is given away.
                unsafe {
                    let coroutine = Bound::from_borrowed_ptr(py, coroutine);
                    let task = event_loop.call_method(name, (coroutine,), Some(&keywords))?;
                    Owned::steal(task.into_ptr())
                }
            }
        };
        self.watch(py, object, &task)?;
        Ok(task)
    }

    /// A coroutine that the group does not take is closed, from Python 3.13 on.
    fn check_open(&self, py: Python<'_>, object: &Owned, coroutine: *mut PyObject) -> PyResult<()> {
        let what = if !self.entered.get() {
            "has not been entered"
        } else if self.exiting.get() && !self.has_tasks() {
            "is finished"
        } else if self.aborting.get() {
            "is shutting down"
        } else {
            return Ok(());
        };
        if closes_refused(py) {
            call_method(intern!(py, "close"), coroutine, &[])?;
        }
        let text = format!("TaskGroup {} {what}", object.as_py().bind(py).repr()?);
        Err(PyRuntimeError::new_err(text))
    }

    /// Waits for a new task, unless it is done already, as one that was started eagerly may be.
    fn watch(&self, py: Python<'_>, object: &Owned, task: &Owned) -> PyResult<()> {
        // SAFETY: it is held.
        let future = Future::from_object(unsafe { Owned::share(task.as_ptr()) });
        if future.done(py)? {
            return self.task_done(py, &future);
        }
        if self.tasks.as_ptr().is_null() {
            // SAFETY: a new, empty set.
            self.tasks.set(unsafe { owned(py, ffi::PySet_New(null_mut()))? });
            self.completion.set(callback(py, Completion { group: Field::shared(object) })?);
        }
        // SAFETY: a set, and an object to put in.
        if unsafe { ffi::PySet_Add(self.tasks.as_ptr(), task.as_ptr()) } < 0 {
            return Err(PyErr::fetch(py));
        }
        let name = intern!(py, "add_done_callback");
        call_method(name, task.as_ptr(), &[self.completion.as_ptr()]).map(drop)
    }

    /// Whether tasks are under way.
    pub(super) fn has_tasks(&self) -> bool {
        let tasks = self.tasks.as_ptr();
        // SAFETY: null, or a set.
        !tasks.is_null() && unsafe { ffi::PySet_Size(tasks) } > 0
    }

    /// The exceptions, for more to be put in.
    pub(super) fn errors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        if self.errors.as_ptr().is_null() {
            // SAFETY: the reference is given away.
            self.errors.set(unsafe { Owned::steal(PyList::empty(py).into_ptr()) });
        }
        // SAFETY: the field holds it.
        let errors = unsafe { Bound::from_borrowed_ptr(py, self.errors.as_ptr()) };
        Ok(errors.cast_into()?)
    }

    /// Tells the tasks to end.
    pub(super) fn abort(&self, py: Python<'_>) -> PyResult<()> {
        self.aborting.set(true);
        let Some(tasks) = self.tasks.share() else {
            return Ok(());
        };
        // Cancelling may run Python, which may change the set.
        let tasks: Vec<_> = tasks.as_py().bind(py).cast::<PySet>()?.iter().collect();
        for task in tasks {
            // SAFETY: the list holds it.
            let future = Future::from_object(unsafe { Owned::share(task.as_ptr()) });
            if !future.done(py)? {
                call_method(intern!(py, "cancel"), task.as_ptr(), &[])?;
            }
        }
        Ok(())
    }

    fn task_done(&self, py: Python<'_>, task: &Future) -> PyResult<()> {
        let tasks = self.tasks.as_ptr();
        // SAFETY: null, or a set.
        if !tasks.is_null() && unsafe { ffi::PySet_Discard(tasks, task.as_ptr()) } < 0 {
            return Err(PyErr::fetch(py));
        }
        if !self.has_tasks()
            && let Some(waiter) = self.on_completed.share()
        {
            Future::from_object(waiter).wake(py, py.None().as_ptr())?;
        }
        if task.cancelled(py)? {
            return Ok(());
        }
        match exception(py, task)? {
            Some(error) => self.task_failed(py, task, &error),
            None => Ok(()),
        }
    }

    fn task_failed(&self, py: Python<'_>, task: &Future, error: &Owned) -> PyResult<()> {
        self.errors(py)?.append(error.as_py())?;
        if is_base_error(py, error) && self.base_error.as_ptr().is_null() {
            self.base_error.set(error.share_again());
        }
        let Some(parent) = self.parent.share() else {
            return Ok(());
        };
        let parent = Future::from_object(parent);
        if parent.done(py)? {
            return self.report(py, &parent, task, error);
        }
        if !self.aborting.get() && !self.parent_cancel_requested.get() {
            // The parent must leave what it does in the block. This request is ours, and is taken
            // back at the block's end.
            self.abort(py)?;
            self.parent_cancel_requested.set(true);
            call_method(intern!(py, "cancel"), parent.as_ptr(), &[])?;
        }
        Ok(())
    }

    /// Nobody is there to get the error any more.
    fn report(
        &self,
        py: Python<'_>,
        parent: &Future,
        task: &Future,
        error: &Owned,
    ) -> PyResult<()> {
        let Some(event_loop) = self.event_loop.share() else {
            return Ok(());
        };
        let (task, parent) = (task.as_owned().as_py(), parent.as_owned().as_py());
        let text = format!(
            "Task {} has errored out but its parent task {} is already completed",
            task.bind(py).repr()?,
            parent.bind(py)
        );
        let context = PyDict::new(py);
        context.set_item("message", text)?;
        context.set_item("exception", error.as_py())?;
        context.set_item("task", task)?;
        let name = intern!(py, "call_exception_handler");
        call_method(name, event_loop.as_ptr(), &[context.as_ptr()]).map(drop)
    }

    /// Lets go of all that a finished group needs no more: exceptions hold much.
    pub(super) fn release(&self) {
        for field in self.fields() {
            drop(field.take());
        }
    }
}

/// Whether an exception leaves a group bare.
pub(super) fn is_base_error(py: Python<'_>, error: &Owned) -> bool {
    let error = error.as_py().bind(py);
    error.is_instance_of::<PySystemExit>() || error.is_instance_of::<PyKeyboardInterrupt>()
}

/// Whether the running version's groups close coroutines that they do not take. Before, their
/// callers do, and would find them closed.
fn closes_refused(py: Python<'_>) -> bool {
    py.version_info() >= (3, 13)
}

/// The tasks' callback.
struct Completion {
    group: Field,
}

impl RawClass for Completion {
    const NAME: &'static CStr = c"pelton._core.TaskGroup_callback";

    fn class() -> &'static RawType<Self> {
        static CLASS: RawType<Completion> = RawType::new();
        &CLASS
    }

    fn declare(spec: Spec<Self>) -> Spec<Self> {
        callback::declare(spec)
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see_ptr(self.group.as_ptr());
    }

    fn clear(&self) {
        drop(self.group.take());
    }
}

impl Callback for Completion {
    const QUALNAME: &'static CStr = c"TaskGroup._on_task_done";

    fn call(&self, py: Python<'_>, task: Option<Future>) -> PyResult<()> {
        match (self.group.share(), task) {
            // SAFETY: made with a group, which is held here.
            (Some(group), Some(task)) => unsafe {
                value_of::<TaskGroup>(group.as_ptr()).task_done(py, &task)
            },
            _ => Ok(()),
        }
    }
}

unsafe extern "C" fn new(
    kind: *mut ffi::PyTypeObject,
    args: *mut PyObject,
    keywords: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes: a tuple, and a dict or null.
        unsafe {
            let given = ffi::PyTuple_GET_SIZE(args) > 0
                || (!keywords.is_null() && ffi::PyDict_Size(keywords) > 0);
            // A subclass may take what it likes, in an `__init__` of its own.
            if given && TaskGroup::class().is(kind) {
                return Err(PyTypeError::new_err("TaskGroup() takes no arguments"));
            }
            TaskGroup::class().allocate(py, kind, TaskGroup::new())
        }
    })
}

unsafe extern "C" fn create_task(
    group: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes.
        unsafe {
            let args = Arguments::new(args, count, names);
            let object = Owned::share(group);
            Ok(value_of::<TaskGroup>(group).create_task(py, &object, &args)?.into_ptr())
        }
    })
}

extern "C" fn aenter(group: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: `self` of a method.
    entry(null_mut(), |py| coroutine(py, Enter::new(unsafe { Owned::share(group) })))
}

unsafe extern "C" fn aexit(
    group: *mut PyObject,
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
            let value = *args.add(1);
            let error = (value != ffi::Py_None()).then(|| Owned::share(value));
            coroutine(py, Exit::new(Owned::share(group), error))
        }
    })
}

extern "C" fn tasks(group: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    // SAFETY: Python passes a live object of the class. It gets a copy of the set.
    unsafe { ffi::PySet_New(value_of::<TaskGroup>(group).tasks.as_ptr()) }
}

/// For the task tree (`pelton.observe`), which reads asyncio's groups by this name too.
extern "C" fn parent_task(group: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    // SAFETY: Python passes a live object of the class; the field is a live object or null.
    unsafe {
        let parent = value_of::<TaskGroup>(group).parent.as_ptr();
        ffi::Py_NewRef(if parent.is_null() { ffi::Py_None() } else { parent })
    }
}

extern "C" fn repr(group: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: Python passes a live object of the class.
        let group = unsafe { value_of::<TaskGroup>(group) };
        let mut text = "<TaskGroup".to_owned();
        if group.has_tasks() {
            // SAFETY: it has tasks, so this is a set.
            let count = unsafe { ffi::PySet_Size(group.tasks.as_ptr()) };
            text.push_str(&format!(" tasks={count}"));
        }
        if !group.errors.as_ptr().is_null() {
            text.push_str(&format!(" errors={}", group.errors(py)?.len()));
        }
        if group.aborting.get() {
            text.push_str(" cancelling");
        } else if group.entered.get() {
            text.push_str(" entered");
        }
        text.push('>');
        Ok(pyo3::types::PyString::new(py, &text).into_any().into_ptr())
    })
}
