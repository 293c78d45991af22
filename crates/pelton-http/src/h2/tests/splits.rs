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

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((self.0 >> 33) % u64::from(limit)) as u32
    }

    fn bytes(&mut self, most: u32) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.below(256) as u8).collect()
    }
}

fn some_frame(numbers: &mut Numbers) -> Vec<u8> {
    let stream = numbers.below(12);
    let flags = numbers.below(256) as u8;
    match numbers.below(10) {
        0 => headers(stream | 1, &GET, numbers.below(2) == 0),
        1 => headers(stream | 1, &POST, false),
        2 => frame(1, flags, stream, &block(&GET)),
        3 => frame(9, flags, stream, &block(&[("x", "y")])),
        4 => data(stream, &numbers.bytes(40), flags.is_multiple_of(2)),
        5 => settings(&[(numbers.below(10) as u16, numbers.below(70_000))]),
        6 => window_update(stream, numbers.below(3) * numbers.below(1 << 30)),
        7 => reset(stream | 1),
        8 => frame(1, 0x5, stream | 1, &numbers.bytes(30)),
        _ => frame(numbers.below(18) as u8, flags, stream, &numbers.bytes(20)),
    }
}

#[test]
fn frames_at_random_cut_at_random() {
    let mut numbers = Numbers(4);
    let mut survived = 0;
    for round in 0..3000 {
        let mut input = hello();
        for _ in 0..numbers.below(12) {
            input.extend(some_frame(&mut numbers));
        }
        let whole = run(&[&input]);
        survived += u32::from(!whole.2);
        for _ in 0..4 {
            let cut = numbers.below(input.len() as u32 + 1) as usize;
            let (first, second) = input.split_at(cut);
            assert_eq!(run(&[first, second]), whole, "round {round}, cut at {cut}: {input:?}");
        }
        // With an application that answers, and time that goes by, everything has an end.
        let mut client = Client::raw(App::Echo, crate::Limits::default(), Limits::default());
        client.feed(&input);
        client.engine.shutdown(client.now);
        for _ in 0..70 {
            client.wait(3);
        }
        assert!(client.is_over(), "round {round}: {input:?}");
    }
    // The test would show little if all of them ended at once.
    assert!(survived > 200, "{survived} of 3000");
}
