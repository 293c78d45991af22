//! Session tickets: what a client needs to resume, sealed so that every worker can open it.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::server::ProducesTickets;

/// Seconds for which one key seals; for as long again it still opens.
const KEY_AGE: u64 = 6 * 60 * 60;
const SLOT_LEN: usize = 8;
/// The shortest secret, in bytes.
pub(super) const SECRET_MIN: usize = 32;

/// Seals tickets with keys derived from a secret and the time: who shares the secret opens the
/// tickets of the others, and no key is used for longer than a few hours.
pub(super) struct Tickets {
    secret: Prk,
    random: SystemRandom,
}

impl Tickets {
    /// `context`: what the sessions depend on. With another one, old tickets open no more.
    pub(super) fn new(secret: &[u8], context: &[u8]) -> Self {
        let secret = Salt::new(HKDF_SHA256, context).extract(secret);
        Self { secret, random: SystemRandom::new() }
    }

    /// A secret of one's own.
    pub(super) fn random_secret() -> Result<Vec<u8>, String> {
        let mut secret = vec![0; SECRET_MIN];
        match SystemRandom::new().fill(&mut secret) {
            Ok(()) => Ok(secret),
            Err(_) => Err("the system gives no random bytes".to_owned()),
        }
    }

    fn key(&self, slot: u64) -> Option<LessSafeKey> {
        let slot = slot.to_be_bytes();
        let info = [&b"pelton session ticket"[..], &slot];
        let material = self.secret.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(material)))
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        2 * KEY_AGE as u32
    }

    /// The key's slot, a nonce, and the sealed session.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let slot = now()?;
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let about = Aad::from(slot.to_be_bytes());
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.key(slot)?.seal_in_place_append_tag(nonce_used, about, &mut sealed).ok()?;
        Some([&slot.to_be_bytes()[..], &nonce, &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (slot, rest) = ticket.split_first_chunk::<SLOT_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let slot = u64::from_be_bytes(*slot);
        let now = now()?;
        if slot != now && slot.checked_add(1)? != now {
            return None;
        }
        let mut plain = sealed.to_vec();
        let about = Aad::from(slot.to_be_bytes());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.key(slot)?.open_in_place(nonce, about, &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tickets")
    }
}

/// The slot of the key that seals now.
fn now() -> Option<u64> {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(elapsed.as_secs() / KEY_AGE)
}
