//! A form that is arriving, as Python sees it.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;

use pelton_http::form::{Event, Form, FormError, FormLimits, Part};
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use crate::event_loop::GilBound;

use super::spool::Spool;
use super::{Consumer, Items};

/// Reads a form from the pieces of a request's body.
#[pyclass(frozen, module = "pelton._core")]
pub(crate) struct FormReader {
    form: GilBound<RefCell<Form>>,
    fields: GilBound<RefCell<Fields>>,
    /// The form is of no use any more: it was wrong, or was given up.
    broken: GilBound<Cell<bool>>,
}

/// What has arrived.
struct Fields {
    items: Vec<(Py<PyString>, Py<PyAny>)>,
    /// The files among them, to be closed if the form is given up.
    files: Vec<Py<PyAny>>,
    /// The file that is arriving.
    file: Option<(Part, Spool)>,
    charset: Charset,
    spool_limit: usize,
    directory: PathBuf,
}

/// How a multipart form's names and values are decoded; Latin-1 where that fails.
enum Charset {
    Utf8,
    /// Python's name of another one.
    Other(Py<PyString>),
}

/// What may go wrong within a feed.
enum Failure {
    Form(FormError),
    Python(PyErr),
}

impl From<FormError> for Failure {
    fn from(error: FormError) -> Self {
        Self::Form(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

#[pymethods]
impl FormReader {
    /// A reader for this content type; None if it is no form's. `spool_size`: bytes of a file that
    /// are kept in memory.
    #[staticmethod]
    fn of(
        py: Python<'_>,
        content_type: &[u8],
        max_files: u64,
        max_fields: u64,
        max_part_size: u64,
        spool_size: usize,
    ) -> PyResult<Option<Self>> {
        let limits = FormLimits { files: max_files, fields: max_fields, part_size: max_part_size };
        Self::make(py, content_type, limits, spool_size)
    }

    /// Takes the next bytes of the body. Raises Starlette's `MultiPartException` if the form is
    /// wrong, and `OSError` if a file could not be written.
    fn feed(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        self.take(py, data)
    }

    /// The fields in their order, as `(name, value)`. A value is text, or a `UploadFile`.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.items(py)?)
    }

    /// Gives the form up: closes its files.
    fn close(&self) {
        self.discard();
    }
}

impl FormReader {
    /// A reader with Starlette's limits.
    pub(super) fn with_defaults(py: Python<'_>, content_type: &[u8]) -> PyResult<Option<Self>> {
        let parser = py.import(intern!(py, "starlette.formparsers"))?;
        let parser = parser.getattr(intern!(py, "MultiPartParser"))?;
        let spool_size = parser.getattr(intern!(py, "spool_max_size"))?.extract()?;
        Self::make(py, content_type, FormLimits::default(), spool_size)
    }

    fn make(
        py: Python<'_>,
        content_type: &[u8],
        limits: FormLimits,
        spool_limit: usize,
    ) -> PyResult<Option<Self>> {
        let form = Form::new(content_type, limits).map_err(|error| form_error(py, error))?;
        let Some(form) = form else { return Ok(None) };
        let fields = Fields {
            items: Vec::new(),
            files: Vec::new(),
            file: None,
            charset: Charset::find(py, form.charset())?,
            spool_limit,
            directory: temporary_directory(py)?,
        };
        Ok(Some(Self {
            form: GilBound::new(RefCell::new(form)),
            fields: GilBound::new(RefCell::new(fields)),
            broken: GilBound::new(Cell::new(false)),
        }))
    }

    /// The fields, after the last bytes.
    pub(super) fn items<'py>(&self, py: Python<'py>) -> PyResult<Items<'py>> {
        self.run(py, |form, fields| form.finish(|event| fields.on_event(py, event)))?;
        let fields = &mut *self.fields.borrow_mut();
        // A file that was cut off is no file.
        fields.file = None;
        fields.files.clear();
        let items = std::mem::take(&mut fields.items).into_iter();
        Ok(items.map(|(name, value)| (name.into_bound(py), value.into_bound(py))).collect())
    }

    /// Closes the files.
    pub(super) fn discard(&self) {
        self.broken.set(true);
        let (items, files, file) = {
            let fields = &mut *self.fields.borrow_mut();
            let items = std::mem::take(&mut fields.items);
            (items, std::mem::take(&mut fields.files), fields.file.take())
        };
        drop((items, file));
        Python::attach(|py| {
            for file in files {
                // It is only read so far, and closing such a file cannot lose anything.
                drop(file.call_method0(py, intern!(py, "close")));
            }
        });
    }

    fn run(
        &self,
        py: Python<'_>,
        step: impl FnOnce(&mut Form, &mut Fields) -> Result<(), Failure>,
    ) -> PyResult<()> {
        if self.broken.get() {
            return Err(PyRuntimeError::new_err("the form was given up, or was wrong"));
        }
        let done = match (self.form.try_borrow_mut(), self.fields.try_borrow_mut()) {
            (Ok(mut form), Ok(mut fields)) => step(&mut form, &mut fields),
            // It makes Python objects, and a thread may come in between.
            _ => return Err(PyRuntimeError::new_err("the form is being read by another thread")),
        };
        done.map_err(|failure| {
            self.discard();
            match failure {
                Failure::Form(error) => form_error(py, error),
                Failure::Python(error) => error,
            }
        })
    }
}

impl Consumer for FormReader {
    fn take(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        self.run(py, |form, fields| form.feed(data, |event| fields.on_event(py, event)))
    }
}

impl Fields {
    fn on_event(&mut self, py: Python<'_>, event: Event<'_>) -> Result<(), Failure> {
        match event {
            Event::Pair(name, value) => {
                let value = PyString::new(py, value).into_any().unbind();
                self.items.push((PyString::new(py, name).unbind(), value));
            }
            Event::Field(part, value) => {
                let name = self.charset.decode(py, &part.name)?;
                let value = self.charset.decode(py, &value)?.into_any().unbind();
                self.items.push((name.unbind(), value));
            }
            Event::File(part) => {
                let spool = Spool::new(self.spool_limit, self.directory.clone());
                self.file = Some((part, spool));
            }
            Event::Data(data) => {
                if let Some((_, spool)) = &mut self.file {
                    spool.write(data).map_err(PyErr::from)?;
                }
            }
            Event::End => {
                if let Some((part, spool)) = self.file.take() {
                    self.finish_file(py, &part, spool)?;
                }
            }
        }
        Ok(())
    }

    fn finish_file(&mut self, py: Python<'_>, part: &Part, spool: Spool) -> PyResult<()> {
        static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let name = self.charset.decode(py, &part.name)?;
        let filename = part.filename.as_deref().unwrap_or_default();
        let filename = self.charset.decode(py, filename)?;
        let headers: Vec<_> = part
            .headers
            .iter()
            .map(|(name, value)| (PyBytes::new(py, name), PyBytes::new(py, value)))
            .collect();
        let size = spool.size();
        let content = spool.into_python(py)?;
        let make = MAKE.import(py, "pelton.web._spooled", "make_upload")?;
        let file = make.call1((content, size, filename, headers, self.spool_limit))?;
        self.files.push(file.getattr(intern!(py, "file"))?.unbind());
        self.items.push((name.unbind(), file.unbind()));
        Ok(())
    }
}

impl Charset {
    /// Python's codec of this name; Latin-1 if it is none of those that everybody may ask for.
    fn find(py: Python<'_>, charset: &[u8]) -> PyResult<Self> {
        if charset.eq_ignore_ascii_case(b"utf-8") || charset.eq_ignore_ascii_case(b"utf8") {
            return Ok(Self::Utf8);
        }
        let name: String = charset.iter().copied().map(char::from).collect();
        if !is_common(py, &name)? {
            return Ok(Self::Other(PyString::new(py, "latin-1").unbind()));
        }
        let codecs = py.import(intern!(py, "codecs"))?;
        let found = codecs.call_method1(intern!(py, "lookup"), (name,));
        let name = match found {
            Ok(codec) => codec.getattr(intern!(py, "name"))?.cast_into::<PyString>()?,
            Err(_) => PyString::new(py, "latin-1"),
        };
        Ok(if name == "utf-8" { Self::Utf8 } else { Self::Other(name.unbind()) })
    }

    fn decode<'py>(&self, py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyString>> {
        match self {
            Self::Utf8 => {
                if let Ok(text) = std::str::from_utf8(text) {
                    return Ok(PyString::new(py, text));
                }
            }
            Self::Other(name) => {
                let decode = intern!(py, "decode");
                if let Ok(text) = PyBytes::new(py, text).call_method1(decode, (name,))
                    && let Ok(text) = text.cast_into::<PyString>()
                {
                    return Ok(text);
                }
            }
        }
        let latin: String = text.iter().copied().map(char::from).collect();
        Ok(PyString::new(py, &latin))
    }
}

/// Charsets that Python has, and its table of aliases has not. All of them are read byte by byte.
const WITHOUT_ALIAS: [&str; 13] = [
    "cp1006",
    "cp720",
    "cp737",
    "cp856",
    "cp874",
    "cp875",
    "koi8_t",
    "koi8_u",
    "mac_arabic",
    "mac_croatian",
    "mac_farsi",
    "mac_romanian",
    "utf_8_sig",
];

/// Whether a charset, which stands in what a client sends, is one that Python may be asked for.
/// Python remembers each name that it is asked for and does not know, for ever; and some of its
/// decoders (punycode, idna) take time that grows with the square of the text.
fn is_common(py: Python<'_>, name: &str) -> PyResult<bool> {
    let name = name.to_ascii_lowercase().replace(['-', ' '], "_");
    if WITHOUT_ALIAS.contains(&name.as_str()) {
        return Ok(true);
    }
    let aliases = py.import(intern!(py, "encodings.aliases"))?;
    let aliases = aliases.getattr(intern!(py, "aliases"))?;
    Ok(aliases.contains(&name)? || aliases.call_method0(intern!(py, "values"))?.contains(&name)?)
}

/// Where large files go: asked each time, because a program may change it.
fn temporary_directory(py: Python<'_>) -> PyResult<PathBuf> {
    let module = py.import(intern!(py, "tempfile"))?;
    module.call_method0(intern!(py, "gettempdir"))?.extract()
}

fn form_error(py: Python<'_>, error: FormError) -> PyErr {
    static KIND: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let made = KIND
        .import(py, "starlette.formparsers", "MultiPartException")
        .and_then(|kind| kind.call1((error.to_string(),)));
    made.map_or_else(|error| error, PyErr::from_value)
}

/// A wrong form as the answer that it gets; other errors stay.
pub(super) fn as_http_error(py: Python<'_>, error: PyErr) -> PyErr {
    static WRONG: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static HTTP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let convert = || {
        let wrong = WRONG.import(py, "starlette.formparsers", "MultiPartException")?;
        if !error.value(py).is_instance(wrong)? {
            return Ok(None);
        }
        let values = PyDict::new(py);
        values.set_item(intern!(py, "status_code"), 400)?;
        values.set_item(intern!(py, "detail"), error.value(py).getattr(intern!(py, "message"))?)?;
        let kind = HTTP.import(py, "starlette.exceptions", "HTTPException")?;
        PyResult::Ok(Some(PyErr::from_value(kind.call((), Some(&values))?)))
    };
    match convert() {
        Ok(Some(converted)) => {
            converted.set_context(py, Some(error));
            converted
        }
        Ok(None) => error,
        Err(failed) => failed,
    }
}
