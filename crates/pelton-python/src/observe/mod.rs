//! What the loop measures about itself: signs of life (`pulse`), the thread that watches them
//! (`watchdog`), the stacks of held loops (`capture`, `stall`), and callbacks' time by name.

mod callback_times;
mod capture;
mod pulse;
mod stall;
pub(crate) mod watchdog;

use pyo3::prelude::*;
use pyo3::types::PyDict;

pub(crate) use callback_times::CallbackTimes;
pub(crate) use pulse::Pulse;

/// Adds this area's names to `pelton._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(stall::stalls, module)?)?;
    module.add_function(wrap_pyfunction!(stall::clear_stalls, module)?)?;
    module.add_function(wrap_pyfunction!(watchdog::stall_limit, module)?)?;
    module.add_function(wrap_pyfunction!(watchdog::set_stall_limit, module)?)?;
    let py = module.py();
    let pause = wrap_pyfunction!(watchdog::pause_watchdog, module)?;
    let forget = wrap_pyfunction!(watchdog::forget_watched, module)?;
    module.add_function(pause.clone())?;
    module.add_function(forget.clone())?;
    // A process that forks, or ends, has no thread of ours beside it.
    py.import("atexit")?.call_method1("register", (&pause,))?;
    let hooks = PyDict::new(py);
    hooks.set_item("before", pause)?;
    hooks.set_item("after_in_child", forget)?;
    py.import("os")?.call_method("register_at_fork", (), Some(&hooks))?;
    Ok(())
}
