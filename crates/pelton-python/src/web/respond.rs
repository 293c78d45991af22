//! What an endpoint returned, as a response.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use pyo3::{PyTypeInfo, intern};

use super::call::call_mixed;
use super::field::validate;
use super::helpers::Helpers;
use super::json;
use super::writer::Root;

/// How a route's results become responses, from `_plan.RespondSpec`.
pub(crate) struct Respond {
    status: Option<u16>,
    way: Way,
}

enum Way {
    /// Plain values written here, others through `jsonable_encoder`.
    Json,
    /// Validated and serialized by Pydantic, if `writer` does not do both.
    Model {
        writer: Option<Arc<Root>>,
        validate: Py<PyAny>,
        to_json: Py<PyAny>,
        names: Py<PyTuple>,
        options: Vec<Py<PyAny>>,
    },
    /// By the reference path: a response class of the user's choice.
    Reference,
}

/// A result that was compared with the response model in the thread that made it: it may be lazy,
/// and reading it may block.
#[pyclass(frozen, module = "pelton._core")]
pub(crate) struct Checked {
    value: Py<PyAny>,
    outcome: Outcome,
}

/// What came of a comparison.
enum Outcome {
    /// It is valid, and this is its JSON text.
    Written(Vec<u8>),
    /// The valid value.
    Valid(Py<PyAny>),
    /// Pydantic's error.
    Invalid(Py<PyAny>),
}

impl Outcome {
    fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Written(text) => Self::Written(text.clone()),
            Self::Valid(value) => Self::Valid(value.clone_ref(py)),
            Self::Invalid(error) => Self::Invalid(error.clone_ref(py)),
        }
    }
}

/// Compares results with a response model, in any thread.
pub(crate) struct Checker {
    writer: Option<Arc<Root>>,
    validate: Py<PyAny>,
}

impl Checked {
    /// The result as it was.
    pub(crate) fn value<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.value.bind(py).clone()
    }
}

/// A response to be sent.
pub(crate) enum Answer {
    /// JSON text, with the headers that the endpoint or a dependency added.
    Json { status: u16, body: Payload, extra: Option<Py<PyList>> },
    /// A Starlette response.
    Object(Py<PyAny>),
}

/// JSON text.
pub(crate) enum Payload {
    Rust(Vec<u8>),
    Python(Py<PyBytes>),
}

/// What comes of a result.
pub(crate) enum Made<'py> {
    Answer(Answer),
    /// The reference path makes the response.
    Reference,
    /// The result is not what the route declared: Pydantic's error.
    Invalid(Bound<'py, PyAny>),
}

impl Payload {
    /// The bytes.
    pub(crate) fn as_slice<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        match self {
            Self::Rust(bytes) => bytes,
            Self::Python(bytes) => bytes.bind(py).as_bytes(),
        }
    }
}

impl Respond {
    /// Reads a `RespondSpec`.
    pub(crate) fn from_spec(spec: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = spec.py();
        let way = match spec.getattr("way")?.extract::<String>()?.as_str() {
            "json" => Way::Json,
            "model" => {
                let options = spec.getattr("options")?.cast_into::<pyo3::types::PyDict>()?;
                let writer = spec.getattr("writer")?;
                let writer = (!writer.is_none()).then(|| Root::from_spec(&writer)).transpose()?;
                Way::Model {
                    writer: writer.map(Arc::new),
                    validate: spec.getattr("validate")?.unbind(),
                    to_json: spec.getattr("to_json")?.unbind(),
                    names: PyTuple::new(py, options.keys())?.unbind(),
                    options: options.values().iter().map(Bound::unbind).collect(),
                }
            }
            _ => Way::Reference,
        };
        Ok(Self { status: spec.getattr("status_code")?.extract()?, way })
    }

    /// How the results of blocking endpoints are compared with the response model, if the plan
    /// has one.
    pub(crate) fn checker(&self, py: Python<'_>) -> Option<Checker> {
        match &self.way {
            Way::Model { writer, validate, .. } => {
                Some(Checker { writer: writer.clone(), validate: validate.clone_ref(py) })
            }
            Way::Json | Way::Reference => None,
        }
    }

    /// Makes the response to `value`, which was `checked` before or is now; `temporal` is the `Response` that dependencies wrote to.
    pub(crate) fn make<'py>(
        &self,
        helpers: &Helpers,
        value: &Bound<'py, PyAny>,
        checked: Option<&Checked>,
        temporal: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Made<'py>> {
        let py = value.py();
        let Some((status, extra)) = self.status_and_headers(py, temporal)? else {
            return Ok(Made::Reference);
        };
        let body = match &self.way {
            Way::Reference => return Ok(Made::Reference),
            Way::Json => {
                let mut text = Vec::with_capacity(128);
                if !json::write(value, &mut text) {
                    return Ok(Made::Reference);
                }
                Payload::Rust(text)
            }
            Way::Model { writer, validate: check, to_json, names, options } => {
                let outcome = match checked {
                    Some(checked) => checked.outcome.clone_ref(py),
                    None => compare(helpers, writer.as_deref(), check.bind(py), value)?,
                };
                match outcome {
                    Outcome::Written(text) => Payload::Rust(text),
                    Outcome::Invalid(error) => return Ok(Made::Invalid(error.into_bound(py))),
                    Outcome::Valid(valid) => {
                        let mut values = Vec::with_capacity(1 + options.len());
                        values.push(valid.into_bound(py));
                        values.extend(options.iter().map(|option| option.bind(py).clone()));
                        let text = call_mixed(to_json.bind(py), 1, names.bind(py), &values)?;
                        Payload::Python(text.cast_into::<PyBytes>()?.unbind())
                    }
                }
            }
        };
        let body = if has_body(status) { body } else { Payload::Rust(Vec::new()) };
        Ok(Made::Answer(Answer::Json { status, body, extra }))
    }

    /// `None`: the status is one whose odd semantics are left to the reference path.
    fn status_and_headers<'py>(
        &self,
        py: Python<'py>,
        temporal: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<(u16, Option<Py<PyList>>)>> {
        let mut status = self.status.unwrap_or(200);
        let mut extra = None;
        if let Some(temporal) = temporal {
            let own = temporal.getattr(intern!(py, "status_code"))?;
            if own.is_truthy()? {
                let Ok(own) = own.extract::<u16>() else {
                    return Ok(None);
                };
                status = own;
            }
            let headers = temporal.getattr(intern!(py, "raw_headers"))?;
            let Ok(headers) = headers.cast_into_exact::<PyList>() else {
                return Ok(None);
            };
            if !headers.is_empty() {
                extra = Some(headers.unbind());
            }
        }
        // 205 has the length of a body that it does not have, as FastAPI makes it.
        let usual = (200..=599).contains(&status) && status != 205;
        Ok(usual.then_some((status, extra)))
    }
}

impl Checker {
    /// Compares a result, in the thread that made it.
    pub(crate) fn check(&self, helpers: &Helpers, value: Bound<'_, PyAny>) -> PyResult<Checked> {
        let validate = self.validate.bind(value.py());
        let outcome = compare(helpers, self.writer.as_deref(), validate, &value)?;
        Ok(Checked { value: value.unbind(), outcome })
    }
}

/// The text of a result if it can be written here, else the valid value, or Pydantic's error.
fn compare(
    helpers: &Helpers,
    writer: Option<&Root>,
    validator: &Bound<'_, PyAny>,
    value: &Bound<'_, PyAny>,
) -> PyResult<Outcome> {
    let py = value.py();
    if let Some(writer) = writer {
        let mut text = Vec::with_capacity(writer.usual_length());
        if writer.write(value, &mut text) {
            writer.note_length(text.len());
            return Ok(Outcome::Written(text));
        }
    }
    match validate(helpers, validator, value) {
        Ok(valid) => Ok(Outcome::Valid(valid.unbind())),
        Err(error) if error.matches(py, helpers.validation_error.bind(py))? => {
            Ok(Outcome::Invalid(error.into_value(py).into_any()))
        }
        Err(error) => Err(error),
    }
}

/// Whether a response of this status may have a body.
pub(crate) fn has_body(status: u16) -> bool {
    !(status < 200 || matches!(status, 204 | 205 | 304))
}

/// Status, header fields and body of a response object that sends just those; `None` if its class
/// has a way of its own, so that it must be called.
pub(crate) struct PlainResponse<'py> {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>,
    pub(crate) body: Bound<'py, PyBytes>,
}

impl<'py> PlainResponse<'py> {
    /// Takes `response` apart.
    pub(crate) fn of(helpers: &Helpers, response: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let py = response.py();
        let call = response.get_type().getattr(intern!(py, "__call__"))?;
        if !call.is(helpers.response_call.bind(py)) {
            return Ok(None);
        }
        let body = response.getattr(intern!(py, "body"))?;
        let status = response.getattr(intern!(py, "status_code"))?.extract::<u16>();
        let (Ok(body), Ok(status)) = (body.cast_into_exact::<PyBytes>(), status) else {
            return Ok(None);
        };
        let raw = response.getattr(intern!(py, "raw_headers"))?;
        let Ok(raw) = raw.cast_into_exact::<PyList>() else {
            return Ok(None);
        };
        let mut headers = Vec::with_capacity(raw.len());
        let length = body.as_bytes().len().to_string();
        for field in raw.iter() {
            let Some((name, value)) = field_of(&field) else {
                return Ok(None);
            };
            if name.as_bytes().eq_ignore_ascii_case(b"content-length") {
                // The transport writes it. One that says something else is the user's intention.
                if value.as_bytes() != length.as_bytes() {
                    return Ok(None);
                }
                continue;
            }
            headers.push((name, value));
        }
        Ok(Some(Self { status, headers, body }))
    }
}

/// A header field, if it is a pair of bytes.
pub(crate) fn field_of<'py>(
    field: &Bound<'py, PyAny>,
) -> Option<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let pair = field.cast::<PyTuple>().ok()?;
    if pair.len() != 2 {
        return None;
    }
    let name = pair.get_item(0).ok()?;
    let value = pair.get_item(1).ok()?;
    if !PyBytes::is_exact_type_of(&name) || !PyBytes::is_exact_type_of(&value) {
        return None;
    }
    Some((name.cast_into().ok()?, value.cast_into().ok()?))
}
