//! Socket addresses, between the kernel's form and that of Python's socket module.

use std::net::{Ipv6Addr, SocketAddrV4, SocketAddrV6};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};
use socket2::SockAddr;

/// As Python's socket module shows an address.
pub(crate) fn to_python<'py>(py: Python<'py>, addr: &SockAddr) -> PyResult<Bound<'py, PyAny>> {
    if addr.len() == 0 {
        return Ok(py.None().into_bound(py)); // a datagram of a socket without a name
    }
    if let Some(v4) = addr.as_socket_ipv4() {
        return Ok((v4.ip().to_string(), v4.port()).into_pyobject(py)?.into_any());
    }
    if let Some(v6) = addr.as_socket_ipv6() {
        let flow = u32::from_be(v6.flowinfo());
        let fields = (text_of(v6.ip()), v6.port(), flow, v6.scope_id());
        return Ok(fields.into_pyobject(py)?.into_any());
    }
    if let Some(path) = addr.as_pathname() {
        return Ok(path.as_os_str().into_pyobject(py)?.into_any());
    }
    if let Some(name) = addr.as_abstract_namespace() {
        let mut bytes = vec![0];
        bytes.extend_from_slice(name);
        return Ok(PyBytes::new(py, &bytes).into_any());
    }
    if addr.is_unnamed() {
        return Ok("".into_pyobject(py)?.into_any());
    }
    Ok(PyTuple::empty(py).into_any())
}

/// As `inet_ntop` writes it: what is an IPv4 address in an IPv6 one is shown as such.
fn text_of(ip: &Ipv6Addr) -> String {
    let segments = ip.segments();
    if segments[..6] == [0; 6] && segments[6] != 0 {
        let [a, b] = segments[6].to_be_bytes();
        let [c, d] = segments[7].to_be_bytes();
        return format!("::{a}.{b}.{c}.{d}");
    }
    ip.to_string()
}

/// What is in an address of `family` (AF_INET or AF_INET6) that needs no resolving; `None` for any
/// other, which is Python's to deal with.
pub(crate) fn from_python(addr: &Bound<'_, PyAny>, family: libc::c_int) -> Option<SockAddr> {
    let fields = addr.cast_exact::<PyTuple>().ok()?;
    let host = fields.get_item(0).ok()?;
    let host = host.cast_exact::<PyString>().ok()?.to_str().ok()?;
    let port: u16 = fields.get_item(1).ok()?.extract().ok()?;
    match (family, fields.len()) {
        (libc::AF_INET, 2) => Some(SocketAddrV4::new(host.parse().ok()?, port).into()),
        (libc::AF_INET6, 2..=4) => {
            let number = |n: usize| match fields.get_item(n) {
                Ok(value) => value.extract::<u32>().ok(),
                Err(_) => Some(0), // not given
            };
            let flow = number(2).filter(|flow| *flow <= 0xf_ffff)?;
            let v6 = SocketAddrV6::new(host.parse().ok()?, port, flow.to_be(), number(3)?);
            Some(v6.into())
        }
        _ => None,
    }
}
