//! A compiled app: which plan a request takes, decided before any Python runs.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;

use super::channel::Channel;
use super::guard::Admitted;
use super::helpers::Helpers;
use super::index::Index;
use super::layers::Layers;
use super::plan::Plan;
use super::route_app::{RouteApp, plans_enabled};
use super::router::{Captured, Kind, MAX_PARAMETERS, Matched, Pattern};
use super::run::RequestRun;
use super::seen::RoutesSeen;
use crate::exchange::{Exchange, RequestHead};

/// An app of `pelton.web` that has nothing around its routes but what every app has, so that the
/// server can run its plans directly.
pub(crate) struct WebApp {
    app: Py<PyAny>,
    table: RefCell<Rc<Table>>,
    /// The turn of the loop in which the table was found to be current.
    checked: Cell<Option<u64>>,
}

/// A request that a plan will answer.
pub(crate) struct Routed {
    plan: Arc<Plan>,
    captured: Captured,
    layers: Rc<Layers>,
    /// What the route's rate limits say.
    admitted: Admitted,
    wants_body: bool,
}

/// All routes of an app at one time.
struct Table {
    layers: Rc<Layers>,
    /// In order.
    routes: Vec<RouteEntry>,
    /// Which of them may match a path.
    index: Index,
    /// What must be as it was when this table was made.
    seen: RoutesSeen,
    /// So must this: what the app has around its router.
    stack: Py<PyAny>,
}

struct RouteEntry {
    pattern: Pattern,
    names: Rc<[(String, Kind)]>,
    methods: Vec<String>,
    /// The route, whose app holds its plan if it has one; `None` where Starlette takes over.
    route: Option<Py<PyAny>>,
    plan: OnceCell<Option<Arc<Plan>>>,
}

impl WebApp {
    /// The compiled form of `app`; `None` where it is no app of `pelton.web`, or has middleware of
    /// its own: then it runs as an ASGI app. Call it after the lifespan's start-up.
    pub(crate) fn find(app: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let table = Table::read(app)?;
        Ok(table.map(|table| Self {
            app: app.clone().unbind(),
            table: RefCell::new(Rc::new(table)),
            checked: Cell::new(None),
        }))
    }

    /// The plan for a request whose head has come. `None`: it takes the ASGI way.
    ///
    /// The route's rate limits are asked here, before a body is waited for; `client` gives the
    /// client's address. What changed about the app is seen in the next `turn` of the loop; at
    /// once where that is `None`.
    pub(crate) fn route(
        &self,
        py: Python<'_>,
        head: &RequestHead<'_>,
        has_body: bool,
        turn: Option<u64>,
        client: &dyn Fn() -> PyResult<Option<String>>,
    ) -> PyResult<Option<Routed>> {
        let table = self.current(py, turn)?;
        if !plans_enabled() || !table.layers.let_pass(head) {
            return Ok(None);
        }
        let Some((plan, captured)) = table.find(py, head.method, head.path)? else {
            return Ok(None);
        };
        if plan.is_overridden(py)? {
            return Ok(None);
        }
        let admitted = match &plan.guard {
            Some(guard) => Admitted(guard.admit(py, head, client)),
            None => Admitted::default(),
        };
        // Forms, and whoever takes the request itself, read the body as it comes. A request that
        // is refused is not read.
        let is_read_first = plan.body.is_some_and(|body| !body.is_form) && admitted.0.is_ok();
        let wants_body = has_body && is_read_first;
        Ok(Some(Routed { plan, captured, layers: table.layers.clone(), admitted, wants_body }))
    }

    fn current(&self, py: Python<'_>, turn: Option<u64>) -> PyResult<Rc<Table>> {
        let table = self.table.borrow().clone();
        if turn.is_some() && self.checked.get() == turn {
            return Ok(table);
        }
        let app = self.app.bind(py);
        if table.is_current(app)? {
            self.checked.set(turn);
            return Ok(table);
        }
        // An app that has become one for ASGI gets an empty table, at which all requests fall
        // through until it has another stack.
        let fresh = Rc::new(match Table::read(app)? {
            Some(fresh) => fresh,
            None => Table::empty(table.layers.clone(), RoutesSeen::nothing(), stack_of(app)?),
        });
        self.table.replace(fresh.clone());
        self.checked.set(turn);
        Ok(fresh)
    }
}

impl Routed {
    /// Whether the body must have come before [`start`](Self::start).
    pub(crate) fn wants_body(&self) -> bool {
        self.wants_body
    }

    /// The request as a coroutine object, to be run as a Task.
    pub(crate) fn start<'py>(
        self,
        py: Python<'py>,
        exchange: Rc<dyn Exchange>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Self { plan, captured, layers, admitted, .. } = self;
        let channel = Channel::Native { exchange, captured, layers };
        Ok(Bound::new(py, RequestRun::new(plan, channel, admitted))?.into_any())
    }
}

impl Table {
    fn empty(layers: Rc<Layers>, seen: RoutesSeen, stack: Bound<'_, PyAny>) -> Self {
        let stack = stack.unbind();
        Self { layers, routes: Vec::new(), index: Index::new(), seen, stack }
    }

    fn read(app: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let py = app.py();
        let spec = py.import("pelton.web._plan_routes")?.call_method1("app_spec", (app,))?;
        if spec.is_none() {
            return Ok(None);
        }
        let layers = Rc::new(Layers::from_object(spec.getattr("layers")?)?);
        let seen = RoutesSeen::read(&spec.getattr("routers")?)?;
        let mut table = Self::empty(layers, seen, stack_of(app)?);
        for (number, route) in spec.getattr("routes")?.try_iter()?.enumerate() {
            let entry = RouteEntry::read(&route?)?;
            table.index.add(number, &entry.pattern);
            table.routes.push(entry);
        }
        Ok(Some(table))
    }

    fn is_current(&self, app: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(stack_of(app)?.is(&self.stack) && self.seen.holds(app.py())?)
    }

    /// The first route in order that matches path and method, if it has a plan and no route
    /// before it leaves the decision to Starlette.
    fn find(
        &self,
        py: Python<'_>,
        method: &str,
        path: &str,
    ) -> PyResult<Option<(Arc<Plan>, Captured)>> {
        // Regular expressions treat line breaks in their own way.
        if path.contains('\n') {
            return Ok(None);
        }
        let mut places = [(0, 0); MAX_PARAMETERS];
        for number in self.index.candidates(path) {
            let entry = &self.routes[number];
            match entry.pattern.matches(py, path, &mut places) {
                Matched::Yes(converted) if entry.takes(method) => {
                    let Some(plan) = entry.plan(py)? else {
                        return Ok(None);
                    };
                    let captured = Captured::new(entry.names.clone(), places, converted);
                    return Ok(Some((plan, captured)));
                }
                Matched::Yes(_) | Matched::No => {}
                Matched::Unknown => return Ok(None),
            }
        }
        Ok(None)
    }
}

impl RouteEntry {
    fn read(spec: &Bound<'_, PyAny>) -> PyResult<Self> {
        let pattern = Pattern::from_spec(&spec.getattr("pattern")?, &spec.getattr("custom")?)?;
        Ok(Self {
            names: pattern.names(),
            pattern,
            methods: spec.getattr("methods")?.extract()?,
            route: spec.getattr("route")?.extract()?,
            plan: OnceCell::new(),
        })
    }

    /// The plan, which is made when it is first asked for.
    fn plan(&self, py: Python<'_>) -> PyResult<Option<Arc<Plan>>> {
        if let Some(plan) = self.plan.get() {
            return Ok(plan.clone());
        }
        let app = match &self.route {
            Some(route) => {
                let app = route.bind(py).getattr(intern!(py, "app"))?;
                // A guard whose part the plan takes over gives what it guards. A wrapper of
                // somebody else's that passes attributes on is no guard.
                let is_guard = app.get_type().is(Helpers::of(py)?.guarded_app.bind(py));
                Some(if is_guard { app.getattr(intern!(py, "native"))? } else { app })
            }
            None => None,
        };
        let app = app.as_ref().and_then(|app| app.cast::<RouteApp>().ok());
        let plan = app.map(|app| app.get().plan().clone());
        Ok(self.plan.get_or_init(|| plan).clone())
    }

    fn takes(&self, method: &str) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|allowed| allowed == method)
    }
}

/// The app's layers as ASGI has them.
fn stack_of<'py>(app: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    app.getattr(intern!(app.py(), "middleware_stack"))
}
