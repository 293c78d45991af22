//! Any frames, cut anywhere, mean the same as in one piece, and no limit is passed.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pelton_http::Limits;
use pelton_http::h1::{Fate, Stamp};
use pelton_http::h2::{Connection, Event, Limits as Http2Limits, PREFACE};

/// Whether the preface is given, so that the fuzzer need not find it; where to cut; and an answer
/// for every how many requests.
fuzz_target!(|input: (bool, u16, u8, &[u8])| {
    let (preface, cut, answer, data) = input;
    let mut bytes = Vec::new();
    if preface {
        bytes.extend_from_slice(PREFACE);
        bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    }
    bytes.extend_from_slice(data);
    let cut = usize::from(cut).min(bytes.len());
    let cut_up = listen(&[&bytes[..cut], &bytes[cut..]]);
    assert_eq!(listen(&[&bytes]), cut_up);
    serve(&bytes, usize::from(answer % 7) + 1);
});

/// A request that is alive: method, head, body, and whether that is all.
type Alive = BTreeMap<u32, (String, Vec<(Vec<u8>, Vec<u8>)>, Vec<u8>, bool)>;

/// What is left of a connection whose application answers nothing.
fn listen(pieces: &[&[u8]]) -> (Alive, Option<u32>) {
    let limits = Limits { body: Some(1 << 16), ..Limits::default() };
    let mut connection =
        Connection::new(Arc::new(limits), Arc::new(Http2Limits::default()), Duration::ZERO);
    let Ok(stamp) = Stamp::new(0, b"pelton") else { return (Alive::new(), None) };
    let mut heads = BTreeMap::new();
    let mut over = BTreeSet::new();
    for piece in pieces {
        connection.handle_data(Duration::ZERO, piece);
        while let Some(event) = connection.poll_event(Duration::ZERO, &stamp) {
            match event {
                Event::Request(id, head) => {
                    assert!(head.headers().len() <= 102);
                    assert!(!head.method().is_empty() && !head.path().is_empty());
                    assert!(heads.insert(id, head).is_none());
                }
                Event::Gone(id) | Event::Refused(id, _) => {
                    over.insert(id);
                }
                Event::Body(id) | Event::Writable(id) => assert!(heads.contains_key(&id)),
            }
        }
        while !connection.poll_output(Duration::ZERO).is_empty() {
            connection.clear_output();
        }
    }
    let alive = heads.into_iter().filter(|(id, _)| !over.contains(id)).map(|(id, head)| {
        let fields = head.headers().iter().map(|(name, value)| (name.to_vec(), value.to_vec()));
        let body = connection.body(id).to_vec();
        assert!(body.len() <= 1 << 17);
        (id, (head.method().to_owned(), fields.collect(), body, connection.is_body_complete(id)))
    });
    (alive.collect(), connection.fault().map(|fault| fault.code as u32))
}

/// Answers some requests, in pieces, lets time go by, and stops.
fn serve(bytes: &[u8], every: usize) {
    let limits = Arc::new(Limits { body: Some(1 << 16), ..Limits::default() });
    let http2 = Arc::new(Http2Limits { streams: 5, ..Http2Limits::default() });
    let mut connection = Connection::new(limits, http2, Duration::ZERO);
    let Ok(stamp) = Stamp::new(0, b"pelton") else { return };
    let mut now = Duration::ZERO;
    let mut seen = 0;
    for piece in bytes.chunks(1000) {
        connection.handle_data(now, piece);
        now += Duration::from_millis(700);
        connection.handle_timeout(now, 0);
        while let Some(event) = connection.poll_event(now, &stamp) {
            let (Event::Request(id, _) | Event::Body(id) | Event::Writable(id)) = event else {
                continue;
            };
            seen += 1;
            if seen % every != 0 {
                connection.want_body(now, id);
                continue;
            }
            let _ = connection.start_response(id, &stamp, 200, std::iter::empty());
            let _ = connection.send_body(now, id, &[b'x'; 70_000], seen % 2 == 0);
            let trailers = [(&b"x"[..], &b"y"[..])];
            let _ = connection.send_trailers(now, id, trailers.into_iter());
            connection.clear_body(id);
        }
        let mut pieces = 0;
        while !connection.poll_output(now).is_empty() {
            connection.clear_output();
            pieces += 1;
            assert!(pieces < 1000, "output without end");
        }
    }
    connection.shutdown(now);
    for _ in 0..200 {
        now += Duration::from_secs(1);
        connection.handle_timeout(now, 0);
        while connection.poll_event(now, &stamp).is_some() {}
        while !connection.poll_output(now).is_empty() {
            connection.clear_output();
        }
    }
    // Requests that nobody answers keep a connection; all else has an end.
    assert!(connection.poll_fate() != Fate::Open || !connection.is_idle());
}
