//! The static table of RFC 7541, appendix A.

/// Index 1 is the first.
pub(super) const ENTRIES: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

/// The index of a name that a response may have.
///
/// By length first: most names that are not here are found out by that.
pub(super) fn name_index(name: &[u8]) -> Option<usize> {
    let candidates: &[usize] = match name.len() {
        3 => &[21, 60],
        4 => &[33, 34, 45, 59],
        5 => &[22],
        6 => &[54],
        7 => &[36, 52],
        8 => &[46],
        10 => &[55],
        11 => &[53],
        12 => &[31],
        13 => &[18, 24, 30, 44],
        14 => &[28],
        16 => &[26, 27, 29, 61],
        18 => &[48],
        19 => &[25],
        25 => &[56],
        27 => &[20],
        _ => return None,
    };
    candidates.iter().copied().find(|index| ENTRIES[index - 1].0 == name)
}

#[cfg(test)]
mod tests {
    use super::{ENTRIES, name_index};

    #[test]
    fn names_of_responses_are_found() {
        let requests_only = [
            &b":authority"[..],
            b":method",
            b":path",
            b":scheme",
            b":status",
            b"accept",
            b"accept-charset",
            b"accept-encoding",
            b"accept-language",
            b"authorization",
            b"cookie",
            b"expect",
            b"from",
            b"host",
            b"if-match",
            b"if-modified-since",
            b"if-none-match",
            b"if-range",
            b"if-unmodified-since",
            b"max-forwards",
            b"proxy-authorization",
            b"range",
            b"referer",
            b"transfer-encoding",
            b"user-agent",
        ];
        for (at, (name, _)) in ENTRIES.iter().enumerate() {
            let expected = (!requests_only.contains(name)).then_some(at + 1);
            assert_eq!(name_index(name), expected, "{}", String::from_utf8_lossy(name));
        }
        assert_eq!(name_index(b"x-own"), None);
    }
}
