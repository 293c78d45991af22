//! Forms: read into `FormData`, taken apart by the reference path, and their files closed last.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::helpers::Helpers;
use super::plan::Node;
use super::progress::{Awaiting, Next, Progress};

/// What a request's form left to be done.
#[derive(Default)]
pub(super) struct FormState {
    /// `(values, errors)` of the node that is next to be called.
    taken: Option<Py<PyAny>>,
    /// A stack that closes its files, if nobody else does.
    files: Option<Py<PyAny>>,
}

impl FormState {
    /// Whether the next node has what it wants of the form, and is to be called.
    pub(super) fn is_taken(&self) -> bool {
        self.taken.is_some()
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.taken)?;
        visit.call(&self.files)
    }
}

impl Progress {
    /// Reads the form.
    pub(super) fn read_form<'py>(&mut self, py: Python<'py>) -> PyResult<Next<'py>> {
        let request = self.request(py)?;
        let reading = Helpers::of(py)?.read_form.bind(py).call1((request,))?;
        Ok(Next::Await(reading, Awaiting::Form))
    }

    /// Goes on with what [`read_form`](Self::read_form) gave: `(form, stack or None)`.
    pub(super) fn take_form<'py>(&mut self, read: &Bound<'py, PyAny>) -> PyResult<Next<'py>> {
        let (form, files): (Py<PyAny>, Option<Py<PyAny>>) = read.extract()?;
        self.body = Some(form);
        self.form.files = files;
        self.solve(read.py(), 0)
    }

    /// Takes from the form what node number `index` wants of it, just before it is called: what
    /// came before may have read from a file. `None`: it wants nothing, or has it.
    pub(super) fn take_from_form<'py>(
        &self,
        py: Python<'py>,
        index: usize,
    ) -> PyResult<Option<Next<'py>>> {
        let plan = &self.plan;
        let (Some(body), false) = (plan.body, plan.nodes[index].body.is_empty()) else {
            return Ok(None);
        };
        if !body.is_form || self.form.is_taken() {
            return Ok(None);
        }
        let fields = plan.form_groups.bind(py).get_item(index)?;
        let taking = Helpers::of(py)?.form_values.bind(py);
        let taking = taking.call1((fields, self.body.as_ref(), body.embed))?;
        Ok(Some(Next::Await(taking, Awaiting::FormValues(index))))
    }

    /// Goes on with `(values, errors)` for node number `index`.
    pub(super) fn form_taken<'py>(
        &mut self,
        index: usize,
        taken: Bound<'py, PyAny>,
    ) -> PyResult<Next<'py>> {
        let py = taken.py();
        self.form.taken = Some(taken.unbind());
        self.solve(py, index)
    }

    /// Gives a node its arguments from the form, from `slot` on.
    pub(super) fn fill_form(&mut self, py: Python<'_>, node: &Node, slot: usize) -> PyResult<bool> {
        let Some(taken) = self.form.taken.take() else {
            return Ok(false);
        };
        let (values, errors): (Bound<'_, PyDict>, Bound<'_, PyAny>) = taken.extract(py)?;
        let names = node.names.bind(py);
        for offset in 0..node.body.len() {
            let name = names.get_item(slot - node.base + offset)?;
            self.values[slot + offset] = values.get_item(name)?.map(Bound::unbind);
        }
        if errors.is_truthy()? {
            self.errors(py).call_method1(intern!(py, "extend"), (errors,))?;
            return Ok(false);
        }
        Ok(true)
    }

    /// `next`, after the form's files are closed, if `next` is the end.
    pub(super) fn close_files<'py>(&mut self, py: Python<'py>, next: Next<'py>) -> Next<'py> {
        if matches!(next, Next::Await(..)) {
            return next;
        }
        let Some(files) = self.form.files.take() else {
            return next;
        };
        let error = match next {
            Next::Raise(error) => Some(error),
            Next::Done | Next::Await(..) => None,
        };
        match files.bind(py).call_method0(intern!(py, "aclose")) {
            Ok(closing) => Next::Await(closing, Awaiting::Closed(error)),
            Err(error) => self.give_up(py, error),
        }
    }

    /// Ends with `error`, or with what closing raised.
    pub(super) fn closed<'py>(
        &mut self,
        py: Python<'py>,
        error: Option<PyErr>,
        result: PyResult<Bound<'py, PyAny>>,
    ) -> Next<'py> {
        match (error, result) {
            (_, Err(failure)) => self.give_up(py, failure),
            (Some(error), Ok(_)) => Next::Raise(error),
            (None, Ok(_)) => Next::Done,
        }
    }
}
