//! One turn of the loop: wait (`wait`), dispatch events, run due timers and the ready queue, flush.

use pelton_reactor::{Readiness, monotonic_ns};
use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;

use super::core::{LoopCore, Ready, Timer};
use super::handle::HandleRef;
use super::sources::Source;
use super::stats::{UNOBSERVED, count};
use crate::observe::watchdog;

/// A deadline this close counts as reached: the resolution of `loop.time()` as a float.
const CLOCK_RESOLUTION_NS: u64 = 1;

impl LoopCore {
    /// Runs turns until `stopping`. An error leaves what was not run queued for the next call.
    pub(super) fn run_until_stopped(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_closed() {
            return Err(PyRuntimeError::new_err("Event loop is closed"));
        }
        if self.running.replace(true) {
            return Err(PyRuntimeError::new_err("This event loop is already running"));
        }
        // SAFETY: the GIL is held.
        self.thread.set(unsafe { pyo3::ffi::PyThreadState_Get() });
        let started = monotonic_ns();
        self.turn_ns.set(started);
        *self.stats.started_ns.borrow_mut() = Some(started);
        if !UNOBSERVED {
            watchdog::enter(py, &self.pulse, self.object.get() as usize);
            self.pulse.resume();
        }
        let result = loop {
            if let Err(error) = self.turn(py) {
                break Err(error);
            }
            if self.stopping.get() {
                break Ok(());
            }
        };
        self.stopping.set(false);
        self.running.set(false);
        self.track_queued();
        self.in_callback.set(false);
        self.unparked();
        if !UNOBSERVED {
            self.pulse.rest();
            watchdog::leave(&self.pulse);
        }
        *self.stats.started_ns.borrow_mut() = None;
        count(&self.stats.running_ns, monotonic_ns() - started);
        result
    }

    /// A loop that does not run may be garbage, with all that it holds.
    fn track_queued(&self) {
        for item in self.ready.borrow().iter() {
            if let Ready::Handle(handle) = item {
                handle.track();
            }
        }
        for timer in self.timers.borrow().iter() {
            if let Timer::Handle(handle) = timer {
                handle.track();
            }
        }
    }

    fn turn(&self, py: Python<'_>) -> PyResult<()> {
        self.rearm_watches();
        self.wait(py)?;
        self.collect_mail();
        self.dispatch(py)?;
        self.queue_due_timers(py)?;
        let ready = self.run_ready(py);
        // Also after an error: what was written before it must leave.
        self.flush_dirty(py)?;
        ready
    }

    fn dispatch(&self, py: Python<'_>) -> PyResult<()> {
        let unread = std::mem::take(&mut *self.unread.borrow_mut());
        let mut unread = unread.into_iter();
        while let Some(source) = unread.next() {
            let read = match source {
                Source::Stream(stream) => stream.read_ready(py),
                Source::Datagrams(datagrams) => datagrams.read_ready(py),
                Source::Listener(_) | Source::Watch(_) => Ok(()),
            };
            if let Err(error) = read {
                self.unread.borrow_mut().extend(unread);
                return Err(error);
            }
        }
        loop {
            let Some(event) = self.events.borrow_mut().pop_front() else {
                return Ok(());
            };
            self.dispatch_event(py, event)?;
        }
    }

    fn dispatch_event(&self, py: Python<'_>, event: Readiness) -> PyResult<()> {
        let source = self.sources.borrow().get(event.key);
        let timed = self.begin_step();
        match source {
            Some(Source::Stream(stream)) if self.is_debug() => {
                let start = monotonic_ns();
                let result = stream.on_event(py, event);
                let log = |py: Python<'_>, seconds| stream.was_slow(py, seconds);
                self.log_if_slow(py, start, monotonic_ns(), log)?;
                result
            }
            Some(Source::Stream(stream)) if timed => {
                let which = stream.entry_of_times(py, &self.times);
                self.timed(which, || stream.on_event(py, event))
            }
            Some(Source::Stream(stream)) => stream.on_event(py, event),
            Some(Source::Listener(listener)) => listener.accept_ready(py),
            Some(Source::Datagrams(datagrams)) => datagrams.on_event(py, event),
            Some(Source::Watch(watch)) => {
                self.dispatch_watch(&watch, event);
                Ok(())
            }
            None => Ok(()), // removed while the event was on its way
        }
    }

    fn queue_due_timers(&self, py: Python<'_>) -> PyResult<()> {
        if self.timers.borrow().is_empty() {
            return Ok(());
        }
        let now = self.timer_clock(py, self.turn_ns.get())?;
        let end = now.saturating_add(CLOCK_RESOLUTION_NS);
        loop {
            let mut timers = self.timers.borrow_mut();
            let Some((deadline, timer)) = timers.peek() else {
                return Ok(());
            };
            if timer.is_cancelled() {
                timers.forget_cancelled();
            } else if deadline > end {
                return Ok(());
            } else {
                self.stats.lag(now.saturating_sub(deadline));
            }
            let due = timers.pop();
            drop(timers);
            match due {
                Some((_, Timer::Handle(handle))) => {
                    handle.set_scheduled(false);
                    if !handle.is_cancelled() {
                        self.ready.borrow_mut().push_back(Ready::Handle(handle));
                    }
                }
                Some((_, Timer::Native(deferred))) => {
                    let work = deferred.borrow_mut().take();
                    self.ready.borrow_mut().extend(work.map(Ready::Native));
                }
                Some((_, Timer::Alarm(alarm))) => {
                    if alarm.is_set() {
                        self.ready.borrow_mut().push_back(Ready::Alarm(alarm));
                    }
                }
                None => return Ok(()),
            }
        }
    }

    /// Runs what is ready now; what that makes ready waits for the next turn.
    fn run_ready(&self, py: Python<'_>) -> PyResult<()> {
        let batch = self.ready.borrow().len();
        if !UNOBSERVED {
            self.stats.ready_max.set(self.stats.ready_max.get().max(batch));
        }
        for _ in 0..batch {
            // A `let` of its own: the borrow ends before the item runs.
            let item = self.ready.borrow_mut().pop_front();
            match item {
                Some(Ready::Handle(handle)) => {
                    if !handle.is_cancelled() {
                        count(&self.stats.callbacks, 1);
                        if self.begin_step() {
                            let which = self.times.of_callback(&handle.callback(py));
                            self.timed(which, || self.run_handle(py, &handle))?;
                        } else {
                            self.run_handle(py, &handle)?;
                        }
                    }
                }
                Some(Ready::Native(work)) => {
                    count(&self.stats.callbacks, 1);
                    self.begin_step();
                    if let Err(error) = work(py) {
                        self.report(py, error, "Exception in a native callback", None)?;
                    }
                }
                Some(Ready::Alarm(alarm)) => {
                    if alarm.is_set() {
                        count(&self.stats.callbacks, 1);
                        if let Err(error) = alarm.ring(py) {
                            self.report(py, error, "Exception in a timeout", None)?;
                        }
                    }
                }
                None => break, // the loop was closed by a callback
            }
        }
        Ok(())
    }

    /// Shows the watchdog that something new begins. True: it is to be timed.
    #[inline]
    pub(super) fn begin_step(&self) -> bool {
        if UNOBSERVED {
            return false;
        }
        let step = self.step.get() + 1;
        self.step.set(step);
        self.pulse.begin(step);
        self.times.is_due(step)
    }

    #[cold]
    fn timed(&self, which: usize, work: impl FnOnce() -> PyResult<()>) -> PyResult<()> {
        let step = self.step.get();
        let started = monotonic_ns();
        let result = work();
        self.times.add(step, which, monotonic_ns() - started);
        result
    }

    fn flush_dirty(&self, py: Python<'_>) -> PyResult<()> {
        if self.dirty.borrow().is_empty() {
            return Ok(());
        }
        let dirty = std::mem::take(&mut *self.dirty.borrow_mut());
        let mut result = Ok(());
        for stream in dirty {
            // All of them, whatever one protocol raised.
            result = result.and(stream.flush(py));
        }
        result
    }

    /// Runs one handle; its error is reported, unless it must end the loop.
    pub(super) fn run_handle(&self, py: Python<'_>, handle: &HandleRef) -> PyResult<()> {
        let outer = self.in_callback.replace(true);
        let result = if self.is_debug() { self.run_timed(py, handle) } else { handle.run(py) };
        self.in_callback.set(outer);
        let Err(error) = result else {
            return Ok(());
        };
        if must_propagate(py, &error) {
            return Err(error);
        }
        let event_loop = self.object(py)?;
        let object = handle.as_py().bind(py);
        event_loop.call_method1("_callback_failed", (object, error.into_value(py)))?;
        Ok(())
    }

    /// Debug mode: the handle is known while it runs, and slow ones are logged.
    fn run_timed(&self, py: Python<'_>, handle: &HandleRef) -> PyResult<()> {
        let event_loop = self.object(py)?;
        let name = intern!(py, "_current_handle");
        event_loop.setattr(name, handle.as_py())?;
        let start = monotonic_ns();
        let result = handle.run(py);
        let ran_until = monotonic_ns();
        event_loop.setattr(name, py.None())?;
        self.log_if_slow(py, start, ran_until, |_, seconds| {
            event_loop.call_method1("_callback_was_slow", (handle.as_py(), seconds)).map(drop)
        })?;
        result
    }

    /// Debug mode: has `log` write what took longer than `slow_callback_duration`.
    fn log_if_slow(
        &self,
        py: Python<'_>,
        start: u64,
        end: u64,
        log: impl FnOnce(Python<'_>, f64) -> PyResult<()>,
    ) -> PyResult<()> {
        let seconds = end.saturating_sub(start) as f64 / 1e9;
        let limit: f64 = self.object(py)?.getattr("slow_callback_duration")?.extract()?;
        if seconds >= limit { log(py, seconds) } else { Ok(()) }
    }

    /// Gives an error to the loop's exception handler, unless it must end the loop.
    pub(crate) fn report(
        &self,
        py: Python<'_>,
        error: PyErr,
        message: &str,
        details: Option<&Bound<'_, pyo3::types::PyDict>>,
    ) -> PyResult<()> {
        if must_propagate(py, &error) {
            return Err(error);
        }
        let context = match details {
            Some(details) => details.copy()?,
            None => pyo3::types::PyDict::new(py),
        };
        context.set_item("message", message)?;
        context.set_item("exception", error.into_value(py))?;
        self.object(py)?.call_method1("call_exception_handler", (context,))?;
        Ok(())
    }
}

/// `KeyboardInterrupt` and `SystemExit` leave `run_forever`, as with asyncio.
pub(crate) fn must_propagate(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyKeyboardInterrupt>(py) || error.is_instance_of::<PySystemExit>(py)
}
