//! A certificate chain and its key, read from files.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// Files that hold more are no certificates.
const FILE_MAX: u64 = 1024 * 1024;

/// A chain and its key, ready to sign.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
}

impl Identity {
    /// Reads a PEM chain, the server's own certificate first, and its PEM key; without `key` both are
    /// in one file. The error is a sentence that names the file.
    pub(super) fn load(
        provider: &CryptoProvider,
        certificate: &str,
        key: Option<&str>,
    ) -> Result<Self, String> {
        let text = read(certificate)?;
        let chain = certificates(certificate, &text)?;
        let key_file = key.unwrap_or(certificate);
        let key_text = match key {
            Some(file) => read(file)?,
            None => text,
        };
        let key = private_key(key_file, &key_text)?;
        let certified =
            CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    format!("the key in {key_file} is not that of the certificate in {certificate}")
                }
                other => format!("the key in {key_file} cannot be used: {other}"),
            })?;
        Ok(Self { certified: Arc::new(certified) })
    }
}

/// The certificates of a PEM file; at least one.
pub(super) fn certificates(
    file: &str,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|error| format!("{file} is no PEM file: {error}"))?;
    if found.is_empty() {
        return Err(format!("{file} holds no certificate (no BEGIN CERTIFICATE in it)"));
    }
    Ok(found)
}

/// A file's content.
pub(super) fn read(file: &str) -> Result<Vec<u8>, String> {
    let refused = |error: std::io::Error| format!("cannot read {file}: {error}");
    let path = Path::new(file);
    let length = path.metadata().map_err(refused)?.len();
    if length > FILE_MAX {
        return Err(format!("{file} has {length} bytes: it is no certificate and no key"));
    }
    std::fs::read(path).map_err(refused)
}

fn private_key(file: &str, text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    if is_encrypted(text) {
        return Err(format!(
            "the key in {file} is encrypted: decrypt it (openssl pkey -in {file} -out NEW) and keep \
             the result readable for the server's user alone"
        ));
    }
    PrivateKeyDer::from_pem_slice(text)
        .map_err(|_| format!("{file} holds no private key (no BEGIN PRIVATE KEY in it)"))
}

/// Both ways of PEM to say that a key needs a password: PKCS #8's label, and OpenSSL's older header.
fn is_encrypted(text: &[u8]) -> bool {
    let contains = |what: &[u8]| text.windows(what.len()).any(|window| window == what);
    contains(b"BEGIN ENCRYPTED PRIVATE KEY") || contains(b"Proc-Type: 4,ENCRYPTED")
}
