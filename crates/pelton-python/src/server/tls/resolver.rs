//! Which certificate a client gets.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::identity::Identity;

/// Chooses among several certificates by the name that the client asks for, and by what it can
/// verify.
#[derive(Debug)]
pub(super) struct Resolver {
    /// In the order of the options; never empty.
    identities: Vec<Identity>,
}

impl Resolver {
    pub(super) fn new(identities: Vec<Identity>) -> Self {
        Self { identities }
    }
}

impl ResolvesServerCert for Resolver {
    /// The first certificate for that name whose signature the client accepts; without a name, or
    /// with an unknown one, the first that it accepts, as other servers do it.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable = |identity: &&Identity| {
            identity.certified.key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let named =
            hello.server_name().and_then(|name| ServerName::try_from(name).ok()).and_then(|name| {
                self.identities.iter().filter(usable).find(|one| is_for(&one.certified, &name))
            });
        let chosen = named.or_else(|| self.identities.iter().find(usable))?;
        CHOSEN.set(Some(chosen.certified.clone()));
        Some(chosen.certified.clone())
    }
}

thread_local! {
    /// What the last handshake in this thread chose: rustls does not tell.
    static CHOSEN: RefCell<Option<Arc<CertifiedKey>>> = const { RefCell::new(None) };
}

/// What `resolve` chose since the last call. A handshake is worked on in one thread, from one call
/// of rustls to its return, so what it chose is its own.
pub(super) fn take_chosen() -> Option<Arc<CertifiedKey>> {
    CHOSEN.take()
}

fn is_for(certified: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let Ok(certificate) = certified.end_entity_cert() else { return false };
    webpki::EndEntityCert::try_from(certificate)
        .is_ok_and(|certificate| certificate.verify_is_valid_for_subject_name(name).is_ok())
}
