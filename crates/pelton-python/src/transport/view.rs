//! The memory of a Python object that has the buffer protocol.

use std::mem::MaybeUninit;

use pyo3::ffi;
use pyo3::prelude::*;

/// Contiguous memory that stays where it is until this is dropped. The GIL is held all the while, so
/// that nobody else changes what is there but by Python code that is run meanwhile.
pub(super) struct View(ffi::Py_buffer);

impl View {
    /// To read. What has no buffer is a TypeError.
    pub(super) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::new(object, ffi::PyBUF_SIMPLE)
    }

    /// To write to.
    pub(super) fn writable(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::new(object, ffi::PyBUF_WRITABLE)
    }

    fn new(object: &Bound<'_, PyAny>, flags: std::ffi::c_int) -> PyResult<Self> {
        let mut view = MaybeUninit::<ffi::Py_buffer>::uninit();
        // SAFETY: a live object; on success the view is filled in.
        unsafe {
            if ffi::PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), flags) < 0 {
                return Err(PyErr::fetch(object.py()));
            }
            Ok(Self(view.assume_init()))
        }
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        if self.0.len == 0 {
            return &[]; // its pointer may be null
        }
        // SAFETY: contiguous memory of this length, exported until `drop`.
        unsafe { std::slice::from_raw_parts(self.0.buf.cast(), self.0.len as usize) }
    }

    /// Its memory; of one that is `writable`.
    pub(super) fn memory(&mut self) -> &mut [MaybeUninit<u8>] {
        if self.0.len == 0 || self.0.readonly != 0 {
            return &mut [];
        }
        // SAFETY: as above, and it may be written to.
        unsafe { std::slice::from_raw_parts_mut(self.0.buf.cast(), self.0.len as usize) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: it was filled in by `PyObject_GetBuffer`, and the GIL is held.
        unsafe { ffi::PyBuffer_Release(&raw mut self.0) }
    }
}
