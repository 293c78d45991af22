//! Which objects were seen, by identity: a table of addresses, with no call of `__hash__`.

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

use super::task::is_stock_future;

/// Objects that were seen, each with the place where it was first.
pub(super) struct Seen {
    /// Address and place; an address of zero is a free slot. Half of them at least are free.
    slots: Vec<(usize, usize)>,
}

impl Seen {
    /// A table for so many objects.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self { slots: vec![(0, 0); (count * 2).next_power_of_two()] }
    }

    /// Where `object` was seen before, or None: then it was seen at `place` now.
    pub(super) fn first(&mut self, object: *mut PyObject, place: usize) -> Option<usize> {
        let mask = self.slots.len() - 1;
        // Objects lie at multiples of 16; the multiplication mixes the rest into the high bits.
        let hash = (object as usize >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut at = (hash >> 32) & mask;
        loop {
            match self.slots[at] {
                (0, _) => {
                    self.slots[at] = (object as usize, place);
                    return None;
                }
                (address, first) if address == object as usize => return Some(first),
                _ => at = (at + 1) & mask,
            }
        }
    }
}

/// Whether an object is of a type whose instances are equal only to themselves.
pub(super) fn has_plain_identity(py: Python<'_>, object: *mut PyObject) -> bool {
    // SAFETY: a live object.
    unsafe { ffi::PyCoro_CheckExact(object) != 0 || is_stock_future(py, object) }
}
