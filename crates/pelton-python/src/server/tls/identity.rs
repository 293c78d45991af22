//! A certificate chain and its key, read from files.

use std::path::Path;
use std::sync::Arc;

use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

const BEGIN_ENCRYPTED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
const END_ENCRYPTED: &[u8] = b"-----END ENCRYPTED PRIVATE KEY-----";
/// Files that hold more are no certificates.
const FILE_MAX: u64 = 1024 * 1024;

/// A chain and its key, ready to sign.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
}

impl Identity {
    /// Reads a PEM chain, the server's own certificate first, and its PEM key; without `key` both are
    /// in one file. `password`: of a key that is encrypted. The error is a sentence that names the file.
    pub(super) fn load(
        provider: &CryptoProvider,
        certificate: &str,
        key: Option<&str>,
        password: Option<&str>,
    ) -> Result<Self, String> {
        let text = read(certificate)?;
        let chain = certificates(certificate, &text)?;
        let key_file = key.unwrap_or(certificate);
        let key_text = match key {
            Some(file) => read(file)?,
            None => text,
        };
        let key = private_key(key_file, &key_text, password)?;
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

fn private_key(
    file: &str,
    text: &[u8],
    password: Option<&str>,
) -> Result<PrivateKeyDer<'static>, String> {
    if find(text, b"Proc-Type: 4,ENCRYPTED").is_some() {
        return Err(format!(
            "the key in {file} is encrypted in OpenSSL's old way, which protects little: convert it \
             (openssl pkcs8 -topk8 -in {file} -out NEW)"
        ));
    }
    if let Some(encrypted) = between(text, BEGIN_ENCRYPTED, END_ENCRYPTED) {
        return decrypt(file, encrypted, password);
    }
    PrivateKeyDer::from_pem_slice(text)
        .map_err(|_| format!("{file} holds no private key (no BEGIN PRIVATE KEY in it)"))
}

/// PKCS #8's way to encrypt a key: PBES2, by a key that is made of the password.
fn decrypt(
    file: &str,
    pem: &[u8],
    password: Option<&str>,
) -> Result<PrivateKeyDer<'static>, String> {
    let password = password.ok_or_else(|| {
        format!(
            "the key in {file} is encrypted: give its password (ssl_keyfile_password, best by the \
             variable PELTON_SSL_KEYFILE_PASSWORD), or decrypt it (openssl pkey -in {file} -out NEW) \
             and keep the result readable for the server's user alone"
        )
    })?;
    let damaged = || format!("the encrypted key in {file} is damaged");
    let pem = std::str::from_utf8(pem).map_err(|_| damaged())?;
    let (_, document) = SecretDocument::from_pem(pem).map_err(|_| damaged())?;
    let info = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|error| {
        format!("the key in {file} is encrypted in a way that is not known here: {error}")
    })?;
    let key = info.decrypt(password).map_err(|error| {
        format!("the key in {file} cannot be decrypted, is its password right? ({error})")
    })?;
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec())))
}

/// From the first `begin` to the `end` after it, with both.
fn between<'a>(text: &'a [u8], begin: &[u8], end: &[u8]) -> Option<&'a [u8]> {
    let rest = &text[find(text, begin)?..];
    let length = find(rest, end)? + end.len();
    rest.get(..length)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
