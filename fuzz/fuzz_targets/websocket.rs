//! Any bytes, cut anywhere, are the same messages and the same end.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pelton_http::websocket::{Close, Connection, Limits, Message};

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, data) = input;
    let cut = usize::from(cut).min(data.len());
    assert_eq!(receive(&[data]), receive(&[&data[..cut], &data[cut..]]));
});

fn receive(pieces: &[&[u8]]) -> (Vec<Message>, Option<Close>, Vec<u8>) {
    let limits = Limits { message: 1 << 16, ..Limits::default() };
    let mut connection = Connection::new(limits, Duration::ZERO);
    let mut messages = Vec::new();
    for piece in pieces {
        connection.handle_data(Duration::ZERO, piece);
        while let Some(message) = connection.poll_message(Duration::ZERO) {
            assert!(message.len() <= 1 << 16);
            messages.push(message);
        }
    }
    (messages, connection.closed().cloned(), connection.poll_output().to_vec())
}
