//! One request and its answer.

use std::time::Duration;

use crate::Headers;

use super::fields::Request;
use super::priority::Urgency;

/// A stream that is open in at least one direction.
#[derive(Debug)]
pub(super) struct Stream {
    /// The application has been told of it.
    pub(super) delivered: bool,
    /// The client will send no more.
    pub(super) ended: bool,
    /// The body as far as it is there and was not taken.
    pub(super) body: Vec<u8>,
    /// An event about the body is on its way.
    pub(super) body_news: bool,
    /// How long the client says that the body is, and how much of it came.
    pub(super) length: Option<u64>,
    pub(super) received: u64,
    /// The whole body is wanted at once, whatever the window.
    pub(super) collecting: bool,
    /// The client waits for a window that we do not give it now.
    pub(super) held: bool,
    /// Somebody waits for more body, so its timeout counts.
    pub(super) wanted: bool,
    pub(super) continue_owed: bool,
    /// It is about to be answered by the connection itself.
    pub(super) refused: bool,
    pub(super) trailers: Option<Headers>,
    /// When the present wait for the client began.
    pub(super) since: Duration,
    /// Bytes that the client may still send, and those taken since it was last told.
    pub(super) window_in: i64,
    pub(super) taken: u32,

    pub(super) answer: Answer,
    pub(super) is_head: bool,
    /// After `CONNECT`: bytes in both directions, of no stated length.
    pub(super) tunnel: bool,
    /// Bytes that we may still send.
    pub(super) window_out: i64,
    /// What waits for the window: from `sent` on.
    pub(super) waiting: Vec<u8>,
    pub(super) sent: usize,
    /// The answer ends with what waits.
    pub(super) end_waits: bool,
    pub(super) trailers_wait: Option<Headers>,
    /// It is in the queue of those that may send.
    pub(super) queued: bool,
    /// The application was told to wait.
    pub(super) paused: bool,
    /// Since when the client's window lets nothing through.
    pub(super) blocked: Option<Duration>,
    pub(super) urgency: Urgency,
}

/// How far the answer is.
#[derive(Debug)]
pub(super) enum Answer {
    /// Owed.
    Owed,
    /// Its head is there; it leaves with the first piece of the body.
    Started(Prepared),
    /// The head has left.
    Body(BodyForm),
    /// Complete, be it sent or waiting for the window.
    Complete,
}

/// A response's head, checked.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) length: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyForm {
    /// So many bytes are missing.
    Length(u64),
    /// To the stream's end.
    Open,
    /// There must be none; what the application sends is dropped.
    None,
}

impl Stream {
    pub(super) fn new(
        request: &Request,
        ended: bool,
        window_in: u32,
        window_out: u32,
        now: Duration,
    ) -> Self {
        Self {
            delivered: false,
            ended,
            body: Vec::new(),
            body_news: false,
            length: request.length,
            received: 0,
            collecting: false,
            held: false,
            wanted: false,
            continue_owed: request.expects_continue,
            refused: false,
            trailers: None,
            since: now,
            window_in: i64::from(window_in),
            taken: 0,
            answer: Answer::Owed,
            is_head: request.head.method() == "HEAD",
            tunnel: request.head.is_websocket_upgrade(),
            window_out: i64::from(window_out),
            waiting: Vec::new(),
            sent: 0,
            end_waits: false,
            trailers_wait: None,
            queued: false,
            paused: false,
            blocked: None,
            urgency: request.urgency,
        }
    }

    /// Bytes that wait for the window.
    pub(super) fn backlog(&self) -> usize {
        self.waiting.len() - self.sent
    }

    /// Whether anything waits to be sent.
    pub(super) fn has_backlog(&self) -> bool {
        self.backlog() > 0 || self.end_waits || self.trailers_wait.is_some()
    }

    /// Whether the head may have left.
    pub(super) fn is_begun(&self) -> bool {
        matches!(self.answer, Answer::Body(_) | Answer::Complete)
    }

    /// Adds to what waits.
    pub(super) fn wait(&mut self, data: &[u8]) {
        if self.sent > 0 && self.sent * 2 >= self.waiting.len() {
            self.waiting.drain(..self.sent);
            self.sent = 0;
        }
        self.waiting.extend_from_slice(data);
    }
}
