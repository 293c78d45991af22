//! Any bytes, cut anywhere, are the same content or wrong; no more comes out than the limit allows;
//! and what is compressed, flushed anywhere, comes out again as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pelton_http::coding::{Coding, Decoder, Encoder};

/// Less than the bombs that a few bytes can be: each coding makes a thousand of one, or more.
const LIMIT: u64 = 1 << 16;
const READ: [Coding; 4] = [Coding::Gzip, Coding::Brotli, Coding::Zstd, Coding::Deflate];
const WRITTEN: [(Coding, u32); 3] = [(Coding::Gzip, 6), (Coding::Brotli, 4), (Coding::Zstd, 3)];

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (kind, cut, data) = input;
    let (head, tail) = data.split_at(usize::from(cut).min(data.len()));
    let coding = READ[usize::from(kind % 4)];
    let whole = decode(coding, &[data]);
    assert_eq!(whole, decode(coding, &[head, tail]));
    let bytes: Vec<&[u8]> = data.chunks(1).collect();
    assert_eq!(whole, decode(coding, &bytes));

    let (coding, level) = WRITTEN[usize::from(kind / 4 % 3)];
    let mut encoder = Encoder::new(coding, level).expect("a good level");
    let mut encoded = encoder.encode(head).expect("it has not finished");
    encoded.extend(encoder.flush().expect("it has not finished"));
    encoded.extend(encoder.encode(tail).expect("it has not finished"));
    encoded.extend(encoder.finish().expect("it has not finished"));
    let expected = (data.len() as u64 <= LIMIT).then(|| data.to_vec());
    assert_eq!(decode(coding, &[&encoded]), expected);

    // A bomb of the fuzzer's own bytes: one pattern again and again, eight times the limit.
    if kind >= 0xf0 && !data.is_empty() {
        let bomb: Vec<u8> = data.iter().copied().cycle().take(8 * LIMIT as usize).collect();
        let mut encoder = Encoder::new(coding, level).expect("a good level");
        let mut encoded = encoder.encode(&bomb).expect("it has not finished");
        encoded.extend(encoder.finish().expect("it has not finished"));
        assert_eq!(decode(coding, &[&encoded]), None);
    }
});

/// The content; none where something is wrong with it, or it is too large.
fn decode(coding: Coding, pieces: &[&[u8]]) -> Option<Vec<u8>> {
    let mut decoder = Decoder::new(coding, LIMIT).expect("memory");
    let mut content = Vec::new();
    for piece in pieces {
        match decoder.decode(piece) {
            Ok(decoded) => content.extend(decoded),
            Err(error) => {
                // What follows is wrong, too, whatever it is.
                assert_eq!(decoder.decode(b"more"), Err(error));
                assert_eq!(decoder.finish(), Err(error));
                return None;
            }
        }
        assert!(content.len() as u64 <= LIMIT);
    }
    content.extend(decoder.finish().ok()?);
    assert!(content.len() as u64 <= LIMIT);
    Some(content)
}
