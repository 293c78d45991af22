//! From the socket to the protocol.
//!
//! A chunk of ciphertext, at most the loop's read buffer, is decrypted whole as it comes; nothing is
//! kept but the part of a record that OpenSSL holds. A protocol that pauses stops the socket with it,
//! and the rest of that chunk waits.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::rc::Rc;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;

use super::connection::{Connection, State};
use super::engine::Step;
use crate::aio::Reader;
use crate::event_loop::core::Ready;
use crate::transport::spare_bytes::Filled;
use crate::transport::stream_buffered::fill;

/// The largest record's plaintext.
pub(super) const RECORD_MAX: usize = 16 * 1024;
/// Plaintext given to a protocol at once. Below 128 KiB the allocator uses memory again that it has
/// at hand; above, each object would be mapped and unmapped.
const GIVEN_MAX: usize = 112 * 1024;

unsafe extern "C" {
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> c_int;
}

/// What a round of decrypting ended with.
enum End {
    /// There is no more, or no room.
    Open,
    /// The peer's close_notify came.
    Closed,
    /// What came before it is good.
    Failed(PyErr),
}

impl Connection {
    /// Whether what came may be given to the protocol.
    fn is_reading(&self) -> bool {
        !self.paused_reading.get() && matches!(self.state.get(), State::Wrapped | State::Flushing)
    }

    /// Gives the protocol all that came, then sends what waited for that.
    pub(super) fn do_read(&self, py: Python<'_>) -> PyResult<()> {
        if !matches!(self.state.get(), State::Wrapped | State::Flushing) {
            return Ok(());
        }
        let mut ended = false;
        if !self.paused_reading.get() {
            // A `let` of its own: no borrow is held while Python runs.
            let reader = self.feeds.borrow().clone();
            let read = match reader {
                Some(reader) => self.read_fed(py, &reader),
                None if self.is_buffered() => self.read_buffered(py),
                None => self.read_copied(py),
            };
            match read {
                Ok(closed) => ended = closed,
                Err(error) => return self.fatal_error(py, error, "Fatal error on SSL protocol"),
            }
        }
        if ended {
            self.call_eof_received(py)?;
            self.start_shutdown(py)?;
        }
        self.do_write(py)
    }

    /// For a protocol with `data_received`. `true`: the peer's close_notify came.
    fn read_copied(&self, py: Python<'_>) -> PyResult<bool> {
        while self.is_reading() {
            let unread = self.engine.unread(py)?;
            let end = if unread <= RECORD_MAX {
                let (data, end) = self.decrypt_small(py)?;
                if let Some(data) = data {
                    self.give(py, data.bind(py))?;
                    self.stream.core.spare_bytes.put_back(data);
                }
                end
            } else {
                let (data, end) = self.decrypt_large(py, unread)?;
                if let Some(data) = data {
                    self.give(py, &data)?;
                }
                end
            };
            match end {
                End::Closed => return Ok(true),
                End::Failed(error) => return Err(error),
                End::Open if !self.engine.may_read(py)? => break,
                End::Open => {}
            }
        }
        Ok(false)
    }

    /// For a stream reader: its buffer gets them, with no Python in between.
    fn read_fed(&self, py: Python<'_>, reader: &Reader) -> PyResult<bool> {
        let mut memory = [MaybeUninit::<u8>::uninit(); RECORD_MAX];
        // SAFETY: `decrypt` only writes to it, and says how much it wrote.
        let memory = unsafe { as_bytes(&mut memory) };
        while self.is_reading() {
            let (count, end) = self.decrypt(py, memory)?;
            reader.feed(py, &memory[..count])?;
            match end {
                End::Closed => return Ok(true),
                End::Failed(error) => return Err(error),
                End::Open if !self.engine.may_read(py)? => break,
                End::Open => {}
            }
        }
        Ok(false)
    }

    fn give(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        self.with_app(py, |protocol| {
            protocol.call_method1(intern!(py, "data_received"), (data,)).map(drop)
        })
        .map(drop)
    }

    fn decrypt_small(&self, py: Python<'_>) -> PyResult<(Option<Filled>, End)> {
        let mut memory = [MaybeUninit::<u8>::uninit(); RECORD_MAX];
        // SAFETY: `decrypt` only writes to it, and says how much it wrote.
        let memory = unsafe { as_bytes(&mut memory) };
        let (count, end) = self.decrypt(py, memory)?;
        let spare = &self.stream.core.spare_bytes;
        let data = if count > 0 { Some(spare.fill(py, &memory[..count])?) } else { None };
        Ok((data, end))
    }

    /// Decrypts into a new bytes object, then cuts it to what came.
    fn decrypt_large<'py>(
        &self,
        py: Python<'py>,
        unread: usize,
    ) -> PyResult<(Option<Bound<'py, PyAny>>, End)> {
        // A record of which OpenSSL holds the beginning may come out, too.
        let size = (unread + RECORD_MAX).min(GIVEN_MAX);
        // SAFETY: a new bytes object that nobody else has: its memory of `size` bytes may be
        // written (`decrypt` does not read it), and it may be resized, which gives another object,
        // or null with an exception.
        unsafe {
            let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size as ffi::Py_ssize_t);
            let bytes = Bound::from_owned_ptr_or_err(py, object)?;
            let memory = ffi::PyBytes_AsString(bytes.as_ptr()).cast::<u8>();
            let (count, end) = self.decrypt(py, std::slice::from_raw_parts_mut(memory, size))?;
            if count == 0 {
                return Ok((None, end));
            }
            let mut object = bytes.into_ptr();
            _PyBytes_Resize(&raw mut object, count as ffi::Py_ssize_t);
            Ok((Some(Bound::from_owned_ptr_or_err(py, object)?), end))
        }
    }

    /// Decrypts as much as there is and fits.
    fn decrypt(&self, py: Python<'_>, memory: &mut [u8]) -> PyResult<(usize, End)> {
        let mut filled = 0;
        while filled < memory.len() {
            match self.engine.read(py, &mut memory[filled..]) {
                Ok(Step::Done(count)) => filled += count,
                Ok(Step::Closed) => return Ok((filled, End::Closed)),
                Ok(Step::Wants) => break,
                Err(error) => return Ok((filled, End::Failed(error))),
            }
            if !self.engine.may_read(py)? {
                break;
            }
        }
        Ok((filled, End::Open))
    }

    /// For an `asyncio.BufferedProtocol`: straight into its buffer.
    fn read_buffered(&self, py: Python<'_>) -> PyResult<bool> {
        while self.is_reading() && self.is_buffered() {
            let hint = self.engine.unread(py)?;
            let end = self.with_app(py, |protocol| {
                let hint = isize::try_from(hint).unwrap_or(isize::MAX);
                let (decrypted, _) = fill(protocol, hint, |memory| {
                    // SAFETY: `decrypt` only writes to it, and says how much it wrote.
                    self.decrypt(py, unsafe { as_bytes(memory) })
                })?;
                let (count, end) = decrypted?;
                if count > 0 {
                    protocol.call_method1(intern!(py, "buffer_updated"), (count,))?;
                }
                Ok(end)
            })?;
            match end {
                None => return Ok(false),
                Some(End::Closed) => return Ok(true),
                Some(End::Failed(error)) => return Err(error),
                Some(End::Open) if !self.engine.may_read(py)? => return Ok(false),
                Some(End::Open) => {}
            }
        }
        if self.is_reading() {
            return self.read_copied(py); // `buffer_updated` set another protocol
        }
        Ok(false)
    }

    fn is_buffered(&self) -> bool {
        self.app.borrow().as_ref().is_some_and(|app| app.buffered)
    }

    /// Gives what comes to `reader` from now on, until the protocol is replaced.
    pub(super) fn feed(&self, reader: &Rc<Reader>) {
        if self.stream.lost.get() {
            return;
        }
        let old = self.feeds.replace(Some(Rc::clone(reader)));
        drop(old);
    }

    /// Gives what comes to the protocol again.
    pub(super) fn stop_feeding(&self) {
        // A `let` of its own: the borrow ends before the reader is dropped.
        let reader = self.feeds.borrow_mut().take();
        drop(reader);
    }

    pub(super) fn is_feeding(&self) -> bool {
        self.feeds.borrow().is_some()
    }

    /// Reads what the peer still sends after we said goodbye, for nobody.
    pub(super) fn discard(&self, py: Python<'_>) -> PyResult<()> {
        let mut memory = [0; RECORD_MAX];
        while let Step::Done(_) = self.engine.read(py, &mut memory)? {}
        Ok(())
    }

    pub(super) fn pause_reading(&self) {
        self.paused_reading.set(true);
        self.stream.set_paused_reading(true);
    }

    pub(super) fn resume_reading(&self) {
        if !self.paused_reading.replace(false) {
            return;
        }
        let me = self.me.clone();
        self.stream.core.push_ready(Ready::Native(Box::new(move |py| match me.upgrade() {
            Some(connection) if !connection.paused_reading.get() => {
                connection.go_on(py)?;
                if !connection.paused_reading.get() {
                    connection.stream.set_paused_reading(false);
                }
                Ok(())
            }
            _ => Ok(()),
        })));
    }
}

/// Memory that is not set yet, for who only writes to it.
///
/// # Safety
/// What was not written is not read.
unsafe fn as_bytes(memory: &mut [MaybeUninit<u8>]) -> &mut [u8] {
    // SAFETY: the same layout; the caller does not read what is not set.
    unsafe { &mut *(std::ptr::from_mut(memory) as *mut [u8]) }
}
