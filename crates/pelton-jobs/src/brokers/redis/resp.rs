//! Redis's protocol (RESP 2), as bytes: commands out, values in.

/// What Redis answers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Nothing there.
    Nil,
    /// A number.
    Int(i64),
    /// Bytes, or a status.
    Bytes(Vec<u8>),
    /// Several.
    Array(Vec<Self>),
    /// Refused, and why.
    Error(String),
}

impl Value {
    /// The bytes; `None` for anything else.
    pub(super) fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Int(number) => Some(number.to_string().into_bytes()),
            _ => None,
        }
    }

    /// The bytes as text.
    pub(super) fn into_text(self) -> Option<String> {
        self.into_bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A number, or bytes that are one.
    pub(super) fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The members; of anything else, none.
    pub(super) fn into_array(self) -> Vec<Self> {
        match self {
            Self::Array(values) => values,
            _ => Vec::new(),
        }
    }
}

/// Commands, one after the other, as they are sent.
#[derive(Debug, Default)]
pub(super) struct Commands {
    pub(super) bytes: Vec<u8>,
    pub(super) count: usize,
}

impl Commands {
    /// Begins a command of `arguments` parts, its name among them.
    pub(super) fn begin(&mut self, arguments: usize) {
        self.count += 1;
        self.head(b'*', arguments);
    }

    /// The next part.
    pub(super) fn part(&mut self, part: &[u8]) {
        self.head(b'$', part.len());
        self.bytes.extend_from_slice(part);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// The next part, from pieces of it.
    pub(super) fn part_of(&mut self, pieces: &[&[u8]]) {
        self.head(b'$', pieces.iter().map(|piece| piece.len()).sum());
        for piece in pieces {
            self.bytes.extend_from_slice(piece);
        }
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A whole command.
    pub(super) fn add(&mut self, parts: &[&[u8]]) {
        self.begin(parts.len());
        for part in parts {
            self.part(part);
        }
    }

    fn head(&mut self, kind: u8, number: usize) {
        let mut digits = [0_u8; 20];
        let mut at = digits.len();
        let mut left = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&digits[at..]);
        self.bytes.extend_from_slice(b"\r\n");
    }
}

/// Values within values: a server of ours never answers deeper.
const DEPTH_MAX: usize = 16;

/// Why bytes are not an answer.
#[derive(Debug, PartialEq)]
pub(super) enum Unread {
    /// More bytes are needed.
    More,
    /// Whatever it is, it is not Redis.
    Malformed,
}

/// The value at the start of `bytes`, and where it ends.
pub(super) fn parse(bytes: &[u8]) -> Result<(Value, usize), Unread> {
    parse_at(bytes, 0, 0)
}

fn parse_at(bytes: &[u8], at: usize, depth: usize) -> Result<(Value, usize), Unread> {
    let (line, mut next) = line_at(bytes, at)?;
    let (kind, rest) = line.split_first().ok_or(Unread::Malformed)?;
    let value = match kind {
        b'+' => Value::Bytes(rest.to_vec()),
        b'-' => Value::Error(String::from_utf8_lossy(rest).into_owned()),
        b':' => Value::Int(number(rest)?),
        b'$' => match number(rest)? {
            -1 => Value::Nil,
            length => {
                let length = usize::try_from(length).map_err(|_| Unread::Malformed)?;
                let end = next.checked_add(length).ok_or(Unread::Malformed)?;
                let body = bytes.get(next..end).ok_or(Unread::More)?;
                match bytes.get(end..end + 2) {
                    None => return Err(Unread::More),
                    Some(b"\r\n") => {}
                    Some(_) => return Err(Unread::Malformed),
                }
                next = end + 2;
                Value::Bytes(body.to_vec())
            }
        },
        b'*' if depth < DEPTH_MAX => match number(rest)? {
            -1 => Value::Nil,
            count => {
                let count = usize::try_from(count).map_err(|_| Unread::Malformed)?;
                let mut values = Vec::with_capacity(count.min(4096));
                for _ in 0..count {
                    let (value, end) = parse_at(bytes, next, depth + 1)?;
                    values.push(value);
                    next = end;
                }
                Value::Array(values)
            }
        },
        _ => return Err(Unread::Malformed),
    };
    Ok((value, next))
}

fn line_at(bytes: &[u8], at: usize) -> Result<(&[u8], usize), Unread> {
    let rest = bytes.get(at..).ok_or(Unread::More)?;
    let end = rest.iter().position(|byte| *byte == b'\r').ok_or(Unread::More)?;
    match rest.get(end + 1) {
        None => Err(Unread::More),
        Some(b'\n') => Ok((&rest[..end], at + end + 2)),
        Some(_) => Err(Unread::Malformed),
    }
}

fn number(digits: &[u8]) -> Result<i64, Unread> {
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(Unread::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_arrays_of_bytes() {
        let mut commands = Commands::default();
        commands.add(&[b"SET", b"k", b"\r\n"]);
        assert_eq!(commands.bytes, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n");
        assert_eq!(commands.count, 1);
    }

    #[test]
    fn every_kind_of_value_is_read_whole_or_not_at_all() {
        let bytes = b"*5\r\n+OK\r\n:-12\r\n$-1\r\n*1\r\n$4\r\na\r\nb\r\n-ERR no\r\n";
        let expected = Value::Array(vec![
            Value::Bytes(b"OK".to_vec()),
            Value::Int(-12),
            Value::Nil,
            Value::Array(vec![Value::Bytes(b"a\r\nb".to_vec())]),
            Value::Error("ERR no".into()),
        ]);
        assert_eq!(parse(bytes).unwrap(), (expected, bytes.len()));
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]).unwrap_err(), Unread::More, "{end}");
        }
    }

    #[test]
    fn what_is_not_redis_is_refused() {
        for bytes in [&b"HTTP/1.1 400\r\n"[..], b"$2\r\nabc\r\n", b":x\r\n", b"$-2\r\n", b"+a\rb"] {
            assert_eq!(parse(bytes).unwrap_err(), Unread::Malformed);
        }
        let deep = b"*1\r\n".repeat(DEPTH_MAX + 1);
        assert_eq!(parse(&deep).unwrap_err(), Unread::Malformed);
    }
}
