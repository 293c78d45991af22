//! What a queue keeps, and in which order it gives it.

use std::cell::RefCell;
use std::collections::VecDeque;

use pyo3::ffi::{self, PyObject};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::sync::PyOnceLock;
use pyo3::types::PyList;

use super::future::{call_method, owned};
use crate::event_loop::Owned;

/// The order of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Fifo,
    /// The smallest first.
    Heap,
    Lifo,
}

/// The items of a queue.
#[derive(Debug, Default)]
pub(super) struct Items(RefCell<Store>);

#[derive(Debug)]
enum Store {
    Native(VecDeque<Owned>),
    /// A list, a deque, or what a subclass made its `_queue`.
    Object(Owned),
}

impl Default for Store {
    fn default() -> Self {
        Self::Native(VecDeque::new())
    }
}

impl Items {
    /// Begins anew, for this order. Heaps and stacks are lists, as `heapq` takes them.
    pub(super) fn start(&self, py: Python<'_>, order: Order) {
        self.replace(match order {
            Order::Fifo => Store::default(),
            Order::Heap | Order::Lifo => Store::Object(given(PyList::empty(py).into_any())),
        });
    }

    /// Makes `object` what holds the items.
    pub(super) fn set_object(&self, object: Bound<'_, PyAny>) {
        self.replace(Store::Object(given(object)));
    }

    /// The object that holds the items, from now on if none did: whoever asked may change it.
    pub(super) fn object(&self, py: Python<'_>) -> PyResult<Owned> {
        static DEQUE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        if let Store::Object(object) = &*self.0.borrow() {
            return Ok(share(object));
        }
        let list = self.list(py)?;
        let deque = given(DEQUE.import(py, "collections", "deque")?.call1((list,))?);
        let shared = share(&deque);
        self.replace(Store::Object(deque));
        Ok(shared)
    }

    /// Copies of the references, for `repr`.
    pub(super) fn list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        let object = match &*self.0.borrow() {
            Store::Object(object) => share(object),
            Store::Native(items) => {
                for item in items {
                    list.append(item.as_py())?;
                }
                return Ok(list);
            }
        };
        list.call_method1("extend", (object.as_py(),))?;
        Ok(list)
    }

    #[inline]
    pub(super) fn len(&self, py: Python<'_>) -> PyResult<usize> {
        let object = match &*self.0.borrow() {
            Store::Native(items) => return Ok(items.len()),
            Store::Object(object) => share(object),
        };
        // SAFETY: a live object.
        match unsafe { ffi::PyObject_Size(object.as_ptr()) } {
            -1 => Err(PyErr::fetch(py)),
            len => Ok(len as usize),
        }
    }

    #[inline]
    pub(super) fn push(&self, py: Python<'_>, order: Order, item: Owned) -> PyResult<()> {
        let object = match &mut *self.0.borrow_mut() {
            Store::Native(items) => {
                items.push_back(item);
                return Ok(());
            }
            Store::Object(object) => share(object),
        };
        if order == Order::Heap {
            return heapq(py, Heapq::Push, &[object.as_ptr(), item.as_ptr()]).map(drop);
        }
        call_method(intern!(py, "append"), object.as_ptr(), &[item.as_ptr()]).map(drop)
    }

    /// The next item; IndexError if there is none.
    #[inline]
    pub(super) fn pop(&self, py: Python<'_>, order: Order) -> PyResult<Owned> {
        let object = match &mut *self.0.borrow_mut() {
            Store::Native(items) => {
                return items.pop_front().ok_or_else(|| {
                    pyo3::exceptions::PyIndexError::new_err("pop from an empty queue")
                });
            }
            Store::Object(object) => share(object),
        };
        match order {
            Order::Fifo => call_method(intern!(py, "popleft"), object.as_ptr(), &[]),
            Order::Lifo => call_method(intern!(py, "pop"), object.as_ptr(), &[]),
            Order::Heap => heapq(py, Heapq::Pop, &[object.as_ptr()]),
        }
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.0.try_borrow().as_deref() {
            Ok(Store::Native(items)) => items.iter().try_for_each(|item| visit.call(item.as_py())),
            Ok(Store::Object(object)) => visit.call(object.as_py()),
            Err(_) => Ok(()),
        }
    }

    /// For `tp_clear`: forgets everything.
    pub(super) fn clear(&self) {
        self.replace(Store::default());
    }

    fn replace(&self, store: Store) {
        // A `let` of its own: the borrow ends before what was kept is dropped.
        let old = self.0.replace(store);
        drop(old);
    }
}

fn given(object: Bound<'_, PyAny>) -> Owned {
    // SAFETY: the reference is given away.
    unsafe { Owned::steal(object.into_ptr()) }
}

fn share(object: &Owned) -> Owned {
    // SAFETY: it is held.
    unsafe { Owned::share(object.as_ptr()) }
}

/// The functions of `heapq` that a queue needs.
#[derive(Clone, Copy)]
enum Heapq {
    Push,
    Pop,
}

fn heapq(py: Python<'_>, function: Heapq, args: &[*mut PyObject]) -> PyResult<Owned> {
    static PUSH: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static POP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let function = match function {
        Heapq::Push => PUSH.import(py, "heapq", "heappush")?,
        Heapq::Pop => POP.import(py, "heapq", "heappop")?,
    };
    // SAFETY: a call with live objects.
    unsafe {
        let result = ffi::PyObject_Vectorcall(
            function.as_ptr(),
            args.as_ptr(),
            args.len(),
            std::ptr::null_mut(),
        );
        owned(py, result)
    }
}
