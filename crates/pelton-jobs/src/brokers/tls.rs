//! TLS to a store's server, by rustls: whom to trust, and as whom to come.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// What is asked of the server's certificate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Verify {
    /// Signed by somebody we trust, for the host that we asked for.
    #[default]
    Full,
    /// Signed by somebody we trust, for whatever host.
    Authority,
    /// Nothing: whoever answers is believed.
    Nothing,
}

/// How to speak TLS: what a URL's options say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TlsOptions {
    /// Certificates to trust, as PEM; the system's where it is not given.
    pub(crate) authorities: Option<PathBuf>,
    /// Our own certificate, with its chain, as PEM.
    pub(crate) certificate: Option<PathBuf>,
    /// Its key, as PEM; in the certificate's file where it is not given.
    pub(crate) key: Option<PathBuf>,
    /// What is asked of the server's.
    pub(crate) verify: Verify,
}

/// Where systems keep the certificates that they trust.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

impl TlsOptions {
    /// The files, read; an error says which one is of no use, and why.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS: {error}"))?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(&provider)?);
        let config = match &self.certificate {
            None if self.key.is_some() => {
                return Err("a key for TLS is of no use without its certificate".into());
            }
            None => builder.with_no_client_auth(),
            Some(file) => {
                let chain = certificates(file)?;
                let key_file = self.key.as_ref().unwrap_or(file);
                let key = PrivateKeyDer::from_pem_file(key_file)
                    .map_err(|error| format!("the key in {}: {error}", key_file.display()))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    format!("the certificate in {} and its key: {error}", file.display())
                })?
            }
        };
        Ok(Arc::new(config))
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, String> {
        if self.verify == Verify::Nothing {
            return Ok(Arc::new(Lenient { provider: Arc::clone(provider), authority: None }));
        }
        let mut roots = RootCertStore::empty();
        let (file, given) = match &self.authorities {
            Some(file) => (file.clone(), true),
            None => (system_authorities()?, false),
        };
        for certificate in certificates(&file)? {
            match roots.add(certificate) {
                Ok(()) => {}
                Err(error) if given => return Err(format!("{}: {error}", file.display())),
                // The system's list may hold what is too old for rustls.
                Err(_) => {}
            }
        }
        let strict =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                .build()
                .map_err(|error| format!("{}: {error}", file.display()))?;
        if self.verify == Verify::Full {
            return Ok(strict);
        }
        Ok(Arc::new(Lenient { provider: Arc::clone(provider), authority: Some(strict) }))
    }
}

/// The name that a server's certificate must have: an address, or a host's name.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(address.into()));
    }
    ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host:?} is not a name that a certificate could have"))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => Err(format!("no certificate in {}", file.display())),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("the certificates in {}: {error}", file.display())),
    }
}

fn system_authorities() -> Result<PathBuf, String> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let found = named.or_else(|| SYSTEM.iter().map(PathBuf::from).find(|file| file.is_file()));
    found.ok_or_else(|| {
        "this system has no list of certificates to trust: name a file of them".to_owned()
    })
}

/// Checks who signed a certificate, or nothing, and not for whom.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    authority: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authority) = &self.authority else { return Ok(ServerCertVerified::assertion()) };
        // The name is looked at last, when all else is well.
        match authority.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        ) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_of_no_use_are_named() {
        let missing = Some(PathBuf::from("/nowhere/ca.pem"));
        let options = TlsOptions { authorities: missing.clone(), ..TlsOptions::default() };
        assert!(options.config().unwrap_err().contains("/nowhere/ca.pem"));
        let lenient = || TlsOptions { verify: Verify::Nothing, ..TlsOptions::default() };
        let options = TlsOptions { certificate: missing.clone(), ..lenient() };
        assert!(options.config().unwrap_err().contains("/nowhere/ca.pem"));
        let options = TlsOptions { key: missing, ..lenient() };
        assert!(options.config().unwrap_err().contains("without its certificate"));
        lenient().config().unwrap();
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        assert!(matches!(server_name("::1"), Ok(ServerName::IpAddress(_))));
        assert!(matches!(server_name("db.example"), Ok(ServerName::DnsName(_))));
        assert!(server_name("a b").is_err());
    }
}
