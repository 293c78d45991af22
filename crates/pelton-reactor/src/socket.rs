//! Calls on non-blocking sockets. Each retries when a signal interrupts it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd};

use socket2::{SockAddr, SockRef, Socket};

#[cfg(target_os = "macos")]
const NO_SIGNAL: libc::c_int = 0; // SO_NOSIGPIPE is set on the socket instead
#[cfg(not(target_os = "macos"))]
const NO_SIGNAL: libc::c_int = libc::MSG_NOSIGNAL;

#[cfg(target_os = "linux")]
const MORE: libc::c_int = libc::MSG_MORE;
#[cfg(not(target_os = "linux"))]
const MORE: libc::c_int = 0;

/// Reads into `buffer`; 0 is the end of the stream.
///
/// # Errors
/// The socket's; `WouldBlock` when nothing is there.
pub fn recv(fd: RawFd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    // SAFETY: the pointer and length describe memory that is ours for the call; the kernel writes
    // at most that much.
    retry(|| unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) })
}

/// Reads from any descriptor that does not block; 0 is its end.
///
/// # Errors
/// The descriptor's; `WouldBlock` when nothing is there.
pub fn read(fd: RawFd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    // SAFETY: as in `recv`.
    retry(|| unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// `recv` that never waits, on a blocking socket either.
///
/// # Errors
/// As `recv`.
pub fn recv_now(fd: RawFd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT;
    // SAFETY: as in `recv`.
    retry(|| unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), flags) })
}

/// `send` that never waits, on a blocking socket either.
///
/// # Errors
/// As `send`.
pub fn send_now(fd: RawFd, data: &[u8]) -> io::Result<usize> {
    let flags = NO_SIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: as in `send`.
    retry(|| unsafe { libc::send(fd, data.as_ptr().cast(), data.len(), flags) })
}

/// Takes one datagram into `buffer`; what does not fit is lost.
///
/// # Errors
/// The socket's; `WouldBlock` when nothing is there.
pub fn recv_from(fd: RawFd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<(usize, SockAddr)> {
    // SAFETY: the closure gets a zeroed storage and its length; recvfrom fills both, and writes
    // into `buffer` no more than its length.
    unsafe {
        SockAddr::try_init(|storage, len| {
            let (memory, size) = (buffer.as_mut_ptr().cast(), buffer.len());
            retry(|| libc::recvfrom(fd, memory, size, libc::MSG_DONTWAIT, storage.cast(), len))
        })
    }
}

/// Sends one datagram.
///
/// # Errors
/// The socket's; `WouldBlock` when there is no room.
pub fn send_to(fd: RawFd, data: &[u8], to: &SockAddr) -> io::Result<usize> {
    let flags = NO_SIGNAL | libc::MSG_DONTWAIT;
    let (memory, size) = (data.as_ptr().cast(), data.len());
    // SAFETY: `data` and `to` are only read, within their lengths.
    retry(|| unsafe { libc::sendto(fd, memory, size, flags, to.as_ptr().cast(), to.len()) })
}

/// Writes as much of `data` as the kernel takes.
///
/// # Errors
/// The socket's; `WouldBlock` when there is no room.
pub fn send(fd: RawFd, data: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length describe `data`, which the kernel only reads.
    retry(|| unsafe { libc::send(fd, data.as_ptr().cast(), data.len(), NO_SIGNAL) })
}

/// Writes several slices in one call; `more`: what follows at once may join their last packet.
///
/// # Errors
/// As `send`.
pub fn send_vectored(fd: RawFd, slices: &[io::IoSlice<'_>], more: bool) -> io::Result<usize> {
    // SAFETY: all zeroes is a valid msghdr: no name, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = slices.as_ptr().cast_mut().cast(); // IoSlice has the layout of iovec
    message.msg_iovlen = slices.len() as _;
    let flags = if more { NO_SIGNAL | MORE } else { NO_SIGNAL };
    // SAFETY: `message` points to `slices`, which outlive the call and are only read.
    retry(|| unsafe { libc::sendmsg(fd, &raw const message, flags) })
}

/// Has the kernel send up to `count` bytes (more than none) of `file`, from `offset` on.
///
/// # Errors
/// As `send`; `UnexpectedEof` where the file ends before `offset`.
#[cfg(target_os = "linux")]
pub fn send_file(fd: RawFd, file: RawFd, offset: u64, count: usize) -> io::Result<usize> {
    let mut at = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `at` is ours for the call; both descriptors are the caller's, and a wrong one makes
    // the call fail.
    let sent = retry(|| unsafe { libc::sendfile(fd, file, &raw mut at, count) })?;
    if sent == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(sent) }
}

/// Sends up to `count` bytes (more than none) of `file`, from `offset` on, through memory.
///
/// # Errors
/// As `send`; `UnexpectedEof` where the file ends before `offset`.
#[cfg(not(target_os = "linux"))]
pub fn send_file(fd: RawFd, file: RawFd, offset: u64, count: usize) -> io::Result<usize> {
    let mut buffer = vec![0_u8; count.min(64 * 1024)];
    let at = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the kernel writes into `buffer` no more than its length.
    let read =
        retry(|| unsafe { libc::pread(file, buffer.as_mut_ptr().cast(), buffer.len(), at) })?;
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    send(fd, &buffer[..read])
}

/// Takes one waiting connection, non-blocking and closed on exec.
///
/// # Errors
/// The socket's; `WouldBlock` when none waits.
pub fn accept(fd: RawFd) -> io::Result<(OwnedFd, SockAddr)> {
    // SAFETY: the listener stays open for the call; the Socket is not dropped, so not closed.
    let listener = std::mem::ManuallyDrop::new(unsafe { Socket::from_raw_fd(fd) });
    let (socket, peer) = accept_nonblocking(&listener)?;
    // SAFETY: `into_raw_fd` gave up ownership of a descriptor that is open.
    Ok((unsafe { OwnedFd::from_raw_fd(socket.into_raw_fd()) }, peer))
}

#[cfg(not(target_os = "macos"))]
fn accept_nonblocking(listener: &Socket) -> io::Result<(Socket, SockAddr)> {
    // SAFETY: the closure gets a zeroed storage and its length; accept4 fills both.
    unsafe {
        SockAddr::try_init(|storage, len| {
            let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            let fd =
                retry(|| libc::accept4(listener.as_raw_fd(), storage.cast(), len, flags) as isize)?;
            Ok(Socket::from_raw_fd(fd as RawFd))
        })
    }
}

#[cfg(target_os = "macos")]
fn accept_nonblocking(listener: &Socket) -> io::Result<(Socket, SockAddr)> {
    let (socket, peer) = listener.accept()?;
    socket.set_nonblocking(true)?;
    Ok((socket, peer))
}

/// Our own address.
#[must_use]
pub fn local_addr(fd: RawFd) -> Option<SockAddr> {
    with_socket(fd, |socket| socket.local_addr().ok())
}

/// The peer's address.
#[must_use]
pub fn peer_addr(fd: RawFd) -> Option<SockAddr> {
    with_socket(fd, |socket| socket.peer_addr().ok())
}

/// Ends our side of the connection: the peer reads the end of the stream.
///
/// # Errors
/// The socket's.
pub fn shutdown_write(fd: RawFd) -> io::Result<()> {
    with_socket(fd, |socket| socket.shutdown(std::net::Shutdown::Write))
}

/// Sends small writes at once.
///
/// # Errors
/// The socket's: it is not TCP.
pub fn set_nodelay(fd: RawFd) -> io::Result<()> {
    with_socket(fd, |socket| socket.set_tcp_nodelay(true))
}

/// Makes calls on `fd` return instead of waiting.
///
/// # Errors
/// The system's.
pub fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    with_socket(fd, |socket| socket.set_nonblocking(true))
}

/// Whether `fd` is a TCP socket.
#[must_use]
pub fn is_tcp(fd: RawFd) -> bool {
    with_socket(fd, |socket| {
        let inet = socket.local_addr().is_ok_and(|addr| addr.is_ipv4() || addr.is_ipv6());
        inet && socket.r#type().is_ok_and(|kind| kind == socket2::Type::STREAM)
    })
}

fn with_socket<R>(fd: RawFd, call: impl FnOnce(&Socket) -> R) -> R {
    // SAFETY: the caller's descriptor is open for the call; a wrong one makes the call fail with
    // EBADF, it cannot break memory.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    call(&SockRef::from(&borrowed))
}

fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        if let Ok(done) = usize::try_from(call()) {
            return Ok(done);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::mem::MaybeUninit;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd as _;

    use super::{accept, peer_addr, recv, send, set_nonblocking, shutdown_write};

    #[test]
    fn accepts_without_waiting_and_carries_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        set_nonblocking(listener.as_raw_fd()).unwrap();
        let none = accept(listener.as_raw_fd()).unwrap_err();
        assert_eq!(none.kind(), std::io::ErrorKind::WouldBlock);
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, peer) = accept(listener.as_raw_fd()).unwrap();
        assert_eq!(peer.as_socket(), Some(client.local_addr().unwrap()));
        assert_eq!(peer_addr(server.as_raw_fd()).unwrap().as_socket(), peer.as_socket());
        let mut buffer = [MaybeUninit::uninit(); 8];
        let empty = recv(server.as_raw_fd(), &mut buffer).unwrap_err();
        assert_eq!(empty.kind(), std::io::ErrorKind::WouldBlock);
        assert_eq!(send(server.as_raw_fd(), b"hi").unwrap(), 2);
        shutdown_write(server.as_raw_fd()).unwrap();
        let mut got = String::new();
        client.read_to_string(&mut got).unwrap();
        assert_eq!(got, "hi");
    }
}
