//! WebSockets with `permessage-deflate`: Autobahn's families 12 and 13 with 20 messages (5
//! large ones) instead of 1000 each, and what a hostile client may try.

use std::sync::Arc;
use std::time::Duration;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use pelton_http::h1::{self, Event, Fate, Stamp};
use pelton_http::websocket::{
    Agreement, CloseCode, Connection, DeflateOptions, Handshake, Limits, Message,
};

const NOW: Duration = Duration::ZERO;
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

fn agree(offers: &str, options: &DeflateOptions) -> Option<Agreement> {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Extensions: {offers}\r\n\r\n"
    );
    let mut connection = h1::Connection::new(Arc::default(), NOW);
    connection.handle_data(NOW, request.as_bytes());
    let stamp = Stamp::new(0, b"").expect("no server name");
    match connection.poll_event(NOW, &stamp) {
        Some(Event::Request(head)) => {
            Handshake::check(&head).expect("good").negotiate(options).expect("well-formed")
        }
        event => panic!("no request: {event:?}"),
    }
}

fn options() -> DeflateOptions {
    DeflateOptions { min_size: 0, server_window_bits: 15, ..DeflateOptions::default() }
}

fn open(agreement: Agreement, limits: Limits) -> Connection {
    let mut connection = Connection::new(limits, NOW);
    connection.use_deflate(agreement, options());
    connection
}

/// A client's frame with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0xfe);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0xff);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// The client's side of the compression.
struct Client {
    agreement: Agreement,
    compress: Compress,
    decompress: Decompress,
}

impl Client {
    fn new(agreement: Agreement) -> Self {
        let bits = agreement.client_window_bits.max(9);
        Self {
            agreement,
            compress: Compress::new_with_window_bits(Compression::new(6), false, bits),
            // The window that was agreed to, and no byte more.
            decompress: Decompress::new_with_window_bits(false, agreement.server_window_bits),
        }
    }

    fn compress(&mut self, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(data.len() * 2 + 100);
        self.compress.compress_vec(data, &mut out, FlushCompress::Sync).expect("room");
        if self.agreement.client_no_context_takeover {
            self.compress.reset();
        }
        if out.ends_with(&TAIL) {
            out.truncate(out.len() - 4);
        }
        if out.is_empty() { vec![0] } else { out }
    }

    /// Reads one whole frame of the server: its first byte and its content.
    fn read(&mut self, bytes: &[u8], size: usize) -> (u8, Vec<u8>) {
        let start = match bytes[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        let payload = &bytes[start..];
        if bytes[0] & 0x40 == 0 {
            return (bytes[0], payload.to_vec());
        }
        let mut out = Vec::with_capacity(size + 100);
        let whole = [payload, &TAIL].concat();
        self.decompress.decompress_vec(&whole, &mut out, FlushDecompress::Sync).expect("deflate");
        if self.agreement.server_no_context_takeover {
            self.decompress.reset(false);
        }
        (bytes[0], out)
    }
}

/// Content of a kind and size: text that repeats, text of many words, and noise.
fn content(kind: usize, size: usize, seed: usize) -> Vec<u8> {
    let mut state = seed as u64 * 2_654_435_761 + kind as u64 + 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    let mut data = Vec::with_capacity(size + 64);
    while data.len() < size {
        match kind {
            0 => data.extend(format!("{{\"id\": {}, \"name\": \"item\"}}, ", next()).bytes()),
            1 => data.push(next()),
            2 => data.extend([b'a' + next() % 26, b"aeiou"[usize::from(next() % 5)], b' ']),
            3 => data.extend(format!("<li class=\"row\">{}</li>\n", next() % 10).bytes()),
            _ => data.push(b' ' + next() % 64),
        }
    }
    data.truncate(size);
    data
}

const SIZES: [usize; 10] = [16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131_072];

/// Messages there and back, some of them in fragments, as Autobahn's 18 cases of a family.
fn exchange(offers: &str, kind: usize) {
    let agreement = agree(offers, &options()).expect("an offer that can be taken");
    let whole = SIZES.iter().map(|size| (*size, usize::MAX));
    let fragmented = SIZES[2..].iter().map(|size| (*size, 256));
    for (size, fragment) in whole.chain(fragmented) {
        let mut server = open(agreement, Limits::default());
        let mut client = Client::new(agreement);
        for message in 0..if size > 20_000 { 5 } else { 20 } {
            let data = content(kind, size, message);
            let compressed = client.compress(&data);
            let opcode = if kind == 1 { 2 } else { 1 };
            let pieces: Vec<&[u8]> = compressed.chunks(fragment.min(compressed.len())).collect();
            for (at, piece) in pieces.iter().enumerate() {
                let first = if at == 0 { 0x40 | opcode } else { 0 };
                let fin = if at + 1 == pieces.len() { 0x80 } else { 0 };
                server.handle_data(NOW, &frame(first | fin, piece));
            }
            let received = server.poll_message(NOW).unwrap_or_else(|| {
                panic!("{offers}, {kind}, {size}: {:?}", server.closed());
            });
            match &received {
                Message::Text(text) => server.send_text(text),
                Message::Binary(data) => server.send_binary(data),
            }
            .expect("open");
            let (first, echoed) = client.read(server.poll_output(), size);
            assert_eq!(first, 0xc0 | opcode, "{offers}, {kind}, {size}");
            assert!(echoed == data, "{offers}, {kind}, {size}");
            server.clear_output();
        }
    }
}

#[test]
fn family_12_kinds_of_content() {
    for kind in 0..5 {
        exchange("permessage-deflate; client_max_window_bits", kind);
    }
}

#[test]
fn family_13_parameters() {
    for offers in [
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; server_max_window_bits=9",
        "permessage-deflate; server_max_window_bits=15",
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=9",
        "permessage-deflate; client_no_context_takeover; client_max_window_bits=9",
        "permessage-deflate; server_max_window_bits=8, permessage-deflate; \
         server_no_context_takeover; server_max_window_bits=15, permessage-deflate",
    ] {
        exchange(offers, 0);
    }
}

#[test]
fn messages_that_rfc_7692_shows() {
    let agreement = agree("permessage-deflate", &options()).expect("agreed");
    let hello = Message::Text("Hello".to_owned());
    // 7.2.3.1 to 7.2.3.5: one block, in two frames, the window shared, no compression, a final
    // block, two blocks.
    let cases: [&[&[u8]]; 6] = [
        &[b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"],
        &[b"\x41\x03\xf2\x48\xcd", b"\x80\x04\xc9\xc9\x07\x00"],
        &[b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00", b"\xc1\x05\xf2\x00\x11\x00\x00"],
        &[b"\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"],
        &[b"\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00"],
        &[b"\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"],
    ];
    for frames in cases {
        let mut server = open(agreement, Limits::default());
        for bytes in frames {
            server.handle_data(NOW, &frame(bytes[0], &bytes[2..]));
        }
        let messages: Vec<Message> = std::iter::from_fn(|| server.poll_message(NOW)).collect();
        assert!(!messages.is_empty(), "{:?}", server.closed());
        assert!(messages.iter().all(|message| *message == hello), "{messages:?}");
    }
}

#[test]
fn empty_messages() {
    for offers in ["permessage-deflate", "permessage-deflate; server_no_context_takeover"] {
        let agreement = agree(offers, &options()).expect("agreed");
        let mut server = open(agreement, Limits::default());
        let mut client = Client::new(agreement);
        for _ in 0..3 {
            server.handle_data(NOW, &frame(0xc1, &[0]));
            assert_eq!(server.poll_message(NOW), Some(Message::Text(String::new())));
            server.send_text("").expect("open");
            assert_eq!(client.read(server.poll_output(), 0), (0xc1, vec![]));
            server.clear_output();
            server.send_text("after it").expect("open");
            assert_eq!(client.read(server.poll_output(), 10), (0xc1, b"after it".to_vec()));
            server.clear_output();
        }
    }
}

#[test]
fn short_messages_leave_as_they_are() {
    let agreement = agree("permessage-deflate", &options()).expect("agreed");
    let mut server = Connection::new(Limits::default(), NOW);
    server.use_deflate(agreement, DeflateOptions { min_size: 10, ..options() });
    server.send_text("123456789").expect("open");
    assert_eq!(server.poll_output(), b"\x81\x09123456789");
    server.clear_output();
    server.send_text("1234567890").expect("open");
    assert_eq!(server.poll_output()[0], 0xc1);
}

/// Feeds one compressed message and gives the code that the connection ends with.
fn end_of(payload: &[u8], limits: Limits) -> Option<CloseCode> {
    let agreement = agree("permessage-deflate", &options()).expect("agreed");
    let mut server = open(agreement, limits);
    for piece in frame(0xc1, payload).chunks(1000) {
        server.handle_data(NOW, piece);
    }
    server.closed().map(|close| close.code)
}

#[test]
fn bombs_end_with_1009() {
    let agreement = agree("permessage-deflate", &options()).expect("agreed");
    let mut client = Client::new(agreement);
    let bomb = client.compress(&vec![b'a'; 16 << 20]);
    assert!(bomb.len() < 30_000);
    let limits = |message| Limits { message, ..Limits::default() };
    assert_eq!(end_of(&bomb, limits(1 << 20)), Some(CloseCode::TOO_BIG));
    assert_eq!(end_of(&bomb, limits(0)), Some(CloseCode::TOO_BIG));
    assert_eq!(end_of(&bomb, limits((16 << 20) - 1)), Some(CloseCode::TOO_BIG));
    assert_eq!(end_of(&bomb, limits(16 << 20)), None);
    let frame = Limits { frame: Some(bomb.len() - 1), ..limits(16 << 20) };
    assert_eq!(end_of(&bomb, frame), Some(CloseCode::TOO_BIG));

    // Many of them: reading stops when what waits is as large as one message may be.
    let limits = Limits { message: 1 << 20, ..Limits::default() };
    let mut server = open(agreement, limits);
    let mut client = Client::new(agreement);
    for _ in 0..20 {
        let message = client.compress(&vec![b'a'; 1 << 20]);
        server.handle_data(NOW, &self::frame(0xc1, &message));
    }
    assert!(!server.wants_read());
    assert_eq!(std::iter::from_fn(|| server.poll_message(NOW)).count(), 20);
    assert!(server.wants_read());
}

#[test]
fn what_is_no_deflate_and_what_is_no_text() {
    let limits = Limits::default;
    assert_eq!(end_of(b"\xff\xff\xff", limits()), Some(CloseCode::INVALID_DATA));
    // Refers to what was never sent.
    assert_eq!(end_of(b"\xf2\x00\x11\x00\x00", limits()), Some(CloseCode::INVALID_DATA));
    let agreement = agree("permessage-deflate", &options()).expect("agreed");
    let text = Client::new(agreement).compress(b"valid \xff not");
    assert_eq!(end_of(&text, limits()), Some(CloseCode::INVALID_DATA));
    let half = Client::new(agreement).compress(b"half a character \xc3");
    assert_eq!(end_of(&half, limits()), Some(CloseCode::INVALID_DATA));
}

#[test]
fn the_compression_bit_is_for_the_first_frame_of_a_message_and_only_where_it_was_agreed() {
    let agreement = agree("permessage-deflate", &options()).expect("agreed");
    for frames in [
        vec![frame(0x41, &[0xf2]), frame(0xc0, &[0])],
        vec![frame(0xc9, b"")],
        vec![frame(0xc8, b"")],
        vec![frame(0xe1, b"")],
    ] {
        let mut server = open(agreement, Limits::default());
        server.handle_data(NOW, &frames.concat());
        assert_eq!(server.closed().map(|close| close.code), Some(CloseCode::PROTOCOL));
    }
    let mut server = Connection::new(Limits::default(), NOW);
    server.handle_data(NOW, &frame(0xc1, &[0]));
    assert_eq!(server.closed().map(|close| close.code), Some(CloseCode::PROTOCOL));
    assert_eq!(server.poll_fate(), Fate::Close);
    assert_eq!(agree("x-webkit-deflate-frame", &options()), None);
}
