//! The loop's state, and how work gets into it: ready queue, timers, watched descriptors.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::RawFd;
use std::ptr::null_mut;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pelton_reactor::{Interest, Poller, Process, Readiness, Registry, TimerHeap, monotonic_ns};
use pyo3::ffi::{PyObject, PyThreadState};
use pyo3::prelude::*;

use super::alarm::Alarm;
use super::executor::ThreadPool;
use super::handle::HandleRef;
use super::mailbox::Mailbox;
use super::native::Work;
use super::sources::{Source, Sources};
use super::stats::Stats;
use super::watch::Watch;
use crate::observe::{CallbackTimes, Pulse};
use crate::transport::spare_bytes::SpareBytes;
use crate::transport::stream::Stream;
use crate::transport::tls::Warm;

/// Bytes that one read takes at most, in the buffer all connections of a loop share.
pub(crate) const READ_MAX: usize = 256 * 1024;

/// Callbacks in the ready queue from which on other threads that add to it are slowed down.
const AHEAD_MAX: usize = 8192;
/// How long such a thread leaves the GIL to the loop, at least.
const SENDER_PAUSE: Duration = Duration::from_micros(50);

/// Something to run in the next turn.
pub(crate) enum Ready {
    /// A Python callback.
    Handle(HandleRef),
    /// Work made in Rust.
    Native(Work),
    /// A moment that an object waited for has come.
    Alarm(Alarm),
}

/// Something to run later.
pub(super) enum Timer {
    Handle(HandleRef),
    Native(Rc<Deferred>),
    Alarm(Alarm),
}

/// Work for later; none is left once it ran or was cancelled.
pub(super) type Deferred = RefCell<Option<Work>>;

impl Timer {
    pub(super) fn is_cancelled(&self) -> bool {
        match self {
            Self::Handle(handle) => handle.is_cancelled(),
            Self::Native(work) => work.borrow().is_none(),
            Self::Alarm(alarm) => !alarm.is_set(),
        }
    }
}

/// All of a loop's state. The GIL guards it; no borrow of a part is held while Python runs, and
/// dropping a Python object is running Python.
pub(crate) struct LoopCore {
    pub(super) ready: RefCell<VecDeque<Ready>>,
    pub(super) timers: RefCell<TimerHeap<Timer>>,
    pub(super) sources: RefCell<Sources>,
    /// Descriptors watched by `add_reader` and `add_writer`.
    pub(super) watches: RefCell<HashMap<RawFd, Rc<Watch>>>,
    /// Descriptors of connections: theirs alone, so not to be watched by others.
    pub(crate) stream_fds: RefCell<HashSet<RawFd>>,
    /// Watches whose event was given, to be looked at again before the next wait: edge-triggered
    /// events made level-triggered.
    pub(super) rearm: RefCell<Vec<Rc<Watch>>>,
    /// Streams with bytes queued in this turn.
    pub(super) dirty: RefCell<Vec<Rc<Stream>>>,
    /// What may have more to read than one turn gave it.
    pub(super) unread: RefCell<Vec<Source>>,
    /// Events taken from the kernel and not yet dispatched.
    pub(super) events: RefCell<VecDeque<Readiness>>,
    pub(super) poller: RefCell<Poller>,
    pub(crate) registry: Registry,
    /// The process that may use all this.
    pub(super) process: Process,
    /// What threads without the GIL send.
    pub(super) mailbox: Mailbox,
    /// The loop's thread waits (or is about to) with the GIL released.
    pub(super) parked: Cell<bool>,
    woken: Cell<bool>,
    /// `time` is not the one of `BaseLoop`.
    pub(super) own_clock: Cell<bool>,
    /// Calls that the default executor has not answered.
    pub(super) calls_under_way: Cell<usize>,
    /// The default executor, if it is the native one.
    pub(super) executor: RefCell<Option<Py<ThreadPool>>>,
    pub(super) stopping: Cell<bool>,
    pub(super) running: Cell<bool>,
    /// The thread that runs the loop, or ran it last.
    pub(super) thread: Cell<*mut PyThreadState>,
    pub(super) closed: Cell<bool>,
    pub(super) debug: Cell<bool>,
    /// A task factory is set.
    pub(super) task_factory: Cell<bool>,
    /// A Python callback runs, so a task may be current.
    pub(super) in_callback: Cell<bool>,
    /// `Some` while `spawn_inline` waits for the task's first `call_soon`.
    pub(super) capture: RefCell<Option<super::inline::Capture>>,
    pub(super) turn_ns: Cell<u64>,
    pub(super) polled_ns: Cell<u64>,
    /// The Python object this is the core of; null once that has died.
    pub(super) object: Cell<*mut PyObject>,
    buffer: Cell<Option<Box<[u8]>>>,
    pub(crate) spare_bytes: SpareBytes,
    pub(crate) warm_tls: Warm,
    pub(super) stats: Stats,
    /// Callbacks and events begun, and what other threads see of that.
    pub(super) step: Cell<u64>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) times: CallbackTimes,
}

impl LoopCore {
    pub(super) fn new() -> io::Result<Self> {
        let poller = Poller::new()?;
        let (registry, waker) = (poller.registry()?, poller.waker()?);
        let mailbox = Mailbox::new(waker);
        let now = monotonic_ns();
        Ok(Self {
            ready: RefCell::default(),
            timers: RefCell::default(),
            sources: RefCell::default(),
            watches: RefCell::default(),
            stream_fds: RefCell::default(),
            rearm: RefCell::default(),
            dirty: RefCell::default(),
            unread: RefCell::default(),
            events: RefCell::default(),
            poller: RefCell::new(poller),
            registry,
            process: Process::current(),
            mailbox,
            parked: Cell::new(false),
            woken: Cell::new(false),
            own_clock: Cell::new(false),
            calls_under_way: Cell::new(0),
            executor: RefCell::new(None),
            stopping: Cell::new(false),
            running: Cell::new(false),
            thread: Cell::new(null_mut()),
            closed: Cell::new(false),
            debug: Cell::new(false),
            task_factory: Cell::new(false),
            in_callback: Cell::new(false),
            capture: RefCell::new(None),
            turn_ns: Cell::new(now),
            polled_ns: Cell::new(0),
            object: Cell::new(null_mut()),
            buffer: Cell::new(None),
            spare_bytes: SpareBytes::default(),
            warm_tls: Warm::default(),
            stats: Stats::default(),
            step: Cell::new(0),
            pulse: Arc::default(),
            times: CallbackTimes::default(),
        })
    }

    /// The Python loop.
    pub(crate) fn object<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let object = self.object.get();
        if object.is_null() {
            return Err(pyo3::exceptions::PyRuntimeError::new_err("the event loop is gone"));
        }
        // SAFETY: `BaseLoop` clears the pointer when it dies, so it is live; the GIL is held.
        Ok(unsafe { Bound::from_borrowed_ptr(py, object) })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub(crate) fn is_debug(&self) -> bool {
        self.debug.get()
    }

    /// Counts the turns: it differs between two of them.
    pub(crate) fn turn_number(&self) -> u64 {
        self.stats.turns.get()
    }

    /// Queues `item` for the next turn.
    pub(crate) fn push_ready(&self, item: Ready) {
        self.ready.borrow_mut().push_back(item);
        self.wake_if_parked();
    }

    /// `call_soon(callback, *args, context=context)`, without asyncio's checks.
    ///
    /// # Safety
    /// Live objects (`context` may be null), of which `event_loop` is this loop; the GIL is held.
    pub(crate) unsafe fn call_soon(
        &self,
        event_loop: *mut PyObject,
        callback: *mut PyObject,
        args: &[*mut PyObject],
        context: *mut PyObject,
    ) -> PyResult<()> {
        // SAFETY: the caller's.
        let handle = unsafe { HandleRef::new(event_loop, callback, args, context, None)? };
        self.push_ready(Ready::Handle(handle));
        Ok(())
    }

    /// A thread that has run far ahead of the loop lets it have the GIL for a moment. Otherwise it
    /// would keep the GIL longer than the loop needs for what is queued, each turn would take
    /// longer than the one before, and timers and sockets would wait behind it all.
    #[inline]
    pub(super) fn give_way(&self, py: Python<'_>) {
        if self.ready.borrow().len() > AHEAD_MAX {
            self.pause_sender(py);
        }
    }

    #[cold]
    fn pause_sender(&self, py: Python<'_>) {
        // SAFETY: the GIL is held; the pointer is only compared.
        let thread = unsafe { pyo3::ffi::PyThreadState_Get() };
        if self.running.get() && thread != self.thread.get() {
            // However long the loop may be busy: the sender is slowed down, and never stopped.
            py.detach(|| std::thread::sleep(SENDER_PAUSE));
        }
    }

    /// Ends the wait that the loop's thread is in, if it is in one. Whoever calls this holds the
    /// GIL and has put something where the loop looks before it waits: with the GIL as the lock,
    /// no wakeup can be lost, and a turn gets one at most.
    pub(super) fn wake_if_parked(&self) {
        if self.parked.get() && !self.woken.replace(true) {
            self.mailbox.ring();
        }
    }

    pub(super) fn unparked(&self) {
        self.parked.set(false);
        self.woken.set(false);
    }

    pub(super) fn push_timer(&self, deadline_ns: u64, timer: Timer) {
        self.timers.borrow_mut().push(deadline_ns, timer);
        self.wake_if_parked();
    }

    /// A timer in the heap was cancelled.
    pub(super) fn timer_cancelled(&self) {
        // A `let` of its own: the borrow ends before the swept timers are dropped.
        let swept = self.timers.borrow_mut().note_cancelled(Timer::is_cancelled);
        for timer in &swept {
            if let Timer::Handle(handle) = timer {
                handle.set_scheduled(false);
            }
        }
    }

    /// Watches a descriptor on behalf of `source`, and gives the key to its events.
    pub(crate) fn add_source(
        &self,
        fd: RawFd,
        source: Source,
        interest: Interest,
    ) -> io::Result<usize> {
        self.retire_watch(fd);
        let key = self.sources.borrow_mut().insert(fd, source);
        if let Err(error) = self.registry.register(fd, key, interest) {
            let removed = self.sources.borrow_mut().remove(key);
            drop(removed);
            return Err(error);
        }
        Ok(key)
    }

    /// Forgets a source. The descriptor must still be open.
    pub(crate) fn remove_source(&self, fd: RawFd, key: usize) {
        let removed = self.sources.borrow_mut().remove(key);
        if removed.is_some() {
            // It fails when someone else closed the descriptor: then the kernel has forgotten it.
            let _ = self.registry.deregister(fd);
        }
    }

    /// A stream queued bytes: flush it before the next wait.
    pub(crate) fn mark_dirty(&self, stream: Rc<Stream>) {
        self.dirty.borrow_mut().push(stream);
        self.wake_if_parked();
    }

    /// There may be more to read.
    pub(crate) fn mark_unread(&self, source: Source) {
        self.unread.borrow_mut().push(source);
        self.wake_if_parked();
    }

    /// The shared read buffer; give it back with `return_buffer`.
    pub(crate) fn take_buffer(&self) -> Box<[u8]> {
        self.buffer.take().unwrap_or_else(|| vec![0; READ_MAX].into_boxed_slice())
    }

    /// Ends what `take_buffer` began.
    pub(crate) fn return_buffer(&self, buffer: Box<[u8]>) {
        self.buffer.set(Some(buffer));
    }

    /// Drops everything that is queued or watched; later calls are refused.
    pub(super) fn close(&self, py: Python<'_>) {
        self.closed.set(true);
        let ready = std::mem::take(&mut *self.ready.borrow_mut());
        let timers = self.timers.borrow_mut().take_all();
        let watches = std::mem::take(&mut *self.watches.borrow_mut());
        let rearm = std::mem::take(&mut *self.rearm.borrow_mut());
        let dirty = std::mem::take(&mut *self.dirty.borrow_mut());
        let unread = std::mem::take(&mut *self.unread.borrow_mut());
        let letters = self.mailbox.close();
        let executor = self.executor.take();
        let sources = std::mem::take(&mut *self.sources.borrow_mut());
        self.events.borrow_mut().clear();
        for fd in sources.descriptors() {
            let _ = self.registry.deregister(fd); // closed already, perhaps
        }
        for timer in &timers {
            if let Timer::Handle(handle) = timer {
                handle.set_scheduled(false);
            }
        }
        for source in sources.iter() {
            match source {
                Source::Stream(stream) => stream.abandon(py),
                Source::Datagrams(datagrams) => datagrams.abandon(py),
                Source::Listener(_) | Source::Watch(_) => {}
            }
        }
        // All borrows are over: what these drops call may come back here.
        drop((ready, timers, watches, rearm, dirty, unread, letters, executor, sources));
    }
}
