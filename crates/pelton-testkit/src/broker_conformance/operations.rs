//! What people do with a broker that runs: schedules, orders, many jobs at once.

use std::sync::Arc;

use pelton_jobs::schedule::{AT_RUN_TIME, Interval, Rule, ScheduleSpec};
use pelton_jobs::state::State;

use super::{Store, World, job, worker_spec, write};

fn schedule(name: &str, rule: Rule) -> ScheduleSpec {
    ScheduleSpec { name: name.into(), rule, template: Arc::new(job()), grace: 60.0, catch_up: 1 }
}

fn every(name: &str, seconds: f64) -> ScheduleSpec {
    schedule(name, Rule::Every(Interval::new(seconds).unwrap()))
}

fn put(world: &mut World, schedule: &ScheduleSpec) {
    world.write(|broker, now| broker.put_schedule(AT_RUN_TIME, schedule, now)).unwrap();
}

fn fired(world: &mut World) -> usize {
    world.write(|broker, now| broker.tick("one", now)).unwrap().fired.len()
}

/// Schedules come, change, rest and go at run time; declaring those of code leaves them alone.
pub fn schedules_change_at_run_time(store: &dyn Store) {
    let mut world = World::new(store);
    put(&mut world, &every("a", 10.0));
    world.write(|broker, now| broker.declare("", &[], now)).unwrap();
    world.advance(10.0);
    assert_eq!(fired(&mut world), 1);
    put(&mut world, &every("a", 20.0));
    assert!(world.write(|broker, now| broker.pause_schedule("a", true, now)).unwrap());
    assert!(world.reader.schedules().unwrap()[0].paused);
    world.advance(50.0);
    assert_eq!(fired(&mut world), 0);
    // Changing it does not wake it; what was missed while it rested is not made up for.
    put(&mut world, &every("a", 20.0));
    assert_eq!(fired(&mut world), 0);
    assert!(world.write(|broker, now| broker.pause_schedule("a", false, now)).unwrap());
    assert_eq!(fired(&mut world), 0);
    world.advance(20.0);
    assert_eq!(fired(&mut world), 1);
    let id = world.write(|broker, now| broker.run_schedule("a", now)).unwrap().unwrap();
    assert_eq!(world.state(id), State::Queued);
    assert!(world.write(|broker, _| broker.remove_schedule("a")).unwrap());
    world.advance(100.0);
    assert_eq!(fired(&mut world), 0);
    assert!(!world.write(|broker, _| broker.remove_schedule("a")).unwrap());
    assert!(!world.write(|broker, now| broker.pause_schedule("a", true, now)).unwrap());
    assert_eq!(world.write(|broker, now| broker.run_schedule("a", now)).unwrap(), None);
}

/// All missed ticks fire where that is wanted, up to a limit; a moment fires once.
pub fn missed_ticks_are_made_up_for(store: &dyn Store) {
    let mut world = World::new(store);
    let all = ScheduleSpec { grace: 1e6, catch_up: 100, ..every("all", 10.0) };
    let some = ScheduleSpec { grace: 1e6, catch_up: 3, ..every("some", 10.0) };
    let once = schedule("once", Rule::At(world.now.after(5.0)));
    for schedule in [&all, &some, &once] {
        put(&mut world, schedule);
    }
    world.advance(50.0);
    let tick = world.write(|broker, now| broker.tick("one", now)).unwrap();
    let count = |name: &str| tick.fired.iter().filter(|(fired, _)| fired == name).count();
    assert_eq!((count("all"), count("some"), count("once")), (5, 3, 1));
    world.advance(9.0);
    assert_eq!(fired(&mut world), 0);
    world.advance(1.0);
    assert_eq!(fired(&mut world), 2);
}

/// Orders reach the workers that are meant, once, in order; what they report can be read.
pub fn orders_reach_workers(store: &dyn Store) {
    let mut world = World::new(store);
    let now = world.now;
    let spec = worker_spec("other", &[]);
    let other = write(world.broker.as_mut(), |broker| broker.add_worker(&spec, now)).unwrap();
    let usual = world.worker;
    let order = |world: &mut World, name: Option<&str>, body: &[u8]| {
        world.write(|broker, now| broker.order_workers(name, body, now)).unwrap()
    };
    assert_eq!(order(&mut world, Some("other"), b"1"), 1);
    assert_eq!(order(&mut world, None, b"2"), 2);
    assert_eq!(order(&mut world, Some("nobody"), b"3"), 0);
    let take = |world: &mut World, worker| {
        world.write(|broker, _| broker.orders(worker, Some(b"{}"))).unwrap()
    };
    assert_eq!(take(&mut world, other), [b"1".to_vec(), b"2".to_vec()]);
    assert_eq!(take(&mut world, usual), [b"2".to_vec()]);
    assert!(take(&mut world, other).is_empty());
    let workers = world.reader.workers(now).unwrap();
    assert!(workers.iter().all(|worker| worker.report.as_deref() == Some(b"{}")));
}

/// A whole workflow is counted and cancelled; a queue is purged of what does not run.
pub fn many_jobs_end_at_once(store: &dyn Store) {
    let mut world = World::new(store);
    let grouped = |queue: &str| {
        let mut new = job();
        (new.group, new.queue) = (Some("g".into()), queue.into());
        new
    };
    let jobs = vec![grouped("a"), grouped("a"), grouped("a"), grouped("a")];
    let ids = world.enqueue_tied(jobs, &[(0, 3, 0), (1, 3, 1)]);
    let leased = world.lease(2);
    world.succeed(&leased[0], b"1");
    let counts = world.reader.group_counts("g").unwrap();
    assert_eq!(counts, [1, 0, 1, 1, 1, 0, 0]);
    assert_eq!(world.write(|b, now| b.cancel_group("g", "enough", now)).unwrap(), 3);
    assert!(world.record(ids[1]).cancel_requested);
    assert_eq!(world.record(ids[3]).reason.as_deref(), Some("enough"));
    assert_eq!(world.reader.group_counts("none").unwrap(), [0; 7]);

    let mut later = job();
    (later.queue, later.run_at) = ("b".into(), Some(world.now.after(5.0)));
    let mut keep = job();
    keep.queue = "c".into();
    let mut some: Vec<_> = (0..5).map(|_| grouped("b")).collect();
    some.extend([later, keep]);
    let new = world.enqueue(some);
    assert_eq!(world.write(|b, now| b.purge_queue("b", 4, now)).unwrap(), 4);
    assert_eq!(world.write(|b, now| b.purge_queue("b", 4, now)).unwrap(), 2);
    assert_eq!(world.write(|b, now| b.purge_queue("b", 4, now)).unwrap(), 0);
    assert_eq!(world.write(|b, now| b.purge_queue("none", 4, now)).unwrap(), 0);
    assert_eq!(world.state(new[6]), State::Queued);
}
