//! Bodies there and back in every coding, cut anywhere, and what must not come through.

use pelton_http::coding::{Coding, DecodeError, Decoder, Encoder};

/// zlib's format, which is only read: a stored block of "hello", and its checksum.
const DEFLATE: &[u8] = b"\x78\x01\x01\x05\x00\xfa\xffhello\x06\x2c\x02\x15";

const WRITTEN: [(Coding, u32); 3] = [(Coding::Gzip, 6), (Coding::Brotli, 4), (Coding::Zstd, 3)];

fn encode(coding: Coding, level: u32, data: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(coding, level).expect("a good level");
    let mut out = encoder.encode(data).expect("fine");
    out.extend(encoder.finish().expect("fine"));
    out
}

fn decode(coding: Coding, pieces: &[&[u8]], limit: u64) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = Decoder::new(coding, limit).expect("memory");
    let mut out = Vec::new();
    for piece in pieces {
        out.extend(decoder.decode(piece)?);
    }
    out.extend(decoder.finish()?);
    Ok(out)
}

fn text() -> Vec<u8> {
    (0..3000).flat_map(|number| format!("line {number} of it\n").into_bytes()).collect()
}

#[test]
fn there_and_back_cut_anywhere() {
    for (coding, level) in WRITTEN {
        for data in [&b""[..], b"x", &text()] {
            let encoded = encode(coding, level, data);
            let whole = decode(coding, &[&encoded], 1 << 20);
            assert!(whole.as_deref() == Ok(data), "{coding:?}");
            let bytes: Vec<&[u8]> = encoded.chunks(1).collect();
            assert!(decode(coding, &bytes, 1 << 20).as_deref() == Ok(data), "{coding:?}");
        }
    }
}

#[test]
fn a_flush_lets_all_out() {
    for (coding, level) in WRITTEN {
        let mut encoder = Encoder::new(coding, level).expect("a good level");
        let mut decoder = Decoder::new(coding, 1000).expect("memory");
        for event in [&b"data: 1\n\n"[..], b"data: 2\n\n", b"data: 3\n\n"] {
            let mut sent = encoder.encode(event).expect("fine");
            sent.extend(encoder.flush().expect("fine"));
            assert_eq!(decoder.decode(&sent).as_deref(), Ok(event), "{coding:?}");
        }
        let end = encoder.finish().expect("fine");
        assert_eq!(decoder.decode(&end).as_deref(), Ok(&b""[..]));
        assert_eq!(decoder.finish().as_deref(), Ok(&b""[..]));
        assert!(encoder.encode(b"more").is_err());
        assert!(encoder.finish().is_err());
    }
}

#[test]
fn bombs_stop_at_the_limit() {
    for (coding, level) in WRITTEN {
        let bomb = encode(coding, level, &vec![0; 8 << 20]);
        assert!(bomb.len() < 20_000, "{coding:?}: {}", bomb.len());
        let limit = (8 << 20) - 1;
        assert_eq!(decode(coding, &[&bomb], limit), Err(DecodeError::TooLarge(limit)));
        assert_eq!(decode(coding, &[&bomb], 8 << 20).map(|out| out.len()), Ok(8 << 20));
        assert_eq!(decode(coding, &[&bomb], 0), Err(DecodeError::TooLarge(0)));
    }
}

#[test]
fn what_is_damaged_or_cut_off() {
    for (coding, level) in WRITTEN {
        let good = encode(coding, level, &text());
        let invalid = Err(DecodeError::Invalid(coding.name()));
        for end in [1, 5, good.len() / 2, good.len() - 1] {
            assert_eq!(decode(coding, &[&good[..end]], 1 << 20), invalid, "{coding:?} to {end}");
        }
        assert_eq!(decode(coding, &[b"\xff\xff\xff\xff\xff\xff\xff"], 1 << 20), invalid);
        let trailing = [&good[..], b"something else that is no body"].concat();
        assert_eq!(decode(coding, &[&trailing], 1 << 20), invalid, "{coding:?}");
        assert_eq!(decode(coding, &[], 1 << 20).as_deref(), Ok(&b""[..]));
        // Once wrong, it stays wrong.
        let mut decoder = Decoder::new(coding, 10).expect("memory");
        assert_eq!(decoder.decode(&good), Err(DecodeError::TooLarge(10)));
        assert_eq!(decoder.decode(b""), Err(DecodeError::TooLarge(10)));
        assert_eq!(decoder.finish(), Err(DecodeError::TooLarge(10)));
    }
}

#[test]
fn deflate_is_zlibs_format() {
    let hello = Ok(&b"hello"[..]);
    assert_eq!(decode(Coding::Deflate, &[DEFLATE], 5).as_deref(), hello);
    let bytes: Vec<&[u8]> = DEFLATE.chunks(1).collect();
    assert_eq!(decode(Coding::Deflate, &bytes, 5).as_deref(), hello);
    assert_eq!(decode(Coding::Deflate, &[DEFLATE], 4), Err(DecodeError::TooLarge(4)));
    let invalid = Err(DecodeError::Invalid("deflate"));
    for end in 1..DEFLATE.len() {
        assert_eq!(decode(Coding::Deflate, &[&DEFLATE[..end]], 5), invalid, "to {end}");
    }
    assert_eq!(decode(Coding::Deflate, &[DEFLATE, b"more"], 5), invalid);
    assert_eq!(decode(Coding::Deflate, &[b"not at all"], 5), invalid);
}

#[test]
fn members_and_frames_one_after_another() {
    for (coding, level) in [WRITTEN[0], WRITTEN[2]] {
        let two = [encode(coding, level, b"one "), encode(coding, level, b"two")].concat();
        assert_eq!(decode(coding, &[&two], 100).as_deref(), Ok(&b"one two"[..]), "{coding:?}");
    }
}

#[test]
fn levels() {
    for (coding, level) in
        [(Coding::Gzip, 0), (Coding::Gzip, 10), (Coding::Brotli, 12), (Coding::Zstd, 20)]
    {
        let error = Encoder::new(coding, level).expect_err("no such level");
        assert!(error.to_string().contains("no level"), "{error}");
    }
    assert!(Encoder::new(Coding::Deflate, 6).is_err());
    assert_eq!(Coding::named(b"GZIP"), Some(Coding::Gzip));
    assert_eq!(Coding::named(b"compress"), None);
}
