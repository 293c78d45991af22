//! The state machine of one connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::h1::{Fate, Head, RequestError, Stamp};
use crate::progress::Progress;
use crate::{Headers, Limits as RequestLimits};

use super::budget::Budget;
use super::error::{Code, Fault};
use super::frame::{self, FrameHead, PREFACE};
use super::headers::Block;
use super::hpack::{Decoder, Encoder};
use super::limits::Limits;
use super::priority::Urgency;
use super::settings::{self, ClientSettings, DEFAULT_WINDOW};
use super::stream::Answer;
use super::streams::{ClosedBy, Streams};
use super::{StreamId, frame::MAX_PAYLOAD};

/// One HTTP/2 connection, seen from the server.
///
/// Requests are given as they come, up to [`Limits::streams`] at once, and answered in any order.
///
/// - *Input*: [`handle_data`](Self::handle_data), [`handle_eof`](Self::handle_eof), and
///   [`handle_timeout`](Self::handle_timeout) about once a second.
/// - *Commands*, each for a stream: [`want_body`](Self::want_body),
///   [`collect_body`](Self::collect_body), [`clear_body`](Self::clear_body),
///   [`respond`](Self::respond), or [`start_response`](Self::start_response),
///   [`send_body`](Self::send_body) and [`send_trailers`](Self::send_trailers),
///   [`send_informational`](Self::send_informational), [`fail`](Self::fail),
///   [`reset`](Self::reset), [`release_stream`](Self::release_stream); [`shutdown`](Self::shutdown) is for all.
/// - *Output*, after each of the others and in this order: [`poll_event`](Self::poll_event) until
///   `None`, [`poll_output`](Self::poll_output) until empty or the transport is full,
///   [`poll_fate`](Self::poll_fate).
///
/// A command for a stream that is over does nothing, or says so.
#[derive(Debug)]
pub struct Connection {
    pub(super) requests: Arc<RequestLimits>,
    pub(super) limits: Arc<Limits>,
    /// Bytes of a frame that is not complete.
    input: Vec<u8>,
    stage: Stage,
    /// A header block that is not complete; no other frame may come before its end.
    pub(super) block: Option<Block>,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    pub(super) client: ClientSettings,
    pub(super) streams: Streams,
    pub(super) due: VecDeque<Due>,
    pub(super) output: Vec<u8>,
    /// For header blocks on their way out.
    pub(super) scratch: Vec<u8>,
    /// For the fields of one.
    pub(super) scratch_fields: Headers,
    /// Bytes that the client may still send, and those taken since it was last told.
    pub(super) window_in: i64,
    pub(super) taken: u32,
    /// Bytes of bodies that are wanted as a whole.
    pub(super) collected: u64,
    /// Bytes that we may still send.
    pub(super) window_out: i64,
    /// The streams with something to send, by urgency; those of a level take turns.
    pub(super) sending: [VecDeque<StreamId>; Urgency::LEVELS],
    pub(super) resets: Budget,
    pub(super) control: Budget,
    pub(super) leaving: Leaving,
    /// When it began to be idle, or to linger.
    since: Duration,
    progress: Progress,
    fate: Fate,
    fault: Option<Fault>,
}

/// What the connection found in the bytes, or in the time that went by.
#[derive(Debug)]
pub enum Event {
    /// A request's head. A part of its body may be there already, see [`Connection::body`].
    Request(StreamId, Head),
    /// More of a body is there, or its end.
    Body(StreamId),
    /// There is room for more of an answer: see [`Connection::is_paused`].
    Writable(StreamId),
    /// Nobody waits for the answer any more.
    Gone(StreamId),
    /// The connection itself answered, or gave the stream up where its answer had begun.
    Refused(StreamId, RequestError),
}

/// All that is said on a connection that will not be served: none of its requests was looked at, so
/// that all can be sent again, elsewhere or later. `reason`: for people.
#[must_use]
pub fn goodbye(reason: &str) -> Vec<u8> {
    let mut output = Vec::new();
    frame::write_settings(&mut output, &[]);
    frame::write_goaway(&mut output, 0, Code::NoError, reason);
    output
}

/// What [`Connection::poll_event`] is to give, or to do first.
#[derive(Debug)]
pub(super) enum Due {
    Event(Event),
    /// An open stream is to be answered here.
    Refuse(StreamId, RequestError),
    /// A request that was not opened is; whether the client has sent all of it.
    RefuseHead(StreamId, RequestError, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The client's first bytes are missing.
    Preface,
    /// Its first frame is.
    Settings,
    Open,
    /// Over; what comes is dropped until the client has read why, or closed.
    Linger,
    Over,
}

/// How far the connection is on its way to its end in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    No,
    /// The client was told to send no more, at this time; what it sent before it heard is served.
    Announced(Duration),
    /// Streams above this one are not looked at.
    From(StreamId),
    /// The client leaves by itself once its streams are served.
    Client,
}

/// From the first `GOAWAY` to the second, if the client answers no ping.
const LEAVE_AFTER: Duration = Duration::from_millis(500);
/// The ping whose answer shows that the client has read our first `GOAWAY`.
const LEAVE_PING: &[u8; 8] = b"leaving.";
/// While more than this waits for the transport, no more is read: answers to pings could pile up.
const OUTPUT_LIMIT: usize = 256 * 1024;
/// Buffers larger than this are not kept.
const KEPT_CAPACITY: usize = 256 * 1024;

impl Connection {
    /// A fresh connection, whose first bytes are the preface.
    #[must_use]
    pub fn new(requests: Arc<RequestLimits>, limits: Arc<Limits>, now: Duration) -> Self {
        let mut output = Vec::new();
        frame::write_settings(&mut output, &settings::ours(&limits, requests.head));
        let window = limits.connection_window();
        if window > DEFAULT_WINDOW {
            frame::write_window_update(&mut output, 0, window - DEFAULT_WINDOW);
        }
        Self {
            resets: Budget::new(limits.resets, now),
            control: Budget::new(limits.control_frames, now),
            window_in: i64::from(window),
            requests,
            limits,
            input: Vec::new(),
            stage: Stage::Preface,
            block: None,
            decoder: Decoder::new(),
            encoder: Encoder::new(),
            client: ClientSettings::default(),
            streams: Streams::default(),
            due: VecDeque::new(),
            output,
            scratch: Vec::new(),
            scratch_fields: Headers::new(),
            taken: 0,
            collected: 0,
            window_out: i64::from(DEFAULT_WINDOW),
            sending: Default::default(),
            leaving: Leaving::No,
            since: now,
            progress: Progress::new(now),
            fate: Fate::Open,
            fault: None,
        }
    }

    /// Bytes came in.
    pub fn handle_data(&mut self, now: Duration, data: &[u8]) {
        if matches!(self.stage, Stage::Linger | Stage::Over) {
            return;
        }
        if self.input.is_empty() {
            let taken = self.consume(now, data);
            if let Some(rest) = data.get(taken..) {
                self.input.extend_from_slice(rest);
            }
            return;
        }
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(data);
        let taken = self.consume(now, &input);
        input.drain(..taken.min(input.len()));
        if input.capacity() <= KEPT_CAPACITY {
            self.input = input;
        } else {
            self.input.extend_from_slice(&input);
        }
    }

    /// The client will send no more; answers under way are given up.
    pub fn handle_eof(&mut self) {
        self.give_up();
        self.end(Stage::Over, Fate::Close);
    }

    /// Time went by. `queued`: bytes from [`poll_output`](Self::poll_output) that the transport
    /// still holds. Ask [`poll_event`](Self::poll_event) afterwards.
    pub fn handle_timeout(&mut self, now: Duration, queued: usize) {
        if self.fate == Fate::Abort {
            return;
        }
        // Also where all is said: the transport closes only once the client has taken it.
        if self.progress.stalled_for(now, queued) >= self.requests.write_timeout {
            self.give_up();
            return self.end(Stage::Over, Fate::Abort);
        }
        if self.stage == Stage::Over {
            return;
        }
        if self.stage == Stage::Linger {
            if now.saturating_sub(self.since) >= self.requests.linger {
                self.end(Stage::Over, Fate::Close);
            }
            return;
        }
        if self.stage != Stage::Open && now.saturating_sub(self.since) >= self.requests.head_timeout
        {
            return self.fail_connection(now, Fault::protocol("the first frame did not come"));
        }
        if let Some(block) = &self.block
            && now.saturating_sub(block.since) >= self.requests.head_timeout
        {
            return self.fail_connection(now, Fault::protocol("a header block did not end"));
        }
        self.time_streams(now);
        if let Leaving::Announced(at) = self.leaving
            && now.saturating_sub(at) >= LEAVE_AFTER
        {
            self.leave_now(now);
        }
        if !self.streams.is_empty() || queued > 0 || !self.output.is_empty() {
            self.since = now;
        } else if now.saturating_sub(self.since) >= self.requests.keep_alive {
            self.leave_now(now);
        }
    }

    /// What the bytes mean; ask until `None`.
    pub fn poll_event(&mut self, now: Duration, stamp: &Stamp) -> Option<Event> {
        loop {
            let event = match self.due.pop_front()? {
                Due::Event(event) => event,
                Due::Refuse(id, error) => {
                    // Its client may have taken it back meanwhile, of which there is an event.
                    if !self.answer_refused(now, stamp, id, error) {
                        continue;
                    }
                    return Some(Event::Refused(id, error));
                }
                Due::RefuseHead(id, error, ended) => {
                    self.answer_refused_head(stamp, id, error, ended);
                    return Some(Event::Refused(id, error));
                }
            };
            match &event {
                // It may be over before anybody heard of it.
                Event::Request(id, _) => match self.streams.get_mut(*id) {
                    Some(stream) => {
                        stream.delivered = true;
                        stream.body_news = false;
                    }
                    None => continue,
                },
                Event::Body(id) => match self.streams.get_mut(*id) {
                    Some(stream) if stream.body_news => stream.body_news = false,
                    _ => continue,
                },
                Event::Writable(_) | Event::Gone(_) | Event::Refused(..) => {}
            }
            return Some(event);
        }
    }

    /// The bytes to send; empty where there are none. Follow it with
    /// [`clear_output`](Self::clear_output), and ask again while the transport has room: answers
    /// are given in pieces, so that none holds up the others.
    #[must_use]
    pub fn poll_output(&mut self, now: Duration) -> &[u8] {
        self.pump(now);
        &self.output
    }

    /// What [`poll_output`](Self::poll_output) gave is queued on the transport.
    pub fn clear_output(&mut self) {
        self.progress.hand_out(self.output.len());
        if self.output.capacity() > KEPT_CAPACITY {
            self.output = Vec::new();
        } else {
            self.output.clear();
        }
    }

    /// What is to become of the transport. Output goes first.
    #[must_use]
    pub fn poll_fate(&self) -> Fate {
        self.fate
    }

    /// What the client did that ended the connection.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Whether to read on: `false` while a client does not take what it asks for.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.output.len() < OUTPUT_LIMIT
    }

    /// Whether no request is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// No further request. The client is told in two steps, so that none is lost that was on its
    /// way; the connection closes when those under way are served.
    pub fn shutdown(&mut self, now: Duration) {
        if self.leaving != Leaving::No || self.fate != Fate::Open {
            return;
        }
        // Also where the client has said nothing so far: TLS has agreed on HTTP/2, and its first
        // request may be on its way. It gets as long as those that are late everywhere else.
        frame::write_goaway(&mut self.output, settings::MAX_WINDOW, Code::NoError, "shutdown");
        frame::write_ping(&mut self.output, false, LEAVE_PING);
        self.leaving = Leaving::Announced(now);
    }

    /// Ends the connection at once.
    pub fn abort(&mut self) {
        self.give_up();
        self.end(Stage::Over, Fate::Abort);
    }

    /// The client answered a ping.
    pub(super) fn on_pong(&mut self, now: Duration, payload: &[u8]) {
        if payload == LEAVE_PING && matches!(self.leaving, Leaving::Announced(_)) {
            self.leave_now(now);
        }
    }

    /// Looks at no stream that is not here by now.
    fn leave_now(&mut self, now: Duration) {
        let last = self.streams.highest;
        frame::write_goaway(&mut self.output, last, Code::NoError, "");
        self.leaving = Leaving::From(last);
        self.close_if_done(now);
    }

    /// The last stream of a connection that is to end may be over.
    pub(super) fn close_if_done(&mut self, now: Duration) {
        // From here on it may be idle.
        self.since = now;
        let leaving = matches!(self.leaving, Leaving::From(_) | Leaving::Client);
        if leaving && self.fate == Fate::Open && self.streams.is_empty() {
            self.end(Stage::Over, Fate::Close);
        }
    }

    /// The client broke a rule of the connection: it hears which, and that is the end.
    pub(super) fn fail_connection(&mut self, now: Duration, fault: Fault) {
        if self.stage == Stage::Preface {
            // It does not speak the protocol: nothing of ours would be understood.
            self.output.clear();
        } else {
            frame::write_goaway(&mut self.output, self.streams.highest, fault.code, fault.reason);
        }
        self.fault = Some(fault);
        self.give_up();
        self.since = now;
        // A close now could take the answer from a client that is still sending.
        self.end(Stage::Linger, Fate::Linger);
    }

    /// Nobody will answer, and nobody will hear.
    fn give_up(&mut self) {
        for (id, stream) in self.streams.drain() {
            if stream.delivered && !matches!(stream.answer, Answer::Complete) {
                self.streams.abandon(id);
                self.tell(Event::Gone(id));
            }
        }
        self.block = None;
        for queue in &mut self.sending {
            queue.clear();
        }
    }

    fn end(&mut self, stage: Stage, fate: Fate) {
        self.stage = stage;
        self.fate = fate;
        self.input = Vec::new();
    }

    /// Takes complete frames from `input`; how much that was.
    fn consume(&mut self, now: Duration, input: &[u8]) -> usize {
        let mut at = 0;
        if self.stage == Stage::Preface {
            let (expected, rest) = PREFACE.split_at(input.len().min(PREFACE.len()));
            if !input.starts_with(expected) {
                self.fail_connection(now, Fault::protocol("the preface is not HTTP/2's"));
                return input.len();
            }
            if !rest.is_empty() {
                return 0;
            }
            at = PREFACE.len();
            self.stage = Stage::Settings;
        }
        while let Some(head) = FrameHead::parse(&input[at..]) {
            let start = at + FrameHead::SIZE;
            let result = self.check_order(&head).and_then(|()| {
                let Some(payload) = input.get(start..start + head.length) else {
                    return Ok(false);
                };
                self.handle_frame(now, head, payload).map(|()| true)
            });
            match result {
                Ok(true) => at = start + head.length,
                Ok(false) => break,
                Err(fault) => self.fail_connection(now, fault),
            }
            if matches!(self.stage, Stage::Linger | Stage::Over) {
                return input.len();
            }
        }
        at
    }

    /// What can be said of a frame before its payload is there.
    fn check_order(&mut self, head: &FrameHead) -> Result<(), Fault> {
        if head.length > MAX_PAYLOAD {
            return Err(Fault::new(Code::FrameSize, "a frame is too large"));
        }
        if self.stage == Stage::Settings
            && (head.kind != frame::Kind::Settings || head.has(frame::flags::ACK))
        {
            return Err(Fault::protocol("the first frame is not SETTINGS"));
        }
        if let Some(block) = &self.block
            && (head.kind != frame::Kind::Continuation || head.stream != block.stream)
        {
            return Err(Fault::protocol("a header block is interrupted"));
        }
        Ok(())
    }

    /// The first frame was fine.
    pub(super) fn settled(&mut self) {
        if self.stage == Stage::Settings {
            self.stage = Stage::Open;
        }
    }

    /// Gives an event to the next polls.
    pub(super) fn tell(&mut self, event: Event) {
        self.due.push_back(Due::Event(event));
    }

    /// Looks at the timeouts of each stream.
    fn time_streams(&mut self, now: Duration) {
        let (mut late, mut stuck) = (Vec::new(), Vec::new());
        for (id, stream) in self.streams.iter() {
            let waited = now.saturating_sub(stream.since);
            if matches!(stream.answer, Answer::Complete) && !stream.has_backlog() {
                // A tunnel that we have closed; the client has not.
                if waited >= self.requests.linger {
                    stuck.push((id, Code::NoError));
                }
            } else if stream.wanted
                && !stream.ended
                && !stream.held
                && waited >= self.requests.body_timeout
            {
                late.push(id);
            }
            if let Some(blocked) = stream.blocked
                && now.saturating_sub(blocked) >= self.requests.write_timeout
            {
                stuck.push((id, Code::Cancel));
            }
        }
        for (id, code) in stuck {
            self.drop_stream(now, id, code);
        }
        for id in late {
            self.refuse(id, RequestError::BodyTimeout);
        }
    }

    /// Resets a stream, and tells its application if that still works on it.
    pub(super) fn drop_stream(&mut self, now: Duration, id: StreamId, code: Code) {
        let Some(mut stream) = self.streams.close(id, ClosedBy::Us) else { return };
        self.release_dropped(&mut stream);
        frame::write_reset(&mut self.output, id, code);
        if stream.delivered && !matches!(stream.answer, Answer::Complete) {
            self.streams.abandon(id);
            self.tell(Event::Gone(id));
        }
        self.close_if_done(now);
    }
}
