//! Whether routers still have the routes that something was made of.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

/// Routers, and their routes at one time: `RoutesSeen(routers)`.
///
/// Users put routes into the list themselves, take them out and replace them, of which no router
/// is told. So the routes are compared one by one, which takes some nanoseconds each.
#[pyclass(frozen, module = "pelton._core")]
pub(crate) struct RoutesSeen(Vec<Seen>);

struct Seen {
    router: Py<PyAny>,
    /// Held, so that no other route can come to have the address of one of them.
    routes: Vec<Py<PyAny>>,
    /// The router's own count of what it was told.
    count: i64,
}

impl RoutesSeen {
    /// Notes down what `routers` have now.
    pub(crate) fn read(routers: &Bound<'_, PyAny>) -> PyResult<Self> {
        let seen = routers.try_iter()?.map(|router| Seen::read(&router?));
        seen.collect::<PyResult<_>>().map(Self)
    }

    /// No router, which is for ever as it was.
    pub(crate) fn nothing() -> Self {
        Self(Vec::new())
    }

    /// Whether all is as it was.
    pub(crate) fn holds(&self, py: Python<'_>) -> PyResult<bool> {
        for seen in &self.0 {
            if !seen.holds(py)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[pymethods]
impl RoutesSeen {
    #[new]
    fn new(routers: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::read(routers)
    }

    /// Whether all of the routers have the same routes, in the same order, as when this was made.
    fn is_current(&self, py: Python<'_>) -> PyResult<bool> {
        self.holds(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        for seen in &self.0 {
            visit.call(&seen.router)?;
            for route in &seen.routes {
                visit.call(route)?;
            }
        }
        Ok(())
    }
}

impl Seen {
    fn read(router: &Bound<'_, PyAny>) -> PyResult<Self> {
        let routes = routes_of(router)?.try_iter()?.map(|route| route.map(Bound::unbind));
        Ok(Self {
            routes: routes.collect::<PyResult<_>>()?,
            count: count_of(router)?,
            router: router.clone().unbind(),
        })
    }

    fn holds(&self, py: Python<'_>) -> PyResult<bool> {
        let router = self.router.bind(py);
        Ok(count_of(router)? == self.count && are_items(&routes_of(router)?, &self.routes)?)
    }
}

fn routes_of<'py>(router: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    router.getattr(intern!(router.py(), "routes"))
}

fn count_of(router: &Bound<'_, PyAny>) -> PyResult<i64> {
    let name: &Bound<'_, PyString> = intern!(router.py(), "_own_version");
    router.getattr(name)?.extract()
}

/// Whether a sequence has just these objects in it.
fn are_items(now: &Bound<'_, PyAny>, then: &[Py<PyAny>]) -> PyResult<bool> {
    let Ok(list) = now.cast_exact::<PyList>() else {
        let mut then = then.iter();
        for item in now.try_iter()? {
            let item = item?;
            if !then.next().is_some_and(|known| known.is(&item)) {
                return Ok(false);
            }
        }
        return Ok(then.next().is_none());
    };
    if list.len() != then.len() {
        return Ok(false);
    }
    if then.is_empty() {
        return Ok(true);
    }
    // SAFETY: the list is alive, is exactly a list, and has as many items as `then`, at least one,
    // so its array is there; no Python code runs while the array is read, with the GIL held.
    let items = unsafe {
        let list = list.as_ptr().cast::<pyo3::ffi::PyListObject>();
        std::slice::from_raw_parts((*list).ob_item, then.len())
    };
    Ok(items.iter().zip(then).all(|(item, known)| *item == known.as_ptr()))
}
