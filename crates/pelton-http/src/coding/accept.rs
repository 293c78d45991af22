//! `Accept-Encoding` (RFC 9110, 12.5.3).

use super::Coding;

/// The coding for a client with these `accept-encoding` headers: the one it weighs highest, of
/// equal ones the first of `offered`. `None`: none, or it likes the content better as it is.
#[must_use]
pub fn negotiate<'h>(
    headers: impl Iterator<Item = &'h [u8]>,
    offered: &[Coding],
) -> Option<Coding> {
    let mut weights = vec![None; offered.len()];
    let mut any = None;
    let mut identity = None;
    for header in headers {
        for item in header.split(|byte| *byte == b',') {
            let Some((name, weight)) = parse(item) else { continue };
            if name == b"*" {
                any = Some(weight);
            } else if name.eq_ignore_ascii_case(b"identity") {
                identity = Some(weight);
            } else if let Some(coding) = Coding::named(name)
                && let Some(at) = offered.iter().position(|offer| *offer == coding)
            {
                weights[at] = Some(weight);
            }
        }
    }
    let mut best = None;
    for (coding, weight) in offered.iter().zip(weights) {
        let weight = weight.or(any).unwrap_or(0);
        if weight > best.map_or(0, |(_, best)| best) {
            best = Some((*coding, weight));
        }
    }
    // Unmentioned, the content as it is would do, but is not preferred.
    best.filter(|(_, weight)| *weight >= identity.unwrap_or(0)).map(|(coding, _)| coding)
}

/// A coding and its weight in thousandths; `None` for what is malformed.
fn parse(item: &[u8]) -> Option<(&[u8], u16)> {
    let mut pieces = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let name = pieces.next().filter(|name| !name.is_empty())?;
    let Some(parameter) = pieces.next() else { return Some((name, 1000)) };
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    if pieces.next().is_some() {
        return None;
    }
    Some((name, weight(value)?))
}

/// `0`, `1`, or one of them with up to three digits behind the point.
fn weight(value: &[u8]) -> Option<u16> {
    let (whole, fraction) = match value {
        [whole @ (b'0' | b'1')] => (*whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', fraction @ ..] if fraction.len() <= 3 => (*whole, fraction),
        _ => return None,
    };
    let mut weight = u16::from(whole - b'0') * 1000;
    for (digit, worth) in fraction.iter().zip([100, 10, 1]) {
        weight += u16::from(char::from(*digit).to_digit(10)? as u8) * worth;
    }
    (weight <= 1000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::negotiate;
    use crate::coding::Coding::{self, Brotli, Gzip, Zstd};

    #[test]
    fn what_clients_say() {
        let all = [Zstd, Brotli, Gzip];
        let cases: [(&str, &[Coding], Option<Coding>); 24] = [
            ("", &all, None),
            ("gzip", &all, Some(Gzip)),
            ("GZip, deflate, br", &all, Some(Brotli)),
            ("gzip, deflate, br, zstd", &all, Some(Zstd)),
            ("gzip, br", &[Gzip, Brotli], Some(Gzip)),
            ("br;q=0.9, gzip;q=1.0", &all, Some(Gzip)),
            ("br; q=0.8, gzip ;q=0.85", &all, Some(Gzip)),
            ("br;q=0, gzip;q=0.001", &all, Some(Gzip)),
            ("gzip;q=0", &all, None),
            ("*", &all, Some(Zstd)),
            ("*;q=0", &all, None),
            ("zstd;q=0, *;q=0.5", &all, Some(Brotli)),
            ("gzip;q=0.5, *;q=0.1", &all, Some(Gzip)),
            ("identity", &all, None),
            ("identity, gzip", &all, Some(Gzip)),
            ("identity;q=1, gzip;q=0.5", &all, None),
            ("identity;q=0.5, gzip;q=0.5", &all, Some(Gzip)),
            ("identity;q=0, gzip;q=0.1", &all, Some(Gzip)),
            ("gzip;q=1.1, br;q=2", &all, None),
            ("gzip;q=0.1234, br;q=x", &all, None),
            ("gzip;level=9", &all, None),
            ("gzip;q=0.5;x=1, br", &all, Some(Brotli)),
            (", ,gzip,", &all, Some(Gzip)),
            ("x-gzip", &[Gzip], Some(Gzip)),
        ];
        for (header, offered, expected) in cases {
            let found = negotiate(std::iter::once(header.as_bytes()), offered);
            assert_eq!(found, expected, "{header}");
        }
        let two = [&b"gzip;q=0.5"[..], b"br"];
        assert_eq!(negotiate(two.into_iter(), &all), Some(Brotli));
    }
}
