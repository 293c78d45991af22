//! `X-Forwarded-*` and `Forwarded`: where a request came from, as trusted proxies tell it.

use std::net::{IpAddr, SocketAddr};

use crate::{Headers, decimal};

use super::trusted::{Peer, Trusted, canonical};

/// Entries of a chain that are looked at, from the right; there are no longer chains of proxies that
/// one trusts.
const HOPS_MAX: usize = 32;
/// Longer values are no host names.
const HOST_MAX: usize = 255;

/// Which headers the proxies set. Exactly one family: a proxy passes on what it does not know, so
/// that the other one is the client's to forge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `X-Forwarded-For`, `-Proto`, `-Host` and `-Port`.
    XForwarded,
    /// `Forwarded` of RFC 7239.
    Forwarded,
}

/// What is known of a request's client; nothing where no trusted proxy said it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The client's address; the port is 0 where it was not told.
    pub client: Option<SocketAddr>,
    /// The client is known not to be the peer, but not who it is: it was hidden, or unreadable.
    pub is_client_hidden: bool,
    /// Whether the client came by TLS.
    pub is_secure: Option<bool>,
    /// The host that the client asked for, with the port where it said one.
    pub host: Option<String>,
    /// The port that the client came to.
    pub port: Option<u16>,
}

/// Reads what the proxies between the client and `peer` said. If `peer` is not trusted they said
/// nothing.
///
/// The client is the rightmost address that is not itself a trusted proxy's: what is left of it may
/// be forged. Where all are trusted, it is the leftmost. Several header lines are one list. An entry
/// that cannot be read ends the search: the client is then hidden.
#[must_use]
pub fn origin(headers: &Headers, source: Source, trusted: &Trusted, peer: Peer) -> Origin {
    if !trusted.trusts(peer) {
        return Origin::default();
    }
    match source {
        Source::XForwarded => from_x_forwarded(headers, trusted),
        Source::Forwarded => from_forwarded(headers, trusted),
    }
}

fn from_x_forwarded(headers: &Headers, trusted: &Trusted) -> Origin {
    let mut found = Origin::default();
    let chain = entries(headers, b"x-forwarded-for");
    let steps = client_of(chain.iter().rev().map(|entry| node(entry)), trusted, &mut found);
    let count = chain.len();
    // Proxies that append to all lists keep them in step; one that sets a value replaces them, and
    // then there is one, or what the nearest proxy says is the last.
    let beside = |name: &[u8]| {
        let values = entries(headers, name);
        let index = match steps {
            Some(steps) if values.len() == count => count - 1 - steps,
            _ => values.len().checked_sub(1)?,
        };
        values.get(index).map(|value| (*value).to_owned())
    };
    found.is_secure = beside(b"x-forwarded-proto").and_then(|value| is_secure(&value));
    found.host = beside(b"x-forwarded-host").and_then(|value| host(&value));
    found.port = beside(b"x-forwarded-port").and_then(|value| port(&value));
    found
}

fn from_forwarded(headers: &Headers, trusted: &Trusted) -> Origin {
    let mut found = Origin::default();
    let mut elements = Vec::new();
    for value in headers.get_all(b"forwarded") {
        match parse_elements(value) {
            Some(more) => elements.extend(more),
            // Nobody can say which part of it a proxy wrote.
            None => return found,
        }
    }
    let nodes = elements
        .iter()
        .rev()
        .map(|element| element.client.as_deref().and_then(|value| node(value.as_bytes())));
    let Some(steps) = client_of(nodes, trusted, &mut found) else { return found };
    // What the outermost trusted proxy saw: it wrote the client's element.
    let element = &elements[elements.len() - 1 - steps];
    found.is_secure = element.proto.as_deref().and_then(|value| is_secure(value.as_bytes()));
    found.host = element.host.as_deref().and_then(|value| host(value.as_bytes()));
    found
}

/// Goes from the nearest hop to the client, and notes who that is. How many hops lie between; `None`
/// where there is no chain.
fn client_of(
    nodes: impl Iterator<Item = Option<SocketAddr>>,
    trusted: &Trusted,
    found: &mut Origin,
) -> Option<usize> {
    let mut steps = None;
    for (index, node) in nodes.take(HOPS_MAX).enumerate() {
        steps = Some(index);
        let Some(address) = node else {
            found.client = None;
            found.is_client_hidden = true;
            break;
        };
        found.client = Some(address);
        if !trusted.trusts(Peer::Ip(address.ip())) {
            break;
        }
    }
    steps
}

/// The entries of all lines of a list header, in order, without empty ones.
fn entries<'a>(headers: &'a Headers, name: &'a [u8]) -> Vec<&'a [u8]> {
    headers
        .get_all(name)
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|entry| !entry.is_empty())
        .collect()
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn node(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(canonical(address), 0));
    }
    let (host, rest) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => text.split_at(text.find(':')?),
    };
    let port = match rest.strip_prefix(':') {
        Some(digits) => port(digits.as_bytes())?,
        None if rest.is_empty() => 0,
        None => return None,
    };
    let address: IpAddr = host.parse().ok()?;
    (address.is_ipv6() == text.starts_with('[')).then(|| SocketAddr::new(canonical(address), port))
}

fn port(text: &[u8]) -> Option<u16> {
    decimal::parse(text).and_then(|port| u16::try_from(port).ok())
}

fn is_secure(text: &[u8]) -> Option<bool> {
    if text.eq_ignore_ascii_case(b"https") || text.eq_ignore_ascii_case(b"wss") {
        Some(true)
    } else if text.eq_ignore_ascii_case(b"http") || text.eq_ignore_ascii_case(b"ws") {
        Some(false)
    } else {
        None
    }
}

/// A host, with or without a port, of the characters that one can have.
fn host(text: &[u8]) -> Option<String> {
    let possible = !text.is_empty()
        && text.len() <= HOST_MAX
        && text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]%~!$&'()*+;=".contains(byte));
    possible.then(|| String::from_utf8_lossy(text).into_owned())
}

/// One element of `Forwarded`: what a proxy said about the hop before it.
#[derive(Default)]
struct Element {
    client: Option<String>,
    proto: Option<String>,
    host: Option<String>,
}

/// Reads a line of `Forwarded`; `None` for what its grammar does not have, or a parameter twice.
fn parse_elements(line: &[u8]) -> Option<Vec<Element>> {
    let mut elements = Vec::new();
    let mut element = Element::default();
    let mut is_empty = true;
    let mut rest = line.trim_ascii();
    loop {
        if let [b',' | b';', ..] | [] = rest {
            let ends_element = rest.first() != Some(&b';');
            if ends_element && !is_empty {
                elements.push(std::mem::take(&mut element));
                is_empty = true;
            }
            match rest {
                [] => return Some(elements),
                [_, more @ ..] => rest = more.trim_ascii_start(),
            }
            continue;
        }
        let (name, after) = token(rest)?;
        let [b'=', after @ ..] = after else { return None };
        let (value, after) = match after {
            [b'"', quoted @ ..] => quoted_string(quoted)?,
            plain => token(plain).map(|(value, after)| (value.to_owned(), after))?,
        };
        is_empty = false;
        let field = if name.eq_ignore_ascii_case("for") {
            Some(&mut element.client)
        } else if name.eq_ignore_ascii_case("proto") {
            Some(&mut element.proto)
        } else if name.eq_ignore_ascii_case("host") {
            Some(&mut element.host)
        } else {
            None
        };
        if let Some(field) = field
            && field.replace(value).is_some()
        {
            return None;
        }
        rest = after.trim_ascii_start();
        if !matches!(rest, [] | [b',' | b';', ..]) {
            return None;
        }
    }
}

/// A token of RFC 9110 and what follows it.
fn token(text: &[u8]) -> Option<(&str, &[u8])> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let length = text.iter().take_while(|byte| is_token(byte)).count();
    let (token, rest) = text.split_at(length);
    let token = std::str::from_utf8(token).ok()?;
    (!token.is_empty()).then_some((token, rest))
}

/// What is within quotes, the first of which is gone, and what follows them.
fn quoted_string(text: &[u8]) -> Option<(String, &[u8])> {
    let mut value = Vec::new();
    let mut bytes = text.iter().enumerate();
    while let Some((index, &byte)) = bytes.next() {
        match byte {
            b'"' => return Some((String::from_utf8(value).ok()?, &text[index + 1..])),
            b'\\' => value.push(*bytes.next()?.1),
            b'\t' | b' '..=b'~' => value.push(byte),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Peer = Peer::Ip(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)));

    fn judged(source: Source, lines: &[(&str, &str)]) -> Origin {
        let mut headers = Headers::default();
        for (name, value) in lines {
            headers.push(name.as_bytes(), value.as_bytes());
        }
        let trusted = Trusted::parse(["10.0.0.0/8", "2001:db8::/32"]).unwrap();
        origin(&headers, source, &trusted, PEER)
    }

    fn client(source: Source, lines: &[(&str, &str)]) -> Option<String> {
        judged(source, lines).client.map(|address| address.to_string())
    }

    fn x_for(value: &str) -> Option<String> {
        client(Source::XForwarded, &[("x-forwarded-for", value)])
    }

    #[test]
    fn the_rightmost_address_that_is_not_trusted() {
        assert_eq!(x_for("192.0.2.1").as_deref(), Some("192.0.2.1:0"));
        assert_eq!(x_for("6.6.6.6, 192.0.2.1").as_deref(), Some("192.0.2.1:0"));
        assert_eq!(x_for("6.6.6.6, 192.0.2.1, 10.1.1.1").as_deref(), Some("192.0.2.1:0"));
        assert_eq!(x_for("10.2.2.2, 10.1.1.1").as_deref(), Some("10.2.2.2:0"));
        assert_eq!(x_for("192.0.2.1:4711,2001:db8::5").as_deref(), Some("192.0.2.1:4711"));
        assert_eq!(x_for("[2001:dead::1]:80").as_deref(), Some("[2001:dead::1]:80"));
        assert_eq!(x_for("::ffff:192.0.2.1").as_deref(), Some("192.0.2.1:0"));
        assert_eq!(x_for(" , ,"), None);
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1, 10.1.1.1")];
        assert_eq!(client(Source::XForwarded, &lines).as_deref(), Some("192.0.2.1:0"));
    }

    #[test]
    fn what_cannot_be_read_hides_the_client() {
        for value in
            ["6.6.6.6, nonsense", "1.2.3", "1.2.3.4:x", "2001:db8::1]", "[1.2.3.4]", "[::1]80"]
        {
            let judged = judged(Source::XForwarded, &[("x-forwarded-for", value)]);
            assert_eq!((judged.client, judged.is_client_hidden), (None, true), "{value}");
        }
        // A trusted hop on this side of it does not become the client.
        let hidden = judged(Source::XForwarded, &[("x-forwarded-for", "unknown, 10.1.1.1")]);
        assert_eq!((hidden.client, hidden.is_client_hidden), (None, true));
    }

    #[test]
    fn a_peer_that_is_not_trusted_says_nothing() {
        let mut headers = Headers::default();
        headers.push(b"x-forwarded-for", b"192.0.2.1");
        headers.push(b"x-forwarded-proto", b"https");
        let trusted = Trusted::parse(["127.0.0.1"]).unwrap();
        assert_eq!(origin(&headers, Source::XForwarded, &trusted, PEER), Origin::default());
        let everybody = Trusted::parse(["*"]).unwrap();
        let judged = origin(&headers, Source::XForwarded, &everybody, Peer::Unix);
        assert_eq!(judged.is_secure, Some(true));
    }

    #[test]
    fn proto_host_and_port_go_with_the_client() {
        let lines = [
            ("x-forwarded-for", "192.0.2.1, 10.1.1.1"),
            ("x-forwarded-proto", "https, http"),
            ("x-forwarded-host", "shop.example:8443"),
            ("x-forwarded-port", "8443"),
        ];
        let judged = judged(Source::XForwarded, &lines);
        assert_eq!(judged.is_secure, Some(true));
        assert_eq!(judged.host.as_deref(), Some("shop.example:8443"));
        assert_eq!(judged.port, Some(8443));
    }

    #[test]
    fn the_last_value_wins_where_lists_differ_in_length() {
        let lines = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "evil.example/path"),
            ("x-forwarded-port", "65536"),
        ];
        let judged = judged(Source::XForwarded, &lines);
        assert_eq!((judged.is_secure, judged.host, judged.port), (Some(false), None, None));
    }

    #[test]
    fn forwarded() {
        let line = "for=6.6.6.6;proto=http, For=\"[2001:dead::7]:4711\" ; Proto=https;host=a.example, \
                    for=10.1.1.1;by=10.0.0.1";
        let judged = judged(Source::Forwarded, &[("forwarded", line)]);
        assert_eq!(judged.client.unwrap().to_string(), "[2001:dead::7]:4711");
        assert_eq!(judged.is_secure, Some(true));
        assert_eq!(judged.host.as_deref(), Some("a.example"));
    }

    #[test]
    fn hidden_and_malformed_forwarded() {
        for value in ["for=_hidden", "for=unknown", "proto=https", "for=\"192.0.2.1:_port\""] {
            let judged = judged(Source::Forwarded, &[("forwarded", value)]);
            assert_eq!((judged.client, judged.is_client_hidden), (None, true), "{value}");
        }
        for value in ["for", "for=", "for=a b", "=a", "for=\"192.0.2.1", "for=1.1.1.1;for=2.2.2.2"]
        {
            assert_eq!(
                judged(Source::Forwarded, &[("forwarded", value)]),
                Origin::default(),
                "{value}"
            );
        }
        // The other family says nothing.
        assert_eq!(client(Source::Forwarded, &[("x-forwarded-for", "192.0.2.1")]), None);
    }
}
