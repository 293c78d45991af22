//! Forms, cut at every byte.

use pelton_http::form::{Event, Form, FormError, FormLimits};

/// What a form gave: `name=value` for fields, `name@filename=content` for whole files.
type Items = Vec<String>;

fn read(content_type: &str, pieces: &[&[u8]], limits: FormLimits) -> Result<Items, FormError> {
    let mut form = Form::new(content_type.as_bytes(), limits)?.expect("a form's content type");
    let mut items = Vec::new();
    let mut file: Option<(String, Vec<u8>)> = None;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut on = |event: Event<'_>| -> Result<(), FormError> {
        match event {
            Event::Pair(name, value) => items.push(format!("{name}={value}")),
            Event::Field(part, value) => {
                items.push(format!("{}={}", text(&part.name), text(&value)));
            }
            Event::File(part) => {
                let filename = text(&part.filename.expect("a file has one"));
                file = Some((format!("{}@{filename}", text(&part.name)), Vec::new()));
            }
            Event::Data(data) => file.as_mut().expect("within a file").1.extend_from_slice(data),
            Event::End => {
                let (name, content) = file.take().expect("within a file");
                items.push(format!("{name}={}", text(&content)));
            }
        }
        Ok(())
    };
    for piece in pieces {
        form.feed(piece, &mut on)?;
    }
    form.finish(&mut on)?;
    Ok(items)
}

/// Reads `body` whole, split at every byte, and byte by byte: the same each time.
fn check(content_type: &str, body: &[u8], limits: FormLimits) -> Result<Items, FormError> {
    let whole = read(content_type, &[body], limits);
    let shown = String::from_utf8_lossy(body);
    for split in 0..body.len() {
        let (head, tail) = body.split_at(split);
        // What exactly was malformed may be found in another order.
        let split_one = read(content_type, &[head, tail], limits);
        assert_eq!(text_of(&split_one), text_of(&whole), "{shown:?} split at {split}");
    }
    let bytes: Vec<&[u8]> = body.chunks(1).collect();
    let single = read(content_type, &bytes, limits);
    assert_eq!(text_of(&single), text_of(&whole), "{shown:?} byte by byte");
    whole
}

fn text_of(result: &Result<Items, FormError>) -> Result<&Items, String> {
    result.as_ref().map_err(ToString::to_string)
}

const MULTIPART: &str = "multipart/form-data; boundary=b";
const URLENCODED: &str = "application/x-www-form-urlencoded";

fn field(name: &str, value: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

fn file(name: &str, filename: &str, content: &str) -> String {
    format!(
        "--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\n\
         Content-Type: text/plain\r\n\r\n{content}\r\n"
    )
}

fn multipart(parts: &[String]) -> String {
    parts.concat() + "--b--\r\n"
}

#[test]
fn multipart_forms() {
    let defaults = FormLimits::default();
    let cases: Vec<(String, &[&str])> = vec![
        (multipart(&[]), &[]),
        (multipart(&[field("a", "1"), field("b", "")]), &["a=1", "b="]),
        (multipart(&[file("f", "x.txt", "hi"), field("a", "1")]), &["f@x.txt=hi", "a=1"]),
        (multipart(&[file("f", "", "")]), &["f@="]),
        (multipart(&[field("a", "\r\n")]), &["a=\r\n"]),
        (multipart(&[field("a", "\r\n--")]), &["a=\r\n--"]),
        (multipart(&[field("a", "\r\n--bx")]), &["a=\r\n--bx"]),
        (multipart(&[field("a", "\r\n--b-x")]), &["a=\r\n--b-x"]),
        (multipart(&[field("a", "\r\r\n-\r\n--b\rx")]), &["a=\r\r\n-\r\n--b\rx"]),
        (format!("\r\nskipped -{}", &multipart(&[field("a", "1")])[1..]), &["a=1"]),
        (format!("{}epilogue --b", multipart(&[field("a", "1")])), &["a=1"]),
        // Padding after the boundary is not for the first one, but for the others.
        (
            field("a", "1") + &multipart(&[field("b", "2")]).replacen("--b\r", "--b \t\r", 1),
            &["a=1", "b=2"],
        ),
        // Cut off: what is not whole does not count.
        (field("a", "1"), &[]),
        (field("a", "1") + "--b", &[]),
        (field("a", "1") + "--b\r\n", &["a=1"]),
    ];
    for (body, expected) in cases {
        let found = check(MULTIPART, body.as_bytes(), defaults);
        assert_eq!(found.expect("a good form"), expected, "{body:?}");
    }
}

#[test]
fn what_is_malformed() {
    let head = "--b\r\nContent-Disposition: form-data; name=a";
    let many = "x: y\r\n".repeat(8);
    let long = "y".repeat(4300);
    let cases: Vec<String> = vec![
        "x".into(),
        "--c\r\n".into(),
        "--bx".into(),
        "--b\rx".into(),
        "--b-x".into(),
        "--b\r\n: x\r\n".into(),
        "--b\r\nbad name: x\r\n".into(),
        format!("{head}\rx"),
        format!("{head}\r\n\rx"),
        format!("{head}\r\n{many}\r\n\r\n1\r\n--b--"),
        format!("--b\r\nx: {long}\r\n"),
        format!("--b\r\n{long}"),
        field("a", "1") + "--b x",
        field("a", "1") + "--b \rx",
    ];
    for body in cases {
        let found = check(MULTIPART, body.as_bytes(), FormLimits::default());
        assert!(matches!(found, Err(FormError::Malformed(_))), "{body:?}: {found:?}");
    }
    let nameless = "--b\r\nContent-Disposition: form-data\r\n\r\n1\r\n--b--";
    let found = check(MULTIPART, nameless.as_bytes(), FormLimits::default());
    assert_eq!(found, Err(FormError::MissingName));
    let found = check(MULTIPART, b"--b\r\n\r\n1\r\n--b--", FormLimits::default());
    assert_eq!(found, Err(FormError::MissingName));
}

#[test]
fn boundaries() {
    let limits = FormLimits::default();
    let made = |content_type: &str| Form::new(content_type.as_bytes(), limits).map(|f| f.is_some());
    assert_eq!(made("multipart/form-data"), Err(FormError::MissingBoundary));
    assert_eq!(made("Multipart/Form-Data; Boundary=\"a b\""), Ok(true));
    let long = format!("multipart/form-data; boundary={}", "b".repeat(257));
    assert!(matches!(made(&long), Err(FormError::Malformed(_))));
    assert_eq!(made("multipart/mixed; boundary=b"), Ok(false));
    assert_eq!(made("application/json"), Ok(false));
    assert_eq!(made(""), Ok(false));
}

#[test]
fn urlencoded_forms() {
    let cases: [(&[u8], &[&str]); 9] = [
        (b"", &[]),
        (b"a=1&b=2", &["a=1", "b=2"]),
        (b"&&a=1&&b&", &["a=1", "b="]),
        (b"=", &["="]),
        (b"=v", &["=v"]),
        (b"a=1=2", &["a=1=2"]),
        (b"a+b=%C3%A9+%2B", &["a b=\u{e9} +"]),
        (b"a=%zz%4", &["a=%zz%4"]),
        (b"\xe9=1", &["\u{e9}=1"]),
    ];
    for (body, expected) in cases {
        let found = check(URLENCODED, body, FormLimits::default());
        assert_eq!(found.expect("a good form"), expected, "{body:?}");
    }
}

#[test]
fn limits() {
    let limits = FormLimits { files: 1, fields: 1, part_size: 2048 };
    let two = "x".repeat(2048);
    let three = "x".repeat(2049);
    let good = multipart(&[field("a", &two), file("f", "g", &three)]);
    let sizes = |items: Items| items.iter().map(String::len).collect::<Vec<_>>();
    assert_eq!(check(MULTIPART, good.as_bytes(), limits).map(sizes), Ok(vec![2050, 2053]));
    let pair = format!("a={}", "x".repeat(2047));
    assert_eq!(check(URLENCODED, pair.as_bytes(), limits).map(sizes), Ok(vec![2049]));

    let refused = |content_type: &str, body: &str| {
        check(content_type, body.as_bytes(), limits).map_err(|error| error.to_string())
    };
    for (content_type, body, expected) in [
        (
            MULTIPART,
            multipart(&[file("f", "g", ""), file("f", "g", "")]),
            "Too many files. Maximum number of files is 1.",
        ),
        (
            MULTIPART,
            multipart(&[field("a", ""), field("b", "")]),
            "Too many fields. Maximum number of fields is 1.",
        ),
        (MULTIPART, multipart(&[field("a", &three)]), "Part exceeded maximum size of 2KB."),
        (URLENCODED, "a=1&b=2".into(), "Too many fields. Maximum number of fields is 1."),
        (URLENCODED, format!("a={two}"), "Field exceeded maximum size of 2KB."),
        (URLENCODED, three, "Field exceeded maximum size of 2KB."),
    ] {
        assert_eq!(refused(content_type, &body), Err(expected.to_owned()));
    }
}
