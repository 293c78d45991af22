//! The coroutines of a `StreamReader`.
//!
//! Each looks whether it can be done with what is buffered, and else waits and looks again.

use std::ffi::CStr;
use std::rc::Rc;

use pyo3::exceptions::{PyStopAsyncIteration, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::reader::{Reader, Want};
use super::reader_type::reader_of;
use super::searching::{Message, MessageSearch};
use crate::aio::awaited::Awaited;
use crate::aio::coroutine::{Class, Input, Machine, Step, Visitor};
use crate::aio::future::Future;
use crate::event_loop::Owned;

/// Makes the coroutines' types.
pub(super) fn register(py: Python<'_>) -> PyResult<()> {
    Read::class().register(py)?;
    Exactly::class().register(py)?;
    Until::class().register(py)?;
    Line::class().register(py)?;
    Next::class().register(py)
}

/// What a look at the buffer came to.
pub(super) enum Look {
    Done(Owned),
    Wait(Want),
}

/// One way of reading.
pub(super) trait Way: Sized + 'static {
    const NAME: &'static CStr;
    const QUALNAME: &'static CStr;
    /// Its name in an error message.
    const FUNCTION: &'static str;
    /// The first look at the arguments and the reader.
    fn begin(&mut self, py: Python<'_>, reader: &Rc<Reader>) -> PyResult<Option<Owned>>;
    fn look(&mut self, py: Python<'_>, reader: &Rc<Reader>) -> PyResult<Look>;
    fn class() -> &'static Class<Reading<Self>>;
    fn traverse(&self, _visitor: &mut Visitor) {}
}

/// A coroutine that reads.
pub(super) struct Reading<W> {
    /// The `StreamReader`.
    reader: Owned,
    begun: bool,
    waiting: Option<(Future, Awaited)>,
    way: W,
}

impl<W> Reading<W> {
    pub(super) fn new(reader: Owned, way: W) -> Self {
        Self { reader, begun: false, waiting: None, way }
    }
}

impl<W: Way> Machine for Reading<W> {
    const NAME: &'static CStr = W::NAME;
    const QUALNAME: &'static CStr = W::QUALNAME;

    fn class() -> &'static Class<Self> {
        W::class()
    }

    fn resume(&mut self, py: Python<'_>, input: Input) -> PyResult<Step> {
        // SAFETY: a `StreamReader`, which this coroutine holds.
        let reader = unsafe { reader_of(py, &self.reader) };
        if let Some((_, waiting)) = &mut self.waiting {
            let step = waiting.step(py, input);
            if matches!(step, Ok(Step::Yield(_))) {
                return step;
            }
            if let Some((future, _)) = self.waiting.take() {
                reader.end_wait(future);
            }
            if step.is_err() {
                reader.pass_on();
            }
            step?;
        }
        if !self.begun {
            self.begun = true;
            if let Some(value) = self.way.begin(py, &reader)? {
                return Ok(Step::Return(value));
            }
        }
        loop {
            let want = match self.way.look(py, &reader)? {
                Look::Done(value) => return Ok(Step::Return(value)),
                Look::Wait(want) => want,
            };
            let future = reader.begin_wait(py, W::FUNCTION, want)?;
            let mut waiting = Awaited::future(py, &future)?;
            match waiting.step(py, Input::Go) {
                Ok(Step::Yield(value)) => {
                    self.waiting = Some((future, waiting));
                    return Ok(Step::Yield(value));
                }
                ended => {
                    reader.end_wait(future);
                    ended?;
                }
            }
        }
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(&self.reader);
        if let Some((future, waiting)) = &self.waiting {
            visitor.see(future.as_owned());
            waiting.traverse(visitor);
        }
        self.way.traverse(visitor);
    }

    fn awaiting(&self) -> Option<&Owned> {
        self.waiting.as_ref().map(|(_, waiting)| waiting.awaiting())
    }
}

/// `read(n)`; all there is until the end if `n` is negative.
pub(super) struct Read {
    pub(super) count: isize,
}

impl Way for Read {
    const NAME: &'static CStr = c"pelton._core.read_coroutine";
    const QUALNAME: &'static CStr = c"StreamReader.read";
    const FUNCTION: &'static str = "read";

    fn class() -> &'static Class<Reading<Self>> {
        static CLASS: Class<Reading<Read>> = Class::new();
        &CLASS
    }

    fn begin(&mut self, py: Python<'_>, reader: &Rc<Reader>) -> PyResult<Option<Owned>> {
        reader.check(py)?;
        if self.count == 0 { empty(py).map(Some) } else { Ok(None) }
    }

    fn look(&mut self, py: Python<'_>, reader: &Rc<Reader>) -> PyResult<Look> {
        let Ok(count) = usize::try_from(self.count) else {
            reader.check(py)?;
            fill(py, reader)?;
            if reader.eof.get() {
                return reader.take(py, usize::MAX).map(Look::Done);
            }
            return Ok(Look::Wait(Want::End));
        };
        if reader.buffer.borrow().is_empty()
            && !reader.eof.get()
            && let Some(stream) = left(reader)
            && let Some(data) = stream.pull(py, reader, count)?
        {
            return Ok(Look::Done(data));
        }
        if reader.eof.get() || !reader.buffer.borrow().is_empty() {
            return reader.take(py, count).map(Look::Done);
        }
        Ok(Look::Wait(Want::Any))
    }
}

/// `readexactly(n)`.
pub(super) struct Exactly {
    pub(super) count: isize,
}

impl Way for Exactly {
    const NAME: &'static CStr = c"pelton._core.readexactly_coroutine";
    const QUALNAME: &'static CStr = c"StreamReader.readexactly";
    const FUNCTION: &'static str = "readexactly";

    fn class() -> &'static Class<Reading<Self>> {
        static CLASS: Class<Reading<Exactly>> = Class::new();
        &CLASS
    }

    fn begin(&mut self, py: Python<'_>, reader: &Rc<Reader>) -> PyResult<Option<Owned>> {
        if self.count < 0 {
            return Err(PyValueError::new_err("readexactly size can not be less than zero"));
        }
        reader.check(py)?;
        if self.count == 0 { empty(py).map(Some) } else { Ok(None) }
    }

    fn look(&mut self, py: Python<'_>, reader: &Rc<Reader>) -> PyResult<Look> {
        let count = self.count.unsigned_abs();
        if reader.buffer.borrow().len() < count {
            fill(py, reader)?;
        }
        if reader.buffer.borrow().len() >= count {
            return reader.take(py, count).map(Look::Done);
        }
        if reader.eof.get() {
            return Err(incomplete(py, reader, Some(count)));
        }
        Ok(Look::Wait(Want::AtLeast(count)))
    }
}

/// `readuntil(separator)`.
pub(super) struct Until {
    /// What was given, until the first step.
    pub(super) given: Option<Owned>,
    search: MessageSearch,
}

impl Until {
    /// `given`: None for a newline.
    pub(super) fn new(given: Option<Owned>) -> Self {
        Self { given, search: MessageSearch::newline() }
    }
}

impl Way for Until {
    const NAME: &'static CStr = c"pelton._core.readuntil_coroutine";
    const QUALNAME: &'static CStr = c"StreamReader.readuntil";
    const FUNCTION: &'static str = "readuntil";

    fn class() -> &'static Class<Reading<Self>> {
        static CLASS: Class<Reading<Until>> = Class::new();
        &CLASS
    }

    fn begin(&mut self, py: Python<'_>, reader: &Rc<Reader>) -> PyResult<Option<Owned>> {
        if let Some(given) = self.given.take() {
            // SAFETY: a live object, held here.
            let given = unsafe { Bound::from_borrowed_ptr(py, given.as_ptr()) };
            self.search = MessageSearch::of(&given)?;
        }
        reader.check(py).map(|()| None)
    }

    fn look(&mut self, py: Python<'_>, reader: &Rc<Reader>) -> PyResult<Look> {
        match self.search.advance(py, reader)? {
            Message::Found(end) => reader.take(py, end).map(Look::Done),
            Message::Wait(want) => Ok(Look::Wait(want)),
            Message::End => Err(incomplete(py, reader, None)),
            Message::Overrun { message, consumed } => {
                let class = py.import("asyncio.exceptions")?.getattr("LimitOverrunError")?;
                Err(PyErr::from_value(class.call1((message, consumed))?))
            }
        }
    }

    fn traverse(&self, visitor: &mut Visitor) {
        if let Some(given) = &self.given {
            visitor.see(given);
        }
    }
}

/// `readline()`.
pub(super) struct Line(MessageSearch);

impl Line {
    pub(super) fn new() -> Self {
        Self(MessageSearch::newline())
    }
}

impl Way for Line {
    const NAME: &'static CStr = c"pelton._core.readline_coroutine";
    const QUALNAME: &'static CStr = c"StreamReader.readline";
    const FUNCTION: &'static str = "readuntil";

    fn class() -> &'static Class<Reading<Self>> {
        static CLASS: Class<Reading<Line>> = Class::new();
        &CLASS
    }

    fn begin(&mut self, py: Python<'_>, reader: &Rc<Reader>) -> PyResult<Option<Owned>> {
        reader.check(py).map(|()| None)
    }

    fn look(&mut self, py: Python<'_>, reader: &Rc<Reader>) -> PyResult<Look> {
        match self.0.advance(py, reader)? {
            Message::Found(end) => reader.take(py, end).map(Look::Done),
            Message::Wait(want) => Ok(Look::Wait(want)),
            Message::End => reader.take(py, usize::MAX).map(Look::Done),
            Message::Overrun { message, consumed } => {
                {
                    // A whole line that is too long goes; of another, all that came.
                    let mut buffer = reader.buffer.borrow_mut();
                    let whole = buffer.bytes().get(consumed) == Some(&b'\n');
                    let count = if whole { consumed + 1 } else { buffer.len() };
                    buffer.skip(count);
                }
                reader.resume_if_short(py)?;
                Err(PyValueError::new_err(message))
            }
        }
    }
}

/// `__anext__()`: lines until the end.
pub(super) struct Next(Line);

impl Next {
    pub(super) fn new() -> Self {
        Self(Line::new())
    }
}

impl Way for Next {
    const NAME: &'static CStr = c"pelton._core.anext_coroutine";
    const QUALNAME: &'static CStr = c"StreamReader.__anext__";
    const FUNCTION: &'static str = "readuntil";

    fn class() -> &'static Class<Reading<Self>> {
        static CLASS: Class<Reading<Next>> = Class::new();
        &CLASS
    }

    fn begin(&mut self, py: Python<'_>, reader: &Rc<Reader>) -> PyResult<Option<Owned>> {
        self.0.begin(py, reader)
    }

    fn look(&mut self, py: Python<'_>, reader: &Rc<Reader>) -> PyResult<Look> {
        let look = self.0.look(py, reader)?;
        if let Look::Done(line) = &look
            // SAFETY: lines are bytes objects.
            && unsafe { ffi::PyBytes_Size(line.as_ptr()) } == 0
        {
            return Err(PyStopAsyncIteration::new_err(()));
        }
        Ok(look)
    }
}

/// The connection, if its socket has bytes that were left there for a `read`.
fn left(reader: &Reader) -> Option<Rc<crate::transport::stream::Stream>> {
    reader.stream.borrow().as_ref().filter(|stream| stream.has_left()).cloned()
}

/// Takes in what was left in the socket. `false`: nothing was.
pub(super) fn fill(py: Python<'_>, reader: &Rc<Reader>) -> PyResult<bool> {
    match left(reader) {
        Some(stream) => stream.fill_reader(py, reader),
        None => Ok(false),
    }
}

fn empty(py: Python<'_>) -> PyResult<Owned> {
    // SAFETY: no bytes are read.
    unsafe { crate::aio::future::owned(py, ffi::PyBytes_FromStringAndSize(std::ptr::null(), 0)) }
}

/// `IncompleteReadError`, with what there is.
fn incomplete(py: Python<'_>, reader: &Rc<Reader>, expected: Option<usize>) -> PyErr {
    let made = (|| {
        let partial = reader.take(py, usize::MAX)?;
        // SAFETY: a live object, held here.
        let partial = unsafe { Bound::from_borrowed_ptr(py, partial.as_ptr()) };
        let class = py.import("asyncio.exceptions")?.getattr("IncompleteReadError")?;
        class.call1((partial, expected))
    })();
    made.map_or_else(|error| error, PyErr::from_value)
}
