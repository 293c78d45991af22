//! One connection, driven by bytes and a clock that the tests move.

use std::sync::Arc;
use std::time::Duration;

use pelton_http::Limits;
use pelton_http::h1::{Connection, Event, Fate, RequestError, ResponseError, Stamp};

/// A connection with an application that answers each request with what it saw of it.
struct Server {
    connection: Connection,
    stamp: Stamp,
    now: Duration,
    output: Vec<u8>,
    refused: Vec<RequestError>,
    seen: Vec<String>,
    waiting: Option<String>,
}

impl Server {
    fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Self {
        Self {
            connection: Connection::new(Arc::new(limits), Duration::ZERO),
            stamp: Stamp::new(0, b"").expect("no server name"),
            now: Duration::ZERO,
            output: Vec::new(),
            refused: Vec::new(),
            seen: Vec::new(),
            waiting: None,
        }
    }

    fn feed(&mut self, data: &[u8]) {
        self.connection.handle_data(self.now, data);
        self.run();
    }

    fn run(&mut self) {
        while let Some(event) = self.connection.poll_event(self.now, &self.stamp) {
            match event {
                Event::Request(head) => {
                    let path = String::from_utf8_lossy(head.path()).into_owned();
                    self.waiting = Some(format!("{} {path}", head.method()));
                    self.connection.collect_body(self.now);
                }
                Event::Body => {}
                Event::Refused(error) => {
                    self.refused.push(error);
                    self.waiting = None;
                }
            }
            self.answer();
        }
        self.flush();
    }

    fn answer(&mut self) {
        if self.waiting.is_none() || !self.connection.is_body_complete() {
            return;
        }
        let request = self.waiting.take().expect("checked above");
        let body = String::from_utf8_lossy(self.connection.body()).into_owned();
        self.seen.push(format!("{request} {body:?}"));
        let headers = [(&b"x-app"[..], &b"1"[..])];
        self.connection
            .respond(self.now, &self.stamp, 200, headers.into_iter(), body.as_bytes())
            .expect("a fine response");
    }

    fn flush(&mut self) {
        self.output.extend_from_slice(self.connection.poll_output());
        self.connection.clear_output();
    }

    fn tick(&mut self, seconds: u64, queued: usize) {
        self.now += Duration::from_secs(seconds);
        if let Some(Event::Refused(error)) =
            self.connection.handle_timeout(self.now, queued, &self.stamp)
        {
            self.refused.push(error);
        }
        self.flush();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    fn statuses(&self) -> Vec<u16> {
        let text = self.text();
        text.split("HTTP/1.1 ").skip(1).map(|rest| rest[..3].parse().expect("a status")).collect()
    }
}

/// Runs `input` whole and split at every byte; the outcome must be the same.
fn check(input: &[u8], examine: impl Fn(&Server, &str)) {
    let mut whole = Server::new();
    whole.feed(input);
    let shown = String::from_utf8_lossy(input).into_owned();
    examine(&whole, &format!("{shown:?} at once"));
    for split in 1..input.len().min(600) {
        let mut server = Server::new();
        server.feed(&input[..split]);
        server.feed(&input[split..]);
        examine(&server, &format!("{shown:?} split at {split}"));
    }
    let mut server = Server::new();
    for byte in input {
        server.feed(std::slice::from_ref(byte));
    }
    examine(&server, &format!("{shown:?} byte by byte"));
}

#[test]
fn good_requests() {
    let cases: [(&[u8], &[&str]); 18] = [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &["GET / \"\""]),
        (b"GET /a?b=c HTTP/1.1\r\nhost:a\r\n\r\n", &["GET /a \"\""]),
        (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &["GET / \"\""]),
        (b"GET / HTTP/1.1\r\nHost: a:\r\n\r\n", &["GET / \"\""]),
        (b"GET / HTTP/1.0\r\n\r\n", &["GET / \"\""]),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", &["OPTIONS * \"\""]),
        (b"GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n", &["GET /x \"\""]),
        (b"GET HTTPS://a:1?q HTTP/1.1\r\nHost: A:1\r\n\r\n", &["GET / \"\""]),
        (b"BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n", &["BREW /pot \"\""]),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", &["POST / \"abc\""]),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", &["POST / \"\""]),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            &["POST / \"abc\""],
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n\
              A;name=\"v\"\r\n0123456789\r\n001\r\nx\r\n000\r\nX-Sum: 1\r\n\r\n",
            &["POST / \"0123456789x\""],
        ),
        (
            b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            &["GET /1 \"\"", "GET /2 \"\""],
        ),
        (
            b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\
              POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n\
              GET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
            &["POST /1 \"hi\"", "POST /2 \"x\"", "GET /3 \"\""],
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX:\t v\x80 \t\r\n\r\n", &["GET / \"\""]),
        (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n", &["GET / \"\""]),
        (b"GET /%00%zz HTTP/1.1\r\nHost: a\r\n\r\n", &["GET /%00%zz \"\""]),
    ];
    for (input, expected) in cases {
        check(input, |server, shown| {
            assert_eq!(server.seen, expected, "{shown}");
            assert_eq!(server.refused, [], "{shown}");
        });
    }
}

/// Refused for the line or the fields.
fn bad_heads() -> Vec<(u16, String)> {
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let line = |line: &str| format!("{line}\r\nHost: a\r\n\r\n");
    vec![
        // The line.
        (400, line("GET  / HTTP/1.1")),
        (400, line("GET / HTTP/1.1 ")),
        (400, line(" GET / HTTP/1.1")),
        (400, line("GET /\tx HTTP/1.1")),
        (400, line("GET x HTTP/1.1")),
        (400, line("GET * HTTP/1.1")),
        (400, line("GET /a#b HTTP/1.1")),
        (400, line("GET /\u{e9} HTTP/1.1")),
        (400, line("GET ftp://a/ HTTP/1.1")),
        (400, line("GET http://b/ HTTP/1.1")),
        (400, line("GET /")),
        (400, line("GET / http/1.1")),
        (400, line("GET / HTTP/1.10")),
        (400, line("G@T / HTTP/1.1")),
        (400, line("GET / HTTP/11")),
        (505, line("GET / HTTP/2.0")),
        (505, line("GET / HTTP/0.9")),
        (501, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n".to_owned()),
        (400, "\u{16}\u{3}\u{1}".to_owned()),
        // Line breaks.
        (400, "GET / HTTP/1.1\nHost: a\n\n".to_owned()),
        (400, "GET / HTTP/1.1\r\nHost: a\n\r\n".to_owned()),
        (400, "GET / HTTP/1.1\r\nHost: a\r\n\n".to_owned()),
        (400, get("X: a\rb\r\n")),
        (400, "GET / HTTP/1.1\rHost: a\r\n\r\n".to_owned()),
        (400, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        // Host.
        (400, "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (400, get("Host: a\r\n")),
        (400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned()),
        (400, "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n".to_owned()),
        (400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned()),
        (400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n".to_owned()),
        // Fields.
        (400, get("X : a\r\n")),
        (400, get("X\t: a\r\n")),
        (400, get(": a\r\n")),
        (400, get("X\r\n")),
        (400, get("X: a\r\n folded\r\n")),
        (400, get(" X: a\r\n")),
        (400, get("X: a\0b\r\n")),
        (400, get("X: a\u{1}b\r\n")),
        (400, get("X: a\u{7f}b\r\n")),
        (400, get("X(y): a\r\n")),
        (400, get("X\u{e9}: a\r\n")),
        (417, get("Expect: 200-ok\r\n")),
    ]
}

/// Refused for how the body is delimited.
fn bad_bodies() -> Vec<(u16, String)> {
    const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = |body: &str| format!("{CHUNKED}{body}");
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    vec![
        // Length and coding.
        (400, get("Content-Length: +3\r\n")),
        (400, get("Content-Length: -1\r\n")),
        (400, get("Content-Length: 0x3\r\n")),
        (400, get("Content-Length: 3 3\r\n")),
        (400, get("Content-Length: 3, 3\r\n")),
        (400, get("Content-Length:\r\n")),
        (400, get("Content-Length: 99999999999999999999\r\n")),
        (400, get("Content-Length: 3\r\nContent-Length: 3\r\n")),
        (400, get("Content-Length: 3\r\nContent-Length: 4\r\n")),
        (400, get("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n")),
        (400, get("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n")),
        (400, get("Transfer-Encoding: xchunked\r\n")),
        (400, get("Transfer-Encoding: chunked, chunked\r\n")),
        (400, get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
        (400, get("Transfer-Encoding: chunked;q=1\r\n")),
        (400, get("Transfer-Encoding: chunked, gzip\r\n")),
        (400, get("Transfer-Encoding: \"chunked\"\r\n")),
        (400, get("Transfer-Encoding: \u{b}chunked\r\n")),
        (400, get("Transfer-Encoding: identity\r\n")),
        (400, get("Transfer-Encoding:\r\n")),
        (501, get("Transfer-Encoding: gzip, chunked\r\n")),
        (400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()),
        (413, get("Content-Length: 104857601\r\n")),
        // Chunks.
        (400, chunked("\r\n")),
        (400, chunked("g\r\n")),
        (400, chunked("0x3\r\nabc\r\n")),
        (400, chunked("-3\r\n")),
        (400, chunked("+3\r\n")),
        (400, chunked(" 3\r\n")),
        (400, chunked("3 \r\nabc\r\n")),
        (400, chunked("3\nabc\r\n0\r\n\r\n")),
        (400, chunked("3\rabc\r\n0\r\n\r\n")),
        (400, chunked("3\r\nabcd\r\n0\r\n\r\n")),
        (400, chunked("3\r\nabcXX0\r\n\r\n")),
        (400, chunked("3\r\nabc\n0\r\n\r\n")),
        (400, chunked("3;a\nb\r\nabc\r\n")),
        (400, chunked("3;a\0b\r\nabc\r\n")),
        (400, chunked("00000000000000003\r\nabc\r\n")),
        (413, chunked("ffffffffffffffff\r\n")),
        (413, chunked("6400001\r\n")),
        (400, chunked("0\r\n\n")),
        (400, chunked("0\r\nX : 1\r\n\r\n")),
        (400, chunked("0\r\nno field\r\n\r\n")),
        (400, chunked("0\r\nX: 1\n\r\n")),
        (400, chunked(&format!("3;{}\r\nabc\r\n", "x".repeat(70_000)))),
        (431, chunked(&format!("0\r\nX: {}\r\n\r\n", "x".repeat(70_000)))),
    ]
}

#[test]
fn bad_requests_are_refused_and_the_connection_ends() {
    for (status, input) in bad_heads().into_iter().chain(bad_bodies()) {
        check(input.as_bytes(), |server, shown| {
            assert_eq!(server.statuses(), [status], "{}", &shown[..shown.len().min(300)]);
            assert_eq!(server.refused.len(), 1, "{shown}");
            assert!(server.text().contains("\r\nconnection: close\r\n"), "{shown}");
            assert_eq!(server.seen.len(), 0, "{shown}");
            assert!(matches!(server.connection.poll_fate(), Fate::Close | Fate::Linger));
        });
    }
}

#[test]
fn nothing_after_a_refused_request_is_served() {
    check(
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        |server, shown| {
            assert_eq!(server.statuses(), [400], "{shown}");
            assert_eq!(server.seen.len(), 0, "{shown}");
        },
    );
}

#[test]
fn size_limits() {
    let mut server = Server::new();
    server.feed(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(8192)).as_bytes());
    assert_eq!(server.statuses(), [414]);
    assert_eq!(server.connection.poll_fate(), Fate::Linger);

    let mut server = Server::new();
    server.feed("x".repeat(8193).as_bytes());
    assert_eq!(server.statuses(), [400], "no method is that long");

    let mut server = Server::new();
    server.feed(format!("GET /{}", "x".repeat(8193)).as_bytes());
    assert_eq!(server.statuses(), [414]);

    let mut server = Server::new();
    server.feed(format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(65_536)).as_bytes());
    assert_eq!(server.statuses(), [431]);

    let fields: String = (0..100).map(|at| format!("X-{at}: 1\r\n")).collect();
    let mut server = Server::new();
    server.feed(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
    assert_eq!(server.statuses(), [431]);

    let fields: String = (0..99).map(|at| format!("X-{at}: 1\r\n")).collect();
    let mut server = Server::new();
    server.feed(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
    assert_eq!(server.statuses(), [200]);
}

#[test]
fn a_body_limit_holds_for_chunks_too() {
    let limits = Limits { body: Some(5), ..Limits::default() };
    let mut server = Server::with_limits(limits);
    server.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    assert_eq!(server.statuses(), [] as [u16; 0]);
    server.feed(b"3\r\n");
    assert_eq!(server.refused, [RequestError::BodyTooLarge]);
    assert_eq!(server.statuses(), [413]);
    assert_eq!(server.connection.poll_fate(), Fate::Linger);
    server.tick(2, 0);
    assert_eq!(server.connection.poll_fate(), Fate::Close);
}

#[test]
fn timeouts() {
    let mut server = Server::new();
    server.feed(b"GET / HTTP/1.1\r\n");
    server.tick(29, 0);
    assert_eq!(server.connection.poll_fate(), Fate::Open);
    server.feed(b"X: a slow client does not prolong it\r\n");
    server.tick(1, 0);
    assert_eq!(server.statuses(), [408]);
    assert_eq!(server.connection.poll_fate(), Fate::Linger);

    let mut server = Server::new();
    server.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc");
    server.tick(59, 0);
    server.feed(b"d");
    server.tick(59, 0);
    assert_eq!(server.refused, []);
    server.tick(1, 0);
    assert_eq!(server.refused, [RequestError::BodyTimeout]);

    let mut server = Server::new();
    server.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    server.tick(29, 0);
    assert_eq!(server.connection.poll_fate(), Fate::Open);
    server.tick(1, 0);
    assert_eq!(server.connection.poll_fate(), Fate::Close);
    assert_eq!(server.statuses(), [200]);
}

#[test]
fn a_client_that_does_not_read_is_dropped() {
    let mut server = Server::new();
    server.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let sent = server.output.len();
    server.tick(50, sent);
    server.tick(50, sent - 1);
    assert_eq!(server.connection.poll_fate(), Fate::Open, "it took a byte");
    server.tick(60, sent - 1);
    assert_eq!(server.connection.poll_fate(), Fate::Abort);
}

#[test]
fn keep_alive_and_close() {
    let cases: [(&[u8], bool, &str); 6] = [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true, "content-length"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false, "connection: close"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", false, "connection: close"),
        (b"GET / HTTP/1.0\r\n\r\n", false, "connection: close"),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true, "connection: keep-alive"),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false, "connection: close"),
    ];
    for (input, kept, field) in cases {
        check(input, |server, shown| {
            assert_eq!(server.connection.poll_fate() == Fate::Open, kept, "{shown}");
            assert!(server.text().contains(field), "{shown}");
        });
    }
}

#[test]
fn continue_is_sent_when_the_body_is_wanted() {
    let mut server = Server::new();
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    server.feed(head);
    assert_eq!(server.text(), "HTTP/1.1 100 Continue\r\n\r\n");
    server.feed(b"hi");
    assert_eq!(server.statuses(), [100, 200]);
    assert_eq!(server.seen, ["POST / \"hi\""]);
}

/// Feeds a head to a fresh connection without an application.
fn request(input: &[u8]) -> (Connection, Stamp) {
    let stamp = Stamp::new(784_111_777, b"pelton").expect("a fine name");
    let mut connection = Connection::new(Arc::new(Limits::default()), Duration::ZERO);
    connection.handle_data(Duration::ZERO, input);
    let event = connection.poll_event(Duration::ZERO, &stamp);
    assert!(matches!(event, Some(Event::Request(_))), "{event:?}");
    (connection, stamp)
}

fn output(connection: &mut Connection) -> String {
    let text = String::from_utf8_lossy(connection.poll_output()).into_owned();
    connection.clear_output();
    text
}

#[test]
fn an_early_answer_to_an_expectation_closes() {
    let (mut connection, stamp) =
        request(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    let none = std::iter::empty();
    connection.respond(Duration::ZERO, &stamp, 401, none, b"").expect("a fine response");
    assert!(output(&mut connection).contains("connection: close\r\n"));
    assert_eq!(connection.poll_fate(), Fate::Linger, "the body may be on its way");
}

#[test]
fn a_small_unread_body_is_dropped_and_a_large_one_ends_the_connection() {
    let (mut connection, stamp) =
        request(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n");
    connection.respond(Duration::ZERO, &stamp, 200, std::iter::empty(), b"").expect("fine");
    connection.handle_data(Duration::ZERO, &[b'x'; 100]);
    connection.handle_data(Duration::ZERO, b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    let event = connection.poll_event(Duration::ZERO, &stamp);
    assert!(matches!(event, Some(Event::Request(head)) if head.path() == b"/next"));

    let (mut connection, stamp) =
        request(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    connection.respond(Duration::ZERO, &stamp, 200, std::iter::empty(), b"").expect("fine");
    assert_eq!(connection.poll_fate(), Fate::Linger);
}

#[test]
fn a_response_is_written_in_full() {
    let (mut connection, stamp) = request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let headers = [(&b"Content-Type"[..], &b"text/plain"[..]), (b"x-a", b"1"), (b"x-a", b"2")];
    connection
        .respond(Duration::ZERO, &stamp, 201, headers.into_iter(), b"hello")
        .expect("a fine response");
    assert_eq!(
        output(&mut connection),
        "HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nx-a: 1\r\nx-a: 2\r\n\
         date: Sun, 06 Nov 1994 08:49:37 GMT\r\nserver: pelton\r\ncontent-length: 5\r\n\r\nhello"
    );
    assert!(connection.is_idle());
}

#[test]
fn streams_are_chunked_or_counted_or_end_the_connection() {
    let send = |input: &[u8], headers: &[(&[u8], &[u8])]| {
        let (mut connection, stamp) = request(input);
        connection.start_response(&stamp, 200, headers.iter().copied()).expect("a fine head");
        assert_eq!(output(&mut connection), "", "the head waits for the first piece");
        for (piece, more) in [(&b"ab"[..], true), (b"", true), (b"c", true), (b"", false)] {
            connection.send_body(Duration::ZERO, piece, more).expect("a fine piece");
        }
        let text = output(&mut connection);
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), body.to_owned(), connection.poll_fate())
    };
    let (head, body, fate) = send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[]);
    assert!(head.ends_with("transfer-encoding: chunked"), "{head}");
    assert_eq!((body.as_str(), fate), ("2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", Fate::Open));

    let length = [(&b"content-length"[..], &b"3"[..])];
    let (head, body, fate) = send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &length);
    assert!(head.ends_with("content-length: 3"), "{head}");
    assert_eq!((body.as_str(), fate), ("abc", Fate::Open));

    let (head, body, fate) = send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &[]);
    assert!(head.ends_with("connection: close"), "{head}");
    assert_eq!((body.as_str(), fate), ("abc", Fate::Linger));

    let (head, body, fate) = send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", &length);
    assert!(head.ends_with("content-length: 3"), "{head}");
    assert_eq!((body.as_str(), fate), ("", Fate::Open));
}

#[test]
fn responses_without_a_body() {
    for (method, status, field) in [
        ("GET", 204, None),
        ("GET", 304, None),
        ("HEAD", 200, Some("content-length: 5")),
        ("HEAD", 204, None),
    ] {
        let (mut connection, stamp) =
            request(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        connection
            .respond(Duration::ZERO, &stamp, status, std::iter::empty(), b"hello")
            .expect("a fine response");
        let text = output(&mut connection);
        assert!(text.ends_with("\r\n\r\n"), "{text}");
        assert_eq!(text.contains("content-length"), field.is_some(), "{text}");
        assert!(text.contains(field.unwrap_or_default()), "{text}");
    }
}

#[test]
fn responses_cannot_be_split_or_miscounted() {
    let cases: [(u16, &[u8], &[u8], ResponseError); 10] = [
        (200, b"x", b"a\r\nb: c", ResponseError::HeaderValue),
        (200, b"x", b"a\nb", ResponseError::HeaderValue),
        (200, b"x", b"a\0", ResponseError::HeaderValue),
        (200, b"x\r\ny", b"a", ResponseError::HeaderName),
        (200, b"x y", b"a", ResponseError::HeaderName),
        (200, b"", b"a", ResponseError::HeaderName),
        (200, b"content-length", b"05", ResponseError::ContentLength),
        (200, b"content-length", b"4", ResponseError::BodyTooLong),
        (200, b"content-length", b"6", ResponseError::BodyTooShort),
        (100, b"x", b"a", ResponseError::Status(100)),
    ];
    for (status, name, value, expected) in cases {
        let (mut connection, stamp) = request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let result = connection.respond(
            Duration::ZERO,
            &stamp,
            status,
            [(name, value)].into_iter(),
            b"hello",
        );
        assert_eq!(result, Err(expected));
        assert_eq!(output(&mut connection), "");
        connection.fail(Duration::ZERO, &stamp);
        assert!(output(&mut connection).starts_with("HTTP/1.1 500 Internal Server Error\r\n"));
    }
}

#[test]
fn a_failure_in_mid_response_ends_the_connection() {
    let (mut connection, stamp) = request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    connection.start_response(&stamp, 200, std::iter::empty()).expect("a fine head");
    connection.send_body(Duration::ZERO, b"abc", true).expect("a fine piece");
    connection.fail(Duration::ZERO, &stamp);
    assert_eq!(connection.poll_fate(), Fate::Abort);
}

#[test]
fn a_slow_application_stops_the_reading() {
    let (mut connection, stamp) =
        request(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    connection.handle_data(Duration::ZERO, &vec![b'x'; 100_000]);
    assert!(matches!(connection.poll_event(Duration::ZERO, &stamp), Some(Event::Body)));
    assert_eq!(connection.body().len(), 65_536);
    assert!(!connection.wants_read());
    connection.clear_body();
    connection.want_body(Duration::ZERO);
    assert!(matches!(connection.poll_event(Duration::ZERO, &stamp), Some(Event::Body)));
    assert_eq!(connection.body().len(), 100_000 - 65_536);
    assert!(connection.wants_read());

    let (mut connection, _) = request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    connection.handle_data(Duration::ZERO, &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(5_000));
    assert!(!connection.wants_read(), "a pipeline is bounded");
}

#[test]
fn shutdown_finishes_what_is_under_way() {
    let mut connection = Connection::new(Arc::new(Limits::default()), Duration::ZERO);
    connection.shutdown();
    assert_eq!(connection.poll_fate(), Fate::Close);

    let (mut connection, stamp) = request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    connection.shutdown();
    assert_eq!(connection.poll_fate(), Fate::Open);
    connection.respond(Duration::ZERO, &stamp, 200, std::iter::empty(), b"").expect("fine");
    assert!(output(&mut connection).contains("connection: close\r\n"));
    assert_eq!(connection.poll_fate(), Fate::Close);
}
