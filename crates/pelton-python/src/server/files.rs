//! Files as pieces of a response's body: sent by the kernel where the connection allows it, read
//! and written otherwise. Their bytes never become Python objects.

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::rc::Rc;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::transport::native::FilePart;

use super::awaitable::Source;
use super::message::{self, Message};
use super::request::Request;

/// A file that is read and written goes in pieces of this size.
const PIECE: usize = 64 * 1024;

/// The file of an `http.response.pathsend`: all of it, or `count` bytes from `offset` on.
pub(super) fn by_path(message: &Message<'_, '_>, py: Python<'_>) -> PyResult<FilePart> {
    let path: PathBuf = message.required(intern!(py, "path"))?.extract()?;
    if !path.is_absolute() {
        let text = format!("'path' is absolute in an ASGI message, not {}", path.display());
        return Err(PyValueError::new_err(text));
    }
    // Opening a pipe would wait for its other end.
    let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
    let file = opened.map_err(|error| {
        let code = error.raw_os_error().unwrap_or_default();
        PyOSError::new_err((code, error.to_string(), path.display().to_string()))
    })?;
    let offset: u64 = number(message, intern!(py, "offset"))?.unwrap_or_default();
    let left = length_of(&file)?.saturating_sub(offset);
    let length = number(message, intern!(py, "count"))?.map_or(left, |count| count.min(left));
    part(file.into(), offset, length)
}

/// The file of an `http.response.zerocopysend`: `count` bytes from `offset`, or what is left of it
/// from where it stands, which then moves.
pub(super) fn by_descriptor(message: &Message<'_, '_>, py: Python<'_>) -> PyResult<FilePart> {
    let object = message.required(intern!(py, "file"))?;
    let fd: RawFd = match object.extract() {
        Ok(fd) => fd,
        Err(_) => object.call_method0(intern!(py, "fileno"))?.extract()?,
    };
    if fd < 0 {
        return Err(PyValueError::new_err(format!("{fd} is no file descriptor")));
    }
    // SAFETY: borrowed for these lines only, while the application's object is alive; a number that
    // is no open descriptor makes the call fail.
    let file: File = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?.into();
    let size = length_of(&file)?;
    let given = number(message, intern!(py, "offset"))?;
    let offset = match given {
        Some(offset) => offset,
        None => position(&object, &file)?,
    };
    let left = size.saturating_sub(offset);
    let length = number(message, intern!(py, "count"))?.map_or(left, |count| count.min(left));
    if given.is_none() {
        move_to(&object, &file, offset + length)?;
    }
    part(file.into(), offset, length)
}

/// Waits until a file is read and written, piece by piece.
pub(super) struct Sending {
    request: Rc<Request>,
    file: File,
    state: RefCell<Progress>,
    /// More of the body follows after the file.
    more: bool,
}

struct Progress {
    offset: u64,
    left: usize,
    piece: Vec<u8>,
}

impl Sending {
    pub(super) fn new(request: Rc<Request>, part: FilePart, more: bool) -> Self {
        let state = Progress { offset: part.offset, left: part.length, piece: Vec::new() };
        Self { request, file: part.file.into(), state: RefCell::new(state), more }
    }

    /// One piece; whether it was the last.
    fn send_piece(&self, py: Python<'_>) -> PyResult<bool> {
        let mut state = self.state.borrow_mut();
        let Progress { offset, left, piece } = &mut *state;
        piece.resize(PIECE.min(*left), 0);
        let read = self.file.read_at(piece, *offset)?;
        if read == 0 && *left > 0 {
            return Err(PyOSError::new_err("the file became shorter while it was sent"));
        }
        *offset += read as u64;
        *left -= read;
        let last = *left == 0;
        self.request
            .carrier
            .send_body(&piece[..read], self.more || !last)
            .map_err(message::response_error)?;
        self.request.note_sent(read);
        drop(state);
        self.request.sent_piece(py, self.more || !last)?;
        Ok(last)
    }
}

impl Source for Sending {
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        loop {
            // Also where it was answered meanwhile, by a failure say: what the connection carries
            // now is another request's.
            if !self.request.is_open() {
                return Err(message::disconnected());
            }
            if self.request.carrier.is_writing_paused() {
                return Ok(None);
            }
            if self.send_piece(py)? {
                return Ok(Some(py.None()));
            }
        }
    }

    fn park(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.request.carrier.writers().park(&self.request.shared.event_loop.object(py)?)
    }
}

fn number<'py>(message: &Message<'_, 'py>, name: &Bound<'py, PyString>) -> PyResult<Option<u64>> {
    match message.optional(name)? {
        Some(value) => value.extract().map(Some),
        None => Ok(None),
    }
}

fn part(file: OwnedFd, offset: u64, length: u64) -> PyResult<FilePart> {
    let length = usize::try_from(length)?;
    Ok(FilePart { file, offset, length })
}

fn length_of(file: &File) -> PyResult<u64> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(PyValueError::new_err("only a regular file can be sent"));
    }
    Ok(metadata.len())
}

/// Where the file stands: as the application's object has it, which may have read ahead.
fn position(object: &Bound<'_, PyAny>, file: &File) -> PyResult<u64> {
    if object.hasattr(intern!(object.py(), "tell"))? {
        return object.call_method0(intern!(object.py(), "tell"))?.extract();
    }
    // SAFETY: moves nothing; the descriptor is open.
    let at = unsafe { libc::lseek(file.as_fd().as_raw_fd(), 0, libc::SEEK_CUR) };
    u64::try_from(at).map_err(|_| std::io::Error::last_os_error().into())
}

fn move_to(object: &Bound<'_, PyAny>, file: &File, position: u64) -> PyResult<()> {
    if object.hasattr(intern!(object.py(), "seek"))? {
        object.call_method1(intern!(object.py(), "seek"), (position,))?;
        return Ok(());
    }
    let to = libc::off_t::try_from(position)?;
    // SAFETY: the descriptor is open; it shares its position with the application's.
    if unsafe { libc::lseek(file.as_fd().as_raw_fd(), to, libc::SEEK_SET) } < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
}
