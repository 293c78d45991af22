//! Which route a path belongs to, decided as Starlette decides it.
//!
//! Starlette tries its routes in order, each with a regular expression made of literal text and
//! convertors. Patterns of the usual convertors are matched here to the same effect; whatever
//! else could match is [`Pattern::Opaque`], at which the search stops and Starlette decides.

use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString};

use super::field::{Field, Found};

/// More parameters than this in one path are left to Starlette.
pub(crate) const MAX_PARAMETERS: usize = 8;

/// A path to match against.
pub(crate) enum Pattern {
    /// This path.
    Literal(String),
    /// Text and parameters in turn.
    Parameters(Vec<Piece>, Vec<Parameter>),
    /// Anything below this prefix is decided elsewhere.
    Opaque(String),
}

/// A piece of a pattern.
pub(crate) enum Piece {
    Text(String),
    /// A parameter, by its number.
    Value(usize),
}

/// A parameter of a path.
pub(crate) struct Parameter {
    name: String,
    kind: Kind,
}

/// Starlette's convertors that are matched here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `[^/]+`
    Text,
    /// `.*`
    Path,
    /// `[0-9]+`
    Integer,
}

/// What the parameters of a matched pattern are, as places in the path.
#[derive(Clone)]
pub(crate) struct Captured {
    names: std::rc::Rc<[(String, Kind)]>,
    places: [(u32, u32); MAX_PARAMETERS],
}

/// One captured parameter.
pub(crate) struct CapturedValue<'a> {
    text: &'a str,
    kind: Kind,
}

/// Whether a pattern matches.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Matched {
    Yes,
    No,
    /// Starlette must say.
    Unknown,
}

impl Pattern {
    /// Reads a pattern as `_plan` gives it: text and `(name, convertor)` in turn.
    pub(crate) fn from_spec(spec: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut pieces = Vec::new();
        let mut parameters = Vec::new();
        let mut prefix = String::new();
        for item in spec.try_iter()? {
            let item = item?;
            if let Ok(text) = item.cast::<PyString>() {
                if parameters.is_empty() {
                    prefix.push_str(text.to_str()?);
                }
                pieces.push(Piece::Text(text.to_str()?.to_owned()));
                continue;
            }
            let (name, convertor): (String, String) = item.extract()?;
            let kind = match convertor.as_str() {
                "str" => Kind::Text,
                "path" => Kind::Path,
                "int" => Kind::Integer,
                _ => return Ok(Self::Opaque(prefix)),
            };
            pieces.push(Piece::Value(parameters.len()));
            parameters.push(Parameter { name, kind });
        }
        if parameters.len() > MAX_PARAMETERS {
            return Ok(Self::Opaque(prefix));
        }
        if parameters.is_empty() {
            return Ok(Self::Literal(prefix));
        }
        Ok(Self::Parameters(pieces, parameters))
    }

    /// The names and kinds of its parameters.
    pub(crate) fn names(&self) -> std::rc::Rc<[(String, Kind)]> {
        match self {
            Self::Parameters(_, parameters) => {
                parameters.iter().map(|item| (item.name.clone(), item.kind)).collect()
            }
            Self::Literal(_) | Self::Opaque(_) => std::rc::Rc::new([]),
        }
    }

    /// Whether it matches all of `path`, which has no line breaks; fills `places`.
    pub(crate) fn matches(&self, path: &str, places: &mut [(u32, u32); MAX_PARAMETERS]) -> Matched {
        let matched = match self {
            Self::Literal(text) => text == path,
            Self::Parameters(pieces, parameters) => {
                matches_pieces(path, 0, pieces, parameters, places)
            }
            Self::Opaque(prefix) if path.starts_with(prefix.as_str()) => return Matched::Unknown,
            Self::Opaque(_) => false,
        };
        if matched { Matched::Yes } else { Matched::No }
    }
}

/// Matches as a regular expression does: each parameter takes as much as it can, then less.
fn matches_pieces(
    path: &str,
    at: usize,
    pieces: &[Piece],
    parameters: &[Parameter],
    places: &mut [(u32, u32); MAX_PARAMETERS],
) -> bool {
    let rest = &path[at..];
    match pieces {
        [] => rest.is_empty(),
        [Piece::Text(text), after @ ..] => {
            rest.starts_with(text.as_str())
                && matches_pieces(path, at + text.len(), after, parameters, places)
        }
        [Piece::Value(number), after @ ..] => {
            let kind = parameters[*number].kind;
            let longest = kind.longest(rest);
            let shortest = usize::from(kind != Kind::Path);
            // The usual parameter ends at a slash or at the end, where nothing shorter can match.
            let fixed = match after {
                [] => true,
                [Piece::Text(text), ..] => kind == Kind::Text && text.starts_with('/'),
                [Piece::Value(_), ..] => false,
            };
            let mut length = longest;
            while length >= shortest {
                if rest.is_char_boundary(length) {
                    places[*number] = (place(at), place(at + length));
                    if matches_pieces(path, at + length, after, parameters, places) {
                        return true;
                    }
                    if fixed {
                        return false;
                    }
                }
                if length == 0 {
                    break;
                }
                length -= 1;
            }
            false
        }
    }
}

fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl Kind {
    /// The length of the longest start of `text` that it matches.
    fn longest(self, text: &str) -> usize {
        match self {
            Self::Text => text.find('/').unwrap_or(text.len()),
            Self::Path => text.len(),
            Self::Integer => {
                text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len())
            }
        }
    }
}

impl Captured {
    /// The parameters called `names`, at `places` of the path.
    pub(crate) fn new(
        names: std::rc::Rc<[(String, Kind)]>,
        places: [(u32, u32); MAX_PARAMETERS],
    ) -> Self {
        Self { names, places }
    }

    /// The parameter called `name`.
    pub(crate) fn get<'a>(&self, name: &str, path: &'a str) -> Option<CapturedValue<'a>> {
        let number = self.names.iter().position(|(candidate, _)| candidate == name)?;
        self.value(number, path)
    }

    /// All parameters, as Starlette would put them into the scope.
    pub(crate) fn to_dict<'py>(
        &self,
        py: Python<'py>,
        path: &str,
    ) -> PyResult<Bound<'py, pyo3::types::PyDict>> {
        let values = pyo3::types::PyDict::new(py);
        for (number, (name, _)) in self.names.iter().enumerate() {
            if let Some(value) = self.value(number, path) {
                values.set_item(name, value.to_object(py)?)?;
            }
        }
        Ok(values)
    }

    fn value<'a>(&self, number: usize, path: &'a str) -> Option<CapturedValue<'a>> {
        let (start, end) = *self.places.get(number)?;
        let text = path.get(start as usize..end as usize)?;
        Some(CapturedValue { text, kind: self.names.get(number)?.1 })
    }
}

impl CapturedValue<'_> {
    /// What it is for `field`, found under the name number `alias`.
    pub(crate) fn found<'py>(&self, py: Python<'py>, field: &Field, alias: usize) -> Found<'py> {
        match (self.kind, self.to_object(py)) {
            (Kind::Integer, Ok(value)) => Found::Check(value, alias),
            _ => field.found_text(py, self.text, alias),
        }
    }

    fn to_object<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.kind {
            Kind::Integer => match self.text.parse::<i64>() {
                Ok(small) => Ok(PyInt::new(py, small).into_any()),
                Err(_) => py.get_type::<PyInt>().call1((self.text,)),
            },
            Kind::Text | Kind::Path => Ok(PyString::new(py, self.text).into_any()),
        }
    }
}
