//! What new TLS connections begin with.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion, version};

use super::identity::{Identity, certificates, read};
use super::resolver::Resolver;
use super::tickets::{SECRET_MIN, Tickets};

/// Memory kept between two uses for records on their way; more is given back.
const SCRATCH_MAX: usize = 64 * 1024;
/// TLS 1.2 sessions that can be resumed by their id; with tickets the clients keep them.
const SESSIONS: usize = 4096;

/// The server's TLS: made from the options, and again when their files change. Connections keep what
/// they began with.
pub(in super::super) struct Acceptor {
    options: Options,
    current: RefCell<Arc<ServerConfig>>,
    /// Records on their way out.
    pub(super) records: Scratch,
    /// What a read brought.
    pub(super) plain: Scratch,
}

/// Memory that all connections share: each uses it for a moment only.
#[derive(Default)]
pub(super) struct Scratch(Cell<Vec<u8>>);

struct Options {
    certificates: Vec<(String, Option<String>)>,
    /// Of keys that are encrypted.
    password: Option<String>,
    client_authority: Option<String>,
    client: ClientCertificate,
    minimum: Version,
    http2: bool,
    ticket_key_file: Option<String>,
    /// In place of such a file.
    own_secret: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientCertificate {
    Off,
    Optional,
    Required,
}

#[derive(Clone, Copy)]
enum Version {
    Tls12,
    Tls13,
}

impl Acceptor {
    /// Reads a `pelton.server.Config`: `None` where it has no certificate. Raises ValueError, with a
    /// sentence that names the file, where one cannot be used.
    pub(in super::super) fn from_config(config: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let files: Vec<String> = config.getattr("ssl_certfile")?.extract()?;
        if files.is_empty() {
            return Ok(None);
        }
        let mut keys: Vec<String> = config.getattr("ssl_keyfile")?.extract()?;
        let mut keys = keys.drain(..).map(Some).chain(std::iter::repeat(None));
        let client: String = config.getattr("ssl_client_certs")?.extract()?;
        let minimum: String = config.getattr("ssl_min_version")?.extract()?;
        let options = Options {
            certificates: files.into_iter().map(|file| (file, keys.next().flatten())).collect(),
            password: config.getattr("ssl_keyfile_password")?.extract()?,
            client_authority: config.getattr("ssl_ca_certs")?.extract()?,
            client: match client.as_str() {
                "required" => ClientCertificate::Required,
                "optional" => ClientCertificate::Optional,
                _ => ClientCertificate::Off,
            },
            minimum: if minimum == "1.3" { Version::Tls13 } else { Version::Tls12 },
            http2: config.getattr("http2")?.extract()?,
            ticket_key_file: config.getattr("ssl_ticket_key_file")?.extract()?,
            own_secret: Tickets::random_secret().map_err(PyValueError::new_err)?,
        };
        let current = options.build().map_err(PyValueError::new_err)?;
        let current = RefCell::new(Arc::new(current));
        Ok(Some(Self { options, current, records: Scratch::default(), plain: Scratch::default() }))
    }

    /// Reads the files again; new connections get what is in them now. On an error, which is a
    /// sentence that names the file, they get what they did before.
    pub(in super::super) fn reload(&self) -> Result<(), String> {
        *self.current.borrow_mut() = Arc::new(self.options.build()?);
        Ok(())
    }

    /// The state of a new connection.
    pub(super) fn connect(&self) -> Result<ServerConnection, rustls::Error> {
        let mut connection = ServerConnection::new(self.current.borrow().clone())?;
        // The transport's own limits tell applications when to wait; rustls keeps nothing back.
        connection.set_buffer_limit(None);
        Ok(connection)
    }
}

impl Scratch {
    /// The memory, empty; a new one where it is in use.
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.take()
    }

    /// Keeps it for the next use.
    pub(super) fn give_back(&self, mut memory: Vec<u8>) {
        if memory.capacity() <= SCRATCH_MAX {
            memory.clear();
            self.0.set(memory);
        }
    }
}

impl Options {
    fn build(&self) -> Result<ServerConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let password = self.password.as_deref();
        let identities = self
            .certificates
            .iter()
            .map(|(file, key)| Identity::load(&provider, file, key.as_deref(), password))
            .collect::<Result<Vec<_>, _>>()?;
        let versions: &[&SupportedProtocolVersion] = match self.minimum {
            Version::Tls12 => &[&version::TLS13, &version::TLS12],
            Version::Tls13 => &[&version::TLS13],
        };
        let refused = |error: rustls::Error| format!("TLS cannot be set up: {error}");
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(refused)?;
        let builder = match self.client {
            ClientCertificate::Off => builder.with_no_client_auth(),
            wanted => builder.with_client_cert_verifier(self.verifier(provider, wanted)?),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Resolver::new(identities)));
        config.alpn_protocols = if self.http2 {
            vec![b"h2".to_vec(), b"http/1.1".to_vec()]
        } else {
            vec![b"http/1.1".to_vec()]
        };
        // Who was verified by an authority that is no longer trusted shakes hands anew.
        let authority = self.client_authority.as_deref().map(read).transpose()?.unwrap_or_default();
        config.ticketer = Arc::new(Tickets::new(&self.ticket_secret()?, &authority));
        config.session_storage = rustls::server::ServerSessionMemoryCache::new(SESSIONS);
        Ok(config)
    }

    /// What the keys of tickets are made of.
    fn ticket_secret(&self) -> Result<Vec<u8>, String> {
        let Some(file) = &self.ticket_key_file else { return Ok(self.own_secret.clone()) };
        let secret = read(file)?;
        if secret.len() < SECRET_MIN {
            return Err(format!(
                "the ticket key in {file} has {} bytes: it needs {SECRET_MIN} random ones",
                secret.len()
            ));
        }
        Ok(secret)
    }

    fn verifier(
        &self,
        provider: Arc<CryptoProvider>,
        wanted: ClientCertificate,
    ) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, String> {
        let file = self
            .client_authority
            .as_deref()
            .ok_or("client certificates need ssl_ca_certs, the authorities that sign them")?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(file, &read(file)?)? {
            roots
                .add(certificate)
                .map_err(|error| format!("a certificate in {file} cannot be used: {error}"))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = match wanted {
            ClientCertificate::Optional => builder.allow_unauthenticated(),
            _ => builder,
        };
        builder
            .build()
            .map_err(|error| format!("the authorities in {file} cannot be used: {error}"))
    }
}
