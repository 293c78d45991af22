//! By what a client is told from others.

use std::net::IpAddr;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The key of a client's address. An IPv6 address counts by its network of 64 bits, which one
/// customer has all of; an IPv4 one written as IPv6 counts as itself. What is no address (that of
/// a Unix socket, or a test's) counts as its text. The first byte tells the kinds from each other,
/// and from the values of headers, which begin with `=`.
pub(crate) fn client_key(address: &str) -> Vec<u8> {
    match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => [b"4", &address.octets()[..]].concat(),
        Ok(IpAddr::V6(address)) => [b"6", &address.octets()[..8]].concat(),
        Err(_) => [b"-", address.as_bytes()].concat(),
    }
}

/// The key of a client's address for rate limits.
#[pyfunction]
pub(super) fn limit_key<'py>(py: Python<'py>, address: &str) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &client_key(address))
}
