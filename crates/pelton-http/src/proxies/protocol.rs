//! The PROXY protocol, versions 1 and 2: what a proxy writes before the client's first byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::decimal;

use super::trusted::canonical;

/// The longest header that is read: version 2 with some TLVs. Version 1 has 107 bytes at most.
pub const HEADER_MAX: usize = 4096;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const LINE_MAX: usize = 107;
const FIXED: usize = 16;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The client's address and the one it came to; `None` where the proxy speaks for itself (its
    /// health checks do) or over something else than TCP.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// The header's length: what follows is the client's.
    pub length: usize,
}

/// What is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// It begins with something else.
    #[error("no PROXY header at the beginning")]
    Missing,
    /// A version 1 line that breaks its grammar, or is too long.
    #[error("a malformed PROXY line")]
    Line,
    /// A version 2 header of an unknown version, command, or with too few bytes for its addresses.
    #[error("a malformed binary PROXY header")]
    Binary,
    /// A version 2 header above [`HEADER_MAX`].
    #[error("a PROXY header of {0} bytes")]
    TooLong(usize),
}

impl ProxyHeader {
    /// Reads the header at the beginning of `data`; `None` while more of it has to come.
    ///
    /// # Errors
    /// As soon as it can be no header any more.
    pub fn parse(data: &[u8]) -> Result<Option<Self>, ProxyError> {
        if begins(data, SIGNATURE) {
            parse_binary(data)
        } else if begins(data, b"PROXY ") {
            parse_line(data)
        } else {
            Err(ProxyError::Missing)
        }
    }
}

/// Whether `data` begins with `start`, or could, once there is more.
fn begins(data: &[u8], start: &[u8]) -> bool {
    let known = data.len().min(start.len());
    data[..known] == start[..known]
}

fn parse_line(data: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    let searched = &data[..data.len().min(LINE_MAX)];
    let Some(end) = searched.windows(2).position(|pair| pair == b"\r\n") else {
        return if data.len() >= LINE_MAX { Err(ProxyError::Line) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&data[..end]).map_err(|_| ProxyError::Line)?;
    let length = end + 2;
    let mut words = line.split(' ');
    // "PROXY", which was compared.
    words.next();
    let family = words.next();
    if family == Some("UNKNOWN") {
        // Whatever follows is to be ignored.
        return Ok(Some(ProxyHeader { addresses: None, length }));
    }
    let mut next = || words.next().ok_or(ProxyError::Line);
    let (source, target, from, to) = (next()?, next()?, next()?, next()?);
    if words.next().is_some() {
        return Err(ProxyError::Line);
    }
    let address = |text: &str| -> Result<IpAddr, ProxyError> {
        let parsed = match family {
            Some("TCP4") => text.parse().map(IpAddr::V4).ok(),
            Some("TCP6") => text.parse().map(IpAddr::V6).ok(),
            _ => None,
        };
        parsed.map(canonical).ok_or(ProxyError::Line)
    };
    let client = SocketAddr::new(address(source)?, port(from)?);
    let server = SocketAddr::new(address(target)?, port(to)?);
    Ok(Some(ProxyHeader { addresses: Some((client, server)), length }))
}

fn port(text: &str) -> Result<u16, ProxyError> {
    let port = decimal::parse(text.as_bytes()).and_then(|port| u16::try_from(port).ok());
    port.ok_or(ProxyError::Line)
}

fn parse_binary(data: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    let Some(head) = data.first_chunk::<FIXED>() else { return Ok(None) };
    let [.., command, family, high, low] = *head;
    if command >> 4 != 2 {
        return Err(ProxyError::Binary);
    }
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > HEADER_MAX {
        return Err(ProxyError::TooLong(length));
    }
    let Some(rest) = data.get(FIXED..length) else { return Ok(None) };
    let addresses = match (command & 0xf, family) {
        // LOCAL: the proxy itself; whatever addresses there are do not matter.
        (0, _) => None,
        (1, 0x11) => Some(v4_pair(rest)?),
        (1, 0x21) => Some(v6_pair(rest)?),
        // Unspecified, datagrams and Unix sockets.
        (1, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => None,
        _ => return Err(ProxyError::Binary),
    };
    Ok(Some(ProxyHeader { addresses, length }))
}

fn v4_pair(data: &[u8]) -> Result<(SocketAddr, SocketAddr), ProxyError> {
    let [a, b, c, d, e, f, g, h, from, from_low, to, to_low] =
        *data.first_chunk::<12>().ok_or(ProxyError::Binary)?;
    let client =
        SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([from, from_low]));
    let server =
        SocketAddr::new(Ipv4Addr::new(e, f, g, h).into(), u16::from_be_bytes([to, to_low]));
    Ok((client, server))
}

fn v6_pair(data: &[u8]) -> Result<(SocketAddr, SocketAddr), ProxyError> {
    let data = data.first_chunk::<36>().ok_or(ProxyError::Binary)?;
    let address = |from: usize| {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&data[from..from + 16]);
        canonical(Ipv6Addr::from(bytes).into())
    };
    let port = |from: usize| u16::from_be_bytes([data[from], data[from + 1]]);
    Ok((SocketAddr::new(address(0), port(32)), SocketAddr::new(address(16), port(34))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut data = SIGNATURE.to_vec();
        data.extend([command, family]);
        data.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        data.extend(rest);
        data
    }

    fn texts(header: ProxyHeader) -> Option<(String, String)> {
        header.addresses.map(|(client, server)| (client.to_string(), server.to_string()))
    }

    /// Parses the header however it is cut: before its end there is nothing, then always the same.
    fn parse_cut(data: &[u8]) -> ProxyHeader {
        let whole = ProxyHeader::parse(data).unwrap().unwrap();
        for length in 0..data.len() {
            let expected = (length >= whole.length).then_some(whole);
            assert_eq!(ProxyHeader::parse(&data[..length]), Ok(expected), "cut at {length}");
        }
        whole
    }

    #[test]
    fn lines() {
        let header = parse_cut(b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nGET /");
        assert_eq!(header.length, 45);
        assert_eq!(texts(header).unwrap(), ("192.0.2.1:56324".into(), "198.51.100.2:443".into()));
        let header = parse_cut(b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 1 65535\r\n");
        assert_eq!(texts(header).unwrap(), ("[2001:db8::1]:1".into(), "192.0.2.1:65535".into()));
        assert_eq!(parse_cut(b"PROXY UNKNOWN\r\nx").addresses, None);
        assert_eq!(parse_cut(b"PROXY UNKNOWN any thing at all\r\n").addresses, None);
    }

    #[test]
    fn malformed_lines() {
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
            "PROXY TCP4 2001:db8::1 198.51.100.2 1 2\r\n",
            "PROXY TCP5 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1  198.51.100.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 \r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(ProxyHeader::parse(line.as_bytes()), Err(ProxyError::Line), "{line}");
        }
        let endless = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
        assert_eq!(ProxyHeader::parse(&endless), Err(ProxyError::Line));
    }

    #[test]
    fn binary_headers() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 4, 1, 0xbb, 4, 0, 1, 9];
        let header = parse_cut(&binary(0x21, 0x11, &v4));
        assert_eq!(header.length, 32);
        assert_eq!(texts(header).unwrap(), ("192.0.2.1:56324".into(), "198.51.100.2:443".into()));
        let mut v6 = vec![0x20, 1, 0xd, 0xb8];
        v6.extend([0; 11]);
        v6.push(1);
        v6.extend(std::net::Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped().octets());
        v6.extend([0, 80, 0, 81]);
        let header = parse_cut(&binary(0x21, 0x21, &v6));
        assert_eq!(texts(header).unwrap(), ("[2001:db8::1]:80".into(), "192.0.2.7:81".into()));
        assert_eq!(parse_cut(&binary(0x20, 0x11, &v4)).addresses, None);
        assert_eq!(parse_cut(&binary(0x20, 0, b"")).addresses, None);
        assert_eq!(parse_cut(&binary(0x21, 0x31, &[0; 216])).addresses, None);
    }

    #[test]
    fn malformed_binary_headers() {
        for data in [
            binary(0x11, 0x11, &[0; 12]),
            binary(0x22, 0x11, &[0; 12]),
            binary(0x21, 0x41, &[0; 12]),
            binary(0x21, 0x11, &[0; 11]),
            binary(0x21, 0x21, &[0; 35]),
        ] {
            assert_eq!(ProxyHeader::parse(&data), Err(ProxyError::Binary), "{data:?}");
        }
        let long = binary(0x21, 0x11, &[0; HEADER_MAX]);
        assert_eq!(ProxyHeader::parse(&long), Err(ProxyError::TooLong(HEADER_MAX + FIXED)));
    }

    #[test]
    fn something_else() {
        for data in [&b"GET / HTTP/1.1\r\n"[..], b"PROXYTCP4", b"\r\n\r\nGET", b"\x16\x03\x01"] {
            assert_eq!(ProxyHeader::parse(data), Err(ProxyError::Missing), "{data:?}");
        }
    }
}
