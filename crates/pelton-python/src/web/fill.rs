//! A node's arguments from the request, and the request's body.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::extract::Group;
use super::field::{Field, Found, Place};
use super::helpers::Helpers;
use super::plan::{BodyPlan, Node};
use super::progress::{Awaiting, Next, Progress};

/// A body that was read from its text in one step.
#[derive(Default)]
pub(super) struct ReadyBody {
    /// What the one who asks for the body gets.
    value: Option<Py<PyAny>>,
    text: Option<Py<PyBytes>>,
}

impl ReadyBody {
    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.value)
    }
}

impl Progress {
    /// Gives node number `index` all its arguments that do not come from other nodes. What is
    /// wrong with the request is added to the errors, and marks the node.
    pub(super) fn fill(&mut self, py: Python<'_>, index: usize, node: &Node) -> PyResult<()> {
        let mut slot = node.base + node.given;
        let mut good = true;
        for group in &node.groups {
            good &= self.fill_group(py, group, slot)?;
            slot += group.fields.len();
        }
        if !node.body.is_empty() {
            good &= match self.plan.body {
                Some(body) if body.is_form => self.fill_form(py, node, slot)?,
                _ => self.fill_body(py, &node.body, slot)?,
            };
        }
        for &slot in &node.request_slots {
            self.values[node.base + slot] = Some(self.request(py)?.unbind());
        }
        if let Some(slot) = node.background_slot {
            self.values[node.base + slot] = Some(self.background_tasks(py)?.unbind());
        }
        if let Some(slot) = node.response_slot {
            self.values[node.base + slot] = Some(self.temporal_response(py)?.unbind());
        }
        if let Some(slot) = node.scopes_slot {
            let scopes = Helpers::of(py)?.security_scopes.bind(py);
            self.values[node.base + slot] = Some(scopes.call1((&node.scopes,))?.unbind());
        }
        if !good {
            self.mark_failed(index);
        }
        Ok(())
    }

    fn fill_group(&mut self, py: Python<'_>, group: &Group, slot: usize) -> PyResult<bool> {
        if let Some(fields) = &group.reference {
            return self.fill_by_reference(py, group, fields.bind(py), slot);
        }
        let mut found = Vec::with_capacity(group.fields.len());
        self.channel.find(py, group, &mut found)?;
        let mut good = true;
        for (offset, (field, found)) in group.fields.iter().zip(found).enumerate() {
            let place = Place { part: group.part.name(), whole: false };
            good &= self.settle(py, field, found, place, slot + offset)?;
        }
        Ok(good)
    }

    fn settle(
        &mut self,
        py: Python<'_>,
        field: &Field,
        found: Found<'_>,
        place: Place<'_>,
        slot: usize,
    ) -> PyResult<bool> {
        let value = match found {
            Found::Ready(value) => Some(value),
            found => field.settle(Helpers::of(py)?, found, place, &self.errors(py))?,
        };
        let good = value.is_some();
        self.values[slot] = value.map(Bound::unbind);
        Ok(good)
    }

    fn fill_by_reference(
        &mut self,
        py: Python<'_>,
        group: &Group,
        fields: &Bound<'_, PyAny>,
        slot: usize,
    ) -> PyResult<bool> {
        let request = self.request(py)?;
        let read = Helpers::of(py)?.read_group.bind(py);
        let (values, errors): (Bound<'_, PyDict>, Bound<'_, PyAny>) =
            read.call1((fields, group.part.name(), request))?.extract()?;
        for (offset, name) in group.names.iter().enumerate() {
            self.values[slot + offset] = values.get_item(name)?.map(Bound::unbind);
        }
        if errors.is_truthy()? {
            self.errors(py).call_method1(intern!(py, "extend"), (errors,))?;
            return Ok(false);
        }
        Ok(true)
    }

    fn fill_body(&mut self, py: Python<'_>, fields: &[Field], slot: usize) -> PyResult<bool> {
        if let Some(value) = self.ready_body.value.take() {
            self.values[slot] = Some(value);
            return Ok(true);
        }
        let embed = self.plan.body.is_some_and(|body| body.embed);
        let body = self.body.as_ref().map(|body| body.bind(py).clone());
        if let [field] = fields
            && !embed
        {
            let found = body.map_or(Found::Missing, |body| Found::Check(body, 0));
            let place = Place { part: "body", whole: true };
            return self.settle(py, field, found, place, slot);
        }
        let mut good = true;
        for (offset, field) in fields.iter().enumerate() {
            let place = Place { part: "body", whole: false };
            let found = match &body {
                Some(body) if !body.is_instance_of::<PyBytes>() => find_in_body(body, field)?,
                _ => Some(Found::Missing),
            };
            good &= match found {
                Some(found) => self.settle(py, field, found, place, slot + offset)?,
                None => {
                    // The body is no object, so even an optional field cannot be told missing.
                    let location = ("body", &field.aliases[0]);
                    let missing = Helpers::of(py)?.missing.bind(py).call1((location,))?;
                    self.errors(py).append(missing)?;
                    false
                }
            };
        }
        Ok(good)
    }

    // --- the body ---

    /// The first step of a request: its body, then its nodes.
    pub(super) fn read_body<'py>(&mut self, py: Python<'py>) -> PyResult<Next<'py>> {
        match self.plan.body {
            None => return self.solve(py, 0),
            Some(body) if body.is_form => return self.read_form(py),
            Some(_) => {}
        }
        match self.native_body(py) {
            Some(bytes) => self.take_body(bytes.as_any()),
            None => {
                let reading = self.request(py)?.call_method0(intern!(py, "body"))?;
                Ok(Next::Await(reading, Awaiting::Body))
            }
        }
    }

    /// Parses the body and goes on.
    pub(super) fn take_body<'py>(&mut self, bytes: &Bound<'py, PyAny>) -> PyResult<Next<'py>> {
        let py = bytes.py();
        let bytes = bytes.cast::<PyBytes>()?;
        if let (Some(plan), false) = (self.plan.body, bytes.as_bytes().is_empty()) {
            let parsed = match self.is_json(py, plan)? {
                false => Ok(bytes.clone().into_any()),
                true if self.read_at_once(bytes)? => return self.solve(py, 0),
                true => parse_json(bytes),
            };
            match parsed {
                Ok(value) => self.body = Some(value.unbind()),
                Err(error) => return Err(self.body_error(py, error)),
            }
        }
        self.solve(py, 0)
    }

    /// Whether the whole body was read and validated in one step. Where it is not valid, it is
    /// read again: what is wrong is said of objects, not of their text.
    fn read_at_once(&mut self, bytes: &Bound<'_, PyBytes>) -> PyResult<bool> {
        let py = bytes.py();
        let Some(read_json) = &self.plan.read_json else {
            return Ok(false);
        };
        if !is_usual_parser(Helpers::of(py)?, py)? {
            return Ok(false);
        }
        let Ok(value) = read_json.bind(py).call1((bytes,)) else {
            return Ok(false);
        };
        let (value, text) = (Some(value.unbind()), Some(bytes.clone().unbind()));
        self.ready_body = ReadyBody { value, text };
        Ok(true)
    }

    /// The body as errors of other values show it.
    pub(super) fn body_for_errors<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match (&self.body, &self.ready_body.text) {
            (Some(body), _) => Ok(Some(body.bind(py).clone())),
            (None, Some(text)) => parse_json(text.bind(py)).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn is_json(&self, py: Python<'_>, plan: BodyPlan) -> PyResult<bool> {
        Ok(match self.channel.content_type(py)? {
            Some(value) if !value.is_empty() => is_json_type(&value),
            _ => !plan.strict_content_type,
        })
    }

    /// The exception for a body that could not be read.
    pub(super) fn body_error(&mut self, py: Python<'_>, error: PyErr) -> PyErr {
        let made = Helpers::of(py).and_then(|helpers| {
            let scope = self.parts(py)?.scope;
            let arguments = (error.value(py), self.plan.route.bind(py), scope);
            helpers.body_error.bind(py).call1(arguments)
        });
        match made {
            Ok(made) => PyErr::from_value(made),
            Err(error) => error,
        }
    }
}

/// `None`: the body has no keys.
fn find_in_body<'py>(body: &Bound<'py, PyAny>, field: &Field) -> PyResult<Option<Found<'py>>> {
    let Ok(body) = body.cast::<PyDict>() else {
        return Ok(None);
    };
    for (alias, name) in field.aliases.iter().enumerate() {
        if let Some(value) = body.get_item(name)? {
            return Ok(Some(Found::Check(value, alias)));
        }
    }
    Ok(Some(Found::Missing))
}

fn parse_json<'py>(bytes: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyAny>> {
    let py = bytes.py();
    let helpers = Helpers::of(py)?;
    let loads = helpers.json.bind(py).getattr(intern!(py, "loads"))?;
    if is_usual_parser(helpers, py)?
        && let Ok(value) = helpers.from_json.bind(py).call1((bytes,))
    {
        return Ok(value);
    }
    // Python takes more (other encodings, lone surrogates), and its errors are the expected ones.
    loads.call1((bytes,))
}

/// Whether `json.loads` is what it was: tests put others in its place, which are to be asked then.
fn is_usual_parser(helpers: &Helpers, py: Python<'_>) -> PyResult<bool> {
    let loads = helpers.json.bind(py).getattr(intern!(py, "loads"))?;
    Ok(loads.is(helpers.json_loads.bind(py)))
}

/// Whether a content type is `application/json` or `application/*+json`, read as
/// `email.message.Message` reads it.
fn is_json_type(value: &[u8]) -> bool {
    let value = value.split(|byte| *byte == b';').next().unwrap_or(value).trim_ascii();
    let Some(at) = value.iter().position(|byte| *byte == b'/') else {
        return false;
    };
    let (main, sub) = (&value[..at], value[at + 1..].to_ascii_lowercase());
    main.eq_ignore_ascii_case(b"application")
        && !sub.contains(&b'/')
        && (sub == b"json" || sub.ends_with(b"+json"))
}
