//! A request's raw body on its way into a file.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Write;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyOSError};
use pyo3::prelude::*;

use crate::event_loop::GilBound;

use super::Consumer;

create_exception!(
    pelton._core,
    BodyTooLarge,
    PyException,
    "A body has more bytes than it may have."
);

/// Writes the pieces of a body to a file.
#[pyclass(frozen, module = "pelton._core")]
pub(crate) struct BodyFile {
    file: GilBound<RefCell<Option<File>>>,
    size: GilBound<Cell<u64>>,
    limit: Option<u64>,
}

#[pymethods]
impl BodyFile {
    /// A writer to a copy of the descriptor, from its position on. `max_size`: bytes; more raise
    /// BodyTooLarge.
    #[new]
    #[pyo3(signature = (descriptor, max_size=None))]
    fn new(descriptor: RawFd, max_size: Option<u64>) -> PyResult<Self> {
        // SAFETY: `dup` takes any number; what is no open descriptor it refuses.
        let copy = unsafe { libc::dup(descriptor) };
        if copy < 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        // SAFETY: `dup` made it just now, and nobody else knows of it.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(copy) });
        Ok(Self {
            file: GilBound::new(RefCell::new(Some(file))),
            size: GilBound::new(Cell::new(0)),
            limit: max_size,
        })
    }

    /// Writes bytes.
    fn feed(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        self.take(py, data)
    }

    /// Bytes written.
    #[getter]
    fn size(&self) -> u64 {
        self.size.get()
    }

    /// Closes the copy of the descriptor.
    fn close(&self) {
        let file = self.file.borrow_mut().take();
        drop(file);
    }
}

impl Consumer for BodyFile {
    fn take(&self, _py: Python<'_>, data: &[u8]) -> PyResult<()> {
        let size = self.size.get() + data.len() as u64;
        if let Some(limit) = self.limit
            && size > limit
        {
            return Err(BodyTooLarge::new_err(format!("the body is larger than {limit} bytes")));
        }
        match self.file.borrow_mut().as_mut() {
            Some(file) => file.write_all(data)?,
            None => return Err(PyOSError::new_err("the file of this body is closed")),
        }
        self.size.set(size);
        Ok(())
    }
}
