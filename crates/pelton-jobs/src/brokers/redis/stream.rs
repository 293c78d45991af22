//! The wire to a Redis server: TCP, TLS or a Unix socket.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::connection::Broken;
use super::url::{Location, Place};
use crate::brokers::tls::server_name;

/// For a connection to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// Bytes both ways.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Unix(UnixStream),
}

impl Stream {
    /// Connects; reads and writes wait as long as the URL allows.
    pub(super) fn open(place: &Place, location: &Location) -> Result<Self, Broken> {
        let stream = match place {
            Place::Socket(path) => Self::Unix(
                UnixStream::connect(path)
                    .map_err(|error| Broken::Lost(format!("{}: {error}", path.display())))?,
            ),
            Place::Host(host, port) => {
                let tcp = connect(host, *port, CONNECT.min(location.patience))?;
                match &location.tls {
                    None => Self::Tcp(tcp),
                    Some(options) => {
                        tcp.set_read_timeout(Some(location.patience))?;
                        tcp.set_write_timeout(Some(location.patience))?;
                        let config = options.config().map_err(Broken::Refused)?;
                        Self::Tls(Box::new(shake_hands(tcp, host, config)?))
                    }
                }
            }
        };
        stream.set_read_timeout(location.patience)?;
        match &stream {
            Self::Tcp(tcp) => tcp.set_write_timeout(Some(location.patience))?,
            Self::Unix(unix) => unix.set_write_timeout(Some(location.patience))?,
            Self::Tls(_) => {}
        }
        Ok(stream)
    }

    /// How long a read waits.
    pub(super) fn set_read_timeout(&self, patience: Duration) -> std::io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.set_read_timeout(Some(patience)),
            Self::Tls(tls) => tls.sock.set_read_timeout(Some(patience)),
            Self::Unix(unix) => unix.set_read_timeout(Some(patience)),
        }
    }

    /// A handle that can end this connection from another thread.
    pub(super) fn cutter(&self) -> std::io::Result<Cutter> {
        Ok(match self {
            Self::Tcp(tcp) => Cutter::Tcp(tcp.try_clone()?),
            Self::Tls(tls) => Cutter::Tcp(tls.sock.try_clone()?),
            Self::Unix(unix) => Cutter::Unix(unix.try_clone()?),
        })
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.read(into),
            Self::Tls(tls) => tls.read(into),
            Self::Unix(unix) => unix.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.write(from),
            Self::Tls(tls) => tls.write(from),
            Self::Unix(unix) => unix.write(from),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
            Self::Unix(unix) => unix.flush(),
        }
    }
}

/// Ends a connection from outside.
#[derive(Debug)]
pub(super) enum Cutter {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Cutter {
    /// Whoever reads from it gets the end.
    pub(super) fn cut(&self) {
        // It may have ended by itself.
        let _ = match self {
            Self::Tcp(tcp) => tcp.shutdown(Shutdown::Both),
            Self::Unix(unix) => unix.shutdown(Shutdown::Both),
        };
    }
}

fn connect(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, Broken> {
    let mut last = Broken::Lost(format!("{host} has no address"));
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

fn shake_hands(
    mut tcp: TcpStream,
    host: &str,
    config: Arc<ClientConfig>,
) -> Result<StreamOwned<ClientConnection, TcpStream>, Broken> {
    let name = server_name(host).map_err(Broken::Refused)?;
    let mut session = ClientConnection::new(config, name)
        .map_err(|error| Broken::Refused(format!("TLS: {error}")))?;
    while session.is_handshaking() {
        if let Err(error) = session.complete_io(&mut tcp) {
            // What rustls refuses stays as it is; what breaks on the way may be whole next time.
            return Err(match error.kind() {
                std::io::ErrorKind::InvalidData => Broken::Refused(format!("TLS: {error}")),
                _ => error.into(),
            });
        }
    }
    Ok(StreamOwned::new(session, tcp))
}
