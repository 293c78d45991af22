//! A connection: its socket, its protocol, and the way between them. Reading and closing are here,
//! writing in `stream_write`.

use std::cell::{Cell, RefCell};
use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::rc::Rc;

use pelton_reactor::{Interest, Readiness, WriteQueue, socket};
use pyo3::exceptions::PyResourceWarning;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use socket2::SockAddr;

use super::native::NativeProtocol;
use super::sink::{Lost, PythonSink, Sink};
use super::stream_sendfile::Sendfile;
use super::stream_write::Piece;
use super::tcp::StreamTransport;
use crate::aio::Reader;
use crate::event_loop::core::{LoopCore, READ_MAX, Ready};
use crate::event_loop::{Owned, Source};
use crate::observe::CallbackTimes;

/// After a read of this length, the next is made straight into the bytes object Python gets.
pub(super) const DIRECT_READ_MIN: usize = 32 * 1024;
/// Lengths of such reads. Below 128 KiB the allocator uses memory again that it has at hand; above,
/// each object would be mapped and unmapped, which costs more than the copy it saves.
const DIRECT_READ_SIZES: [usize; 2] = [72 * 1024, 112 * 1024];
/// Default write limits, in bytes.
const HIGH_WATER: usize = 64 * 1024;

unsafe extern "C" {
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> std::ffi::c_int;
}

/// One connection.
pub(crate) struct Stream {
    pub(super) core: Rc<LoopCore>,
    pub(super) fd: RawFd,
    pub(super) owner: RefCell<Owner>,
    key: Cell<Option<usize>>,
    pub(super) sink: RefCell<Sink>,
    /// The `StreamReader` that gets the bytes in the protocol's place: see `stream_feed`.
    pub(super) feeds: RefCell<Option<Rc<Reader>>>,
    /// The socket is ready, and its bytes were left for a coroutine of the reader.
    pub(super) left: Cell<bool>,
    pub(super) queue: RefCell<WriteQueue<Piece>>,
    pub(super) high: Cell<usize>,
    pub(super) low: Cell<usize>,
    /// The protocol was told to pause writing.
    pub(super) paused_writing: Cell<bool>,
    pub(super) paused_reading: Cell<bool>,
    /// No more is accepted: close, abort or a failure.
    pub(super) closing: Cell<bool>,
    /// `connection_lost` is on its way, or was called.
    pub(super) lost: Cell<bool>,
    /// The peer's end was read.
    read_eof: Cell<bool>,
    /// `write_eof` was called.
    pub(super) write_eof: Cell<bool>,
    /// It is watched for room to write too.
    pub(super) watches_write: Cell<bool>,
    pub(super) in_dirty: Cell<bool>,
    pub(super) sendfile: Sendfile,
    in_unread: Cell<bool>,
    /// Writes after the connection was lost.
    pub(super) lost_writes: Cell<u32>,
    /// Length of the last read.
    pub(super) last_read: Cell<usize>,
    /// The last read filled its memory: there may be more.
    pub(super) filled: Cell<bool>,
    /// An event said that the peer will send no more.
    pub(super) peer_ended: Cell<bool>,
    pub(super) peer: Option<SockAddr>,
    pub(super) local: Option<SockAddr>,
}

/// Who closes the descriptor: exactly one.
pub(crate) enum Owner {
    /// We do.
    Fd(OwnedFd),
    /// A Python socket object, whose `close` we call.
    Socket(Py<PyAny>),
    /// It is closed.
    Gone,
}

impl Stream {
    /// A connection that is not yet watched. Its sink comes later, with `start`.
    pub(crate) fn new(
        core: Rc<LoopCore>,
        fd: RawFd,
        owner: Owner,
        peer: Option<SockAddr>,
    ) -> Rc<Self> {
        core.stream_fds.borrow_mut().insert(fd);
        Rc::new(Self {
            core,
            fd,
            owner: RefCell::new(owner),
            key: Cell::new(None),
            sink: RefCell::new(Sink::Gone),
            feeds: RefCell::new(None),
            left: Cell::new(false),
            queue: RefCell::default(),
            high: Cell::new(HIGH_WATER),
            low: Cell::new(HIGH_WATER / 4),
            paused_writing: Cell::new(false),
            paused_reading: Cell::new(false),
            closing: Cell::new(false),
            lost: Cell::new(false),
            read_eof: Cell::new(false),
            write_eof: Cell::new(false),
            watches_write: Cell::new(false),
            in_dirty: Cell::new(false),
            sendfile: Sendfile::default(),
            in_unread: Cell::new(false),
            lost_writes: Cell::new(0),
            last_read: Cell::new(0),
            filled: Cell::new(false),
            peer_ended: Cell::new(false),
            peer,
            local: socket::local_addr(fd),
        })
    }

    /// A connection accepted for a native protocol: it is told, then watched.
    pub(super) fn start_native(
        self: &Rc<Self>,
        py: Python<'_>,
        protocol: Rc<dyn NativeProtocol>,
    ) -> PyResult<()> {
        *self.sink.borrow_mut() = Sink::Native(Rc::clone(&protocol));
        protocol.connection_made(py, Rc::new(self.clone()));
        self.watch(py)
    }

    /// Begins to watch the socket; a failure closes the connection.
    pub(super) fn watch(self: &Rc<Self>, py: Python<'_>) -> PyResult<()> {
        if self.lost.get() || self.core.is_closed() {
            return Ok(());
        }
        let interest = Interest { read: true, write: self.watches_write.get() };
        match self.core.add_source(self.fd, Source::Stream(self.clone()), interest) {
            Ok(key) => {
                self.key.set(Some(key));
                Ok(())
            }
            Err(error) => self.fail(py, Lost::Io(error), "Cannot watch the socket"),
        }
    }

    /// The key of its events, while it is watched.
    pub(super) fn key(&self) -> Option<usize> {
        self.key.get()
    }

    /// The loop is closed: lets go of the protocol and closes the socket, with a warning for
    /// whoever left a Python transport open.
    pub(crate) fn abandon(&self, py: Python<'_>) {
        self.closing.set(true);
        self.lost.set(true);
        self.key.set(None);
        self.stop_feeding();
        let sink = std::mem::replace(&mut *self.sink.borrow_mut(), Sink::Gone);
        let warned = match &sink {
            Sink::Python(sink) => {
                let text = format!("unclosed transport {:?}", sink.transport.bind(py));
                let category = py.get_type::<PyResourceWarning>();
                CString::new(text).map_or(Ok(()), |text| PyErr::warn(py, &category, &text, 1))
            }
            Sink::Native(protocol) => {
                protocol.abandoned(py);
                Ok(())
            }
            Sink::Gone => Ok(()),
        };
        for result in [warned, self.close_socket(py)] {
            if let Err(error) = result {
                error.write_unraisable(py, None);
            }
        }
    }

    /// The protocol, for a call on it: no borrow is left.
    pub(super) fn sink(&self, py: Python<'_>) -> Sink {
        self.sink.borrow().share(py)
    }

    /// What the protocol's callbacks are counted under.
    pub(crate) fn entry_of_times(&self, py: Python<'_>, times: &CallbackTimes) -> usize {
        match self.sink(py) {
            Sink::Python(sink) => times.of_protocol(sink.protocol.bind(py)),
            Sink::Native(protocol) => times.of_name(protocol.name()),
            Sink::Gone => times.of_name(""),
        }
    }

    /// Debug mode: what happened here just now took longer than it should.
    pub(crate) fn was_slow(&self, py: Python<'_>, duration: f64) -> PyResult<()> {
        let subject = match self.sink(py) {
            Sink::Python(sink) => sink.protocol.bind(py).repr()?.to_string(),
            Sink::Native(protocol) => protocol.name().to_owned(),
            Sink::Gone => "a protocol whose connection is lost".to_owned(),
        };
        self.core.object(py)?.call_method1("_protocol_was_slow", (subject, duration)).map(drop)
    }

    /// Takes an event of the socket.
    pub(crate) fn on_event(self: &Rc<Self>, py: Python<'_>, event: Readiness) -> PyResult<()> {
        if event.writable && !self.queue.borrow().is_empty() {
            self.flush(py)?;
        }
        if event.writable {
            self.sendfile.note_writable(py)?;
        }
        if event.read_closed {
            self.peer_ended.set(true);
        }
        if event.readable { self.read_ready(py) } else { Ok(()) }
    }

    pub(super) fn is_read_stopped(&self) -> bool {
        self.paused_reading.get()
            || self.closing.get()
            || self.lost.get()
            || self.read_eof.get()
            || self.key.get().is_none()
    }

    /// Reads once; if there may be more, that is for the next turn. A short read means that there is
    /// none, unless the peer has ended: then no event comes any more, and the end is still to read.
    pub(crate) fn read_ready(self: &Rc<Self>, py: Python<'_>) -> PyResult<()> {
        self.in_unread.set(false);
        if self.is_read_stopped() {
            return Ok(());
        }
        let more = self.read_once(py)?;
        if more && (self.filled.get() || self.peer_ended.get()) {
            self.read_more_later();
        }
        Ok(())
    }

    pub(super) fn read_more_later(self: &Rc<Self>) {
        if !self.is_read_stopped() && !self.in_unread.replace(true) {
            self.core.mark_unread(Source::Stream(self.clone()));
        }
    }

    /// One read, given to the protocol. `false`: nothing was there, or the end.
    fn read_once(self: &Rc<Self>, py: Python<'_>) -> PyResult<bool> {
        if let Some(reader) = self.fed() {
            return self.read_for(py, &reader);
        }
        let sink = self.sink(py);
        let read = match &sink {
            Sink::Native(protocol) => self.read_native(py, protocol),
            Sink::Python(sink) if sink.buffered => return self.read_buffered(py, sink),
            Sink::Python(sink) if self.last_read.get() >= DIRECT_READ_MIN => {
                return self.read_direct(py, sink);
            }
            Sink::Python(sink) => return self.read_shared(py, sink),
            Sink::Gone => return Ok(false),
        };
        self.after_read(py, read, READ_MAX)
    }

    /// Common to all ways of reading into `size` bytes: the end, nothing there, or an error.
    /// `true`: bytes came.
    pub(super) fn after_read(
        self: &Rc<Self>,
        py: Python<'_>,
        read: io::Result<usize>,
        size: usize,
    ) -> PyResult<bool> {
        match read {
            Ok(0) => self.end_of_stream(py).map(|()| false),
            Ok(count) => {
                self.last_read.set(count);
                self.filled.set(count == size);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => self
                .fail(py, Lost::Io(error), "Fatal read error on socket transport")
                .map(|()| false),
        }
    }

    fn read_native(&self, py: Python<'_>, protocol: &Rc<dyn NativeProtocol>) -> io::Result<usize> {
        let mut buffer = self.core.take_buffer();
        let read = socket::recv(self.fd, as_uninit(&mut buffer));
        if let Ok(count @ 1..) = read {
            protocol.data_received(py, &buffer[..count]);
        }
        self.core.return_buffer(buffer);
        read
    }

    fn read_shared(self: &Rc<Self>, py: Python<'_>, sink: &PythonSink) -> PyResult<bool> {
        let mut buffer = self.core.take_buffer();
        let read = socket::recv(self.fd, as_uninit(&mut buffer));
        let data = match read {
            Ok(count @ 1..) => Some(self.core.spare_bytes.fill(py, &buffer[..count])),
            _ => None,
        };
        self.core.return_buffer(buffer);
        if !self.after_read(py, read, READ_MAX)? {
            return Ok(false);
        }
        let Some(data) = data.transpose()? else {
            return Ok(false);
        };
        let given = self.give(py, sink, Some(data.bind(py)));
        self.core.spare_bytes.put_back(data);
        given
    }

    fn read_direct(self: &Rc<Self>, py: Python<'_>, sink: &PythonSink) -> PyResult<bool> {
        let (read, data, size) = self.recv_bytes(py, usize::MAX)?;
        if !self.after_read(py, read, size)? {
            return Ok(false);
        }
        // SAFETY: the reference is given away.
        let data = data.map(|data| unsafe { Bound::from_owned_ptr(py, data.into_ptr()) });
        self.give(py, sink, data.as_ref())
    }

    /// Reads up to `most` bytes into a new bytes object, then cuts it to what came: with what the
    /// socket said, and how much there was room for.
    pub(super) fn recv_bytes(
        &self,
        py: Python<'_>,
        most: usize,
    ) -> PyResult<(io::Result<usize>, Option<Owned>, usize)> {
        let [small, large] = DIRECT_READ_SIZES;
        let size = most.min(if self.last_read.get() < small { small } else { large });
        // SAFETY: a new bytes object that nobody else has: its memory may be written, and it may
        // be resized. On failure `_PyBytes_Resize` frees it and leaves null.
        unsafe {
            let mut bytes =
                ffi::PyBytes_FromStringAndSize(std::ptr::null(), size as ffi::Py_ssize_t);
            if bytes.is_null() {
                return Err(PyErr::fetch(py));
            }
            let memory = ffi::PyBytes_AsString(bytes).cast::<MaybeUninit<u8>>();
            let read = socket::recv(self.fd, std::slice::from_raw_parts_mut(memory, size));
            if let Ok(count @ 1..) = read {
                if _PyBytes_Resize(&raw mut bytes, count as ffi::Py_ssize_t) < 0 {
                    return Err(PyErr::fetch(py));
                }
                return Ok((read, Some(Owned::steal(bytes)), size));
            }
            ffi::Py_DECREF(bytes);
            Ok((read, None, size))
        }
    }

    fn give(
        self: &Rc<Self>,
        py: Python<'_>,
        sink: &PythonSink,
        data: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        if let Some(data) = data
            && let Err(error) = sink.data_received(py, data)
        {
            let message = "Fatal error: protocol.data_received() call failed.";
            self.fail(py, Lost::Python(error), message)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether the protocol is still the one that `sink` was taken from.
    pub(super) fn is_sink(&self, sink: &PythonSink) -> bool {
        matches!(&*self.sink.borrow(), Sink::Python(now) if now.protocol.is(&sink.protocol))
    }

    fn end_of_stream(self: &Rc<Self>, py: Python<'_>) -> PyResult<()> {
        let keep_open = match self.sink(py) {
            Sink::Native(protocol) => Ok(protocol.eof_received(py)),
            Sink::Python(sink) => sink.within(py, |protocol| {
                protocol.call_method0(intern!(py, "eof_received"))?.is_truthy()
            }),
            Sink::Gone => return Ok(()),
        };
        self.read_eof.set(true);
        match keep_open {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.close();
                Ok(())
            }
            Err(error) => {
                let message = "Fatal error: protocol.eof_received() call failed.";
                self.fail(py, Lost::Python(error), message)
            }
        }
    }

    pub(crate) fn set_paused_reading(self: &Rc<Self>, paused: bool) {
        if self.paused_reading.replace(paused) && !paused {
            // What came meanwhile gave its event already.
            self.read_more_later();
        }
    }

    pub(super) fn is_reading(&self) -> bool {
        !self.closing.get() && !self.paused_reading.get()
    }

    /// Closes once the queue has left.
    pub(crate) fn close(self: &Rc<Self>) {
        if self.closing.replace(true) {
            return;
        }
        if self.queue.borrow().is_empty() {
            self.lose(Lost::Closed);
        }
    }

    /// Reports an error that ends the connection, and closes it at once.
    pub(super) fn fail(self: &Rc<Self>, py: Python<'_>, lost: Lost, message: &str) -> PyResult<()> {
        self.settle_left(py)?;
        let cause = match lost {
            Lost::Python(error) => {
                let details = match self.sink(py) {
                    Sink::Python(sink) => sink.details(py)?,
                    _ => PyDict::new(py),
                };
                let cause = error.clone_ref(py);
                let reported = if error.is_instance_of::<pyo3::exceptions::PyOSError>(py) {
                    Ok(()) // the network's, not a bug: the protocol learns of it
                } else {
                    self.core.report(py, error, message, Some(&details))
                };
                // KeyboardInterrupt and SystemExit end the loop, not the connection.
                reported?;
                Lost::Python(cause)
            }
            lost => lost,
        };
        self.force_close(cause);
        Ok(())
    }

    /// Closes at once; what is queued is dropped.
    pub(crate) fn force_close(self: &Rc<Self>, cause: Lost) {
        if self.lost.get() {
            return;
        }
        self.queue.borrow_mut().clear();
        self.closing.set(true);
        self.lose(cause);
    }

    /// Ends the watch, and has `connection_lost` called in the next turn.
    pub(super) fn lose(self: &Rc<Self>, cause: Lost) {
        if self.lost.replace(true) {
            return;
        }
        if let Some(key) = self.key.take() {
            self.core.remove_source(self.fd, key);
        }
        let stream = Rc::clone(self);
        self.core.push_ready(Ready::Native(Box::new(move |py| stream.finish(py, cause))));
    }

    fn finish(self: &Rc<Self>, py: Python<'_>, cause: Lost) -> PyResult<()> {
        let sink = std::mem::replace(&mut *self.sink.borrow_mut(), Sink::Gone);
        let mut result = Ok(());
        match &sink {
            Sink::Native(protocol) => protocol.connection_lost(py, cause.into_io()),
            Sink::Python(sink) => {
                let cause = cause.into_object(py);
                result = sink.within(py, |protocol| {
                    protocol.call_method1(intern!(py, "connection_lost"), (cause,)).map(drop)
                });
                if let Err(error) = result {
                    let message = "Fatal error: protocol.connection_lost() call failed.";
                    result = self.core.report(py, error, message, Some(&sink.details(py)?));
                }
            }
            Sink::Gone => {}
        }
        self.stop_feeding();
        let closed = self.sendfile.note_lost(py).and(self.close_socket(py));
        if let Sink::Python(sink) = &sink {
            StreamTransport::detach_server(sink.transport.bind(py))?;
        }
        result.and(closed)
    }

    fn close_socket(&self, py: Python<'_>) -> PyResult<()> {
        self.core.stream_fds.borrow_mut().remove(&self.fd);
        match std::mem::replace(&mut *self.owner.borrow_mut(), Owner::Gone) {
            Owner::Socket(socket) => socket.call_method0(py, intern!(py, "close")).map(drop),
            Owner::Fd(_) | Owner::Gone => Ok(()),
        }
    }

    /// The Python socket object; made when first asked for, and then the descriptor's owner.
    pub(super) fn socket_object(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let mut owner = self.owner.borrow_mut();
        match &*owner {
            Owner::Gone => return Ok(None),
            Owner::Socket(socket) => return Ok(Some(socket.clone_ref(py))),
            Owner::Fd(_) => {}
        }
        let Owner::Fd(fd) = std::mem::replace(&mut *owner, Owner::Gone) else {
            return Ok(None);
        };
        drop(owner); // importing runs Python
        let made = (|| {
            let class = py.import("socket")?.getattr("socket")?;
            let kwargs = PyDict::new(py);
            kwargs.set_item("fileno", fd.as_raw_fd())?;
            class.call((), Some(&kwargs))
        })();
        match made {
            Ok(socket) => {
                std::mem::forget(fd); // the socket object closes it from now on
                let socket = socket.unbind();
                *self.owner.borrow_mut() = Owner::Socket(socket.clone_ref(py));
                Ok(Some(socket))
            }
            Err(error) => {
                *self.owner.borrow_mut() = Owner::Fd(fd);
                Err(error)
            }
        }
    }
}

/// As memory that the kernel may fill.
pub(super) fn as_uninit(buffer: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    // SAFETY: same layout; `recv` only writes initialized bytes into it.
    unsafe { &mut *(std::ptr::from_mut(buffer) as *mut [MaybeUninit<u8>]) }
}

/// A bytes object in a write queue.
pub(super) fn share_bytes(bytes: &Bound<'_, PyAny>) -> Owned {
    // SAFETY: live, and the GIL is held.
    unsafe { Owned::share(bytes.as_ptr()) }
}
