//! Clients that cost more than they should. Each test shows a limit, and that what is below it is
//! served.

use super::client::{
    App, Client, GET, POST, block, data, frame, headers, reset, settings, window_update, with,
};
use crate::h1::Fate;
use crate::h2::{Code, Limits};

const CALM: Option<u32> = Some(Code::EnhanceYourCalm as u32);

fn get(stream: u32) -> Vec<u8> {
    headers(stream, &GET, true)
}

/// Feeds what `frames` gives for 0, 1, 2 ... until the connection ends; how many that were.
fn flood(client: &mut Client, most: u32, frames: impl Fn(u32) -> Vec<u8>) -> u32 {
    for n in 0..most {
        client.feed(&frames(n));
        if client.is_over() {
            return n;
        }
    }
    most
}

#[test]
fn rapid_reset() {
    let mut client = Client::new(App::Idle);
    let served = flood(&mut client, 1000, |n| [get(1 + 2 * n), reset(1 + 2 * n)].concat());
    assert_eq!(client.goaway(), CALM);
    assert_eq!(served, 100);
    // In one piece with its reset, a request reaches no application at all.
    assert_eq!(client.requests.len(), 0);
}

#[test]
fn resets_of_what_applications_work_on_count_against_the_streams() {
    let limits = Limits { streams: 10, resets: 1000, ..Limits::default() };
    let mut client = Client::with(App::Idle, crate::Limits::default(), limits);
    for n in 0..10 {
        client.feed(&get(1 + 2 * n));
        // The application does not hear of it: it goes on.
        client.engine.handle_data(client.now, &reset(1 + 2 * n));
        while client.engine.poll_event(client.now, &client.stamp).is_some() {}
    }
    client.feed(&get(21));
    assert_eq!(client.reset(21), Some(Code::RefusedStream as u32));
    client.engine.release_stream(1);
    client.feed(&get(23));
    assert_eq!(client.reset(23), None);
    assert_eq!(client.requests.last().map(|(id, _)| *id), Some(23));
}

#[test]
fn a_client_that_cancels_a_third_of_its_requests_is_served() {
    let mut client = Client::new(App::Echo);
    let served = flood(&mut client, 3000, |n| {
        let stream = 1 + 2 * n;
        if n % 3 == 0 {
            [headers(stream, &POST, false), reset(stream)].concat()
        } else {
            get(stream)
        }
    });
    assert_eq!(served, 3000);
    // Or one that cancels all of a few, for hours.
    let mut client = Client::new(App::Idle);
    for n in 0..1000 {
        client.feed(&[get(1 + 2 * n), reset(1 + 2 * n)].concat());
        client.wait(1);
    }
    assert!(!client.is_over());
}

#[test]
fn faults_that_make_the_server_reset() {
    for bad in [0, 1, 2, 3] {
        let mut client = Client::new(App::Idle);
        let served = flood(&mut client, 1000, |n| {
            let stream = 1 + 2 * n;
            match bad {
                0 => headers(stream, &with(GET, &[("Upper", "case")]), true),
                1 => [headers(stream, &POST, false), window_update(stream, 0)].concat(),
                2 => [get(stream), data(stream, b"late", true)].concat(),
                _ => [
                    headers(stream, &with(POST, &[("content-length", "1")]), false),
                    data(stream, b"too long", true),
                ]
                .concat(),
            }
        });
        assert_eq!((client.goaway(), served), (CALM, 100), "kind {bad}");
    }
}

#[test]
fn frames_that_carry_nothing() {
    type Frames = fn(u32) -> Vec<u8>;
    let floods: [(&str, Frames); 9] = [
        ("ping", |_| frame(6, 0, 0, &[0; 8])),
        ("pong", |_| frame(6, 1, 0, &[0; 8])),
        ("settings", |_| settings(&[])),
        ("priority", |_| frame(2, 0, 1, &[0, 0, 0, 3, 1])),
        ("priority update", |_| frame(0x10, 0, 0, b"\0\0\0\x01u=1")),
        ("window update", |_| window_update(0, 1)),
        ("unknown", |_| frame(0x77, 0, 0, &[])),
        ("empty data", |_| data(1, b"", false)),
        ("padding", |_| frame(0, 0x8, 1, b"\x01\0")),
    ];
    for (name, frames) in floods {
        let mut client = Client::new(App::Idle);
        client.feed(&headers(1, &POST, false));
        let served = flood(&mut client, 10_000, frames);
        assert_eq!(client.goaway(), CALM, "{name}");
        assert!((900..1010).contains(&served), "{name}: {served}");
        assert_eq!(client.gone, [1]);
    }
}

#[test]
fn the_same_frames_at_a_walk_are_fine() {
    let mut client = Client::new(App::Echo);
    for _ in 0..5000 {
        client.feed(&[frame(6, 0, 0, &[0; 8]), window_update(0, 1)].concat());
        client.now += std::time::Duration::from_millis(100);
    }
    assert!(!client.is_over());
    // As are those that come with requests and their answers.
    let mut client = Client::new(App::Echo);
    let served = flood(&mut client, 5000, |n| {
        let stream = 1 + 2 * n;
        [get(stream), window_update(0, 5), window_update(0, 5), frame(6, 0, 0, &[0; 8])].concat()
    });
    assert_eq!(served, 5000);
}

#[test]
fn continuation_flood() {
    let mut client = Client::new(App::Idle);
    client.feed(&frame(1, 0, 1, &block(&GET)));
    let served = flood(&mut client, 1000, |_| frame(9, 0, 1, &block(&[("x", "y")])));
    assert_eq!((client.goaway(), served), (CALM, 16));
    let mut client = Client::new(App::Idle);
    client.feed(&frame(1, 0, 1, &block(&GET)));
    let piece = block(&[("x", &"y".repeat(16_000))]);
    let served = flood(&mut client, 1000, |_| frame(9, 0, 1, &piece));
    assert_eq!((client.goaway(), served), (CALM, 5));
}

#[test]
fn a_header_block_that_never_ends() {
    let mut client = Client::new(App::Idle);
    client.feed(&frame(1, 0, 1, &block(&GET)));
    client.wait(29);
    assert!(!client.is_over());
    client.wait(2);
    assert_eq!(client.goaway(), Some(Code::Protocol as u32));
}

#[test]
fn a_small_block_that_means_a_large_head() {
    // One entry of 3 KiB, then a hundred times a byte that stands for it.
    let long = "x".repeat(3000);
    let mut bytes = block(&GET);
    bytes.extend([0x40, 1, b'a', 0x7f, 0xb9, 0x16]);
    bytes.extend(long.as_bytes());
    bytes.extend([0xbe; 100]);
    let mut client = Client::new(App::Idle);
    client.feed(&frame(1, 0x5, 1, &bytes));
    assert_eq!(client.status(1), Some(431));
    assert!(client.requests.is_empty());
    // The table is as the client believes.
    client.feed(&frame(1, 0x5, 3, &[&block(&GET)[..], &[0xbe]].concat()));
    assert_eq!(client.requests[0].1.headers().get(b"a").map(<[u8]>::len), Some(3000));
}

#[test]
fn a_client_that_says_nothing() {
    for said in [&b""[..], b"PRI * HTTP/2.0\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut client = Client::raw(App::Idle, crate::Limits::default(), Limits::default());
        client.feed(said);
        client.wait(29);
        assert!(!client.is_over());
        client.wait(2);
        assert!(client.is_over());
    }
}

#[test]
fn a_window_that_stays_shut() {
    let mut client = Client::new(App::Idle);
    client.feed(&settings(&[(4, 0)]));
    client.feed(&get(1));
    client.respond(1, b"nobody takes this");
    client.feed(&get(3));
    let none = std::iter::empty();
    client.engine.start_response(3, &client.stamp, 200, none).unwrap();
    client.engine.send_body(client.now, 3, b"nor this", true).unwrap();
    client.run();
    client.wait(59);
    assert_eq!((client.reset(1), client.reset(3)), (None, None));
    client.wait(2);
    assert_eq!(client.reset(1), Some(Code::Cancel as u32));
    assert_eq!(client.reset(3), Some(Code::Cancel as u32));
    // The application of the first had finished; that of the second hears of it.
    assert_eq!(client.gone, [3]);
    assert!(!client.is_over());
}

#[test]
fn a_client_that_does_not_read() {
    let mut client = Client::new(App::Echo);
    client.feed(&get(1));
    client.engine.handle_timeout(client.now, 1000);
    client.now += std::time::Duration::from_secs(61);
    client.engine.handle_timeout(client.now, 1000);
    assert_eq!(client.engine.poll_fate(), Fate::Abort);
}

#[test]
fn a_client_that_has_left_and_does_not_read() {
    let mut client = Client::new(App::Echo);
    client.feed(&get(1));
    client.engine.handle_timeout(client.now, 1000);
    client.engine.handle_eof();
    client.run();
    assert_eq!(client.engine.poll_fate(), Fate::Close);
    client.now += std::time::Duration::from_secs(59);
    client.engine.handle_timeout(client.now, 1000);
    assert_eq!(client.engine.poll_fate(), Fate::Close);
    client.now += std::time::Duration::from_secs(2);
    client.engine.handle_timeout(client.now, 1000);
    assert_eq!(client.engine.poll_fate(), Fate::Abort);
}

#[test]
fn answers_to_pings_do_not_pile_up() {
    let limits = Limits { control_frames: 1_000_000, ..Limits::default() };
    let mut client = Client::with(App::Idle, crate::Limits::default(), limits);
    let pings = frame(6, 0, 0, &[0; 8]).repeat(1000);
    for _ in 0..100 {
        // The transport is full: nobody polls the output.
        if client.engine.wants_read() {
            client.engine.handle_data(client.now, &pings);
        }
    }
    assert!(!client.engine.wants_read());
    let output = client.engine.poll_output(client.now).len();
    assert!(output < 256 * 1024 + 20_000, "{output} bytes wait");
}
