//! One TLS connection: records below, bytes above.

use std::cell::{Cell, OnceCell, RefCell};
use std::io::{self, BufRead as _, Write as _};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use pyo3::prelude::*;
use rustls::ServerConnection;
use rustls::sign::CertifiedKey;

use crate::transport::native::{FilePart, NativeFactory, NativeProtocol, NativeTransport};

use super::super::ends::Ends;
use super::super::link::peer_text;
use super::super::lobby::Lobby;
use super::acceptor::Acceptor;
use super::resolver::take_chosen;
use super::session::TlsSession;
use super::turns::Turns;

/// A factory of connections that shake hands first; those of `above` are made after that.
pub(in super::super) fn layered(
    acceptor: Rc<Acceptor>,
    lobby: Rc<Lobby>,
    above: NativeFactory,
) -> NativeFactory {
    let turns = Turns::new(lobby.shared().clone());
    Rc::new(move |_| {
        let state = acceptor
            .connect()
            .map_err(|error| pyo3::exceptions::PyRuntimeError::new_err(error.to_string()))?;
        let layer = Rc::new_cyclic(|me| Layer {
            acceptor: acceptor.clone(),
            lobby: lobby.clone(),
            turns: turns.clone(),
            held: RefCell::default(),
            above: above.clone(),
            state: RefCell::new(state),
            ends: Ends::default(),
            certificate: RefCell::default(),
            session: OnceCell::new(),
            ended: Cell::new(false),
            half_open: Cell::new(false),
            me: me.clone(),
        });
        Ok(layer as Rc<dyn NativeProtocol>)
    })
}

/// The protocol of the socket's connection, and the transport of the one that serves.
pub(super) struct Layer {
    acceptor: Rc<Acceptor>,
    lobby: Rc<Lobby>,
    turns: Rc<Turns>,
    /// What came in while others shook hands.
    held: RefCell<Vec<u8>>,
    above: NativeFactory,
    state: RefCell<ServerConnection>,
    /// The protocol above is made when the handshake is done.
    ends: Ends,
    /// What the handshake showed.
    certificate: RefCell<Option<Arc<CertifiedKey>>>,
    session: OnceCell<Rc<TlsSession>>,
    /// Nothing more is read: the peer has closed, or broken the protocol, or we have.
    ended: Cell<bool>,
    /// The peer has closed its side, and the protocol above keeps ours open.
    half_open: Cell<bool>,
    me: Weak<Self>,
}

impl Layer {
    /// Whether the handshake may go on now. Where it is not its turn, `data` is kept, and no more is
    /// read meanwhile.
    fn may_shake_hands(&self, data: &[u8]) -> bool {
        let mut held = self.held.borrow_mut();
        if held.is_empty() && self.turns.take(&self.me) {
            return true;
        }
        held.extend_from_slice(data);
        if let Some(lower) = self.ends.lower() {
            lower.pause_reading();
        }
        false
    }

    /// It is its turn.
    pub(super) fn shake_hands(&self, py: Python<'_>) {
        let held = self.held.take();
        if self.ended.get() {
            return;
        }
        if let Some(lower) = self.ends.lower() {
            lower.resume_reading();
        }
        self.take_records(py, &held);
    }

    /// It broke in the middle of its turn.
    pub(super) fn break_off(&self, py: Python<'_>) {
        self.ended.set(true);
        if let Some(lower) = self.ends.lower() {
            lower.abort(py);
        }
    }

    fn take_records(&self, py: Python<'_>, data: &[u8]) {
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
        let Some(lower) = self.ends.lower() else { return };
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
        self.ends.leave_lobby();
        let certificate = self.certificate.borrow_mut().take();
        let _ = self.session.set(Rc::new(TlsSession::of(&self.state.borrow(), certificate)));
        let Some(me) = self.me.upgrade() else { return Ok(()) };
        let upper = (self.above)(py)?;
        self.ends.begin(py, upper, me);
        Ok(())
    }

    /// Hands on what a read brought.
    fn deliver(&self, py: Python<'_>, plain: &[u8], closed: bool) {
        let Some(upper) = self.ends.upper() else { return };
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
        let Some(lower) = self.ends.lower() else { return };
        let peer = peer_text(Some(&*lower));
        self.lobby.note_failure(py, &format!("TLS with {peer} failed: {error}"));
        lower.close(py);
    }
}

impl NativeProtocol for Layer {
    fn name(&self) -> &'static str {
        "TLS connection"
    }

    fn connection_made(&self, py: Python<'_>, transport: Rc<dyn NativeTransport>) {
        self.ends.connect(transport);
        self.ends.wait(py, &self.lobby);
    }

    fn data_received(&self, py: Python<'_>, data: &[u8]) {
        if self.ended.get() || (self.session.get().is_none() && !self.may_shake_hands(data)) {
            return;
        }
        self.take_records(py, data);
    }

    fn eof_received(&self, py: Python<'_>) -> bool {
        if self.ended.replace(true) {
            return self.half_open.get();
        }
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

impl NativeTransport for Layer {
    fn below(&self) -> Option<Rc<dyn NativeTransport>> {
        self.ends.lower()
    }

    fn write(&self, py: Python<'_>, data: &[u8]) {
        // INVARIANT: rustls was told to keep any amount, so it takes all of it.
        let _ = self.state.borrow_mut().writer().write_all(data);
        self.send_records(py);
    }

    fn sends_files(&self) -> bool {
        false
    }

    /// Their bytes would leave as they are.
    fn send_file(&self, py: Python<'_>, part: FilePart) {
        drop(part);
        self.abort(py);
    }

    fn write_eof(&self, py: Python<'_>) {
        let Some(lower) = self.ends.lower() else { return };
        // The peer learns that nothing was cut off.
        self.state.borrow_mut().send_close_notify();
        self.send_records(py);
        lower.write_eof(py);
    }

    fn close(&self, py: Python<'_>) {
        self.ended.set(true);
        let Some(lower) = self.ends.lower() else { return };
        // The peer learns that nothing was cut off.
        self.state.borrow_mut().send_close_notify();
        self.send_records(py);
        lower.close(py);
    }

    fn abort(&self, py: Python<'_>) {
        self.break_off(py);
    }

    fn alpn(&self) -> Option<Vec<u8>> {
        self.state.borrow().alpn_protocol().map(<[u8]>::to_vec)
    }

    fn tls(&self) -> Option<Rc<TlsSession>> {
        self.session.get().cloned()
    }
}
