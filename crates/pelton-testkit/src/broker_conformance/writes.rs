//! Jobs are written, durably, and all or none.

use std::sync::Arc;

use pelton_jobs::record::ListFilter;
use pelton_jobs::state::State;

use super::{Store, World, ids, job, write};

/// Everything that is written can be read.
pub fn round_trip(store: &dyn Store) {
    let mut world = World::new(store);
    let mut new = job();
    new.task = "mail:send".into();
    new.payload = vec![0, 255, 10];
    new.queue = "mails".into();
    new.priority = -100;
    new.run_at = Some(world.now.after(5.0));
    new.expires_at = Some(world.now.after(50.0));
    new.key = Some("k".into());
    new.group = Some("g".into());
    new.timeout = Some(2.5);
    new.retry.max_retries = 7;
    let expected = new.clone();
    let id = world.enqueue(vec![new])[0];
    let record = world.record(id);
    assert_eq!(record.id, expected.id);
    assert_eq!((record.task, record.queue), (expected.task, expected.queue));
    assert_eq!((record.payload, record.priority), (expected.payload, expected.priority));
    assert_eq!((record.run_at, record.created_at), (expected.run_at, world.now));
    assert_eq!((record.key, record.group), (expected.key, expected.group));
    assert_eq!((record.timeout, record.max_retries), (Some(2.5), 7));
    assert_eq!((record.state, record.attempt, record.version), (State::Scheduled, 0, 1));
    assert_eq!((record.result, record.error, record.reason), (None, None, None));
    world.advance(6.0);
    let leased = world.lease_one();
    assert_eq!((leased.payload, leased.attempt, leased.timeout), (vec![0, 255, 10], 1, Some(2.5)));
    assert_eq!((&*leased.task, &*leased.queue, leased.max_retries), ("mail:send", "mails", 7));
    assert_eq!((leased.key.as_deref(), leased.group.as_deref()), (Some("k"), Some("g")));
    assert_eq!(world.record(id).worker.as_deref(), Some("usual"));
}

/// One bad job of a batch, and none is written.
pub fn batch_is_all_or_nothing(store: &dyn Store) {
    let mut world = World::new(store);
    let good = job();
    let mut bad = job();
    bad.id = good.id;
    let result = world.enqueue_workflow(vec![good.clone(), job(), bad], &[]);
    assert!(result.is_err());
    // Its end would come at a time that no store can write.
    let mut endless = job();
    endless.result_ttl = 1e13;
    assert!(world.enqueue_workflow(vec![good.clone(), endless], &[]).is_err());
    assert_eq!(world.reader.get(good.id).unwrap(), None);
    assert!(world.lease(10).is_empty());
    assert!(world.reader.queues().unwrap().iter().all(|queue| queue.counts == [0; 7]));
}

/// One bad operation of a group, and the others happen all the same.
pub fn bad_operation_spares_its_group(store: &dyn Store) {
    let mut world = World::new(store);
    let (one, two) = (Arc::new(job()), Arc::new(job()));
    let mut bad = job();
    bad.queue = "another".into();
    bad.id = one.id;
    let now = world.now;
    world.broker.begin().unwrap();
    world.broker.enqueue(&[Arc::clone(&one)], &[], now).unwrap();
    world.broker.enqueue(&[Arc::new(bad)], &[], now).unwrap_err();
    world.broker.enqueue(&[Arc::clone(&two)], &[], now).unwrap();
    world.broker.commit().unwrap();
    assert_eq!(ids(&world.lease(10)), [one.id, two.id]);
    // The queue that came with the bad one must not be half known.
    let mut late = job();
    late.queue = "another".into();
    let id = world.enqueue(vec![late])[0];
    assert_eq!(world.lease_one().id, id);
}

/// A key stands for one unfinished job, also within a batch and across brokers.
pub fn keys_are_unique_while_unfinished(store: &dyn Store) {
    let mut world = World::new(store);
    let keyed = || {
        let mut new = job();
        new.key = Some("only".into());
        new
    };
    let first = keyed();
    let ids = world.enqueue(vec![first.clone(), keyed(), job()]);
    assert_eq!((ids[0], ids[1]), (first.id, first.id));
    let mut other = store.open();
    let now = world.now;
    let again = write(other.as_mut(), |broker| broker.enqueue(&[Arc::new(keyed())], &[], now));
    assert_eq!(again.unwrap(), [first.id]);
    let leased = world.lease_one();
    assert_eq!(world.enqueue(vec![keyed()]), [first.id], "while it runs, too");
    world.succeed(&leased, b"1");
    let next = keyed();
    assert_eq!(world.enqueue(vec![next.clone()]), [next.id], "after the end, the key is free");
}

/// Jobs of one batch run in its order.
pub fn bulk_keeps_order(store: &dyn Store) {
    let mut world = World::new(store);
    let expected = world.enqueue((0..2500).map(|_| job()).collect());
    let mut seen = Vec::new();
    loop {
        let leased = world.lease(700);
        if leased.is_empty() {
            break;
        }
        seen.extend(ids(&leased));
    }
    assert_eq!(seen, expected);
}

/// Another broker on the same store sees what was committed, and that something was.
pub fn others_see_commits(store: &dyn Store) {
    let mut world = World::new(store);
    let mut other = store.open();
    other.was_changed_by_others().unwrap();
    assert!(!other.was_changed_by_others().unwrap());
    let id = world.enqueue(vec![job()])[0];
    assert!(other.was_changed_by_others().unwrap());
    assert!(!other.was_changed_by_others().unwrap());
    assert_eq!(other.reader().unwrap().get(id).unwrap().unwrap().state, State::Queued);
    world.broker.was_changed_by_others().unwrap();
    world.enqueue(vec![job()]);
    assert!(!world.broker.was_changed_by_others().unwrap(), "one's own writes do not count");
}

/// An id can be used once.
pub fn used_ids_are_refused(store: &dyn Store) {
    let mut world = World::new(store);
    let new = job();
    world.enqueue(vec![new.clone()]);
    let error = world.enqueue_workflow(vec![new.clone()], &[]).unwrap_err();
    assert!(matches!(error, pelton_jobs::BrokerError::Invalid(_)), "{error}");
    assert!(error.to_string().contains(&new.id.to_string()), "{error}");
    let all = world.reader.list(&ListFilter { limit: 10, ..ListFilter::default() }).unwrap();
    assert_eq!(all.len(), 1);
}
