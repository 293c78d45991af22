//! The PROXY protocol's parser and the forwarded headers: nothing panics, a header's length lies
//! within the data, how it is cut does not matter, and nobody untrusted is believed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pelton_http::Headers;
use pelton_http::proxies::{HEADER_MAX, Origin, Peer, ProxyHeader, Source, Trusted, origin};

fuzz_target!(|data: &[u8]| {
    if let Ok(Some(header)) = ProxyHeader::parse(data) {
        assert!(header.length <= data.len() && header.length <= HEADER_MAX);
        assert_eq!(ProxyHeader::parse(&data[..header.length]), Ok(Some(header)));
        assert_eq!(ProxyHeader::parse(&data[..header.length - 1]), Ok(None));
    }
    let names = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"];
    let mut headers = Headers::default();
    for (index, line) in data.split(|byte| *byte == b'\n').enumerate() {
        headers.push(names[index % names.len()].as_bytes(), line);
    }
    let Ok(trusted) = Trusted::parse(["10.0.0.0/8", "::1"]) else { return };
    let Ok(everybody) = Trusted::parse(["*"]) else { return };
    for source in [Source::XForwarded, Source::Forwarded] {
        assert_eq!(origin(&headers, source, &trusted, Peer::Unix), Origin::default());
        let found = origin(&headers, source, &everybody, Peer::Unix);
        assert!(!(found.client.is_some() && found.is_client_hidden));
    }
});
