//! From the protocol to the socket.
//!
//! What is written is encrypted and sent at once while the socket takes it. When it does not, plain
//! data waits: at most one batch of ciphertext is queued on the stream, whatever is written.

use std::collections::VecDeque;

use pyo3::intern;
use pyo3::prelude::*;

use super::connection::{Connection, State};
use super::engine::Step;
use super::reading::RECORD_MAX;
use crate::transport::stream_write::Chunk;

/// Ciphertext that is sent in one call.
const BATCH: usize = 128 * 1024;
/// Chunks shorter than this are joined, so that they share a record.
const JOIN_MAX: usize = 4 * 1024;

/// Plain data that waits. The protocol is told to pause by the transport's limits.
#[derive(Default)]
pub(super) struct Backlog {
    chunks: VecDeque<(Chunk, usize)>,
    len: usize,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes waiting.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a chunk, of which `skip` bytes are done.
    pub(super) fn push(&mut self, chunk: Chunk, skip: usize) {
        let data = &chunk.as_ref()[skip..];
        if data.is_empty() {
            return;
        }
        self.len += data.len();
        if data.len() < JOIN_MAX
            && let Some((Chunk::Copied(last), _)) = self.chunks.back_mut()
            && last.len() + data.len() <= RECORD_MAX
        {
            last.extend_from_slice(data);
            return;
        }
        let chunk =
            if data.len() < JOIN_MAX { (Chunk::Copied(data.to_vec()), 0) } else { (chunk, skip) };
        self.chunks.push_back(chunk);
    }

    fn pop(&mut self) -> Option<(Chunk, usize)> {
        let (chunk, skip) = self.chunks.pop_front()?;
        self.len -= chunk.as_ref().len() - skip;
        Some((chunk, skip))
    }

    fn unpop(&mut self, chunk: Chunk, skip: usize) {
        self.len += chunk.as_ref().len() - skip;
        self.chunks.push_front((chunk, skip));
    }
}

impl Connection {
    /// Sends `data`; `keep` gives what stays behind so many bytes as a chunk, and where in it.
    pub(super) fn write(
        &self,
        py: Python<'_>,
        data: &[u8],
        keep: impl FnOnce(usize) -> (Chunk, usize),
    ) -> PyResult<()> {
        let mut done = 0;
        if self.state.get() == State::Wrapped && self.backlog.borrow().is_empty() {
            match self.encrypt(py, data) {
                Ok(count) => done = count,
                Err(error) => return self.fatal_error(py, error, "Fatal error on SSL protocol"),
            }
        }
        if done < data.len() && self.state.get() != State::Unwrapped {
            let (chunk, skip) = keep(done);
            self.backlog.borrow_mut().push(chunk, skip);
        }
        self.control_writing(py)
    }

    /// Sends chunks one after another, the small ones in common records.
    pub(super) fn write_many(&self, py: Python<'_>, chunks: Vec<Chunk>) -> PyResult<()> {
        {
            let mut backlog = self.backlog.borrow_mut();
            for chunk in chunks {
                backlog.push(chunk, 0);
            }
        }
        if self.state.get() == State::Wrapped { self.do_write(py) } else { Ok(()) }
    }

    /// Sends what waits, as far as the socket takes it.
    pub(super) fn do_write(&self, py: Python<'_>) -> PyResult<()> {
        while matches!(self.state.get(), State::Wrapped | State::Flushing) && !self.is_blocked() {
            // A `let` of its own: no borrow is held while OpenSSL may call Python.
            let next = self.backlog.borrow_mut().pop();
            let Some((chunk, skip)) = next else {
                break;
            };
            let data = &chunk.as_ref()[skip..];
            let written = self.encrypt(py, data);
            let (count, whole) = match &written {
                Ok(count) => (*count, *count == data.len()),
                Err(_) => (0, false),
            };
            if !whole {
                self.backlog.borrow_mut().unpop(chunk, skip + count);
            }
            if let Err(error) = written {
                return self.fatal_error(py, error, "Fatal error on SSL protocol");
            }
            if !whole {
                break;
            }
        }
        self.send_output(py)?;
        self.control_writing(py)
    }

    /// The stream's queue is empty: more can leave.
    pub(super) fn on_drain(&self, py: Python<'_>) -> PyResult<()> {
        match self.state.get() {
            State::Wrapped => self.do_write(py),
            State::Flushing => {
                self.do_write(py)?;
                self.do_flush(py)
            }
            _ => Ok(()),
        }
    }

    /// Encrypts and sends, as far as the socket takes it; how much of `data` that was.
    fn encrypt(&self, py: Python<'_>, data: &[u8]) -> PyResult<usize> {
        let mut done = 0;
        while done < data.len() && !self.is_blocked() {
            let end = data.len().min(done + RECORD_MAX);
            let Step::Done(count) = self.engine.write(py, &data[done..end])? else {
                break; // a handshake is on its way: the peer must speak first
            };
            done += count;
            if done == data.len() || self.engine.output_len(py)? >= BATCH {
                self.send_output(py)?;
            }
        }
        Ok(done)
    }

    /// The stream has not taken what it was given.
    fn is_blocked(&self) -> bool {
        !self.stream.queue.borrow().is_empty() || self.stream.lost.get()
    }

    /// Gives the stream what OpenSSL wrote.
    pub(super) fn send_output(&self, py: Python<'_>) -> PyResult<()> {
        self.engine.drain(py, |output| {
            if self.stream.lost.get() || self.stream.closing.get() {
                return Ok(());
            }
            self.stream.write_now(py, output, |sent| (Chunk::Copied(output[sent..].to_vec()), 0))
        })
    }

    /// Bytes that have not left.
    pub(super) fn queued(&self) -> usize {
        self.backlog.borrow().len() + self.stream.queue.borrow().len()
    }

    /// Pauses or resumes the protocol, by the limits.
    pub(super) fn control_writing(&self, py: Python<'_>) -> PyResult<()> {
        let (high, low) = self.write_limits.get();
        let queued = self.queued();
        let (pause, name) = if queued > high && !self.paused_writing.get() {
            (true, intern!(py, "pause_writing"))
        } else if queued <= low && self.paused_writing.get() {
            (false, intern!(py, "resume_writing"))
        } else {
            return Ok(());
        };
        self.paused_writing.set(pause);
        let called = self.with_app(py, |protocol| protocol.call_method0(name).map(drop));
        match called {
            Ok(_) => Ok(()),
            Err(error) => self.report(py, error, &format!("protocol.{name}() failed")),
        }
    }
}
