//! A worker and a producer, for tests of stores that go away.

use std::sync::Arc;
use std::time::Duration;

use pelton_jobs::BrokerError;
use pelton_jobs::engine::{Engine, wait};
use pelton_jobs::id::JobId;
use pelton_jobs::job::{End, LeasedJob, Outcome};
use pelton_jobs::state::State;
use pelton_jobs::worker::{WorkerEvents, WorkerSession};
use pelton_testkit::broker_conformance::{job, worker_spec};

struct Nobody;

impl WorkerEvents for Nobody {
    fn cancel(&self, _: Vec<JobId>) {}
    fn lost(&self, _: Vec<JobId>) {}
}

pub(crate) fn session(engine: &Arc<Engine>) -> WorkerSession {
    WorkerSession::start(Arc::clone(engine), worker_spec("worker", &[]), Box::new(Nobody)).unwrap()
}

pub(crate) fn enqueue(engine: &Engine) -> JobId {
    let ids = wait(|reply| engine.enqueue(vec![Arc::new(job())], Vec::new(), reply));
    ids.unwrap()[0]
}

pub(crate) fn try_lease(
    session: &WorkerSession,
    limit: usize,
) -> Result<Vec<LeasedJob>, BrokerError> {
    wait(|reply| session.lease(limit, Duration::from_secs(20), reply))
}

pub(crate) fn lease(session: &WorkerSession, limit: usize) -> Vec<LeasedJob> {
    try_lease(session, limit).unwrap()
}

pub(crate) fn try_succeed(
    session: &WorkerSession,
    jobs: &[LeasedJob],
) -> Result<Vec<Option<State>>, BrokerError> {
    let outcomes = jobs
        .iter()
        .map(|job| Outcome { lease: job.lease(), end: End::Success(b"1".to_vec()) })
        .collect();
    let settled = wait(|reply| session.finish(outcomes, reply))?;
    Ok(settled.into_iter().map(|settled| settled.state).collect())
}

pub(crate) fn succeed(session: &WorkerSession, jobs: &[LeasedJob]) -> Vec<Option<State>> {
    try_succeed(session, jobs).unwrap()
}
