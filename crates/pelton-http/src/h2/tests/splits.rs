//! Bytes mean the same, however they are cut.

use super::client::{
    App, Client, GET, POST, block, data, frame, headers, hello, reset, settings, window_update,
    with,
};
use crate::h2::Limits;

/// What is left of a connection: its requests that are alive, with their bodies, and its end.
fn digest(client: &Client) -> (Vec<String>, Option<u32>, bool) {
    let mut alive = Vec::new();
    for (id, head) in &client.requests {
        if client.gone.contains(id) || client.refused.iter().any(|(refused, _)| refused == id) {
            continue;
        }
        let body = String::from_utf8_lossy(client.engine.body(*id)).into_owned();
        let complete = client.engine.is_body_complete(*id);
        alive.push(format!("{id} {} {:?} {body:?} {complete}", head.method(), head.headers()));
    }
    (alive, client.goaway(), client.is_over())
}

fn run(pieces: &[&[u8]]) -> (Vec<String>, Option<u32>, bool) {
    let mut client = Client::raw(App::Idle, crate::Limits::default(), Limits::default());
    for piece in pieces {
        client.feed(piece);
    }
    digest(&client)
}

#[test]
fn cut_anywhere() {
    let long = block(&with(POST, &[("x-long", &"y".repeat(300))]));
    let conversation = [
        hello(),
        settings(&[(1, 0), (4, 1000)]),
        headers(1, &with(GET, &[("cookie", "a"), ("cookie", "b")]), true),
        frame(1, 0, 3, &long[..100]),
        frame(9, 0x4, 3, &long[100..]),
        data(3, b"some of it", false),
        frame(6, 0, 0, b"12345678"),
        headers(5, &POST, false),
        reset(5),
        frame(0, 0x8, 3, b"\x04padded\0\0\0\0"),
        window_update(0, 500),
        headers(7, &with(GET, &[("Bad", "name")]), true),
        headers(3, &[("x-trailer", "1")], true),
    ]
    .concat();
    let broken = [&conversation[..], &data(0, b"x", false)].concat();
    for input in [&conversation, &broken] {
        let whole = run(&[input]);
        assert_eq!(whole.0.len(), if whole.2 { 0 } else { 2 });
        for cut in 0..input.len() {
            assert_eq!(run(&[&input[..cut], &input[cut..]]), whole, "cut at {cut}");
        }
        let bytes: Vec<_> = input.chunks(1).collect();
        assert_eq!(run(&bytes), whole, "byte by byte");
    }
}
