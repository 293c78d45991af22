//! The `cookie` header.

use std::borrow::Cow;

/// The names and values of a `cookie` header, in order.
///
/// As browsers send and Starlette reads them: `;` separates, a piece without `=` is a value with an
/// empty name, blanks around names and values are dropped, and a quoted value is unquoted with its
/// backslash escapes (`\"`, `\073`). Where a name comes twice the last one counts; that is the
/// caller's to apply. Bytes above 127 are Latin-1.
pub fn pairs(header: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> + '_ {
    header.split(|byte| *byte == b';').filter_map(|piece| {
        let (name, value) = match memchr::memchr(b'=', piece) {
            Some(at) => (&piece[..at], &piece[at + 1..]),
            None => (&[][..], piece),
        };
        let (name, value) = (name.trim_ascii(), value.trim_ascii());
        (!name.is_empty() || !value.is_empty()).then(|| (latin1(name), unquote(value)))
    })
}

fn unquote(value: &[u8]) -> Cow<'_, str> {
    let [b'"', inner @ .., b'"'] = value else {
        return latin1(value);
    };
    if memchr::memchr(b'\\', inner).is_none() {
        return latin1(inner);
    }
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'\\' {
            text.push(char::from(*byte));
            continue;
        }
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                let code = (a - b'0') * 64 + (b - b'0') * 8 + (c - b'0');
                text.push(char::from(code));
                rest = after;
            }
            [escaped, after @ ..] => {
                text.push(char::from(*escaped));
                rest = after;
            }
            [] => text.push('\\'),
        }
    }
    Cow::Owned(text)
}

fn latin1(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Cow::Borrowed(text),
        _ => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::pairs;

    type Case = (&'static [u8], &'static [(&'static str, &'static str)]);

    #[test]
    fn as_browsers_send_them() {
        let cases: [Case; 8] = [
            (b"a=1; b=2", &[("a", "1"), ("b", "2")]),
            (b"a=1;b=2", &[("a", "1"), ("b", "2")]),
            (b"", &[]),
            (b"; ;", &[]),
            (b"alone", &[("", "alone")]),
            (b"a=\"x\\\"y\\073z\"", &[("a", "x\"y;z")]),
            (b"a==b", &[("a", "=b")]),
            (b"n=\xe9", &[("n", "\u{e9}")]),
        ];
        for (header, expected) in cases {
            let found: Vec<_> = pairs(header).collect();
            let found: Vec<_> = found.iter().map(|(n, v)| (n.as_ref(), v.as_ref())).collect();
            assert_eq!(found, expected, "{header:?}");
        }
    }
}
