//! A bytes object that a protocol was given and did not keep, filled again for the next read.
//!
//! Most protocols copy what they get, or look at it and let go. Making a new object of a kilobyte
//! and freeing it costs more than the copy into it: it is beyond what the interpreter's own
//! allocator keeps at hand. An object is taken back only if nobody else holds a reference, which
//! is when it would be freed: whoever might look at it again keeps it as it is.

use std::cell::Cell;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::event_loop::Owned;

/// At most one object, with the length it was made with: that much fits in it.
#[derive(Default)]
pub(crate) struct SpareBytes(Cell<Option<Filled>>);

/// A bytes object with a read's data.
pub(crate) struct Filled {
    object: Owned,
    room: usize,
}

impl Filled {
    /// The bytes object.
    pub(crate) fn bind<'a, 'py>(&'a self, py: Python<'py>) -> &'a Bound<'py, PyAny> {
        self.object.as_py().bind(py)
    }
}

impl SpareBytes {
    /// `data` as a bytes object. Not empty.
    pub(crate) fn fill(&self, py: Python<'_>, data: &[u8]) -> PyResult<Filled> {
        let spare = self.0.take();
        // One that is much too long is not used: whoever keeps it would keep all of its memory.
        let fits = |filled: &Filled| data.len() <= filled.room && data.len() >= filled.room / 2;
        let filled = match spare.filter(fits) {
            Some(filled) => filled,
            None => Filled { object: new_bytes(py, data.len())?, room: data.len() },
        };
        // SAFETY: a bytes object that only we have, with room for `data` and the zero behind it.
        // The hash of what was in it goes too.
        #[allow(deprecated, reason = "the cached hash is still there, and has no other name")]
        unsafe {
            let bytes = filled.object.as_ptr().cast::<ffi::PyBytesObject>();
            (*bytes).ob_base.ob_size = data.len() as ffi::Py_ssize_t;
            (*bytes).ob_shash = -1;
            let memory = ffi::PyBytes_AsString(bytes.cast()).cast::<u8>();
            memory.copy_from_nonoverlapping(data.as_ptr(), data.len());
            memory.add(data.len()).write(0);
        }
        Ok(filled)
    }

    /// Takes an object back, if nobody else has it.
    pub(crate) fn put_back(&self, filled: Filled) {
        // SAFETY: a live object.
        if unsafe { ffi::Py_REFCNT(filled.object.as_ptr()) } == 1 {
            self.0.set(Some(filled));
        }
    }
}

fn new_bytes(py: Python<'_>, size: usize) -> PyResult<Owned> {
    // SAFETY: a new object whose contents are not set yet; it is ours.
    unsafe {
        let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size as ffi::Py_ssize_t);
        if object.is_null() { Err(PyErr::fetch(py)) } else { Ok(Owned::steal(object)) }
    }
}
