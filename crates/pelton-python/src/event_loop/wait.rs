//! How the loop waits: in the kernel with the GIL released, and no longer than its timers allow.

use std::io;
use std::time::Duration;

use pelton_reactor::monotonic_ns;
use pyo3::intern;
use pyo3::prelude::*;

use super::core::{LoopCore, Ready, Timer};
use super::stats::{UNOBSERVED, count};

/// While callbacks are ready, the kernel is asked for events at least this often.
const POLL_EVERY_NS: u64 = 50_000;
/// A wait with no timer in sight ends after this long, for the clock's sake.
const WAIT_MAX_NS: u64 = 24 * 3600 * 1_000_000_000;

impl LoopCore {
    /// Asks the kernel for events: not at all while there is enough to do, without waiting while
    /// there is something, and else with the GIL released until the next timer.
    pub(super) fn wait(&self, py: Python<'_>) -> PyResult<()> {
        // Also in the midst of running: a callback may have forked.
        self.process.check().map_err(|error| super::os_error(&error))?;
        let before = self.turn_ns.get();
        let now = monotonic_ns();
        self.turn_ns.set(now);
        self.stats.turn(now.saturating_sub(before));
        let busy = !self.ready.borrow().is_empty()
            || !self.unread.borrow().is_empty()
            || !self.dirty.borrow().is_empty()
            || !self.events.borrow().is_empty()
            || self.stopping.get();
        let timeout_ns = if busy { 0 } else { self.until_next_timer(self.timer_clock(py, now)?) };
        if timeout_ns == 0 {
            if now.saturating_sub(self.polled_ns.get()) < POLL_EVERY_NS && busy {
                return Ok(());
            }
            self.polled_ns.set(now);
            return self.poll(py, Duration::ZERO);
        }
        self.parked.set(true);
        if !UNOBSERVED {
            self.pulse.rest();
        }
        let result = self.poll(py, Duration::from_nanos(timeout_ns));
        self.unparked();
        if !UNOBSERVED {
            self.begin_step();
            self.pulse.resume();
        }
        let after = monotonic_ns();
        self.turn_ns.set(after);
        self.polled_ns.set(after);
        count(&self.stats.parked_ns, after - now);
        result
    }

    /// Letters become ready work. One that comes later ends the next wait at once.
    pub(super) fn collect_mail(&self) {
        if self.mailbox.bell().answer() {
            let letters = self.mailbox.take();
            self.ready.borrow_mut().extend(letters.into_iter().map(|letter| Ready::Native(letter)));
        }
    }

    /// What timers are compared with: `now`, unless the loop's `time` was replaced.
    #[inline]
    pub(super) fn timer_clock(&self, py: Python<'_>, now: u64) -> PyResult<u64> {
        if self.own_clock.get() { self.ask_clock(py) } else { Ok(now) }
    }

    #[cold]
    fn ask_clock(&self, py: Python<'_>) -> PyResult<u64> {
        let seconds: f64 = self.object(py)?.call_method0(intern!(py, "time"))?.extract()?;
        Ok((seconds * 1e9) as u64)
    }

    /// Zero if one is due; `WAIT_MAX_NS` if there is none.
    fn until_next_timer(&self, now: u64) -> u64 {
        loop {
            let mut timers = self.timers.borrow_mut();
            let Some((deadline, timer)) = timers.peek() else {
                return WAIT_MAX_NS;
            };
            if !timer.is_cancelled() {
                return deadline.saturating_sub(now).min(WAIT_MAX_NS);
            }
            timers.forget_cancelled();
            let cancelled = timers.pop();
            drop(timers);
            if let Some((_, Timer::Handle(handle))) = &cancelled {
                handle.set_scheduled(false);
            }
        }
    }

    fn poll(&self, py: Python<'_>, timeout: Duration) -> PyResult<()> {
        count(&self.stats.polls, 1);
        let mut poller = self.poller.borrow_mut();
        let mut events = std::mem::take(&mut *self.events.borrow_mut());
        let before = events.len();
        let result = if timeout.is_zero() {
            poller.wait(Some(timeout), &mut events)
        } else {
            let (poller, events, bell) = (&mut *poller, &mut events, self.mailbox.bell());
            let expects = self.calls_under_way.get() > 0;
            py.detach(move || {
                // Only now may others take it that the GIL is free.
                let heard = bell.listen()
                    && !(expects && super::patience::LOOP.watch(|| bell.is_rung()))
                    && bell.sleep();
                poller.wait(Some(if heard { timeout } else { Duration::ZERO }), events)
            })
        };
        drop(poller);
        count(&self.stats.events, (events.len() - before) as u64);
        *self.events.borrow_mut() = events;
        match result {
            Ok(()) => Ok(()),
            // A signal: its Python handler runs now, and may raise.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => py.check_signals(),
            Err(error) => Err(super::os_error(&error)),
        }
    }
}
