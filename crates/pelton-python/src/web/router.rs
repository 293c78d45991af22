//! Which route a path belongs to, decided as Starlette decides it.
//!
//! Starlette tries its routes in order, each with a regular expression made of literal text and
//! convertors. Patterns of the usual convertors are matched here to the same effect, those with a
//! convertor of the user's by their own regular expression ([`Pattern::Custom`]); whatever else
//! could match is [`Pattern::Opaque`], at which the search stops and Starlette decides.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyFloat, PyInt, PyString, PyType};

use super::field::{Field, Found};

/// More parameters than this in one path are left to Starlette.
pub(crate) const MAX_PARAMETERS: usize = 8;

/// A path to match against.
pub(crate) enum Pattern {
    /// This path.
    Literal(String),
    /// Text and parameters in turn.
    Parameters(Vec<Piece>, Vec<Parameter>),
    /// What the user's own convertors match, below this prefix.
    Custom(String, Custom),
    /// Anything below this prefix is decided elsewhere.
    Opaque(String),
}

/// A route's regular expression and its convertors, which are Python's.
pub(crate) struct Custom {
    regex: Py<PyAny>,
    convertors: Py<PyDict>,
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
    /// `[0-9]+(\.[0-9]+)?`
    Float,
    /// Groups of 8, 4, 4, 4 and 12 hexadecimal digits, with or without dashes between them.
    Uuid,
}

/// Where the parameters of a matched pattern are in the path.
pub(crate) type Places = [(u32, u32); MAX_PARAMETERS];

/// What the parameters of a matched pattern are.
pub(crate) enum Captured {
    /// Places in the path.
    Places { names: std::rc::Rc<[(String, Kind)]>, places: Places },
    /// Values that Python's convertors made.
    Converted(Py<PyDict>),
}

/// One captured parameter.
pub(crate) struct CapturedValue<'a> {
    text: &'a str,
    kind: Kind,
}

/// Whether a pattern matches.
pub(crate) enum Matched {
    /// It does; the places are filled, or here are the values.
    Yes(Option<Py<PyDict>>),
    No,
    /// Starlette must say.
    Unknown,
}

impl Pattern {
    /// Reads a pattern as `_plan_routes` gives it: text and `(name, convertor)` in turn, and for
    /// those of the user's convertors, `(regex, convertors)`.
    pub(crate) fn from_spec(spec: &Bound<'_, PyAny>, custom: &Bound<'_, PyAny>) -> PyResult<Self> {
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
                "float" => Kind::Float,
                "uuid" => Kind::Uuid,
                _ if custom.is_none() => return Ok(Self::Opaque(prefix)),
                _ => {
                    let (regex, convertors) = custom.extract()?;
                    return Ok(Self::Custom(prefix, Custom { regex, convertors }));
                }
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
            Self::Literal(_) | Self::Custom(..) | Self::Opaque(_) => std::rc::Rc::new([]),
        }
    }

    /// The pieces that have to be whole segments between slashes, and whether they are all of it.
    pub(super) fn segments(&self) -> (Vec<Segment<'_>>, bool) {
        match self {
            Self::Literal(path) => (path.split('/').map(Segment::Text).collect(), true),
            Self::Custom(prefix, _) | Self::Opaque(prefix) => (whole_segments(prefix), false),
            Self::Parameters(pieces, parameters) => segments_of(pieces, parameters),
        }
    }

    /// Whether it matches all of `path`, which has no line breaks; fills `places`.
    pub(crate) fn matches(&self, py: Python<'_>, path: &str, places: &mut Places) -> Matched {
        let matched = match self {
            Self::Literal(text) => text == path,
            Self::Parameters(pieces, parameters) => {
                matches_pieces(path, 0, pieces, parameters, places)
            }
            Self::Custom(prefix, custom) if path.starts_with(prefix.as_str()) => {
                return match custom.matches(py, path) {
                    Ok(Some(values)) => Matched::Yes(Some(values)),
                    Ok(None) => Matched::No,
                    // What a convertor raises is the app's to answer.
                    Err(_) => Matched::Unknown,
                };
            }
            Self::Opaque(prefix) if path.starts_with(prefix.as_str()) => return Matched::Unknown,
            Self::Custom(..) | Self::Opaque(_) => false,
        };
        if matched { Matched::Yes(None) } else { Matched::No }
    }
}

impl Custom {
    /// The converted parameters, as Starlette's `Route.matches` makes them.
    fn matches(&self, py: Python<'_>, path: &str) -> PyResult<Option<Py<PyDict>>> {
        let found = self.regex.bind(py).call_method1("match", (path,))?;
        if found.is_none() {
            return Ok(None);
        }
        let values = found.call_method0("groupdict")?.cast_into::<PyDict>()?;
        let converted = PyDict::new(py);
        for (name, text) in values {
            let convertor = self.convertors.bind(py).as_any().get_item(&name)?;
            converted.set_item(&name, convertor.call_method1("convert", (text,))?)?;
        }
        Ok(Some(converted.unbind()))
    }
}

/// A piece of a path between two slashes.
pub(super) enum Segment<'a> {
    Text(&'a str),
    /// Anything that has no slash in it.
    Any,
}

/// The segments of `text` that nothing after it can make longer.
fn whole_segments(text: &str) -> Vec<Segment<'_>> {
    let mut segments: Vec<_> = text.split('/').map(Segment::Text).collect();
    segments.pop();
    segments
}

fn segments_of<'a>(pieces: &'a [Piece], parameters: &[Parameter]) -> (Vec<Segment<'a>>, bool) {
    let mut segments = Vec::new();
    // The text since the last slash, while it can still become a segment.
    let mut open = Some("");
    for piece in pieces {
        match (piece, open) {
            (Piece::Text(text), Some("")) => {
                let mut parts: Vec<_> = text.split('/').collect();
                open = parts.pop();
                segments.extend(parts.into_iter().map(Segment::Text));
            }
            // A parameter that is a segment of its own is followed by a slash, or by nothing.
            (Piece::Text(text), None) => {
                let Some(rest) = text.strip_prefix('/') else {
                    segments.pop();
                    return (segments, false);
                };
                let mut parts: Vec<_> = rest.split('/').collect();
                open = parts.pop();
                segments.extend(parts.into_iter().map(Segment::Text));
            }
            (Piece::Value(number), Some("")) if parameters[*number].kind != Kind::Path => {
                segments.push(Segment::Any);
                open = None;
            }
            (Piece::Value(_), None) => {
                segments.pop();
                return (segments, false);
            }
            (Piece::Text(_) | Piece::Value(_), Some(_)) => return (segments, false),
        }
    }
    if let Some(text) = open {
        segments.push(Segment::Text(text));
    }
    (segments, true)
}

/// Matches as a regular expression does: each parameter takes as much as it can, then less.
fn matches_pieces(
    path: &str,
    at: usize,
    pieces: &[Piece],
    parameters: &[Parameter],
    places: &mut Places,
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
                if kind.takes(rest, length) {
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
            Self::Integer => digits(text),
            Self::Float => match text[digits(text)..].strip_prefix('.') {
                Some(part) if digits(text) > 0 && digits(part) > 0 => {
                    digits(text) + 1 + digits(part)
                }
                _ => digits(text),
            },
            Self::Uuid => uuid_length(text).unwrap_or(0),
        }
    }

    /// Whether it matches the first `length` bytes of `text`, which are no more than the longest.
    fn takes(self, text: &str, length: usize) -> bool {
        match self {
            Self::Text | Self::Path => text.is_char_boundary(length),
            Self::Integer => true,
            Self::Float => !text[..length].ends_with('.'),
            Self::Uuid => uuid_length(text) == Some(length),
        }
    }
}

/// How many ASCII digits `text` begins with.
fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// The length of the UUID that `text` begins with.
fn uuid_length(text: &str) -> Option<usize> {
    let mut at = 0;
    for (group, wanted) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if group > 0 && text.as_bytes().get(at) == Some(&b'-') {
            at += 1;
        }
        let digits = text.as_bytes().get(at..at + wanted)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        at += wanted;
    }
    Some(at)
}

impl Captured {
    /// The parameters called `names`, at `places` of the path, or the `converted` ones.
    pub(crate) fn new(
        names: std::rc::Rc<[(String, Kind)]>,
        places: Places,
        converted: Option<Py<PyDict>>,
    ) -> Self {
        match converted {
            Some(values) => Self::Converted(values),
            None => Self::Places { names, places },
        }
    }

    /// The parameter called `name`, if it is a place in the path.
    pub(crate) fn get<'a>(&self, name: &str, path: &'a str) -> Option<CapturedValue<'a>> {
        let Self::Places { names, .. } = self else {
            return None;
        };
        let number = names.iter().position(|(candidate, _)| candidate == name)?;
        self.value(number, path)
    }

    /// All parameters, as Starlette would put them into the scope.
    pub(crate) fn to_dict<'py>(&self, py: Python<'py>, path: &str) -> PyResult<Bound<'py, PyDict>> {
        let names = match self {
            Self::Converted(values) => return values.bind(py).copy(),
            Self::Places { names, .. } => names,
        };
        let values = PyDict::new(py);
        for (number, (name, _)) in names.iter().enumerate() {
            if let Some(value) = self.value(number, path) {
                values.set_item(name, value.to_object(py)?)?;
            }
        }
        Ok(values)
    }

    fn value<'a>(&self, number: usize, path: &'a str) -> Option<CapturedValue<'a>> {
        let Self::Places { names, places } = self else {
            return None;
        };
        let (start, end) = *places.get(number)?;
        let text = path.get(start as usize..end as usize)?;
        Some(CapturedValue { text, kind: names.get(number)?.1 })
    }
}

impl CapturedValue<'_> {
    /// What it is for `field`, found under the name number `alias`.
    pub(crate) fn found<'py>(&self, py: Python<'py>, field: &Field, alias: usize) -> Found<'py> {
        match (self.kind, self.to_object(py)) {
            (Kind::Integer | Kind::Float | Kind::Uuid, Ok(value)) => Found::Check(value, alias),
            _ => field.found_text(py, self.text, alias),
        }
    }

    fn to_object<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.kind {
            Kind::Integer => match self.text.parse::<i64>() {
                Ok(small) => Ok(PyInt::new(py, small).into_any()),
                Err(_) => py.get_type::<PyInt>().call1((self.text,)),
            },
            Kind::Float => py.get_type::<PyFloat>().call1((self.text,)),
            Kind::Uuid => {
                static UUID: PyOnceLock<Py<PyType>> = PyOnceLock::new();
                UUID.import(py, "uuid", "UUID")?.call1((self.text,))
            }
            Kind::Text | Kind::Path => Ok(PyString::new(py, self.text).into_any()),
        }
    }
}
