//! Any bytes, cut anywhere, are the same messages and the same end, with compression and without;
//! and what is sent compressed comes out again as it was.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pelton_http::h1::{self, Event, Stamp};
use pelton_http::websocket::{
    Agreement, Close, Connection, DeflateOptions, Handshake, Limits, Message,
};

const LIMIT: usize = 1 << 16;
const OFFERS: [&str; 3] = [
    "permessage-deflate",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "permessage-deflate; server_max_window_bits=9; client_max_window_bits=8",
];

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (kind, cut, data) = input;
    let offer = OFFERS.get(usize::from(kind % 4));
    let (head, tail) = data.split_at(usize::from(cut).min(data.len()));
    assert_eq!(receive(&[data], offer), receive(&[head, tail], offer));
    if let Some(offer) = offer {
        round_trip(data, offer);
    }
});

fn options() -> DeflateOptions {
    DeflateOptions { min_size: 0, ..DeflateOptions::default() }
}

fn agreement(offer: &str) -> Agreement {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Extensions: {offer}\r\n\r\n"
    );
    let mut connection = h1::Connection::new(Default::default(), Duration::ZERO);
    connection.handle_data(Duration::ZERO, request.as_bytes());
    let stamp = Stamp::new(0, b"").expect("no server name");
    let Some(Event::Request(head)) = connection.poll_event(Duration::ZERO, &stamp) else {
        panic!("the request is good");
    };
    let handshake = Handshake::check(&head).expect("a good handshake");
    handshake.negotiate(&options()).expect("good offers").expect("one that can be taken")
}

fn open(offer: Option<&&str>) -> Connection {
    let limits = Limits { message: LIMIT, ..Limits::default() };
    let mut connection = Connection::new(limits, Duration::ZERO);
    if let Some(offer) = offer {
        connection.use_deflate(agreement(offer), options());
    }
    connection
}

fn receive(
    pieces: &[&[u8]],
    offer: Option<&&str>,
) -> (Vec<Message>, Option<Close>, Vec<u8>) {
    let mut connection = open(offer);
    let mut messages = Vec::new();
    for piece in pieces {
        connection.handle_data(Duration::ZERO, piece);
        while let Some(message) = connection.poll_message(Duration::ZERO) {
            assert!(message.len() <= LIMIT);
            messages.push(message);
        }
    }
    (messages, connection.closed().cloned(), connection.poll_output().to_vec())
}

/// Three messages sent, and received by another connection that takes our frames for a client's.
fn round_trip(data: &[u8], offer: &str) {
    let mut sender = open(Some(&offer));
    let mut receiver = open(Some(&offer));
    let content = &data[..data.len().min(LIMIT)];
    for _ in 0..3 {
        sender.send_binary(content).expect("open");
        let frame = sender.poll_output();
        // The same frame with a mask of zeros, which changes nothing.
        let length = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        let mut masked = frame[..length].to_vec();
        masked[1] |= 0x80;
        masked.extend([0; 4]);
        masked.extend_from_slice(&frame[length..]);
        receiver.handle_data(Duration::ZERO, &masked);
        let received = receiver.poll_message(Duration::ZERO);
        assert_eq!(received, Some(Message::Binary(content.to_vec())));
        sender.clear_output();
    }
}
