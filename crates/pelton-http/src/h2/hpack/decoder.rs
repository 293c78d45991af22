//! Header blocks, read.

use super::table::Table;
use super::{Broken, DEFAULT_TABLE_SIZE, huffman, integer};

/// The receiving side of header compression.
#[derive(Debug)]
pub(in crate::h2) struct Decoder {
    table: Table,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// How a literal field is to be kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    InTable,
    No,
}

impl Decoder {
    pub(in crate::h2) fn new() -> Self {
        Self { table: Table::new(DEFAULT_TABLE_SIZE), name: Vec::new(), value: Vec::new() }
    }

    /// Reads a complete block; `sink` gets each field.
    pub(in crate::h2) fn decode(
        &mut self,
        block: &[u8],
        sink: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Broken> {
        let mut at = 0;
        let mut fields = false;
        while let Some(first) = block.get(at).copied() {
            match first {
                0x80.. => {
                    let index = integer::read(block, &mut at, 7)?;
                    let (name, value) = self.field(index)?;
                    sink(name, value);
                }
                0x40.. => self.literal(block, &mut at, 6, Keep::InTable, sink)?,
                0x20.. => {
                    if fields {
                        return Err(Broken("a table size update follows a field"));
                    }
                    let size = integer::read(block, &mut at, 5)?;
                    if size > DEFAULT_TABLE_SIZE {
                        return Err(Broken("the table would be larger than the limit"));
                    }
                    self.table.set_max_size(size);
                    continue;
                }
                // Never to be indexed, or just not now: to us it is the same.
                _ => self.literal(block, &mut at, 4, Keep::No, sink)?,
            }
            fields = true;
        }
        Ok(())
    }

    fn field(&self, index: usize) -> Result<(&[u8], &[u8]), Broken> {
        self.table.get(index).ok_or(Broken("an index points nowhere"))
    }

    fn literal(
        &mut self,
        block: &[u8],
        at: &mut usize,
        bits: u8,
        keep: Keep,
        sink: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Broken> {
        let index = integer::read(block, at, bits)?;
        let mut name_buffer = std::mem::take(&mut self.name);
        let mut value_buffer = std::mem::take(&mut self.value);
        if index == 0 {
            let name = string(block, at, &mut name_buffer)?;
            let value = string(block, at, &mut value_buffer)?;
            sink(name, value);
            if keep == Keep::InTable {
                self.table.insert(name, value, 0);
            }
        } else {
            let value = string(block, at, &mut value_buffer)?;
            sink(self.field(index)?.0, value);
            if keep == Keep::InTable {
                self.table.insert_named(index, value);
            }
        }
        // They are as long as the longest block at most, and kept for the next field.
        (self.name, self.value) = (name_buffer, value_buffer);
        Ok(())
    }
}

/// A string, where it lies or decoded into `buffer`.
fn string<'a>(
    block: &'a [u8],
    at: &mut usize,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], Broken> {
    let huffman = block.get(*at).is_some_and(|byte| byte & 0x80 != 0);
    let length = integer::read(block, at, 7)?;
    let end = at.checked_add(length).filter(|end| *end <= block.len());
    let end = end.ok_or(Broken("a string is cut off"))?;
    let raw = &block[*at..end];
    *at = end;
    if !huffman {
        return Ok(raw);
    }
    buffer.clear();
    huffman::decode(raw, buffer)?;
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::Decoder;

    fn fields(decoder: &mut Decoder, block: &[u8]) -> Option<Vec<(String, String)>> {
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let decoded = decoder.decode(block, &mut |name, value| {
            fields.push((text(name), text(value)));
        });
        decoded.ok().map(|()| fields)
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// RFC 7541, C.4: three requests that share a table.
    #[test]
    fn requests_of_the_rfc() {
        let mut decoder = Decoder::new();
        let common = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
        let host = (":authority", "www.example.com");
        let first = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        let expected = pairs(&[common[0], common[1], common[2], host]);
        assert_eq!(fields(&mut decoder, first), Some(expected));
        let second = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
        let expected =
            pairs(&[common[0], common[1], common[2], host, ("cache-control", "no-cache")]);
        assert_eq!(fields(&mut decoder, second), Some(expected));
        let third = b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\
                      \x5b\xb8\xe8\xb4\xbf";
        let expected = pairs(&[
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            host,
            ("custom-key", "custom-value"),
        ]);
        assert_eq!(fields(&mut decoder, third), Some(expected));
    }

    /// RFC 7541, C.6 has a table of 256 bytes; here the same by a size update.
    #[test]
    fn entries_leave_a_small_table() {
        let mut decoder = Decoder::new();
        // Room for one small entry, two fields added, and the older asked for.
        let block = b"\x3f\x21\x40\x01a\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x40\x01b\x01b\xbf";
        assert_eq!(fields(&mut decoder, block), None);
        let mut decoder = Decoder::new();
        let block = b"\x3f\x21\x40\x01a\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x40\x01b\x01b\xbe";
        assert_eq!(fields(&mut decoder, block).map(|fields| fields.len()), Some(3));
    }

    /// The new entry may take its name from the one that it drives out (RFC 7541, 4.4).
    #[test]
    fn a_name_survives_its_entry() {
        let mut decoder = Decoder::new();
        let block = b"\x3f\x03\x40\x01a\x01b\x7e\x01c\xbe";
        let expected = pairs(&[("a", "b"), ("a", "c"), ("a", "c")]);
        assert_eq!(fields(&mut decoder, block), Some(expected));
    }

    #[test]
    fn broken_blocks_are_refused() {
        for (block, why) in [
            (&b"\x80"[..], "index 0"),
            (b"\xbe", "an empty dynamic table"),
            (b"\xff\x80\x01", "far beyond the table"),
            (b"\x7e\x01a", "a name from nowhere"),
            (b"\x3f\xe2\x1f", "a table of 4097 bytes"),
            (b"\x82\x20", "a size update after a field"),
            (b"\x40\x05abc", "a name cut off"),
            (b"\x40\x01a\x05b", "a value cut off"),
            (b"\x40\x01a", "no value"),
            (b"\x40\x81\xff\x01b", "a name with bad padding"),
            (b"\x40\x01a\x84\xff\xff\xff\xff", "a value that is the end of string"),
            (b"\x7f\xff\xff\xff\xff\xff\x0f", "an endless index"),
        ] {
            assert_eq!(fields(&mut Decoder::new(), block), None, "{why}");
        }
    }
}
