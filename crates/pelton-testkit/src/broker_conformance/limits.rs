//! Limits across workers, fair queues, keys that stay taken.

use pelton_jobs::id::JobId;
use pelton_jobs::job::NewJob;
use pelton_jobs::limit::{Limit, Rate, Scope};

use super::{Store, World, ids, job};

fn set(world: &mut World, scope: Scope, concurrency: Option<u32>, rate: Option<Rate>) {
    let limit = Limit { concurrency, rate };
    world.write(|broker, _| broker.set_limit(&scope, Some(&limit))).unwrap();
}

fn of(task: &str, queue: &str, key: Option<&str>) -> NewJob {
    let mut new = job();
    (new.task, new.queue) = (task.into(), queue.into());
    new.extra.limit_key = key.map(str::to_owned);
    new
}

/// No more of a task's and of a queue's jobs run at a time, whoever leases; others go on.
pub fn concurrency_is_limited(store: &dyn Store) {
    let mut world = World::new(store);
    set(&mut world, Scope::Task("slow".into()), Some(2), None);
    set(&mut world, Scope::Queue("narrow".into()), Some(1), None);
    let jobs = [of("slow", "a", None), of("slow", "a", None), of("slow", "b", None)];
    let slow = world.enqueue(jobs.to_vec());
    let narrow = world.enqueue(vec![of("x", "narrow", None), of("y", "narrow", None)]);
    let free = world.enqueue(vec![of("x", "a", None)]);
    let leased = world.lease(10);
    let mut got = ids(&leased);
    got.sort_unstable();
    let count = |ids: &[JobId]| got.iter().filter(|id| ids.contains(id)).count();
    assert_eq!((count(&slow), count(&narrow), count(&free), got.len()), (2, 1, 1, 4));
    assert!(world.lease(10).is_empty());
    let now = world.now;
    assert!(world.broker.work_at(&world.spec, now).unwrap().is_none_or(|at| at > now));
    for done in leased.iter().filter(|job| &*job.task == "slow" || &*job.queue == "narrow") {
        world.succeed(done, b"1");
    }
    assert!(world.broker.work_at(&world.spec, now).unwrap().is_some_and(|at| at <= now));
    assert_eq!(world.lease(10).len(), 2);
}

/// Jobs begin no faster than their rate, after a burst; the broker says when to come back.
pub fn rates_are_kept(store: &dyn Store) {
    let mut world = World::new(store);
    let rate = Rate { per_second: 2.0, burst: 3.0 };
    set(&mut world, Scope::Task("t".into()), None, Some(rate));
    world.enqueue((0..20).map(|_| of("t", "a", None)).collect());
    assert_eq!(world.lease(50).len(), 3);
    let now = world.now;
    assert_eq!(world.broker.work_at(&world.spec, now).unwrap(), Some(now.after(0.5)));
    let mut begun = 0;
    for _ in 0..16 {
        world.advance(0.25);
        begun += world.lease(50).len();
    }
    assert_eq!(begun, 8, "4 seconds at 2 a second");
    let scope = Scope::Task("t".into());
    world.write(|broker, _| broker.set_limit(&scope, None)).unwrap();
    assert!(world.reader.limits().unwrap().is_empty());
    assert_eq!(world.lease(50).len(), 9);
}

/// Each key of a task has a limit of its own, and one that is used up does not block the others.
pub fn keys_have_their_own_limits(store: &dyn Store) {
    let mut world = World::new(store);
    world.enqueue(vec![of("t", "a", Some("x")), of("t", "a", Some("x")), of("t", "a", Some("y"))]);
    // Set after the jobs are there, which counts as well.
    set(&mut world, Scope::Key("t".into()), Some(1), Some(Rate { per_second: 1.0, burst: 1.0 }));
    world.enqueue(vec![of("t", "a", None), of("other", "a", Some("x"))]);
    let leased = world.lease(10);
    assert_eq!(leased.len(), 4);
    for job in &leased {
        world.succeed(job, b"1");
    }
    assert!(world.lease(10).is_empty());
    world.advance(1.0);
    assert_eq!(world.lease(10).len(), 1);
}

/// What code declares gives way to what people set, and holds again when that is removed.
pub fn what_is_set_wins(store: &dyn Store) {
    let mut world = World::new(store);
    let scope = Scope::Task("t".into());
    let wide = |n| Limit { concurrency: Some(n), rate: None };
    let told = |world: &mut World| -> Vec<(Option<u32>, bool)> {
        let limits = world.reader.limits().unwrap();
        limits.iter().map(|found| (found.limit.concurrency, found.declared)).collect()
    };
    for n in [1, 2] {
        world.write(|broker, _| broker.declare_limit(&scope, Some(&wide(n)))).unwrap();
        assert_eq!(told(&mut world), [(Some(n), true)]);
    }
    set(&mut world, scope.clone(), Some(3), None);
    for declared in [Some(wide(2)), None] {
        world.write(|broker, _| broker.declare_limit(&scope, declared.as_ref())).unwrap();
        assert_eq!(told(&mut world), [(Some(3), false)]);
    }
    world.enqueue((0..5).map(|_| of("t", "a", None)).collect());
    assert_eq!(world.lease(10).len(), 3);
    world.write(|broker, _| broker.set_limit(&scope, None)).unwrap();
    world.write(|broker, _| broker.declare_limit(&scope, Some(&wide(4)))).unwrap();
    assert_eq!(told(&mut world), [(Some(4), true)]);
    assert_eq!(world.lease(10).len(), 1);
    world.write(|broker, _| broker.declare_limit(&scope, None)).unwrap();
    assert!(told(&mut world).is_empty());
}

/// A job that runs again heeds the limits of now, not those of its first time.
pub fn retried_jobs_heed_new_limits(store: &dyn Store) {
    let mut world = World::new(store);
    let scope = Scope::Task("t".into());
    set(&mut world, scope.clone(), Some(1), None);
    let id = world.enqueue(vec![of("t", "a", None)])[0];
    world.write(|broker, now| broker.cancel(id, "", now)).unwrap();
    world.write(|broker, _| broker.set_limit(&scope, None)).unwrap();
    assert!(world.write(|broker, now| broker.retry(id, now)).unwrap());
    let first = world.lease_one();
    assert_eq!(first.id, id);
    world.succeed(&first, b"1");
    let ids = world.enqueue(vec![of("t", "a", None), of("t", "a", None)]);
    for id in &ids {
        world.write(|broker, now| broker.cancel(*id, "", now)).unwrap();
    }
    set(&mut world, scope, Some(1), None);
    for id in &ids {
        assert!(world.write(|broker, now| broker.retry(*id, now)).unwrap());
    }
    assert_eq!(world.lease(10).len(), 1);
}

/// A bucket that programs take from by themselves.
pub fn buckets_are_shared(store: &dyn Store) {
    let mut world = World::new(store);
    let rate = Rate { per_second: 1.0, burst: 2.0 };
    let take = |world: &mut World| world.write(|b, now| b.acquire("api", rate, 1.0, now)).unwrap();
    assert_eq!((take(&mut world), take(&mut world)), (None, None));
    assert_eq!(take(&mut world), Some(world.now.after(1.0)));
    world.advance(1.0);
    assert_eq!(take(&mut world), None);
    world.write(|b, now| b.acquire("api", rate, 5.0, now)).unwrap_err();
    world.write(|b, now| b.acquire("other", rate, 2.0, now)).unwrap();
}

/// A flood in one queue does not keep another one waiting.
pub fn queues_are_served_in_turn(store: &dyn Store) {
    let mut world = World::new(store);
    world.enqueue((0..50).map(|_| of("t", "flood", None)).collect());
    world.advance(1.0);
    world.enqueue((0..5).map(|_| of("t", "trickle", None)).collect());
    let mut trickled = 0;
    for _ in 0..10 {
        trickled += usize::from(&*world.lease_one().queue == "trickle");
    }
    assert_eq!(trickled, 5, "one at a time");
    world.enqueue((0..5).map(|_| of("t", "trickle", None)).collect());
    let leased = world.lease(10);
    assert_eq!(leased.iter().filter(|job| &*job.queue == "trickle").count(), 5, "all at once");
    // Priority comes first all the same.
    let mut urgent = of("t", "flood", None);
    urgent.priority = 5;
    let id = world.enqueue(vec![urgent, of("t", "trickle", None)])[0];
    assert_eq!(world.lease_one().id, id);
}

/// A key may stay taken for a while after its job has ended.
pub fn keys_stay_taken(store: &dyn Store) {
    let mut world = World::new(store);
    let keyed = || {
        let mut new = job();
        (new.key, new.extra.key_ttl, new.result_ttl) = (Some("k".into()), Some(100.0), 1.0);
        new
    };
    let first = world.enqueue(vec![keyed()])[0];
    let leased = world.lease_one();
    world.succeed(&leased, b"1");
    world.advance(50.0);
    world.tidy();
    assert_eq!(world.enqueue(vec![keyed()])[0], first);
    world.advance(51.0);
    let second = world.enqueue(vec![keyed()])[0];
    assert_ne!(second, first);
    world.tidy();
    assert_eq!(world.reader.get(first).unwrap(), None);
    assert_eq!(world.reader.get(second).unwrap().unwrap().key.as_deref(), Some("k"));
}
