//! The watchdog: a thread that sees when a callback holds a loop past the limit.
//!
//! It needs no GIL, so that it also sees what happens while C code holds it. While every loop is
//! idle it sleeps; a loop that gets something to do wakes it, once a period at most.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use pelton_reactor::monotonic_ns;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::capture::{self, Case};
use super::pulse::Pulse;
use super::stall;

/// The limit where nobody set one, in nanoseconds.
const LIMIT_DEFAULT_NS: u64 = 200_000_000;
const LIMIT_VARIABLE: &str = "PELTON_STALL_LIMIT";
/// The loops are looked at this many times in the time of the limit...
const LOOKS: u64 = 4;
/// ...but not more often, nor more rarely, than this.
const PERIOD_MIN_NS: u64 = 1_000_000;
const PERIOD_MAX_NS: u64 = 100_000_000;

/// A loop that runs.
struct Watched {
    pulse: Arc<Pulse>,
    /// The Python object's address.
    event_loop: usize,
    thread: libc::pthread_t,
    /// The step that was under way at the last look, and since when it has been seen.
    step: u64,
    since_ns: u64,
    cpu_ns: u64,
    /// The stall that this step has become.
    stall: Option<u64>,
}

#[derive(Default)]
struct State {
    watched: Vec<Watched>,
    /// `None`: not yet read from the environment.
    limit_ns: Option<u64>,
    thread: Option<JoinHandle<()>>,
    stopping: bool,
    stalls: u64,
}

static STATE: Mutex<State> = Mutex::new(State {
    watched: Vec::new(),
    limit_ns: None,
    thread: None,
    stopping: false,
    stalls: 0,
});
static CHANGED: Condvar = Condvar::new();
/// Nobody watches until [`wake`] is called.
static ASLEEP: AtomicBool = AtomicBool::new(false);

fn lock() -> MutexGuard<'static, State> {
    // Nothing that runs under this lock leaves the state half changed.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A loop begins to run in this thread. `event_loop` stays alive until [`leave`].
pub(crate) fn enter(py: Python<'_>, pulse: &Arc<Pulse>, event_loop: usize) {
    let mut state = lock();
    if state.limit() != 0 && state.thread.is_none() {
        drop(state);
        capture::prepare(py);
        state = lock();
    }
    // SAFETY: no arguments, no failure.
    let thread = unsafe { libc::pthread_self() };
    state.watched.push(Watched {
        pulse: Arc::clone(pulse),
        event_loop,
        thread,
        step: 0,
        since_ns: monotonic_ns(),
        cpu_ns: 0,
        stall: None,
    });
    state.start();
}

/// The loop of `pulse` no longer runs.
pub(crate) fn leave(pulse: &Arc<Pulse>) {
    let mut state = lock();
    if let Some(at) = state.watched.iter().position(|loop_| Arc::ptr_eq(&loop_.pulse, pulse)) {
        state.watched.swap_remove(at).end_stall(monotonic_ns());
    }
}

/// Whether a loop that gets something to do must call [`wake`].
#[inline]
pub(super) fn sleeps() -> bool {
    ASLEEP.load(Ordering::SeqCst)
}

/// A loop is no longer idle.
#[cold]
pub(super) fn wake() {
    lock().start();
}

/// Calls `found` with the loop that `pulse` belongs to, if it runs still.
pub(super) fn with_loop<T>(
    pulse: &Arc<Pulse>,
    found: impl FnOnce(usize, libc::pthread_t) -> T,
) -> Option<T> {
    let state = lock();
    let watched = state.watched.iter().find(|loop_| Arc::ptr_eq(&loop_.pulse, pulse))?;
    Some(found(watched.event_loop, watched.thread))
}

impl State {
    /// In nanoseconds; 0: nobody watches.
    fn limit(&mut self) -> u64 {
        *self.limit_ns.get_or_insert_with(|| {
            let Ok(text) = std::env::var(LIMIT_VARIABLE) else { return LIMIT_DEFAULT_NS };
            // A value that makes no sense must not end the program; `stall_limit()` shows what
            // was taken.
            text.parse().ok().and_then(nanoseconds).unwrap_or(LIMIT_DEFAULT_NS)
        })
    }

    /// Sees to it that the thread looks at the loops.
    fn start(&mut self) {
        ASLEEP.store(false, Ordering::SeqCst);
        if self.limit() == 0 {
            return;
        }
        if self.thread.is_none() {
            let thread = Builder::new().name("pelton-watchdog".into()).spawn(watch);
            // Without a thread (the system's limit, say) the program goes on, unwatched.
            self.thread = thread.ok();
        }
        CHANGED.notify_all();
    }

    /// One look at every loop: whether any is busy, and the first that has just stalled.
    fn look(&mut self, now: u64, limit: u64) -> (bool, Option<Case>) {
        let mut busy = false;
        let mut case = None;
        for watched in &mut self.watched {
            if watched.pulse.is_idle() {
                watched.end_stall(now);
                watched.step = 0;
                continue;
            }
            busy = true;
            if watched.is_held(now, limit) && case.is_none() {
                self.stalls += 1;
                watched.stall = Some(self.stalls);
                case = Some(Case {
                    id: self.stalls,
                    pulse: Arc::clone(&watched.pulse),
                    step: watched.step,
                    thread: watched.thread,
                    lasted_ns: now - watched.since_ns,
                    cpu_ns: cpu_time(watched.thread).saturating_sub(watched.cpu_ns),
                    limit_ns: limit,
                });
            }
        }
        (busy, case)
    }
}

impl Watched {
    /// Whether the step under way has just gone past the limit.
    fn is_held(&mut self, now: u64, limit: u64) -> bool {
        let step = self.pulse.step();
        if step != self.step {
            self.end_stall(now);
            self.step = step;
            self.since_ns = now;
            self.cpu_ns = cpu_time(self.thread);
            return false;
        }
        if let Some(id) = self.stall {
            let (lasted, cpu) = self.spent(now);
            stall::update(id, |stall| (stall.duration, stall.cpu) = (lasted, cpu));
            return false;
        }
        now - self.since_ns >= limit
    }

    fn end_stall(&mut self, now: u64) {
        if let Some(id) = self.stall.take() {
            let (lasted, cpu) = self.spent(now);
            stall::update(id, |stall| {
                (stall.duration, stall.cpu) = (lasted, cpu);
                stall.ongoing = false;
            });
        }
    }

    /// Seconds since the step under way was first seen, and processor time in them.
    fn spent(&self, now: u64) -> (f64, f64) {
        let cpu = cpu_time(self.thread).saturating_sub(self.cpu_ns);
        ((now - self.since_ns) as f64 / 1e9, cpu as f64 / 1e9)
    }
}

/// What the thread does.
fn watch() {
    let mut state = lock();
    while !state.stopping {
        let limit = state.limit();
        let (busy, case) = state.look(monotonic_ns(), limit);
        if let Some(case) = case {
            drop(state);
            capture::capture(case);
            state = lock();
        } else if busy {
            let period = (limit / LOOKS).clamp(PERIOD_MIN_NS, PERIOD_MAX_NS);
            let waited = CHANGED.wait_timeout(state, Duration::from_nanos(period));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        } else {
            ASLEEP.store(true, Ordering::SeqCst);
            // See `Pulse::resume` for the order of these two.
            if state.watched.iter().all(|watched| watched.pulse.is_idle()) {
                state = CHANGED.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            ASLEEP.store(false, Ordering::SeqCst);
        }
    }
}

/// Processor time of a thread that lives, in nanoseconds; 0 where the system does not tell.
#[cfg(target_os = "linux")]
fn cpu_time(thread: libc::pthread_t) -> u64 {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the thread is in `run_forever` while its loop is registered, under the state's lock;
    // both calls write to what they are given.
    unsafe {
        if libc::pthread_getcpuclockid(thread, &raw mut clock) != 0
            || libc::clock_gettime(clock, &raw mut time) != 0
        {
            return 0;
        }
    }
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(not(target_os = "linux"))]
fn cpu_time(_thread: libc::pthread_t) -> u64 {
    0
}

/// Seconds as nanoseconds; `None` for what is no limit.
fn nanoseconds(seconds: f64) -> Option<u64> {
    (seconds.is_finite() && seconds >= 0.0).then_some((seconds * 1e9) as u64)
}

/// The limit in seconds, or None when nobody watches.
#[pyfunction]
pub(super) fn stall_limit() -> Option<f64> {
    let limit = lock().limit();
    (limit != 0).then_some(limit as f64 / 1e9)
}

/// Sets the limit; None ends the watch.
#[pyfunction]
pub(super) fn set_stall_limit(py: Python<'_>, seconds: Option<f64>) -> PyResult<()> {
    let limit = match seconds.map(nanoseconds) {
        None => 0,
        Some(Some(limit)) if limit >= PERIOD_MIN_NS => limit,
        Some(_) => {
            return Err(PyValueError::new_err(
                "the stall limit is in seconds, at least 0.001, or None for no watch",
            ));
        }
    };
    if limit == 0 {
        pause_watchdog(py);
    } else {
        capture::prepare(py);
    }
    let mut state = lock();
    state.limit_ns = Some(limit);
    if limit != 0 && !state.watched.is_empty() {
        state.start();
    }
    Ok(())
}

/// Ends the thread, for the time of a `fork` or for good; a busy loop starts it again.
#[pyfunction]
pub(super) fn pause_watchdog(py: Python<'_>) {
    let thread = {
        let mut state = lock();
        state.stopping = true;
        CHANGED.notify_all();
        state.thread.take()
    };
    if let Some(thread) = thread {
        // It never waits for the GIL. Its panic would have been printed; there is nothing to add.
        let _ = thread.join();
    }
    // Reporters do wait for it.
    py.detach(capture::join_reporters);
    let mut state = lock();
    state.stopping = false;
    ASLEEP.store(state.limit() != 0, Ordering::SeqCst);
}

/// After a `fork`, in the child: the parent's loops do not run here.
#[pyfunction]
pub(super) fn forget_watched() {
    lock().watched.clear();
    capture::forget();
}
