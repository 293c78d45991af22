//! The seam between the loop and protocols written in Rust (the HTTP server is one).
//!
//! A connection with a native protocol makes no Python call between its socket and the protocol.
//! All calls happen in the loop's thread with the GIL held.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use pyo3::prelude::*;

use super::listener::Listener;
use crate::server::TlsSession;

/// What a native protocol may ask of its connection. Implemented by the loop, and by what stands
/// between its connection and the protocol (TLS, say): a layer names the transport
/// [`below`](Self::below) it, and passes on whatever it does not do itself.
pub(crate) trait NativeTransport {
    /// The transport that a layer is on; None where there is none, or none any more.
    fn below(&self) -> Option<Rc<dyn NativeTransport>> {
        None
    }
    /// Queues `data`; what one turn of the loop queues leaves in one vectored write at its end.
    fn write(&self, py: Python<'_>, data: &[u8]);
    /// Closes once the queued bytes are written.
    fn close(&self, py: Python<'_>);
    /// Closes at once; queued bytes are dropped.
    fn abort(&self, py: Python<'_>);
    /// Bytes queued and not yet taken by the kernel.
    fn write_buffer_len(&self) -> usize {
        self.below().map_or(0, |below| below.write_buffer_len())
    }
    /// Whether [`send_file`](Self::send_file) can be called: not where bytes are encrypted.
    fn sends_files(&self) -> bool {
        self.below().is_some_and(|below| below.sends_files())
    }
    /// Queues a part of a file after what is queued; the kernel sends it. Its length counts as
    /// queued bytes. Only where [`sends_files`](Self::sends_files) says so.
    fn send_file(&self, py: Python<'_>, part: FilePart) {
        if let Some(below) = self.below() {
            below.send_file(py, part);
        }
    }
    /// Tells the peer, once the queued bytes are written, that no more will come. Reading goes on.
    fn write_eof(&self, py: Python<'_>) {
        if let Some(below) = self.below() {
            below.write_eof(py);
        }
    }
    /// Stops reading until `resume_reading`; the peer then meets TCP's own back-pressure.
    fn pause_reading(&self) {
        if let Some(below) = self.below() {
            below.pause_reading();
        }
    }
    /// Reads again.
    fn resume_reading(&self) {
        if let Some(below) = self.below() {
            below.resume_reading();
        }
    }
    /// The peer's address, where the socket has one.
    fn peer(&self) -> Option<SocketAddr> {
        self.below()?.peer()
    }
    /// Our own address, where the socket has one.
    fn local(&self) -> Option<SocketAddr> {
        self.below()?.local()
    }
    /// The protocol's `pause_writing` is called above `high` queued bytes, `resume_writing` when
    /// `low` or fewer are left. Defaults: 64 KiB and 16 KiB.
    fn set_write_limits(&self, high: usize, low: usize) {
        if let Some(below) = self.below() {
            below.set_write_limits(high, low);
        }
    }
    /// The protocol that TLS agreed on (`h2`, `http/1.1`); `None` without TLS, or where the client
    /// named none. Final when the protocol's `connection_made` is called.
    fn alpn(&self) -> Option<Vec<u8>> {
        self.below()?.alpn()
    }
    /// What the TLS handshake agreed on, where there was one.
    fn tls(&self) -> Option<Rc<TlsSession>> {
        self.below()?.tls()
    }
    /// Whether the peer is a process of this machine, on a Unix socket.
    fn is_unix(&self) -> bool {
        self.below().is_some_and(|below| below.is_unix())
    }
}

/// A part of an open file, on its way to a client.
#[derive(Debug)]
pub(crate) struct FilePart {
    /// The file; our own descriptor, closed when the part has left.
    pub(crate) file: OwnedFd,
    /// Where in the file the part begins.
    pub(crate) offset: u64,
    /// Its length in bytes.
    pub(crate) length: usize,
}

/// A connection's protocol, written in Rust. Implemented by the server.
///
/// No borrow of the loop is held during these calls, so they may call anything of it. The loop lets
/// go of the protocol after `connection_lost`; let go of the transport there too.
pub(crate) trait NativeProtocol {
    /// What `pelton.observe.callbacks` counts its time under.
    fn name(&self) -> &'static str;
    /// The connection is there; keep `transport` to answer on it.
    fn connection_made(&self, py: Python<'_>, transport: Rc<dyn NativeTransport>);
    /// Bytes came in. `data` is the loop's own buffer: copy what must outlive the call.
    fn data_received(&self, py: Python<'_>, data: &[u8]);
    /// The peer will send no more. `true` keeps our side open.
    fn eof_received(&self, py: Python<'_>) -> bool;
    /// More than `high` bytes are queued (the loop's write limits): stop producing.
    fn pause_writing(&self, py: Python<'_>);
    /// The queue is short again.
    fn resume_writing(&self, py: Python<'_>);
    /// The last call, once and never from within another call: `error` is `None` after an orderly close.
    fn connection_lost(&self, py: Python<'_>, error: Option<io::Error>);
    /// The loop was closed under the open connection; no call follows.
    fn abandoned(&self, _py: Python<'_>) {}
}

/// Makes the protocol of a connection just accepted.
pub(crate) type NativeFactory = Rc<dyn Fn(Python<'_>) -> PyResult<Rc<dyn NativeProtocol>>>;

/// A listening socket whose connections get native protocols. Dropping it closes it.
pub(crate) struct NativeListener(pub(super) Rc<Listener>);

impl NativeListener {
    /// Stops accepting and closes the socket; connections go on.
    pub(crate) fn close(&self) {
        self.0.close();
    }
}

impl Drop for NativeListener {
    fn drop(&mut self) {
        self.close();
    }
}
