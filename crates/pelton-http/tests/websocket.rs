//! One WebSocket, driven by bytes and a clock that the tests move.

use std::sync::Arc;
use std::time::Duration;

use pelton_http::h1::{self, Event, Fate, Stamp};
use pelton_http::websocket::{
    Close, CloseCode, Connection, Handshake, HandshakeError, Limits, Message, SendError,
};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A client's frame; `first`: FIN, reserved bits and opcode.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]));
    frame
}

fn open() -> Connection {
    Connection::new(Limits::default(), Duration::ZERO)
}

fn messages(connection: &mut Connection) -> Vec<Message> {
    std::iter::from_fn(|| connection.poll_message(Duration::ZERO)).collect()
}

/// Runs `input` whole, split at every byte, and byte by byte.
fn check(input: &[u8], examine: impl Fn(&mut Connection, &str)) {
    for split in 0..input.len() {
        let mut connection = open();
        connection.handle_data(Duration::ZERO, &input[..split]);
        connection.handle_data(Duration::ZERO, &input[split..]);
        examine(&mut connection, &format!("{input:?} split at {split}"));
    }
    let mut connection = open();
    for byte in input {
        connection.handle_data(Duration::ZERO, std::slice::from_ref(byte));
    }
    examine(&mut connection, &format!("{input:?} byte by byte"));
}

#[test]
fn messages_and_fragments() {
    let text = |text: &str| Message::Text(text.to_owned());
    let cases: Vec<(Vec<Vec<u8>>, Vec<Message>)> = vec![
        (vec![frame(0x81, b"hello")], vec![text("hello")]),
        (vec![frame(0x81, b"")], vec![text("")]),
        (vec![frame(0x82, b"\0\xff")], vec![Message::Binary(vec![0, 255])]),
        (vec![frame(0x82, &[7; 126])], vec![Message::Binary(vec![7; 126])]),
        (vec![frame(0x81, b"a"), frame(0x81, b"b")], vec![text("a"), text("b")]),
        (vec![frame(0x01, b"hel"), frame(0x00, b""), frame(0x80, b"lo")], vec![text("hello")]),
        (vec![frame(0x01, b"a"), frame(0x89, b"p"), frame(0x80, b"b")], vec![text("ab")]),
        (vec![frame(0x01, b"\xc3"), frame(0x80, b"\xa9")], vec![text("é")]),
        (vec![frame(0x8a, b"unasked pong"), frame(0x81, b"x")], vec![text("x")]),
    ];
    for (frames, expected) in cases {
        check(&frames.concat(), |connection, shown| {
            assert_eq!(messages(connection), expected, "{shown}");
            assert!(connection.is_open(), "{shown}");
        });
    }
}

#[test]
fn broken_rules_close_with_their_code() {
    let unmasked = vec![0x81, 0x01, b'a'];
    let too_long = [&[0x82, 0xff][..], &(1_u64 << 62).to_be_bytes(), &MASK].concat();
    let cases: Vec<(Vec<u8>, CloseCode)> = vec![
        (unmasked, CloseCode::PROTOCOL),
        (frame(0xc1, b"a"), CloseCode::PROTOCOL),
        (frame(0xa1, b"a"), CloseCode::PROTOCOL),
        (frame(0x91, b"a"), CloseCode::PROTOCOL),
        (frame(0x83, b"a"), CloseCode::PROTOCOL),
        (frame(0x8b, b"a"), CloseCode::PROTOCOL),
        (frame(0x80, b"a"), CloseCode::PROTOCOL),
        ([frame(0x01, b"a"), frame(0x81, b"b")].concat(), CloseCode::PROTOCOL),
        (frame(0x09, b"a"), CloseCode::PROTOCOL),
        (frame(0x89, &[0; 126]), CloseCode::PROTOCOL),
        (frame(0x88, b"x"), CloseCode::PROTOCOL),
        (frame(0x88, &1005_u16.to_be_bytes()), CloseCode::PROTOCOL),
        (frame(0x88, &999_u16.to_be_bytes()), CloseCode::PROTOCOL),
        (frame(0x88, &5000_u16.to_be_bytes()), CloseCode::PROTOCOL),
        (frame(0x88, b"\x03\xe8\xff"), CloseCode::INVALID_DATA),
        (frame(0x81, b"\xff"), CloseCode::INVALID_DATA),
        (frame(0x81, b"\xc3"), CloseCode::INVALID_DATA),
        (frame(0x81, b"\xed\xa0\x80"), CloseCode::INVALID_DATA),
        (frame(0x01, b"\xf8"), CloseCode::INVALID_DATA),
        (too_long, CloseCode::TOO_BIG),
    ];
    for (input, code) in cases {
        check(&input, |connection, shown| {
            assert_eq!(connection.closed().map(|close| close.code), Some(code), "{shown}");
            let sent = connection.poll_output();
            assert_eq!(sent[0], 0x88, "{shown}");
            assert_eq!(sent[2..4], code.0.to_be_bytes(), "{shown}");
            assert_eq!(connection.poll_fate(), Fate::Close);
            assert_eq!(connection.send_text("x"), Err(SendError::Closed));
        });
    }
}

#[test]
fn a_message_above_the_limit_is_refused_over_fragments_too() {
    let limits = Limits { message: 4, ..Limits::default() };
    let mut connection = Connection::new(limits, Duration::ZERO);
    connection.handle_data(Duration::ZERO, &[frame(0x02, b"abc"), frame(0x80, b"d")].concat());
    assert_eq!(messages(&mut connection), [Message::Binary(b"abcd".to_vec())]);
    connection.handle_data(Duration::ZERO, &[frame(0x02, b"abc"), frame(0x80, b"de")].concat());
    assert_eq!(connection.closed().map(|close| close.code), Some(CloseCode::TOO_BIG));
}

#[test]
fn control_frames_are_answered() {
    check(&frame(0x89, b"are you there"), |connection, shown| {
        assert_eq!(connection.poll_output(), b"\x8a\x0dare you there", "{shown}");
    });
    check(&frame(0x88, b"\x03\xe8bye"), |connection, shown| {
        assert_eq!(connection.poll_output(), b"\x88\x05\x03\xe8bye", "{shown}");
        assert_eq!(connection.closed(), Some(&Close::new(CloseCode::NORMAL, "bye")), "{shown}");
        assert_eq!(connection.poll_fate(), Fate::Close, "{shown}");
    });
    check(&frame(0x88, b""), |connection, shown| {
        assert_eq!(connection.poll_output(), b"\x88\x00", "{shown}");
        assert_eq!(connection.closed().map(|c| c.code), Some(CloseCode::NO_STATUS), "{shown}");
    });
}

#[test]
fn our_close_waits_for_theirs() {
    let mut connection = open();
    connection.close(Duration::ZERO, &Close::new(CloseCode::RESTART, "")).expect("open");
    assert_eq!(connection.poll_output(), b"\x88\x02\x03\xf4");
    assert_eq!(connection.poll_fate(), Fate::Open);
    connection.handle_data(Duration::ZERO, &frame(0x81, b"late"));
    connection.handle_data(Duration::ZERO, &frame(0x88, b"\x03\xf4"));
    assert_eq!(messages(&mut connection), []);
    assert_eq!(connection.poll_fate(), Fate::Close);
    assert_eq!(connection.poll_output().len(), 4, "no second close frame");

    let mut connection = open();
    connection.close(Duration::ZERO, &Close::new(CloseCode::NORMAL, "")).expect("open");
    connection.handle_timeout(Duration::from_secs(10), 0);
    assert_eq!(connection.poll_fate(), Fate::Abort);
    assert_eq!(
        open().close(Duration::ZERO, &Close::new(CloseCode(1006), "")),
        Err(SendError::CloseCode(1006))
    );
}

#[test]
fn a_client_that_closes_and_does_not_read() {
    let mut connection = open();
    connection.send_binary(&[1; 1000]).expect("open");
    connection.clear_output();
    connection.handle_data(Duration::ZERO, &frame(0x88, b"\x03\xe8"));
    connection.clear_output();
    connection.handle_timeout(Duration::from_secs(1), 900);
    connection.handle_timeout(Duration::from_secs(60), 900);
    assert_eq!(connection.poll_fate(), Fate::Close);
    connection.handle_timeout(Duration::from_secs(62), 900);
    assert_eq!(connection.poll_fate(), Fate::Abort);
    // What the application is told stays.
    assert_eq!(connection.closed().map(|close| close.code), Some(CloseCode::NORMAL));
}

#[test]
fn pings_find_the_dead() {
    let mut connection = open();
    connection.handle_timeout(Duration::from_secs(19), 0);
    assert_eq!(connection.poll_output(), b"");
    connection.handle_timeout(Duration::from_secs(20), 0);
    assert_eq!(connection.poll_output()[0], 0x89);
    connection.clear_output();
    connection.handle_data(Duration::from_secs(21), &frame(0x8a, b"pelton"));
    connection.handle_timeout(Duration::from_secs(39), 0);
    connection.handle_timeout(Duration::from_secs(40), 0);
    assert_eq!(connection.poll_output()[0], 0x89, "the next ping");
    connection.handle_timeout(Duration::from_secs(59), 0);
    assert_eq!(connection.poll_fate(), Fate::Open);
    connection.handle_timeout(Duration::from_secs(60), 0);
    assert_eq!(connection.poll_fate(), Fate::Abort);
    assert_eq!(connection.closed().map(|close| close.code), Some(CloseCode::ABNORMAL));
}

#[test]
fn a_full_queue_stops_the_reading() {
    let mut connection = open();
    connection.handle_data(Duration::ZERO, &frame(0x81, b"x").repeat(40));
    assert!(!connection.wants_read());
    assert_eq!(messages(&mut connection).len(), 40, "taking some lets the rest in");
    assert!(connection.wants_read());
}

#[test]
fn frames_out() {
    let mut connection = open();
    connection.send_text("hi").expect("open");
    connection.send_binary(&[1; 200]).expect("open");
    let expected = [&b"\x81\x02hi\x82\x7e\x00\xc8"[..], &[1; 200]].concat();
    assert_eq!(connection.poll_output(), expected);
}

fn handshake(fields: &str) -> Result<Handshake, HandshakeError> {
    let stamp = Stamp::new(0, b"").expect("no server name");
    let mut connection = h1::Connection::new(Arc::default(), Duration::ZERO);
    let input = format!("GET /ws HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    connection.handle_data(Duration::ZERO, input.as_bytes());
    match connection.poll_event(Duration::ZERO, &stamp) {
        Some(Event::Request(head)) if head.is_websocket_upgrade() => Handshake::check(&head),
        event => panic!("no upgrade: {event:?}"),
    }
}

#[test]
fn the_handshake() {
    const UPGRADE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n";
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let good =
        format!("{UPGRADE}{KEY}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: a, b\r\n");
    let handshake_made = handshake(&good).expect("a good handshake");
    assert_eq!(handshake_made.subprotocols(), ["a", "b"]);
    let stamp = Stamp::new(0, b"").expect("no server name");
    let head = handshake_made.accept(&stamp, Some("b"), std::iter::empty()).expect("fine");
    let head = String::from_utf8(head).expect("text");
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    assert!(head.contains("sec-websocket-protocol: b\r\n"), "{head}");
    assert!(handshake_made.accept(&stamp, Some("b\r\nx: y"), std::iter::empty()).is_err());

    for (fields, error) in [
        (format!("{UPGRADE}{KEY}"), HandshakeError::Version),
        (format!("{UPGRADE}{KEY}Sec-WebSocket-Version: 8\r\n"), HandshakeError::Version),
        (format!("{UPGRADE}Sec-WebSocket-Version: 13\r\n"), HandshakeError::Key),
        (
            format!("{UPGRADE}Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n"),
            HandshakeError::Key,
        ),
        (format!("{UPGRADE}{KEY}{KEY}Sec-WebSocket-Version: 13\r\n"), HandshakeError::Key),
    ] {
        assert_eq!(handshake(&fields).err(), Some(error), "{fields}");
    }
}
