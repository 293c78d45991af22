//! A route's plan: everything a request of it needs, worked out once.

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};

use super::call::qualified_name;
use super::extract::Group;
use super::field::Field;
use super::guard::Guard;
use super::respond::Respond;

/// A compiled route.
pub(crate) struct Plan {
    /// The dependencies in the order in which they are solved, and last the endpoint.
    pub(crate) nodes: Vec<Node>,
    /// The number of arguments of all nodes together.
    pub(crate) arguments: usize,
    /// The number of values that may be shared within a request.
    pub(crate) shared: usize,
    /// How the body is read, if any node takes from it.
    pub(crate) body: Option<BodyPlan>,
    /// `validate_json` of the only value that is taken from the body, if it reads JSON text as
    /// `validate_python` reads what the text means.
    pub(crate) read_json: Option<Py<PyAny>>,
    /// For forms: for each node the reference path's fields of the body, or `None`.
    pub(crate) form_groups: Py<PyList>,
    /// How the endpoint's result becomes a response.
    pub(crate) respond: Respond,
    /// The route itself, for what is left to Python.
    pub(crate) route: Py<PyAny>,
    /// The object whose `dependency_overrides` must be empty, if there is one.
    pub(crate) overrides: Option<Py<PyAny>>,
    /// The nodes as the reference path knows them, if they are overridden after all.
    pub(crate) dependants: Py<PyAny>,
    /// The rate limits that are asked here when the request comes from our own server.
    pub(crate) guard: Option<Guard>,
    /// The endpoint's name.
    pub(crate) name: Py<PyString>,
}

/// How a body is read.
#[derive(Clone, Copy)]
pub(crate) struct BodyPlan {
    /// Whether it is a form; else it is JSON.
    pub(crate) is_form: bool,
    /// Whether a body without content type is left as bytes.
    pub(crate) strict_content_type: bool,
    /// Whether each field has a key of its own in the body.
    pub(crate) embed: bool,
}

/// One call, from `_plan_spec.NodeSpec`.
pub(crate) struct Node {
    /// What is called.
    pub(crate) call: Py<PyAny>,
    /// How.
    pub(crate) kind: Kind,
    /// The node that takes its value, and as which argument.
    pub(crate) parent: Option<usize>,
    pub(crate) parent_slot: Option<usize>,
    /// Whether a value solved before in the same request may be taken.
    pub(crate) use_cache: bool,
    pub(crate) cache_slot: usize,
    /// Whether it is left before the response is sent.
    pub(crate) function_scope: bool,
    /// Makes its context manager, if it yields.
    pub(crate) manager: Option<Py<PyAny>>,
    /// Where its arguments begin among all arguments.
    pub(crate) base: usize,
    /// The arguments' names.
    pub(crate) names: Py<PyTuple>,
    /// The arguments' number.
    pub(crate) arguments: usize,
    /// How many of them come from other nodes; those of `groups` and `body` follow.
    pub(crate) given: usize,
    pub(crate) groups: Vec<Group>,
    pub(crate) body: Vec<Field>,
    pub(crate) request_slots: Vec<usize>,
    pub(crate) background_slot: Option<usize>,
    pub(crate) response_slot: Option<usize>,
    pub(crate) scopes_slot: Option<usize>,
    pub(crate) scopes: Py<PyAny>,
}

/// How a node is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In a thread.
    Plain,
    /// Awaited.
    Coroutine,
    /// A generator, entered and left in threads.
    Generator,
    /// An asynchronous generator, entered and left.
    AsyncGenerator,
    /// The same, always through its context manager, which does more.
    Managed,
    /// Called, and what it returns is the content of the response: an endpoint that yields.
    Stream,
}

impl Plan {
    /// Reads a `_plan.PlanSpec`.
    pub(crate) fn from_spec(spec: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut nodes = Vec::new();
        let mut arguments = 0;
        let mut shared = 0;
        for item in spec.getattr("nodes")?.try_iter()? {
            let node = Node::from_spec(&item?, arguments)?;
            arguments += node.arguments;
            shared = shared.max(node.cache_slot + 1);
            nodes.push(node);
        }
        let endpoint = nodes.last().ok_or_else(|| {
            pyo3::exceptions::PyValueError::new_err("a plan needs at least the endpoint")
        })?;
        let body = match spec.getattr("reads_body")?.extract::<bool>()? {
            false => None,
            true => Some(BodyPlan {
                is_form: spec.getattr("is_form")?.extract()?,
                strict_content_type: spec.getattr("strict_content_type")?.extract()?,
                embed: spec.getattr("embed")?.extract()?,
            }),
        };
        let overrides = spec.getattr("overrides")?;
        let limits = spec.getattr("limits")?;
        Ok(Self {
            arguments,
            shared,
            body,
            read_json: spec.getattr("read_json")?.extract()?,
            form_groups: spec.getattr("form_groups")?.cast_into::<PyList>()?.unbind(),
            respond: Respond::from_spec(&spec.getattr("respond")?)?,
            route: spec.getattr("route")?.unbind(),
            overrides: (!overrides.is_none()).then(|| overrides.unbind()),
            dependants: spec.getattr("dependants")?.unbind(),
            guard: (!limits.is_none()).then(|| Guard::from_limits(&limits)).transpose()?,
            name: qualified_name(endpoint.call.bind(spec.py()))?.unbind(),
            nodes,
        })
    }

    /// Whether tests or the like have put other dependencies in place: then the reference path
    /// looks at every one of them.
    pub(crate) fn is_overridden(&self, py: Python<'_>) -> PyResult<bool> {
        match &self.overrides {
            None => Ok(false),
            Some(provider) => {
                provider.bind(py).getattr(pyo3::intern!(py, "dependency_overrides"))?.is_truthy()
            }
        }
    }
}

#[derive(FromPyObject)]
struct NodeParts {
    call: Py<PyAny>,
    kind: String,
    parent: isize,
    parent_slot: isize,
    use_cache: bool,
    cache_slot: usize,
    function_scope: bool,
    manager: Option<Py<PyAny>>,
    names: Py<PyTuple>,
    request_slots: Vec<usize>,
    background_slot: isize,
    response_slot: isize,
    scopes_slot: isize,
    scopes: Vec<String>,
}

impl Node {
    fn from_spec(spec: &Bound<'_, PyAny>, base: usize) -> PyResult<Self> {
        let py = spec.py();
        let parts: NodeParts = spec.extract()?;
        let mut groups = Vec::new();
        for group in spec.getattr("groups")?.try_iter()? {
            groups.push(Group::from_spec(&group?)?);
        }
        let mut body = Vec::new();
        for field in spec.getattr("body")?.try_iter()? {
            body.push(Field::from_spec(&field?)?);
        }
        let slot = |slot: isize| usize::try_from(slot).ok();
        let slots = [parts.background_slot, parts.response_slot, parts.scopes_slot];
        let taken = parts.request_slots.len() + slots.into_iter().filter_map(slot).count();
        let read = groups.iter().map(|group| group.fields.len()).sum::<usize>() + body.len();
        let arguments = parts.names.bind(py).len();
        Ok(Self {
            kind: match parts.kind.as_str() {
                "coroutine" => Kind::Coroutine,
                "generator" => Kind::Generator,
                "async_generator" => Kind::AsyncGenerator,
                "managed" => Kind::Managed,
                "stream" => Kind::Stream,
                _ => Kind::Plain,
            },
            call: parts.call,
            parent: slot(parts.parent),
            parent_slot: slot(parts.parent_slot),
            use_cache: parts.use_cache,
            cache_slot: parts.cache_slot,
            function_scope: parts.function_scope,
            manager: parts.manager,
            base,
            names: parts.names,
            arguments,
            given: arguments.saturating_sub(taken + read),
            groups,
            body,
            request_slots: parts.request_slots,
            background_slot: slot(parts.background_slot),
            response_slot: slot(parts.response_slot),
            scopes_slot: slot(parts.scopes_slot),
            scopes: parts.scopes.into_pyobject(py)?.into_any().unbind(),
        })
    }
}
