//! A client that can say anything, and a server behind the engine that answers it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::frame::{FrameHead, Kind, u32_of};
use super::super::hpack::Decoder;
use super::super::{Connection, Event, Limits, PREFACE, StreamId};
use crate::h1::{Fate, Head, RequestError, Stamp};

/// A frame that the server sent, header blocks decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Got {
    Data { stream: StreamId, data: Vec<u8>, end: bool },
    Headers { stream: StreamId, fields: Vec<(String, String)>, end: bool },
    Reset { stream: StreamId, code: u32 },
    Settings(Vec<(u16, u32)>),
    SettingsAck,
    Ping([u8; 8]),
    Pong([u8; 8]),
    Goaway { last: StreamId, code: u32 },
    WindowUpdate { stream: StreamId, increment: u32 },
}

/// What the application does with requests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum App {
    /// Answers each with its body, once that is complete.
    Echo,
    /// Nothing: the test does it.
    Idle,
}

/// A connection, its client and its application.
pub(super) struct Client {
    pub(super) engine: Connection,
    pub(super) stamp: Stamp,
    pub(super) now: Duration,
    pub(super) got: Vec<Got>,
    pub(super) requests: Vec<(StreamId, Head)>,
    pub(super) gone: Vec<StreamId>,
    pub(super) refused: Vec<(StreamId, RequestError)>,
    pub(super) writable: Vec<StreamId>,
    app: App,
    decoder: Decoder,
    buffer: Vec<u8>,
    block: Vec<u8>,
    open_block: Option<(StreamId, bool)>,
}

impl Client {
    /// A connection that has said nothing yet.
    pub(super) fn raw(app: App, requests: crate::Limits, limits: Limits) -> Self {
        let engine = Connection::new(Arc::new(requests), Arc::new(limits), Duration::ZERO);
        Self {
            engine,
            stamp: Stamp::new(0, b"pelton").unwrap(),
            now: Duration::ZERO,
            got: Vec::new(),
            requests: Vec::new(),
            gone: Vec::new(),
            refused: Vec::new(),
            writable: Vec::new(),
            app,
            decoder: Decoder::new(),
            buffer: Vec::new(),
            block: Vec::new(),
            open_block: None,
        }
    }

    /// A connection whose first frames are exchanged, with these limits.
    pub(super) fn with(app: App, requests: crate::Limits, limits: Limits) -> Self {
        let mut client = Self::raw(app, requests, limits);
        client.feed(&hello());
        client.got.clear();
        client
    }

    /// A connection whose first frames are exchanged.
    pub(super) fn new(app: App) -> Self {
        Self::with(app, crate::Limits::default(), Limits::default())
    }

    /// The server gets these bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.engine.handle_data(self.now, bytes);
        self.run();
    }

    /// Time goes by.
    pub(super) fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.engine.handle_timeout(self.now, 0);
        self.run();
    }

    /// Lets the application work, and reads what comes out.
    pub(super) fn run(&mut self) {
        loop {
            while let Some(event) = self.engine.poll_event(self.now, &self.stamp) {
                match event {
                    Event::Request(id, head) => {
                        self.requests.push((id, head));
                        if self.app == App::Echo {
                            self.engine.collect_body(self.now, id);
                            self.echo(id);
                        }
                    }
                    Event::Body(id) if self.app == App::Echo => self.echo(id),
                    Event::Body(_) => {}
                    Event::Writable(id) => self.writable.push(id),
                    Event::Gone(id) => {
                        self.gone.push(id);
                        self.engine.release_stream(id);
                    }
                    Event::Refused(id, error) => {
                        self.refused.push((id, error));
                        self.engine.release_stream(id);
                    }
                }
            }
            let output = self.engine.poll_output(self.now).to_vec();
            if output.is_empty() {
                break;
            }
            self.engine.clear_output();
            self.read(&output);
        }
    }

    /// Answers 200.
    pub(super) fn respond(&mut self, id: StreamId, body: &[u8]) {
        let headers = [(&b"content-type"[..], &b"text/plain"[..])];
        self.engine
            .respond(self.now, id, &self.stamp, 200, headers.into_iter(), body)
            .expect("the response is in order");
        self.run();
    }

    /// The status of a stream's answer.
    pub(super) fn status(&self, id: StreamId) -> Option<u16> {
        self.fields(id)?.get(":status")?.parse().ok()
    }

    /// The fields of a stream's answer.
    pub(super) fn fields(&self, id: StreamId) -> Option<HashMap<String, String>> {
        self.got.iter().find_map(|got| match got {
            Got::Headers { stream, fields, .. } if *stream == id => {
                Some(fields.iter().cloned().collect())
            }
            _ => None,
        })
    }

    /// The body of a stream's answer, as far as it came, and whether that is all.
    pub(super) fn answer(&self, id: StreamId) -> (Vec<u8>, bool) {
        let (mut body, mut complete) = (Vec::new(), false);
        for got in &self.got {
            match got {
                Got::Data { stream, data, end } if *stream == id => {
                    body.extend(data);
                    complete |= *end;
                }
                Got::Headers { stream, end, .. } if *stream == id => complete |= *end,
                _ => {}
            }
        }
        (body, complete)
    }

    /// The code with which the server ended the connection.
    pub(super) fn goaway(&self) -> Option<u32> {
        self.got.iter().rev().find_map(|got| match got {
            Got::Goaway { code, .. } => Some(*code),
            _ => None,
        })
    }

    /// The code with which the server reset a stream.
    pub(super) fn reset(&self, id: StreamId) -> Option<u32> {
        self.got.iter().find_map(|got| match got {
            Got::Reset { stream, code } if *stream == id => Some(*code),
            _ => None,
        })
    }

    pub(super) fn is_over(&self) -> bool {
        self.engine.poll_fate() != Fate::Open
    }

    fn echo(&mut self, id: StreamId) {
        if self.engine.is_body_complete(id) && !self.engine.is_response_started(id) {
            let body = self.engine.body(id).to_vec();
            self.engine.clear_body(id);
            let body = if body.is_empty() { b"hello".to_vec() } else { body };
            let headers = [(&b"content-type"[..], &b"text/plain"[..])];
            // The stream may be over by now.
            let _ = self.engine.respond(self.now, id, &self.stamp, 200, headers.into_iter(), &body);
        }
    }

    fn read(&mut self, output: &[u8]) {
        self.buffer.extend_from_slice(output);
        let buffer = std::mem::take(&mut self.buffer);
        let mut at = 0;
        while let Some(head) = FrameHead::parse(&buffer[at..]) {
            let start = at + FrameHead::SIZE;
            let Some(payload) = buffer.get(start..start + head.length) else { break };
            self.read_frame(head, payload);
            at = start + head.length;
        }
        self.buffer = buffer[at..].to_vec();
    }

    fn read_frame(&mut self, head: FrameHead, payload: &[u8]) {
        let number = |at: usize| u32_of(payload[at..at + 4].try_into().unwrap());
        let (stream, end) = (head.stream, head.has(0x1));
        assert!(
            self.open_block.is_none() || head.kind == Kind::Continuation,
            "a header block of the server is interrupted"
        );
        let got = match head.kind {
            Kind::Data => Got::Data { stream, data: payload.to_vec(), end },
            Kind::Headers | Kind::Continuation => {
                self.block.extend_from_slice(payload);
                let (stream, end) = self.open_block.take().unwrap_or((stream, end));
                if !head.has(0x4) {
                    self.open_block = Some((stream, end));
                    return;
                }
                let mut fields = Vec::new();
                let block = std::mem::take(&mut self.block);
                self.decoder
                    .decode(&block, &mut |name, value| {
                        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                        fields.push((text(name), text(value)));
                    })
                    .expect("the server's header blocks are sound");
                Got::Headers { stream, fields, end }
            }
            Kind::RstStream => Got::Reset { stream, code: number(0) },
            Kind::Settings if end => Got::SettingsAck,
            Kind::Settings => {
                let settings = payload.chunks(6);
                Got::Settings(
                    settings
                        .map(|setting| {
                            let value = u32_of(setting[2..].try_into().unwrap());
                            (u16::from_be_bytes([setting[0], setting[1]]), value)
                        })
                        .collect(),
                )
            }
            Kind::Ping if end => Got::Pong(payload.try_into().unwrap()),
            Kind::Ping => Got::Ping(payload.try_into().unwrap()),
            Kind::GoAway => Got::Goaway { last: number(0), code: number(4) },
            Kind::WindowUpdate => Got::WindowUpdate { stream, increment: number(0) },
            kind => panic!("a server does not send {kind:?}"),
        };
        self.got.push(got);
    }
}

/// The preface and empty settings.
pub(super) fn hello() -> Vec<u8> {
    [&PREFACE[..], &settings(&[])].concat()
}

/// Any frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub(super) fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in settings {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(4, 0, 0, &payload)
}

/// A header block of literals that no table keeps.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            match text.len() {
                length @ 0..=126 => block.push(length as u8),
                length => {
                    block.push(0x7f);
                    let mut rest = length - 127;
                    while rest >= 128 {
                        block.push((rest % 128) as u8 | 0x80);
                        rest /= 128;
                    }
                    block.push(rest as u8);
                }
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

pub(super) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "localhost")];
pub(super) const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "localhost")];

/// The fields of a request, and more.
pub(super) fn with<'a>(
    base: [(&'a str, &'a str); 4],
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    base.iter().chain(more).copied().collect()
}

/// `HEADERS` in one frame; `end`: no body follows.
pub(super) fn headers(stream: u32, fields: &[(&str, &str)], end: bool) -> Vec<u8> {
    frame(1, if end { 0x5 } else { 0x4 }, stream, &block(fields))
}

pub(super) fn data(stream: u32, data: &[u8], end: bool) -> Vec<u8> {
    frame(0, u8::from(end), stream, data)
}

pub(super) fn reset(stream: u32) -> Vec<u8> {
    frame(3, 0, stream, &8u32.to_be_bytes())
}

pub(super) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(8, 0, stream, &increment.to_be_bytes())
}
