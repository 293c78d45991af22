//! Any bytes, cut anywhere, mean the same as in one piece, and no limit is passed.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pelton_http::Limits;
use pelton_http::h1::{Connection, Event, Stamp};

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, data) = input;
    let cut = usize::from(cut).min(data.len());
    assert_eq!(serve(&[data]), serve(&[&data[..cut], &data[cut..]]));
});

/// Feeds the pieces to a server that echoes bodies: what it answered, and whether it refused the
/// rest. (Not with which words: what is wrong in several ways may be found out in another order.)
fn serve(pieces: &[&[u8]]) -> (Vec<(Vec<u8>, Vec<u8>)>, bool) {
    let limits = Limits { body: Some(1 << 20), ..Limits::default() };
    let mut served = Vec::new();
    let mut refused = false;
    let Ok(stamp) = Stamp::new(0, b"pelton") else { return (served, refused) };
    let mut connection = Connection::new(Arc::new(limits), Duration::ZERO);
    let mut path = Vec::new();
    for piece in pieces {
        connection.handle_data(Duration::ZERO, piece);
        while let Some(event) = connection.poll_event(Duration::ZERO, &stamp) {
            if let Event::Request(head) = &event {
                assert!(head.headers().len() <= 100);
                assert!(!head.method().is_empty());
                path = head.path().to_vec();
                connection.collect_body(Duration::ZERO);
            }
            refused |= matches!(event, Event::Refused(_));
            if !refused && connection.is_body_complete() {
                let body = connection.body().to_vec();
                assert!(body.len() <= 1 << 20);
                let headers = std::iter::empty();
                let answered = connection.respond(Duration::ZERO, &stamp, 200, headers, &body);
                assert_eq!(answered, Ok(()));
                served.push((path.clone(), body));
            }
        }
        connection.clear_output();
    }
    (served, refused)
}
