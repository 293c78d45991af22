//! One TLS connection: records below, bytes above.

use std::cell::{Cell, OnceCell, RefCell};
use std::io::{self, BufRead as _, Write as _};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use pyo3::prelude::*;
use rustls::ServerConnection;
use rustls::sign::CertifiedKey;

use crate::transport::native::{NativeFactory, NativeProtocol, NativeTransport};

use super::super::lobby::{Lobby, Place};
use super::acceptor::Acceptor;
use super::resolver::take_chosen;
use super::session::TlsSession;

/// A factory of connections that shake hands first; those of `above` are made after that.
pub(in super::super) fn layered(
    acceptor: Rc<Acceptor>,
    lobby: Rc<Lobby>,
    above: NativeFactory,
) -> NativeFactory {
    Rc::new(move |_| {
        let state = acceptor
            .connect()
            .map_err(|error| pyo3::exceptions::PyRuntimeError::new_err(error.to_string()))?;
        let layer = Rc::new_cyclic(|me| Layer {
            acceptor: acceptor.clone(),
            lobby: lobby.clone(),
            above: above.clone(),
            state: RefCell::new(state),
            lower: RefCell::default(),
            upper: RefCell::default(),
            certificate: RefCell::default(),
            session: OnceCell::new(),
            place: Cell::default(),
            ended: Cell::new(false),
            half_open: Cell::new(false),
            me: me.clone(),
        });
        Ok(layer as Rc<dyn NativeProtocol>)
    })
}

/// The protocol of the socket's connection, and the transport of the one that serves.
///
/// No borrow of its parts is held while either of them runs: both may call back.
struct Layer {
    acceptor: Rc<Acceptor>,
    lobby: Rc<Lobby>,
    above: NativeFactory,
    state: RefCell<ServerConnection>,
    lower: RefCell<Option<Rc<dyn NativeTransport>>>,
    /// Made when the handshake is done.
    upper: RefCell<Option<Rc<dyn NativeProtocol>>>,
    /// What the handshake showed.
    certificate: RefCell<Option<Arc<CertifiedKey>>>,
    session: OnceCell<Rc<TlsSession>>,
    /// Among those that shake hands.
    place: Cell<Option<Place>>,
    /// Nothing more is read: the peer has closed, or broken the protocol, or we have.
    ended: Cell<bool>,
    /// The peer has closed its side, and the protocol above keeps ours open.
    half_open: Cell<bool>,
    me: Weak<Self>,
}

impl Layer {
    fn lower(&self) -> Option<Rc<dyn NativeTransport>> {
        self.lower.borrow().clone()
    }

    fn upper(&self) -> Option<Rc<dyn NativeProtocol>> {
        self.upper.borrow().clone()
    }

    /// Decrypts what came in into `plain`. `true`: the peer has said that it will send no more.
    fn decrypt(&self, mut data: &[u8], plain: &mut Vec<u8>) -> Result<bool, rustls::Error> {
        let mut state = self.state.borrow_mut();
        let mut closed = false;
        while !data.is_empty() && !closed {
            let taken = state
                .read_tls(&mut data)
                .map_err(|error| rustls::Error::General(error.to_string()))?;
            let now = state.process_new_packets()?;
            closed = now.peer_has_closed() || taken == 0;
            let mut left = now.plaintext_bytes_to_read();
            let mut reader = state.reader();
            while left > 0 {
                // INVARIANT: rustls has said how much there is, so this is neither an error nor empty.
                let Ok(chunk) = reader.fill_buf() else { break };
                let length = chunk.len();
                plain.extend_from_slice(chunk);
                reader.consume(length);
                left = left.saturating_sub(length.max(1));
            }
        }
        Ok(closed)
    }

    /// Gives the records that wait to the connection below.
    fn send_records(&self, py: Python<'_>) {
        let Some(lower) = self.lower() else { return };
        let mut records = self.acceptor.records.take();
        {
            let mut state = self.state.borrow_mut();
            while state.wants_write() {
                // A vector takes everything.
                if state.write_tls(&mut records).is_err() {
                    break;
                }
            }
        }
        if !records.is_empty() {
            lower.write(py, &records);
        }
        self.acceptor.records.give_back(records);
    }

    /// The handshake is done: makes the protocol that serves.
    fn begin(&self, py: Python<'_>) -> PyResult<()> {
        drop(self.place.take());
        let certificate = self.certificate.borrow_mut().take();
        let _ = self.session.set(Rc::new(TlsSession::of(&self.state.borrow(), certificate)));
        let Some(me) = self.me.upgrade() else { return Ok(()) };
        let upper = (self.above)(py)?;
        *self.upper.borrow_mut() = Some(upper.clone());
        upper.connection_made(py, me);
        Ok(())
    }

    /// Hands on what a read brought.
    fn deliver(&self, py: Python<'_>, plain: &[u8], closed: bool) {
        let Some(upper) = self.upper() else { return };
        // It may have closed when it was made, or at what it got.
        if !plain.is_empty() && !self.ended.get() {
            upper.data_received(py, plain);
        }
        if closed && !self.ended.replace(true) {
            self.half_open.set(upper.eof_received(py));
            if !self.half_open.get() {
                NativeTransport::close(self, py);
            }
        }
    }

    /// The peer broke the protocol, or there is nothing that both can do: it gets the alert.
    fn fail(&self, py: Python<'_>, error: &rustls::Error) {
        self.ended.set(true);
        let Some(lower) = self.lower() else { return };
        let peer = lower.peer().map_or_else(|| "-".to_owned(), |peer| peer.to_string());
        self.lobby.note_failure(py, &format!("TLS with {peer} failed: {error}"));
        lower.close(py);
    }
}

impl NativeProtocol for Layer {
    fn name(&self) -> &'static str {
        "TLS connection"
    }

    fn connection_made(&self, py: Python<'_>, transport: Rc<dyn NativeTransport>) {
        *self.lower.borrow_mut() = Some(transport.clone());
        self.place.set(self.lobby.enter(py, &transport));
    }

    fn data_received(&self, py: Python<'_>, data: &[u8]) {
        if self.ended.get() {
            return;
        }
        let mut plain = self.acceptor.plain.take();
        let decrypted = self.decrypt(data, &mut plain);
        if self.session.get().is_none()
            && let Some(chosen) = take_chosen()
        {
            *self.certificate.borrow_mut() = Some(chosen);
        }
        self.send_records(py);
        let ready = !self.state.borrow().is_handshaking();
        let mut begun = Ok(());
        if ready && self.session.get().is_none() && decrypted.is_ok() {
            begun = self.begin(py);
        }
        match (decrypted, begun) {
            (Ok(closed), Ok(())) => self.deliver(py, &plain, closed),
            (Err(error), _) => self.fail(py, &error),
            (Ok(_), Err(error)) => {
                error.write_unraisable(py, None);
                self.abort(py);
            }
        }
        self.acceptor.plain.give_back(plain);
    }

    fn eof_received(&self, py: Python<'_>) -> bool {
        if self.ended.replace(true) {
            return self.half_open.get();
        }
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

impl NativeTransport for Layer {
    fn write(&self, py: Python<'_>, data: &[u8]) {
        // INVARIANT: rustls was told to keep any amount, so it takes all of it.
        let _ = self.state.borrow_mut().writer().write_all(data);
        self.send_records(py);
    }

    fn write_buffer_len(&self) -> usize {
        self.lower().map_or(0, |lower| lower.write_buffer_len())
    }

    fn write_eof(&self, py: Python<'_>) {
        let Some(lower) = self.lower() else { return };
        // The peer learns that nothing was cut off.
        self.state.borrow_mut().send_close_notify();
        self.send_records(py);
        lower.write_eof(py);
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
        let Some(lower) = self.lower() else { return };
        // The peer learns that nothing was cut off.
        self.state.borrow_mut().send_close_notify();
        self.send_records(py);
        lower.close(py);
    }

    fn abort(&self, py: Python<'_>) {
        self.ended.set(true);
        if let Some(lower) = self.lower() {
            lower.abort(py);
        }
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.lower()?.peer()
    }

    fn local(&self) -> Option<SocketAddr> {
        self.lower()?.local()
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
        self.state.borrow().alpn_protocol().map(<[u8]>::to_vec)
    }

    fn tls(&self) -> Option<Rc<TlsSession>> {
        self.session.get().cloned()
    }
}
