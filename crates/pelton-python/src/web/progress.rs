//! How far a request has come: body, dependencies, endpoint, response, clean-up.
//!
//! The order of things, with where an error goes:
//!
//! ```text
//! body -> nodes in order -> endpoint -> response made     error: leave both lists, then handlers
//! leave the function-scoped dependencies                  error: leave the others, then handlers
//! send -> background tasks                                error: leave the others, then handlers
//! leave the request-scoped dependencies                   error: handlers
//! ```

use std::sync::Arc;

use pyo3::exceptions::{PyStopAsyncIteration, PyUnboundLocalError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::call::Job;
use super::channel::Channel;
use super::fill::ReadyBody;
use super::form::FormState;
use super::guard::{Admitted, Extra};
use super::helpers::Helpers;
use super::leave::Leave;
use super::plan::{Kind, Node, Plan};
use super::respond::{Answer, Checked, Made};
use super::send::TrackedSend;

/// What the run is to do.
pub(crate) enum Next<'py> {
    /// Await this and report how it ended.
    Await(Bound<'py, PyAny>, Awaiting),
    /// End.
    Done,
    /// End with this exception.
    Raise(PyErr),
}

/// What is being awaited.
pub(crate) enum Awaiting {
    Body,
    Form,
    /// What a node takes from the form.
    FormValues(usize),
    /// The reference path, for a node that is overridden.
    Overridden(usize),
    /// A node's value.
    Value(usize),
    /// A node's context manager or generator, to be left later.
    Entered(usize, Leave),
    /// The reference path's response.
    Built,
    /// A response that streams, and what is left with it.
    Streamed,
    /// A dependency that is being left.
    Left(Leave),
    /// All those that are left with an error.
    Unwound,
    /// The first message of an ASGI response.
    AsgiStart,
    /// The second.
    AsgiBody,
    /// A response object that sends itself, and runs its background tasks.
    Sent,
    Background,
    /// Durable background tasks are being written, before the response says that they are.
    Committed,
    Handled,
    /// The files of a form, after all; then the request ends as it would have.
    Closed(Option<PyErr>),
}

/// What a request is at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Calling,
    LeavingFunction,
    Sending,
    LeavingRequest,
    Handling,
}

/// One request's state.
pub(crate) struct Progress {
    pub(super) plan: Arc<Plan>,
    pub(super) channel: Channel,
    pub(super) phase: Phase,
    /// The arguments of all nodes.
    pub(super) values: Vec<Option<Py<PyAny>>>,
    pub(super) shared: Vec<Option<Py<PyAny>>>,
    /// Which nodes' requests were wrong; empty while none is.
    failed: Vec<bool>,
    errors: Option<Py<PyList>>,
    /// The parsed body, or its bytes if it is not JSON; `None`: no body.
    pub(super) body: Option<Py<PyAny>>,
    /// The only value that is taken from the body, read from its text at once.
    pub(super) ready_body: ReadyBody,
    pub(super) form: FormState,
    pub(super) request: Option<Py<PyAny>>,
    pub(super) background: Option<Py<PyAny>>,
    pub(super) temporal: Option<Py<PyAny>>,
    cleanup: Option<Py<PyAny>>,
    pub(super) leave_before_sending: Vec<Leave>,
    pub(super) leave_at_end: Vec<Leave>,
    error: Option<PyErr>,
    pub(super) answer: Option<Answer>,
    /// A response has been begun.
    pub(super) started: bool,
    /// It was sent, and its background tasks have run.
    answered: bool,
    pub(super) tracked: Option<Py<TrackedSend>>,
    /// What rate limits have every answer say.
    pub(super) extra: Extra,
    /// What they refuse the request with.
    refusal: Option<PyErr>,
}

impl Progress {
    /// A request that has not begun.
    pub(crate) fn new(plan: Arc<Plan>, channel: Channel, admitted: Admitted) -> Self {
        let (extra, refusal) = match admitted.0 {
            Ok(extra) => (extra, None),
            Err(refusal) => (Extra::new(), Some(refusal)),
        };
        let mut values = Vec::new();
        values.resize_with(plan.arguments, || None);
        let mut shared = Vec::new();
        if plan.nodes.len() > 1 {
            shared.resize_with(plan.shared, || None);
        }
        Self {
            plan,
            channel,
            phase: Phase::Calling,
            values,
            shared,
            failed: Vec::new(),
            errors: None,
            body: None,
            ready_body: ReadyBody::default(),
            form: FormState::default(),
            request: None,
            background: None,
            temporal: None,
            cleanup: None,
            leave_before_sending: Vec::new(),
            leave_at_end: Vec::new(),
            error: None,
            answer: None,
            started: false,
            answered: false,
            tracked: None,
            extra,
            refusal,
        }
    }

    /// Shows the garbage collector what a waiting request holds.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        for held in self.values.iter().chain(&self.shared) {
            visit.call(held)?;
        }
        for held in [&self.body, &self.request, &self.background, &self.temporal, &self.cleanup] {
            visit.call(held)?;
        }
        self.ready_body.traverse(visit)?;
        self.form.traverse(visit)?;
        for leave in self.leave_before_sending.iter().chain(&self.leave_at_end) {
            visit.call(leave.object())?;
        }
        if let Some(Answer::Object(response)) = &self.answer {
            visit.call(response)?;
        }
        Ok(())
    }

    /// The first step.
    pub(crate) fn begin<'py>(&mut self, py: Python<'py>) -> Next<'py> {
        let next = match self.refusal.take() {
            Some(refusal) => Err(refusal),
            None => self.read_body(py),
        };
        let next = self.or_fail(py, next);
        self.close_files(py, next)
    }

    /// Goes on after `awaiting` ended with `result`.
    pub(crate) fn ended<'py>(
        &mut self,
        py: Python<'py>,
        awaiting: Awaiting,
        result: PyResult<Bound<'py, PyAny>>,
    ) -> Next<'py> {
        let next = match (awaiting, result) {
            (Awaiting::Body, Ok(bytes)) => self.take_body(&bytes),
            (Awaiting::Body, Err(error)) => Err(self.body_error(py, error)),
            (Awaiting::Form, Ok(read)) => self.take_form(&read),
            (Awaiting::FormValues(index), Ok(taken)) => self.form_taken(index, taken),
            (Awaiting::Overridden(index), Ok(solved)) => self.overridden_solved(index, &solved),
            (Awaiting::Value(index), Ok(value)) => self.take_value(index, value),
            (Awaiting::Entered(index, leave), result) => self.entered(py, index, leave, result),
            (Awaiting::Built, Ok(response)) => {
                self.answer = Some(Answer::Object(response.unbind()));
                Ok(self.leave_function(py))
            }
            (Awaiting::Streamed, Ok(response)) => self.take_stream(&response),
            (Awaiting::Left(leave), result) => Ok(self.left(py, leave, result)),
            (Awaiting::Unwound, result) => Ok(self.unwound(py, result)),
            (Awaiting::Committed, Ok(_)) => self.send_answer(py),
            (Awaiting::AsgiStart, Ok(_)) => self.send_asgi_body(py),
            (Awaiting::AsgiBody, Ok(_)) => self.run_background(py),
            (Awaiting::Sent | Awaiting::Background, Ok(_)) => Ok(self.sent_all(py)),
            (Awaiting::Handled, result) => Ok(self.handled(py, result)),
            (Awaiting::Closed(error), result) => Ok(self.closed(py, error, result)),
            (_, Err(error)) => Err(error),
        };
        let next = self.or_fail(py, next);
        self.close_files(py, next)
    }

    fn or_fail<'py>(&mut self, py: Python<'py>, next: PyResult<Next<'py>>) -> Next<'py> {
        let error = match next {
            Ok(next) => return next,
            Err(error) => error,
        };
        match self.phase {
            Phase::Calling | Phase::LeavingFunction => {
                self.error = Some(error);
                self.leave_function(py)
            }
            Phase::Sending | Phase::LeavingRequest => {
                self.error = Some(error);
                self.leave_request(py)
            }
            Phase::Handling => self.give_up(py, error),
        }
    }

    // --- calling ---

    /// Solves the nodes from number `index` on.
    pub(super) fn solve<'py>(&mut self, py: Python<'py>, mut index: usize) -> PyResult<Next<'py>> {
        let plan = self.plan.clone();
        let last = plan.nodes.len() - 1;
        loop {
            if let Some(next) = self.solve_overridden(py, index)? {
                return Ok(next);
            }
            let node = &plan.nodes[index];
            if let Some(next) = self.take_from_form(py, index)? {
                return Ok(next);
            }
            self.fill(py, index, node)?;
            if self.failed.get(index).copied().unwrap_or(false) {
                match node.parent {
                    Some(parent) => self.mark_failed(parent),
                    None => return Err(self.invalid_request(py)?),
                }
            } else {
                let known = match self.shared.get(node.cache_slot) {
                    Some(Some(value)) if node.use_cache => Some(value.clone_ref(py)),
                    _ => None,
                };
                match known {
                    None => return self.call(py, index, node),
                    Some(value) => self.put(node, value),
                }
            }
            debug_assert!(index < last, "the endpoint ends the walk");
            index += 1;
        }
    }

    pub(super) fn mark_failed(&mut self, index: usize) {
        if self.failed.is_empty() {
            self.failed = vec![false; self.plan.nodes.len()];
        }
        self.failed[index] = true;
    }

    /// The list that errors of the request are added to.
    pub(super) fn errors<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyList> {
        self.errors.get_or_insert_with(|| PyList::empty(py).unbind()).bind(py).clone()
    }

    pub(super) fn put(&mut self, node: &Node, value: Py<PyAny>) {
        if let (Some(parent), Some(slot)) = (node.parent, node.parent_slot) {
            let at = self.plan.nodes[parent].base + slot;
            self.values[at] = Some(value);
        }
    }

    fn call<'py>(&mut self, py: Python<'py>, index: usize, node: &Node) -> PyResult<Next<'py>> {
        let helpers = Helpers::of(py)?;
        let values: Vec<Bound<'py, PyAny>> = self.values[node.base..node.base + node.arguments]
            .iter_mut()
            .map(|value| value.take().unwrap_or_else(|| py.None()).into_bound(py))
            .collect();
        let names = node.names.bind(py);
        let called = node.call.bind(py);
        let native = matches!(self.channel, Channel::Native { .. });
        match (node.kind, &node.manager) {
            (Kind::Coroutine, _) => {
                let coroutine = super::call::call_named(called, names, &values)?;
                Ok(Next::Await(coroutine, Awaiting::Value(index)))
            }
            (Kind::AsyncGenerator, _) if native => {
                let generator = super::call::call_named(called, names, &values)?;
                let first = generator.call_method0(intern!(py, "__anext__"))?;
                let leave = Leave::Generator(generator.unbind());
                Ok(Next::Await(first, Awaiting::Entered(index, leave)))
            }
            (Kind::AsyncGenerator | Kind::Managed | Kind::Generator, Some(manager)) => {
                let mut manager = super::call::call_named(manager.bind(py), names, &values)?;
                if node.kind != Kind::Generator && !native {
                    manager = self.shielded(&manager)?;
                }
                let entering = manager.call_method0(intern!(py, "__aenter__"))?;
                let leave = Leave::Manager(manager.unbind());
                Ok(Next::Await(entering, Awaiting::Entered(index, leave)))
            }
            (Kind::Stream, _) => {
                let content = super::call::call_named(called, names, &values)?;
                self.stream(&content)
            }
            (Kind::Plain | Kind::AsyncGenerator | Kind::Managed | Kind::Generator, _) => {
                // A blocking endpoint's result is compared with its model over there, too.
                let is_endpoint = node.parent.is_none();
                let checker = if is_endpoint { self.plan.respond.checker(py) } else { None };
                let job = Bound::new(py, Job::new(called, names, values, checker))?;
                let run = if native { &helpers.run_in_pool } else { &helpers.run_sync };
                let running = run.bind(py).call1((job,))?;
                Ok(Next::Await(running, Awaiting::Value(index)))
            }
        }
    }

    /// `manager`, left under a shield against the cancel scopes that ASGI callers may have around
    /// us. Our own server has none.
    fn shielded<'py>(&mut self, manager: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = manager.py();
        let guard = match &self.cleanup {
            Some(guard) => guard.bind(py).clone(),
            None => {
                let guard = Helpers::of(py)?.cleanup_scope.bind(py).call0()?;
                self.leave_at_end.push(Leave::Manager(guard.clone().unbind()));
                self.cleanup = Some(guard.clone().unbind());
                guard
            }
        };
        guard.call_method1(intern!(py, "over"), (manager,))
    }

    fn entered<'py>(
        &mut self,
        py: Python<'py>,
        index: usize,
        leave: Leave,
        result: PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Next<'py>> {
        let value = result.map_err(|error| leave.not_entered(py, error))?;
        if self.plan.nodes[index].function_scope {
            self.leave_before_sending.push(leave);
        } else {
            self.leave_at_end.push(leave);
        }
        self.take_value(index, value)
    }

    fn take_value<'py>(&mut self, index: usize, value: Bound<'py, PyAny>) -> PyResult<Next<'py>> {
        let py = value.py();
        let plan = self.plan.clone();
        let node = &plan.nodes[index];
        if node.parent.is_none() {
            return self.respond(&value);
        }
        let value = value.unbind();
        if let Some(shared) = self.shared.get_mut(node.cache_slot)
            && shared.is_none()
        {
            *shared = Some(value.clone_ref(py));
        }
        self.put(node, value);
        self.solve(py, index + 1)
    }

    fn respond<'py>(&mut self, result: &Bound<'py, PyAny>) -> PyResult<Next<'py>> {
        let py = result.py();
        let checked = result.cast_exact::<Checked>().ok().map(Bound::get);
        let value = &checked.map_or_else(|| result.clone(), |checked| checked.value(py));
        let helpers = Helpers::of(py)?;
        let background = self.background.as_ref().map(|tasks| tasks.bind(py).clone());
        if value.is_instance(helpers.response.bind(py))? {
            let name = intern!(py, "background");
            if let Some(tasks) = background
                && value.getattr(name)?.is_none()
            {
                value.setattr(name, tasks)?;
            }
            self.answer = Some(Answer::Object(value.clone().unbind()));
            return Ok(self.leave_function(py));
        }
        let temporal = self.temporal.as_ref().map(|response| response.bind(py).clone());
        let plan = self.plan.clone();
        match plan.respond.make(helpers, value, checked, temporal.as_ref())? {
            Made::Answer(answer) => {
                self.answer = Some(answer);
                Ok(self.leave_function(py))
            }
            Made::Reference => {
                let route = plan.route.bind(py);
                let arguments = (route, value, background, temporal);
                let building = helpers.build_response.bind(py).call1(arguments)?;
                Ok(Next::Await(building, Awaiting::Built))
            }
            Made::Invalid(error) => {
                let scope = self.parts(py)?.scope;
                let arguments = (error, value, plan.route.bind(py), scope);
                let invalid = helpers.response_invalid.bind(py).call1(arguments)?;
                Err(PyErr::from_value(invalid))
            }
        }
    }

    fn invalid_request(&mut self, py: Python<'_>) -> PyResult<PyErr> {
        let errors = self.errors(py);
        let body = self.body_for_errors(py)?;
        let scope = self.parts(py)?.scope;
        let arguments = (errors, body, self.plan.route.bind(py), scope);
        Ok(PyErr::from_value(Helpers::of(py)?.request_invalid.bind(py).call1(arguments)?))
    }

    // --- leaving ---

    pub(super) fn leave_function<'py>(&mut self, py: Python<'py>) -> Next<'py> {
        self.phase = Phase::LeavingFunction;
        if let Some(next) = self.leave_next(py) {
            return next;
        }
        if self.error.is_some() {
            return self.leave_request(py);
        }
        self.phase = Phase::Sending;
        let sent = match self.answer {
            Some(_) => self.send(py),
            // A dependency swallowed the exception, and nothing was made to be sent.
            None => Err(PyUnboundLocalError::new_err(
                "cannot access local variable 'response' where it is not associated with a value",
            )),
        };
        self.or_fail(py, sent)
    }

    /// Goes on after the response was sent and its background tasks have run.
    pub(super) fn sent_all<'py>(&mut self, py: Python<'py>) -> Next<'py> {
        self.answered = true;
        self.leave_request(py)
    }

    fn leave_request<'py>(&mut self, py: Python<'py>) -> Next<'py> {
        self.phase = Phase::LeavingRequest;
        if let Some(next) = self.leave_next(py) {
            return next;
        }
        match self.error.take() {
            Some(error) => self.handle(py, error),
            None if self.answered => Next::Done,
            None => match Helpers::of(py).and_then(|help| help.not_awaited.bind(py).call0()) {
                Ok(error) => self.handle(py, PyErr::from_value(error)),
                Err(error) => self.handle(py, error),
            },
        }
    }

    /// Begins to leave what is to be left in this phase. `None`: nothing.
    fn leave_next<'py>(&mut self, py: Python<'py>) -> Option<Next<'py>> {
        loop {
            let list = match self.phase {
                Phase::LeavingFunction => &mut self.leave_before_sending,
                _ => &mut self.leave_at_end,
            };
            if list.is_empty() {
                return None;
            }
            if let Some(error) = &self.error {
                let entries: Vec<_> = list.drain(..).map(Leave::into_object).collect();
                let unwinding = Helpers::of(py)
                    .and_then(|help| help.unwind.bind(py).call1((entries, error.value(py))));
                match unwinding {
                    Ok(unwinding) => return Some(Next::Await(unwinding, Awaiting::Unwound)),
                    Err(error) => self.error = Some(error),
                }
                continue;
            }
            let leave = list.pop()?;
            match leave.begin(py) {
                Ok(leaving) => return Some(Next::Await(leaving, Awaiting::Left(leave))),
                Err(error) => self.error = Some(error),
            }
        }
    }

    fn left<'py>(
        &mut self,
        py: Python<'py>,
        leave: Leave,
        result: PyResult<Bound<'py, PyAny>>,
    ) -> Next<'py> {
        match (leave, result) {
            (Leave::Generator(generator), Ok(_)) => {
                let stopping =
                    Helpers::of(py).and_then(|help| help.not_stopped.bind(py).call1((generator,)));
                match stopping {
                    Ok(stopping) => {
                        let finished = Leave::Finished;
                        return Next::Await(stopping, Awaiting::Left(finished));
                    }
                    Err(error) => self.error = Some(error),
                }
            }
            (Leave::Generator(_), Err(error))
                if error.is_instance_of::<PyStopAsyncIteration>(py) => {}
            (_, Ok(_)) => {}
            (_, Err(error)) => self.error = Some(error),
        }
        self.leave_more(py)
    }

    fn unwound<'py>(&mut self, py: Python<'py>, result: PyResult<Bound<'py, PyAny>>) -> Next<'py> {
        match result.and_then(|swallowed| swallowed.is_truthy()) {
            Ok(true) => self.error = None,
            Ok(false) => {}
            Err(error) => self.error = Some(error),
        }
        self.leave_more(py)
    }

    fn leave_more<'py>(&mut self, py: Python<'py>) -> Next<'py> {
        match self.phase {
            Phase::LeavingFunction => self.leave_function(py),
            _ => self.leave_request(py),
        }
    }
}
