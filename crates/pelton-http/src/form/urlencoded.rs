//! `application/x-www-form-urlencoded`, as a stream.

use memchr::memchr;

use super::{FormError, FormLimits};
use crate::percent::decode_component;

/// One field at a time, undecoded.
#[derive(Debug, Default)]
pub(super) struct Urlencoded {
    field: Vec<u8>,
    /// The field has the sign between its name and its value, which counts for neither.
    has_sign: bool,
    fields: u64,
}

impl Urlencoded {
    /// Takes the next bytes and gives the fields that they complete to `on`.
    pub(super) fn feed<E: From<FormError>>(
        &mut self,
        mut data: &[u8],
        limits: &FormLimits,
        on: &mut impl FnMut(&str, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        while !data.is_empty() {
            let end = memchr(b'&', data);
            let (piece, rest) = match end {
                Some(at) => (&data[..at], &data[at + 1..]),
                None => (data, &[][..]),
            };
            self.field.extend_from_slice(piece);
            self.has_sign |= memchr(b'=', piece).is_some();
            let size = self.field.len() - usize::from(self.has_sign);
            if size as u64 > limits.part_size {
                return Err(FormError::FieldTooBig(limits.part_size).into());
            }
            if end.is_some() {
                self.finish(limits, on)?;
            }
            data = rest;
        }
        Ok(())
    }

    /// The end of a field, or of the body.
    pub(super) fn finish<E: From<FormError>>(
        &mut self,
        limits: &FormLimits,
        on: &mut impl FnMut(&str, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.field.is_empty() {
            return Ok(());
        }
        self.fields += 1;
        if self.fields > limits.fields {
            return Err(FormError::TooManyFields(limits.fields).into());
        }
        let (name, value) = match memchr(b'=', &self.field) {
            Some(at) => (&self.field[..at], &self.field[at + 1..]),
            None => (self.field.as_slice(), &[][..]),
        };
        on(&decode_component(name), &decode_component(value))?;
        self.field.clear();
        self.has_sign = false;
        Ok(())
    }
}
