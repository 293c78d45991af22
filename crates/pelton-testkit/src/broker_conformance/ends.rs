//! Attempts end: once, and only by the worker that holds the lease.

use pelton_jobs::broker::Progress;
use pelton_jobs::job::End;
use pelton_jobs::state::State;

use super::{Store, World, job};

/// A result is kept with its job.
pub fn success_is_kept(store: &dyn Store) {
    let mut world = World::new(store);
    let id = world.enqueue(vec![job()])[0];
    let leased = world.lease_one();
    let started = world.now;
    assert_eq!(world.record(id).started_at, Some(started));
    world.advance(2.0);
    let settled = world.succeed(&leased, b"{\"a\":1}");
    assert_eq!((settled.id, settled.state, settled.run_at), (id, Some(State::Succeeded), None));
    let record = world.record(id);
    assert_eq!(record.state, State::Succeeded);
    assert_eq!(record.result.as_deref(), Some(&b"{\"a\":1}"[..]));
    assert_eq!((record.started_at, record.finished_at), (Some(started), Some(world.now)));
    assert_eq!((record.worker, record.reason), (None, None));
}

/// Failures are retried, later each time, and then the job is dead, with its last error.
pub fn failures_back_off(store: &dyn Store) {
    let mut world = World::new(store);
    let mut new = job();
    new.retry.max_retries = 3;
    new.retry.max_delay = 3.0;
    let id = world.enqueue(vec![new])[0];
    for (attempt, delay) in [(1, 1.0), (2, 2.0), (3, 3.0)] {
        let leased = world.lease_one();
        assert_eq!(leased.attempt, attempt);
        let settled = world.fail(&leased);
        assert_eq!(settled.state, Some(State::Scheduled));
        assert_eq!(settled.run_at, Some(world.now.after(delay)));
        assert_eq!(world.record(id).run_at, settled.run_at);
        assert!(world.lease(1).is_empty());
        world.advance(delay);
    }
    let leased = world.lease_one();
    let error = b"{\"type\":\"ValueError\"}".to_vec();
    let settled =
        world.finish(&leased, End::Failure { error: error.clone(), retry: true, delay: None });
    assert_eq!((settled.state, settled.run_at), (Some(State::Dead), None));
    let record = world.record(id);
    assert_eq!((record.state, record.attempt, record.error), (State::Dead, 4, Some(error)));
    assert!(record.reason.unwrap().contains("no retries left"));
    world.advance(100_000.0);
    assert!(world.lease(1).is_empty());
}

/// `retry: false` is the end at once.
pub fn failure_can_be_final(store: &dyn Store) {
    let mut world = World::new(store);
    let id = world.enqueue(vec![job()])[0];
    let leased = world.lease_one();
    let end = End::Failure { error: b"{}".to_vec(), retry: false, delay: Some(1.0) };
    assert_eq!(world.finish(&leased, end).state, Some(State::Dead));
    assert_eq!(world.record(id).attempt, 1);
}

/// A delay of the task's own choice takes the place of the policy's, and counts as a retry.
pub fn own_delay_counts_as_retry(store: &dyn Store) {
    let mut world = World::new(store);
    let mut new = job();
    new.retry.max_retries = 1;
    world.enqueue(vec![new]);
    let leased = world.lease_one();
    let end = End::Failure { error: b"{}".to_vec(), retry: true, delay: Some(0.0) };
    assert_eq!(world.finish(&leased, end.clone()).run_at, Some(world.now));
    let leased = world.lease_one();
    assert_eq!(world.finish(&leased, end).state, Some(State::Dead));
}

/// A job that is given back is as before.
pub fn release_does_not_count(store: &dyn Store) {
    let mut world = World::new(store);
    let jobs = world.enqueue(vec![job(), job()]);
    let leased = world.lease_one();
    assert_eq!(world.finish(&leased, End::Release).state, Some(State::Queued));
    let record = world.record(jobs[0]);
    assert_eq!((record.state, record.attempt), (State::Queued, 0));
    let again = world.lease_one();
    assert_eq!((again.id, again.attempt), (jobs[0], 1), "and it has kept its place");
    assert!(again.token > leased.token, "but the fence has moved");
    assert_eq!(world.succeed(&leased, b"old").state, None);
}

/// An outcome under a lost, ended or made-up lease changes nothing, whatever it says.
pub fn stale_outcomes_change_nothing(store: &dyn Store) {
    let mut world = World::new(store);
    let id = world.enqueue(vec![job()])[0];
    let leased = world.lease_one();
    let mut forged = leased.clone();
    forged.token += 1;
    assert_eq!(world.succeed(&forged, b"1").state, None);
    let mut misplaced = leased.clone();
    misplaced.id = job().id;
    assert_eq!(world.succeed(&misplaced, b"1").state, None);
    assert_eq!(world.state(id), State::Running);
    world.succeed(&leased, b"true");
    let before = world.record(id);
    for end in [
        End::Success(b"false".to_vec()),
        End::Failure { error: b"{}".to_vec(), retry: true, delay: None },
        End::Cancelled("no".into()),
        End::Release,
    ] {
        assert_eq!(world.finish(&leased, end).state, None);
    }
    assert_eq!(world.record(id), before);
}

/// Progress shows while its lease lasts, and is forgotten by the next attempt.
pub fn progress_is_fenced(store: &dyn Store) {
    let mut world = World::new(store);
    let id = world.enqueue(vec![job()])[0];
    let leased = world.lease_one();
    let report =
        Progress { lease: leased.lease(), fraction: 0.25, message: Some("a quarter".into()) };
    let before = world.record(id).version;
    world.write(|broker, _| broker.progress(std::slice::from_ref(&report))).unwrap();
    let record = world.record(id);
    assert_eq!((record.progress, record.message.as_deref()), (Some(0.25), Some("a quarter")));
    assert!(record.version > before);
    world.finish(&leased, End::Release);
    world.write(|broker, _| broker.progress(&[report])).unwrap();
    world.lease_one();
    assert_eq!(world.record(id).progress, None);
}

/// Records go when their time is over: results after their own, the dead after a month.
pub fn records_are_purged(store: &dyn Store) {
    let mut world = World::new(store);
    let short = || {
        let mut new = job();
        new.result_ttl = 60.0;
        new.retry.max_retries = 0;
        new
    };
    let jobs = world.enqueue(vec![short(), short(), short(), short()]);
    let leased = world.lease(2);
    world.succeed(&leased[0], b"1");
    world.fail(&leased[1]);
    world.write(|broker, now| broker.cancel(jobs[2], "", now)).unwrap();
    world.advance(59.0);
    world.tidy();
    assert!(jobs.iter().all(|id| world.reader.get(*id).unwrap().is_some()));
    world.advance(1.0);
    world.tidy();
    let left: Vec<bool> = jobs.iter().map(|id| world.reader.get(*id).unwrap().is_some()).collect();
    assert_eq!(left, [false, true, false, true]);
    world.advance(31.0 * 86_400.0);
    world.tidy();
    assert!(world.reader.get(jobs[1]).unwrap().is_none());
    assert_eq!(world.state(jobs[3]), State::Queued, "what has not ended is never purged");
}
