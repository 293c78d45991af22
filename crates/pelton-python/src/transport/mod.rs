//! Transports over the loop's sockets.
//!
//! `stream` is a connection, whoever its protocol is: `tcp` is its face for Python protocols,
//! `native` the seam to protocols in Rust. `listener` accepts connections for both. `tls` is such a
//! protocol in Rust, and the transport of a Python one. `datagrams` is a datagram socket,
//! `datagram_transport` its face.

pub(crate) mod address;
mod datagram_transport;
pub(crate) mod datagrams;
pub(crate) mod listener;
pub(crate) mod native;
mod outlet;
mod pipe;
pub(crate) mod sink;
pub(crate) mod spare_bytes;
pub(crate) mod stream;
mod stream_buffered;
mod stream_feed;
mod stream_sendfile;
mod stream_write;
mod tcp;
pub(crate) mod tls;
mod view;

use pyo3::prelude::*;

pub(crate) use outlet::outlet;
pub(crate) use tcp::{StreamTransport, bytes_of};
pub(crate) use tls::TlsTransport;

/// Adds this area's names to `pelton._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(pipe::read_pipe, module)?)?;
    module.add_class::<tcp::StreamTransport>()?;
    outlet::add_methods::<StreamTransport>(module.py())?;
    module.add_class::<datagram_transport::DatagramTransport>()?;
    module.add_class::<tls::TlsOptions>()?;
    module.add_class::<tls::TlsTransport>()?;
    outlet::add_methods::<tls::TlsTransport>(module.py())?;
    module.add_class::<listener::ListenerHandle>()
}
