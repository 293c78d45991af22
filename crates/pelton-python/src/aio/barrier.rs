//! `Barrier`.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{PyDict, PyTuple};

use super::condition::{Condition, Waiting};
use super::coroutine::{Class, Input, Machine, Step, Visitor, coroutine};
use super::future::call_method;
use super::held::{Held, add_class, bracketed};
use super::lock::Acquiring;
use crate::event_loop::{GilBound, Owned};

/// A point where a number of tasks wait for one another; the last to come lets all of them go.
///
/// It can be used again once all have left. As `asyncio.Barrier` of Python 3.11.
#[pyclass(subclass, frozen, dict, weakref, module = "pelton.aio")]
pub(super) struct Barrier(GilBound<State>);

struct State {
    /// False while the object is only memory: up to 3.12 the interpreter makes its `__dict__` before
    /// the contents are written, and that may start a collection, which visits zeroes.
    made: bool,
    parties: Cell<i64>,
    phase: Cell<Phase>,
    /// Tasks between their arrival and their departure.
    count: Cell<i64>,
    condition: Held<Condition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Filling,
    Draining,
    Resetting,
    Broken,
}

impl Barrier {
    fn tell_all(&self, py: Python<'_>) -> PyResult<()> {
        self.0.condition.tell(py, usize::MAX)
    }

    /// A task leaves. If it is the last, those who wait for an empty barrier may come.
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        let state = &self.0;
        state.count.set(state.count.get() - 1);
        if state.count.get() > 0 {
            return Ok(());
        }
        if matches!(state.phase.get(), Phase::Resetting | Phase::Draining) {
            state.phase.set(Phase::Filling);
        }
        self.tell_all(py)
    }
}

#[pymethods]
impl Barrier {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(parties)")]
    fn new(
        py: Python<'_>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        Ok(Self(GilBound::new(State {
            made: true,
            parties: Cell::new(1),
            phase: Cell::new(Phase::Filling),
            count: Cell::new(0),
            condition: Condition::new_object(py)?,
        })))
    }

    fn __init__(&self, parties: i64) -> PyResult<()> {
        if parties < 1 {
            return Err(PyValueError::new_err("parties must be > 0"));
        }
        self.0.parties.set(parties);
        Ok(())
    }

    /// Wait until as many tasks as there are parties wait here. Returns a number from 0 to
    /// `parties` - 1, another to each; `BrokenBarrierError` if the barrier is, or becomes, broken
    /// or reset.
    fn wait(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        // SAFETY: a live Barrier.
        let barrier = unsafe { Held::share(slf.as_ptr()) };
        made(slf.py(), Wait { barrier, stage: Stage::Enter(Acquiring::default()) })
    }

    /// Begin anew: whoever waits gets `BrokenBarrierError`.
    fn reset(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        // SAFETY: a live Barrier.
        let barrier = unsafe { Held::share(slf.as_ptr()) };
        made(slf.py(), Change { barrier, acquiring: Acquiring::default(), aborts: false })
    }

    /// Break it: whoever waits, or will wait, gets `BrokenBarrierError`.
    fn abort(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        // SAFETY: a live Barrier.
        let barrier = unsafe { Held::share(slf.as_ptr()) };
        made(slf.py(), Change { barrier, acquiring: Acquiring::default(), aborts: true })
    }

    fn __aenter__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        Ok(call_method(intern!(py, "wait"), slf.as_ptr(), &[])?.as_py().clone_ref(py))
    }

    #[pyo3(signature = (*_args))]
    fn __aexit__(slf: &Bound<'_, Self>, _args: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        made(slf.py(), Nothing)
    }

    /// How many tasks it takes.
    #[getter]
    fn parties(&self) -> i64 {
        self.0.parties.get()
    }

    /// How many tasks wait for the others.
    #[getter]
    fn n_waiting(&self) -> i64 {
        if self.0.phase.get() == Phase::Filling { self.0.count.get() } else { 0 }
    }

    /// Whether it was aborted.
    #[getter]
    fn broken(&self) -> bool {
        self.0.phase.get() == Phase::Broken
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let barrier = slf.get();
        let phase = match barrier.0.phase.get() {
            Phase::Filling => "filling",
            Phase::Draining => "draining",
            Phase::Resetting => "resetting",
            Phase::Broken => return bracketed(slf, "broken", 0),
        };
        let state = format!("{phase}, waiters:{}/{}", barrier.n_waiting(), barrier.parties());
        bracketed(slf, &state, 0)
    }

    #[getter]
    fn _count(&self) -> i64 {
        self.0.count.get()
    }

    #[getter]
    fn _cond(&self, py: Python<'_>) -> Py<PyAny> {
        self.0.condition.as_owned().as_py().clone_ref(py)
    }

    // The condition cannot be cleared: an object that is still reached must be able to answer.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if !self.0.made {
            return Ok(());
        }
        visit.call(self.0.condition.as_owned().as_py())
    }
}

/// Adds this file's names to `pelton._core`.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    Wait::class().register(py)?;
    Change::class().register(py)?;
    Nothing::class().register(py)?;
    add_class::<Barrier>(module)
}

fn made<M: Machine>(py: Python<'_>, machine: M) -> PyResult<Py<PyAny>> {
    // SAFETY: a new reference, taken over.
    unsafe { Ok(Bound::from_owned_ptr_or_err(py, coroutine(py, machine)?)?.unbind()) }
}

fn broken(py: Python<'_>, text: &str) -> PyErr {
    let class = py
        .import("asyncio.exceptions")
        .and_then(|module| module.getattr(intern!(py, "BrokenBarrierError"))?.call1((text,)));
    class.map_or_else(|error| error, PyErr::from_value)
}

/// `Barrier.wait`.
struct Wait {
    barrier: Held<Barrier>,
    stage: Stage,
}

enum Stage {
    /// It takes the condition's lock.
    Enter(Acquiring),
    /// It waits for those before to have left.
    Outside(Waiting),
    /// It is the task with this number, and waits for the others.
    Inside(i64, Waiting),
}

impl Machine for Wait {
    const NAME: &'static CStr = c"pelton._core.barrier_wait_coroutine";
    const QUALNAME: &'static CStr = c"Barrier.wait";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Wait> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, mut input: Input) -> PyResult<Step> {
        let condition = self.barrier.0.condition.clone_ref();
        loop {
            let stepped = match &mut self.stage {
                Stage::Enter(acquiring) => Ok(acquiring.step(py, &condition.own_lock()?, input)?),
                Stage::Outside(waiting) | Stage::Inside(_, waiting) => {
                    waiting.step(py, &condition, input)
                }
            };
            match stepped {
                Ok(Step::Return(_)) => {}
                Err(error) => return self.depart(py, Err(error)),
                waits => return waits,
            }
            if let Some(result) = self.proceed(py) {
                return self.depart(py, result);
            }
            input = Input::Go;
        }
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(self.barrier.as_owned());
        match &self.stage {
            Stage::Enter(acquiring) => acquiring.traverse(visitor),
            Stage::Outside(waiting) | Stage::Inside(_, waiting) => waiting.traverse(visitor),
        }
    }

    fn awaiting(&self) -> Option<&Owned> {
        match &self.stage {
            Stage::Enter(acquiring) => acquiring.awaiting(),
            Stage::Outside(waiting) | Stage::Inside(_, waiting) => waiting.awaiting(),
        }
    }
}

impl Wait {
    /// Goes on, with the lock, as far as the barrier lets it; None if it must wait.
    fn proceed(&mut self, py: Python<'_>) -> Option<PyResult<i64>> {
        let state = &self.barrier.0;
        if let Stage::Inside(index, waiting) = &mut self.stage {
            return match state.phase.get() {
                Phase::Filling => {
                    *waiting = Waiting::Start;
                    None
                }
                Phase::Draining => Some(Ok(*index)),
                Phase::Resetting | Phase::Broken => {
                    Some(Err(broken(py, "Abort or reset of barrier")))
                }
            };
        }
        match state.phase.get() {
            Phase::Filling => {}
            Phase::Draining | Phase::Resetting => {
                self.stage = Stage::Outside(Waiting::Start);
                return None;
            }
            Phase::Broken => return Some(Err(broken(py, "Barrier aborted"))),
        }
        let index = state.count.get();
        state.count.set(index + 1);
        self.stage = Stage::Inside(index, Waiting::Start);
        if index + 1 < state.parties.get() {
            return None;
        }
        state.phase.set(Phase::Draining);
        Some(self.barrier.tell_all(py).map(|()| index))
    }

    /// Leaves the barrier, if it was inside, and the lock.
    fn depart(&mut self, py: Python<'_>, result: PyResult<i64>) -> PyResult<Step> {
        if matches!(self.stage, Stage::Inside(..)) {
            self.barrier.leave(py)?;
        }
        self.barrier.0.condition.let_go(py)?;
        let index = result?.into_pyobject(py)?.into_any();
        // SAFETY: the reference is given away.
        Ok(Step::Return(unsafe { Owned::steal(index.into_ptr()) }))
    }
}

/// `Barrier.reset` and `Barrier.abort`.
struct Change {
    barrier: Held<Barrier>,
    acquiring: Acquiring,
    aborts: bool,
}

impl Machine for Change {
    const NAME: &'static CStr = c"pelton._core.barrier_change_coroutine";
    const QUALNAME: &'static CStr = c"Barrier.reset";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Change> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, input: Input) -> PyResult<Step> {
        let state = &self.barrier.0;
        let step = self.acquiring.step(py, &state.condition.own_lock()?, input)?;
        if matches!(step, Step::Yield(_)) {
            return Ok(step);
        }
        state.phase.set(match (self.aborts, state.count.get()) {
            (true, _) => Phase::Broken,
            (false, 0) => Phase::Filling,
            (false, _) => Phase::Resetting,
        });
        self.barrier.tell_all(py)?;
        state.condition.let_go(py)?;
        Ok(Step::done())
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(self.barrier.as_owned());
        self.acquiring.traverse(visitor);
    }

    fn awaiting(&self) -> Option<&Owned> {
        self.acquiring.awaiting()
    }
}

/// `Barrier.__aexit__`.
struct Nothing;

impl Machine for Nothing {
    const NAME: &'static CStr = c"pelton._core.barrier_exit_coroutine";
    const QUALNAME: &'static CStr = c"Barrier.__aexit__";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Nothing> = Class::new();
        &CLASS
    }

    fn resume(&mut self, _py: Python<'_>, _input: Input) -> PyResult<Step> {
        Ok(Step::done())
    }

    fn traverse(&self, _visitor: &mut Visitor) {}
}
