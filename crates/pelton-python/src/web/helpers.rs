//! The Python side of the plan: what is rare, or is the reference path's to say.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

/// Functions and classes from `pelton.web._plan_help`, and names used in calls.
pub(crate) struct Helpers {
    /// `(location) -> error`: that a value is missing.
    pub(crate) missing: Py<PyAny>,
    /// `(ValidationError, location) -> list of errors`.
    pub(crate) located: Py<PyAny>,
    /// Pydantic's class of errors.
    pub(crate) validation_error: Py<PyAny>,
    /// `(fields, location, request) -> (values, errors)` by the reference path.
    pub(crate) read_group: Py<PyAny>,
    /// `(error, route, scope) -> exception` for a body that cannot be read.
    pub(crate) body_error: Py<PyAny>,
    /// `(errors, body, route, scope) -> RequestValidationError`.
    pub(crate) request_invalid: Py<PyAny>,
    /// `(ValidationError, value, route, scope) -> ResponseValidationError`.
    pub(crate) response_invalid: Py<PyAny>,
    /// Coroutine `(route, value, background, response) -> Response`.
    pub(crate) build_response: Py<PyAny>,
    /// Coroutine `(route, generator, background, response, request) -> (Response, stack)`.
    pub(crate) build_stream: Py<PyAny>,
    /// Coroutine `(request) -> (form, stack or None)`.
    pub(crate) read_form: Py<PyAny>,
    /// Coroutine `(fields, form, embed) -> (values, errors)`.
    pub(crate) form_values: Py<PyAny>,
    /// `(route, dependants, index) -> number or None` of the overridden node that begins there.
    pub(crate) overridden_node: Py<PyAny>,
    /// Coroutine that solves such a node; see [`Progress`](super::progress::Progress).
    pub(crate) solve_overridden: Py<PyAny>,
    /// Coroutine `(managers and generators, error) -> bool`: leaves them with an error.
    pub(crate) unwind: Py<PyAny>,
    /// Coroutine `(generator)`: closes one that yielded twice, and raises.
    pub(crate) not_stopped: Py<PyAny>,
    /// Coroutine `(error, request, send)`: answers under ASGI, or raises the error.
    pub(crate) answer_error: Py<PyAny>,
    /// Coroutine `(error, request, send, layers) -> exception or None`: answers as a whole app.
    pub(crate) answer_as_app: Py<PyAny>,
    /// `() -> Response` whose headers and status will be merged into the real one.
    pub(crate) temporal_response: Py<PyAny>,
    /// An exception for a response that was never sent.
    pub(crate) not_awaited: Py<PyAny>,
    /// `(scopes) -> SecurityScopes`.
    pub(crate) security_scopes: Py<PyAny>,
    /// A guard entered before the first asynchronous generator: `CleanupScope()`.
    pub(crate) cleanup_scope: Py<PyAny>,
    /// `(limits and decisions) -> header fields`; raises the answer to a request that is refused.
    pub(crate) rate_headers: Py<PyAny>,
    /// `GuardedApp`.
    pub(crate) guarded_app: Py<PyAny>,
    /// Starlette's `Request`.
    pub(crate) request: Py<PyAny>,
    /// Starlette's `Response`.
    pub(crate) response: Py<PyAny>,
    /// `Response.__call__`, to know classes that leave it as it is.
    pub(crate) response_call: Py<PyAny>,
    /// FastAPI's `BackgroundTasks`.
    pub(crate) background_tasks: Py<PyAny>,
    /// `(callable)`, awaitable: runs it in a thread of ours.
    pub(crate) run_in_pool: Py<PyAny>,
    /// Coroutine `(callable)`: runs it in a thread of AnyIO's.
    pub(crate) run_sync: Py<PyAny>,
    /// `pydantic_core.from_json`.
    pub(crate) from_json: Py<PyAny>,
    /// The module `json`.
    pub(crate) json: Py<PyAny>,
    /// `json.loads` as it was at import.
    pub(crate) json_loads: Py<PyAny>,
    /// The names `("from_attributes",)`.
    pub(crate) from_attributes: Py<PyTuple>,
}

static HELPERS: PyOnceLock<Helpers> = PyOnceLock::new();

impl Helpers {
    /// The helpers, imported when first asked for.
    pub(crate) fn of(py: Python<'_>) -> PyResult<&Helpers> {
        HELPERS.get_or_try_init(py, || Self::import(py))
    }

    fn import(py: Python<'_>) -> PyResult<Self> {
        let module = py.import("pelton.web._plan_help")?;
        let named = |name: &str| -> PyResult<Py<PyAny>> { Ok(module.getattr(name)?.unbind()) };
        let json = py.import("json")?;
        Ok(Self {
            missing: named("missing")?,
            located: named("located")?,
            validation_error: named("ValidationError")?,
            read_group: named("read_group")?,
            body_error: named("body_error")?,
            request_invalid: named("request_invalid")?,
            response_invalid: named("response_invalid")?,
            build_response: named("build_response")?,
            build_stream: named("build_stream")?,
            read_form: named("read_form")?,
            form_values: named("form_values")?,
            overridden_node: named("overridden_node")?,
            solve_overridden: named("solve_overridden")?,
            unwind: named("unwind")?,
            not_stopped: named("not_stopped")?,
            answer_error: named("answer_error")?,
            answer_as_app: named("answer_as_app")?,
            temporal_response: named("temporal_response")?,
            not_awaited: named("not_awaited")?,
            security_scopes: named("security_scopes")?,
            cleanup_scope: named("CleanupScope")?,
            rate_headers: named("rate_headers")?,
            guarded_app: named("GuardedApp")?,
            request: named("Request")?,
            response: named("Response")?,
            response_call: module.getattr("Response")?.getattr("__call__")?.unbind(),
            background_tasks: named("BackgroundTasks")?,
            run_in_pool: named("run_in_pool")?,
            run_sync: named("run_sync")?,
            from_json: named("from_json")?,
            json_loads: json.getattr("loads")?.unbind(),
            json: json.into_any().unbind(),
            from_attributes: PyTuple::new(py, ["from_attributes"])?.unbind(),
        })
    }
}
