//! Jobs that go on where they were: steps, signals, and rests that hold no worker.

use pelton_jobs::job::End;
use pelton_jobs::state::State;
use pelton_jobs::time::Time;

use super::{Store, World, job};

fn suspend(until: Option<Time>, signal: Option<&str>) -> End {
    End::Suspend { until, signal: signal.map(str::to_owned) }
}

/// Finished steps are there for the next attempt; the first result of each stays.
pub fn steps_outlive_attempts(store: &dyn Store) {
    let mut world = World::new(store);
    world.enqueue(vec![job()]);
    let first = world.lease_one();
    let lease = first.lease();
    assert!(world.broker.steps(lease).unwrap().is_empty());
    assert!(world.write(|b, _| b.save_step(lease, "charge", b"7")).unwrap());
    assert!(world.write(|b, _| b.save_step(lease, "charge", b"8")).unwrap());
    world.fail(&first);
    world.advance(5.0);
    let second = world.lease_one();
    let steps = world.broker.steps(second.lease()).unwrap();
    assert_eq!(steps, [("charge".to_owned(), b"7".to_vec())]);
    // Under the old lease nothing is kept.
    assert!(!world.write(|b, _| b.save_step(lease, "late", b"1")).unwrap());
    assert_eq!(world.broker.steps(second.lease()).unwrap().len(), 1);
}

/// A job that rests holds no worker, comes back at its time, and its attempt counts once.
pub fn rest_is_no_attempt(store: &dyn Store) {
    let mut world = World::new(store);
    let id = world.enqueue(vec![job()])[0];
    let first = world.lease_one();
    let until = world.now.after(60.0);
    let settled = world.finish(&first, suspend(Some(until), None));
    assert_eq!((settled.state, settled.run_at), (Some(State::Scheduled), Some(until)));
    assert!(world.record(id).worker.is_none());
    world.advance(59.0);
    assert!(world.lease(1).is_empty());
    world.advance(1.0);
    let again = world.lease_one();
    assert_eq!((again.attempt, again.token > first.token), (1, true));
    assert_eq!(world.succeed(&first, b"1").state, None);
    assert_eq!(world.succeed(&again, b"1").state, Some(State::Succeeded));
}

/// A signal wakes the job that waits for it; one that came before is not lost.
pub fn signals_wake(store: &dyn Store) {
    let mut world = World::new(store);
    let id = world.enqueue(vec![job()])[0];
    let leased = world.lease_one();
    let lease = leased.lease();
    assert_eq!(world.write(|b, _| b.take_signal(lease, "go", "s1")).unwrap(), None);
    world.finish(&leased, suspend(None, Some("go")));
    assert_eq!((world.record(id).signal.as_deref(), world.record(id).run_at), (Some("go"), None));
    world.advance(1e6);
    assert!(world.write(|b, now| b.signal(id, "other", b"0", now)).unwrap());
    assert!(world.lease(1).is_empty());
    assert!(world.write(|b, now| b.signal(id, "go", b"1", now)).unwrap());
    assert!(world.write(|b, now| b.signal(id, "go", b"2", now)).unwrap());
    let leased = world.lease_one();
    let lease = leased.lease();
    // The same step gets the same signal, whatever comes between.
    for _ in 0..2 {
        let value = world.write(|b, _| b.take_signal(lease, "go", "s1")).unwrap();
        assert_eq!(value, Some(b"1".to_vec()));
    }
    // The second is there already: the job does not rest.
    world.finish(&leased, suspend(None, Some("go")));
    let leased = world.lease_one();
    let lease = leased.lease();
    let value = world.write(|b, _| b.take_signal(lease, "go", "s2")).unwrap();
    assert_eq!(value, Some(b"2".to_vec()));
    world.succeed(&leased, b"1");
    assert!(!world.write(|b, now| b.signal(id, "go", b"3", now)).unwrap());
    assert!(!world.write(|b, now| b.signal(job().id, "go", b"3", now)).unwrap());
}

/// A job that rests can be cancelled, and one that is cancelled does not rest.
pub fn rest_can_be_ended(store: &dyn Store) {
    let mut world = World::new(store);
    let ids = world.enqueue(vec![job(), job()]);
    let leased = world.lease(2);
    world.finish(&leased[0], suspend(None, None));
    assert!(world.write(|b, now| b.cancel(ids[0], "enough", now)).unwrap());
    assert_eq!(world.state(ids[0]), State::Cancelled);
    world.write(|b, now| b.cancel(ids[1], "enough", now)).unwrap();
    let settled = world.finish(&leased[1], suspend(None, Some("go")));
    assert_eq!(settled.state, Some(State::Cancelled));
}

/// What a job kept goes with its record.
pub fn steps_go_with_the_record(store: &dyn Store) {
    let mut world = World::new(store);
    let id = world.enqueue(vec![job()])[0];
    let leased = world.lease_one();
    let lease = leased.lease();
    world.write(|b, _| b.save_step(lease, "one", b"1")).unwrap();
    world.write(|b, now| b.signal(id, "go", b"1", now)).unwrap();
    world.succeed(&leased, b"1");
    assert!(world.write(|b, now| b.delete(id, now)).unwrap());
    assert!(world.broker.steps(lease).unwrap().is_empty());
}
