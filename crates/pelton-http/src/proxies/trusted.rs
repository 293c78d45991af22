//! Which peers are proxies of ours.

use std::net::{IpAddr, Ipv6Addr};

/// Who is at the other end of a connection, or named by a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address of the network.
    Ip(IpAddr),
    /// A process of this machine, over a Unix socket.
    Unix,
}

/// Addresses and networks whose word is taken.
#[derive(Clone, Debug, Default)]
pub struct Trusted {
    everybody: bool,
    unix: bool,
    networks: Vec<Network>,
}

#[derive(Clone, Copy, Debug)]
struct Network {
    /// IPv4 as IPv6 with the prefix that maps it.
    bits: u128,
    mask: u128,
}

/// An entry that names no peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address, no network (10.0.0.0/8), not \"unix\" and not \"*\"")]
pub struct TrustedError(pub String);

impl Trusted {
    /// Reads a list of addresses, networks, `unix` for peers of Unix sockets, and `*` for everybody.
    ///
    /// # Errors
    /// The first entry that is none of these. A network whose address has bits beyond its prefix is
    /// an error too: it names something else than it says.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, TrustedError> {
        let mut trusted = Self::default();
        for entry in entries {
            match entry.trim() {
                "*" => trusted.everybody = true,
                "unix" => trusted.unix = true,
                text => {
                    let network = Network::parse(text).ok_or_else(|| TrustedError(entry.into()))?;
                    trusted.networks.push(network);
                }
            }
        }
        Ok(trusted)
    }

    /// Whether the list is empty: nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.everybody && !self.unix && self.networks.is_empty()
    }

    /// Whether a peer's word is taken.
    #[must_use]
    pub fn trusts(&self, peer: Peer) -> bool {
        self.everybody
            || match peer {
                Peer::Unix => self.unix,
                Peer::Ip(address) => {
                    let bits = bits_of(address);
                    self.networks.iter().any(|network| bits & network.mask == network.bits)
                }
            }
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u32 = match prefix {
            // `parse` would take a sign.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok()?
            }
            Some(_) => return None,
            None => width,
        };
        if prefix > width {
            return None;
        }
        let mask = u128::MAX.checked_shl(width - prefix).unwrap_or(0);
        let bits = bits_of(address);
        (bits & mask == bits).then_some(Self { bits, mask })
    }
}

/// An address as a number; IPv4 and the IPv6 form of it are the same.
fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// An address in its plain form: a client of a socket for both families is `::ffff:192.0.2.1`.
#[must_use]
pub(super) fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => plain(v6),
        v4 => v4,
    }
}

fn plain(v6: Ipv6Addr) -> IpAddr {
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusts(entries: &[&str], peer: &str) -> bool {
        let trusted = Trusted::parse(entries.iter().copied()).unwrap();
        trusted.trusts(Peer::Ip(peer.parse().unwrap()))
    }

    #[test]
    fn addresses_and_networks() {
        assert!(trusts(&["127.0.0.1"], "127.0.0.1"));
        assert!(!trusts(&["127.0.0.1"], "127.0.0.2"));
        assert!(trusts(&["10.0.0.0/8"], "10.255.0.1"));
        assert!(!trusts(&["10.0.0.0/8"], "11.0.0.0"));
        assert!(trusts(&["2001:db8::/32"], "2001:db8:1::5"));
        assert!(!trusts(&["2001:db8::/32"], "2001:db9::"));
        assert!(trusts(&["::1", " 192.0.2.7 "], "192.0.2.7"));
        assert!(trusts(&["0.0.0.0/0"], "198.51.100.1"));
        assert!(!trusts(&["0.0.0.0/0"], "2001:db8::1"));
        assert!(trusts(&["::/0"], "198.51.100.1"));
    }

    #[test]
    fn an_ipv4_address_in_ipv6_form_is_itself() {
        assert!(trusts(&["192.0.2.0/24"], "::ffff:192.0.2.9"));
        assert!(trusts(&["::ffff:192.0.2.9"], "192.0.2.9"));
    }

    #[test]
    fn unix_and_everybody() {
        let unix = Trusted::parse(["unix"]).unwrap();
        assert!(unix.trusts(Peer::Unix));
        assert!(!unix.trusts(Peer::Ip("127.0.0.1".parse().unwrap())));
        let everybody = Trusted::parse(["*"]).unwrap();
        assert!(everybody.trusts(Peer::Unix));
        assert!(everybody.trusts(Peer::Ip("203.0.113.5".parse().unwrap())));
        assert!(!Trusted::parse(["127.0.0.1"]).unwrap().trusts(Peer::Unix));
        assert!(Trusted::default().is_empty());
    }

    #[test]
    fn what_names_no_peer() {
        for entry in
            ["", "localhost", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/+8", "::/129", "1.2.3"]
        {
            assert_eq!(Trusted::parse([entry]).unwrap_err(), TrustedError(entry.into()));
        }
    }
}
