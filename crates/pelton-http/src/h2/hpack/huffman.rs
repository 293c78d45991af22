//! The string code of RFC 7541, appendix B.
//!
//! It is a canonical Huffman code: the lengths of the symbols' codes say all, so only those are
//! written down here. Codes of one length are consecutive numbers, in the order of their symbols.

use super::Broken;

/// The end of string; its code may not appear.
const EOS: usize = 256;
const SYMBOLS: usize = 257;
const LONGEST: usize = 30;

/// How many bits the code of each byte has, and that of the end of string.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// All codes, in the forms that reading and writing want.
struct Code {
    /// By symbol.
    codes: [u32; SYMBOLS],
    /// Symbols by length, then by value: the order of their codes.
    sorted: [u16; SYMBOLS],
    /// By length: the first code of it, how many there are, and where they begin in `sorted`.
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    start: [u32; LONGEST + 1],
    /// By the next eight bits: symbol and length of the code they begin with; length 0 where that
    /// is longer.
    short: [(u8, u8); 256],
}

static CODE: Code = Code::build();

impl Code {
    const fn build() -> Self {
        let mut code = Self {
            codes: [0; SYMBOLS],
            sorted: [0; SYMBOLS],
            first: [0; LONGEST + 1],
            count: [0; LONGEST + 1],
            start: [0; LONGEST + 1],
            short: [(0, 0); 256],
        };
        let (mut length, mut next, mut placed) = (1, 0u32, 0);
        while length <= LONGEST {
            code.first[length] = next;
            code.start[length] = placed as u32;
            let mut symbol = 0;
            while symbol < SYMBOLS {
                if LENGTHS[symbol] as usize == length {
                    code.codes[symbol] = next;
                    code.sorted[placed] = symbol as u16;
                    if length <= 8 {
                        let mut tail = 0;
                        while tail < 1usize << (8 - length) {
                            let bits = ((next as usize) << (8 - length)) | tail;
                            code.short[bits] = (symbol as u8, length as u8);
                            tail += 1;
                        }
                    }
                    code.count[length] += 1;
                    next += 1;
                    placed += 1;
                }
                symbol += 1;
            }
            next <<= 1;
            length += 1;
        }
        code
    }

    /// The symbol whose code, longer than eight bits, the 30 bits `window` begin with.
    fn long(&self, window: u32) -> (usize, u32) {
        for length in 9..=LONGEST {
            let offset = (window >> (LONGEST - length)).wrapping_sub(self.first[length]);
            if offset < self.count[length] {
                let symbol = self.sorted[(self.start[length] + offset) as usize];
                return (usize::from(symbol), length as u32);
            }
        }
        // The code is complete: every window begins with one. The all-ones window is EOS's.
        (EOS, LONGEST as u32)
    }
}

/// Appends the decoded string to `output`.
pub(super) fn decode(input: &[u8], output: &mut Vec<u8>) -> Result<(), Broken> {
    output.reserve(input.len() * 2);
    // The low `held` bits of `bits` are read and not yet decoded.
    let (mut bits, mut held) = (0u64, 0u32);
    let mut rest = input.iter();
    loop {
        while held <= 56 {
            let Some(byte) = rest.next() else { break };
            bits = bits << 8 | u64::from(*byte);
            held += 8;
        }
        if held == 0 {
            return Ok(());
        }
        // Where the input ends, ones follow: they are the padding, and the start of EOS.
        let next = if held >= 8 {
            (bits >> (held - 8)) as u8
        } else {
            (bits << (8 - held)) as u8 | (0xff >> held) as u8
        };
        let (symbol, length) = CODE.short[usize::from(next)];
        if length != 0 && u32::from(length) <= held {
            output.push(symbol);
            held -= u32::from(length);
            continue;
        }
        if held < 8 {
            return check_padding(bits, held);
        }
        let missing = (LONGEST as u32).saturating_sub(held);
        let window = if missing == 0 {
            (bits >> (held - LONGEST as u32)) as u32
        } else {
            (bits << missing) as u32 | ((1u32 << missing) - 1)
        } & ((1 << LONGEST) - 1);
        let (symbol, length) = CODE.long(window);
        if symbol == EOS {
            return Err(Broken("a string holds its end, or too much padding"));
        }
        if length > held {
            return Err(Broken("a string ends inside a character"));
        }
        output.push(symbol as u8);
        held -= length;
    }
}

/// The last bits, fewer than eight, must be ones.
fn check_padding(bits: u64, held: u32) -> Result<(), Broken> {
    let ones = (1u64 << held) - 1;
    if bits & ones == ones {
        Ok(())
    } else {
        Err(Broken("a string's padding is not the end of string's beginning"))
    }
}

/// How many bytes [`encode`] would append.
pub(super) fn encoded_len(input: &[u8]) -> usize {
    let bits: usize = input.iter().map(|byte| usize::from(LENGTHS[usize::from(*byte)])).sum();
    bits.div_ceil(8)
}

/// Appends the encoded string to `output`.
pub(super) fn encode(input: &[u8], output: &mut Vec<u8>) {
    let (mut bits, mut held) = (0u64, 0u32);
    for byte in input {
        let symbol = usize::from(*byte);
        bits = bits << LENGTHS[symbol] | u64::from(CODE.codes[symbol]);
        held += u32::from(LENGTHS[symbol]);
        while held >= 8 {
            held -= 8;
            output.push((bits >> held) as u8);
        }
    }
    if held > 0 {
        output.push((bits << (8 - held)) as u8 | (0xff >> held) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::{decode, encode, encoded_len};

    fn decoded(input: &[u8]) -> Option<Vec<u8>> {
        let mut output = Vec::new();
        decode(input, &mut output).ok().map(|()| output)
    }

    #[test]
    fn the_examples_of_the_rfc() {
        for (text, code) in [
            (&b"www.example.com"[..], &b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..]),
            (b"no-cache", b"\xa8\xeb\x10\x64\x9c\xbf"),
            (b"custom-value", b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf"),
            (b"302", b"\x64\x02"),
            (
                b"https://www.example.com",
                b"\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3",
            ),
        ] {
            let mut output = Vec::new();
            encode(text, &mut output);
            assert_eq!(output, code);
            assert_eq!(encoded_len(text), code.len());
            assert_eq!(decoded(code).as_deref(), Some(text));
        }
    }

    #[test]
    fn every_byte_in_every_neighbourhood() {
        for first in 0..=255u8 {
            for second in [0, b'a', b'0', 0x7f, 0xff, first] {
                let text = [first, second, b'e', first];
                let mut output = Vec::new();
                encode(&text, &mut output);
                assert_eq!(decoded(&output).as_deref(), Some(&text[..]));
            }
        }
    }

    #[test]
    fn bad_padding_is_refused() {
        // Eight ones of padding; zeros as padding; the end of string; a cut-off character.
        for input in [&b"\xff"[..], b"\x18", b"\xff\xff\xff\xff", b"\x1f\xff", b"\xff\xf0"] {
            assert_eq!(decoded(input), None, "{input:x?}");
        }
        assert_eq!(decoded(b"\x1f").as_deref(), Some(&b"a"[..]));
        assert_eq!(decoded(b"").as_deref(), Some(&b""[..]));
    }
}
