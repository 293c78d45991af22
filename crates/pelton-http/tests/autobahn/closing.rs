//! Family 7: the closing handshake.

use super::{CLOSE, PING, TEXT, Table, fin, part, text};

fn close(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_bytes()].concat()
}

#[test]
fn family_7_closing() {
    let mut table = Table::default();
    let hello = || fin(TEXT, "Hello World!");
    let bye = || fin(CLOSE, close(1000, ""));
    let size = hello().bytes().len();
    table.bad("7.1.1", size, vec![hello(), bye()], vec![text("Hello World!")], 1000);
    table.bad("7.1.2", 8, vec![bye(), bye()], vec![], 1000);
    table.bad("7.1.3", 8, vec![bye(), fin(PING, "")], vec![], 1000);
    table.bad("7.1.4", 8, vec![bye(), hello()], vec![], 1000);
    let frames = vec![part(TEXT, "fragment1"), bye(), fin(0, "fragment2")];
    table.bad("7.1.5", 15, frames, vec![], 1000);
    let long = "BAsd7&jh23".repeat(26_215);
    let frames = vec![fin(TEXT, long.clone()), bye(), fin(PING, "")];
    let size = fin(TEXT, long.clone()).bytes().len();
    table.bad("7.1.6", size, frames, vec![text(&long)], 1000);

    table.bad("7.3.1", 99, vec![fin(CLOSE, "")], vec![], 1005);
    table.bad("7.3.2", 99, vec![fin(CLOSE, "a")], vec![], 1002);
    for (id, reason) in [("7.3.3", ""), ("7.3.4", "Hello World!"), ("7.3.5", &"*".repeat(123))] {
        table.bad(id, 999, vec![fin(CLOSE, close(1000, reason))], vec![], 1000);
    }
    table.bad("7.3.6", 999, vec![fin(CLOSE, close(1000, &"*".repeat(124)))], vec![], 1002);
    let invalid = [&close(1000, "κ\u{1f79}σμε")[..], b"\xed\xa0\x80edited"].concat();
    table.bad("7.5.1", 99, vec![fin(CLOSE, invalid)], vec![], 1007);

    let valid = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
    for (number, code) in valid.into_iter().enumerate() {
        let frames = vec![fin(CLOSE, close(code, ""))];
        table.bad(format!("7.7.{}", number + 1), 99, frames, vec![], code);
    }
    let reserved = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999];
    for (number, code) in reserved.into_iter().enumerate() {
        let frames = vec![fin(CLOSE, close(code, ""))];
        table.bad(format!("7.9.{}", number + 1), 99, frames, vec![], 1002);
    }
    for (id, code) in [("7.13.1", 5000), ("7.13.2", 65535)] {
        table.bad(id, 99, vec![fin(CLOSE, close(code, ""))], vec![], 1002);
    }
    table.check(37);
}
