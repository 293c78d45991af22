//! Where a request came from: the connection's ends, and what trusted proxies say beyond them.

use std::net::SocketAddr;
use std::rc::Rc;

use pelton_http::Headers;
use pelton_http::proxies::{self, Peer};
use pyo3::prelude::*;

use crate::transport::native::NativeTransport;

use super::options::Options;
use super::tls::TlsSession;

/// The two ends of a connection.
pub(super) struct Addresses {
    /// `(host, port)` as scopes have it, or None.
    client: Py<PyAny>,
    server: Py<PyAny>,
    peer: Option<SocketAddr>,
    is_unix: bool,
    /// What its TLS handshake agreed on.
    pub(super) tls: Option<Rc<TlsSession>>,
}

/// Where one request came from.
pub(super) struct Origin<'a> {
    addresses: &'a Addresses,
    told: proxies::Origin,
}

impl Addresses {
    /// Those of a connection; without one nothing is known.
    pub(super) fn new(py: Python<'_>, transport: Option<&dyn NativeTransport>) -> PyResult<Self> {
        let peer = transport.and_then(NativeTransport::peer);
        let local = transport.and_then(NativeTransport::local);
        Ok(Self {
            client: pair(py, peer)?,
            server: pair(py, local)?,
            peer,
            is_unix: transport.is_some_and(NativeTransport::is_unix),
            tls: transport.and_then(NativeTransport::tls),
        })
    }

    /// Who is at the other end, for the list of trusted proxies.
    fn peer(&self) -> Option<Peer> {
        match self.peer {
            Some(peer) => Some(Peer::Ip(peer.ip())),
            None => self.is_unix.then_some(Peer::Unix),
        }
    }
}

impl<'a> Origin<'a> {
    /// Reads what a proxy says in the headers, if the peer is one that is trusted.
    pub(super) fn of(options: &Options, addresses: &'a Addresses, headers: &Headers) -> Self {
        let mut told = match (options.forwarded, addresses.peer()) {
            (Some(source), Some(peer)) => {
                proxies::origin(headers, source, &options.trusted_proxies, peer)
            }
            _ => proxies::Origin::default(),
        };
        if !options.forwarded_host {
            (told.host, told.port) = (None, None);
        }
        Self { addresses, told }
    }

    /// Whether the client came by TLS, to us or to its proxy.
    pub(super) fn is_secure(&self) -> bool {
        self.told.is_secure.unwrap_or(self.addresses.tls.is_some())
    }

    /// The host that the client asked its proxy for.
    pub(super) fn host(&self) -> Option<&str> {
        self.told.host.as_deref()
    }

    /// The client as scopes have it.
    pub(super) fn client(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if self.told.client.is_some() || self.told.is_client_hidden {
            return pair(py, self.told.client);
        }
        Ok(self.addresses.client.clone_ref(py))
    }

    /// What the client came to, as scopes have it.
    pub(super) fn server(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (name, port) = match &self.told.host {
            Some(host) => split_port(host),
            None => (None, None),
        };
        if name.is_none() && self.told.port.is_none() {
            return Ok(self.addresses.server.clone_ref(py));
        }
        let (own, own_port): (Option<String>, Option<u16>) =
            self.addresses.server.extract(py).unwrap_or_default();
        let usual = if self.is_secure() { 443 } else { 80 };
        let port = self.told.port.or(port).or(own_port.filter(|_| name.is_none())).unwrap_or(usual);
        let pair = (name.map(str::to_owned).or(own), port).into_pyobject(py)?;
        Ok(pair.into_any().unbind())
    }

    /// The client for people.
    pub(super) fn client_text(&self) -> String {
        let known = match (self.told.client, self.told.is_client_hidden) {
            (Some(client), _) if client.port() == 0 => return client.ip().to_string(),
            (Some(client), _) => Some(client),
            (None, true) => None,
            (None, false) => self.addresses.peer,
        };
        known.map_or_else(|| "-".to_owned(), |client| client.to_string())
    }
}

/// The name and the port of a `Host` value.
fn split_port(host: &str) -> (Option<&str>, Option<u16>) {
    let (name, port) = match host.rsplit_once(':') {
        // The colons of an IPv6 address are within brackets.
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
        _ => (host, None),
    };
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    (Some(name), port)
}

fn pair(py: Python<'_>, address: Option<SocketAddr>) -> PyResult<Py<PyAny>> {
    match address {
        Some(address) => {
            let pair = (address.ip().to_string(), address.port()).into_pyobject(py)?;
            Ok(pair.into_any().unbind())
        }
        None => Ok(py.None()),
    }
}
