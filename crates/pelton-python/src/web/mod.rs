//! The framework's request path: compiled routes and their plans.
//!
//! A request goes: [`app`] finds the route's [`plan`] (or, under ASGI, [`route_app`] has it
//! already) -> [`run`] is its coroutine, and [`progress`] how far it has come -> [`fill`] reads
//! arguments with [`extract`] and [`field`] -> the endpoint -> [`respond`] makes the response with
//! [`json`] or Pydantic, [`answer`] sends it through the [`channel`] it came by.

use pyo3::prelude::*;

mod answer;
mod app;
mod call;
mod channel;
mod cors;
mod direct;
mod errors;
mod extract;
mod field;
mod fill;
mod form;
mod given;
mod guard;
mod helpers;
mod index;
mod json;
mod layers;
mod leave;
mod overridden;
mod plan;
mod progress;
mod respond;
mod route_app;
mod router;
mod run;
mod seen;
mod send;
mod stream;
mod writer;

pub(crate) use app::{Routed, WebApp};

/// Adds this area's names to `pelton._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<route_app::RouteApp>()?;
    module.add_class::<run::RequestRun>()?;
    module.add_class::<send::TrackedSend>()?;
    module.add_class::<index::RouteIndex>()?;
    module.add_class::<seen::RoutesSeen>()?;
    module.add_class::<direct::DirectApp>()?;
    module.add_class::<direct::DirectAnswer>()?;
    module.add_function(wrap_pyfunction!(route_app::use_plans, module)?)
}
