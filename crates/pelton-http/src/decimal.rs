//! Decimal numbers of headers.

/// The number's digits, in `place`.
pub(crate) fn digits(mut value: u64, place: &mut [u8; 20]) -> &[u8] {
    let mut at = place.len();
    loop {
        at -= 1;
        place[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    &place[at..]
}

/// The number that these bytes are: digits and nothing else.
///
/// RFC 9110 allows zeros in front (`1*DIGIT`). Nobody writes them, and readers do not agree on them:
/// some take such a number for an octal one, so that a proxy and we would see different bodies. They
/// are refused, from clients as from applications, in every version of HTTP.
pub(crate) fn parse(text: &[u8]) -> Option<u64> {
    let digits = match text {
        [] | [b'0', _, ..] => false,
        _ => text.iter().all(u8::is_ascii_digit),
    };
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// Appends the number's digits.
pub(crate) fn write(output: &mut Vec<u8>, value: u64) {
    output.extend_from_slice(digits(value, &mut [0; 20]));
}

#[cfg(test)]
mod tests {
    use super::{digits, parse, write};

    #[test]
    fn both_ways() {
        for value in [0, 7, 10, 65_535, u64::MAX] {
            let mut place = [0; 20];
            let text = digits(value, &mut place);
            assert_eq!(text, value.to_string().as_bytes());
            assert_eq!(parse(text), Some(value));
        }
        let wrong = [&b""[..], b"+1", b"-1", b" 1", b"1 ", b"0x1", b"007", b"00", b"1_0"];
        for text in wrong.into_iter().chain([&b"18446744073709551616"[..]]) {
            assert_eq!(parse(text), None, "{text:?}");
        }
        let mut output = b"length: ".to_vec();
        write(&mut output, 1200);
        assert_eq!(output, b"length: 1200");
    }
}
