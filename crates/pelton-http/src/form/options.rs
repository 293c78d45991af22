//! Header values with parameters: `multipart/form-data; boundary=x`.

use memchr::memchr;

/// A value and its parameters, read as mail readers and browsers' counterparts read them: a `;`
/// within quotes separates nothing, `\"` and `\\` stand for themselves, names are in lower case.
/// The extended syntax (`name*=`) is not for forms (RFC 7578, 4.2) and is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What comes before the first `;`, in lower case.
    pub value: Vec<u8>,
    parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Options {
    /// Reads a header's value; bytes above ASCII count as Latin-1.
    #[must_use]
    pub fn parse(header: &[u8]) -> Self {
        if memchr(b';', header).is_none() {
            return Self { value: lower(trim(header)), parameters: Vec::new() };
        }
        let mut pieces = pieces(header).into_iter();
        let value = lower(&pieces.next().unwrap_or_default());
        let parameters = pieces.filter_map(|piece| parameter(&piece)).collect();
        Self { value, parameters }
    }

    /// A parameter's value, unquoted; of several the last.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let found = self.parameters.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_slice())
    }
}

/// The pieces between those `;` that have an even number of quotes before them.
fn pieces(header: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut start = 0;
    loop {
        let mut end = next(header, start);
        let mut counted = start;
        let mut odd = false;
        while let Some(at) = end {
            odd ^= quotes(&header[counted..at]) % 2 == 1;
            if !odd {
                break;
            }
            counted = at;
            end = next(header, at + 1);
        }
        let stop = end.unwrap_or(header.len());
        found.push(normal(&header[start..stop]));
        match end {
            Some(at) => start = at + 1,
            None => return found,
        }
    }
}

fn next(header: &[u8], from: usize) -> Option<usize> {
    memchr(b';', header.get(from..)?).map(|at| from + at)
}

/// Quotes that are not escaped.
fn quotes(text: &[u8]) -> usize {
    let all = text.iter().filter(|byte| **byte == b'"').count();
    all - text.windows(2).filter(|pair| pair == b"\\\"").count()
}

/// `name=value` without the white space around either, the name in lower case.
fn normal(piece: &[u8]) -> Vec<u8> {
    let Some(at) = memchr(b'=', piece) else { return trim(piece).to_vec() };
    let mut made = lower(trim_end(&piece[..at]));
    made.push(b'=');
    made.extend_from_slice(trim_start(&piece[at + 1..]));
    trim(&made).to_vec()
}

fn parameter(piece: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (name, value) = match memchr(b'=', piece) {
        Some(at) => (&piece[..at], &piece[at + 1..]),
        None => (piece, &[][..]),
    };
    if name.contains(&b'*') {
        return None;
    }
    let mut value = match value {
        [b'"', inner @ .., b'"'] => replace(&replace(inner, b"\\\\", b"\\"), b"\\\"", b"\""),
        plain => plain.to_vec(),
    };
    // Old browsers sent the whole path, drive and all.
    if name == b"filename" && (value.get(1..3) == Some(b":\\") || value.starts_with(b"\\\\")) {
        value = value.rsplit(|byte| *byte == b'\\').next().unwrap_or_default().to_vec();
    }
    Some((name.to_vec(), value))
}

fn replace(text: &[u8], from: &[u8; 2], to: &[u8]) -> Vec<u8> {
    let mut made = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with(from) {
            made.extend_from_slice(to);
            at += 2;
        } else {
            made.push(text[at]);
            at += 1;
        }
    }
    made
}

/// Lower case in Latin-1.
fn lower(text: &[u8]) -> Vec<u8> {
    let lower = |byte: &u8| match byte {
        b'A'..=b'Z' | 0xc0..=0xd6 | 0xd8..=0xde => byte + 32,
        other => *other,
    };
    text.iter().map(lower).collect()
}

fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

fn trim_start(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(text.len());
    &text[start..]
}

fn trim_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |at| at + 1);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::Options;

    /// A header, its value, a parameter's name and its value.
    type Case = (&'static [u8], &'static [u8], &'static [u8], Option<&'static [u8]>);

    #[test]
    fn values_and_parameters() {
        let cases: [Case; 13] = [
            (b"Text/Plain ", b"text/plain", b"a", None),
            (b"form-data; name=x", b"form-data", b"name", Some(b"x")),
            (b"form-data; NAME = x ", b"form-data", b"name", Some(b"x")),
            (b"form-data; name=\"a;b\"", b"form-data", b"name", Some(b"a;b")),
            (b"form-data; name=\"a\\\"b\"", b"form-data", b"name", Some(b"a\"b")),
            (b"form-data; name=\"a\\\\\"", b"form-data", b"name", Some(b"a\\")),
            (b"form-data; name=1; name=2", b"form-data", b"name", Some(b"2")),
            (b"form-data; name*=utf-8''x", b"form-data", b"name", None),
            (b"f; filename=\"C:\\a\\b.txt\"", b"f", b"filename", Some(b"b.txt")),
            (b"f; filename=\"\\\\\\\\host\\b.txt\"", b"f", b"filename", Some(b"b.txt")),
            (b"f; name=\"open; x=1", b"f", b"name", Some(b"\"open; x=1")),
            (b"f; name", b"f", b"name", Some(b"")),
            (b"f;", b"f", b"name", None),
        ];
        for (header, value, name, expected) in cases {
            let options = Options::parse(header);
            let shown = String::from_utf8_lossy(header);
            assert_eq!(options.value, value, "{shown}");
            assert_eq!(options.get(name), expected, "{shown}");
        }
    }
}
