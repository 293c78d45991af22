//! Several values in one: what Redis keeps for us, and never looks into.

/// Length of a value that is not there.
const NONE: u32 = u32::MAX;

/// One after the other, each with its length before it.
pub(super) fn pack(values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        match value {
            // INVARIANT: names and payloads are checked to be far below 4 GiB.
            Some(bytes) => {
                out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
                out.extend_from_slice(bytes);
            }
            None => out.extend_from_slice(&NONE.to_be_bytes()),
        }
    }
    out
}

/// What was packed; `None` where it was not packed by `pack`.
pub(super) fn unpack(mut bytes: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk()?;
        bytes = rest;
        let length = u32::from_be_bytes(*length);
        if length == NONE {
            values.push(None);
            continue;
        }
        let (value, rest) = bytes.split_at_checked(length as usize)?;
        values.push(Some(value.to_vec()));
        bytes = rest;
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_others_do_not() {
        let packed = pack(&[Some(b"one"), None, Some(b"")]);
        let values = unpack(&packed).unwrap();
        assert_eq!(values, [Some(b"one".to_vec()), None, Some(Vec::new())]);
        assert_eq!(unpack(&packed[..packed.len() - 1]), None);
        assert_eq!(unpack(b"\0\0\0\x09x"), None);
    }
}
