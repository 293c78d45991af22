//! Percent-encoding.

use std::borrow::Cow;

use memchr::memchr2;

/// A path's text: `%XX` decoded, then UTF-8 with what is invalid replaced by U+FFFD.
///
/// A `%` that no two hexadecimal digits follow stays as it is, as in `urllib.parse.unquote`.
#[must_use]
pub fn decode_path(path: &[u8]) -> Cow<'_, str> {
    if memchr::memchr(b'%', path).is_none() && path.is_ascii() {
        return String::from_utf8_lossy(path);
    }
    Cow::Owned(decode(path, false))
}

/// One name or value of a query string or form: as a path, and `+` is a space.
#[must_use]
pub fn decode_component(text: &[u8]) -> Cow<'_, str> {
    if memchr2(b'%', b'+', text).is_none() && text.is_ascii() {
        return String::from_utf8_lossy(text);
    }
    Cow::Owned(decode(text, true))
}

/// Decodes as Python does: bytes that were not encoded count as Latin-1 characters, and each run
/// of decoded bytes between them is one UTF-8 text.
fn decode(text: &[u8], plus_is_space: bool) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut run = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        match byte {
            b'+' if plus_is_space => run.push(b' '),
            b'%' => match hexadecimal_pair(&text[at..]) {
                Some(value) => {
                    run.push(value);
                    at += 2;
                }
                None => run.push(b'%'),
            },
            0x80.. => {
                decoded.push_str(&String::from_utf8_lossy(&run));
                run.clear();
                decoded.push(char::from(byte));
            }
            _ => run.push(byte),
        }
    }
    decoded.push_str(&String::from_utf8_lossy(&run));
    decoded
}

fn hexadecimal_pair(text: &[u8]) -> Option<u8> {
    let high = char::from(*text.first()?).to_digit(16)?;
    let low = char::from(*text.get(1)?).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use super::{decode_component, decode_path};

    #[test]
    fn paths() {
        for (encoded, expected) in [
            (&b"/plain"[..], "/plain"),
            (b"/a%20b+c", "/a b+c"),
            (b"/caf%C3%A9", "/café"),
            (b"/bad%zz%4", "/bad%zz%4"),
            (b"/half%C3", "/half\u{fffd}"),
            (b"/%2e%2E/x", "/../x"),
            (b"/%00", "/\0"),
        ] {
            assert_eq!(decode_path(encoded), expected);
        }
    }

    #[test]
    fn components() {
        assert_eq!(decode_component(b"a+b%2Bc"), "a b+c");
        assert_eq!(decode_component(b"plain"), "plain");
        assert_eq!(decode_component(b"\xe9%C3%A9"), "\u{e9}é");
    }
}
