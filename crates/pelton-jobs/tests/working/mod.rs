//! A worker and a producer, for tests of stores that go away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pelton_jobs::BrokerError;
use pelton_jobs::engine::{Engine, wait};
use pelton_jobs::id::JobId;
use pelton_jobs::job::{End, LeasedJob, Outcome};
use pelton_jobs::state::State;
use pelton_jobs::worker::{WorkerEvents, WorkerSession};
use pelton_testkit::Link;
use pelton_testkit::broker_conformance::{job, worker_spec};
use pelton_testkit::servers::wait_until;

struct Nobody;

impl WorkerEvents for Nobody {
    fn cancel(&self, _: Vec<JobId>) {}
    fn lost(&self, _: Vec<JobId>) {}
}

pub(crate) fn session(engine: &Arc<Engine>) -> WorkerSession {
    WorkerSession::start(Arc::clone(engine), worker_spec("worker", &[]), Box::new(Nobody)).unwrap()
}

/// Counts the leases that a worker is told are lost.
struct Losses(Arc<AtomicUsize>);

impl WorkerEvents for Losses {
    fn cancel(&self, _: Vec<JobId>) {}
    fn lost(&self, ids: Vec<JobId>) {
        self.0.fetch_add(ids.len(), Ordering::SeqCst);
    }
}

/// A broker that is away for longer than a lease: the only worker gives its job up, and must not
/// keep it from being run by its own signs of life later. One with an outcome on its way keeps it.
pub(crate) fn outlast_leases(url: &str, link: &Link) {
    let engine = Arc::new(Engine::open(url).unwrap());
    let lost = Arc::new(AtomicUsize::new(0));
    let mut spec = worker_spec("worker", &[]);
    spec.lease = 2.0;
    let events = Box::new(Losses(Arc::clone(&lost)));
    let session = WorkerSession::start(Arc::clone(&engine), spec, events).unwrap();
    let ids = [enqueue(&engine), enqueue(&engine)];
    let mut held = Vec::new();
    while held.len() < 2 {
        held.extend(lease(&session, 2));
    }
    link.down();
    let ended = held.iter().position(|job| job.id == ids[1]).unwrap();
    try_succeed(&session, &held[ended..=ended]).unwrap_err();
    wait_until("the leases to be given up", || lost.load(Ordering::SeqCst) >= 2);
    link.up();
    let mut again = Vec::new();
    wait_until("the job to be run again", || {
        again = try_lease(&session, 1).unwrap_or_default();
        !again.is_empty()
    });
    assert_eq!(again[0].id, ids[0]);
    assert_eq!(succeed(&session, &again), [Some(State::Succeeded)]);
    let stale = held.iter().filter(|job| job.id == ids[0]).cloned().collect::<Vec<_>>();
    assert_eq!(succeed(&session, &stale), [None]);
    assert_eq!(succeed(&session, &held[ended..=ended]), [Some(State::Succeeded)]);
    session.close().unwrap();
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
