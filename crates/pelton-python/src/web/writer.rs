//! Response models as JSON text, written here where Pydantic would write the same bytes.
//!
//! Pydantic takes an instance of the very class of a response model as valid, and writes its
//! fields as they are declared. A [`Root`] does that for the usual types. Whatever is not
//! exactly of the declared type (an instance of a derived class, an `int` for a `float`…) is left
//! to Pydantic, with its conversions, errors and warnings.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyNone, PyString, PyTuple, PyType};
use pyo3::{Borrowed, ffi};

use super::json::{write_int, write_text};

/// Deeper values are left to Pydantic, which has its own limit and error.
const MAX_DEPTH: u32 = 64;

/// The writer of a response model, which remembers how long its texts are.
pub(crate) struct Root {
    writer: Writer,
    length: AtomicUsize,
}

/// How the values of one declared type are written.
enum Writer {
    Text,
    Integer,
    Float,
    Boolean,
    Null,
    /// Whatever JSON has: text, numbers, booleans, null, lists, and dicts with text keys.
    Any,
    Nullable(Box<Writer>),
    /// Scalars and models, of which a value's own type chooses.
    Union(Vec<Writer>),
    List(Box<Writer>),
    /// With text keys.
    Dict(Box<Writer>),
    Model(Box<ModelWriter>),
}

/// The fields of one model.
struct ModelWriter {
    class: Py<PyType>,
    fields: Vec<FieldWriter>,
    /// The fields' numbers by name.
    numbers: HashMap<String, usize>,
}

struct FieldWriter {
    name: Py<PyString>,
    /// `{"key":`, of which the first byte is a comma but for the first field written.
    key: Vec<u8>,
    writer: Writer,
}

impl Root {
    /// Reads what `_plan_json.writer_of` gives.
    pub(crate) fn from_spec(spec: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self { writer: Writer::from_spec(spec)?, length: AtomicUsize::new(64) })
    }

    /// Appends `value` to `out`. `false`: it is left to Pydantic; `out` holds a part of the text.
    pub(crate) fn write(&self, value: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> bool {
        self.writer.write(value, out, MAX_DEPTH)
    }

    /// About how much room a text needs.
    pub(crate) fn usual_length(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }

    /// Takes note of a text's length.
    pub(crate) fn note_length(&self, length: usize) {
        if length > self.usual_length() {
            // No more than this is set aside beforehand.
            self.length.store(length.min(64 * 1024), Ordering::Relaxed);
        }
    }
}

impl Writer {
    /// Reads what `_plan_json.writer_of` gives: the kind, and what belongs to it.
    fn from_spec(spec: &Bound<'_, PyAny>) -> PyResult<Self> {
        let spec = spec.cast::<PyTuple>()?;
        let kind: String = spec.get_item(0)?.extract()?;
        let inner = || Self::from_spec(&spec.get_item(1)?).map(Box::new);
        Ok(match kind.as_str() {
            "str" => Self::Text,
            "int" => Self::Integer,
            "float" => Self::Float,
            "bool" => Self::Boolean,
            "none" => Self::Null,
            "nullable" => Self::Nullable(inner()?),
            "union" => {
                let choices = spec.get_item(1)?;
                let choices = choices.try_iter()?.map(|choice| Self::from_spec(&choice?));
                Self::Union(choices.collect::<PyResult<_>>()?)
            }
            "list" => Self::List(inner()?),
            "dict" => Self::Dict(inner()?),
            "model" => Self::Model(Box::new(ModelWriter::from_spec(spec)?)),
            _ => Self::Any,
        })
    }

    fn write(&self, value: &Bound<'_, PyAny>, out: &mut Vec<u8>, depth: u32) -> bool {
        match self {
            Self::Text => value.cast_exact::<PyString>().is_ok_and(|text| write_text(text, out)),
            Self::Integer => value.cast_exact().is_ok_and(|number| write_int(number, out)),
            Self::Float => value.cast_exact().is_ok_and(|number| write_float(number, out)),
            Self::Boolean => value.cast_exact().is_ok_and(|flag| write_bool(flag, out)),
            Self::Null => value.is_none() && write_null(out),
            Self::Any => write_any(value, out, depth),
            Self::Nullable(_) if value.is_none() => write_null(out),
            Self::Nullable(inner) => inner.write(value, out, depth),
            Self::Union(choices) => choices
                .iter()
                .find(|choice| choice.is_for(value))
                .is_some_and(|choice| choice.write(value, out, depth)),
            Self::List(item) => {
                depth > 0
                    && value.cast_exact::<PyList>().is_ok_and(|list| {
                        write_items(list, out, |value, out| item.write(value, out, depth - 1))
                    })
            }
            Self::Dict(item) => {
                depth > 0
                    && value.cast_exact::<PyDict>().is_ok_and(|dict| {
                        write_dict(dict, out, |value, out| item.write(value, out, depth - 1))
                    })
            }
            Self::Model(model) => depth > 0 && model.write(value, out, depth - 1),
        }
    }
}

impl Writer {
    /// Whether a value is of the type of a scalar or a model.
    fn is_for(&self, value: &Bound<'_, PyAny>) -> bool {
        match self {
            Self::Text => value.is_exact_instance_of::<PyString>(),
            Self::Integer => value.is_exact_instance_of::<PyInt>(),
            Self::Float => value.is_exact_instance_of::<PyFloat>(),
            Self::Boolean => value.is_exact_instance_of::<PyBool>(),
            Self::Null => value.is_none(),
            Self::Model(model) => is_instance(value, &model.class),
            Self::Any | Self::Nullable(_) | Self::Union(_) | Self::List(_) | Self::Dict(_) => false,
        }
    }
}

impl ModelWriter {
    fn from_spec(spec: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let mut fields = Vec::new();
        let mut numbers = HashMap::new();
        for item in spec.get_item(2)?.try_iter()? {
            let (name, key, inner): (Bound<'_, PyString>, Bound<'_, PyString>, Bound<'_, PyAny>) =
                item?.extract()?;
            let mut text = vec![b'{'];
            if !write_text(&key, &mut text) {
                return Err(pyo3::exceptions::PyValueError::new_err("a key is no valid text"));
            }
            text.push(b':');
            numbers.insert(name.to_str()?.to_owned(), fields.len());
            fields.push(FieldWriter {
                name: name.unbind(),
                key: text,
                writer: Writer::from_spec(&inner)?,
            });
        }
        Ok(Self { class: spec.get_item(1)?.cast_into()?.unbind(), fields, numbers })
    }

    fn write(&self, value: &Bound<'_, PyAny>, out: &mut Vec<u8>, depth: u32) -> bool {
        if !is_instance(value, &self.class) {
            return false;
        }
        // Where an instance has no dict yet, one is made, for which garbage may be collected first:
        // whoever lent us the instance may not have it afterwards.
        let value = value.clone();
        let Some(values) = attributes(&value) else {
            return false;
        };
        let (begin, mut at) = (out.len(), 0);
        let written = each(&values, |name, value| {
            let field = self.field(name, at);
            at += 1;
            let Some(field) = field else {
                // A cached property or the like: no field.
                return true;
            };
            let place = out.len();
            out.extend_from_slice(&field.key);
            if place > begin {
                out[place] = b',';
            }
            field.writer.write(value, out, depth)
        });
        out.extend_from_slice(if out.len() == begin { b"{}" } else { b"}" });
        written
    }

    /// The field called `name`, which is mostly the one that was declared at this place.
    fn field(&self, name: &Bound<'_, PyAny>, at: usize) -> Option<&FieldWriter> {
        if let Some(field) = self.fields.get(at)
            && field.name.is(name)
        {
            return Some(field);
        }
        let name = name.cast_exact::<PyString>().ok()?;
        self.numbers.get(name.to_str().ok()?).map(|&number| &self.fields[number])
    }
}

fn write_items(
    list: &Bound<'_, PyList>,
    out: &mut Vec<u8>,
    write: impl Fn(&Bound<'_, PyAny>, &mut Vec<u8>) -> bool,
) -> bool {
    // Held by itself: whoever lent it may let go of it where writing an item runs finalizers.
    let list = list.clone();
    out.push(b'[');
    let mut at = 0;
    while at < list.len() {
        if at > 0 {
            out.push(b',');
        }
        // SAFETY: the list has an item there now; it is lent until it is written, which runs no
        // code that could take it out (a model, of which that is not as sure, is held by itself).
        let item = unsafe {
            let item = ffi::PyList_GET_ITEM(list.as_ptr(), at.cast_signed());
            Borrowed::from_ptr(list.py(), item)
        };
        if !write(&item, out) {
            return false;
        }
        at += 1;
    }
    out.push(b']');
    true
}

/// Whether an object is of this very class.
fn is_instance(value: &Bound<'_, PyAny>, class: &Py<PyType>) -> bool {
    value.get_type_ptr() == class.as_ptr().cast()
}

/// The `__dict__` of an instance of a class that was found to have the usual one.
fn attributes<'py>(value: &Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
    // SAFETY: a live object; the result is a new reference, or null with an exception, which
    // `from_owned_ptr_or_err` takes.
    let found = unsafe {
        let found = ffi::PyObject_GenericGetDict(value.as_ptr(), std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(value.py(), found)
    };
    found.ok()?.cast_into_exact().ok()
}

/// Calls `write` with each key and value of a dict until it says `false`. The dict lends them until
/// then: `write` must run no code that could take them out.
fn each(
    dict: &Bound<'_, PyDict>,
    mut write: impl FnMut(&Bound<'_, PyAny>, &Bound<'_, PyAny>) -> bool,
) -> bool {
    let py = dict.py();
    // Held by itself: whoever lent it may let go of it where writing a value runs finalizers.
    let dict = dict.clone();
    let (mut at, mut key, mut value) = (0, std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the dict is alive, and looks where a step has led also if it was changed; key and
    // value are lent by it for one step, in which they are used and no longer.
    unsafe {
        while ffi::PyDict_Next(dict.as_ptr(), &raw mut at, &raw mut key, &raw mut value) != 0 {
            let (key, value) = (Borrowed::from_ptr(py, key), Borrowed::from_ptr(py, value));
            if !write(&key, &value) {
                return false;
            }
        }
    }
    true
}

fn write_dict(
    dict: &Bound<'_, PyDict>,
    out: &mut Vec<u8>,
    write: impl Fn(&Bound<'_, PyAny>, &mut Vec<u8>) -> bool,
) -> bool {
    out.push(b'{');
    let mut first = true;
    let written = each(dict, |key, value| {
        if !first {
            out.push(b',');
        }
        first = false;
        let Ok(key) = key.cast_exact::<PyString>() else {
            return false;
        };
        if !write_text(key, out) {
            return false;
        }
        out.push(b':');
        write(value, out)
    });
    out.push(b'}');
    written
}

fn write_any(value: &Bound<'_, PyAny>, out: &mut Vec<u8>, depth: u32) -> bool {
    if let Ok(text) = value.cast_exact::<PyString>() {
        return write_text(text, out);
    }
    if let Ok(number) = value.cast_exact() {
        return write_int(number, out);
    }
    if let Ok(flag) = value.cast_exact() {
        return write_bool(flag, out);
    }
    if let Ok(number) = value.cast_exact() {
        return write_float(number, out);
    }
    if value.cast_exact::<PyNone>().is_ok() {
        return write_null(out);
    }
    if depth == 0 {
        return false;
    }
    if let Ok(list) = value.cast_exact() {
        return write_items(list, out, |value, out| write_any(value, out, depth - 1));
    }
    if let Ok(dict) = value.cast_exact() {
        return write_dict(dict, out, |value, out| write_any(value, out, depth - 1));
    }
    false
}

fn write_null(out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(b"null");
    true
}

fn write_bool(flag: &Bound<'_, PyBool>, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(if flag.is_true() { b"true" } else { b"false" });
    true
}

/// Only numbers that everybody writes in the same way: the fewest digits, and no exponent.
fn write_float(number: &Bound<'_, PyFloat>, out: &mut Vec<u8>) -> bool {
    use std::io::Write as _;

    let number = number.value();
    if write_hundredths(number, out) {
        return true;
    }
    let usual = number == 0.0 || (1e-4..1e15).contains(&number.abs());
    // Writing to a vector cannot fail.
    usual && write!(out, "{number:?}").is_ok()
}

/// Writes a number that has at most two decimals, as prices have. No other text of so few digits
/// stands for the same number, so this is the shortest.
fn write_hundredths(number: f64, out: &mut Vec<u8>) -> bool {
    let scaled = (number * 100.0).round();
    let exact = scaled.abs() < 1e14 && scaled / 100.0 == number;
    if !exact || (number == 0.0 && number.is_sign_negative()) {
        return false;
    }
    if number < 0.0 {
        out.push(b'-');
    }
    let hundredths = scaled.abs() as i64;
    out.extend_from_slice(itoa::Buffer::new().format(hundredths / 100).as_bytes());
    out.push(b'.');
    let digit = |value: i64| b'0' + value as u8;
    out.push(digit(hundredths / 10 % 10));
    if hundredths % 10 != 0 {
        out.push(digit(hundredths % 10));
    }
    true
}
