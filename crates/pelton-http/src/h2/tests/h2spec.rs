//! The cases of h2spec, by its numbers, as a table of our own.
//!
//! A stream's fault may be treated as the connection's (RFC 9113, 5.4.2), and which of both it is
//! depends on whether the answer was sent by then: those cases take either.

use super::client::{
    App, Client, GET, Got, POST, block, data, frame, headers, hello, reset, settings,
    window_update, with,
};
use crate::h2::Code;

/// What must come of a case.
enum Expect {
    /// This stream is answered in full.
    Answer(u32),
    /// The stream is reset with this code, or the connection ended with it.
    Fault(u32, Code),
    /// The connection ends with this code.
    Goaway(Code),
    /// Something else.
    Check(fn(&Client) -> bool),
}

use Expect::{Answer, Check, Fault, Goaway};

type Case = (&'static str, Vec<u8>, Expect);

fn get(stream: u32) -> Vec<u8> {
    headers(stream, &GET, true)
}

fn post(stream: u32) -> Vec<u8> {
    headers(stream, &POST, false)
}

fn priority(stream: u32, dependency: u32, weight: u8) -> Vec<u8> {
    frame(2, 0, stream, &[&dependency.to_be_bytes()[..], &[weight]].concat())
}

fn ping(flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(6, flags, stream, payload)
}

/// A request whose block is this one after the usual fields.
fn request(more: &[u8]) -> Vec<u8> {
    frame(1, 0x5, 1, &[&block(&GET)[..], more].concat())
}

fn bad(fields: &[(&str, &str)]) -> Vec<u8> {
    headers(1, fields, true)
}

fn many_headers() -> Vec<u8> {
    (0u32..150).flat_map(|n| headers(1 + 2 * n, &POST, false)).collect()
}

fn cases() -> Vec<Case> {
    let mut cases = generic();
    cases.extend(generic_hpack());
    cases.extend(starting_and_frames());
    cases.extend(states());
    cases.extend(frames());
    cases.extend(settings_and_pings());
    cases.extend(windows());
    cases.extend(continuation());
    cases.extend(messages());
    cases.extend(hpack());
    cases
}

fn generic() -> Vec<Case> {
    let padded_get = [&[5][..], &block(&GET), &[0; 5]].concat();
    let priority_get = [&[0, 0, 0, 0, 255][..], &block(&GET)].concat();
    let (first, second) = (block(&GET[..2]), block(&GET[2..]));
    let pong = |client: &Client| client.got.contains(&Got::Pong(*b"h2spec\0\0"));
    vec![
        ("generic/1/1", get(1), Answer(1)),
        ("generic/2/1", [priority(1, 0, 255), get(1)].concat(), Answer(1)),
        ("generic/2/2", [get(1), window_update(1, 1), get(3)].concat(), Answer(3)),
        ("generic/2/3", [get(1), priority(1, 0, 255), get(3)].concat(), Answer(3)),
        ("generic/2/4", [get(1), reset(1), get(3)].concat(), Answer(3)),
        ("generic/2/5", [get(1), priority(1, 0, 255)].concat(), Answer(1)),
        ("generic/3.1/1", [post(1), data(1, b"test", true)].concat(), Answer(1)),
        (
            "generic/3.1/2",
            [post(1), data(1, b"test", false), data(1, b"test", true)].concat(),
            Answer(1),
        ),
        ("generic/3.1/3", [post(1), frame(0, 0x9, 1, b"\x05test\0\0\0\0\0")].concat(), Answer(1)),
        ("generic/3.2/1", get(1), Answer(1)),
        ("generic/3.2/2", frame(1, 0xd, 1, &padded_get), Answer(1)),
        ("generic/3.2/3", frame(1, 0x25, 1, &priority_get), Answer(1)),
        ("generic/3.3/1", [priority(1, 0, 0), get(1)].concat(), Answer(1)),
        ("generic/3.3/2", [priority(1, 0, 255), get(1)].concat(), Answer(1)),
        ("generic/3.3/3", [priority(1, 0, 0), priority(3, 1, 0), get(5)].concat(), Answer(5)),
        ("generic/3.3/4", [priority(3, 1 << 31, 0), get(3)].concat(), Answer(3)),
        ("generic/3.3/5", [priority(3, 0, 0), get(1)].concat(), Answer(1)),
        ("generic/3.4/1", [get(1), reset(1), ping(0, 0, b"h2spec\0\0")].concat(), Check(pong)),
        ("generic/3.5/1", [settings(&[(3, 100)]), get(1)].concat(), Answer(1)),
        ("generic/3.7/1", ping(0, 0, b"h2spec\0\0"), Check(pong)),
        (
            "generic/3.8/1",
            [frame(7, 0, 0, &[0; 8])].concat(),
            Check(|client| client.goaway().is_none()),
        ),
        ("generic/3.9/1", [window_update(0, 1), get(1)].concat(), Answer(1)),
        ("generic/3.9/2", [post(1), window_update(1, 1), data(1, b"", true)].concat(), Answer(1)),
        (
            "generic/3.10/1",
            [frame(1, 0x1, 1, &first), frame(9, 0x4, 1, &second)].concat(),
            Answer(1),
        ),
        (
            "generic/3.10/2",
            [frame(1, 0x1, 1, &first), frame(9, 0, 1, &[]), frame(9, 0x4, 1, &second)].concat(),
            Answer(1),
        ),
        ("generic/4/1", get(1), Answer(1)),
        (
            "generic/4/2",
            headers(1, &with(GET, &[])[..].iter().map(head_method).collect::<Vec<_>>(), true),
            Check(|client| client.answer(1) == (Vec::new(), true)),
        ),
        (
            "generic/4/3",
            [post(1), data(1, b"test", true)].concat(),
            Check(|client| client.answer(1) == (b"test".to_vec(), true)),
        ),
        (
            "generic/4/4",
            [post(1), data(1, b"test", false), headers(1, &[("x-test", "ok")], true)].concat(),
            Answer(1),
        ),
    ]
}

fn head_method<'a>(field: &(&'a str, &'a str)) -> (&'a str, &'a str) {
    if field.0 == ":method" { (":method", "HEAD") } else { *field }
}

/// Each representation: indexed name or new, plain or by Huffman's code.
fn generic_hpack() -> Vec<Case> {
    // `user-agent` is 58 in the static table; "test" coded is 49 50 9f.
    let blocks: [(&str, &[u8]); 15] = [
        ("generic/5/1", &[0x90]),
        ("generic/5/2", b"\x7a\x04test"),
        ("generic/5/3", b"\x7a\x83\x49\x50\x9f"),
        ("generic/5/4", b"\x40\x04test\x04test"),
        ("generic/5/5", b"\x40\x83\x49\x50\x9f\x83\x49\x50\x9f"),
        ("generic/5/6", b"\x0f\x2b\x04test"),
        ("generic/5/7", b"\x0f\x2b\x83\x49\x50\x9f"),
        ("generic/5/8", b"\x00\x04test\x04test"),
        ("generic/5/9", b"\x00\x83\x49\x50\x9f\x83\x49\x50\x9f"),
        ("generic/5/10", b"\x1f\x2b\x04test"),
        ("generic/5/11", b"\x1f\x2b\x83\x49\x50\x9f"),
        ("generic/5/12", b"\x10\x04test\x04test"),
        ("generic/5/13", b"\x10\x83\x49\x50\x9f\x83\x49\x50\x9f"),
        ("generic/5/14", b"\x20"),
        ("generic/5/15", b"\x20\x3f\xe1\x1f"),
    ];
    let request = |name: &str, more: &[u8]| match name {
        "generic/5/14" | "generic/5/15" => frame(1, 0x5, 1, &[more, &block(&GET)].concat()),
        _ => request(more),
    };
    blocks.into_iter().map(|(name, more)| (name, request(name, more), Answer(1))).collect()
}

fn starting_and_frames() -> Vec<Case> {
    let large = vec![0; 16_385];
    vec![
        (
            "http2/3.5/1",
            Vec::new(),
            Check(|client| matches!(client.got.first(), Some(Got::Settings(_)))),
        ),
        ("http2/4.1/1", [frame(0x16, 0, 0, &[0; 8]), get(1)].concat(), Answer(1)),
        (
            "http2/4.1/2",
            ping(0x16, 0, b"h2spec\0\0"),
            Check(|client| client.got.contains(&Got::Pong(*b"h2spec\0\0"))),
        ),
        (
            "http2/4.1/3",
            ping(0, 1 << 31, b"h2spec\0\0"),
            Check(|client| client.got.contains(&Got::Pong(*b"h2spec\0\0"))),
        ),
        ("http2/4.2/1", [post(1), data(1, &large[..16_384], true)].concat(), Answer(1)),
        ("http2/4.2/2", [post(1), data(1, &large, true)].concat(), Fault(1, Code::FrameSize)),
        ("http2/4.2/3", frame(1, 0x5, 1, &large), Goaway(Code::FrameSize)),
        ("http2/4.3/1", frame(1, 0x5, 1, b"\x40"), Goaway(Code::Compression)),
        (
            "http2/4.3/2",
            [frame(1, 0x1, 1, &block(&GET)), priority(1, 0, 255)].concat(),
            Goaway(Code::Protocol),
        ),
        ("http2/4.3/3", [frame(1, 0x1, 1, &block(&GET)), get(3)].concat(), Goaway(Code::Protocol)),
    ]
}

fn states() -> Vec<Case> {
    let empty_block = frame(9, 0x4, 1, &block(&[("x", "y")]));
    vec![
        ("http2/5.1/1", data(1, b"test", true), Goaway(Code::Protocol)),
        ("http2/5.1/2", reset(1), Goaway(Code::Protocol)),
        ("http2/5.1/3", window_update(1, 100), Goaway(Code::Protocol)),
        ("http2/5.1/4", empty_block.clone(), Goaway(Code::Protocol)),
        ("http2/5.1/5", [get(1), data(1, b"test", true)].concat(), Fault(1, Code::StreamClosed)),
        ("http2/5.1/6", [get(1), get(1)].concat(), Fault(1, Code::StreamClosed)),
        ("http2/5.1/7", [get(1), empty_block.clone()].concat(), Goaway(Code::Protocol)),
        (
            "http2/5.1/8",
            [post(1), reset(1), data(1, b"test", true)].concat(),
            Fault(1, Code::StreamClosed),
        ),
        ("http2/5.1/9", [post(1), reset(1), get(1)].concat(), Fault(1, Code::StreamClosed)),
        ("http2/5.1/10", [post(1), reset(1), empty_block.clone()].concat(), Goaway(Code::Protocol)),
        (
            "http2/5.1/11",
            [post(1), data(1, b"", true), data(1, b"test", true)].concat(),
            Fault(1, Code::StreamClosed),
        ),
        (
            "http2/5.1/12",
            [post(1), data(1, b"", true), headers(1, &[("x", "y")], true)].concat(),
            Fault(1, Code::StreamClosed),
        ),
        (
            "http2/5.1/13",
            [post(1), data(1, b"", true), empty_block].concat(),
            Goaway(Code::Protocol),
        ),
        ("http2/5.1.1/1", get(2), Goaway(Code::Protocol)),
        ("http2/5.1.1/2", [get(5), get(3)].concat(), Goaway(Code::Protocol)),
        (
            "http2/5.1.2/1",
            many_headers(),
            Check(|client| {
                client.reset(201) == Some(7) && client.reset(199).is_none() && !client.is_over()
            }),
        ),
        (
            "http2/5.3.1/1",
            frame(1, 0x25, 1, &[&[0, 0, 0, 1, 255][..], &block(&GET)].concat()),
            Fault(1, Code::Protocol),
        ),
        ("http2/5.3.1/2", [post(1), priority(1, 1, 255)].concat(), Fault(1, Code::Protocol)),
        ("http2/5.4.1/1", ping(0, 1, &[0; 8]), Check(Client::is_over)),
        ("http2/5.4.1/2", ping(0, 1, &[0; 8]), Goaway(Code::Protocol)),
        ("http2/5.5/1", [frame(0x16, 0, 0, &[0; 8]), get(1)].concat(), Answer(1)),
        (
            "http2/5.5/2",
            [frame(1, 0x1, 1, &block(&GET)), frame(0x16, 0, 1, &[0; 8])].concat(),
            Goaway(Code::Protocol),
        ),
    ]
}

fn frames() -> Vec<Case> {
    vec![
        ("http2/6.1/1", data(0, b"test", true), Goaway(Code::Protocol)),
        ("http2/6.1/2", [get(1), data(1, b"test", true)].concat(), Fault(1, Code::StreamClosed)),
        (
            "http2/6.1/3",
            [post(1), frame(0, 0x9, 1, b"\x06test\0")].concat(),
            Goaway(Code::Protocol),
        ),
        (
            "http2/6.2/1",
            [frame(1, 0x1, 1, &block(&GET)), priority(1, 0, 255)].concat(),
            Goaway(Code::Protocol),
        ),
        ("http2/6.2/2", [frame(1, 0x1, 1, &block(&GET)), get(3)].concat(), Goaway(Code::Protocol)),
        ("http2/6.2/3", get(0), Goaway(Code::Protocol)),
        (
            "http2/6.2/4",
            frame(1, 0xd, 1, &[&[200][..], &block(&GET)].concat()),
            Goaway(Code::Protocol),
        ),
        ("http2/6.3/1", priority(0, 0, 255), Goaway(Code::Protocol)),
        (
            "http2/6.3/2",
            [post(1), frame(2, 0, 1, &[0x80, 0, 0, 1])].concat(),
            Fault(1, Code::FrameSize),
        ),
        ("http2/6.4/1", reset(0), Goaway(Code::Protocol)),
        ("http2/6.4/2", reset(1), Goaway(Code::Protocol)),
        ("http2/6.4/3", [post(1), frame(3, 0, 1, &[0; 3])].concat(), Goaway(Code::FrameSize)),
    ]
}

fn settings_and_pings() -> Vec<Case> {
    let no_more_pongs = |client: &Client| {
        !client.got.contains(&Got::Pong(*b"invalid!"))
            && client.got.contains(&Got::Pong(*b"h2spec\0\0"))
    };
    vec![
        ("http2/6.5/1", frame(4, 1, 0, &[0]), Goaway(Code::FrameSize)),
        ("http2/6.5/2", frame(4, 0, 1, &[0, 3, 0, 0, 0, 100]), Goaway(Code::Protocol)),
        ("http2/6.5/3", frame(4, 0, 0, &[0, 3, 0]), Goaway(Code::FrameSize)),
        ("http2/6.5.2/1", settings(&[(2, 2)]), Goaway(Code::Protocol)),
        ("http2/6.5.2/2", settings(&[(4, 1 << 31)]), Goaway(Code::FlowControl)),
        ("http2/6.5.2/3", settings(&[(5, 16_383)]), Goaway(Code::Protocol)),
        ("http2/6.5.2/4", settings(&[(5, 1 << 24)]), Goaway(Code::Protocol)),
        ("http2/6.5.2/5", [settings(&[(0xff, 1)]), get(1)].concat(), Answer(1)),
        (
            "http2/6.5.3/1",
            [settings(&[(4, 100), (4, 1)]), get(1)].concat(),
            Check(|client| client.answer(1) == (b"h".to_vec(), false)),
        ),
        (
            "http2/6.5.3/2",
            settings(&[(3, 100)]),
            Check(|client| {
                client.got.iter().filter(|got| matches!(got, Got::SettingsAck)).count() == 2
            }),
        ),
        (
            "http2/6.7/1",
            ping(0, 0, b"h2spec\0\0"),
            Check(|client| client.got.contains(&Got::Pong(*b"h2spec\0\0"))),
        ),
        (
            "http2/6.7/2",
            [ping(1, 0, b"invalid!"), ping(0, 0, b"h2spec\0\0")].concat(),
            Check(no_more_pongs),
        ),
        ("http2/6.7/3", ping(0, 1, &[0; 8]), Goaway(Code::Protocol)),
        ("http2/6.7/4", ping(0, 0, &[0; 6]), Goaway(Code::FrameSize)),
        ("http2/6.8/1", frame(7, 0, 1, &[0; 8]), Goaway(Code::Protocol)),
        (
            "http2/7/1",
            frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0xff]),
            Check(|client| client.goaway().is_none()),
        ),
        (
            "http2/7/2",
            [post(1), frame(3, 0, 1, &[0, 0, 0, 0xff]), ping(0, 0, b"h2spec\0\0")].concat(),
            Check(|client| client.got.contains(&Got::Pong(*b"h2spec\0\0"))),
        ),
    ]
}

fn windows() -> Vec<Case> {
    let most = (1 << 31) - 1;
    vec![
        ("http2/6.9/1", window_update(0, 0), Goaway(Code::Protocol)),
        ("http2/6.9/2", [post(1), window_update(1, 0)].concat(), Fault(1, Code::Protocol)),
        ("http2/6.9/3", frame(8, 0, 0, &[0, 0, 1]), Goaway(Code::FrameSize)),
        (
            "http2/6.9.1/1",
            [settings(&[(4, 1)]), get(1)].concat(),
            Check(|client| client.answer(1) == (b"h".to_vec(), false)),
        ),
        (
            "http2/6.9.1/2",
            [window_update(0, most), window_update(0, most)].concat(),
            Goaway(Code::FlowControl),
        ),
        (
            "http2/6.9.1/3",
            [post(1), window_update(1, most), window_update(1, most)].concat(),
            Check(|client| client.reset(1) == Some(3) && !client.is_over()),
        ),
        (
            "http2/6.9.2/1",
            [settings(&[(4, 0)]), get(1), settings(&[(4, 1)])].concat(),
            Check(|client| client.answer(1) == (b"h".to_vec(), false)),
        ),
        (
            // Three bytes go, the window falls below zero, and rises to one.
            "http2/6.9.2/2",
            [settings(&[(4, 3)]), get(1), settings(&[(4, 2)]), window_update(1, 2)].concat(),
            Check(|client| client.answer(1) == (b"hell".to_vec(), false)),
        ),
        ("http2/6.9.2/3", settings(&[(4, 1 << 31)]), Goaway(Code::FlowControl)),
    ]
}

fn continuation() -> Vec<Case> {
    let part = |at: usize| block(&GET[at..=at]);
    let more = block(&[("x", "y")]);
    vec![
        (
            "http2/6.10/1",
            [
                frame(1, 0x1, 1, &part(0)),
                frame(9, 0, 1, &part(1)),
                frame(9, 0, 1, &part(2)),
                frame(9, 0x4, 1, &part(3)),
            ]
            .concat(),
            Answer(1),
        ),
        (
            "http2/6.10/2",
            [frame(1, 0, 1, &part(0)), frame(9, 0, 1, &part(1)), data(1, b"test", true)].concat(),
            Goaway(Code::Protocol),
        ),
        (
            "http2/6.10/3",
            [frame(1, 0, 1, &block(&GET)), frame(9, 0x4, 0, &more)].concat(),
            Goaway(Code::Protocol),
        ),
        ("http2/6.10/4", [post(1), frame(9, 0x4, 1, &more)].concat(), Goaway(Code::Protocol)),
        (
            "http2/6.10/5",
            [frame(1, 0, 1, &block(&POST)), frame(9, 0x4, 1, &more), frame(9, 0x4, 1, &more)]
                .concat(),
            Goaway(Code::Protocol),
        ),
        (
            "http2/6.10/6",
            [post(1), data(1, b"test", false), frame(9, 0x4, 1, &more)].concat(),
            Goaway(Code::Protocol),
        ),
    ]
}

fn messages() -> Vec<Case> {
    let without = |name: &str| -> Vec<_> { GET.into_iter().filter(|f| f.0 != name).collect() };
    let twice = |field: (&'static str, &'static str)| [&[field][..], &GET[..]].concat();
    let malformed = |name, fields: &[(&str, &str)]| (name, bad(fields), Fault(1, Code::Protocol));
    let empty_path: Vec<_> =
        GET.into_iter().map(|f| if f.0 == ":path" { (":path", "") } else { f }).collect();
    let sized = |first: &[u8], second: &[u8]| {
        let head = headers(1, &with(POST, &[("content-length", "1")]), false);
        [head, data(1, first, second.is_empty()), data(1, second, true)].concat()
    };
    vec![
        (
            "http2/8.1/1",
            [post(1), headers(1, &[("x-test", "ok")], false)].concat(),
            Fault(1, Code::Protocol),
        ),
        malformed("http2/8.1.2/1", &with(GET, &[("X-TEST", "ok")])),
        malformed("http2/8.1.2.1/1", &with(GET, &[(":test", "ok")])),
        malformed("http2/8.1.2.1/2", &with(GET, &[(":status", "200")])),
        (
            "http2/8.1.2.1/3",
            [post(1), headers(1, &[(":method", "200")], true)].concat(),
            Fault(1, Code::Protocol),
        ),
        malformed("http2/8.1.2.1/4", &[&[("x-test", "ok")][..], &GET[..]].concat()),
        malformed("http2/8.1.2.2/1", &with(GET, &[("connection", "keep-alive")])),
        malformed("http2/8.1.2.2/2", &with(GET, &[("trailers", "test"), ("te", "gzip, deflate")])),
        malformed("http2/8.1.2.3/1", &empty_path),
        malformed("http2/8.1.2.3/2", &without(":method")),
        malformed("http2/8.1.2.3/3", &without(":scheme")),
        malformed("http2/8.1.2.3/4", &without(":path")),
        malformed("http2/8.1.2.3/5", &twice((":method", "GET"))),
        malformed("http2/8.1.2.3/6", &twice((":scheme", "http"))),
        malformed("http2/8.1.2.3/7", &twice((":path", "/"))),
        ("http2/8.1.2.6/1", sized(b"test", b""), Fault(1, Code::Protocol)),
        ("http2/8.1.2.6/2", sized(b"te", b"st"), Fault(1, Code::Protocol)),
        (
            "http2/8.2/1",
            [post(1), frame(5, 0x4, 1, &[&[0, 0, 0, 2][..], &block(&GET)].concat())].concat(),
            Goaway(Code::Protocol),
        ),
    ]
}

fn hpack() -> Vec<Case> {
    let broken = |name, more: &[u8]| (name, request(more), Goaway(Code::Compression));
    vec![
        broken("hpack/2.3.3/1", b"\xff\x00"),
        broken("hpack/2.3.3/2", b"\x7f\x40\x01a"),
        broken("hpack/4.2/1", b"\x21"),
        broken("hpack/5.2/1", b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
        broken("hpack/5.2/2", b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
        broken("hpack/5.2/3", b"\x00\x85\xf2\xb2\x4a\x87\xff\x86\x49\x50\x9f\xff\xff\xff"),
        broken("hpack/6.1/1", b"\x80"),
        (
            "hpack/6.3/1",
            frame(1, 0x5, 1, &[&b"\x3f\xe2\x1f"[..], &block(&GET)].concat()),
            Goaway(Code::Compression),
        ),
    ]
}

fn check(name: &str, how: &str, client: &Client, expected: &Expect) {
    let ended = client.goaway();
    let ok = match expected {
        Answer(stream) => {
            client.status(*stream) == Some(200) && client.answer(*stream).1 && ended.is_none()
        }
        Fault(stream, code) => {
            client.reset(*stream) == Some(*code as u32) || ended == Some(*code as u32)
        }
        Goaway(code) => ended == Some(*code as u32) && client.is_over(),
        Check(check) => check(client),
    };
    assert!(ok, "{name}, {how}: the server sent {:?}", client.got);
}

#[test]
fn each_case_however_it_is_cut() {
    let cases = cases();
    assert_eq!(cases.len(), 146, "a case of the list is missing or comes twice");
    for (name, script, expected) in cases {
        let input = [hello(), script].concat();
        let fresh =
            || Client::raw(App::Echo, crate::Limits::default(), super::super::Limits::default());
        let mut whole = fresh();
        whole.feed(&input);
        check(name, "in one piece", &whole, &expected);
        // Long ones are cut near their ends only.
        let step = input.len() / 400 + 1;
        for cut in (0..input.len()).step_by(step) {
            let mut client = fresh();
            client.feed(&input[..cut]);
            client.feed(&input[cut..]);
            check(name, &format!("cut at {cut}"), &client, &expected);
        }
        let mut slow = fresh();
        for byte in &input {
            slow.feed(std::slice::from_ref(byte));
        }
        check(name, "byte by byte", &slow, &expected);
    }
}

/// The one case that does not begin with the preface.
#[test]
fn another_preface_ends_the_connection() {
    let mut client =
        Client::raw(App::Echo, crate::Limits::default(), super::super::Limits::default());
    client.feed(b"INVALID CONNECTION PREFACE\r\n\r\n");
    assert!(client.is_over());
}
