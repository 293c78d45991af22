//! Tables of requests and what becomes of them: `vectors/*.txt`.
//!
//! Each input is given whole, cut in two at every byte, and byte by byte; the outcome must be the
//! same. `tests/server/test_vectors.py` sends the same tables over sockets.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use pelton_http::Limits;
use pelton_http::h1::{Connection, Event, Fate, Head, Stamp};

/// Longer inputs are cut at every byte of their first and last so many bytes, and in between at
/// steps of a prime.
const CUT_EVERYWHERE: usize = 600;
const STEP: usize = 1009;

struct Case {
    id: String,
    expected: String,
    input: Vec<u8>,
}

/// Reads `id | outcome | input` lines; `vectors/README.md` says what they mean.
fn read(text: &str) -> Vec<Case> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut parts = line.splitn(3, " | ");
            let mut part =
                || parts.next().unwrap_or_else(|| panic!("three columns: {line}")).trim();
            let (id, expected) = (part().to_owned(), part().to_owned());
            Case { id, expected, input: unescape(part()) }
        })
        .collect()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = rest.as_bytes()[at + 1];
        rest = &rest[at + 2..];
        match escape {
            b'r' => bytes.push(b'\r'),
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'\\' => bytes.push(b'\\'),
            b'x' => {
                bytes.push(u8::from_str_radix(&rest[..2], 16).expect("two hexadecimal digits"));
                rest = &rest[2..];
            }
            b'{' => {
                let (repeat, after) = rest.split_once('}').expect("a closing brace");
                let (count, piece) = repeat.split_once('*').expect("a count and a star");
                bytes.extend(unescape(piece).repeat(count.parse().expect("a count")));
                rest = after;
            }
            // Over a socket, the client waits for its answer here.
            b'p' => {}
            other => panic!("no such escape: \\{}", char::from(other)),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// What a server that takes whole bodies makes of the pieces.
fn outcome<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> String {
    let stamp = Stamp::new(0, b"").expect("no server name");
    let now = Duration::ZERO;
    let mut connection = Connection::new(Arc::new(Limits::default()), now);
    let mut outcome = String::new();
    let mut waiting: Option<String> = None;
    for piece in pieces {
        connection.handle_data(now, piece);
        while let Some(event) = connection.poll_event(now, &stamp) {
            match event {
                Event::Request(head) => {
                    waiting = Some(line(&head));
                    connection.collect_body(now);
                }
                Event::Body => {}
                Event::Refused(error) => {
                    waiting = None;
                    let _ = write!(outcome, "{}; ", error.status());
                }
            }
            if connection.is_body_complete()
                && let Some(request) = waiting.take()
            {
                let body = connection.body().escape_ascii().to_string();
                let _ = write!(outcome, "{request}");
                if !body.is_empty() {
                    let _ = write!(outcome, " \"{body}\"");
                }
                outcome.push_str("; ");
                connection.respond(now, &stamp, 200, std::iter::empty(), b"").expect("fine");
            }
        }
        connection.clear_output();
    }
    let is_waiting = waiting.is_some() || (connection.is_idle() && !connection.is_quiet());
    outcome.push_str(match connection.poll_fate() {
        Fate::Open if is_waiting => "waits",
        Fate::Open => "kept",
        Fate::Linger | Fate::Close => "closed",
        Fate::Abort => "aborted",
    });
    outcome
}

fn line(head: &Head) -> String {
    let mut line = format!("{} {}", head.method(), head.path().escape_ascii());
    if !head.query().is_empty() {
        let _ = write!(line, "?{}", head.query().escape_ascii());
    }
    if line.len() > 60 { format!("{}..", &line[..60]) } else { line }
}

fn check(text: &str, at_least: usize) {
    let cases = read(text);
    assert!(cases.len() >= at_least, "the table is cut short: {}", cases.len());
    let mut wrong = String::new();
    for Case { id, expected, input } in &cases {
        let whole = outcome(std::iter::once(&input[..]));
        if whole != *expected {
            let _ = writeln!(wrong, "{id} | {whole} | instead of {expected}");
            continue;
        }
        let each = outcome(input.chunks(1));
        if each != *expected {
            let _ = writeln!(wrong, "{id} | {each} | byte by byte");
        }
        let everywhere = (1..input.len()).filter(|cut| {
            *cut < CUT_EVERYWHERE || input.len() - cut < CUT_EVERYWHERE || cut % STEP == 0
        });
        for cut in everywhere {
            let halves = outcome([&input[..cut], &input[cut..]].into_iter());
            if halves != *expected {
                let _ = writeln!(wrong, "{id} | {halves} | cut at {cut}");
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn compliance_smuggling_and_malformed_input() {
    check(include_str!("vectors/probe.txt"), 206);
}

#[test]
fn a_parser_s_own_table() {
    check(include_str!("vectors/parser.txt"), 166);
}
