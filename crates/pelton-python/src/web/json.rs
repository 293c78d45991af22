//! JSON text from Python's own plain values, as `json.dumps` would write it.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyNone, PyString, PyTuple};

/// Deeper values are left to Python, which has its own limit and error.
const MAX_DEPTH: u32 = 64;

/// Appends `value` to `out` as `json.dumps(jsonable_encoder(value), ensure_ascii=False,
/// allow_nan=False, separators=(",", ":"))` would, in UTF-8.
///
/// Takes exactly dicts with text keys, lists, tuples, text, numbers, booleans and `None`. `false`:
/// there was something else (or something that is an error), `out` holds a part of the text, and
/// the caller asks Python instead. Runs no Python code.
pub(crate) fn write(value: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> bool {
    write_value(value, out, MAX_DEPTH)
}

fn write_value(value: &Bound<'_, PyAny>, out: &mut Vec<u8>, depth: u32) -> bool {
    if let Ok(text) = value.cast_exact::<PyString>() {
        return write_text(text, out);
    }
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        return depth > 0 && write_dict(dict, out, depth - 1);
    }
    if let Ok(number) = value.cast_exact::<PyInt>() {
        return write_int(number, out);
    }
    if value.cast_exact::<PyNone>().is_ok() {
        out.extend_from_slice(b"null");
        return true;
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        return depth > 0 && write_items(list.iter(), out, depth - 1);
    }
    if let Ok(flag) = value.cast_exact::<PyBool>() {
        out.extend_from_slice(if flag.is_true() { b"true" } else { b"false" });
        return true;
    }
    if let Ok(number) = value.cast_exact::<PyFloat>() {
        return write_float(number, out);
    }
    if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        return depth > 0 && write_items(tuple.iter(), out, depth - 1);
    }
    false
}

fn write_dict(dict: &Bound<'_, PyDict>, out: &mut Vec<u8>, depth: u32) -> bool {
    out.push(b'{');
    let mut first = true;
    for (key, value) in dict {
        let Ok(key) = key.cast_exact::<PyString>() else {
            return false;
        };
        // `jsonable_encoder` leaves such keys out: they are SQLAlchemy's.
        if key.to_str().is_ok_and(|key| key.starts_with("_sa")) {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        if !write_text(key, out) {
            return false;
        }
        out.push(b':');
        if !write_value(&value, out, depth) {
            return false;
        }
    }
    out.push(b'}');
    true
}

fn write_items<'py>(
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    out: &mut Vec<u8>,
    depth: u32,
) -> bool {
    out.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if !write_value(&item, out, depth) {
            return false;
        }
    }
    out.push(b']');
    true
}

/// Appends a number of any size.
pub(super) fn write_int(number: &Bound<'_, PyInt>, out: &mut Vec<u8>) -> bool {
    let mut overflow = 0;
    // SAFETY: a live int, which is asked for its value only. No exception is made of one that is
    // too large: that could run a garbage collection, and so other code.
    let small = unsafe { ffi::PyLong_AsLongLongAndOverflow(number.as_ptr(), &raw mut overflow) };
    if overflow == 0 {
        out.extend_from_slice(itoa::Buffer::new().format(small).as_bytes());
        return true;
    }
    // Python refuses to write integers of thousands of digits; its error is the right one.
    push_text_of(number.str(), out)
}

fn write_float(number: &Bound<'_, PyFloat>, out: &mut Vec<u8>) -> bool {
    number.value().is_finite() && push_text_of(number.repr(), out)
}

fn push_text_of(text: PyResult<Bound<'_, PyString>>, out: &mut Vec<u8>) -> bool {
    let Ok(text) = text else {
        return false;
    };
    let Ok(text) = text.to_str() else {
        return false;
    };
    out.extend_from_slice(text.as_bytes());
    true
}

/// Appends text in quotes.
pub(super) fn write_text(text: &Bound<'_, PyString>, out: &mut Vec<u8>) -> bool {
    // Lone surrogates have no UTF-8.
    let Some(bytes) = utf8_of(text) else {
        return false;
    };
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| IS_ESCAPED[usize::from(byte)]) {
        out.extend_from_slice(&rest[..at]);
        push_escaped(rest[at], out);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
    true
}

/// Which bytes of a text JSON writes in another way.
const IS_ESCAPED: [bool; 256] = {
    let mut is_escaped = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        is_escaped[byte] = true;
        byte += 1;
    }
    is_escaped[b'"' as usize] = true;
    is_escaped[b'\\' as usize] = true;
    is_escaped
};

/// The text in UTF-8, from where it is if it is ASCII.
fn utf8_of<'a>(text: &'a Bound<'_, PyString>) -> Option<&'a [u8]> {
    let object = text.as_ptr();
    // SAFETY: a live text, which never changes; that of ASCII in the compact form is as many bytes
    // as it has characters, in the object itself, which outlives the reference.
    unsafe {
        if ffi::PyUnicode_IS_COMPACT_ASCII(object) != 0 {
            let length = ffi::PyUnicode_GET_LENGTH(object).cast_unsigned();
            return Some(std::slice::from_raw_parts(ffi::PyUnicode_DATA(object).cast(), length));
        }
    }
    text.to_str().ok().map(str::as_bytes)
}

fn push_escaped(byte: u8, out: &mut Vec<u8>) {
    const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x0c => b'f',
        0x08 => b'b',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEXADECIMAL[usize::from(byte >> 4)]);
            out.push(HEXADECIMAL[usize::from(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}
