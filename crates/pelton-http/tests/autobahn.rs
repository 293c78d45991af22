//! The cases of Autobahn|Testsuite's families 1 to 10, by their numbers, against an echo server of
//! ours: the client's frames, cut in three ways, and what must come back.

use std::collections::BTreeMap;
use std::time::Duration;

use pelton_http::h1::Fate;
use pelton_http::websocket::{Connection, Limits, Message};

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const MASK: [u8; 4] = [0xa5, 0x01, 0xfe, 0x3c];

/// A frame of the client, by its first byte, and how many bytes of it are never sent.
#[derive(Clone)]
struct Frame(u8, Vec<u8>, usize);

/// What comes back, before the connection ends.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// Opcode and payload, without the last close frame.
    frames: Vec<(u8, Vec<u8>)>,
    /// The close frame's code; 1005 for none; `None` while the connection is open.
    close: Option<u16>,
}

struct Case {
    id: String,
    frames: Vec<Frame>,
    /// How the bytes arrive: pieces of this size, besides all at once.
    chop: usize,
    expected: Outcome,
}

fn fin(opcode: u8, payload: impl Into<Vec<u8>>) -> Frame {
    Frame(0x80 | opcode, payload.into(), 0)
}

fn part(opcode: u8, payload: impl Into<Vec<u8>>) -> Frame {
    Frame(opcode, payload.into(), 0)
}

impl Frame {
    /// A final frame that announces more than is sent.
    fn cut(opcode: u8, payload: &[u8], missing: usize) -> Self {
        Self(0x80 | opcode, payload.to_vec(), missing)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.0];
        match self.1.len() + self.2 {
            length @ 0..=125 => bytes.push(0x80 | length as u8),
            length @ 126..=0xffff => {
                bytes.push(0x80 | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(0x80 | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(MASK);
        bytes.extend(self.1.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    }
}

/// Takes a server's frames apart; they must be whole, final, unmasked and without reserved bits.
fn server_frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        assert_eq!(first & 0xf0, 0x80, "final, and no reserved bits");
        let (length, rest) = match second {
            126 => (u16::from_be_bytes([rest[0], rest[1]]).into(), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().expect("8 bytes")), &rest[8..]),
            length => (u64::from(*length), rest),
        };
        let length = usize::try_from(length).expect("small");
        frames.push((first & 0xf, rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "half a frame");
    frames
}

/// Feeds an echo server.
fn run(parts: &[Vec<u8>], chop: usize) -> Outcome {
    let now = Duration::ZERO;
    let limits = Limits { message: 16 << 20, ..Limits::default() };
    let mut connection = Connection::new(limits, now);
    let mut output = Vec::new();
    for piece in parts.iter().flat_map(|part| part.chunks(chop)) {
        connection.handle_data(now, piece);
        while let Some(message) = connection.poll_message(now) {
            // After a close frame nothing can be sent, and that is right.
            let _ = match message {
                Message::Text(text) => connection.send_text(&text),
                Message::Binary(data) => connection.send_binary(&data),
            };
        }
        output.extend_from_slice(connection.poll_output());
        connection.clear_output();
    }
    let mut frames = server_frames(&output);
    let close = match frames.last() {
        Some((CLOSE, payload)) if payload.is_empty() => Some(1005),
        Some((CLOSE, payload)) => Some(u16::from_be_bytes([payload[0], payload[1]])),
        _ => None,
    };
    if close.is_some() {
        frames.pop();
        assert_eq!(connection.poll_fate(), Fate::Close);
    }
    Outcome { frames, close }
}

#[derive(Default)]
struct Table(Vec<Case>);

impl Table {
    fn add(&mut self, id: impl Into<String>, chop: usize, frames: Vec<Frame>, expected: Outcome) {
        self.0.push(Case { id: id.into(), frames, chop, expected });
    }

    /// All of `replies` come back, and a close of ours is answered with the same code.
    fn good(
        &mut self,
        id: impl Into<String>,
        chop: usize,
        mut frames: Vec<Frame>,
        replies: Vec<(u8, Vec<u8>)>,
    ) {
        frames.push(fin(CLOSE, 1000_u16.to_be_bytes()));
        self.add(id, chop, frames, Outcome { frames: replies, close: Some(1000) });
    }

    /// The connection is failed with `code`, after `replies`.
    fn bad(
        &mut self,
        id: impl Into<String>,
        chop: usize,
        frames: Vec<Frame>,
        replies: Vec<(u8, Vec<u8>)>,
        code: u16,
    ) {
        self.add(id, chop, frames, Outcome { frames: replies, close: Some(code) });
    }

    fn check(self, expected_count: usize) {
        let mut ids = BTreeMap::new();
        for case in &self.0 {
            assert!(ids.insert(case.id.clone(), ()).is_none(), "{} is there twice", case.id);
        }
        assert_eq!(self.0.len(), expected_count);
        for case in self.0 {
            // Where a message and a close come together, the close is read before the message is
            // answered. Autobahn waits for its answer; so a close begins a piece here.
            let mut parts = vec![Vec::new()];
            for frame in &case.frames {
                if frame.0 & 0xf == CLOSE {
                    parts.push(Vec::new());
                }
                parts.last_mut().expect("there is one").extend(frame.bytes());
            }
            let small = parts.concat().len() < 5000;
            for chop in [case.chop, if small { 1 } else { 1 << 14 }] {
                let outcome = run(&parts, chop);
                assert!(outcome == case.expected, "{} in pieces of {chop}", case.id);
            }
        }
    }
}

fn text(content: &str) -> (u8, Vec<u8>) {
    (TEXT, content.as_bytes().to_vec())
}

#[test]
fn families_1_and_2_messages_and_pings() {
    let mut table = Table::default();
    for (family, opcode) in [("1.1", TEXT), ("1.2", BINARY)] {
        let sizes = [0, 125, 126, 127, 128, 65535, 65536, 65536];
        for (number, size) in sizes.into_iter().enumerate() {
            let payload = vec![b'*'; size];
            let chop = if number == 7 { 997 } else { 1 << 20 };
            let frames = vec![fin(opcode, payload.clone())];
            table.good(format!("{family}.{}", number + 1), chop, frames, vec![(opcode, payload)]);
        }
    }
    let all: Vec<u8> = (0..125).map(|byte| 255 - byte).collect();
    for (id, payload, chop) in [
        ("2.1", Vec::new(), 1 << 10),
        ("2.2", b"Hello, world!".to_vec(), 1 << 10),
        ("2.3", vec![0, 255, 254, 253, 252, 251, 0, 255], 1 << 10),
        ("2.4", all.clone(), 1 << 10),
        ("2.6", all.clone(), 1),
    ] {
        table.good(id, chop, vec![fin(PING, payload.clone())], vec![(PONG, payload)]);
    }
    table.bad("2.5", 1 << 10, vec![fin(PING, vec![b'x'; 126])], vec![], 1002);
    table.good("2.7", 1 << 10, vec![fin(PONG, "")], vec![]);
    table.good("2.8", 1 << 10, vec![fin(PONG, "unsolicited pong payload")], vec![]);
    let frames = vec![fin(PONG, "unsolicited pong payload"), fin(PING, "ping payload")];
    table.good("2.9", 1 << 10, frames, vec![(PONG, b"ping payload".to_vec())]);
    for (id, chop) in [("2.10", 1 << 10), ("2.11", 1)] {
        let payloads: Vec<Vec<u8>> = (0..10).map(|i| format!("payload-{i}").into()).collect();
        let frames = payloads.iter().map(|payload| fin(PING, payload.clone())).collect();
        table.good(id, chop, frames, payloads.into_iter().map(|p| (PONG, p)).collect());
    }
    table.check(27);
}

#[test]
fn families_3_and_4_reserved_bits_and_opcodes() {
    let mut table = Table::default();
    let hello = || fin(TEXT, "Hello, world!");
    let echoed = || vec![text("Hello, world!")];
    let frame = hello().bytes().len();
    table.bad("3.1", 99, vec![Frame(0x91, b"Hello, world!".to_vec(), 0)], vec![], 1002);
    for (id, bits, chop) in [("3.2", 0xa0, frame), ("3.3", 0xb0, frame), ("3.4", 0xc0, 1)] {
        let frames = vec![hello(), Frame(bits | TEXT, b"Hello, world!".to_vec(), 0), fin(PING, "")];
        table.bad(id, chop, frames, echoed(), 1002);
    }
    table.bad("3.5", 99, vec![Frame(0xd0 | BINARY, vec![0, 255, 254], 0)], vec![], 1002);
    table.bad("3.6", 99, vec![Frame(0xe0 | PING, b"Hello, world!".to_vec(), 0)], vec![], 1002);
    table.bad("3.7", 99, vec![Frame(0xf0 | CLOSE, vec![], 0)], vec![], 1002);
    for (family, first) in [("4.1", 3), ("4.2", 11)] {
        table.bad(format!("{family}.1"), 99, vec![fin(first, "")], vec![], 1002);
        let payload = "reserved opcode payload";
        table.bad(format!("{family}.2"), 99, vec![fin(first + 1, payload)], vec![], 1002);
        for (number, content, chop) in [(3, "", frame), (4, payload, frame), (5, payload, 1)] {
            let frames = vec![hello(), fin(first + number - 1, content), fin(PING, "")];
            table.bad(format!("{family}.{number}"), chop, frames, echoed(), 1002);
        }
    }
    table.check(17);
}

#[test]
fn family_5_fragmentation() {
    let mut table = Table::default();
    table.bad("5.1", 99, vec![part(PING, "fragment1"), fin(0, "fragment2")], vec![], 1002);
    table.bad("5.2", 99, vec![part(PONG, "fragment1"), fin(0, "fragment2")], vec![], 1002);
    let whole = || text("fragment1fragment2");
    let frame = part(TEXT, "fragment1").bytes().len();
    for (id, chop) in [("5.3", 2 * frame), ("5.4", frame), ("5.5", 1)] {
        let frames = vec![part(TEXT, "fragment1"), fin(0, "fragment2")];
        table.good(id, chop, frames, vec![whole()]);
    }
    let with_ping = || vec![part(TEXT, "fragment1"), fin(PING, "pingpayl"), fin(0, "fragment2")];
    let pong = || (PONG, b"pingpayl".to_vec());
    let all = with_ping().iter().map(|frame| frame.bytes().len()).sum();
    for (id, chop) in [("5.6", all), ("5.7", frame), ("5.8", 1)] {
        table.good(id, chop, with_ping(), vec![pong(), whole()]);
    }
    let lone = "non-continuation payload";
    for (first, opcode) in [(9, 0x80), (12, 0x00)] {
        for (offset, chop) in [(0, 999), (1, 30), (2, 1)] {
            let frames = vec![Frame(opcode, lone.into(), 0), fin(TEXT, "Hello, world!")];
            table.bad(format!("5.{}", first + offset), chop, frames, vec![], 1002);
        }
    }
    let frames = vec![
        part(TEXT, "fragment1"),
        fin(0, "fragment2"),
        part(0, "fragment3"),
        fin(TEXT, "fragment4"),
    ];
    table.bad("5.15", frame, frames, vec![whole()], 1002);
    for (id, opcode) in [("5.16", 0x00), ("5.17", 0x80)] {
        let round = [Frame(opcode, "fragment1".into(), 0), part(TEXT, "f2"), fin(0, "f3")];
        table.bad(id, 99, [round.clone(), round].concat(), vec![], 1002);
    }
    let frames = vec![part(TEXT, "fragment1"), fin(TEXT, "fragment2")];
    table.bad("5.18", 99, frames, vec![], 1002);
    for (id, chop) in [("5.19", 17), ("5.20", 14)] {
        let frames = vec![
            part(TEXT, "fragment1"),
            part(0, "fragment2"),
            fin(PING, "pingme 1!"),
            part(0, "fragment3"),
            part(0, "fragment4"),
            fin(PING, "pingme 2!"),
            fin(0, "fragment5"),
        ];
        let message = text("fragment1fragment2fragment3fragment4fragment5");
        let pongs = [(PONG, b"pingme 1!".to_vec()), (PONG, b"pingme 2!".to_vec())];
        let expected = pongs.into_iter().chain([message]).collect();
        table.good(id, chop, frames, expected);
    }
    table.check(20);
}

#[path = "autobahn/utf8.rs"]
mod utf8;

#[path = "autobahn/closing.rs"]
mod closing;

#[path = "autobahn/limits.rs"]
mod limits;
