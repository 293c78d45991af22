//! What people ask of jobs and queues.

use pelton_jobs::id::JobId;
use pelton_jobs::job::End;
use pelton_jobs::record::ListFilter;
use pelton_jobs::state::State;

use super::{Store, World, job, worker_spec, write_and_tell};

/// What has not started ends at once.
pub fn cancel_unstarted(store: &dyn Store) {
    let mut world = World::new(store);
    let mut later = job();
    later.run_at = Some(world.now.after(60.0));
    let jobs = world.enqueue(vec![job(), later]);
    for id in &jobs {
        assert!(world.write(|broker, now| broker.cancel(*id, "not wanted", now)).unwrap());
        let record = world.record(*id);
        assert_eq!(record.state, State::Cancelled);
        assert_eq!(record.reason.as_deref(), Some("not wanted"));
        assert_eq!(record.finished_at, Some(world.now));
        assert!(!world.write(|broker, now| broker.cancel(*id, "again", now)).unwrap());
        assert_eq!(world.record(*id).reason.as_deref(), Some("not wanted"));
    }
    assert!(!world.write(|broker, now| broker.cancel(job().id, "", now)).unwrap());
    world.advance(100.0);
    assert!(world.lease(5).is_empty());
}

/// The worker of a running job is told, and its word ends the job.
pub fn cancel_running(store: &dyn Store) {
    let mut world = World::new(store);
    let id = world.enqueue(vec![job()])[0];
    let leased = world.lease_one();
    let worker = world.worker;
    assert_eq!(world.broker.cancels(worker).unwrap(), []);
    let now = world.now;
    let (answer, commit) =
        write_and_tell(world.broker.as_mut(), |broker| broker.cancel(id, "stop", now));
    assert!(answer.unwrap() && commit.cancels);
    let record = world.record(id);
    assert_eq!((record.state, record.cancel_requested), (State::Running, true));
    assert_eq!(world.broker.cancels(worker).unwrap(), [id]);
    let settled = world.finish(&leased, End::Cancelled(String::new()));
    assert_eq!(settled.state, Some(State::Cancelled));
    assert_eq!(world.record(id).reason.as_deref(), Some("stop"));
    assert_eq!(world.broker.cancels(worker).unwrap(), []);
}

/// A job that is to be cancelled is not run again; but a result that came first counts.
pub fn cancel_wins_over_retry(store: &dyn Store) {
    let mut world = World::new(store);
    let jobs = world.enqueue(vec![job(), job(), job(), job()]);
    let leased = world.lease(4);
    for id in &jobs {
        world.write(|broker, now| broker.cancel(*id, "", now)).unwrap();
    }
    assert_eq!(world.fail(&leased[0]).state, Some(State::Cancelled));
    assert_eq!(world.finish(&leased[1], End::Release).state, Some(State::Cancelled));
    assert_eq!(world.succeed(&leased[2], b"1").state, Some(State::Succeeded));
    world.advance(11.0);
    world.tidy();
    assert_eq!(world.state(jobs[3]), State::Cancelled, "its worker went away");
}

/// A dead or cancelled job can be run again, with all its retries.
pub fn retry_starts_over(store: &dyn Store) {
    let mut world = World::new(store);
    let mut new = job();
    new.retry.max_retries = 1;
    new.key = Some("k".into());
    let id = world.enqueue(vec![new.clone()])[0];
    assert!(!world.write(|broker, now| broker.retry(id, now)).unwrap(), "not ended");
    for _ in 0..2 {
        let leased = world.lease_one();
        world.fail(&leased);
        world.advance(5.0);
    }
    assert_eq!(world.state(id), State::Dead);
    let twin = super::NewJob { id: job().id, ..new };
    let twin = world.enqueue(vec![twin])[0];
    let error = world.write(|broker, now| broker.retry(id, now)).unwrap_err();
    assert!(error.to_string().contains("key"), "{error}");
    world.write(|broker, now| broker.cancel(twin, "", now)).unwrap();
    assert!(world.write(|broker, now| broker.retry(id, now)).unwrap());
    let record = world.record(id);
    assert_eq!((record.state, record.attempt), (State::Queued, 0));
    assert_eq!((record.error, record.reason, record.finished_at), (None, None, None));
    let leased = world.lease_one();
    assert_eq!((leased.id, leased.attempt, leased.token), (id, 1, 3));
    assert_eq!(world.fail(&leased).state, Some(State::Scheduled), "its retries are back");
    world.advance(5.0);
    let leased = world.lease_one();
    world.succeed(&leased, b"1");
    assert!(!world.write(|broker, now| broker.retry(id, now)).unwrap(), "succeeded");
}

/// Only ended jobs can be deleted.
pub fn delete_only_ended(store: &dyn Store) {
    let mut world = World::new(store);
    let id = world.enqueue(vec![job()])[0];
    let gone = |world: &mut World| world.write(|broker, now| broker.delete(id, now)).unwrap();
    assert!(!gone(&mut world));
    let leased = world.lease_one();
    assert!(!gone(&mut world));
    world.succeed(&leased, b"1");
    assert!(gone(&mut world));
    assert!(!gone(&mut world));
    assert_eq!(world.reader.get(id).unwrap(), None);
    assert_eq!(world.succeed(&leased, b"2").state, None);
}

/// The numbers of `queues` are those of the jobs.
pub fn counts_are_true(store: &dyn Store) {
    let mut world = World::new(store);
    let mut later = job();
    later.run_at = Some(world.now.after(60.0));
    let jobs = world.enqueue_tied(vec![job(), job(), later, job()], &[(1, 3, 0)]);
    let started = world.now;
    world.advance(1.0);
    let mut urgent = job();
    urgent.priority = 9;
    world.enqueue(vec![urgent, job()]);
    let queue = &world.reader.queues().unwrap()[0];
    assert_eq!((queue.name.as_str(), queue.counts), ("default", [1, 1, 4, 0, 0, 0, 0]));
    assert_eq!(queue.oldest_queued_at, Some(started));
    let leased = world.lease(3);
    world.fail(&leased[0]);
    world.succeed(&leased[1], b"1");
    world.write(|broker, now| broker.cancel(jobs[2], "", now)).unwrap();
    let queue = &world.reader.queues().unwrap()[0];
    assert_eq!(queue.counts, [1, 1, 1, 1, 1, 0, 1]);
    world.write(|broker, now| broker.delete(jobs[2], now)).unwrap();
    assert_eq!(world.reader.queues().unwrap()[0].counts, [1, 1, 1, 1, 1, 0, 0]);
}

/// Lists are newest first, filtered, limited, and go on where they ended.
pub fn lists_are_filtered(store: &dyn Store) {
    let mut world = World::new(store);
    let new = (0..6).map(|n| {
        let mut new = job();
        new.queue = if n % 2 == 0 { "even".into() } else { "odd".into() };
        new.task = format!("t{}", n % 3);
        new.group = (n > 3).then(|| "late".to_owned());
        new
    });
    let new: Vec<_> = new.collect();
    let jobs = world.enqueue(new);
    world.write(|broker, now| broker.cancel(jobs[2], "", now)).unwrap();
    let mut list = |filter: ListFilter| -> Vec<usize> {
        let records = world.reader.list(&filter).unwrap();
        let index = |id: JobId| jobs.iter().position(|job| *job == id).unwrap();
        records.into_iter().map(|record| index(record.id)).collect()
    };
    let all = || ListFilter { limit: 50, ..ListFilter::default() };
    assert_eq!(list(all()), [5, 4, 3, 2, 1, 0]);
    assert_eq!(list(ListFilter { limit: 2, ..all() }), [5, 4]);
    assert_eq!(list(ListFilter { before: Some(jobs[4]), limit: 2, ..all() }), [3, 2]);
    assert_eq!(list(ListFilter { queue: Some("even".into()), ..all() }), [4, 2, 0]);
    assert_eq!(list(ListFilter { task: Some("t1".into()), ..all() }), [4, 1]);
    assert_eq!(list(ListFilter { group: Some("late".into()), ..all() }), [5, 4]);
    assert_eq!(list(ListFilter { state: Some(State::Cancelled), ..all() }), [2]);
    let both = ListFilter { queue: Some("even".into()), state: Some(State::Queued), ..all() };
    assert_eq!(list(both), [4, 0]);
    assert!(list(ListFilter { queue: Some("none".into()), ..all() }).is_empty());
}

/// Workers are listed while they live, with what they did.
pub fn workers_are_listed(store: &dyn Store) {
    let mut world = World::new(store);
    let spec = worker_spec("second", &["a", "b"]);
    let second = world.write(|broker, now| broker.add_worker(&spec, now)).unwrap();
    world.enqueue(vec![job(), job(), job(), job()]);
    let leased = world.lease(4);
    world.succeed(&leased[0], b"1");
    world.fail(&leased[1]);
    world.finish(&leased[2], End::Release);
    let since = world.now.after(-120.0);
    let workers = world.reader.workers(since).unwrap();
    assert_eq!(workers.len(), 2);
    assert_eq!(
        (workers[0].name.as_str(), workers[0].queues.as_slice()),
        ("second", &spec.queues[..])
    );
    let usual = &workers[1];
    assert_eq!((usual.name.as_str(), usual.pid, usual.concurrency), ("usual", 7, 4));
    assert_eq!((usual.running, usual.processed, usual.failed), (1, 2, 1));
    world.write(|broker, _| broker.remove_worker(second)).unwrap();
    let worker = world.worker;
    world.write(|broker, _| broker.remove_worker(worker)).unwrap();
    assert!(world.reader.workers(since).unwrap().is_empty());
    assert_eq!(world.state(leased[3].id), State::Running, "what it holds expires by itself");
    world.advance(10.5);
    world.tidy();
    assert_eq!(world.state(leased[3].id), State::Queued);
}
