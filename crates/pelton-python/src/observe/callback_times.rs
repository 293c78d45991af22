//! Callbacks' time by name, from samples: timing each would cost more than a short callback.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

/// What a sample costs, about, and the part of the loop's time that sampling may take.
const SAMPLE_NS: u64 = 500;
const SHARE_MAX: u64 = 200; // one part in
/// Callbacks between two samples, on average, at most.
const GAP_MAX: u64 = 512;
/// Names that are told apart; callbacks beyond are counted together.
const NAMES_MAX: usize = 512;
const OTHERS: &str = "(others)";
/// Wrappers (`functools.partial` and the like) that are looked through.
const WRAPPERS_MAX: usize = 4;

/// What is known of one name. A sample stands for all callbacks since the one before.
struct Entry {
    name: String,
    count: u64,
    time_ns: u64,
    longest_ns: u64,
}

/// Samples of one loop.
pub(crate) struct CallbackTimes {
    /// The step that is sampled next, and the last one that was.
    next: Cell<u64>,
    last: Cell<u64>,
    /// The running mean of samples' durations.
    mean_ns: Cell<u64>,
    random: Cell<u64>,
    entries: RefCell<Vec<Entry>>,
    by_name: RefCell<HashMap<String, usize>>,
    /// Entries by the address of a code object or a class, which is kept alive for that.
    by_code: RefCell<HashMap<usize, (Py<PyAny>, usize)>>,
}

impl Default for CallbackTimes {
    fn default() -> Self {
        Self {
            next: Cell::new(1),
            last: Cell::new(0),
            mean_ns: Cell::new(0),
            // Any start but zero: what matters is that callbacks that come in a rhythm are all met.
            random: Cell::new(0x9E37_79B9_7F4A_7C15),
            entries: RefCell::default(),
            by_name: RefCell::default(),
            by_code: RefCell::default(),
        }
    }
}

impl CallbackTimes {
    /// Whether this step is to be timed.
    #[inline]
    pub(crate) fn is_due(&self, step: u64) -> bool {
        step >= self.next.get()
    }

    /// A step of the entry `which` was timed.
    pub(crate) fn add(&self, step: u64, which: usize, duration_ns: u64) {
        let weight = step.saturating_sub(self.last.replace(step));
        self.next.set(step + self.gap(duration_ns));
        if let Some(entry) = self.entries.borrow_mut().get_mut(which) {
            entry.count += weight;
            entry.time_ns += duration_ns * weight;
            entry.longest_ns = entry.longest_ns.max(duration_ns);
        }
    }

    /// Steps to the next sample: at random, and the fewer the longer callbacks take.
    fn gap(&self, duration_ns: u64) -> u64 {
        let mean = match self.mean_ns.get() {
            0 => duration_ns,
            mean => (mean * 15 + duration_ns) / 16,
        };
        self.mean_ns.set(mean);
        let gap = (SAMPLE_NS * SHARE_MAX / mean.max(1)).clamp(1, GAP_MAX);
        let mut random = self.random.get(); // xorshift
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random.set(random);
        1 + random % (2 * gap - 1)
    }

    /// The entry of what a callback runs: of a task's coroutine, or of a function.
    pub(crate) fn of_callback(&self, callback: &Bound<'_, PyAny>) -> usize {
        let subject = subject_of(callback);
        let Some(code) = code_of(&subject) else {
            // A name that cannot be had is the type's: an object whose attributes raise must not
            // end the loop that wants to count it.
            let name = subject.getattr_opt(intern!(callback.py(), "__qualname__"));
            let name = name.ok().flatten().and_then(|name| name.extract().ok());
            return self.of_name(&name.unwrap_or_else(|| type_name(&subject)));
        };
        if let Some((_, which)) = self.by_code.borrow().get(&(code.as_ptr() as usize)) {
            return *which;
        }
        let which = self.of_name(&name_of_code(&code).unwrap_or_else(|_| type_name(&code)));
        self.remember(code, which);
        which
    }

    /// The entry of a protocol: of its class.
    pub(crate) fn of_protocol(&self, protocol: &Bound<'_, PyAny>) -> usize {
        let class = protocol.get_type();
        if let Some((_, which)) = self.by_code.borrow().get(&(class.as_ptr() as usize)) {
            return *which;
        }
        let which = self.of_name(&type_name(protocol));
        self.remember(class.into_any(), which);
        which
    }

    fn remember(&self, object: Bound<'_, PyAny>, which: usize) {
        let mut by_code = self.by_code.borrow_mut();
        if by_code.len() < NAMES_MAX {
            by_code.insert(object.as_ptr() as usize, (object.unbind(), which));
        }
    }

    /// The entry of this name, or the common one when there are too many.
    pub(crate) fn of_name(&self, name: &str) -> usize {
        let mut by_name = self.by_name.borrow_mut();
        if let Some(which) = by_name.get(name) {
            return *which;
        }
        let mut entries = self.entries.borrow_mut();
        let name = if entries.len() < NAMES_MAX { name } else { OTHERS };
        *by_name.entry(name.to_owned()).or_insert_with_key(|name| {
            let name = name.clone();
            entries.push(Entry { name, count: 0, time_ns: 0, longest_ns: 0 });
            entries.len() - 1
        })
    }

    /// All names, as dicts.
    pub(crate) fn to_list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for entry in self.entries.borrow().iter().filter(|entry| entry.count > 0) {
            let dict = PyDict::new(py);
            dict.set_item("name", &entry.name)?;
            dict.set_item("count", entry.count)?;
            dict.set_item("time", entry.time_ns as f64 / 1e9)?;
            dict.set_item("longest", entry.longest_ns as f64 / 1e9)?;
            list.append(dict)?;
        }
        Ok(list)
    }
}

/// What a callback comes down to: the coroutine of a task, the function of a method or a partial.
fn subject_of<'py>(callback: &Bound<'py, PyAny>) -> Bound<'py, PyAny> {
    let py = callback.py();
    let mut subject = callback.clone();
    for _ in 0..WRAPPERS_MAX {
        // SAFETY: a live object.
        if unsafe { ffi::PyFunction_Check(subject.as_ptr()) } != 0 {
            break;
        }
        if !is_step(&subject)
            && let Ok(Some(function)) = subject.getattr_opt(intern!(py, "__func__"))
        {
            subject = function;
            continue;
        }
        // The step and the wakeup of a task.
        if let Ok(Some(owner)) = subject.getattr_opt(intern!(py, "__self__")) {
            let get_coro = owner.getattr_opt(intern!(py, "get_coro"));
            if let Ok(Some(coroutine)) =
                get_coro.map(|found| found.and_then(|call| call.call0().ok()))
            {
                return coroutine;
            }
            break;
        }
        match subject.getattr_opt(intern!(py, "func")) {
            Ok(Some(inner)) => subject = inner,
            _ => break,
        }
    }
    subject
}

/// Whether `callback` may be the step or the wakeup of a task: a builtin method, or the type that
/// asyncio made for it. (A lookup in vain costs more than all of this.)
fn is_step(callback: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a live object, and its type's name.
    unsafe {
        let name = std::ffi::CStr::from_ptr((*ffi::Py_TYPE(callback.as_ptr())).tp_name);
        ffi::PyCFunction_Check(callback.as_ptr()) != 0 || name == c"TaskStepMethWrapper"
    }
}

/// The code object of a function, a coroutine or a generator.
fn code_of<'py>(subject: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let py = subject.py();
    // SAFETY: a live object.
    let likely = unsafe {
        if ffi::PyCoro_CheckExact(subject.as_ptr()) != 0 {
            intern!(py, "cr_code")
        } else if ffi::PyGen_CheckExact(subject.as_ptr()) != 0 {
            intern!(py, "gi_code")
        } else {
            intern!(py, "__code__")
        }
    };
    subject.getattr_opt(likely).ok().flatten()
}

fn name_of_code(code: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = code.py();
    let qualname: String = code.getattr(intern!(py, "co_qualname"))?.extract()?;
    let file: String = code.getattr(intern!(py, "co_filename"))?.extract()?;
    let line: u32 = code.getattr(intern!(py, "co_firstlineno"))?.extract()?;
    let file = file.rsplit('/').next().unwrap_or_default();
    Ok(format!("{qualname} ({file}:{line})"))
}

fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().qualname().map_or_else(|_| OTHERS.to_owned(), |name| name.to_string())
}
