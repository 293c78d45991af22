//! A datagram socket with its protocol: UDP, or a unix socket's messages.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

use pelton_reactor::{Interest, Readiness, socket};
use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError, PyOSError, PyResourceWarning};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use socket2::SockAddr;

use super::address;
use super::datagram_transport::DatagramTransport;
use super::stream::as_uninit;
use crate::event_loop::core::{LoopCore, READ_MAX, Ready};
use crate::event_loop::{Source, os_error};

/// Datagrams taken in one turn, whatever waits.
const READS_MAX: usize = 32;
/// Senders whose address is kept as Python knows it.
const KNOWN_MAX: usize = 64;
/// Default write limit, in bytes.
const HIGH_WATER: usize = 64 * 1024;

/// The socket, its queue and its protocol.
pub(crate) struct Datagrams {
    pub(super) core: Rc<LoopCore>,
    pub(super) fd: RawFd,
    family: libc::c_int,
    key: Cell<Option<usize>>,
    /// Where all of it goes, if that was given.
    pub(super) address: Option<Py<PyAny>>,
    /// The socket is connected, so that datagrams need no address.
    connected: bool,
    /// Everything of Python's; `None` once the protocol was told of the end.
    pub(super) face: RefCell<Option<Face>>,
    queue: RefCell<VecDeque<Datagram>>,
    pub(super) queued_bytes: Cell<usize>,
    /// What each queued datagram counts beside its bytes.
    overhead: usize,
    pub(super) high: Cell<usize>,
    pub(super) low: Cell<usize>,
    pub(super) max_size: Cell<usize>,
    pub(super) paused_writing: Cell<bool>,
    pub(super) paused_reading: Cell<bool>,
    watches_write: Cell<bool>,
    in_unread: Cell<bool>,
    pub(super) closing: Cell<bool>,
    /// `connection_lost` is on its way, or was called.
    pub(super) lost: Cell<bool>,
    /// Addresses of the last senders, as Python knows them; by their port.
    known: RefCell<Vec<Option<Sender>>>,
}

/// The Python objects around a socket.
pub(super) struct Face {
    pub(super) socket: Py<PyAny>,
    pub(super) protocol: Py<PyAny>,
    pub(super) transport: Py<DatagramTransport>,
    /// The protocol's callbacks run in this context.
    pub(super) context: Py<PyAny>,
}

/// One that waits for room, and where it goes (`None`: where the socket is connected to).
struct Datagram {
    data: Py<PyBytes>,
    to: Option<Py<PyAny>>,
}

type Sender = (SockAddr, Py<PyAny>);

/// What became of a datagram that was given to the kernel.
enum Sent {
    Gone,
    NoRoom,
    Failed(PyErr),
}

impl Datagrams {
    /// A socket that is not watched yet; its face comes later.
    pub(super) fn new(
        py: Python<'_>,
        core: Rc<LoopCore>,
        fd: RawFd,
        family: libc::c_int,
        address: Option<Py<PyAny>>,
        connected: bool,
    ) -> Rc<Self> {
        core.stream_fds.borrow_mut().insert(fd);
        Rc::new(Self {
            core,
            fd,
            family,
            key: Cell::new(None),
            address,
            connected,
            face: RefCell::new(None),
            queue: RefCell::default(),
            queued_bytes: Cell::new(0),
            overhead: if py.version_info() >= (3, 13) { 8 } else { 0 },
            high: Cell::new(HIGH_WATER),
            low: Cell::new(HIGH_WATER / 4),
            max_size: Cell::new(READ_MAX),
            paused_writing: Cell::new(false),
            paused_reading: Cell::new(false),
            watches_write: Cell::new(false),
            in_unread: Cell::new(false),
            closing: Cell::new(false),
            lost: Cell::new(false),
            known: RefCell::default(),
        })
    }

    /// Tells the protocol of its transport, then reads, then lets `waiter` go on.
    pub(super) fn begin(
        self: &Rc<Self>,
        py: Python<'_>,
        waiter: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let made = match self.face(py) {
            Some(face) => {
                let transport = face.transport.clone_ref(py);
                self.within(py, &face, intern!(py, "connection_made"), (transport,))
            }
            None => Ok(()),
        };
        self.watch()?;
        if let Some(waiter) = waiter
            && !waiter.call_method0(py, intern!(py, "cancelled"))?.is_truthy(py)?
        {
            waiter.call_method1(py, intern!(py, "set_result"), (py.None(),))?;
        }
        made
    }

    fn watch(self: &Rc<Self>) -> PyResult<()> {
        if self.lost.get() || self.core.is_closed() {
            return Ok(());
        }
        let interest = Interest { read: true, write: self.watches_write.get() };
        let key = self.core.add_source(self.fd, Source::Datagrams(self.clone()), interest);
        self.key.set(Some(key.map_err(|error| os_error(&error))?));
        Ok(())
    }

    /// The Python objects, for a call: no borrow is left.
    pub(super) fn face(&self, py: Python<'_>) -> Option<Face> {
        self.face.borrow().as_ref().map(|face| Face {
            socket: face.socket.clone_ref(py),
            protocol: face.protocol.clone_ref(py),
            transport: face.transport.clone_ref(py),
            context: face.context.clone_ref(py),
        })
    }

    /// Takes an event of the socket.
    pub(crate) fn on_event(self: &Rc<Self>, py: Python<'_>, event: Readiness) -> PyResult<()> {
        if event.writable && !self.queue.borrow().is_empty() {
            self.flush(py)?;
        }
        if event.readable { self.read_ready(py) } else { Ok(()) }
    }

    fn is_read_stopped(&self) -> bool {
        self.paused_reading.get() || self.closing.get() || self.lost.get()
    }

    pub(super) fn is_reading(&self) -> bool {
        !self.closing.get() && !self.paused_reading.get()
    }

    /// Reads again; what came meanwhile gave its event already.
    pub(super) fn read_more_later(self: &Rc<Self>) {
        if !self.is_read_stopped() && !self.in_unread.replace(true) {
            self.core.mark_unread(Source::Datagrams(self.clone()));
        }
    }

    /// Takes the datagrams that wait, up to a turn's share.
    pub(crate) fn read_ready(self: &Rc<Self>, py: Python<'_>) -> PyResult<()> {
        self.in_unread.set(false);
        for _ in 0..READS_MAX {
            if self.is_read_stopped() {
                return Ok(());
            }
            let Some(face) = self.face(py) else {
                return Ok(());
            };
            match self.read_one(py) {
                Ok((data, sender)) => {
                    let sender = self.python_address(py, sender)?;
                    let name = intern!(py, "datagram_received");
                    if let Err(error) = self.within(py, &face, name, (data, sender)) {
                        let message = "Exception in protocol.datagram_received()";
                        self.core.report(py, error, message, Some(&details(py, &face)?))?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => self.error_received(py, &face, os_error(&error))?,
            }
        }
        self.read_more_later();
        Ok(())
    }

    fn read_one<'py>(&self, py: Python<'py>) -> io::Result<(Bound<'py, PyBytes>, SockAddr)> {
        let mut buffer = self.core.take_buffer();
        let size = self.max_size.get().min(buffer.len());
        let received = socket::recv_from(self.fd, as_uninit(&mut buffer[..size]));
        let received = received.map(|(count, sender)| (PyBytes::new(py, &buffer[..count]), sender));
        self.core.return_buffer(buffer);
        received
    }

    /// As Python knows an address; those of the last senders are kept.
    fn python_address<'py>(&self, py: Python<'py>, addr: SockAddr) -> PyResult<Bound<'py, PyAny>> {
        let slot = match addr.as_socket() {
            Some(inet) => usize::from(inet.port()) % KNOWN_MAX,
            None => return address::to_python(py, &addr),
        };
        {
            let known = self.known.borrow();
            if let Some(Some((same, object))) = known.get(slot)
                && *same == addr
            {
                return Ok(object.bind(py).clone());
            }
        }
        let object = address::to_python(py, &addr)?;
        let mut known = self.known.borrow_mut();
        if known.is_empty() {
            known.resize_with(KNOWN_MAX, || None);
        }
        let replaced = known[slot].replace((addr, object.clone().unbind()));
        drop(known);
        drop(replaced);
        Ok(object)
    }

    /// Sends now if nothing waits, and else later.
    pub(super) fn send(
        self: &Rc<Self>,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        to: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let Some(face) = self.face(py) else {
            return Ok(());
        };
        if self.queue.borrow().is_empty() {
            match self.send_one(py, &face, data, to) {
                Sent::Gone => return Ok(()),
                Sent::NoRoom => self.want_write(),
                Sent::Failed(error) => return self.send_failed(py, &face, error),
            }
        }
        // bytes() of what may change once this has returned.
        let data = match data.cast_exact::<PyBytes>() {
            Ok(bytes) => bytes.clone(),
            // SAFETY: a live object; the result is a new bytes object or null.
            Err(_) => unsafe {
                Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromObject(data.as_ptr()))?
                    .cast_into_unchecked()
            },
        };
        let bytes = data.as_bytes().len() + self.overhead;
        let queued = Datagram { data: data.unbind(), to: to.map(|to| to.clone().unbind()) };
        self.queue.borrow_mut().push_back(queued);
        self.queued_bytes.set(self.queued_bytes.get() + bytes);
        self.pause_if_full(py)
    }

    fn send_one(
        &self,
        py: Python<'_>,
        face: &Face,
        data: &Bound<'_, PyAny>,
        to: Option<&Bound<'_, PyAny>>,
    ) -> Sent {
        let to = to.filter(|_| !self.connected);
        if let Ok(bytes) = data.cast_exact::<PyBytes>() {
            let sent = match to {
                None => Some(socket::send_now(self.fd, bytes.as_bytes())),
                Some(to) => address::from_python(to, self.family)
                    .map(|to| socket::send_to(self.fd, bytes.as_bytes(), &to)),
            };
            match sent {
                Some(Ok(_)) => return Sent::Gone,
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Sent::NoRoom;
                }
                Some(Err(error)) => return Sent::Failed(os_error(&error)),
                None => {} // an address that is Python's to understand
            }
        }
        let socket = face.socket.bind(py);
        let sent = match to {
            None => socket.call_method1(intern!(py, "send"), (data,)),
            Some(to) => socket.call_method1(intern!(py, "sendto"), (data, to)),
        };
        match sent {
            Ok(_) => Sent::Gone,
            Err(error)
                if error.is_instance_of::<PyBlockingIOError>(py)
                    || error.is_instance_of::<PyInterruptedError>(py) =>
            {
                Sent::NoRoom
            }
            Err(error) => Sent::Failed(error),
        }
    }

    fn send_failed(self: &Rc<Self>, py: Python<'_>, face: &Face, error: PyErr) -> PyResult<()> {
        if error.is_instance_of::<PyOSError>(py) {
            let told = face.protocol.call_method1(
                py,
                intern!(py, "error_received"),
                (error.into_value(py),),
            );
            return told.map(drop);
        }
        self.fail(py, error, "Fatal write error on datagram transport")
    }

    /// Sends what waits, as far as the kernel takes it.
    fn flush(self: &Rc<Self>, py: Python<'_>) -> PyResult<()> {
        loop {
            let (Some(face), Some(datagram)) = (self.face(py), self.pop()) else {
                break;
            };
            let to = datagram.to.as_ref().map(|to| to.bind(py));
            match self.send_one(py, &face, datagram.data.bind(py).as_any(), to) {
                Sent::Gone => {}
                Sent::NoRoom => {
                    self.unpop(py, datagram);
                    break;
                }
                Sent::Failed(error) if error.is_instance_of::<PyOSError>(py) => {
                    self.error_received(py, &face, error)?;
                }
                Sent::Failed(error) => {
                    return self.fail(py, error, "Fatal write error on datagram transport");
                }
            }
        }
        self.resume_if_short(py)?;
        if self.queue.borrow().is_empty() && self.closing.get() {
            self.lose(None);
        }
        Ok(())
    }

    fn pop(&self) -> Option<Datagram> {
        let datagram = self.queue.borrow_mut().pop_front()?;
        // SAFETY: a live bytes object; the GIL is held.
        let size = unsafe { ffi::PyBytes_Size(datagram.data.as_ptr()) } as usize;
        self.queued_bytes.set(self.queued_bytes.get() - size - self.overhead);
        Some(datagram)
    }

    fn unpop(&self, py: Python<'_>, datagram: Datagram) {
        let bytes = datagram.data.bind(py).as_bytes().len() + self.overhead;
        self.queued_bytes.set(self.queued_bytes.get() + bytes);
        self.queue.borrow_mut().push_front(datagram);
    }

    /// From the first time on, the socket is watched for room, too.
    fn want_write(&self) {
        if self.watches_write.replace(true) {
            return;
        }
        if let Some(key) = self.key.get() {
            // It can only fail when the descriptor was closed behind our back: the next call on
            // it says so.
            let _ = self.core.registry.modify(self.fd, key, Interest::BOTH);
        }
    }

    pub(super) fn pause_if_full(&self, py: Python<'_>) -> PyResult<()> {
        if self.queued_bytes.get() <= self.high.get() || self.paused_writing.replace(true) {
            return Ok(());
        }
        self.tell_flow(py, "pause_writing", "protocol.pause_writing() failed")
    }

    fn resume_if_short(&self, py: Python<'_>) -> PyResult<()> {
        if !self.paused_writing.get() || self.queued_bytes.get() > self.low.get() {
            return Ok(());
        }
        self.paused_writing.set(false);
        self.tell_flow(py, "resume_writing", "protocol.resume_writing() failed")
    }

    fn tell_flow(&self, py: Python<'_>, name: &str, message: &str) -> PyResult<()> {
        let Some(face) = self.face(py) else {
            return Ok(());
        };
        match face.protocol.call_method0(py, name) {
            Ok(_) => Ok(()),
            Err(error) => self.core.report(py, error, message, Some(&details(py, &face)?)),
        }
    }

    /// `protocol.error_received(error)`, from an event.
    fn error_received(&self, py: Python<'_>, face: &Face, error: PyErr) -> PyResult<()> {
        let name = intern!(py, "error_received");
        match self.within(py, face, name, (error.into_value(py),)) {
            Ok(()) => Ok(()),
            Err(error) => {
                let message = "Exception in protocol.error_received()";
                self.core.report(py, error, message, Some(&details(py, face)?))
            }
        }
    }

    /// Calls a method of the protocol in its context.
    fn within<'py>(
        &self,
        py: Python<'py>,
        face: &Face,
        name: &Bound<'py, pyo3::types::PyString>,
        args: impl pyo3::call::PyCallArgs<'py>,
    ) -> PyResult<()> {
        // SAFETY: a live context object, left again below.
        if unsafe { ffi::PyContext_Enter(face.context.as_ptr()) } < 0 {
            return Err(PyErr::fetch(py));
        }
        let result = face.protocol.bind(py).call_method1(name, args).map(drop);
        // SAFETY: it was entered just above, and what ran in between left as it entered.
        if unsafe { ffi::PyContext_Exit(face.context.as_ptr()) } < 0 && result.is_ok() {
            return Err(PyErr::fetch(py));
        }
        result
    }

    /// Closes once everything is sent.
    pub(super) fn close(self: &Rc<Self>) {
        if !self.closing.replace(true) && self.queue.borrow().is_empty() {
            self.lose(None);
        }
    }

    /// Reports an error that is no error of the network, and closes at once.
    fn fail(self: &Rc<Self>, py: Python<'_>, error: PyErr, message: &str) -> PyResult<()> {
        let details = self.face(py).map(|face| details(py, &face)).transpose()?;
        self.core.report(py, error.clone_ref(py), message, details.as_ref())?;
        self.force_close(Some(error));
        Ok(())
    }

    /// Closes at once; what waits is dropped.
    pub(super) fn force_close(self: &Rc<Self>, cause: Option<PyErr>) {
        if self.lost.get() {
            return;
        }
        let dropped = std::mem::take(&mut *self.queue.borrow_mut());
        self.queued_bytes.set(0);
        self.closing.set(true);
        self.lose(cause);
        drop(dropped);
    }

    fn lose(self: &Rc<Self>, cause: Option<PyErr>) {
        if self.lost.replace(true) {
            return;
        }
        if let Some(key) = self.key.take() {
            self.core.remove_source(self.fd, key);
        }
        let datagrams = Rc::clone(self);
        self.core.push_ready(Ready::Native(Box::new(move |py| datagrams.finish(py, cause))));
    }

    fn finish(self: &Rc<Self>, py: Python<'_>, cause: Option<PyErr>) -> PyResult<()> {
        let face = self.face.borrow_mut().take();
        let Some(face) = face else {
            return Ok(());
        };
        let cause = cause.map_or_else(|| py.None(), |error| error.into_value(py).into_any());
        let told = self.within(py, &face, intern!(py, "connection_lost"), (cause,));
        let closed = self.close_socket(py, &face);
        told.and(closed)
    }

    /// The loop is closed while the transport is open: the socket goes, with a warning.
    pub(crate) fn abandon(&self, py: Python<'_>) {
        self.closing.set(true);
        self.lost.set(true);
        self.key.set(None);
        let face = self.face.borrow_mut().take();
        let Some(face) = face else {
            return;
        };
        let text = format!("unclosed transport {:?}", face.transport.bind(py));
        let category = py.get_type::<PyResourceWarning>();
        let warned = CString::new(text).map_or(Ok(()), |text| PyErr::warn(py, &category, &text, 1));
        for result in [warned, self.close_socket(py, &face)] {
            if let Err(error) = result {
                error.write_unraisable(py, None);
            }
        }
    }

    fn close_socket(&self, py: Python<'_>, face: &Face) -> PyResult<()> {
        self.core.stream_fds.borrow_mut().remove(&self.fd);
        face.socket.call_method0(py, intern!(py, "close")).map(drop)
    }
}

fn details<'py>(py: Python<'py>, face: &Face) -> PyResult<Bound<'py, PyDict>> {
    let details = PyDict::new(py);
    details.set_item("transport", &face.transport)?;
    details.set_item("protocol", &face.protocol)?;
    Ok(details)
}
