//! The values that a request's head holds for one callable.

use std::borrow::Cow;

use pelton_http::{Headers, cookie, query};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use super::field::{Field, Found};
use super::router::Captured;

/// The fields that one part of the request gives to one callable, from `_plan_spec.GroupSpec`.
pub(crate) struct Group {
    /// Which part.
    pub(crate) part: Part,
    /// The fields, in order.
    pub(crate) fields: Vec<Field>,
    /// The reference path's fields, where it reads them.
    pub(crate) reference: Option<Py<PyAny>>,
    /// Their names in the callable, for the reference path's answer.
    pub(crate) names: Vec<Py<PyString>>,
}

/// A part of a request's head.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Path,
    Query,
    Header,
    Cookie,
}

/// A request's head, as the plan reads it.
pub(crate) struct HeadView<'a, 'py> {
    /// The path's parameters.
    pub(crate) path: PathValues<'a, 'py>,
    /// What follows `?`, undecoded.
    pub(crate) query: &'a [u8],
    /// The header fields.
    pub(crate) headers: &'a Headers,
}

/// The parameters of a path.
pub(crate) enum PathValues<'a, 'py> {
    /// Found by our router, in this path.
    Captured(&'a Captured, &'a str),
    /// Found and converted by Starlette.
    Converted(Bound<'py, PyDict>),
}

type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

impl Part {
    /// As it stands in an error's location.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Cookie => "cookie",
        }
    }
}

impl Group {
    /// Reads a `GroupSpec`.
    pub(crate) fn from_spec(spec: &Bound<'_, PyAny>) -> PyResult<Self> {
        let part = match spec.getattr("location")?.extract::<String>()?.as_str() {
            "path" => Part::Path,
            "query" => Part::Query,
            "header" => Part::Header,
            _ => Part::Cookie,
        };
        let mut fields = Vec::new();
        let mut names = Vec::new();
        for item in spec.getattr("fields")?.try_iter()? {
            let item = item?;
            names.push(item.getattr("name")?.cast_into::<PyString>()?.unbind());
            fields.push(Field::from_spec(&item)?);
        }
        let reference = spec.getattr("reference")?.extract::<bool>()?;
        let originals = spec.getattr("originals")?.unbind();
        Ok(Self { part, fields, names, reference: reference.then_some(originals) })
    }

    /// Finds every field's value in `head`, without running any Python code.
    pub(crate) fn find<'py>(
        &self,
        py: Python<'py>,
        head: &HeadView<'_, 'py>,
        found: &mut Vec<Found<'py>>,
    ) {
        match self.part {
            Part::Path => found.extend(self.fields.iter().map(|field| head.path.find(py, field))),
            Part::Header => {
                found.extend(self.fields.iter().map(|field| in_headers(py, head.headers, field)));
            }
            Part::Query => {
                let pairs: Pairs<'_> = query::pairs(head.query).collect();
                found.extend(self.fields.iter().map(|field| in_pairs(py, &pairs, field)));
            }
            Part::Cookie => {
                let pairs: Pairs<'_> =
                    head.headers.get_all(b"cookie").flat_map(cookie::pairs).collect();
                found.extend(self.fields.iter().map(|field| in_pairs(py, &pairs, field)));
            }
        }
    }
}

impl<'py> PathValues<'_, 'py> {
    fn find(&self, py: Python<'py>, field: &Field) -> Found<'py> {
        for (alias, name) in field.aliases.iter().enumerate() {
            match self {
                Self::Captured(captured, path) => {
                    if let Some(value) = captured.get(name, path) {
                        return value.found(py, field, alias);
                    }
                }
                Self::Converted(values) => {
                    if let Ok(Some(value)) = values.get_item(name) {
                        return match value.cast_exact::<PyString>() {
                            Ok(text) => match text.to_str() {
                                Ok(text) => field.found_text(py, text, alias),
                                Err(_) => Found::Check(value, alias),
                            },
                            Err(_) => Found::Check(value, alias),
                        };
                    }
                }
            }
        }
        Found::Missing
    }
}

fn in_pairs<'py>(py: Python<'py>, pairs: &Pairs<'_>, field: &Field) -> Found<'py> {
    for (alias, name) in field.aliases.iter().enumerate() {
        // Where a name comes twice, the last one counts.
        let Some((_, last)) = pairs.iter().rev().find(|(candidate, _)| candidate == name) else {
            continue;
        };
        if !field.several {
            return field.found_text(py, last, alias);
        }
        let all = pairs.iter().filter(|(candidate, _)| candidate == name).map(|(_, value)| value);
        return list_of(py, all.map(Cow::as_ref), alias);
    }
    Found::Missing
}

fn in_headers<'py>(py: Python<'py>, headers: &Headers, field: &Field) -> Found<'py> {
    for (alias, name) in field.aliases.iter().enumerate() {
        let name = name.to_ascii_lowercase();
        // Where a name comes twice, the first one counts.
        let Some(first) = headers.get(name.as_bytes()) else {
            continue;
        };
        if !field.several {
            return field.found_text(py, &latin1(first), alias);
        }
        let all: Vec<_> = headers.get_all(name.as_bytes()).map(latin1).collect();
        return list_of(py, all.iter().map(Cow::as_ref), alias);
    }
    Found::Missing
}

fn list_of<'a, 'py>(
    py: Python<'py>,
    texts: impl Iterator<Item = &'a str>,
    alias: usize,
) -> Found<'py> {
    let texts: Vec<_> = texts.map(|text| PyString::new(py, text)).collect();
    match PyList::new(py, texts) {
        Ok(list) => Found::Check(list.into_any(), alias),
        Err(_) => Found::Missing,
    }
}

/// Header bytes as text: each byte is one character.
pub(crate) fn latin1(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Cow::Borrowed(text),
        _ => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    }
}
