//! One declared value: where it is found in a request, and how text becomes a Python value.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyList, PyString};

use super::call::call_mixed;
use super::helpers::Helpers;

/// A declared value, from `_plan_spec.FieldSpec`.
pub(crate) struct Field {
    /// The names under which a request may carry it, the preferred one first.
    pub(crate) aliases: Vec<String>,
    /// Whether it takes all values of its name.
    pub(crate) several: bool,
    required: bool,
    default: Py<PyAny>,
    make_default: Option<Py<PyAny>>,
    validate_default: bool,
    quick: Quick,
    validate: Py<PyAny>,
}

/// Types whose usual texts are converted here, with Pydantic's results; all other texts, and so
/// all errors, are Pydantic's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quick {
    Never,
    Text,
    Integer,
    Float,
    Boolean,
}

/// What a request holds for a field.
pub(crate) enum Found<'py> {
    /// The value, which needs no validator.
    Ready(Bound<'py, PyAny>),
    /// A value to validate, and which of the field's names it came under.
    Check(Bound<'py, PyAny>, usize),
    /// Nothing.
    Missing,
}

/// Where errors of a field are placed: `(part,)` or `(part, name)`.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// `path`, `query`, `header`, `cookie` or `body`.
    pub(crate) part: &'a str,
    /// Whether the field is the whole body, so that its own name is no part of the place.
    pub(crate) whole: bool,
}

#[derive(FromPyObject)]
struct Spec {
    aliases: Vec<String>,
    several: bool,
    required: bool,
    default: Py<PyAny>,
    make_default: Option<Py<PyAny>>,
    validate_default: bool,
    quick: String,
    validate: Py<PyAny>,
}

impl Field {
    /// Reads a `FieldSpec`.
    pub(crate) fn from_spec(spec: &Bound<'_, PyAny>) -> PyResult<Self> {
        let spec: Spec = spec.extract()?;
        let quick = match spec.quick.as_str() {
            "str" => Quick::Text,
            "int" => Quick::Integer,
            "float" => Quick::Float,
            "bool" => Quick::Boolean,
            _ => Quick::Never,
        };
        Ok(Self {
            aliases: spec.aliases,
            several: spec.several,
            required: spec.required,
            default: spec.default,
            make_default: spec.make_default,
            validate_default: spec.validate_default,
            quick,
            validate: spec.validate,
        })
    }

    /// What one text of a request, found under the name number `alias`, is for this field.
    pub(crate) fn found_text<'py>(&self, py: Python<'py>, text: &str, alias: usize) -> Found<'py> {
        match self.quick.convert(py, text) {
            Some(value) => Found::Ready(value),
            None => Found::Check(PyString::new(py, text).into_any(), alias),
        }
    }

    /// The validated value; `None` if it is wrong, with what is wrong added to `errors`.
    pub(crate) fn settle<'py>(
        &self,
        helpers: &Helpers,
        found: Found<'py>,
        place: Place<'_>,
        errors: &Bound<'py, PyList>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = errors.py();
        let (value, alias) = match found {
            Found::Ready(value) => return Ok(Some(value)),
            Found::Check(value, alias) => (value, alias),
            Found::Missing if self.required => {
                errors.append(helpers.missing.bind(py).call1((self.location(py, place, 0)?,))?)?;
                return Ok(None);
            }
            Found::Missing => {
                let value = match &self.make_default {
                    Some(make) => make.bind(py).call0()?,
                    None => self.default.bind(py).clone(),
                };
                if !self.validate_default {
                    return Ok(Some(value));
                }
                (value, 0)
            }
        };
        match validate(helpers, self.validate.bind(py), &value) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.matches(py, helpers.validation_error.bind(py))? => {
                let location = self.location(py, place, alias)?;
                let located = helpers.located.bind(py).call1((error.value(py), location))?;
                errors.call_method1("extend", (located,))?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn location<'py>(
        &self,
        py: Python<'py>,
        place: Place<'_>,
        alias: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let name = self.aliases.get(alias).map_or("", String::as_str);
        Ok(if place.whole {
            (place.part,).into_pyobject(py)?.into_any()
        } else {
            (place.part, name).into_pyobject(py)?.into_any()
        })
    }
}

/// Calls Pydantic's `validate_python(value, from_attributes=True)`.
pub(crate) fn validate<'py>(
    helpers: &Helpers,
    validate: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = validate.py();
    let yes = PyBool::new(py, true).to_owned().into_any();
    call_mixed(validate, 1, helpers.from_attributes.bind(py), &[value.clone(), yes])
}

impl Quick {
    fn convert<'py>(self, py: Python<'py>, text: &str) -> Option<Bound<'py, PyAny>> {
        match self {
            Self::Never => None,
            Self::Text => Some(PyString::new(py, text).into_any()),
            Self::Integer => Some(PyInt::new(py, plain_integer(text)?).into_any()),
            Self::Float => Some(PyFloat::new(py, plain_float(text)?).into_any()),
            Self::Boolean => match text {
                "true" | "1" | "on" | "t" | "yes" | "y" => Some(true),
                "false" | "0" | "off" | "f" | "no" | "n" => Some(false),
                _ => None,
            }
            .map(|value| PyBool::new(py, value).to_owned().into_any()),
        }
    }
}

/// An integer of at most 18 digits, perhaps with a minus sign; no other ways of writing it.
fn plain_integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain =
        (1..=18).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// A number of digits with at most one point between them.
fn plain_float(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (text.len() <= 64 && all_digits(whole) && all_digits(part)).then(|| text.parse().ok()).flatten()
}
