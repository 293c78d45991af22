//! Dependencies that are overridden while a request is under way, by what it has called before.
//!
//! A request that begins while there are overrides takes the reference path; one that has begun
//! lets the reference path solve just what is overridden, and goes on.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::helpers::Helpers;
use super::leave::Leave;
use super::progress::{Awaiting, Next, Progress};

#[derive(FromPyObject)]
struct Solved {
    value: Py<PyAny>,
    errors: Py<PyAny>,
    background: Option<Py<PyAny>>,
    response: Option<Py<PyAny>>,
    /// By their slots.
    shared: Py<PyDict>,
    request_stack: Py<PyAny>,
    function_stack: Py<PyAny>,
}

impl Progress {
    /// Has the reference path solve the dependency that begins at node number `index`, if one
    /// that does is overridden. `None`: none is.
    pub(super) fn solve_overridden<'py>(
        &mut self,
        py: Python<'py>,
        index: usize,
    ) -> PyResult<Option<Next<'py>>> {
        let plan = self.plan.clone();
        let is_endpoint = index + 1 == plan.nodes.len();
        if is_endpoint || self.form.is_taken() || !plan.is_overridden(py)? {
            return Ok(None);
        }
        let helpers = Helpers::of(py)?;
        let route = plan.route.bind(py);
        let found = helpers.overridden_node.bind(py).call1((route, &plan.dependants, index))?;
        let Some(number) = found.extract::<Option<usize>>()? else {
            return Ok(None);
        };
        let shared = PyDict::new(py);
        for (slot, value) in self.shared.iter().enumerate() {
            if let Some(value) = value {
                shared.set_item(slot, value)?;
            }
        }
        let kwargs = PyDict::new(py);
        kwargs.set_item(intern!(py, "request"), self.request(py)?)?;
        // JSON's null is a body, too.
        if let Some(body) = self.body_for_errors(py)? {
            kwargs.set_item(intern!(py, "body"), body)?;
        }
        kwargs.set_item(intern!(py, "background"), self.background.as_ref())?;
        kwargs.set_item(intern!(py, "response"), self.temporal_response(py)?)?;
        kwargs.set_item(intern!(py, "shared"), shared)?;
        let arguments = (route, &plan.dependants, number);
        let solving = helpers.solve_overridden.bind(py).call(arguments, Some(&kwargs))?;
        Ok(Some(Next::Await(solving, Awaiting::Overridden(number))))
    }

    /// Goes on after the reference path has solved node number `index`.
    pub(super) fn overridden_solved<'py>(
        &mut self,
        index: usize,
        solved: &Bound<'py, PyAny>,
    ) -> PyResult<Next<'py>> {
        let py = solved.py();
        let solved: Solved = solved.extract()?;
        self.leave_at_end.push(Leave::Manager(solved.request_stack));
        self.leave_before_sending.push(Leave::Manager(solved.function_stack));
        self.background = solved.background;
        self.temporal = solved.response;
        for (slot, value) in solved.shared.bind(py) {
            if let Some(place) = self.shared.get_mut(slot.extract::<usize>()?) {
                *place = Some(value.unbind());
            }
        }
        let plan = self.plan.clone();
        let node = &plan.nodes[index];
        if solved.errors.bind(py).is_truthy()? {
            self.errors(py).call_method1(intern!(py, "extend"), (&solved.errors,))?;
            if let Some(parent) = node.parent {
                self.mark_failed(parent);
            }
        } else {
            self.put(node, solved.value);
        }
        self.solve(py, index + 1)
    }
}
