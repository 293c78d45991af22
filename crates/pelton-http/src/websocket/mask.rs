//! The mask over a client's payload.

/// Applies `mask` to a part of a payload that begins `offset` bytes into it.
pub(super) fn apply(data: &mut [u8], mask: [u8; 4], offset: u64) {
    let mut key = mask;
    key.rotate_left((offset % 4) as usize);
    let wide = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let mut words = data.chunks_exact_mut(8);
    for word in &mut words {
        let mut value = [0; 8];
        value.copy_from_slice(word);
        word.copy_from_slice(&(u64::from_ne_bytes(value) ^ wide).to_ne_bytes());
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn in_pieces_as_at_once() {
        let mask = [1, 2, 4, 200];
        let plain: Vec<u8> = (0..61).collect();
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
