//! Families 9 and 10: large messages, many fragments, many messages.

use super::{BINARY, Frame, TEXT, Table, fin};

/// A message in fragments of a size.
fn fragments(opcode: u8, payload: &[u8], size: usize) -> Vec<Frame> {
    let count = payload.len().div_ceil(size);
    let frame = |(at, piece): (usize, &[u8])| {
        let opcode = if at == 0 { opcode } else { 0 };
        Frame(opcode | if at + 1 == count { 0x80 } else { 0 }, piece.to_vec(), 0)
    };
    payload.chunks(size).enumerate().map(frame).collect()
}

const KINDS: [(u8, u8); 2] = [(TEXT, 0), (BINARY, 1)];

#[test]
fn families_9_and_10_sizes() {
    let mut table = Table::default();
    for (opcode, offset) in KINDS {
        for (number, size) in [64, 256, 1024, 4096, 8192, 16384].into_iter().enumerate() {
            let payload = vec![b'*'; size * 1024];
            let frames = vec![fin(opcode, payload.clone())];
            let size = frames[0].bytes().len();
            let id = format!("9.{}.{}", 1 + offset, number + 1);
            table.good(id, size, frames, vec![(opcode, payload)]);
        }
        let payload = vec![b'*'; 4 << 20];
        for number in 0..9 {
            let frames = fragments(opcode, &payload, 64 << (2 * number));
            let id = format!("9.{}.{}", 3 + offset, number + 1);
            table.good(id, 1 << 16, frames, vec![(opcode, payload.clone())]);
        }
        let payload = vec![b'*'; 1 << 20];
        for number in 0..6 {
            let frames = vec![fin(opcode, payload.clone())];
            let id = format!("9.{}.{}", 5 + offset, number + 1);
            table.good(id, 64 << number, frames, vec![(opcode, payload.clone())]);
        }
        for (number, size) in [0, 16, 64, 256, 1024, 4096].into_iter().enumerate() {
            let payload = vec![b'*'; size];
            let frames = vec![fin(opcode, payload.clone()); 1000];
            let size = frames[0].bytes().len();
            let id = format!("9.{}.{}", 7 + offset, number + 1);
            table.good(id, size, frames, vec![(opcode, payload); 1000]);
        }
    }
    let payload = vec![b'*'; 65536];
    let frames = fragments(TEXT, &payload, 1300);
    table.good("10.1.1", 1310, frames, vec![(TEXT, payload)]);
    table.check(55);
}
