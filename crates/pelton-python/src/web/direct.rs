//! An app's plans without a server: what tests and measurements use in the server's place.

use std::cell::RefCell;
use std::rc::Rc;

use pelton_http::Headers;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use super::app::WebApp;
use crate::exchange::{Body, Exchange, RequestHead, client_of};

/// Requests handed to an app's plans as the native server hands them, in memory.
#[pyclass(unsendable, frozen, module = "pelton._core")]
pub(crate) struct DirectApp(WebApp);

/// What became of a request: its response and the exception that nobody handled.
#[pyclass(unsendable, frozen, module = "pelton._core")]
pub(crate) struct DirectAnswer(Rc<Direct>);

struct Direct {
    method: String,
    path: String,
    query: Vec<u8>,
    headers: Headers,
    body: Py<PyBytes>,
    /// Makes `(scope, receive, send)`.
    asgi: Py<PyAny>,
    response: RefCell<Option<Response>>,
    error: RefCell<Option<PyErr>>,
}

struct Response {
    status: u16,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

impl Exchange for Direct {
    fn with_head(&self, read: &mut dyn FnMut(RequestHead<'_>)) {
        read(self.head());
    }

    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.body.bind(py).clone()
    }

    fn asgi<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        self.asgi.bind(py).call0()?.extract()
    }

    fn respond(
        &self,
        _py: Python<'_>,
        status: u16,
        headers: &[(&[u8], &[u8])],
        body: Body<'_>,
    ) -> PyResult<()> {
        let headers = headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec()));
        let response =
            Response { status, headers: headers.collect(), body: body.as_slice().to_vec() };
        self.response.replace(Some(response));
        Ok(())
    }

    fn failed(&self, _py: Python<'_>, error: PyErr) {
        self.error.replace(Some(error));
    }
}

impl Direct {
    fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
        }
    }
}

#[pymethods]
impl DirectApp {
    /// The plans of `app`; None where the server would run it as an ASGI app.
    #[staticmethod]
    fn find(app: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        Ok(WebApp::find(app)?.map(Self))
    }

    /// The coroutine of a request and where its answer will be; None where the server would take
    /// the ASGI way. `asgi` makes `(scope, receive, send)` if they are needed.
    #[expect(clippy::too_many_arguments, reason = "the parts of a request, as Python gives them")]
    fn request<'py>(
        &self,
        py: Python<'py>,
        method: String,
        path: String,
        query: Vec<u8>,
        headers: Vec<(Vec<u8>, Vec<u8>)>,
        body: Py<PyBytes>,
        asgi: Py<PyAny>,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let mut fields = Headers::new();
        for (name, value) in &headers {
            fields.push(name, value);
        }
        let has_body = !body.bind(py).as_bytes().is_empty();
        let direct = Rc::new(Direct {
            method,
            path,
            query,
            headers: fields,
            body,
            asgi,
            response: RefCell::new(None),
            error: RefCell::new(None),
        });
        let client = || client_of(py, &direct.asgi(py)?.0);
        let Some(routed) = self.0.route(py, &direct.head(), has_body, None, &client)? else {
            return Ok(None);
        };
        let run = routed.start(py, direct.clone())?;
        Ok(Some((run, DirectAnswer(direct)).into_pyobject(py)?))
    }
}

#[pymethods]
impl DirectAnswer {
    /// The status; None while there is no answer.
    #[getter]
    fn status(&self) -> Option<u16> {
        self.0.response.borrow().as_ref().map(|response| response.status)
    }

    /// The header fields, without those that the transport adds.
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let response = self.0.response.borrow();
        let fields = response.as_ref().map_or(&[][..], |response| &response.headers);
        let fields =
            fields.iter().map(|(name, value)| (PyBytes::new(py, name), PyBytes::new(py, value)));
        PyList::new(py, fields.collect::<Vec<_>>())
    }

    /// The body.
    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let response = self.0.response.borrow();
        PyBytes::new(py, response.as_ref().map_or(&[], |response| &response.body))
    }

    /// The exception that no handler of the app took.
    #[getter]
    fn error<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let error = self.0.error.borrow();
        error.as_ref().map(|error| error.value(py).clone().into_any())
    }
}
