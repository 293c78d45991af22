//! Jobs are leased: the right one, to one worker, and not for ever.

use pelton_jobs::broker::WorkerSpec;
use pelton_jobs::id::JobId;
use pelton_jobs::job::End;
use pelton_jobs::retry::MAX_LOSSES;
use pelton_jobs::state::State;

use super::{Store, World, ids, job, worker_spec, write};

/// The larger priority first; within one, the older.
pub fn priority_then_age(store: &dyn Store) {
    let mut world = World::new(store);
    let with = |priority| {
        let mut new = job();
        new.priority = priority;
        new
    };
    let first = world.enqueue([0, 5, -3, 5, 0].map(with).to_vec());
    world.advance(1.0);
    let later = world.enqueue(vec![with(5), with(100)]);
    let order = [later[1], first[1], first[3], later[0], first[0], first[4], first[2]];
    assert_eq!(ids(&world.lease(3)), order[..3]);
    assert_eq!(ids(&world.lease(10)), order[3..]);
}

/// A worker gets jobs of its queues only, one without a list of all, but for those it skips.
pub fn queues_are_chosen(store: &dyn Store) {
    let mut world = World::new(store);
    let mut other = job();
    other.queue = "images".into();
    let ids_of = world.enqueue(vec![other, job()]);
    let (worker, now) = (world.worker, world.now);
    let spec = worker_spec("picky", &["images", "none"]);
    let leased =
        write(world.broker.as_mut(), |broker| broker.lease(worker, &spec, 10, now)).unwrap();
    assert_eq!(ids(&leased), [ids_of[0]]);
    let spec = WorkerSpec { skip: vec!["default".into()], ..worker_spec("shy", &[]) };
    let leased =
        write(world.broker.as_mut(), |broker| broker.lease(worker, &spec, 10, now)).unwrap();
    assert!(leased.is_empty(), "it skips the queue of the job that is left");
    assert_eq!(ids(&world.lease(10)), [ids_of[1]]);
}

/// Nothing is leased from a paused queue, until it is not.
pub fn paused_queues_rest(store: &dyn Store) {
    let mut world = World::new(store);
    world.write(|broker, _| broker.set_paused("default", true)).unwrap();
    let id = world.enqueue(vec![job()])[0];
    assert!(world.lease(10).is_empty());
    assert!(world.reader.queues().unwrap()[0].paused);
    let now = world.now;
    let at = world.broker.work_at(&worker_spec("any", &[]), now).unwrap();
    assert!(at.is_none_or(|at| at > now), "a paused queue is no work");
    world.write(|broker, _| broker.set_paused("default", false)).unwrap();
    assert_eq!(world.lease_one().id, id);
}

/// Delayed jobs wait for their time, and come in the order of their times.
pub fn delayed_jobs_wait(store: &dyn Store) {
    let mut world = World::new(store);
    let at = |world: &World, seconds| {
        let mut new = job();
        new.run_at = Some(world.now.after(seconds));
        new
    };
    let new = vec![at(&world, 20.0), at(&world, 10.0), at(&world, -5.0)];
    let jobs = world.enqueue(new);
    assert_eq!(world.state(jobs[0]), State::Scheduled);
    assert_eq!(world.state(jobs[2]), State::Queued);
    assert_eq!(ids(&world.lease(10)), [jobs[2]]);
    world.advance(9.999);
    assert!(world.lease(10).is_empty());
    world.advance(0.001);
    assert_eq!(ids(&world.lease(10)), [jobs[1]]);
    world.advance(1000.0);
    assert_eq!(ids(&world.lease(10)), [jobs[0]]);
}

/// A job that was not started in time is cancelled, whatever state it waits in.
pub fn expired_jobs_never_start(store: &dyn Store) {
    let mut world = World::new(store);
    let expiring = |world: &World, run_in: Option<f64>| {
        let mut new = job();
        new.expires_at = Some(world.now.after(5.0));
        new.run_at = run_in.map(|seconds| world.now.after(seconds));
        new
    };
    let new = vec![expiring(&world, None), expiring(&world, Some(60.0)), expiring(&world, None)];
    let jobs = world.enqueue_tied(new, &[(0, 2, 0)]);
    world.advance(5.0);
    assert!(world.lease(10).is_empty());
    for id in &jobs {
        let record = world.record(*id);
        assert_eq!(record.state, State::Cancelled);
        assert_eq!(record.finished_at, Some(world.now));
    }
    assert_eq!(world.record(jobs[0]).reason.as_deref(), Some("expired"));
    let in_time = expiring(&world, None);
    let id = world.enqueue(vec![in_time])[0];
    let leased = world.lease_one();
    world.advance(60.0);
    world.tidy();
    assert_eq!(world.state(id), State::Queued, "started in time: lost with its worker, not ended");
    assert_eq!(world.succeed(&leased, b"1").state, None);
}

/// Jobs that a worker was told of are leased as all are: once, unless something is in the way. A
/// store that cannot claim by id may give others, too.
pub fn claims_are_leases(store: &dyn Store) {
    let mut world = World::new(store);
    let claim = |world: &mut World, ids: &[JobId], limit| {
        let (worker, spec) = (world.worker, world.spec.clone());
        world.write(|broker, now| broker.claim(worker, &spec, ids, limit, now)).unwrap()
    };
    assert!(claim(&mut world, &[], 5).jobs.is_empty());
    let jobs = world.enqueue(vec![job(), job(), job()]);
    let first = claim(&mut world, &[jobs[2], jobs[0]], 5);
    let got = ids(&first.jobs);
    assert!(got.contains(&jobs[2]) && got.contains(&jobs[0]) && !first.held, "{got:?}");
    for leased in &first.jobs {
        assert_eq!((world.state(leased.id), leased.attempt), (State::Running, 1));
        assert_eq!(world.succeed(leased, b"1").state, Some(State::Succeeded));
    }
    let again = claim(&mut world, &jobs, 5);
    assert!(again.jobs.iter().all(|leased| !got.contains(&leased.id)));
    world.write(|broker, _| broker.set_paused("default", true)).unwrap();
    let resting = world.enqueue(vec![job(), job()]);
    assert!(world.write(|broker, now| broker.cancel(resting[0], "", now)).unwrap());
    let none = claim(&mut world, &resting, 5);
    assert!(none.jobs.is_empty() && none.held, "one of them is ready, and must wait");
    world.write(|broker, _| broker.set_paused("default", false)).unwrap();
    assert_eq!(ids(&claim(&mut world, &resting, 5).jobs), resting[1..]);
    // What falls due by the call itself needs nobody to tell of it.
    let mut late = job();
    late.run_at = Some(world.now.after(5.0));
    let late = world.enqueue(vec![late]);
    world.advance(5.0);
    assert_eq!(ids(&claim(&mut world, &[], 5).jobs), late);
}

/// No two workers, here or elsewhere, get the same job.
pub fn leases_go_to_one(store: &dyn Store) {
    let mut world = World::new(store);
    let jobs = world.enqueue((0..50).map(|_| job()).collect());
    let mut other = World::new(store);
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.extend(ids(&world.lease(5)));
        seen.extend(ids(&other.lease(5)));
    }
    assert_eq!(seen, jobs);
    assert!(world.lease(5).is_empty() && other.lease(5).is_empty());
}

/// A worker that gives no sign of life loses its jobs to others, and cannot end them any more.
pub fn lost_leases_are_taken_over(store: &dyn Store) {
    let mut world = World::new(store);
    let id = world.enqueue(vec![job()])[0];
    let first = world.lease_one();
    let mut other = World::new(store);
    other.advance(10.0);
    assert!(other.lease(1).is_empty(), "the lease ends after, not at, its time");
    other.advance(0.5);
    let second = other.lease_one();
    assert_eq!((second.id, second.attempt), (id, 2));
    assert!(second.token > first.token);
    assert_eq!(world.succeed(&first, b"old").state, None, "stale");
    assert_eq!(other.succeed(&second, b"new").state, Some(State::Succeeded));
    assert_eq!(world.record(id).result.as_deref(), Some(&b"new"[..]));
    assert_eq!(world.record(id).max_retries, 3);
}

/// A lost lease uses up no retry, but too many in a row are the job's own fault.
pub fn poison_is_put_away(store: &dyn Store) {
    let mut world = World::new(store);
    let mut new = job();
    new.retry.max_retries = 0;
    let id = world.enqueue(vec![new])[0];
    for loss in 1..=MAX_LOSSES {
        assert_eq!(world.state(id), State::Queued, "loss {loss}");
        assert_eq!(world.lease_one().attempt, loss);
        world.advance(11.0);
        world.tidy();
    }
    let record = world.record(id);
    assert_eq!(record.state, State::Dead);
    assert!(record.reason.unwrap().contains("poison"));
    assert!(world.lease(1).is_empty());
}

/// A worker that was given up and comes back is told what it lost, and can work again.
pub fn worker_comes_back(store: &dyn Store) {
    let mut world = World::new(store);
    world.enqueue(vec![job(), job()]);
    let held = world.lease(2);
    let mut other = World::new(store);
    other.advance(11.0);
    let taken = other.lease_one();
    let leases: Vec<_> = held.iter().map(super::LeasedJob::lease).collect();
    let (worker, spec) = (world.worker, world.spec.clone());
    world.advance(12.0);
    let mut lost = world.write(|broker, now| broker.renew(worker, &spec, &leases, now)).unwrap();
    lost.sort();
    assert_eq!(lost, ids(&held));
    let left = world.lease_one();
    assert_ne!(left.id, taken.id);
    assert_eq!(world.succeed(&left, b"1").state, Some(State::Succeeded));
}

/// A lease that is renewed in time is never lost.
pub fn renewing_keeps(store: &dyn Store) {
    let mut world = World::new(store);
    world.enqueue(vec![job()]);
    let held = world.lease_one();
    let (worker, spec) = (world.worker, world.spec.clone());
    let mut other = World::new(store);
    for _ in 0..20 {
        world.advance(9.0);
        let lost = world.write(|broker, now| broker.renew(worker, &spec, &[held.lease()], now));
        assert_eq!(lost.unwrap(), []);
        other.now = world.now;
        assert!(other.lease(1).is_empty());
    }
    let settled = world.finish(&held, End::Release);
    assert_eq!(settled.state, Some(State::Queued));
}

/// `work_at` tells when a lease would find something: now, at a job's time, or when a worker's
/// leases run out.
pub fn work_is_announced(store: &dyn Store) {
    let mut world = World::new(store);
    let now = world.now;
    let lease_end = now.after(10.0);
    assert_eq!(
        world.broker.work_at(&worker_spec("any", &[]), now).unwrap(),
        Some(lease_end),
        "the worker's own lease"
    );
    let mut later = job();
    later.run_at = Some(now.after(3.0));
    world.enqueue(vec![later]);
    assert_eq!(world.broker.work_at(&worker_spec("any", &[]), now).unwrap(), Some(now.after(3.0)));
    let mut mails = job();
    mails.queue = "mails".into();
    world.enqueue(vec![mails]);
    let mails = worker_spec("mails", &["mails"]);
    assert!(world.broker.work_at(&mails, now).unwrap().unwrap() <= now);
    let other = worker_spec("other", &["other"]);
    assert!(world.broker.work_at(&other, now).unwrap().unwrap() > now);
    let skips = WorkerSpec { skip: vec!["mails".into()], ..worker_spec("skips", &[]) };
    assert!(world.broker.work_at(&skips, now).unwrap().unwrap() > now);
}
