//! Flow control in both directions.

use std::time::Duration;

use super::client::{
    App, Client, GET, Got, POST, data, frame, headers, settings, window_update, with,
};
use crate::h1::RequestError;
use crate::h2::{Code, Limits};

fn small_windows() -> Limits {
    Limits { stream_window: 65_535, connection_window: 65_535, ..Limits::default() }
}

fn updates(client: &Client, of: u32) -> u32 {
    let updates = client.got.iter().map(|got| match got {
        Got::WindowUpdate { stream, increment } if *stream == of => *increment,
        _ => 0,
    });
    updates.sum()
}

#[test]
fn a_body_arrives_and_is_taken() {
    let mut client = Client::new(App::Idle);
    client.feed(&headers(1, &with(POST, &[("content-length", "8")]), false));
    client.feed(&data(1, b"half", false));
    assert_eq!(client.engine.body(1), b"half");
    assert!(!client.engine.is_body_complete(1));
    client.engine.clear_body(1);
    client.feed(&frame(0, 0x9, 1, b"\x02more\0\0"));
    assert_eq!(client.engine.body(1), b"more");
    assert!(client.engine.is_body_complete(1));
}

#[test]
fn windows_grow_as_the_application_takes() {
    let mut client = Client::with(App::Idle, crate::Limits::default(), small_windows());
    client.feed(&headers(1, &POST, false));
    let piece = [0; 16_000];
    for _ in 0..4 {
        client.feed(&data(1, &piece, false));
    }
    assert_eq!((updates(&client, 0), updates(&client, 1)), (0, 0));
    client.engine.clear_body(1);
    client.run();
    assert_eq!((updates(&client, 0), updates(&client, 1)), (64_000, 64_000));
    for _ in 0..4 {
        client.feed(&data(1, &piece, false));
    }
    assert!(!client.is_over() && client.reset(1).is_none());
}

#[test]
fn more_than_the_window_ends_the_connection() {
    let mut client = Client::with(App::Idle, crate::Limits::default(), small_windows());
    client.feed(&headers(1, &POST, false));
    for _ in 0..5 {
        client.feed(&data(1, &[0; 16_000], false));
    }
    assert_eq!(client.goaway(), Some(Code::FlowControl as u32));
    // A stream's window alone costs the stream alone.
    let limits = Limits { stream_window: 65_535, ..Limits::default() };
    let mut client = Client::with(App::Idle, crate::Limits::default(), limits);
    client.feed(&headers(1, &POST, false));
    for _ in 0..5 {
        client.feed(&data(1, &[0; 16_000], false));
    }
    assert_eq!(client.reset(1), Some(Code::FlowControl as u32));
    assert_eq!(client.gone, [1]);
    assert!(!client.is_over());
}

#[test]
fn what_nobody_takes_is_given_back_to_the_connection() {
    let mut client = Client::with(App::Idle, crate::Limits::default(), small_windows());
    // A hundred bodies that end in a reset use up no window for good.
    for n in 0..40 {
        let stream = 1 + 2 * n;
        client.feed(&headers(stream, &POST, false));
        client.feed(&data(stream, &[0; 16_000], false));
        client.feed(&frame(3, 0, stream, &[0, 0, 0, 8]));
        assert!(client.goaway().is_none(), "at {stream}");
    }
    // So does padding.
    client.feed(&headers(99, &POST, false));
    for _ in 0..300 {
        let padded = [&[255][..], b"x", &[0; 255]].concat();
        client.feed(&frame(0, 0x8, 99, &padded));
        client.engine.clear_body(99);
        client.run();
    }
    assert!(client.goaway().is_none() && client.reset(99).is_none());
}

#[test]
fn a_collected_body_needs_no_taking() {
    let mut client = Client::with(App::Echo, crate::Limits::default(), small_windows());
    client.feed(&[settings(&[(4, 1 << 20)]), window_update(0, 1 << 20)].concat());
    client.feed(&headers(1, &POST, false));
    for _ in 0..40 {
        client.feed(&data(1, &[b'x'; 10_000], false));
    }
    client.feed(&data(1, b"", true));
    assert_eq!(client.answer(1), (vec![b'x'; 400_000], true));
}

#[test]
fn bodies_that_are_collected_share_a_limit() {
    let limits = crate::Limits { body: Some(200_000), ..crate::Limits::default() };
    let mut client = Client::with(App::Echo, limits, small_windows());
    client.feed(&window_update(0, 1 << 20));
    let streams = [1, 3, 5, 7];
    for stream in streams {
        client.feed(&headers(stream, &POST, false));
        for _ in 0..4 {
            client.feed(&data(stream, &[b'x'; 15_000], false));
        }
    }
    // The connection's window is open, those of the last ones are not: there is no room for more.
    let windows: Vec<_> = streams.map(|stream| updates(&client, stream) > 0).to_vec();
    assert_eq!(windows, [true, true, true, false]);
    // They do not pay for that with a timeout.
    for _ in 0..3 {
        client.wait(50);
        for stream in [1, 3, 5] {
            client.feed(&data(stream, b"x", false));
        }
    }
    assert_eq!(client.refused, []);
    // The oldest may go on, and when it ends, so may the others.
    for _ in 0..4 {
        client.feed(&data(1, &[b'x'; 15_000], false));
    }
    assert!(updates(&client, 1) > 65_000);
    assert_eq!(updates(&client, 7), 0);
    client.feed(&data(1, b"", true));
    assert_eq!(client.status(1), Some(200));
    assert!(updates(&client, 7) > 0);
}

#[test]
fn a_body_above_the_limit_is_refused() {
    let limits = crate::Limits { body: Some(5), ..crate::Limits::default() };
    let mut client = Client::with(App::Echo, limits.clone(), Limits::default());
    client.feed(&headers(1, &POST, false));
    client.feed(&data(1, b"12345", false));
    assert_eq!(client.status(1), None);
    client.feed(&data(1, b"6", false));
    assert_eq!(client.refused, [(1, RequestError::BodyTooLarge)]);
    assert_eq!(client.status(1), Some(413));
    assert!(client.answer(1).1);
    assert_eq!(client.reset(1), Some(Code::NoError as u32));
    // Where the answer has begun, the stream is all that can be given up.
    let mut client = Client::with(App::Idle, limits, Limits::default());
    client.feed(&headers(1, &POST, false));
    let none = std::iter::empty();
    client.engine.start_response(1, &client.stamp, 200, none).unwrap();
    client.engine.send_body(client.now, 1, b"part", true).unwrap();
    client.feed(&data(1, b"123456", false));
    assert_eq!(client.reset(1), Some(Code::Cancel as u32));
}

#[test]
fn an_early_answer_ends_the_body() {
    let mut client = Client::new(App::Idle);
    client.feed(&headers(1, &POST, false));
    client.respond(1, b"enough");
    assert_eq!(client.answer(1), (b"enough".to_vec(), true));
    assert_eq!(client.reset(1), Some(Code::NoError as u32));
    // What was on its way is dropped without a word.
    client.got.clear();
    client.feed(&[data(1, b"more", false), headers(1, &[("x", "y")], true)].concat());
    assert_eq!(client.got, []);
}

#[test]
fn a_body_s_timeout() {
    let mut client = Client::new(App::Idle);
    client.feed(&headers(1, &POST, false));
    client.wait(100);
    assert_eq!(client.refused, [], "nobody waits for it");
    client.engine.want_body(client.now, 1);
    client.wait(59);
    client.feed(&data(1, b"x", false));
    client.engine.clear_body(1);
    client.engine.want_body(client.now, 1);
    client.wait(59);
    assert_eq!(client.refused, []);
    client.wait(2);
    assert_eq!(client.refused, [(1, RequestError::BodyTimeout)]);
    assert_eq!(client.status(1), Some(408));
}

#[test]
fn an_answer_waits_for_the_window() {
    let mut client = Client::new(App::Idle);
    let body: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
    client.feed(&headers(1, &GET, true));
    client.respond(1, &body);
    assert_eq!(client.answer(1).0.len(), 65_535);
    // The connection's window is used up, so another stream waits too.
    client.feed(&headers(3, &GET, true));
    client.respond(3, b"small");
    assert_eq!(client.answer(3).0, b"");
    client.feed(&window_update(0, 1 << 20));
    assert_eq!(client.answer(3), (b"small".to_vec(), true));
    assert_eq!(client.answer(1).0.len(), 65_535);
    client.feed(&window_update(1, 50_000));
    client.feed(&window_update(1, 1 << 20));
    assert_eq!(client.answer(1), (body, true));
    assert!(client.engine.is_idle());
}

#[test]
fn the_application_is_told_to_wait() {
    let mut client = Client::new(App::Idle);
    client.feed(&headers(1, &GET, true));
    let none = std::iter::empty();
    client.engine.start_response(1, &client.stamp, 200, none).unwrap();
    let mut sent = 0;
    while !client.engine.is_paused(1) {
        client.engine.send_body(client.now, 1, &[b'x'; 10_000], true).unwrap();
        client.run();
        sent += 10_000;
        assert!(sent < 200_000, "it never ends");
    }
    assert_eq!(client.answer(1).0.len(), 65_535);
    assert!(client.engine.backlog(1) > 64 * 1024);
    assert_eq!(client.writable, []);
    client.feed(&[window_update(0, 1 << 20), window_update(1, 1 << 20)].concat());
    assert_eq!(client.writable, [1]);
    assert_eq!(client.answer(1).0.len(), sent);
}

#[test]
fn streams_take_turns() {
    let mut client = Client::new(App::Idle);
    client.feed(&[settings(&[(4, 1 << 20)]), window_update(0, 1 << 20)].concat());
    client.feed(&[1, 3, 5].map(|stream| headers(stream, &GET, true)).concat());
    for stream in [1, 3, 5] {
        let headers = std::iter::empty();
        client
            .engine
            .respond(client.now, stream, &client.stamp, 200, headers, &[b'x'; 100_000])
            .unwrap();
    }
    client.run();
    let order: Vec<_> = client
        .got
        .iter()
        .filter_map(|got| match got {
            Got::Data { stream, .. } => Some(*stream),
            _ => None,
        })
        .collect();
    // Nobody's first piece waits for another's last.
    let first_of_5 = order.iter().position(|stream| *stream == 5);
    let last_of_1 = order.iter().rposition(|stream| *stream == 1);
    assert!(first_of_5 < last_of_1, "{order:?}");
    for stream in [1, 3, 5] {
        assert_eq!(client.answer(stream).0.len(), 100_000);
    }
}

#[test]
fn larger_frames_where_the_client_takes_them() {
    let mut client = Client::new(App::Idle);
    client.feed(&[settings(&[(4, 1 << 20), (5, 60_000)]), window_update(0, 1 << 20)].concat());
    client.feed(&headers(1, &GET, true));
    client.respond(1, &[0; 60_000]);
    let largest = client.got.iter().map(|got| match got {
        Got::Data { data, .. } => data.len(),
        _ => 0,
    });
    assert_eq!(largest.max(), Some(60_000));
}

#[test]
fn trailers_wait_for_the_body() {
    let mut client = Client::new(App::Idle);
    client.feed(&settings(&[(4, 2)]));
    client.feed(&headers(1, &GET, true));
    let none = std::iter::empty();
    client.engine.start_response(1, &client.stamp, 200, none).unwrap();
    client.engine.send_body(client.now, 1, b"body", true).unwrap();
    let trailers = [(&b"x"[..], &b"y"[..])];
    client.engine.send_trailers(client.now, 1, trailers.into_iter()).unwrap();
    client.run();
    assert_eq!(client.answer(1), (b"bo".to_vec(), false));
    client.feed(&window_update(1, 2));
    assert_eq!(client.answer(1), (b"body".to_vec(), true));
    assert!(matches!(client.got.last(), Some(Got::Headers { end: true, .. })));
}

#[test]
fn an_answer_that_is_complete_stays_whatever_becomes_of_the_body() {
    let requests = crate::Limits {
        body: Some(5),
        body_timeout: Duration::from_secs(5),
        ..crate::Limits::default()
    };
    let limits = Limits { streams: 1, ..Limits::default() };
    let mut client = Client::with(App::Idle, requests, limits);
    client.feed(&settings(&[(4, 0)]));
    client.feed(&headers(1, &POST, false));
    client.respond(1, b"answer");
    // Its application has ended; the answer waits for the window.
    client.engine.release_stream(1);
    client.feed(&data(1, b"123456", false));
    assert_eq!(client.refused, []);
    client.feed(&window_update(1, 100));
    assert_eq!(client.answer(1), (b"answer".to_vec(), true));
    // A body that does not come on is given up, and its place with it.
    client.feed(&headers(3, &POST, false));
    client.engine.want_body(client.now, 3);
    client.respond(3, b"answer");
    client.engine.release_stream(3);
    client.wait(6);
    client.feed(&headers(5, &GET, true));
    assert_eq!(client.reset(5), None);
    assert_eq!(client.requests.last().map(|(id, _)| *id), Some(5));
}
