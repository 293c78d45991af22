//! How the stack of a held loop is had: by a thread that takes the GIL, or, where it cannot be had
//! in time, by a signal whose handler writes the stack from inside.

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pelton_reactor::monotonic_ns;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::pulse::Pulse;
use super::stall::{self, Frame, Stall};
use super::watchdog;

/// How long the GIL is waited for before the signal is sent. A thread that runs Python code gives
/// it away within 5 ms.
const GIL_PATIENCE: Duration = Duration::from_millis(50);
/// How long the handler may take to begin, in milliseconds.
const DUMP_PATIENCE_MS: i32 = 100;
/// What ends a dump: no more of it for so many milliseconds.
const DUMP_QUIET_MS: i32 = 5;
/// Ignored by default, so that a stray one harms nobody.
const SIGNAL: i32 = libc::SIGURG;
const FRAMES_MAX: usize = 100;
/// The same stack is logged this often at most, and so many stacks are known.
const LOG_EVERY_NS: u64 = 60_000_000_000;
const LOGGED_MAX: usize = 256;

/// A stall that was just seen.
pub(super) struct Case {
    pub(super) id: u64,
    pub(super) pulse: Arc<Pulse>,
    pub(super) step: u64,
    pub(super) thread: u64,
    pub(super) lasted_ns: u64,
    pub(super) cpu_ns: u64,
    pub(super) limit_ns: u64,
}

impl Case {
    fn still_held(&self) -> bool {
        !self.pulse.is_idle() && self.pulse.step() == self.step
    }

    fn stall(&self, stack: Vec<Frame>, task: Option<String>, gil_held: bool) -> Stall {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let lasted = self.lasted_ns as f64 / 1e9;
        Stall {
            id: self.id,
            began: now.as_secs_f64() - lasted,
            duration: lasted,
            cpu: self.cpu_ns as f64 / 1e9,
            ongoing: self.still_held(),
            gil_held,
            stack,
            task,
            thread: self.thread,
        }
    }
}

/// Where the signal's handler writes to.
struct Dump {
    reader: std::fs::File,
    _writer: OwnedFd,
    /// faulthandler's handler, as `sigaction` tells it.
    handler: libc::sighandler_t,
}

static DUMP: Mutex<Option<Dump>> = Mutex::new(None);
static REPORTERS: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());
/// When each stack was last logged, by its text.
static LOGGED: Mutex<Option<HashMap<String, u64>>> = Mutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that runs under these locks leaves a value half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gets ready to ask by signal. Without it (the program uses the signal itself, say) stalls under a
/// held GIL are noticed without a stack.
pub(super) fn prepare(py: Python<'_>) {
    if lock(&DUMP).is_some() {
        return;
    }
    match open_dump(py) {
        Ok(dump) => *lock(&DUMP) = dump,
        Err(error) => error.write_unraisable(py, None),
    }
}

fn open_dump(py: Python<'_>) -> PyResult<Option<Dump>> {
    if current_handler() != libc::SIG_DFL {
        return Ok(None);
    }
    let (reader, writer) = std::io::pipe()?;
    let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
    for end in [&reader, &writer] {
        pelton_reactor::socket::set_nonblocking(end.as_raw_fd())?;
    }
    let options = PyDict::new(py);
    options.set_item("file", writer.as_raw_fd())?;
    options.set_item("all_threads", false)?;
    // The interpreter's own way to write a stack from a signal handler.
    py.import("faulthandler")?.call_method("register", (SIGNAL,), Some(&options))?;
    let handler = current_handler();
    Ok(Some(Dump { reader: reader.into(), _writer: writer, handler }))
}

/// In a child of `fork`: the pipe is the parent's too. A new one is made when a loop runs.
pub(super) fn forget() {
    *lock(&DUMP) = None;
    lock(&REPORTERS).clear();
}

fn current_handler() -> libc::sighandler_t {
    // SAFETY: all zeroes is a valid `sigaction`; the call fills it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(SIGNAL, std::ptr::null(), &raw mut action);
        action.sa_sigaction
    }
}

/// Records and reports a stall, in the watchdog's thread.
pub(super) fn capture(case: Case) {
    let case = Arc::new(case);
    let theirs = Arc::clone(&case);
    let seen = Arc::new(Seen::default());
    let tell = Arc::clone(&seen);
    let spawned = Builder::new().name("pelton-stall".into()).spawn(move || {
        // None: the interpreter ends.
        Python::try_attach(|py| {
            if let Err(error) = report(py, &theirs, &tell) {
                error.write_unraisable(py, None);
            }
        });
    });
    if let Ok(reporter) = spawned {
        let mut reporters = lock(&REPORTERS);
        reporters.retain(|reporter| !reporter.is_finished());
        reporters.push(reporter);
    }
    let waited = seen.changed.wait_timeout_while(lock(&seen.flag), GIL_PATIENCE, |seen| !*seen);
    let had = *waited.unwrap_or_else(PoisonError::into_inner).0;
    if had || !case.still_held() {
        return;
    }
    seen.late.store(true, Ordering::Relaxed);
    let stack = stack_by_signal(&case);
    let mut had = lock(&seen.flag);
    if !*had {
        stall::remember(case.stall(stack, None, true));
        *had = true;
    } else if !stack.is_empty() {
        // The GIL came meanwhile; this stack is from the time when it did not.
        stall::update(case.id, |stall| stall.stack = stack);
    }
}

/// Whether a stall's stack was had already.
#[derive(Default)]
struct Seen {
    flag: Mutex<bool>,
    changed: Condvar,
    /// The GIL was not to be had in time.
    late: AtomicBool,
}

/// Waits for the threads that report. They wait for the GIL, so the caller must not hold it.
pub(super) fn join_reporters() {
    let reporters = std::mem::take(&mut *lock(&REPORTERS));
    for reporter in reporters {
        // Its panic was printed; there is nothing to add.
        let _ = reporter.join();
    }
}

/// With the GIL: takes the stack, unless the signal's handler was faster, and logs the stall.
fn report(py: Python<'_>, case: &Case, seen: &Seen) -> PyResult<()> {
    let stack = if case.still_held() { stack_by_gil(py, case)? } else { Vec::new() };
    let task = if case.still_held() { task_name(py, case)? } else { None };
    let found = {
        let mut flag = lock(&seen.flag);
        if !*flag {
            stall::remember(case.stall(stack, task, seen.late.load(Ordering::Relaxed)));
            *flag = true;
            seen.changed.notify_one();
        }
        stall::get(case.id)
    };
    let Some(found) = found else { return Ok(()) };
    let text = found.describe(case.limit_ns as f64 / 1e9);
    if worth_logging(&found) {
        let logger = py.import("logging")?.call_method1("getLogger", ("pelton.stalls",))?;
        logger.call_method1("warning", ("%s", text))?;
    }
    Ok(())
}

fn worth_logging(stall: &Stall) -> bool {
    let key: String = stall
        .stack
        .iter()
        .map(|frame| format!("{}:{}:{};", frame.file, frame.line, frame.function))
        .collect();
    let now = monotonic_ns();
    let mut logged = lock(&LOGGED);
    let logged = logged.get_or_insert_default();
    if logged.get(&key).is_some_and(|last| now - last < LOG_EVERY_NS) {
        return false;
    }
    if logged.len() >= LOGGED_MAX {
        logged.clear();
    }
    logged.insert(key, now);
    true
}

/// The Python stack of the loop's thread.
fn stack_by_gil(py: Python<'_>, case: &Case) -> PyResult<Vec<Frame>> {
    let frames = py.import("sys")?.call_method0("_current_frames")?;
    let mut frame = frames.cast_into::<PyDict>()?.get_item(case.thread)?;
    let mut stack = Vec::new();
    while let Some(current) = frame.take().filter(|frame| !frame.is_none()) {
        if stack.len() == FRAMES_MAX {
            break;
        }
        let code = current.getattr(intern!(py, "f_code"))?;
        stack.push(Frame {
            file: code.getattr(intern!(py, "co_filename"))?.extract()?,
            line: current.getattr(intern!(py, "f_lineno"))?.extract().unwrap_or(0),
            function: code.getattr(intern!(py, "co_qualname"))?.extract()?,
        });
        frame = Some(current.getattr(intern!(py, "f_back"))?);
    }
    stack.reverse();
    Ok(within_the_loop(stack))
}

/// Without the frames that brought the loop to run: they are the same for every callback.
fn within_the_loop(mut stack: Vec<Frame>) -> Vec<Frame> {
    let inside = stack.iter().rposition(|frame| frame.function.ends_with("run_forever"));
    if let Some(inside) = inside.filter(|inside| inside + 1 < stack.len()) {
        stack.drain(..=inside);
    }
    stack
}

/// The name of the task whose step is under way.
fn task_name(py: Python<'_>, case: &Case) -> PyResult<Option<String>> {
    let Some(event_loop) = watchdog::with_loop(&case.pulse, |event_loop, _| {
        let event_loop = event_loop as *mut pyo3::ffi::PyObject;
        // SAFETY: a loop is alive while it runs, and we hold the GIL.
        unsafe { Bound::from_borrowed_ptr(py, event_loop) }
    }) else {
        return Ok(None);
    };
    let task = py.import("asyncio")?.call_method1("current_task", (event_loop,))?;
    if task.is_none() {
        return Ok(None);
    }
    let name = task.call_method0("get_name")?;
    Ok(Some(name.cast::<PyString>()?.to_string()))
}

/// The Python stack of the loop's thread, written by that thread itself.
fn stack_by_signal(case: &Case) -> Vec<Frame> {
    let mut dump = lock(&DUMP);
    let Some(dump) = dump.as_mut() else {
        return Vec::new();
    };
    if current_handler() != dump.handler {
        return Vec::new(); // the program has taken the signal for itself
    }
    let mut text = Vec::new();
    // What a handler that came too late has left.
    read_ready(&mut dump.reader, &mut text, 0);
    text.clear();
    let sent = watchdog::with_loop(&case.pulse, |_, thread| {
        // SAFETY: the thread lives while its loop is registered, which the lock held here keeps.
        unsafe { libc::pthread_kill(thread, SIGNAL) == 0 }
    });
    if sent == Some(true) {
        read_ready(&mut dump.reader, &mut text, DUMP_PATIENCE_MS);
    }
    parse(&String::from_utf8_lossy(&text))
}

/// Reads until nothing more comes; waits `patience` milliseconds for the first byte.
fn read_ready(reader: &mut std::fs::File, text: &mut Vec<u8>, mut patience: i32) {
    let mut chunk = [0; 4096];
    loop {
        let mut poll = libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, alive for the call.
        if unsafe { libc::poll(&raw mut poll, 1, patience) } <= 0 {
            return;
        }
        match reader.read(&mut chunk) {
            Ok(count) if count > 0 => text.extend_from_slice(&chunk[..count]),
            _ => return,
        }
        patience = patience.min(DUMP_QUIET_MS);
    }
}

/// Reads faulthandler's text: `  File "name", line 3 in function`, innermost frame first.
fn parse(text: &str) -> Vec<Frame> {
    let mut stack: Vec<Frame> = text
        .lines()
        .filter_map(|line| {
            let rest = line.trim_start().strip_prefix("File \"")?;
            let (file, rest) = rest.rsplit_once("\", line ")?;
            let (line, function) = rest.split_once(" in ")?;
            Some(Frame {
                file: file.to_owned(),
                line: line.parse().unwrap_or(0),
                function: function.to_owned(),
            })
        })
        .collect();
    stack.reverse();
    within_the_loop(stack)
}
