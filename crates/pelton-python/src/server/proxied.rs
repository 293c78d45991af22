//! Connections that begin with the PROXY protocol: the header is taken off, and the addresses are
//! those that it tells.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use pelton_http::proxies::{Peer, ProxyHeader, Trusted};
use pyo3::prelude::*;

use crate::transport::native::{NativeFactory, NativeProtocol, NativeTransport};

use super::ends::Ends;
use super::link::peer_text;
use super::lobby::Lobby;

/// A factory of connections that say for whom they come first; those of `above` are made after that.
/// Peers that are not trusted are turned away: their word would be taken for the client's address.
pub(super) fn proxied(
    trusted: Rc<Trusted>,
    lobby: Rc<Lobby>,
    above: NativeFactory,
) -> NativeFactory {
    Rc::new(move |_| {
        let layer = Rc::new_cyclic(|me| Proxied {
            trusted: trusted.clone(),
            lobby: lobby.clone(),
            above: above.clone(),
            ends: Ends::default(),
            header: RefCell::default(),
            told: OnceCell::new(),
            ended: Cell::new(false),
            me: me.clone(),
        });
        Ok(layer as Rc<dyn NativeProtocol>)
    })
}

/// The protocol of the socket's connection, and the transport of the one above.
struct Proxied {
    trusted: Rc<Trusted>,
    lobby: Rc<Lobby>,
    above: NativeFactory,
    ends: Ends,
    /// The header, as far as it has come; the parser limits it.
    header: RefCell<Vec<u8>>,
    /// The client's address and the one that it came to; None where the proxy speaks for itself.
    told: OnceCell<Option<(SocketAddr, SocketAddr)>>,
    ended: Cell<bool>,
    me: Weak<Self>,
}

impl Proxied {
    fn refuse(&self, py: Python<'_>, why: &str) {
        self.ended.set(true);
        let Some(lower) = self.ends.lower() else { return };
        let peer = peer_text(Some(&*lower));
        self.lobby.note_failure(py, &format!("closed the connection of {peer}: {why}"));
        lower.abort(py);
    }

    /// Takes more of the header; with its end the protocol above begins.
    fn read_header(&self, py: Python<'_>, data: &[u8]) {
        let mut header = self.header.take();
        header.extend_from_slice(data);
        match ProxyHeader::parse(&header) {
            Ok(None) => *self.header.borrow_mut() = header,
            Ok(Some(parsed)) => {
                let _ = self.told.set(parsed.addresses);
                self.ends.leave_lobby();
                let Some(me) = self.me.upgrade() else { return };
                match (self.above)(py) {
                    Ok(upper) => {
                        self.ends.begin(py, upper.clone(), me);
                        // It may have closed when it was made.
                        if header.len() > parsed.length && !self.ended.get() {
                            upper.data_received(py, &header[parsed.length..]);
                        }
                    }
                    Err(error) => {
                        error.write_unraisable(py, None);
                        self.abort(py);
                    }
                }
            }
            Err(error) => self.refuse(py, &error.to_string()),
        }
    }
}

impl NativeProtocol for Proxied {
    fn name(&self) -> &'static str {
        "PROXY connection"
    }

    fn connection_made(&self, py: Python<'_>, transport: Rc<dyn NativeTransport>) {
        let peer = match transport.peer() {
            Some(peer) => Some(Peer::Ip(peer.ip())),
            None => transport.is_unix().then_some(Peer::Unix),
        };
        self.ends.connect(transport);
        if peer.is_some_and(|peer| self.trusted.trusts(peer)) {
            self.ends.wait(py, &self.lobby);
        } else {
            self.refuse(py, "it is none of the trusted proxies");
        }
    }

    fn data_received(&self, py: Python<'_>, data: &[u8]) {
        match self.ends.upper() {
            _ if self.ended.get() => {}
            Some(upper) => upper.data_received(py, data),
            None => self.read_header(py, data),
        }
    }

    fn eof_received(&self, py: Python<'_>) -> bool {
        self.ends.upper().is_some_and(|upper| upper.eof_received(py))
    }

    fn pause_writing(&self, py: Python<'_>) {
        self.ends.set_writing(py, false);
    }

    fn resume_writing(&self, py: Python<'_>) {
        self.ends.set_writing(py, true);
    }

    fn connection_lost(&self, py: Python<'_>, error: Option<io::Error>) {
        self.ended.set(true);
        self.ends.lose(py, error);
    }

    fn abandoned(&self, py: Python<'_>) {
        self.ends.abandon(py);
    }
}

impl NativeTransport for Proxied {
    fn below(&self) -> Option<Rc<dyn NativeTransport>> {
        self.ends.lower()
    }

    fn write(&self, py: Python<'_>, data: &[u8]) {
        if let Some(lower) = self.ends.lower() {
            lower.write(py, data);
        }
    }

    fn close(&self, py: Python<'_>) {
        self.ended.set(true);
        if let Some(lower) = self.ends.lower() {
            lower.close(py);
        }
    }

    fn abort(&self, py: Python<'_>) {
        self.ended.set(true);
        if let Some(lower) = self.ends.lower() {
            lower.abort(py);
        }
    }

    fn peer(&self) -> Option<SocketAddr> {
        match self.told.get() {
            Some(Some((client, _))) => Some(*client),
            _ => self.ends.lower()?.peer(),
        }
    }

    fn local(&self) -> Option<SocketAddr> {
        match self.told.get() {
            Some(Some((_, server))) => Some(*server),
            _ => self.ends.lower()?.local(),
        }
    }
}
