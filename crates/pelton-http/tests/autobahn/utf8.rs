//! Family 6: text that is UTF-8, and text that is not.

use super::{Frame, TEXT, Table, fin, part};

/// Bytes written as hexadecimal.
fn hex(digits: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a digit") as u8;
    digits.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// One frame a byte.
fn octets(payload: &[u8]) -> Vec<Frame> {
    let last = payload.len() - 1;
    let frame = |(at, byte): (usize, &u8)| {
        let opcode = if at == 0 { TEXT } else { 0 };
        Frame(opcode | if at == last { 0x80 } else { 0 }, vec![*byte], 0)
    };
    payload.iter().enumerate().map(frame).collect()
}

/// A family's texts, as one frame each.
fn family(table: &mut Table, id: &str, valid: &[bool], texts: &[Vec<u8>]) {
    for (number, payload) in texts.iter().enumerate() {
        let valid = if valid.len() == 1 { valid[0] } else { valid[number] };
        let id = format!("{id}.{}", number + 1);
        let frames = vec![fin(TEXT, payload.clone())];
        let size = frames[0].bytes().len();
        if valid {
            table.good(id, size, frames, vec![(TEXT, payload.clone())]);
        } else {
            table.bad(id, size, frames, vec![], 1007);
        }
    }
}

fn hexes(list: &str) -> Vec<Vec<u8>> {
    list.split_ascii_whitespace().map(hex).collect()
}

#[test]
fn family_6_utf_8() {
    let mut table = Table::default();
    table.good("6.1.1", 6, vec![fin(TEXT, "")], vec![(TEXT, vec![])]);
    let frames = vec![part(TEXT, ""), part(0, ""), fin(0, "")];
    table.good("6.1.2", 6, frames, vec![(TEXT, vec![])]);
    let frames = vec![part(TEXT, ""), part(0, "middle frame payload"), fin(0, "")];
    table.good("6.1.3", 6, frames, vec![(TEXT, b"middle frame payload".to_vec())]);

    let hello = "Hello-µ@ßöäüàá-UTF-8!!".as_bytes();
    let kosme = "κ\u{1f79}σμε".as_bytes();
    let echo = |payload: &[u8]| vec![(TEXT, payload.to_vec())];
    table.good("6.2.1", 35, vec![fin(TEXT, hello)], echo(hello));
    let frames = vec![part(TEXT, &hello[..7]), fin(0, &hello[7..])];
    table.good("6.2.2", 6, frames, echo(hello));
    table.good("6.2.3", 7, octets(hello), echo(hello));
    table.good("6.2.4", 7, octets(kosme), echo(kosme));
    let broken = [kosme, &hex("eda080"), b"edited"].concat();
    table.bad("6.3.1", 99, vec![fin(TEXT, broken.clone())], vec![], 1007);
    table.bad("6.3.2", 7, octets(&broken), vec![], 1007);
    // Where it goes wrong is known long before the message's end, which never comes here.
    for (number, bad) in [hex("f4908080"), hex("f490")].into_iter().enumerate() {
        let frames = vec![part(TEXT, kosme), part(0, bad.clone())];
        table.bad(format!("6.4.{}", number + 1), 17, frames, vec![], 1007);
        let cut = [kosme, &bad].concat();
        let frames = vec![Frame::cut(TEXT, &cut, 50)];
        table.bad(format!("6.4.{}", number + 3), 1, frames, vec![], 1007);
    }

    family(&mut table, "6.5", &[true], &hexes("cebae1bdb9cf83cebcceb5 7e c3a9 e282ac f09f9880"));
    let kosme: Vec<Vec<u8>> = (1..=kosme.len()).map(|end| kosme[..end].to_vec()).collect();
    let complete: Vec<bool> = kosme.iter().map(|text| std::str::from_utf8(text).is_ok()).collect();
    assert_eq!(complete.iter().filter(|valid| **valid).count(), 5);
    family(&mut table, "6.6", &complete, &kosme);
    family(&mut table, "6.7", &[true], &hexes("00 c280 e0a080 f0908080"));
    family(&mut table, "6.8", &[false], &hexes("f888808080 fc8480808080"));
    family(&mut table, "6.9", &[true], &hexes("7f dfbf efbfbf f48fbfbf"));
    family(&mut table, "6.10", &[false], &hexes("f7bfbfbf fbbfbfbfbf fdbfbfbfbfbf"));
    let boundary = hexes("ed9fbf ee8080 efbfbd f48fbfbf f4908080");
    family(&mut table, "6.11", &[true, true, true, true, false], &boundary);
    let mut lonely = hexes("80 bf 80bf 80bf80 80bf80bf 80bf80bf80 80bf80bf80bf");
    lonely.push((0x80..=0xbf).collect());
    family(&mut table, "6.12", &[false], &lonely);
    let spaced = |bytes: std::ops::RangeInclusive<u8>| bytes.flat_map(|b| [b, b' ']).collect();
    let starts = [0xc0..=0xdf, 0xe0..=0xef, 0xf0..=0xf7, 0xf8..=0xfb, 0xfc..=0xfd];
    let starts: Vec<Vec<u8>> = starts.into_iter().map(spaced).collect();
    family(&mut table, "6.13", &[false], &starts);
    let cut = hexes("c0 e080 f08080 f8808080 fc80808080 df efbf f7bfbf fbbfbfbf fdbfbfbfbf");
    family(&mut table, "6.14", &[false], &cut);
    family(&mut table, "6.15", &[false], &[cut.concat()]);
    family(&mut table, "6.16", &[false], &hexes("fe ff fefeffff"));
    let overlong = [
        ("6.17", "c0af e080af f08080af f8808080af fc80808080af"),
        ("6.18", "c1bf e09fbf f08fbfbf f887bfbfbf fc83bfbfbfbf"),
        ("6.19", "c080 e08080 f0808080 f880808080 fc8080808080"),
        ("6.20", "eda080 edadbf edae80 edafbf edb080 edbe80 edbfbf"),
    ];
    for (id, texts) in overlong {
        family(&mut table, id, &[false], &hexes(texts));
    }
    let pairs = ["eda080", "edadbf", "edae80", "edafbf"];
    let low = ["edb080", "edbfbf"];
    let pairs = pairs.iter().flat_map(|high| low.map(|low| hex(&format!("{high}{low}"))));
    let pairs: Vec<Vec<u8>> = pairs.collect();
    family(&mut table, "6.21", &[false], &pairs);
    let encoded = |code: u32| char::from_u32(code).expect("no surrogate").to_string().into_bytes();
    let none = (0..=16).flat_map(|plane| [plane << 16 | 0xfffe, plane << 16 | 0xffff]);
    let none: Vec<Vec<u8>> = none.map(encoded).collect();
    family(&mut table, "6.22", &[true], &none);
    let special: Vec<Vec<u8>> = (0xfff9..=0xffff).map(encoded).collect();
    family(&mut table, "6.23", &[true], &special);
    table.check(145);
}
