//! Connections that begin with the PROXY protocol: the header is taken off, and the addresses are
//! those that it tells.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use pelton_http::proxies::{Peer, ProxyHeader, Trusted};
use pyo3::prelude::*;

use crate::transport::native::{FilePart, NativeFactory, NativeProtocol, NativeTransport};

use super::lobby::{Lobby, Place};
use super::tls::TlsSession;

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
            lower: RefCell::default(),
            upper: RefCell::default(),
            header: RefCell::default(),
            told: OnceCell::new(),
            place: Cell::default(),
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
    lower: RefCell<Option<Rc<dyn NativeTransport>>>,
    /// Made when the header was read.
    upper: RefCell<Option<Rc<dyn NativeProtocol>>>,
    /// The header, as far as it has come; the parser limits it.
    header: RefCell<Vec<u8>>,
    /// The client's address and the one that it came to; None where the proxy speaks for itself.
    told: OnceCell<Option<(SocketAddr, SocketAddr)>>,
    place: Cell<Option<Place>>,
    ended: Cell<bool>,
    me: Weak<Self>,
}

impl Proxied {
    fn lower(&self) -> Option<Rc<dyn NativeTransport>> {
        self.lower.borrow().clone()
    }

    fn upper(&self) -> Option<Rc<dyn NativeProtocol>> {
        self.upper.borrow().clone()
    }

    fn refuse(&self, py: Python<'_>, why: &str) {
        self.ended.set(true);
        let Some(lower) = self.lower() else { return };
        let peer = lower.peer().map_or_else(|| "-".to_owned(), |peer| peer.to_string());
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
                drop(self.place.take());
                let Some(me) = self.me.upgrade() else { return };
                match (self.above)(py) {
                    Ok(upper) => {
                        *self.upper.borrow_mut() = Some(upper.clone());
                        upper.connection_made(py, me);
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
        *self.lower.borrow_mut() = Some(transport.clone());
        let peer = match transport.peer() {
            Some(peer) => Some(Peer::Ip(peer.ip())),
            None => transport.is_unix().then_some(Peer::Unix),
        };
        if peer.is_some_and(|peer| self.trusted.trusts(peer)) {
            self.place.set(self.lobby.enter(py, &transport));
        } else {
            self.refuse(py, "it is none of the trusted proxies");
        }
    }

    fn data_received(&self, py: Python<'_>, data: &[u8]) {
        match self.upper() {
            _ if self.ended.get() => {}
            Some(upper) => upper.data_received(py, data),
            None => self.read_header(py, data),
        }
    }

    fn eof_received(&self, py: Python<'_>) -> bool {
        self.upper().is_some_and(|upper| upper.eof_received(py))
    }

    fn pause_writing(&self, py: Python<'_>) {
        if let Some(upper) = self.upper() {
            upper.pause_writing(py);
        }
    }

    fn resume_writing(&self, py: Python<'_>) {
        if let Some(upper) = self.upper() {
            upper.resume_writing(py);
        }
    }

    fn connection_lost(&self, py: Python<'_>, error: Option<io::Error>) {
        self.ended.set(true);
        drop(self.place.take());
        let upper = self.upper.borrow_mut().take();
        let lower = self.lower.borrow_mut().take();
        if let Some(upper) = upper {
            upper.connection_lost(py, error);
        }
        drop(lower);
    }

    fn abandoned(&self, py: Python<'_>) {
        drop(self.place.take());
        let upper = self.upper.borrow_mut().take();
        let lower = self.lower.borrow_mut().take();
        if let Some(upper) = upper {
            upper.abandoned(py);
        }
        drop(lower);
    }
}

impl NativeTransport for Proxied {
    fn write(&self, py: Python<'_>, data: &[u8]) {
        if let Some(lower) = self.lower() {
            lower.write(py, data);
        }
    }

    fn write_buffer_len(&self) -> usize {
        self.lower().map_or(0, |lower| lower.write_buffer_len())
    }

    fn sends_files(&self) -> bool {
        self.lower().is_some_and(|lower| lower.sends_files())
    }

    fn send_file(&self, py: Python<'_>, part: FilePart) {
        if let Some(lower) = self.lower() {
            lower.send_file(py, part);
        }
    }

    fn write_eof(&self, py: Python<'_>) {
        if let Some(lower) = self.lower() {
            lower.write_eof(py);
        }
    }

    fn pause_reading(&self) {
        if let Some(lower) = self.lower() {
            lower.pause_reading();
        }
    }

    fn resume_reading(&self) {
        if let Some(lower) = self.lower() {
            lower.resume_reading();
        }
    }

    fn close(&self, py: Python<'_>) {
        self.ended.set(true);
        if let Some(lower) = self.lower() {
            lower.close(py);
        }
    }

    fn abort(&self, py: Python<'_>) {
        self.ended.set(true);
        if let Some(lower) = self.lower() {
            lower.abort(py);
        }
    }

    fn peer(&self) -> Option<SocketAddr> {
        match self.told.get() {
            Some(Some((client, _))) => Some(*client),
            _ => self.lower()?.peer(),
        }
    }

    fn local(&self) -> Option<SocketAddr> {
        match self.told.get() {
            Some(Some((_, server))) => Some(*server),
            _ => self.lower()?.local(),
        }
    }

    fn set_write_limits(&self, high: usize, low: usize) {
        if let Some(lower) = self.lower() {
            lower.set_write_limits(high, low);
        }
    }

    fn is_unix(&self) -> bool {
        self.lower().is_some_and(|lower| lower.is_unix())
    }

    fn alpn(&self) -> Option<Vec<u8>> {
        None
    }

    fn tls(&self) -> Option<Rc<TlsSession>> {
        None
    }
}
