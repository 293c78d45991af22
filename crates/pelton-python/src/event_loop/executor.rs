//! The default executor: threads that take calls from a queue and leave the answers with the loop.
//!
//! `pelton._loop.executor` dresses a pool as the `ThreadPoolExecutor` that asyncio would have made;
//! `run_in_executor(None, ...)` comes here directly. A thread runs a call with the GIL, puts the
//! answer into the loop's ready queue under the same hold of it, and wakes the loop after it has
//! released it: so the loop does not wake up only to wait for the GIL.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

use super::core::Ready;
use super::gil::{GilBound, Owned};
use super::mailbox::Mailbox;
use super::native::LoopRef;
use super::patience::{HANDOVER, WORKER};
use crate::aio::future::Future;

/// Adds the classes to the module.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ThreadPool>()?;
    module.add_class::<PoolThread>()
}

/// A function and its arguments, and who waits for what it returns.
struct Call {
    /// The function, then the arguments.
    parts: Vec<Owned>,
    /// `None`: nobody; the function sees to its own result.
    answer: Option<Answer>,
}

struct Answer {
    future: Future,
    event_loop: LoopRef,
}

/// A call in the queue, with what may be known of it without the GIL.
struct Queued {
    call: GilBound<Call>,
    mailbox: Option<Mailbox>,
}

/// What threads share.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// The queue's length, for those who look out for a call.
    waiting: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// Without a limit, as in `concurrent.futures`: the caller has a future for each.
    queue: VecDeque<Queued>,
    threads: usize,
    /// Threads that wait for a call, and those of them that sleep.
    idle: usize,
    asleep: usize,
    shut_down: bool,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            waiting: AtomicUsize::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, queued: Queued) {
        let mut state = self.lock();
        state.queue.push_back(queued);
        self.waiting.store(state.queue.len(), Ordering::Release);
        // A thread that looks out finds it without help.
        let notify = state.asleep > 0 && state.queue.len() > state.idle - state.asleep;
        drop(state);
        if notify {
            self.changed.notify_one();
        }
    }

    /// One thread more waits for a call.
    fn wait_begins(&self) {
        self.lock().idle += 1;
    }

    /// The next call; `None` once the pool is shut down and the queue is empty. The thread has said
    /// that its wait begins.
    fn next(&self) -> Option<Queued> {
        let mut state = self.lock();
        if state.queue.is_empty() && !state.shut_down {
            drop(state);
            WORKER.watch(|| self.waiting.load(Ordering::Acquire) > 0);
            state = self.lock();
            while state.queue.is_empty() && !state.shut_down {
                state.asleep += 1;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.asleep -= 1;
            }
        }
        state.idle -= 1;
        let queued = state.queue.pop_front();
        self.waiting.store(state.queue.len(), Ordering::Release);
        if queued.is_none() {
            state.threads -= 1;
        }
        queued
    }

    fn shut_down(&self) {
        self.lock().shut_down = true;
        self.changed.notify_all();
    }
}

/// A queue of calls and the threads that take from it. It starts them as it needs them.
#[pyclass(frozen, module = "pelton._core")]
pub(crate) struct ThreadPool {
    shared: GilBound<RefCell<Arc<Shared>>>,
    threads_max: usize,
    /// Starts a thread that calls its argument.
    start: Py<PyAny>,
}

#[pymethods]
impl ThreadPool {
    #[new]
    fn new(threads_max: usize, start: Py<PyAny>) -> Self {
        Self { shared: GilBound::new(RefCell::new(Shared::new())), threads_max, start }
    }

    /// Has a thread call `function(*args)`, and drop what it returns.
    #[pyo3(signature = (function, *args))]
    fn submit(
        &self,
        py: Python<'_>,
        function: Bound<'_, PyAny>,
        args: &Bound<'_, pyo3::types::PyTuple>,
    ) -> PyResult<()> {
        let mut parts = vec![function.as_ptr()];
        for argument in args.iter_borrowed() {
            parts.push(argument.as_ptr());
        }
        self.put(py, &parts, None)
    }

    /// Lets the threads end once the queue is empty.
    fn shut_down(&self) {
        self.shared().shut_down();
    }

    /// Takes out the calls that no thread has begun, and cancels their futures. Returns the
    /// functions of those that `submit` put in.
    fn cancel_waiting(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let shared = self.shared();
        let queue = std::mem::take(&mut shared.lock().queue);
        shared.waiting.store(0, Ordering::Release);
        let mut functions = Vec::new();
        for Queued { call, .. } in queue {
            let call = call.into_inner();
            match call.answer {
                Some(answer) => {
                    let core = answer.event_loop.0.clone();
                    if answer.give(|py, future| future.cancel(py).map(drop)) {
                        core.wake_if_parked();
                    }
                }
                None => functions.extend(call.parts.first().map(|part| part.as_py().clone_ref(py))),
            }
        }
        Ok(functions)
    }

    /// After a fork: the threads and what they were about to do are the parent's.
    fn forget_threads(&self) {
        let before = self.shared.replace(Shared::new());
        // Its lock may be held for ever by a thread that is not here.
        std::mem::forget(before);
    }
}

impl ThreadPool {
    fn shared(&self) -> Arc<Shared> {
        self.shared.borrow().clone()
    }

    /// Puts a call into the queue; starts a thread if all are taken.
    fn put(&self, py: Python<'_>, parts: &[*mut PyObject], answer: Option<Answer>) -> PyResult<()> {
        let shared = self.shared();
        let start = {
            let mut state = shared.lock();
            if state.shut_down {
                return Err(PyRuntimeError::new_err("cannot schedule new futures after shutdown"));
            }
            let start = state.idle <= state.queue.len() && state.threads < self.threads_max;
            state.threads += usize::from(start);
            start
        };
        if start {
            let thread = PoolThread { shared: shared.clone() };
            if let Err(error) = self.start.call1(py, (thread,)) {
                shared.lock().threads -= 1;
                return Err(error);
            }
        }
        let mailbox = answer.as_ref().map(|answer| answer.event_loop.mailbox());
        // SAFETY: the caller's arguments, alive for the call.
        let parts = parts.iter().map(|part| unsafe { Owned::share(*part) }).collect();
        shared.put(Queued { call: GilBound::new(Call { parts, answer }), mailbox });
        Ok(())
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared().shut_down();
    }
}

/// What one thread of a pool does: calling it runs calls until the pool is shut down.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct PoolThread {
    shared: Arc<Shared>,
}

#[pymethods]
impl PoolThread {
    fn __call__(&self, py: Python<'_>) {
        let mut answered = None;
        self.shared.wait_begins();
        loop {
            let next = py.detach(|| {
                if let Some(mailbox) = answered.take() {
                    Mailbox::ring(&mailbox);
                }
                let queued = self.shared.next()?;
                if let Some(mailbox) = &queued.mailbox {
                    // The loop that made the call has the GIL, and is often about to release it.
                    HANDOVER.watch(|| mailbox.bell().is_waiting());
                }
                Some(queued)
            });
            let Some(Queued { call, mailbox }) = next else {
                return;
            };
            if call.into_inner().run(py, &self.shared) {
                answered = mailbox;
            }
        }
    }

    /// Ends the pool, as the interpreter is about to end.
    fn shut_down(&self) {
        self.shared.shut_down();
    }
}

impl Call {
    /// Runs it. True: the loop waits, and must be woken.
    fn run(self, py: Python<'_>, shared: &Shared) -> bool {
        if let Some(answer) = &self.answer
            && answer.future.done(py).unwrap_or(false)
        {
            answer.end();
            shared.wait_begins();
            return false; // it was cancelled
        }
        let parts = self.parts.as_ptr().cast::<*mut PyObject>();
        // SAFETY: `Owned` is a pointer to a live object; the function and its arguments stay with
        // `self` for the call.
        let result = unsafe {
            let result = ffi::PyObject_Vectorcall(
                *parts,
                parts.add(1),
                self.parts.len() - 1,
                std::ptr::null_mut(),
            );
            if result.is_null() { Err(PyErr::fetch(py)) } else { Ok(Owned::steal(result)) }
        };
        let Self { parts, answer } = self;
        // Before the answer: who gets it may look whether they are gone, and has a next call.
        drop(parts);
        shared.wait_begins();
        match (answer, result) {
            (Some(answer), Ok(value)) => {
                answer.give(move |py, future| future.wake(py, value.as_ptr()).map(drop))
            }
            (Some(answer), Err(error)) => answer.give(move |py, future| fail(py, future, error)),
            (None, Ok(_)) => false,
            (None, Err(error)) => {
                error.write_unraisable(py, None);
                false
            }
        }
    }
}

impl Answer {
    /// The call is no longer under way.
    fn end(&self) {
        let under_way = &self.event_loop.0.calls_under_way;
        under_way.set(under_way.get().saturating_sub(1));
    }

    /// Has `settle` run in the loop's thread. True: the loop waits, and must be woken.
    fn give(self, settle: impl FnOnce(Python<'_>, &Future) -> PyResult<()> + 'static) -> bool {
        self.end();
        let core = self.event_loop.0.clone();
        if core.is_closed() {
            return false;
        }
        let future = self.future;
        core.ready.borrow_mut().push_back(Ready::Native(Box::new(move |py| {
            if future.done(py)? { Ok(()) } else { settle(py, &future) }
        })));
        core.parked.get()
    }
}

/// Sets an error as asyncio does for a future of `concurrent.futures`.
fn fail(py: Python<'_>, future: &Future, error: PyErr) -> PyResult<()> {
    let convert = py.import("asyncio.futures")?.getattr("_convert_future_exc")?;
    let error = PyErr::from_value(convert.call1((error.into_value(py),))?);
    if error.is_instance_of::<pyo3::exceptions::PyStopIteration>(py) {
        // A future cannot raise it: it would end the coroutine that awaits.
        let wrapped = PyRuntimeError::new_err(
            "StopIteration interacts badly with generators and cannot be raised into a Future",
        );
        wrapped.set_cause(py, Some(error));
        return future.set_exception(py, wrapped);
    }
    future.set_exception(py, error)
}

/// `run_in_executor(None, *call)`: a new reference to the future.
///
/// # Safety
/// `event_loop` is a live `BaseLoop`, `call` holds live objects, at least one; the GIL is held.
pub(super) unsafe fn run(
    py: Python<'_>,
    pool: &Py<ThreadPool>,
    event_loop: *mut PyObject,
    call: &[*mut PyObject],
) -> PyResult<*mut PyObject> {
    let future = Future::new(py, event_loop)?;
    // SAFETY: the caller's.
    let event_loop = LoopRef::from_object(&unsafe { Bound::from_borrowed_ptr(py, event_loop) })?;
    let core = event_loop.0.clone();
    let answer = Answer { future: future.share(), event_loop };
    pool.get().put(py, call, Some(answer))?;
    core.calls_under_way.set(core.calls_under_way.get() + 1);
    Ok(future.into_owned().into_ptr())
}
