//! The job engine's bridge to Python: arguments in, `pelton_jobs::engine` called, answers out.

mod answer;
mod broker;
mod convert;
mod courier;
mod history;
mod job;
mod record;
mod schedule;
mod worker;

use pyo3::prelude::*;

/// Adds this area's names to `pelton._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("BrokerError", module.py().get_type::<convert::BrokerError>())?;
    module.add_class::<job::RetryPolicy>()?;
    module.add_class::<job::NewJob>()?;
    module.add_class::<job::Edge>()?;
    module.add_class::<job::LeasedJob>()?;
    module.add_class::<job::Outcome>()?;
    module.add_class::<job::Settled>()?;
    module.add_class::<record::JobRecord>()?;
    module.add_class::<history::AttemptRecord>()?;
    module.add_class::<history::LimitRecord>()?;
    module.add_class::<record::QueueRecord>()?;
    module.add_class::<record::WorkerRecord>()?;
    module.add_class::<record::ScheduleRecord>()?;
    module.add_class::<schedule::ScheduleSpec>()?;
    module.add_class::<schedule::SchedulerSession>()?;
    module.add_class::<broker::Broker>()?;
    module.add_class::<worker::WorkerSession>()?;
    module.add_function(wrap_pyfunction!(job::new_job_id, module)?)
}
