//! Query strings and urlencoded forms.

use std::borrow::Cow;

use crate::percent::decode_component;

/// The names and values of a query string, in order, decoded.
///
/// The same pairs as `urllib.parse.parse_qsl(query, keep_blank_values=True)`: `&` separates, empty
/// pieces are skipped, a piece without `=` has an empty value.
pub fn pairs(query: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> + '_ {
    query.split(|byte| *byte == b'&').filter(|piece| !piece.is_empty()).map(|piece| {
        let (name, value) = match memchr::memchr(b'=', piece) {
            Some(at) => (&piece[..at], &piece[at + 1..]),
            None => (piece, &[][..]),
        };
        (decode_component(name), decode_component(value))
    })
}

#[cfg(test)]
mod tests {
    use super::pairs;

    type Case = (&'static [u8], &'static [(&'static str, &'static str)]);

    #[test]
    fn as_parse_qsl() {
        let cases: [Case; 7] = [
            (b"", &[]),
            (b"a=1&b=2", &[("a", "1"), ("b", "2")]),
            (b"a&b=", &[("a", ""), ("b", "")]),
            (b"&&a=1&", &[("a", "1")]),
            (b"a=1=2", &[("a", "1=2")]),
            (b"a=x+y&a=%26", &[("a", "x y"), ("a", "&")]),
            (b"=v", &[("", "v")]),
        ];
        for (query, expected) in cases {
            let found: Vec<_> = pairs(query).collect();
            let found: Vec<_> = found.iter().map(|(n, v)| (n.as_ref(), v.as_ref())).collect();
            assert_eq!(found, expected, "{query:?}");
        }
    }
}
