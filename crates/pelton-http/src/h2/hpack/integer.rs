//! Integers with a prefix (RFC 7541, 5.1).

use super::Broken;

/// No length or index of ours is larger; what claims to be is an attack.
const LARGEST: u64 = u32::MAX as u64;

/// Reads an integer whose first byte is `input[*at]`, of which the low `bits` bits count.
pub(super) fn read(input: &[u8], at: &mut usize, bits: u8) -> Result<usize, Broken> {
    const TRUNCATED: Broken = Broken("an integer is cut off");
    let mask = (1u8 << bits) - 1;
    let first = input.get(*at).ok_or(TRUNCATED)? & mask;
    *at += 1;
    if first < mask {
        return Ok(usize::from(first));
    }
    let mut value = u64::from(mask);
    let mut shift = 0;
    loop {
        let byte = *input.get(*at).ok_or(TRUNCATED)?;
        *at += 1;
        value += u64::from(byte & 0x7f) << shift;
        // The length of the encoding is limited too: zeros could go on for ever.
        if value > LARGEST || shift > 28 {
            return Err(Broken("an integer is too large"));
        }
        if byte < 0x80 {
            return usize::try_from(value).map_err(|_| Broken("an integer is too large"));
        }
        shift += 7;
    }
}

/// Writes an integer; `first` holds the bits above its prefix of `bits` bits.
pub(super) fn write(output: &mut Vec<u8>, first: u8, bits: u8, value: usize) {
    let mask = (1usize << bits) - 1;
    if value < mask {
        output.push(first | value as u8);
        return;
    }
    output.push(first | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        output.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    output.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::{read, write};

    #[test]
    fn what_is_written_is_read() {
        for bits in 1..8u8 {
            for value in [0, 1, 9, 30, 31, 32, 126, 127, 128, 254, 255, 256, 1337, 65_535, 1 << 31]
            {
                let mut output = Vec::new();
                write(&mut output, 0, bits, value);
                let mut at = 0;
                assert_eq!(read(&output, &mut at, bits), Ok(value));
                assert_eq!(at, output.len());
            }
        }
    }

    #[test]
    fn the_example_of_the_rfc() {
        let mut output = Vec::new();
        write(&mut output, 0b1110_0000, 5, 1337);
        assert_eq!(output, [0b1111_1111, 0b1001_1010, 0b0000_1010]);
    }

    #[test]
    fn endless_and_huge_ones_are_refused() {
        for input in [
            &[0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01][..],
            &[0x1f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
            &[0x1f, 0x80],
            &[],
        ] {
            assert!(read(input, &mut 0, 5).is_err(), "{input:x?}");
        }
    }
}
