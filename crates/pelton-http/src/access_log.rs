//! Lines of an access log: what a request was, and how it ended.

use std::fmt::Write as _;
use std::time::Duration;

use crate::{Headers, date};

/// How a line looks: compiled once from a name or a template.
///
/// Whatever a client sent is escaped, so that it cannot forge a line, or a field of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Kind);

/// A request and its end, as a line tells them.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The client as address and port; `-` where it is unknown.
    pub client: &'a str,
    /// The request; `None` for one that was too malformed to be read.
    pub request: Option<RequestLine<'a>>,
    /// The response's status.
    pub status: u16,
    /// Bytes of the response's body.
    pub bytes: u64,
    /// From the end of the request's head to the end of the response.
    pub elapsed: Duration,
    /// The time now, since the epoch.
    pub time: Duration,
    /// This process.
    pub pid: u32,
}

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// The method.
    pub method: &'a str,
    /// The path as it was sent.
    pub path: &'a [u8],
    /// What followed `?`.
    pub query: &'a [u8],
    /// `1.1`.
    pub version: &'a str,
    /// All header fields.
    pub headers: &'a Headers,
}

/// A template that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A field that there is not.
    #[error("{{{0}}} is no field of an access log: there are {FIELDS}, and header:NAME")]
    UnknownField(String),
    /// A brace without its other one.
    #[error("a brace stands alone: write {{{{ or }}}} for one that is meant")]
    Brace,
    /// Neither the name of a format nor a template.
    #[error("{0:?} is neither text, combined or json, nor a template with {{fields}}")]
    UnknownName(String),
}

const FIELDS: &str = "client, host, port, method, target, path, query, protocol, request, status, \
                      bytes, duration, duration_ms, time, common_time, pid";
const TEXT: &str = "{client} - \"{request}\" {status}";
const COMBINED: &str = "{host} - - [{common_time}] \"{request}\" {status} {bytes} \
                        \"{header:referer}\" \"{header:user-agent}\"";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Template(Vec<Piece>),
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(Field),
    Header(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Client,
    Host,
    Port,
    Method,
    Target,
    Path,
    Query,
    Protocol,
    Request,
    Status,
    Bytes,
    Duration,
    DurationMs,
    Time,
    CommonTime,
    Pid,
}

impl Format {
    /// `text`, `combined` (Apache's and nginx's), `json`, or a template such as
    /// `{client} {status} {header:user-agent}`, in which `{{` and `}}` are braces.
    ///
    /// # Errors
    /// A template with an unknown field, or any other name.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        match text {
            "text" => parse_template(TEXT),
            "combined" => parse_template(COMBINED),
            "json" => Ok(Self(Kind::Json)),
            template if template.contains('{') => parse_template(template),
            other => Err(FormatError::UnknownName(other.into())),
        }
    }

    /// Appends a record, without a line break.
    pub fn write(&self, line: &mut String, record: &Record<'_>) {
        match &self.0 {
            Kind::Json => write_json(line, record),
            Kind::Template(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => line.push_str(text),
                        Piece::Field(field) => write_field(line, *field, record),
                        Piece::Header(name) => write_header(line, name, record),
                    }
                }
            }
        }
    }
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "client" => Self::Client,
            "host" => Self::Host,
            "port" => Self::Port,
            "method" => Self::Method,
            "target" => Self::Target,
            "path" => Self::Path,
            "query" => Self::Query,
            "protocol" => Self::Protocol,
            "request" => Self::Request,
            "status" => Self::Status,
            "bytes" => Self::Bytes,
            "duration" => Self::Duration,
            "duration_ms" => Self::DurationMs,
            "time" => Self::Time,
            "common_time" => Self::CommonTime,
            "pid" => Self::Pid,
            _ => return None,
        })
    }
}

fn parse_template(template: &str) -> Result<Format, FormatError> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = template;
    while let Some(brace) = rest.find(['{', '}']) {
        text.push_str(&rest[..brace]);
        let found = &rest[brace..];
        if let Some(after) = found.strip_prefix("{{").or_else(|| found.strip_prefix("}}")) {
            text.push_str(&found[..1]);
            rest = after;
            continue;
        }
        let Some((name, after)) = found[1..].split_once('}').filter(|_| found.starts_with('{'))
        else {
            return Err(FormatError::Brace);
        };
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        pieces.push(match (name.strip_prefix("header:"), Field::named(name)) {
            (Some(header), _) if !header.is_empty() => Piece::Header(header.to_ascii_lowercase()),
            (_, Some(field)) => Piece::Field(field),
            _ => return Err(FormatError::UnknownField(name.into())),
        });
        rest = after;
    }
    text.push_str(rest);
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(Format(Kind::Template(pieces)))
}

fn write_field(line: &mut String, field: Field, record: &Record<'_>) {
    let (host, port) = ends(record.client);
    // Writing to a string does not fail.
    let _ = match field {
        Field::Status => write!(line, "{}", record.status),
        Field::Bytes => write!(line, "{}", record.bytes),
        Field::Duration => write!(line, "{:.6}", record.elapsed.as_secs_f64()),
        Field::DurationMs => write!(line, "{:.3}", record.elapsed.as_secs_f64() * 1e3),
        Field::Pid => write!(line, "{}", record.pid),
        Field::Client => line.write_str(record.client),
        Field::Host => line.write_str(host),
        Field::Port => line.write_str(port),
        Field::Time => return push_ascii(line, &date::format_iso(record.time)),
        Field::CommonTime => {
            return push_ascii(line, &date::format_common(record.time.as_secs()));
        }
        _ => match record.request {
            Some(request) => return write_request(line, field, &request),
            None => line.write_str("-"),
        },
    };
}

fn write_request(line: &mut String, field: Field, request: &RequestLine<'_>) {
    match field {
        Field::Method => escape(line, request.method.as_bytes()),
        Field::Path => escape(line, request.path),
        Field::Query => escape(line, request.query),
        Field::Protocol => {
            line.push_str("HTTP/");
            line.push_str(request.version);
        }
        Field::Request => {
            escape(line, request.method.as_bytes());
            line.push(' ');
            write_request(line, Field::Target, request);
            line.push(' ');
            write_request(line, Field::Protocol, request);
        }
        // The target: the others are not the request's.
        _ => {
            escape(line, request.path);
            if !request.query.is_empty() {
                line.push('?');
                escape(line, request.query);
            }
        }
    }
}

fn write_header(line: &mut String, name: &str, record: &Record<'_>) {
    match record.request.and_then(|request| request.headers.get(name.as_bytes())) {
        Some(value) => escape(line, value),
        None => line.push('-'),
    }
}

/// One object; what is unknown is null.
fn write_json(line: &mut String, record: &Record<'_>) {
    let (host, port) = ends(record.client);
    line.push_str("{\"time\":\"");
    push_ascii(line, &date::format_iso(record.time));
    line.push_str("\",\"client\":");
    json_text(line, (host != "-").then_some(host.as_bytes()));
    line.push_str(",\"port\":");
    line.push_str(if port == "-" { "null" } else { port });
    let request = record.request;
    let header = |name: &[u8]| request.and_then(|request| request.headers.get(name));
    let fields = [
        ("method", request.map(|request| request.method.as_bytes())),
        ("path", request.map(|request| request.path)),
        ("query", request.map(|request| request.query)),
        ("version", request.map(|request| request.version.as_bytes())),
        ("host", header(b"host")),
        ("referer", header(b"referer")),
        ("user_agent", header(b"user-agent")),
    ];
    for (name, value) in fields {
        line.push_str(",\"");
        line.push_str(name);
        line.push_str("\":");
        json_text(line, value);
    }
    // Writing to a string does not fail.
    let _ = write!(
        line,
        ",\"status\":{},\"bytes\":{},\"duration\":{:.6},\"pid\":{}}}",
        record.status,
        record.bytes,
        record.elapsed.as_secs_f64(),
        record.pid
    );
}

/// `192.0.2.1:80` and `[::1]:80` apart; `-` for what is missing.
fn ends(client: &str) -> (&str, &str) {
    match client.parse::<std::net::SocketAddr>() {
        Ok(_) => {
            let (host, port) = client.rsplit_once(':').unwrap_or((client, "-"));
            (host.trim_start_matches('[').trim_end_matches(']'), port)
        }
        Err(_) => (client, "-"),
    }
}

/// What a quoted field can hold as it is; all else as `\xHH`.
fn escape(line: &mut String, value: &[u8]) {
    for &byte in value {
        match byte {
            b'"' | b'\\' => line.extend(['\\', char::from(byte)]),
            b' '..=b'~' => line.push(char::from(byte)),
            _ => {
                let _ = write!(line, "\\x{byte:02X}");
            }
        }
    }
}

/// A JSON string; bytes that are no UTF-8 become U+FFFD.
fn json_text(line: &mut String, value: Option<&[u8]>) {
    let Some(value) = value else {
        line.push_str("null");
        return;
    };
    line.push('"');
    for character in String::from_utf8_lossy(value).chars() {
        match character {
            '"' | '\\' => line.extend(['\\', character]),
            // DEL and the C1 controls are allowed, but move some terminals.
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => {
                let _ = write!(line, "\\u{:04x}", u32::from(character));
            }
            other => line.push(other),
        }
    }
    line.push('"');
}

fn push_ascii(line: &mut String, text: &[u8]) {
    line.extend(text.iter().map(|byte| char::from(*byte)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: &str, client: &str, path: &[u8], agent: Option<&[u8]>) -> String {
        let mut headers = Headers::default();
        headers.push(b"host", b"shop.example");
        if let Some(agent) = agent {
            headers.push(b"user-agent", agent);
        }
        let record = Record {
            client,
            request: Some(RequestLine {
                method: "GET",
                path,
                query: b"q=1",
                version: "1.1",
                headers: &headers,
            }),
            status: 200,
            bytes: 12,
            elapsed: Duration::from_micros(1_500),
            time: Duration::from_millis(784_111_777_250),
            pid: 7,
        };
        let mut line = String::new();
        Format::parse(format).unwrap().write(&mut line, &record);
        line
    }

    #[test]
    fn the_named_formats() {
        assert_eq!(
            line("text", "192.0.2.1:80", b"/a", None),
            "192.0.2.1:80 - \"GET /a?q=1 HTTP/1.1\" 200"
        );
        assert_eq!(
            line("combined", "[::1]:80", b"/a", Some(b"curl/8")),
            "::1 - - [06/Nov/1994:08:49:37 +0000] \"GET /a?q=1 HTTP/1.1\" 200 12 \"-\" \"curl/8\""
        );
        assert_eq!(
            line("json", "192.0.2.1:80", b"/a", Some(b"curl/8")),
            "{\"time\":\"1994-11-06T08:49:37.250Z\",\"client\":\"192.0.2.1\",\"port\":80,\
             \"method\":\"GET\",\"path\":\"/a\",\"query\":\"q=1\",\"version\":\"1.1\",\
             \"host\":\"shop.example\",\"referer\":null,\"user_agent\":\"curl/8\",\
             \"status\":200,\"bytes\":12,\"duration\":0.001500,\"pid\":7}"
        );
    }

    #[test]
    fn templates() {
        let template = "{{{pid}}} {host}|{port} {method} {path} {query} {protocol} {duration} \
                        {duration_ms} {time} {header:Host} {header:x-none} {bytes}";
        assert_eq!(
            line(template, "-", b"/a", None),
            "{7} -|- GET /a q=1 HTTP/1.1 0.001500 1.500 1994-11-06T08:49:37.250Z shop.example - 12"
        );
    }

    #[test]
    fn nothing_that_a_client_sends_forges_a_line() {
        let agent = b"a\"b\\c\x1b[31m\xff";
        assert!(
            line("combined", "-", b"/", Some(agent)).ends_with("\"a\\\"b\\\\c\\x1B[31m\\xFF\"")
        );
        let json = line("json", "-", b"/\n", Some(agent));
        assert!(json.contains("\"path\":\"/\\u000a\""));
        assert!(json.contains("\"user_agent\":\"a\\\"b\\\\c\\u001b[31m\u{fffd}\""));
        assert!(json.contains("\"client\":null,\"port\":null"));
    }

    #[test]
    fn a_request_that_could_not_be_read() {
        let record = Record {
            client: "192.0.2.1:80",
            request: None,
            status: 400,
            bytes: 0,
            elapsed: Duration::ZERO,
            time: Duration::ZERO,
            pid: 1,
        };
        let mut line = String::new();
        Format::parse("text").unwrap().write(&mut line, &record);
        assert_eq!(line, "192.0.2.1:80 - \"-\" 400");
    }

    #[test]
    fn impossible_formats() {
        let error = |text| Format::parse(text).unwrap_err();
        assert_eq!(error("{nothing}"), FormatError::UnknownField("nothing".into()));
        assert_eq!(error("{header:}"), FormatError::UnknownField("header:".into()));
        assert_eq!(error("{status"), FormatError::Brace);
        assert_eq!(error("{status} }"), FormatError::Brace);
        assert_eq!(error("apache"), FormatError::UnknownName("apache".into()));
        assert!(error("{x}").to_string().starts_with("{x} is no field of an access log"));
    }
}
