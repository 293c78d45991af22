//! JSON text from Python's own plain values, as `json.dumps` would write it.

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
    if let Ok(small) = number.extract::<i64>() {
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
    let Ok(text) = text.to_str() else {
        return false;
    };
    out.push(b'"');
    let bytes = text.as_bytes();
    if !bytes.iter().any(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return true;
    }
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[copied..at]);
        copied = at + 1;
        push_escaped(byte, out);
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
    true
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
