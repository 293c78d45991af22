//! Requests, answers, and the end of a connection.

use super::client::{
    App, Client, GET, Got, POST, block, data, frame, headers, hello, reset, settings,
    window_update, with,
};
use crate::h1::{Fate, RequestError, ResponseError, Version};
use crate::h2::{Code, Limits};

fn get(client: &mut Client, stream: u32) {
    client.feed(&headers(stream, &GET, true));
}

#[test]
fn a_request_as_the_application_sees_it() {
    let mut client = Client::new(App::Idle);
    let fields = [
        (":method", "PUT"),
        (":scheme", "https"),
        (":path", "/a%20b?q=1&r"),
        (":authority", "example.com:8000"),
        ("cookie", "a=1"),
        ("accept", "text/html"),
        ("cookie", "b=2"),
        ("cookie", "c=3"),
        ("content-length", "4"),
    ];
    client.feed(&headers(1, &fields, false));
    let (stream, head) = &client.requests[0];
    assert_eq!(*stream, 1);
    assert_eq!(head.method(), "PUT");
    assert_eq!(head.path(), b"/a%20b");
    assert_eq!(head.query(), b"q=1&r");
    assert_eq!(head.version(), Version::Http2);
    assert_eq!(head.content_length(), Some(4));
    assert!(head.has_body());
    let fields: Vec<_> = head.headers().iter().collect();
    let expected: [(&[u8], &[u8]); 4] = [
        (b"host", b"example.com:8000"),
        (b"accept", b"text/html"),
        (b"content-length", b"4"),
        (b"cookie", b"a=1; b=2; c=3"),
    ];
    assert_eq!(fields, expected);
}

#[test]
fn malformed_requests_are_reset() {
    let base = |replaced: (&'static str, &'static str)| -> Vec<(&str, &str)> {
        GET.into_iter().map(|field| if field.0 == replaced.0 { replaced } else { field }).collect()
    };
    for fields in [
        base((":scheme", "ftp")),
        base((":path", "nowhere")),
        base((":path", "*")),
        base((":path", "/a b")),
        base((":path", "/a#b")),
        base((":path", "/\u{e4}")),
        base((":authority", "")),
        base((":authority", "user@host")),
        base((":method", "G T")),
        base((":method", "")),
        GET[..3].to_vec(),
        with(GET, &[("host", "elsewhere")]),
        with(GET, &[("host", "localhost"), ("host", "localhost")]),
        with(GET, &[("x", "a\nb")]),
        with(GET, &[("x", "a\0b")]),
        with(GET, &[("x", " a")]),
        with(GET, &[("x", "a\t")]),
        with(GET, &[("x y", "a")]),
        with(GET, &[("", "a")]),
        with(GET, &[("content-length", "+1")]),
        with(POST, &[("content-length", "01")]),
        with(POST, &[("content-length", "00")]),
        with(GET, &[("content-length", "1")]),
        with(GET, &[("content-length", "0"), ("content-length", "0")]),
        with(GET, &[("transfer-encoding", "chunked")]),
        with(GET, &[("upgrade", "websocket")]),
        with(GET, &[("proxy-connection", "close")]),
        with(GET, &[("keep-alive", "5")]),
        with(GET, &[("te", "gzip")]),
        with(GET, &[(":protocol", "websocket")]),
        vec![(":method", "CONNECT"), (":authority", "a:1"), (":path", "/")],
    ] {
        let mut client = Client::new(App::Echo);
        client.feed(&headers(1, &fields, true));
        assert_eq!(client.reset(1), Some(Code::Protocol as u32), "{fields:?}");
        assert!(client.requests.is_empty() && !client.is_over());
        // The table is whole, and the next request is answered.
        get(&mut client, 3);
        assert_eq!(client.status(3), Some(200));
    }
}

#[test]
fn requests_that_are_fine_after_all() {
    for fields in [
        with(GET, &[("te", "trailers")]),
        with(GET, &[("host", "LOCALHOST")]),
        with(GET, &[("x", "")]),
        with(GET, &[("content-length", "0")]),
        [&GET[..3], &[("host", "localhost")]].concat(),
        vec![
            (":method", "OPTIONS"),
            (":scheme", "http"),
            (":path", "*"),
            (":authority", "localhost"),
        ],
    ] {
        let mut client = Client::new(App::Echo);
        client.feed(&headers(1, &fields, true));
        assert_eq!(client.status(1), Some(200), "{fields:?}");
    }
}

#[test]
fn limits_of_a_request_are_answered() {
    let limits = || crate::Limits { head: 2000, headers: 10, body: Some(9), ..Default::default() };
    let long = "x".repeat(2000);
    let many: Vec<_> = (0..11).map(|_| ("x", "y")).collect();
    for (fields, error) in [
        (with(POST, &[("x", &long)]), RequestError::HeadTooLarge),
        (with(POST, &many), RequestError::TooManyHeaders),
        (with(POST, &[("expect", "miracles")]), RequestError::Expectation),
        (with(POST, &[("content-length", "10")]), RequestError::BodyTooLarge),
        (vec![(":method", "CONNECT"), (":authority", "a:1")], RequestError::Method),
    ] {
        let mut client = Client::with(App::Echo, limits(), Limits::default());
        client.feed(&headers(1, &fields, false));
        assert_eq!(client.refused, [(1, error)]);
        assert_eq!(client.status(1), Some(error.status()));
        assert_eq!(client.answer(1), (Vec::new(), true));
        // The client may stop sending its body.
        assert_eq!(client.reset(1), Some(Code::NoError as u32));
        client.feed(&data(1, b"on its way", true));
        get(&mut client, 3);
        assert_eq!(client.status(3), Some(200));
        assert!(!client.is_over());
    }
}

#[test]
fn answers_in_any_order() {
    let mut client = Client::new(App::Idle);
    for stream in [1, 3, 5] {
        get(&mut client, stream);
    }
    for stream in [5, 1, 3] {
        client.respond(stream, format!("to {stream}").as_bytes());
    }
    for stream in [1, 3, 5] {
        assert_eq!(client.answer(stream), (format!("to {stream}").into_bytes(), true));
        let fields = client.fields(stream).unwrap();
        assert_eq!(fields["content-length"], "4");
        assert_eq!(fields["server"], "pelton");
        assert_eq!(fields["date"], "Thu, 01 Jan 1970 00:00:00 GMT");
    }
    assert!(client.engine.is_idle());
}

#[test]
fn a_response_in_pieces_with_trailers() {
    let mut client = Client::new(App::Idle);
    get(&mut client, 1);
    let now = client.now;
    let hints = [(&b"link"[..], &b"</style.css>; rel=preload"[..])];
    client.engine.send_informational(1, 103, hints.into_iter()).unwrap();
    let fields = [(&b"Connection"[..], &b"close"[..]), (b"X-Own", b"Value")];
    client.engine.start_response(1, &client.stamp, 201, fields.into_iter()).unwrap();
    client.run();
    assert_eq!(client.status(1), Some(103), "the head waits for the first piece");
    client.engine.send_body(now, 1, b"one", true).unwrap();
    client.engine.send_body(now, 1, b"two", true).unwrap();
    let trailers = [(&b"x-checksum"[..], &b"6"[..])];
    client.engine.send_trailers(now, 1, trailers.into_iter()).unwrap();
    client.run();
    let blocks: Vec<_> = client
        .got
        .iter()
        .filter_map(|got| match got {
            Got::Headers { fields, end, .. } => Some((fields.clone(), *end)),
            _ => None,
        })
        .collect();
    assert_eq!(blocks[1].0[0], (":status".to_owned(), "201".to_owned()));
    assert!(blocks[1].0.contains(&("x-own".to_owned(), "Value".to_owned())));
    assert!(!blocks[1].0.iter().any(|(name, _)| name == "connection" || name == "content-length"));
    assert_eq!(blocks[2], (vec![("x-checksum".to_owned(), "6".to_owned())], true));
    assert_eq!(client.answer(1), (b"onetwo".to_vec(), true));
}

#[test]
fn responses_without_a_body() {
    for (method, status, length) in
        [("HEAD", 200, Some("5")), ("GET", 204, None), ("GET", 304, None)]
    {
        let mut client = Client::new(App::Idle);
        let fields = [(":method", method), GET[1], GET[2], GET[3]];
        client.feed(&headers(1, &fields, true));
        let body: &[u8] = if status == 200 { b"hello" } else { b"" };
        let none = std::iter::empty();
        client.engine.respond(client.now, 1, &client.stamp, status, none, body).unwrap();
        client.run();
        assert_eq!(client.answer(1), (Vec::new(), true));
        assert_eq!(client.fields(1).unwrap().get("content-length").map(String::as_str), length);
    }
}

#[test]
fn what_an_application_gets_wrong() {
    let mut client = Client::new(App::Idle);
    get(&mut client, 1);
    let (now, stamp) = (client.now, client.stamp.clone());
    let none = std::iter::empty;
    let engine = &mut client.engine;
    assert!(matches!(engine.send_body(now, 1, b"x", true), Err(ResponseError::OutOfOrder(_))));
    assert_eq!(engine.start_response(1, &stamp, 99, none()), Err(ResponseError::Status(99)));
    let split = [(&b"x"[..], &b"a\r\nb"[..])];
    assert_eq!(
        engine.start_response(1, &stamp, 200, split.into_iter()),
        Err(ResponseError::HeaderValue)
    );
    let five = [(&b"content-length"[..], &b"5"[..])];
    assert_eq!(
        engine.respond(now, 1, &stamp, 200, five.into_iter(), b"123456"),
        Err(ResponseError::BodyTooLong)
    );
    assert_eq!(
        engine.respond(now, 1, &stamp, 200, five.into_iter(), b"1"),
        Err(ResponseError::BodyTooShort)
    );
    engine.start_response(1, &stamp, 200, five.into_iter()).unwrap();
    assert!(matches!(
        engine.start_response(1, &stamp, 200, none()),
        Err(ResponseError::OutOfOrder(_))
    ));
    engine.send_body(now, 1, b"123", true).unwrap();
    assert_eq!(engine.send_body(now, 1, b"456", true), Err(ResponseError::BodyTooLong));
    assert_eq!(engine.send_body(now, 1, b"", false), Err(ResponseError::BodyTooShort));
    engine.fail(now, 1, &stamp);
    client.run();
    assert_eq!(client.reset(1), Some(Code::Internal as u32));
    // Nothing of the tables was harmed by what was refused.
    get(&mut client, 3);
    client.respond(3, b"fine");
    assert_eq!(client.status(3), Some(200));
    assert!(matches!(
        client.engine.send_body(now, 3, b"", false),
        Err(ResponseError::OutOfOrder(_))
    ));
}

#[test]
fn a_failing_application_is_answered_for() {
    let mut client = Client::new(App::Idle);
    get(&mut client, 1);
    let none = std::iter::empty();
    client.engine.start_response(1, &client.stamp, 200, none).unwrap();
    client.engine.fail(client.now, 1, &client.stamp);
    client.run();
    assert_eq!(client.status(1), Some(500));
    assert_eq!(client.answer(1), (b"Internal Server Error".to_vec(), true));
}

#[test]
fn a_large_head_needs_continuations() {
    let mut client = Client::new(App::Idle);
    get(&mut client, 1);
    let long = vec![b'~'; 40_000];
    let fields = [(&b"x-long"[..], &long[..])];
    client.engine.respond(client.now, 1, &client.stamp, 200, fields.into_iter(), b"").unwrap();
    client.run();
    assert_eq!(client.fields(1).unwrap()["x-long"].len(), 40_000);
}

#[test]
fn trailers_of_a_request() {
    let mut client = Client::new(App::Idle);
    client.feed(&headers(1, &POST, false));
    client.feed(&data(1, b"body", false));
    client.feed(&headers(1, &[("x-sum", "4")], true));
    assert!(client.engine.is_body_complete(1));
    assert_eq!(client.engine.trailers(1).unwrap().get(b"x-sum"), Some(&b"4"[..]));
}

#[test]
fn a_client_that_expects_to_continue() {
    let mut client = Client::new(App::Idle);
    client.feed(&headers(1, &with(POST, &[("expect", "100-continue")]), false));
    assert_eq!(client.status(1), None);
    client.engine.want_body(client.now, 1);
    client.run();
    assert_eq!(client.status(1), Some(100));
}

#[test]
fn a_tunnel_for_a_websocket() {
    let mut client = Client::new(App::Idle);
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/socket"),
        (":authority", "localhost"),
        ("sec-websocket-version", "13"),
    ];
    client.feed(&headers(1, &fields, false));
    assert!(client.requests[0].1.is_websocket_upgrade());
    let none = std::iter::empty();
    client.engine.start_response(1, &client.stamp, 200, none).unwrap();
    client.engine.send_body(client.now, 1, b"", true).unwrap();
    client.feed(&data(1, b"up", false));
    assert_eq!(client.engine.body(1), b"up");
    client.engine.send_body(client.now, 1, b"down", false).unwrap();
    client.run();
    assert_eq!(client.answer(1), (b"down".to_vec(), true));
    // Our end is closed; the client has its time to close the other.
    assert_eq!(client.reset(1), None);
    client.wait(3);
    assert_eq!(client.reset(1), Some(Code::NoError as u32));
    assert!(client.engine.is_idle());
}

#[test]
fn other_protocols_are_not_spoken() {
    let mut client = Client::new(App::Echo);
    let fields = with([(":method", "CONNECT"), GET[1], GET[2], GET[3]], &[]);
    client.feed(&headers(1, &[&fields[..], &[(":protocol", "masque")]].concat(), false));
    assert_eq!(client.status(1), Some(501));
}

#[test]
fn the_server_says_what_it_takes() {
    let limits = Limits { streams: 7, stream_window: 70_000, ..Limits::default() };
    let mut client = Client::raw(App::Echo, crate::Limits::default(), limits);
    client.feed(&hello());
    let expected = Got::Settings(vec![(3, 7), (4, 70_000), (6, 65_536), (8, 1), (9, 1)]);
    assert_eq!(client.got[0], expected);
    let increment = 1024 * 1024 - 65_535;
    assert_eq!(client.got[1], Got::WindowUpdate { stream: 0, increment });
    assert_eq!(client.got[2], Got::SettingsAck);
}

#[test]
fn a_stop_in_two_steps() {
    let mut client = Client::new(App::Idle);
    get(&mut client, 1);
    client.engine.shutdown(client.now);
    client.run();
    assert!(client.got.contains(&Got::Goaway { last: (1 << 31) - 1, code: 0 }));
    let ping = client.got.iter().find_map(|got| match got {
        Got::Ping(payload) => Some(*payload),
        _ => None,
    });
    // This one was on its way.
    get(&mut client, 3);
    client.feed(&frame(6, 1, 0, &ping.expect("the server asks for a sign")));
    assert!(client.got.contains(&Got::Goaway { last: 3, code: 0 }));
    // This one should not have been sent. That the client leaves, too, changes nothing.
    client.feed(&frame(7, 0, 0, &[0; 8]));
    get(&mut client, 5);
    assert_eq!(client.requests.len(), 2);
    client.respond(1, b"one");
    assert_eq!(client.engine.poll_fate(), Fate::Open);
    client.respond(3, b"three");
    assert_eq!(client.engine.poll_fate(), Fate::Close);
    assert_eq!(client.answer(3), (b"three".to_vec(), true));
}

#[test]
fn a_stop_without_the_client_s_help() {
    let mut client = Client::new(App::Idle);
    client.engine.shutdown(client.now);
    client.run();
    assert_eq!(client.engine.poll_fate(), Fate::Open);
    client.wait(1);
    assert_eq!(client.engine.poll_fate(), Fate::Close);
    let mut silent = Client::raw(App::Idle, crate::Limits::default(), Limits::default());
    silent.engine.shutdown(silent.now);
    silent.run();
    assert_eq!(silent.engine.poll_fate(), Fate::Open);
    silent.wait(1);
    assert_eq!(silent.engine.poll_fate(), Fate::Close);
}

#[test]
fn a_stop_before_the_client_s_first_bytes() {
    let mut client = Client::raw(App::Echo, crate::Limits::default(), Limits::default());
    client.engine.shutdown(client.now);
    client.feed(&hello());
    get(&mut client, 1);
    assert_eq!(client.status(1), Some(200));
    assert!(client.got.contains(&Got::Goaway { last: 0x7fff_ffff, code: 0 }));
}

#[test]
fn a_client_that_leaves() {
    let mut client = Client::new(App::Idle);
    get(&mut client, 1);
    get(&mut client, 3);
    client.feed(&reset(1));
    assert_eq!(client.gone, [1]);
    client.feed(&frame(7, 0, 0, &[0; 8]));
    assert_eq!(client.engine.poll_fate(), Fate::Open);
    client.respond(3, b"");
    assert_eq!(client.engine.poll_fate(), Fate::Close);
    let mut client = Client::new(App::Idle);
    get(&mut client, 1);
    client.engine.handle_eof();
    client.run();
    assert_eq!(client.gone, [1]);
    assert_eq!(client.engine.poll_fate(), Fate::Close);
}

#[test]
fn an_idle_connection_is_closed() {
    let mut client = Client::new(App::Idle);
    get(&mut client, 1);
    client.wait(29);
    client.wait(29);
    assert!(!client.is_over());
    client.respond(1, b"");
    client.wait(29);
    assert!(!client.is_over());
    client.wait(2);
    assert!(client.got.contains(&Got::Goaway { last: 1, code: 0 }));
    assert_eq!(client.engine.poll_fate(), Fate::Close);
}

#[test]
fn an_ended_connection_is_read_until_the_client_knows() {
    let mut client = Client::new(App::Idle);
    client.feed(&data(0, b"", false));
    assert_eq!(client.engine.poll_fate(), Fate::Linger);
    assert!(client.engine.fault().is_some());
    get(&mut client, 1);
    assert!(client.requests.is_empty());
    client.wait(3);
    assert_eq!(client.engine.poll_fate(), Fate::Close);
}

#[test]
fn urgent_answers_go_first() {
    let mut client = Client::new(App::Idle);
    client.feed(&settings(&[(4, 0)]));
    for (stream, priority) in [(1, "u=7"), (3, "i"), (5, "u=0")] {
        client.feed(&headers(stream, &with(GET, &[("priority", priority)]), true));
        client.respond(stream, b"answer");
    }
    client.feed(&headers(7, &GET, true));
    client.respond(7, b"answer");
    // PRIORITY_UPDATE makes the third the least urgent.
    client.feed(&frame(0x10, 0, 0, b"\0\0\0\x05u=7"));
    client.got.clear();
    client.feed(&[window_update(0, 100), settings(&[(4, 100)])].concat());
    let order: Vec<_> = client
        .got
        .iter()
        .filter_map(|got| match got {
            Got::Data { stream, .. } => Some(*stream),
            _ => None,
        })
        .collect();
    assert_eq!(order[..2], [3, 7]);
    assert_eq!(order.len(), 4);
}

#[test]
fn a_head_in_many_frames_is_one_request() {
    let mut client = Client::new(App::Echo);
    let bytes = block(&with(GET, &[("x", "y")]));
    let mut frames = frame(1, 0x1, 1, &bytes[..5]);
    frames.extend(frame(9, 0, 1, &bytes[5..20]));
    frames.extend(frame(9, 0x4, 1, &bytes[20..]));
    client.feed(&frames);
    assert_eq!(client.status(1), Some(200));
}
