//! What a request came on, and its answer goes back on.

use std::rc::Rc;

use pelton_http::h1::ResponseError;
use pelton_http::websocket::Handshake;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::awaitable::Waiters;
use super::origin::Addresses;
use super::request::Request;
use super::shared::Shared;

/// Header fields on their way out, in order.
pub(super) type FieldIter<'a, 'h> = &'a mut dyn Iterator<Item = (&'h [u8], &'h [u8])>;

/// A connection that serves one request at a time, or one stream of many: all that a request and a
/// WebSocket know of where they came from.
///
/// Those who change something call [`advance`](Self::advance) (or [`flush`](Self::flush), where no
/// further request can have become due) when they are done: until then nothing leaves.
pub(super) trait Carrier {
    /// The server's state.
    fn shared(&self) -> &Rc<Shared>;
    /// The addresses of both ends.
    fn addresses(&self, py: Python<'_>) -> PyResult<&Addresses>;
    /// The client's address for people.
    fn client_text(&self) -> String;
    /// The part of the body that is there, and whether more comes; None where one has to wait.
    fn take_body(&self, py: Python<'_>) -> PyResult<Option<(Py<PyBytes>, bool)>>;
    /// Moves the part of the body that is there into `into`, which is empty, and whether more comes;
    /// None where one has to wait. As [`take_body`](Self::take_body), for who reads in Rust.
    fn swap_body(&self, py: Python<'_>, into: &mut Vec<u8>) -> Option<bool>;
    /// Bytes of ours that wait for the client to take them.
    fn queued(&self) -> usize;
    /// Whether applications should stop producing, until [`writers`](Self::writers) are woken.
    fn is_writing_paused(&self) -> bool;
    /// Those who wait for room to write.
    fn writers(&self) -> &Waiters;
    /// Whether the response's head was given, be it sent or not.
    fn is_response_started(&self) -> bool;
    /// Begins the response.
    fn start_response(&self, status: u16, fields: FieldIter<'_, '_>) -> Result<(), ResponseError>;
    /// A piece of the response's body; the last one where `more` is false.
    fn send_body(&self, data: &[u8], more: bool) -> Result<(), ResponseError>;
    /// A whole response.
    fn respond(
        &self,
        status: u16,
        fields: FieldIter<'_, '_>,
        body: &[u8],
    ) -> Result<(), ResponseError>;
    /// The application failed: 500 where nothing of its response has left, otherwise the end.
    fn fail(&self);
    /// The response of `request` is complete.
    fn finish_request(&self, py: Python<'_>, request: &Request) -> PyResult<()>;
    /// Handles what is due by now and sends the output.
    fn advance(&self, py: Python<'_>);
    /// Sends the output.
    fn flush(&self, py: Python<'_>);
    /// Opens the WebSocket that `handshake` asks for. Returns what the client has sent of it.
    fn accept(
        &self,
        handshake: &Handshake,
        subprotocol: Option<&str>,
        fields: FieldIter<'_, '_>,
    ) -> Result<Vec<u8>, ResponseError>;
}
