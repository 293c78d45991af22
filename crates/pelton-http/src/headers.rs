//! Header fields in one buffer.

/// Header fields in the order they came, names in lower case.
///
/// All names and values share one byte buffer, so that a request's head costs two allocations
/// whatever its number of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    bytes: Vec<u8>,
    fields: Vec<Field>,
}

/// Where a field lies in the buffer. A head is at most 4 GiB, so 32 bits do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name_start: u32,
    pub(crate) name_end: u32,
    pub(crate) value_start: u32,
    pub(crate) value_end: u32,
}

impl Headers {
    /// No fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a buffer that already holds the fields, names in lower case.
    pub(crate) fn from_parts(bytes: Vec<u8>, fields: Vec<Field>) -> Self {
        Self { bytes, fields }
    }

    /// The bytes from `start` to `end` of the buffer.
    pub(crate) fn slice(&self, start: u32, end: u32) -> &[u8] {
        &self.bytes[start as usize..end as usize]
    }

    /// Drops all fields and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
    }

    /// Adds a field at the end; the name is stored in lower case.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let name_start = self.position();
        self.bytes.extend(name.iter().map(u8::to_ascii_lowercase));
        let name_end = self.position();
        self.bytes.extend_from_slice(value);
        let value_end = self.position();
        self.fields.push(Field { name_start, name_end, value_start: name_end, value_end });
    }

    /// The fields in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + '_ {
        self.fields.iter().map(|field| {
            (
                self.slice(field.name_start, field.name_end),
                self.slice(field.value_start, field.value_end),
            )
        })
    }

    /// The first value of the field `name` (given in lower case).
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(candidate, _)| *candidate == name).map(|(_, value)| value)
    }

    /// Every value of the field `name` (given in lower case), in order.
    pub fn get_all<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.iter().filter(move |(candidate, _)| *candidate == name).map(|(_, value)| value)
    }

    /// The number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    fn position(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::Headers;

    #[test]
    fn keeps_order_and_lowers_names() {
        let mut headers = Headers::new();
        headers.push(b"Accept", b"text/html");
        headers.push(b"X-Two", b"1");
        headers.push(b"x-two", b"2");
        assert_eq!(headers.len(), 3);
        assert_eq!(headers.get(b"accept"), Some(&b"text/html"[..]));
        assert_eq!(headers.get_all(b"x-two").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(headers.iter().next().map(|(name, _)| name), Some(&b"accept"[..]));
        assert_eq!(headers.get(b"missing"), None);
    }
}
