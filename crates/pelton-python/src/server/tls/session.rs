//! What was agreed with a client, as applications see it: ASGI's `tls` extension.

use std::cell::OnceCell;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use rustls::ServerConnection;
use rustls::sign::CertifiedKey;

use super::subject;

/// One connection's TLS, after its handshake.
pub(crate) struct TlsSession {
    version: Option<u16>,
    cipher_suite: Option<u16>,
    /// The client's certificates, its own first; verified.
    client: Vec<Vec<u8>>,
    /// What we showed.
    server: Option<Arc<CertifiedKey>>,
    scope: OnceCell<Py<PyDict>>,
}

impl TlsSession {
    /// `server`: the identity that the handshake showed, where there was one.
    pub(super) fn of(state: &ServerConnection, server: Option<Arc<CertifiedKey>>) -> Self {
        let client = state.peer_certificates().unwrap_or_default();
        Self {
            version: state.protocol_version().map(u16::from),
            cipher_suite: state.negotiated_cipher_suite().map(|suite| u16::from(suite.suite())),
            client: client.iter().map(|certificate| certificate.to_vec()).collect(),
            server,
            scope: OnceCell::new(),
        }
    }

    /// The extension's dictionary; all requests of the connection get the same.
    pub(crate) fn scope<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        if let Some(scope) = self.scope.get() {
            return Ok(scope.bind(py).clone());
        }
        let scope = PyDict::new(py);
        let server = self.server.as_ref().and_then(|server| server.end_entity_cert().ok());
        scope.set_item("server_cert", server.map(|one| pem(py, one)).transpose()?)?;
        let chain: Vec<_> = self.client.iter().map(|one| pem(py, one)).collect::<PyResult<_>>()?;
        scope.set_item("client_cert_chain", chain)?;
        let name = self.client.first().and_then(|certificate| subject::of(certificate));
        scope.set_item("client_cert_name", name)?;
        // A certificate that does not verify ends the handshake: nobody gets here with one.
        scope.set_item("client_cert_error", py.None())?;
        scope.set_item("tls_version", self.version)?;
        scope.set_item("cipher_suite", self.cipher_suite)?;
        let kept = scope.clone().unbind();
        Ok(self.scope.get_or_init(|| kept).bind(py).clone())
    }
}

fn pem<'py>(py: Python<'py>, der: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    py.import("ssl")?.call_method1("DER_cert_to_PEM_cert", (PyBytes::new(py, der),))
}
