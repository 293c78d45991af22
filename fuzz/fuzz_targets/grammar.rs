//! The small grammars take anything: queries, cookies, percent-encoded paths.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pelton_http::{cookie, percent, query};

fuzz_target!(|data: &[u8]| {
    for (name, value) in query::pairs(data) {
        // Decoding makes nothing longer but invalid bytes, which become three.
        assert!(name.len() + value.len() <= 3 * data.len());
    }
    for (name, value) in cookie::pairs(data) {
        assert!(name.len() + value.len() <= 2 * data.len());
    }
    assert!(percent::decode_path(data).len() <= 3 * data.len());
});
