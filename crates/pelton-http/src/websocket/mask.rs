//! The mask over a client's payload.

/// Bytes handled at once; the compiler makes vector instructions of them.
const WIDTH: usize = 32;

/// Adds a part of a payload that begins `offset` bytes into it, with the mask taken off.
pub(super) fn extend(into: &mut Vec<u8>, data: &[u8], mask: [u8; 4], offset: u64) {
    let start = into.len();
    into.extend_from_slice(data);
    apply(&mut into[start..], mask, offset);
}

/// Applies `mask` to a part of a payload that begins `offset` bytes into it.
pub(super) fn apply(data: &mut [u8], mask: [u8; 4], offset: u64) {
    let mut key = mask;
    key.rotate_left((offset % 4) as usize);
    let mut wide = [0; WIDTH];
    for (at, byte) in wide.iter_mut().enumerate() {
        *byte = key[at % 4];
    }
    let (blocks, rest) = data.as_chunks_mut::<WIDTH>();
    for block in blocks {
        for (byte, key) in block.iter_mut().zip(&wide) {
            *byte ^= key;
        }
    }
    for (byte, key) in rest.iter_mut().zip(&wide) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn in_pieces_as_at_once() {
        let mask = [1, 2, 4, 200];
        let plain: Vec<u8> = (0..161).collect();
        let expected: Vec<u8> =
            plain.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect();
        for split in 0..plain.len() {
            let mut data = plain.clone();
            let (head, tail) = data.split_at_mut(split);
            super::apply(head, mask, 0);
            super::apply(tail, mask, split as u64);
            assert_eq!(data, expected, "split at {split}");
        }
    }
}
