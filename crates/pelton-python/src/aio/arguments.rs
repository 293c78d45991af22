//! Arguments of functions that are C entry points.

use std::ptr::slice_from_raw_parts;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::prelude::*;

use crate::event_loop::Owned;

/// What a `METH_FASTCALL | METH_KEYWORDS` function was given.
pub(super) struct Arguments<'a> {
    /// By position.
    pub(super) positional: &'a [*mut PyObject],
    /// Values of those by name.
    named: &'a [*mut PyObject],
    names: *mut PyObject,
}

impl Arguments<'_> {
    /// # Safety
    /// What the interpreter passed, which stays alive as long as this is used.
    pub(super) unsafe fn new(
        args: *const *mut PyObject,
        count: Py_ssize_t,
        names: *mut PyObject,
    ) -> Self {
        // SAFETY: the caller's: `count` values by position, then one for each of `names`.
        unsafe {
            let named = if names.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(names) as usize };
            let count = count as usize;
            let all = if count + named == 0 {
                &[][..]
            } else {
                &*slice_from_raw_parts(args, count + named)
            };
            Self { positional: &all[..count], named: &all[count..], names }
        }
    }

    /// Names and values of the arguments by name.
    pub(super) fn each_named(&self) -> impl Iterator<Item = (Bound<'_, PyAny>, *mut PyObject)> {
        self.named.iter().enumerate().map(|(n, value)| {
            // SAFETY: `new`'s caller: `names` has a str for each value; the GIL is held.
            let name = unsafe {
                let name = ffi::PyTuple_GET_ITEM(self.names, n as Py_ssize_t);
                Bound::from_borrowed_ptr(Python::assume_attached(), name)
            };
            (name, *value)
        })
    }

    /// Arguments that must all be there, by position or by name.
    pub(super) fn required<const N: usize>(
        &self,
        function: &str,
        names: [&str; N],
    ) -> PyResult<[Owned; N]> {
        let given = self.parse(function, N, names)?;
        if let Some(n) = given.iter().position(Option::is_none) {
            return Err(PyTypeError::new_err(format!(
                "{function}() missing required argument: '{}'",
                names[n]
            )));
        }
        // SAFETY: arguments of the call, alive; none is missing.
        Ok(given.map(|value| unsafe { Owned::share(value.unwrap_or(ffi::Py_None())) }))
    }

    /// The arguments in the order of `names`, the first `positional` of which may come by position.
    pub(super) fn parse<const N: usize>(
        &self,
        function: &str,
        positional: usize,
        names: [&str; N],
    ) -> PyResult<[Option<*mut PyObject>; N]> {
        if self.positional.len() > positional {
            return Err(PyTypeError::new_err(format!(
                "{function}() takes {positional} positional argument{} but {} were given",
                if positional == 1 { "" } else { "s" },
                self.positional.len()
            )));
        }
        let mut found = [None; N];
        for (slot, value) in found.iter_mut().zip(self.positional) {
            *slot = Some(*value);
        }
        for (name, value) in self.each_named() {
            let text = name.extract::<&str>()?;
            let Some(n) = names.iter().position(|known| *known == text) else {
                return Err(PyTypeError::new_err(format!(
                    "{function}() got an unexpected keyword argument '{text}'"
                )));
            };
            if found[n].replace(value).is_some() {
                return Err(PyTypeError::new_err(format!(
                    "{function}() got multiple values for argument '{text}'"
                )));
            }
        }
        Ok(found)
    }
}
