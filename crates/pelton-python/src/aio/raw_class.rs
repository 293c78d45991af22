//! Python classes made without `#[pyclass]`, for objects that are made by the hundred thousand.
//!
//! Their methods are C entry points, they can be called by vectorcall, and their memory is used
//! again. All state is in cells: Python may come back to an object while a method of it runs.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::mem::offset_of;
use std::ptr::{self, null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::coroutine::Visitor;
use crate::event_loop::Owned;

/// Objects of a class kept for use again.
const FREE_MAX: usize = 256;

/// What an object of such a class holds.
pub(super) trait RawClass: Sized + 'static {
    /// The type's name, `pelton._core.…`.
    const NAME: &'static CStr;

    /// Where its type is kept: `static CLASS: RawType<Self> = RawType::new(); &CLASS`.
    fn class() -> &'static RawType<Self>;

    /// Adds methods, attributes and slots to the class.
    fn declare(spec: Spec<Self>) -> Spec<Self> {
        spec
    }

    /// Shows every Python object that it holds.
    fn traverse(&self, visitor: &mut Visitor);

    /// Lets go of what may hold it in turn.
    fn clear(&self);
}

/// The Python object around a value.
#[repr(C)]
pub(super) struct Instance<T> {
    ob_base: PyObject,
    weakrefs: *mut PyObject,
    vectorcall: Option<ffi::vectorcallfunc>,
    pub(super) value: T,
}

/// A class's Python type, and memory of its objects that died.
pub(super) struct RawType<T> {
    kind: AtomicPtr<ffi::PyTypeObject>,
    free: UnsafeCell<Vec<*mut Instance<T>>>,
}

// SAFETY: the list is touched only in `new_object` and `dealloc`, both with the GIL held and
// neither calling Python while it holds the reference.
unsafe impl<T> Sync for RawType<T> {}

impl<T: RawClass> RawType<T> {
    /// No type yet: `register` makes it.
    pub(super) const fn new() -> Self {
        Self { kind: AtomicPtr::new(null_mut()), free: UnsafeCell::new(Vec::new()) }
    }

    /// Makes the type. Call it when the module is made, for every class.
    pub(super) fn register<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyType>> {
        let kind = T::declare(Spec::new()).create(py)?;
        self.kind.store(kind.clone().into_ptr().cast(), Ordering::Relaxed);
        Ok(kind)
    }

    /// Whether an object is of this very class.
    pub(super) fn is_exact(&self, object: *mut PyObject) -> bool {
        // SAFETY: callers pass live objects.
        unsafe { ffi::Py_TYPE(object) == self.kind.load(Ordering::Relaxed) }
    }

    /// Whether this is the class itself.
    pub(super) fn is(&self, kind: *mut ffi::PyTypeObject) -> bool {
        kind == self.kind.load(Ordering::Relaxed)
    }

    /// A new object with this value.
    #[inline]
    pub(super) fn object(&self, py: Python<'_>, value: T) -> PyResult<Owned> {
        self.callable(py, value, None)
    }

    /// A new object that `call` is called by.
    #[inline]
    pub(super) fn callable(
        &self,
        py: Python<'_>,
        value: T,
        call: Option<ffi::vectorcallfunc>,
    ) -> PyResult<Owned> {
        let kind = self.kind.load(Ordering::Relaxed);
        // SAFETY: the type was made at import. Memory from the free list came from
        // `PyObject_GC_New` of the same type and is untracked; every field is filled in before the
        // collector can see it.
        unsafe {
            let object: *mut Instance<T> = match (*self.free.get()).pop() {
                Some(object) => ffi::PyObject_Init(object.cast(), kind).cast(),
                None => ffi::PyObject_GC_New::<Instance<T>>(kind),
            };
            if object.is_null() {
                return Err(PyErr::fetch(py));
            }
            (*object).weakrefs = null_mut();
            (*object).vectorcall = call;
            (&raw mut (*object).value).write(value);
            ffi::PyObject_GC_Track(object.cast());
            Ok(Owned::steal(object.cast()))
        }
    }

    /// A new object of a Python subclass, or of the class itself; for `tp_new`.
    ///
    /// # Safety
    /// `kind` is the class or inherits from it.
    pub(super) unsafe fn allocate(
        &self,
        py: Python<'_>,
        kind: *mut ffi::PyTypeObject,
        value: T,
    ) -> PyResult<*mut PyObject> {
        if kind == self.kind.load(Ordering::Relaxed) {
            return Ok(self.object(py, value)?.into_ptr());
        }
        // SAFETY: the caller's. The memory is zeroed; the collector, which may already see it, must
        // not find the value before it is written.
        unsafe {
            let object = ffi::PyType_GenericAlloc(kind, 0).cast::<Instance<T>>();
            if object.is_null() {
                return Err(PyErr::fetch(py));
            }
            ffi::PyObject_GC_UnTrack(object.cast());
            (&raw mut (*object).value).write(value);
            ffi::PyObject_GC_Track(object.cast());
            Ok(object.cast())
        }
    }
}

/// The value of an object.
///
/// # Safety
/// `object` is a live instance of `T`'s class, and stays alive for `'a`; the GIL is held.
pub(super) unsafe fn value_of<'a, T: RawClass>(object: *mut PyObject) -> &'a T {
    // SAFETY: the caller's.
    unsafe { &(*object.cast::<Instance<T>>()).value }
}

unsafe extern "C" fn traverse<T: RawClass>(
    object: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    let mut visitor = Visitor::new(visit, arg);
    // SAFETY: the collector passes a live object.
    unsafe {
        visitor.see_ptr(ffi::Py_TYPE(object).cast());
        value_of::<T>(object).traverse(&mut visitor);
    }
    visitor.answer()
}

unsafe extern "C" fn clear<T: RawClass>(object: *mut PyObject) -> c_int {
    // SAFETY: the collector passes a live object.
    unsafe { value_of::<T>(object).clear() };
    0
}

unsafe extern "C" fn dealloc<T: RawClass>(object: *mut PyObject) {
    let this = object.cast::<Instance<T>>();
    let class = T::class();
    // SAFETY: the last reference is gone, so the memory is ours. It leaves the collector's lists;
    // then the value is dropped once, and the type, which each instance holds. An instance of a
    // Python subclass comes here from that class's own `tp_dealloc`, which frees nothing itself.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        if !(*this).weakrefs.is_null() {
            ffi::PyObject_ClearWeakRefs(object);
        }
        ptr::drop_in_place(&raw mut (*this).value);
        let kind = ffi::Py_TYPE(object);
        let free = &mut *class.free.get();
        if kind == class.kind.load(Ordering::Relaxed) && free.len() < FREE_MAX {
            free.push(this);
        } else if let Some(free) = (*kind).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}

/// A class under construction.
pub(super) struct Spec<T> {
    flags: u64,
    slots: Vec<ffi::PyType_Slot>,
    methods: Vec<ffi::PyMethodDef>,
    attributes: Vec<ffi::PyGetSetDef>,
    members: Vec<ffi::PyMemberDef>,
    class: PhantomData<T>,
}

impl<T: RawClass> Spec<T> {
    fn new() -> Self {
        let member = |name: &'static CStr, offset: usize| ffi::PyMemberDef {
            name: name.as_ptr(),
            type_code: ffi::Py_T_PYSSIZET,
            offset: offset as Py_ssize_t,
            flags: ffi::Py_READONLY,
            doc: null(),
        };
        let spec = Self {
            flags: ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_HAVE_GC,
            slots: Vec::new(),
            methods: Vec::new(),
            attributes: Vec::new(),
            members: vec![
                member(c"__weaklistoffset__", offset_of!(Instance<T>, weakrefs)),
                member(c"__vectorcalloffset__", offset_of!(Instance<T>, vectorcall)),
            ],
            class: PhantomData,
        };
        spec.slot(ffi::Py_tp_dealloc, dealloc::<T> as *mut c_void)
            .slot(ffi::Py_tp_traverse, traverse::<T> as *mut c_void)
            .slot(ffi::Py_tp_clear, clear::<T> as *mut c_void)
    }

    /// Python makes no objects of it: this crate does.
    pub(super) fn internal(mut self) -> Self {
        self.flags |= ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
        self
    }

    /// Python may inherit from it.
    pub(super) fn inheritable(mut self) -> Self {
        self.flags |= ffi::Py_TPFLAGS_BASETYPE;
        self
    }

    /// Objects are called by the function that they were made with.
    pub(super) fn callable(mut self) -> Self {
        self.flags |= ffi::Py_TPFLAGS_HAVE_VECTORCALL;
        self.slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *mut c_void)
    }

    pub(super) fn slot(mut self, slot: c_int, function: *mut c_void) -> Self {
        self.slots.push(ffi::PyType_Slot { slot, pfunc: function });
        self
    }

    pub(super) fn doc(self, text: &'static CStr) -> Self {
        self.slot(ffi::Py_tp_doc, text.as_ptr() as *mut c_void)
    }

    pub(super) fn method(
        mut self,
        name: &'static CStr,
        function: MethodFunction,
        doc: &'static CStr,
    ) -> Self {
        self.methods.push(function.definition(name, doc));
        self
    }

    pub(super) fn attribute(mut self, name: &'static CStr, get: ffi::getter) -> Self {
        self.attributes.push(ffi::PyGetSetDef {
            name: name.as_ptr(),
            get: Some(get),
            set: None,
            doc: null(),
            closure: null_mut(),
        });
        self
    }

    fn create(mut self, py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
        self.methods.push(ffi::PyMethodDef::zeroed());
        // SAFETY: all zeroes is the end mark of these tables.
        unsafe {
            self.attributes.push(std::mem::zeroed());
            self.members.push(std::mem::zeroed());
        }
        let (methods, attributes) = (leak(self.methods), leak(self.attributes));
        self.slots.extend([
            ffi::PyType_Slot { slot: ffi::Py_tp_methods, pfunc: methods.cast() },
            ffi::PyType_Slot { slot: ffi::Py_tp_getset, pfunc: attributes.cast() },
            ffi::PyType_Slot { slot: ffi::Py_tp_members, pfunc: leak(self.members).cast() },
            ffi::PyType_Slot { slot: 0, pfunc: null_mut() },
        ]);
        let mut spec = ffi::PyType_Spec {
            name: T::NAME.as_ptr(),
            basicsize: size_of::<Instance<T>>() as c_int,
            itemsize: 0,
            flags: self.flags as c_uint,
            slots: self.slots.as_mut_ptr(),
        };
        // SAFETY: the spec and its tables are complete and end with their marks; the tables that
        // the type keeps pointing to are leaked, once per type and process.
        unsafe {
            let kind = ffi::PyType_FromSpec(&raw mut spec);
            Ok(Bound::from_owned_ptr_or_err(py, kind)?.cast_into_unchecked())
        }
    }
}

/// A C entry point, by the arguments it takes.
#[derive(Clone, Copy)]
pub(super) enum MethodFunction {
    /// None.
    Plain(ffi::PyCFunction),
    /// Any number, by position.
    Fast(ffi::PyCFunctionFast),
    /// Any number, by position and by name.
    FastWithKeywords(ffi::PyCFunctionFastWithKeywords),
}

impl MethodFunction {
    /// The entry of a method table.
    pub(super) fn definition(self, name: &'static CStr, doc: &'static CStr) -> ffi::PyMethodDef {
        let (ml_meth, ml_flags) = match self {
            Self::Plain(function) => {
                (ffi::PyMethodDefPointer { PyCFunction: function }, ffi::METH_NOARGS)
            }
            Self::Fast(function) => {
                (ffi::PyMethodDefPointer { PyCFunctionFast: function }, ffi::METH_FASTCALL)
            }
            Self::FastWithKeywords(function) => (
                ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function },
                ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
            ),
        };
        ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth,
            ml_flags,
            ml_doc: doc.as_ptr().cast::<c_char>(),
        }
    }
}

/// Adds a function of the module that is a C entry point.
pub(super) fn add_function(
    module: &Bound<'_, PyModule>,
    name: &'static CStr,
    function: MethodFunction,
    doc: &'static CStr,
) -> PyResult<()> {
    let definition = leak(vec![function.definition(name, doc)]);
    let module_name = module.name()?;
    // SAFETY: the definition lives as long as the process; the module and its name are alive.
    let made = unsafe {
        let made = ffi::PyCFunction_NewEx(definition, module.as_ptr(), module_name.as_ptr());
        Bound::from_owned_ptr_or_err(module.py(), made)?
    };
    module.add(&*name.to_string_lossy(), made)
}

fn leak<T>(table: Vec<T>) -> *mut T {
    Box::leak(table.into_boxed_slice()).as_mut_ptr()
}

/// A field of such an object that holds a Python object, or nothing.
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct Field(Cell<*mut PyObject>);

impl Field {
    pub(super) const fn empty() -> Self {
        Self(Cell::new(null_mut()))
    }

    pub(super) fn of(object: Owned) -> Self {
        Self(Cell::new(object.into_ptr()))
    }

    /// Another reference to `object`.
    pub(super) fn shared(object: &Owned) -> Self {
        // SAFETY: it is alive, as it is borrowed; the GIL is held wherever such objects are made.
        Self::of(unsafe { Owned::share(object.as_ptr()) })
    }

    /// The object, borrowed; null if there is none.
    pub(super) fn as_ptr(&self) -> *mut PyObject {
        self.0.get()
    }

    /// Another reference to the object.
    pub(super) fn share(&self) -> Option<Owned> {
        let object = self.0.get();
        // SAFETY: the field holds it; the GIL is held wherever such objects are reached.
        (!object.is_null()).then(|| unsafe { Owned::share(object) })
    }

    /// The object itself; the field is empty then.
    pub(super) fn take(&self) -> Option<Owned> {
        let object = self.0.replace(null_mut());
        // SAFETY: the field's reference is given away.
        (!object.is_null()).then(|| unsafe { Owned::steal(object) })
    }

    /// Puts an object in; what was there is dropped, which may run Python.
    pub(super) fn set(&self, object: Owned) {
        drop(self.take());
        self.0.set(object.into_ptr());
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        drop(self.take());
    }
}
