//! Header blocks, written.

use super::static_table::name_index;
use super::table::Table;
use super::{DEFAULT_TABLE_SIZE, huffman, integer};

/// The sending side of header compression.
///
/// Fields that come again (`server`, `content-type`, `date` for a second) enter the table and cost
/// a byte from then on; those that are different each time do not drive them out.
#[derive(Debug)]
pub(in crate::h2) struct Encoder {
    table: Table,
    /// The smallest limit the client has set since the last block, which must be told, and the
    /// present one.
    resized: Option<(usize, usize)>,
}

/// Values longer than this do not enter the table.
const LONGEST_KEPT: usize = 256;

impl Encoder {
    pub(in crate::h2) fn new() -> Self {
        Self { table: Table::new(DEFAULT_TABLE_SIZE), resized: None }
    }

    /// The client's limit for our table. More than the default is not used.
    pub(in crate::h2) fn set_limit(&mut self, limit: usize) {
        let limit = limit.min(DEFAULT_TABLE_SIZE);
        let now = self.resized.map_or(self.table.max_size(), |(_, now)| now);
        if limit == now {
            return;
        }
        let smallest = self.resized.map_or(limit, |(smallest, _)| smallest.min(limit));
        self.resized = Some((smallest, limit));
    }

    /// To be called before a block's first field.
    pub(in crate::h2) fn begin(&mut self, output: &mut Vec<u8>) {
        let Some((smallest, now)) = self.resized.take() else { return };
        self.table.set_max_size(smallest);
        integer::write(output, 0x20, 5, smallest);
        if now != smallest {
            self.table.set_max_size(now);
            integer::write(output, 0x20, 5, now);
        }
    }

    /// Writes `:status`.
    pub(in crate::h2) fn status(&mut self, status: u16, output: &mut Vec<u8>) {
        let indexed = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => 0,
        };
        if indexed != 0 {
            output.push(0x80 | indexed);
            return;
        }
        let digits = [
            b'0' + (status / 100 % 10) as u8,
            b'0' + (status / 10 % 10) as u8,
            b'0' + (status % 10) as u8,
        ];
        self.keep(Some(8), b":status", &digits, output);
    }

    /// Writes a field; the name is in lower case.
    pub(in crate::h2) fn field(&mut self, name: &[u8], value: &[u8], output: &mut Vec<u8>) {
        let index = name_index(name);
        match Habit::of(name, value) {
            Habit::Repeats => self.keep(index, name, value, output),
            Habit::Changes => literal(index, 0, 4, name, value, output),
            Habit::Secret => literal(index, 0x10, 4, name, value, output),
        }
    }

    /// Writes a field by its place in the table, or puts it there.
    fn keep(&mut self, index: Option<usize>, name: &[u8], value: &[u8], output: &mut Vec<u8>) {
        let hash = hash(name, value);
        if let Some(at) = self.table.find(name, value, hash) {
            integer::write(output, 0x80, 7, at);
            return;
        }
        let index = index.or_else(|| self.table.find_name(name));
        literal(index, 0x40, 6, name, value, output);
        self.table.insert(name, value, hash);
    }
}

/// What is to be expected of a field.
enum Habit {
    /// The same value again and again.
    Repeats,
    /// Another value each time.
    Changes,
    /// Not to be kept, here nor by any proxy: a guess of it could be tried out.
    Secret,
}

impl Habit {
    fn of(name: &[u8], value: &[u8]) -> Self {
        match name {
            b"set-cookie" | b"authorization" | b"www-authenticate" | b"proxy-authenticate" => {
                Self::Secret
            }
            b"content-length" | b"content-range" | b"etag" | b"last-modified" | b"location"
            | b"age" | b"expires" | b"x-request-id" | b"x-correlation-id" | b"x-process-time"
            | b"traceparent" => Self::Changes,
            _ if value.len() > LONGEST_KEPT => Self::Changes,
            _ => Self::Repeats,
        }
    }
}

fn literal(
    index: Option<usize>,
    first: u8,
    bits: u8,
    name: &[u8],
    value: &[u8],
    output: &mut Vec<u8>,
) {
    integer::write(output, first, bits, index.unwrap_or(0));
    if index.is_none() {
        string(name, output);
    }
    string(value, output);
}

fn string(text: &[u8], output: &mut Vec<u8>) {
    let short = huffman::encoded_len(text);
    if short < text.len() {
        integer::write(output, 0x80, 7, short);
        huffman::encode(text, output);
    } else {
        integer::write(output, 0, 7, text.len());
        output.extend_from_slice(text);
    }
}

/// Eight bytes at a time; it only spares comparisons, so collisions cost little.
fn hash(name: &[u8], value: &[u8]) -> u32 {
    let mut hash = (name.len() as u64) << 32 | value.len() as u64;
    for part in [name, value] {
        let (words, rest) = part.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        for word in words.iter().chain([&last]) {
            hash = (hash.rotate_left(5) ^ u64::from_le_bytes(*word))
                .wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::super::Decoder;
    use super::Encoder;

    type Block = Vec<(Vec<u8>, Vec<u8>)>;

    fn encode(encoder: &mut Encoder, status: u16, fields: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut output = Vec::new();
        encoder.begin(&mut output);
        encoder.status(status, &mut output);
        for (name, value) in fields {
            encoder.field(name, value, &mut output);
        }
        output
    }

    fn decode(decoder: &mut Decoder, block: &[u8]) -> Block {
        let mut fields = Vec::new();
        decoder
            .decode(block, &mut |name, value| fields.push((name.to_vec(), value.to_vec())))
            .unwrap();
        fields
    }

    #[test]
    fn a_second_response_is_mostly_indices() {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let fields: &[(&[u8], &[u8])] = &[
            (b"content-type", b"application/json"),
            (b"content-length", b"27"),
            (b"server", b"pelton"),
            (b"x-own", b"value"),
        ];
        let first = encode(&mut encoder, 200, fields);
        let second = encode(&mut encoder, 200, fields);
        assert!(first.len() > 30);
        // The status and three more indices, and the length: its name's index, and two digits.
        assert_eq!(second.len(), 4 + 2 + 3);
        for block in [first, second] {
            let decoded = decode(&mut decoder, &block);
            assert_eq!(decoded[0], (b":status".to_vec(), b"200".to_vec()));
            let rest: Block =
                fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            assert_eq!(decoded[1..], rest);
        }
    }

    #[test]
    fn cookies_are_never_kept() {
        let mut encoder = Encoder::new();
        let fields: &[(&[u8], &[u8])] = &[(b"set-cookie", b"session=0123456789")];
        let first = encode(&mut encoder, 200, fields);
        assert_eq!(first[1] & 0xf0, 0x10);
        assert_eq!(encode(&mut encoder, 200, fields), first);
    }

    #[test]
    fn the_tables_stay_equal_when_the_client_resizes() {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        for round in 0u16..200 {
            match round % 7 {
                2 => encoder.set_limit(usize::from(round) * 5),
                4 => encoder.set_limit(0),
                5 => encoder.set_limit(1 << 20),
                _ => {}
            }
            let value = format!("value-{}", round % 11);
            let long = "x".repeat(usize::from(round) * 3);
            let fields: &[(&[u8], &[u8])] = &[
                (b"x-a", value.as_bytes()),
                (b"x-b", long.as_bytes()),
                (b"content-type", b"text/plain"),
            ];
            let block = encode(&mut encoder, 200 + round, fields);
            let decoded = decode(&mut decoder, &block);
            assert_eq!(decoded[0].1, format!("{}", 200 + round).as_bytes());
            assert_eq!(decoded[1].1, value.as_bytes());
            assert_eq!(decoded[2].1, long.as_bytes());
            assert_eq!(decoded[3].1, b"text/plain");
        }
    }
}
