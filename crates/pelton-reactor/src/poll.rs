//! Which descriptors are ready: a thin shell over mio, edge-triggered on every platform.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Poll, Token};

use crate::process::Process;

/// Events taken from the kernel by one wait.
const EVENTS_MAX: usize = 1024;
/// The key that the waker's own event carries; `Poller::wait` keeps it to itself.
const WAKER_KEY: usize = usize::MAX;

/// What a descriptor is watched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Bytes to read, a connection to accept, or the peer's end.
    pub read: bool,
    /// Room to write, or a connection attempt's end.
    pub write: bool,
}

impl Interest {
    /// Only to read.
    pub const READ: Self = Self { read: true, write: false };
    /// Both.
    pub const BOTH: Self = Self { read: true, write: true };

    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        !self.read && !self.write
    }

    fn to_mio(self) -> mio::Interest {
        match (self.read, self.write) {
            (true, true) => mio::Interest::READABLE | mio::Interest::WRITABLE,
            (false, true) => mio::Interest::WRITABLE,
            _ => mio::Interest::READABLE,
        }
    }
}

/// One descriptor's news.
#[derive(Clone, Copy, Debug)]
pub struct Readiness {
    /// The key it was registered with.
    pub key: usize,
    /// A read would not block: bytes, end of stream, or an error to collect.
    pub readable: bool,
    /// A write would not block: room, or an error to collect.
    pub writable: bool,
    /// The peer has ended its side: read on to the end, a short read proves nothing.
    pub read_closed: bool,
}

/// The kernel's readiness queue. One thread waits; registrations go through a `Registry`.
///
/// It belongs to the process that made it: a child made by `fork` shares it with its parent, so there
/// all of this refuses to touch it.
#[derive(Debug)]
pub struct Poller {
    poll: Poll,
    events: Events,
    process: Process,
}

impl Poller {
    /// Opens the kernel's queue.
    ///
    /// # Errors
    /// The system's, when it is out of descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            process: Process::current(),
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_MAX),
        })
    }

    /// A handle for registrations, usable while another thread waits.
    ///
    /// # Errors
    /// The system's, when it is out of descriptors.
    pub fn registry(&self) -> io::Result<Registry> {
        Ok(Registry { registry: self.poll.registry().try_clone()?, process: self.process })
    }

    /// A handle that ends a wait from any thread.
    ///
    /// # Errors
    /// The system's, when it is out of descriptors.
    pub fn waker(&self) -> io::Result<Waker> {
        let waker = Arc::new(mio::Waker::new(self.poll.registry(), Token(WAKER_KEY))?);
        Ok(Waker { waker, process: self.process })
    }

    /// Waits until a descriptor is ready, a `Waker` was used, or `timeout` is over (`None`: for
    /// ever; zero: only looks), and appends what is ready to `ready`.
    ///
    /// # Errors
    /// `Interrupted` when a signal came; nothing is lost then.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut impl Extend<Readiness>,
    ) -> io::Result<()> {
        self.process.check()?;
        self.poll.poll(&mut self.events, timeout)?;
        ready.extend(self.events.iter().filter(|event| event.token().0 != WAKER_KEY).map(
            |event| {
                let failed = event.is_error();
                Readiness {
                    key: event.token().0,
                    readable: event.is_readable() || event.is_read_closed() || failed,
                    writable: event.is_writable() || event.is_write_closed() || failed,
                    read_closed: event.is_read_closed() || failed,
                }
            },
        ));
        Ok(())
    }
}

/// Adds and removes descriptors. An event is given once per change (edge-triggered); `modify`
/// looks again, so a descriptor that is still ready gives a new event.
#[derive(Debug)]
pub struct Registry {
    registry: mio::Registry,
    process: Process,
}

impl Registry {
    /// Watches `fd`.
    ///
    /// # Errors
    /// The system's: the descriptor is closed, watched already, or of a kind that is always ready.
    pub fn register(&self, fd: RawFd, key: usize, interest: Interest) -> io::Result<()> {
        self.process.check()?;
        self.registry.register(&mut SourceFd(&fd), Token(key), interest.to_mio())
    }

    /// Changes what `fd` is watched for, and looks at it again.
    ///
    /// # Errors
    /// The system's: `NotFound` when it is not watched (it was closed and opened again).
    pub fn modify(&self, fd: RawFd, key: usize, interest: Interest) -> io::Result<()> {
        self.process.check()?;
        self.registry.reregister(&mut SourceFd(&fd), Token(key), interest.to_mio())
    }

    /// Stops watching `fd`.
    ///
    /// # Errors
    /// The system's: it was closed, or not watched.
    pub fn deregister(&self, fd: RawFd) -> io::Result<()> {
        self.process.check()?;
        self.registry.deregister(&mut SourceFd(&fd))
    }
}

/// Ends a wait from any thread. Clones share one descriptor.
#[derive(Clone, Debug)]
pub struct Waker {
    waker: Arc<mio::Waker>,
    process: Process,
}

impl Waker {
    /// The wait under way, or the next one, returns.
    ///
    /// # Errors
    /// The system's.
    pub fn wake(&self) -> io::Result<()> {
        self.process.check()?;
        self.waker.wake()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::{Interest, Poller, Readiness};

    fn look(poller: &mut Poller) -> Vec<Readiness> {
        let mut ready = Vec::new();
        poller.wait(Some(Duration::ZERO), &mut ready).unwrap();
        ready
    }

    #[test]
    fn readiness_is_told_once_and_again_after_modify() {
        let (mut left, right) = UnixStream::pair().unwrap();
        let mut poller = Poller::new().unwrap();
        let registry = poller.registry().unwrap();
        registry.register(right.as_raw_fd(), 7, Interest::READ).unwrap();
        assert!(look(&mut poller).is_empty());
        left.write_all(b"x").unwrap();
        let told = look(&mut poller);
        assert_eq!((told.len(), told[0].key, told[0].readable), (1, 7, true));
        assert!(look(&mut poller).is_empty());
        registry.modify(right.as_raw_fd(), 7, Interest::READ).unwrap();
        assert_eq!(look(&mut poller).len(), 1);
    }

    #[test]
    fn peer_end_is_marked() {
        let (left, right) = UnixStream::pair().unwrap();
        let mut poller = Poller::new().unwrap();
        poller.registry().unwrap().register(right.as_raw_fd(), 1, Interest::BOTH).unwrap();
        drop(left);
        assert!(look(&mut poller).iter().any(|event| event.read_closed));
    }

    #[test]
    fn waker_ends_a_wait_and_leaves_no_event() {
        let mut poller = Poller::new().unwrap();
        let waker = poller.waker().unwrap();
        let thread = std::thread::spawn(move || waker.wake().map(|()| waker));
        let mut ready = Vec::new();
        poller.wait(Some(Duration::from_secs(30)), &mut ready).unwrap();
        assert!(ready.is_empty());
        thread.join().unwrap().unwrap();
    }
}
