//! A certificate's subject as RFC 4514 writes it: `CN=alice,O=Example`.

use std::fmt::Write as _;

use rustls::pki_types::CertificateDer;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// BMPString: two bytes a character.
const WIDE_STRING: u8 = 0x1e;
/// UTF8String, PrintableString, TeletexString and IA5String: as good as UTF-8.
const STRINGS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];

/// Attributes that have a short name (RFC 4514, section 3), by their identifier's DER.
const NAMES: [(&[u8], &str); 9] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
];

/// The subject of a certificate; `None` where it cannot be read.
pub(super) fn of(certificate: &[u8]) -> Option<String> {
    let certificate = CertificateDer::from(certificate);
    let parsed = webpki::EndEntityCert::try_from(&certificate).ok()?;
    let mut names = Vec::new();
    let mut rest = parsed.subject();
    while !rest.is_empty() {
        let (tag, set, after) = element(rest)?;
        if tag != SET {
            return None;
        }
        names.push(relative_name(set)?);
        rest = after;
    }
    // The most particular comes first in text, and last in the certificate.
    names.reverse();
    Some(names.join(","))
}

/// One part of a name; `+` joins what belongs together.
fn relative_name(mut set: &[u8]) -> Option<String> {
    let mut text = String::new();
    while !set.is_empty() {
        let (tag, pair, after) = element(set)?;
        let (kind_tag, kind, value) = element(pair)?;
        let (value_tag, value, _) = element(value)?;
        if tag != SEQUENCE || kind_tag != OBJECT_IDENTIFIER {
            return None;
        }
        if !text.is_empty() {
            text.push('+');
        }
        let short = NAMES.iter().find(|(identifier, _)| *identifier == kind);
        match (short, string(value_tag, value)) {
            (Some((_, name)), Some(value)) => {
                text.push_str(name);
                text.push('=');
                escape(&mut text, &value);
            }
            (_, value_text) => {
                text.push_str(&dotted(kind)?);
                text.push('=');
                match value_text {
                    Some(value) => escape(&mut text, &value),
                    None => write!(text, "#{}", hex(value)).ok()?,
                }
            }
        }
        set = after;
    }
    Some(text)
}

/// The next DER element: its tag, its content, and what follows.
fn element(data: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = data.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), &rest[2..]),
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

fn string(tag: u8, value: &[u8]) -> Option<String> {
    if STRINGS.contains(&tag) {
        return Some(String::from_utf8_lossy(value).into_owned());
    }
    if tag != WIDE_STRING {
        return None;
    }
    let units = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    Some(
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect(),
    )
}

/// Section 2.4: what has a meaning of its own, and spaces at both ends, get a backslash.
fn escape(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        let at_end = index == 0 || index == last;
        match character {
            '\0' => text.push_str("\\00"),
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', character]),
            '#' if index == 0 => text.push_str("\\#"),
            ' ' if at_end => text.push_str("\\ "),
            other => text.push(other),
        }
    }
}

fn dotted(identifier: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut value: u64 = 0;
    for &byte in identifier {
        value = value.checked_mul(128)? + u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if text.is_empty() {
            let first = (value / 40).min(2);
            write!(text, "{first}.{}", value - first * 40).ok()?;
        } else {
            write!(text, ".{value}").ok()?;
        }
        value = 0;
    }
    Some(text)
}

fn hex(data: &[u8]) -> String {
    data.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
