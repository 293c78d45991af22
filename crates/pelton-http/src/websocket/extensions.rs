//! `Sec-WebSocket-Extensions`: what a client offers, and what is made of it (RFC 7692, 7.1).

use std::fmt;

/// How this server compresses, and what it asks of clients that do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateOptions {
    /// From 1, fast, to 9, small.
    pub level: u32,
    /// Shorter messages leave as they are.
    pub min_size: usize,
    /// The window of our messages, as a power of two from 9 to 15: memory for each connection.
    pub server_window_bits: u8,
    /// The window asked of clients that let us ask.
    pub client_window_bits: u8,
    /// Whether a message may refer to those before it, in both directions.
    pub context_takeover: bool,
}

impl Default for DeflateOptions {
    fn default() -> Self {
        Self {
            level: 3,
            min_size: 128,
            server_window_bits: 12,
            client_window_bits: 15,
            context_takeover: true,
        }
    }
}

/// The parameters of `permessage-deflate` that both sides agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Our messages stand each for itself.
    pub server_no_context_takeover: bool,
    /// The client's messages stand each for itself.
    pub client_no_context_takeover: bool,
    /// The window of our messages.
    pub server_window_bits: u8,
    /// The window of the client's messages.
    pub client_window_bits: u8,
    says_client_window: bool,
}

/// The header is not what RFC 6455 (9.1) says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Agreement {
    /// The first offer of `permessage-deflate` that can be taken; `None` where there is none.
    pub(super) fn negotiate<'h>(
        offers: impl Iterator<Item = &'h [u8]>,
        options: &DeflateOptions,
    ) -> Result<Option<Self>, Malformed> {
        let mut agreed = None;
        for header in offers {
            for offer in read_offers(header)? {
                if agreed.is_none() && offer.name == b"permessage-deflate" {
                    agreed = Self::of(&offer, options);
                }
            }
        }
        Ok(agreed)
    }

    fn of(offer: &Offer, options: &DeflateOptions) -> Option<Self> {
        let mut agreed = Self {
            server_no_context_takeover: !options.context_takeover,
            client_no_context_takeover: !options.context_takeover,
            server_window_bits: options.server_window_bits,
            client_window_bits: 15,
            says_client_window: false,
        };
        let mut seen: Vec<&[u8]> = Vec::new();
        for (name, value) in &offer.parameters {
            if seen.contains(&name.as_slice()) {
                return None;
            }
            seen.push(name);
            match (name.as_slice(), value.as_deref()) {
                (b"server_no_context_takeover", None) => agreed.server_no_context_takeover = true,
                (b"client_no_context_takeover", None) => agreed.client_no_context_takeover = true,
                (b"server_max_window_bits", Some(value)) => {
                    // No encoder here has a window of 256 bytes.
                    let bits = window_bits(value).filter(|bits| *bits > 8)?;
                    agreed.server_window_bits = agreed.server_window_bits.min(bits);
                }
                (b"client_max_window_bits", value) => {
                    let most = value.map_or(Some(15), window_bits)?;
                    agreed.client_window_bits = most.min(options.client_window_bits);
                    agreed.says_client_window = value.is_some() || agreed.client_window_bits < 15;
                }
                _ => return None,
            }
        }
        Some(agreed)
    }
}

impl fmt::Display for Agreement {
    /// The header's value in the response.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permessage-deflate")?;
        if self.server_no_context_takeover {
            f.write_str("; server_no_context_takeover")?;
        }
        if self.client_no_context_takeover {
            f.write_str("; client_no_context_takeover")?;
        }
        if self.server_window_bits < 15 {
            write!(f, "; server_max_window_bits={}", self.server_window_bits)?;
        }
        if self.says_client_window {
            write!(f, "; client_max_window_bits={}", self.client_window_bits)?;
        }
        Ok(())
    }
}

/// One extension with its parameters.
#[derive(Debug, PartialEq, Eq)]
struct Offer {
    name: Vec<u8>,
    parameters: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// 8 to 15, in digits without a leading zero.
fn window_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

fn read_offers(header: &[u8]) -> Result<Vec<Offer>, Malformed> {
    let mut scanner = Scanner { text: header };
    let mut offers = Vec::new();
    loop {
        scanner.skip_space();
        if scanner.text.is_empty() {
            return Ok(offers);
        }
        if scanner.takes(b',') {
            continue;
        }
        let mut offer = Offer { name: scanner.token()?, parameters: Vec::new() };
        while scanner.takes(b';') {
            let name = scanner.token()?;
            let value = if scanner.takes(b'=') { Some(scanner.value()?) } else { None };
            offer.parameters.push((name, value));
        }
        if !scanner.text.is_empty() && !scanner.takes(b',') {
            return Err(Malformed);
        }
        offers.push(offer);
    }
}

struct Scanner<'a> {
    text: &'a [u8],
}

impl Scanner<'_> {
    fn skip_space(&mut self) {
        let used = self.text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        self.text = &self.text[used..];
    }

    /// Whether `byte` comes next; then it is passed, and white space around it.
    fn takes(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.text.first() == Some(&byte);
        if found {
            self.text = &self.text[1..];
            self.skip_space();
        }
        found
    }

    /// A token, in lower case.
    fn token(&mut self) -> Result<Vec<u8>, Malformed> {
        let is_token =
            |byte: &&u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(*byte);
        let length = self.text.iter().take_while(is_token).count();
        if length == 0 {
            return Err(Malformed);
        }
        let token = self.text[..length].to_ascii_lowercase();
        self.text = &self.text[length..];
        Ok(token)
    }

    /// A token, in quotes or not.
    fn value(&mut self) -> Result<Vec<u8>, Malformed> {
        if self.text.first() != Some(&b'"') {
            return self.token();
        }
        self.text = &self.text[1..];
        let value = self.token()?;
        let Some((b'"', rest)) = self.text.split_first() else { return Err(Malformed) };
        self.text = rest;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::{Agreement, DeflateOptions, Malformed};

    fn answer(header: &str, options: &DeflateOptions) -> Result<Option<String>, Malformed> {
        let agreed = Agreement::negotiate(std::iter::once(header.as_bytes()), options)?;
        Ok(agreed.map(|agreed| agreed.to_string()))
    }

    #[test]
    fn offers_and_answers() {
        let wide = DeflateOptions { server_window_bits: 15, ..DeflateOptions::default() };
        let plain = "permessage-deflate";
        let cases = [
            ("", None),
            ("x-webkit-deflate-frame", None),
            ("permessage-deflate", Some(plain)),
            ("Permessage-Deflate ; client_max_window_bits", Some(plain)),
            (
                "permessage-deflate; client_max_window_bits=10",
                Some("permessage-deflate; client_max_window_bits=10"),
            ),
            (
                "permessage-deflate; client_max_window_bits=\"8\"",
                Some("permessage-deflate; client_max_window_bits=8"),
            ),
            (
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
                Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
            ),
            (
                "permessage-deflate;server_max_window_bits=9",
                Some("permessage-deflate; server_max_window_bits=9"),
            ),
            ("permessage-deflate; server_max_window_bits=15", Some(plain)),
            ("permessage-deflate; server_max_window_bits=8, permessage-deflate", Some(plain)),
            ("permessage-deflate; server_max_window_bits", None),
            ("permessage-deflate; server_max_window_bits=16", None),
            ("permessage-deflate; server_max_window_bits=09", None),
            ("permessage-deflate; client_max_window_bits=7", None),
            ("permessage-deflate; server_no_context_takeover=1", None),
            ("permessage-deflate; unknown", None),
            ("permessage-deflate; client_max_window_bits; client_max_window_bits=9", None),
            ("other; a=b, , permessage-deflate", Some(plain)),
        ];
        for (header, expected) in cases {
            assert_eq!(answer(header, &wide), Ok(expected.map(str::to_owned)), "{header}");
        }
        for header in ["permessage-deflate;", "a b", "a; b=\"c", "a; b=\"c d\"", "=", "a; =b"] {
            assert_eq!(answer(header, &wide), Err(Malformed), "{header}");
        }
    }

    #[test]
    fn what_the_server_wants() {
        let options = DeflateOptions {
            server_window_bits: 11,
            client_window_bits: 10,
            context_takeover: false,
            ..DeflateOptions::default()
        };
        let header = "permessage-deflate; client_max_window_bits";
        let expected = "permessage-deflate; server_no_context_takeover; \
                        client_no_context_takeover; server_max_window_bits=11; \
                        client_max_window_bits=10";
        assert_eq!(answer(header, &options), Ok(Some(expected.to_owned())));
        let unasked = answer("permessage-deflate", &options).ok().flatten().unwrap_or_default();
        assert!(!unasked.contains("client_max_window_bits"), "{unasked}");
    }
}
