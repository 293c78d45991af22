//! References to objects of our own classes, and C functions as their methods.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ops::Deref;

use pyo3::PyClass;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;

use crate::event_loop::{Owned, add_method};

/// A strong reference to an object of a class of ours, which it derefs to.
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct Held<T>(Owned, PhantomData<T>);

impl<T: PyClass<Frozen = True> + Sync> Held<T> {
    /// A new reference to `object`.
    ///
    /// # Safety
    /// `object` is alive and an instance of `T`, of its subclasses too; the GIL is held.
    pub(super) unsafe fn share(object: *mut PyObject) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { Owned::share(object) }, PhantomData)
    }

    /// The object, which the caller holds, without a new reference.
    ///
    /// # Safety
    /// As for `share`; and the object outlives what is returned.
    pub(super) unsafe fn borrow(object: &*mut PyObject) -> &Self {
        // SAFETY: transparent over a non-null pointer, and never dropped.
        unsafe { &*std::ptr::from_ref(object).cast() }
    }

    /// Another reference to the same object.
    pub(super) fn clone_ref(&self) -> Self {
        // SAFETY: we hold it; such references are used with the GIL held.
        unsafe { Self::share(self.0.as_ptr()) }
    }

    pub(super) fn bind<'a, 'py>(&'a self, _py: Python<'py>) -> &'a Bound<'py, T> {
        // SAFETY: `Bound` is transparent over the pointer and a token of zero size.
        unsafe { &*std::ptr::from_ref(self).cast() }
    }

    pub(super) fn as_owned(&self) -> &Owned {
        &self.0
    }

    pub(super) fn into_owned(self) -> Owned {
        self.0
    }

    pub(super) fn as_ptr(&self) -> *mut PyObject {
        self.0.as_ptr()
    }

    /// Whether it is of `T` itself, so that nothing of it is overridden.
    pub(super) fn is_exact(&self, py: Python<'_>) -> bool {
        // SAFETY: a live object.
        unsafe { ffi::Py_TYPE(self.as_ptr()) == T::type_object_raw(py) }
    }
}

impl<T: PyClass<Frozen = True> + Sync> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `Py` is transparent over the same pointer; a frozen class is only ever shared.
        unsafe { &*std::ptr::from_ref(self).cast::<Py<T>>() }.get()
    }
}

/// `<pelton.aio.Lock object at 0x… [locked, waiters:1]>`.
pub(super) fn bracketed<T>(object: &Bound<'_, T>, state: &str, waiters: usize) -> PyResult<String> {
    // SAFETY: a live object, and the type `object`, whose slot is there.
    let plain = unsafe {
        let repr = ffi::PyBaseObject_Type.tp_repr;
        let made = repr.map_or(std::ptr::null_mut(), |repr| repr(object.as_ptr()));
        Bound::from_owned_ptr_or_err(object.py(), made)?
    };
    let plain = plain.extract::<String>()?;
    let plain = plain.strip_suffix('>').unwrap_or(&plain);
    Ok(match waiters {
        0 => format!("{plain} [{state}]>"),
        _ => format!("{plain} [{state}, waiters:{waiters}]>"),
    })
}

/// Adds the class `T` to the module.
pub(super) fn add_class<T: PyClass>(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<T>()?;
    let class = module.py().get_type::<T>();
    // Errors of the interpreter name a class as it was made, `pelton.aio.Lock`; one that was named
    // afterwards they name as a class made in Python, `Lock`.
    class.setattr("__name__", class.name()?)
}

/// A method without arguments, for [`methods`].
pub(super) type Method = (&'static CStr, ffi::PyCFunction, &'static CStr);

/// Adds methods without arguments to the class `T`.
pub(super) fn methods<T: PyClass>(py: Python<'_>, table: &[Method]) -> PyResult<()> {
    for &(name, function, doc) in table {
        let method = ffi::PyMethodDefPointer { PyCFunction: function };
        add_method(&py.get_type::<T>(), name, method, ffi::METH_NOARGS, doc)?;
    }
    Ok(())
}

/// A method with arguments, for [`fast_methods`].
pub(super) type FastMethod = (&'static CStr, ffi::PyCFunctionFastWithKeywords, &'static CStr);

/// Adds methods that take their arguments as a C array to the class `T`.
pub(super) fn fast_methods<T: PyClass>(py: Python<'_>, table: &[FastMethod]) -> PyResult<()> {
    for &(name, function, doc) in table {
        let method = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function };
        add_method(
            &py.get_type::<T>(),
            name,
            method,
            ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
            doc,
        )?;
    }
    Ok(())
}

/// The argument of a method that takes just one.
///
/// # Safety
/// What the interpreter passes to a `METH_FASTCALL | METH_KEYWORDS` function.
#[inline]
pub(super) unsafe fn one_argument(
    method: &str,
    name: &str,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> PyResult<Owned> {
    // SAFETY: the caller's: `args` holds `count` values and then one per name.
    unsafe {
        let named = if names.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(names) };
        if count == 1 && named == 0 {
            return Ok(Owned::share(*args));
        }
        if count == 0 && named == 1 {
            let given = Bound::from_borrowed_ptr(
                Python::assume_attached(),
                ffi::PyTuple_GET_ITEM(names, 0),
            );
            if given.extract::<&str>()? == name {
                return Ok(Owned::share(*args));
            }
        }
        Err(PyTypeError::new_err(format!(
            "{method}() takes one argument, {name}; {} were given",
            count + named
        )))
    }
}
