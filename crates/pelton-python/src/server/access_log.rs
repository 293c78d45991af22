//! One line a request: to the logger `pelton.access`, to stdout or to a file.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::rc::{Rc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pelton_http::access_log::{Format, Record, RequestLine};
use pelton_http::h1::{Head, Version};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::event_loop::LoopRef;

/// Lines that wait for the end of the loop's turn are written at once above this many bytes.
const BUFFER_MAX: usize = 64 * 1024;

/// Where the lines go, and how they look.
pub(super) struct AccessLog {
    format: Format,
    target: Target,
    event_loop: LoopRef,
    lines: RefCell<String>,
    /// A write is due at the end of the turn.
    due: Cell<bool>,
    me: Weak<Self>,
}

enum Target {
    /// A Python logger, which has handlers of its own.
    Logger(Py<PyAny>),
    Stdout,
    File {
        path: String,
        file: RefCell<File>,
    },
}

/// A request that ended, as far as its line tells of it.
pub(super) struct Ended<'a> {
    pub(super) client: &'a str,
    /// `None`: it was too malformed to be read.
    pub(super) head: Option<&'a Head>,
    pub(super) status: u16,
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
}

impl AccessLog {
    /// `file`: a path, `-` for stdout, or `None` for the logger. Raises ValueError for an impossible
    /// format, and OSError where the file cannot be opened.
    pub(super) fn new(
        py: Python<'_>,
        event_loop: LoopRef,
        format: &str,
        file: Option<&str>,
    ) -> PyResult<Rc<Self>> {
        let format = Format::parse(format)
            .map_err(|error| PyValueError::new_err(format!("access_log_format: {error}")))?;
        let target = match file {
            None => {
                let logger = py.import("logging")?.call_method1("getLogger", ("pelton.access",))?;
                Target::Logger(logger.unbind())
            }
            Some("-") => Target::Stdout,
            Some(path) => Target::File { path: path.to_owned(), file: RefCell::new(open(path)?) },
        };
        Ok(Rc::new_cyclic(|me| Self {
            format,
            target,
            event_loop,
            lines: RefCell::default(),
            due: Cell::new(false),
            me: me.clone(),
        }))
    }

    /// Notes the end of a request.
    pub(super) fn log(&self, py: Python<'_>, ended: &Ended<'_>) -> PyResult<()> {
        let record = Record {
            client: ended.client,
            request: ended.head.map(|head| RequestLine {
                method: head.method(),
                path: head.path(),
                query: head.query(),
                version: version(head),
                headers: head.headers(),
            }),
            status: ended.status,
            bytes: ended.bytes,
            elapsed: ended.elapsed,
            time: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            pid: std::process::id(),
        };
        if let Target::Logger(logger) = &self.target {
            let mut line = String::new();
            self.format.write(&mut line, &record);
            logger.call_method1(py, "info", ("%s", line))?;
            return Ok(());
        }
        let length = {
            let mut lines = self.lines.borrow_mut();
            self.format.write(&mut lines, &record);
            lines.push('\n');
            lines.len()
        };
        if length > BUFFER_MAX {
            self.flush()?;
        } else if !self.due.replace(true) {
            let me = self.me.clone();
            self.event_loop.run_soon_native(move |_| match me.upgrade() {
                Some(log) => log.flush().map_err(PyErr::from),
                None => Ok(()),
            });
        }
        Ok(())
    }

    /// Writes what waits: all lines of a turn in one call, whole, so that several processes can
    /// append to one file.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.due.set(false);
        let lines = self.lines.take();
        match &self.target {
            Target::Logger(_) => Ok(()),
            Target::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush())
            }
            Target::File { file, .. } => file.borrow_mut().write_all(lines.as_bytes()),
        }
    }

    /// Opens the file again: it was moved away, to be kept elsewhere.
    pub(super) fn reopen(&self) -> PyResult<()> {
        self.flush()?;
        if let Target::File { path, file } = &self.target {
            *file.borrow_mut() = open(path)?;
        }
        Ok(())
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.flush();
    }
}

fn open(path: &str) -> PyResult<File> {
    OpenOptions::new().append(true).create(true).open(path).map_err(|error| {
        let message = format!("cannot write the access log {path}: {error}");
        pyo3::exceptions::PyOSError::new_err(message)
    })
}

/// As ASGI's `http_version`.
pub(super) fn version(head: &Head) -> &'static str {
    match head.version() {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
        Version::Http2 => "2",
    }
}
