//! What a request came on, and its answer goes back on.

use std::rc::Rc;

use pelton_http::h1::ResponseError;
use pelton_http::websocket::Handshake;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::transport::native::FilePart;

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
    /// Bytes of body that the response's `content-length` leaves room for, where it has one.
    fn room(&self) -> Option<u64>;
    /// A part of a file as a piece of the response's body. Given back, with nothing begun, where it
    /// must be read and go through [`send_body`](Self::send_body). A response without a body takes
    /// it unread.
    fn send_file(
        &self,
        py: Python<'_>,
        part: FilePart,
        more: bool,
    ) -> Result<Option<FilePart>, ResponseError>;
    /// An informational response before the response itself; dropped where it cannot be sent.
    fn inform(&self, status: u16, fields: FieldIter<'_, '_>) -> Result<(), ResponseError>;
    /// The response just started is complete only with its trailers.
    fn announce_trailers(&self) -> Result<(), ResponseError>;
    /// Fields after the body; the last ones where `more` is false.
    fn send_trailers(&self, fields: FieldIter<'_, '_>, more: bool) -> Result<(), ResponseError>;
    /// A client that has closed its side, and of which an application has been told that it is
    /// gone, is left.
    fn leave(&self, py: Python<'_>);
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
