//! Plain C types by `PyType_FromSpec`: their tables, and the parts their functions share.

use std::ffi::{CStr, c_int, c_void};
use std::ptr::{null, null_mut};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyType;

/// Makes a type whose instances are `T`, tracked by the collector and not to be made from Python.
/// The slots' tables must live as long as the process.
pub(crate) fn create<'py, T>(
    py: Python<'py>,
    name: &'static CStr,
    mut slots: Vec<ffi::PyType_Slot>,
) -> PyResult<Bound<'py, PyType>> {
    slots.push(slot(0, null_mut()));
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size_of::<T>() as c_int,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT
            | ffi::Py_TPFLAGS_HAVE_GC
            | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION) as _,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the spec is complete, and its tables end with their marks.
    unsafe {
        let kind = ffi::PyType_FromSpec(&raw mut spec);
        Ok(Bound::from_owned_ptr_or_err(py, kind)?.cast_into_unchecked())
    }
}

/// Gives a table to the process, as types keep pointing to theirs.
pub(crate) fn leak<T>(table: Vec<T>) -> *mut T {
    Box::leak(table.into_boxed_slice()).as_mut_ptr()
}

/// One slot.
pub(crate) fn slot(slot: c_int, pfunc: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot { slot, pfunc }
}

/// A method without arguments.
pub(crate) fn method(name: &'static CStr, function: ffi::PyCFunction) -> ffi::PyMethodDef {
    definition(name, ffi::PyMethodDefPointer { PyCFunction: function }, ffi::METH_NOARGS)
}

/// A method with one argument.
pub(crate) fn method_o(name: &'static CStr, function: ffi::PyCFunction) -> ffi::PyMethodDef {
    definition(name, ffi::PyMethodDefPointer { PyCFunction: function }, ffi::METH_O)
}

/// A method with arguments.
pub(crate) fn method_fast(
    name: &'static CStr,
    function: ffi::PyCFunctionFastWithKeywords,
) -> ffi::PyMethodDef {
    let pointer = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function };
    definition(name, pointer, ffi::METH_FASTCALL | ffi::METH_KEYWORDS)
}

fn definition(
    name: &'static CStr,
    function: ffi::PyMethodDefPointer,
    flags: c_int,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef { ml_name: name.as_ptr(), ml_meth: function, ml_flags: flags, ml_doc: null() }
}

/// One attribute.
pub(crate) fn attribute(
    name: &'static CStr,
    get: ffi::getter,
    set: Option<ffi::setter>,
) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef { name: name.as_ptr(), get: Some(get), set, doc: null(), closure: null_mut() }
}

/// The end mark of an attribute table.
pub(crate) fn attributes_end() -> ffi::PyGetSetDef {
    ffi::PyGetSetDef { name: null(), get: None, set: None, doc: null(), closure: null_mut() }
}

/// Shows the collector all fields that are not null.
///
/// # Safety
/// Live objects or null, and what the collector passed to `tp_traverse`.
pub(crate) unsafe fn visit_all(
    fields: &[*mut PyObject],
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    for field in fields.iter().filter(|field| !field.is_null()) {
        // SAFETY: the caller's.
        let stop = unsafe { visit(*field, arg) };
        if stop != 0 {
            return stop;
        }
    }
    0
}

/// What the interpreter passes to a `METH_FASTCALL | METH_KEYWORDS` function.
pub(crate) struct Arguments<'a> {
    given: &'a [*mut PyObject],
    positional: usize,
    names: *mut PyObject,
}

impl<'a> Arguments<'a> {
    /// # Safety
    /// Exactly what the interpreter passed, for the time of the call.
    pub(crate) unsafe fn new(
        args: *const *mut PyObject,
        count: Py_ssize_t,
        names: *mut PyObject,
    ) -> Self {
        // SAFETY: the caller's: `args` holds `count` values and one more per name.
        unsafe {
            let named = if names.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(names) };
            let all = (count + named) as usize;
            let given = if all == 0 { &[][..] } else { std::slice::from_raw_parts(args, all) };
            Self { given, positional: count as usize, names }
        }
    }

    /// The values of the parameters `wanted`, `N` at most, null for those not given; the first
    /// `required` must be.
    ///
    /// # Errors
    /// `TypeError`, as Python says it.
    #[inline]
    pub(crate) fn parse<const N: usize>(
        &self,
        py: Python<'_>,
        function: &str,
        wanted: &[&str],
        required: usize,
    ) -> PyResult<[*mut PyObject; N]> {
        let mut values = [null_mut(); N];
        if self.positional > wanted.len() {
            return Err(PyTypeError::new_err(format!(
                "{function}() takes {} arguments but {} were given",
                wanted.len(),
                self.positional
            )));
        }
        values[..self.positional].copy_from_slice(&self.given[..self.positional]);
        if !self.names.is_null() {
            self.parse_names(py, function, wanted, &mut values)?;
        }
        if let Some(missing) = values[..required].iter().position(|value| value.is_null()) {
            return Err(PyTypeError::new_err(format!(
                "{function}() missing required argument: '{}'",
                wanted[missing]
            )));
        }
        Ok(values)
    }

    #[cold]
    fn parse_names(
        &self,
        py: Python<'_>,
        function: &str,
        wanted: &[&str],
        values: &mut [*mut PyObject],
    ) -> PyResult<()> {
        for (n, value) in self.given[self.positional..].iter().enumerate() {
            // SAFETY: `names` is a tuple of str with one entry per further value.
            let name = unsafe {
                Bound::from_borrowed_ptr(py, ffi::PyTuple_GET_ITEM(self.names, n as Py_ssize_t))
            };
            let name: &str = name.extract()?;
            let position = wanted.iter().position(|known| *known == name).ok_or_else(|| {
                PyTypeError::new_err(format!(
                    "{function}() got an unexpected keyword argument '{name}'"
                ))
            })?;
            if !values[position].is_null() {
                return Err(PyTypeError::new_err(format!(
                    "{function}() got multiple values for argument '{name}'"
                )));
            }
            values[position] = *value;
        }
        Ok(())
    }
}
