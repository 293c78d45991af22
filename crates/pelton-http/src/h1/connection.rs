//! The state machine of one connection.

use std::sync::Arc;
use std::time::Duration;

use crate::Limits;
use crate::progress::Progress;

use super::body::Decoder;
use super::error::RequestError;
use super::head::{Framing, Head, Scanner};
use super::outbound::{Outbound, Stamp};

/// One HTTP/1.1 connection, seen from the server.
///
/// ```text
///           head complete             response and body complete
///   Head ───────────────────▶ Body ──────────────────────────────▶ Head
///    │                         │ └─ response complete ─▶ Drain ────▶ Head
///    │ malformed, timeout, EOF │ early answer, limit       │ too much
///    ▼                         ▼                           ▼
///   Over ◀────────────────── Linger ◀──────────────────────┘
/// ```
///
/// Requests are given one at a time: the next one of a pipeline comes once the one before is
/// answered, so responses cannot change their order. Bytes that wait meanwhile are limited:
/// see [`wants_read`](Self::wants_read).
///
/// - *Input*: [`handle_data`](Self::handle_data), [`handle_eof`](Self::handle_eof), and
///   [`handle_timeout`](Self::handle_timeout) about once a second.
/// - *Commands*: [`want_body`](Self::want_body), [`collect_body`](Self::collect_body),
///   [`clear_body`](Self::clear_body), [`respond`](Self::respond) or
///   [`start_response`](Self::start_response) and [`send_body`](Self::send_body),
///   [`fail`](Self::fail), [`upgrade`](Self::upgrade), [`shutdown`](Self::shutdown).
/// - *Output*, after each of the others and in this order: [`poll_event`](Self::poll_event) until
///   `None`, [`poll_output`](Self::poll_output), [`poll_fate`](Self::poll_fate).
#[derive(Debug)]
pub struct Connection {
    pub(super) limits: Arc<Limits>,
    /// Bytes not yet parsed are those from `parsed` on.
    pub(super) input: Vec<u8>,
    pub(super) parsed: usize,
    scanner: Scanner,
    pub(super) phase: Phase,
    pub(super) decoder: Decoder,
    /// Decoded and not yet taken.
    body: Vec<u8>,
    /// The body grew, or ended, since the last `Event::Body`.
    body_news: bool,
    /// The whole body is wanted at once, whatever `Limits::body_buffer` says.
    collecting: bool,
    /// Somebody waits for more body, so its timeout counts.
    wanted: bool,
    /// The client waits for `100 Continue`.
    pub(super) continue_owed: bool,
    pub(super) keep_alive: bool,
    /// The request itself says that the connection ends with its answer.
    pub(super) client_closes: bool,
    pub(super) shutting_down: bool,
    /// The client will send no more.
    pub(super) ended: bool,
    /// Empty lines before the request whose head is awaited.
    blank_lines: u8,
    /// Requests so far.
    requests: u64,
    pub(super) outbound: Outbound,
    /// When the timeout of the present phase began to count.
    pub(super) since: Duration,
    pub(super) progress: Progress,
    fate: Fate,
}

/// What the connection found in the bytes.
#[derive(Debug)]
pub enum Event {
    /// A request's head. Small bodies are there already, see [`Connection::body`].
    Request(Head),
    /// More of the body of the request under way is there, or its end.
    Body,
    /// The connection itself answered (or, where the response had begun, gave up). A request under
    /// way will get no more body, and its response goes nowhere.
    Refused(RequestError),
}

/// What is to become of the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays open.
    Open,
    /// Say that we write no more, but read on until the client closes or the fate changes.
    Linger,
    /// Close it once what is queued is written.
    Close,
    /// Close it at once.
    Abort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waiting for a request, or in its head.
    Head,
    /// A request is under way.
    Body,
    /// It is answered; the rest of its body is dropped.
    Drain,
    /// Answered for the last time; what comes is dropped until the client has read the answer.
    Linger,
    /// Nothing more happens here: closed, or upgraded.
    Over,
}

/// Empty lines that a client may send before a request.
const BLANK_LINES_MAX: u8 = 4;
/// Buffers larger than this are not kept for the next request.
const KEPT_CAPACITY: usize = 256 * 1024;

impl Connection {
    /// A fresh connection.
    #[must_use]
    pub fn new(limits: Arc<Limits>, now: Duration) -> Self {
        Self {
            limits,
            input: Vec::new(),
            parsed: 0,
            scanner: Scanner::default(),
            phase: Phase::Head,
            decoder: Decoder::new(Framing::Length(0)),
            body: Vec::new(),
            body_news: false,
            collecting: false,
            wanted: false,
            continue_owed: false,
            keep_alive: true,
            client_closes: false,
            shutting_down: false,
            ended: false,
            blank_lines: 0,
            requests: 0,
            outbound: Outbound::default(),
            since: now,
            progress: Progress::new(now),
            fate: Fate::Open,
        }
    }

    /// Bytes came in.
    pub fn handle_data(&mut self, now: Duration, data: &[u8]) {
        match self.phase {
            Phase::Over | Phase::Linger => return,
            // The first byte of a request starts the clock of its head.
            Phase::Head if self.is_quiet() => self.since = now,
            Phase::Body | Phase::Drain => self.since = now,
            Phase::Head => {}
        }
        self.compact();
        self.input.extend_from_slice(data);
    }

    /// The client will send no more. Whole requests that are here are answered still, for it may
    /// only have closed its own side; one that is cut short is given up.
    pub fn handle_eof(&mut self) {
        self.ended = true;
        match self.phase {
            Phase::Body | Phase::Head if self.parsed < self.input.len() => {}
            Phase::Body if self.decoder.is_done() => {}
            _ => self.give_up(),
        }
    }

    /// Time went by. `queued`: bytes from [`poll_output`](Self::poll_output) that the transport
    /// still holds.
    pub fn handle_timeout(&mut self, now: Duration, queued: usize, stamp: &Stamp) -> Option<Event> {
        if self.progress.stalled_for(now, queued) >= self.limits.write_timeout {
            self.end(Fate::Abort);
            return None;
        }
        if queued > 0 && self.is_quiet() {
            // The client still reads the last answer: it is not idle yet.
            self.since = now;
        }
        let waited = now.saturating_sub(self.since);
        match self.phase {
            Phase::Head if self.is_quiet() && waited >= self.limits.keep_alive => {
                self.end(Fate::Close);
            }
            Phase::Head if !self.is_quiet() && waited >= self.limits.head_timeout => {
                return Some(self.refuse(RequestError::HeadTimeout, now, stamp));
            }
            Phase::Body
                if self.wanted && !self.decoder.is_done() && waited >= self.limits.body_timeout =>
            {
                return Some(self.refuse(RequestError::BodyTimeout, now, stamp));
            }
            Phase::Drain if waited >= self.limits.linger => self.end(Fate::Close),
            Phase::Linger if waited >= self.limits.linger => self.end(Fate::Close),
            _ => {}
        }
        None
    }

    /// What the bytes mean; ask until `None`.
    pub fn poll_event(&mut self, now: Duration, stamp: &Stamp) -> Option<Event> {
        if self.phase == Phase::Drain {
            self.drain(now);
        }
        let event = match self.phase {
            Phase::Head => self.parse_head(now),
            Phase::Body => self
                .decode_body()
                .map(|()| std::mem::take(&mut self.body_news).then_some(Event::Body)),
            Phase::Drain | Phase::Linger | Phase::Over => Ok(None),
        };
        if self.ended && matches!(event, Ok(None)) && self.is_cut_short() {
            self.give_up();
        }
        event.unwrap_or_else(|error| Some(self.refuse(error, now, stamp)))
    }

    /// The bytes to send; empty where there are none. Follow it with
    /// [`clear_output`](Self::clear_output).
    #[must_use]
    pub fn poll_output(&self) -> &[u8] {
        &self.outbound.output
    }

    /// What [`poll_output`](Self::poll_output) gave is queued on the transport.
    pub fn clear_output(&mut self) {
        self.progress.hand_out(self.outbound.output.len());
        reuse(&mut self.outbound.output);
    }

    /// What is to become of the transport. Output goes first.
    #[must_use]
    pub fn poll_fate(&self) -> Fate {
        self.fate
    }

    /// Whether to read on: `false` while more than the limits allow waits here for a slow
    /// application.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        let waiting = self.input.len() - self.parsed;
        match self.phase {
            Phase::Body if self.decoder.is_done() => waiting < self.limits.head,
            Phase::Body => self.collecting || self.body.len() < self.limits.body_buffer,
            // A longer head is refused, so this waits only while a slow client takes answers.
            Phase::Head => waiting <= self.limits.head,
            _ => true,
        }
    }

    /// Whether no request is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Head
    }

    /// Whether responses can still be sent here.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Head | Phase::Body)
    }

    /// The application waits for (more of) the body: the client is told to continue, if it asked,
    /// and the body's timeout counts.
    pub fn want_body(&mut self, now: Duration) {
        if self.phase != Phase::Body || self.decoder.is_done() {
            return;
        }
        if std::mem::take(&mut self.continue_owed) && self.decoder.decoded() == 0 {
            self.outbound.send_continue();
        }
        if !self.wanted {
            self.wanted = true;
            self.since = now;
        }
    }

    /// The application wants the whole body at once: it is kept here until it is complete.
    pub fn collect_body(&mut self, now: Duration) {
        self.collecting = true;
        if let Some(length) = self.decoder.remaining() {
            // Room for what the client claims, but not more than it can make us pay for nothing.
            self.body.reserve(usize::try_from(length).unwrap_or(usize::MAX).min(KEPT_CAPACITY));
        }
        self.want_body(now);
    }

    /// The part of the body that is there and was not taken.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whether no more body comes after [`body`](Self::body).
    #[must_use]
    pub fn is_body_complete(&self) -> bool {
        self.decoder.is_done()
    }

    /// What [`body`](Self::body) gave is taken; there is room for more.
    pub fn clear_body(&mut self) {
        self.wanted = false;
        reuse(&mut self.body);
    }

    /// Moves what [`body`](Self::body) gives into `into`, whose memory is used for what comes next.
    pub fn swap_body(&mut self, into: &mut Vec<u8>) {
        std::mem::swap(&mut self.body, into);
        self.clear_body();
    }

    /// The client is taken to be gone: what is queued leaves, then the connection ends.
    pub fn leave(&mut self) {
        if self.phase != Phase::Over {
            self.give_up();
        }
    }

    /// Whether the client has said that it will send no more.
    #[must_use]
    pub fn is_half_closed(&self) -> bool {
        self.ended
    }

    /// Ends the connection at once.
    pub fn abort(&mut self) {
        self.outbound.drop_response();
        self.end(Fate::Abort);
    }

    /// Takes the connection out of HTTP after writing `head`, a complete `101` response; what the
    /// client has sent after its request is returned.
    pub fn upgrade(&mut self, head: &[u8]) -> Vec<u8> {
        self.outbound.drop_response();
        self.outbound.output.extend_from_slice(head);
        self.phase = Phase::Over;
        let rest = self.input.split_off(self.parsed);
        self.input = Vec::new();
        self.parsed = 0;
        rest
    }

    /// No further request: closes now where none is under way, otherwise after its response, which
    /// says `connection: close` if its head has not left.
    pub fn shutdown(&mut self) {
        self.shutting_down = true;
        if matches!(self.phase, Phase::Drain | Phase::Linger) || self.is_quiet() {
            self.end(Fate::Close);
        }
    }

    /// Whether no request is under way and nothing of a next one is there.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.phase == Phase::Head && self.parsed == self.input.len() && self.blank_lines == 0
    }

    /// Whether what is here needs more of a client that sends no more.
    fn is_cut_short(&self) -> bool {
        match self.phase {
            Phase::Head | Phase::Drain => true,
            Phase::Body => !self.decoder.is_done() && self.parsed == self.input.len(),
            Phase::Linger | Phase::Over => false,
        }
    }

    /// The client left.
    fn give_up(&mut self) {
        self.outbound.drop_response();
        self.end(Fate::Close);
    }

    fn parse_head(&mut self, now: Duration) -> Result<Option<Event>, RequestError> {
        // Some clients end a body with a line break too many (RFC 9112, 2.2).
        while self.scanner.is_fresh() && self.input[self.parsed..].starts_with(b"\r\n") {
            self.parsed += 2;
            self.scanner = Scanner::default();
            self.blank_lines += 1;
            if self.blank_lines > BLANK_LINES_MAX {
                return Err(RequestError::Malformed("too many empty lines"));
            }
        }
        let input = &self.input[self.parsed..];
        if input.is_empty() {
            return Ok(None);
        }
        let Some(length) = self.scanner.find_end(input, &self.limits)? else {
            return Ok(None);
        };
        let head = Head::parse(&input[..length], &self.limits)?;
        if let (Some(length), Some(limit)) = (head.content_length(), self.limits.body)
            && length > limit
        {
            return Err(RequestError::BodyTooLarge);
        }
        self.parsed += length;
        self.scanner = Scanner::default();
        self.decoder = Decoder::new(head.framing);
        self.continue_owed = head.expects_continue && !self.decoder.is_done();
        self.blank_lines = 0;
        self.requests += 1;
        self.client_closes = !head.keep_alive;
        self.keep_alive =
            head.keep_alive && self.limits.requests.is_none_or(|limit| self.requests < limit);
        self.collecting = false;
        self.wanted = false;
        self.body.clear();
        self.outbound.expect(&head);
        self.phase = Phase::Body;
        self.since = now;
        self.decode_body()?;
        self.body_news = false;
        Ok(Some(Event::Request(head)))
    }

    fn decode_body(&mut self) -> Result<(), RequestError> {
        if self.decoder.is_done() || self.parsed == self.input.len() {
            return Ok(());
        }
        let room = if self.collecting {
            usize::MAX
        } else {
            self.limits.body_buffer.saturating_sub(self.body.len())
        };
        let before = self.body.len();
        let body = &mut self.body;
        self.parsed +=
            self.decoder.decode(&self.input[self.parsed..], room, &self.limits, &mut |data| {
                body.extend_from_slice(data);
            })?;
        self.body_news |= self.body.len() > before || self.decoder.is_done();
        Ok(())
    }

    /// Drops the rest of an answered request's body, up to the limit.
    pub(super) fn drain(&mut self, now: Duration) {
        let result =
            self.decoder.decode(&self.input[self.parsed..], usize::MAX, &self.limits, &mut |_| {});
        match result {
            Ok(taken) => self.parsed += taken,
            // The answer is out; what is wrong with the rest matters to nobody.
            Err(_) => return self.linger(now),
        }
        if self.decoder.is_done() {
            self.next_request(now);
        } else if self.decoder.decoded() > self.limits.drain {
            self.linger(now);
        }
    }

    pub(super) fn next_request(&mut self, now: Duration) {
        reuse(&mut self.body);
        self.phase = Phase::Head;
        self.since = now;
        if self.shutting_down {
            self.end(Fate::Close);
        }
    }

    fn refuse(&mut self, error: RequestError, now: Duration, stamp: &Stamp) -> Event {
        let begun = self.outbound.is_begun() || self.phase == Phase::Drain;
        if begun {
            self.outbound.drop_response();
            self.end(Fate::Abort);
        } else {
            self.outbound.refuse(stamp, error.status(), &error.to_string());
            // The client may be sending still: a close now could take the answer from it.
            self.linger(now);
        }
        Event::Refused(error)
    }

    pub(super) fn linger(&mut self, now: Duration) {
        if self.ended {
            return self.end(Fate::Close);
        }
        self.end(Fate::Linger);
        self.phase = Phase::Linger;
        self.since = now;
    }

    pub(super) fn end(&mut self, fate: Fate) {
        self.phase = Phase::Over;
        self.fate = fate;
        self.input = Vec::new();
        self.parsed = 0;
    }

    /// Drops the parsed part of the input where that costs little.
    fn compact(&mut self) {
        if self.parsed == self.input.len() {
            reuse(&mut self.input);
            self.parsed = 0;
        } else if self.parsed * 2 > self.input.len() {
            self.input.drain(..self.parsed);
            self.parsed = 0;
        }
    }
}

/// Empties a buffer and keeps its memory unless that is large.
fn reuse(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT_CAPACITY {
        *buffer = Vec::new();
    } else {
        buffer.clear();
    }
}
