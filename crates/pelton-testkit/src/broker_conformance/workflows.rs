//! Jobs that wait for jobs.

use pelton_jobs::BrokerError;
use pelton_jobs::job::{Edge, End, On};
use pelton_jobs::state::State;

use super::{Store, World, ids, job};

/// Each job of a chain gets the result of the one before.
pub fn chain_passes_results(store: &dyn Store) {
    let mut world = World::new(store);
    let jobs = world.enqueue_tied(vec![job(), job(), job()], &[(0, 1, 0), (1, 2, 0)]);
    assert_eq!(world.state(jobs[2]), State::Waiting);
    let mut before = Vec::new();
    for (step, id) in jobs.iter().enumerate() {
        let leased = world.lease(5);
        assert_eq!(ids(&leased), [*id]);
        assert_eq!(leased[0].inputs, before);
        let result = format!("{step}").into_bytes();
        world.succeed(&leased[0], &result);
        before = vec![result];
    }
}

/// A callback gets all results, ordered by position, when the last is in; not before, and once.
pub fn group_gathers_in_order(store: &dyn Store) {
    let mut world = World::new(store);
    let edges = [(0, 4, 3), (1, 4, 1), (2, 4, 0), (3, 4, 2)];
    let jobs = world.enqueue_tied(vec![job(), job(), job(), job(), job()], &edges);
    let leased = world.lease(10);
    assert_eq!(ids(&leased), jobs[..4]);
    for (n, member) in leased.iter().enumerate() {
        assert_eq!(world.state(jobs[4]), State::Waiting);
        world.succeed(member, format!("{n}").as_bytes());
        assert_eq!(world.succeed(member, b"again").state, None);
    }
    world.advance(1.0);
    let callback = world.lease_one();
    assert_eq!(
        (callback.id, &callback.inputs),
        (jobs[4], &[b"2", b"1", b"3", b"0"].map(|b| b.to_vec()).to_vec())
    );
    // Its inputs are there again for its next attempt.
    world.fail(&callback);
    world.advance(5.0);
    assert_eq!(world.lease_one().inputs, callback.inputs);
}

/// When a job is dead, all that wait for it, directly or not, are cancelled, and say why.
pub fn dead_parent_ends_descendants(store: &dyn Store) {
    let mut world = World::new(store);
    let mut doomed = job();
    doomed.retry.max_retries = 0;
    let edges = [(0, 1, 0), (1, 2, 0), (3, 2, 1), (2, 4, 0)];
    let jobs = world.enqueue_tied(vec![doomed, job(), job(), job(), job()], &edges);
    let leased = world.lease(2);
    assert_eq!(ids(&leased), [jobs[0], jobs[3]]);
    assert_eq!(world.fail(&leased[0]).state, Some(State::Dead));
    for (child, parent) in [(1, 0), (2, 1), (4, 2)] {
        let record = world.record(jobs[child]);
        assert_eq!(record.state, State::Cancelled);
        assert!(record.reason.unwrap().contains(&jobs[parent].to_string()));
    }
    assert_eq!(world.succeed(&leased[1], b"1").state, Some(State::Succeeded));
    assert_eq!(world.state(jobs[2]), State::Cancelled, "a late input does not wake it");
    assert!(world.lease(5).is_empty());
}

/// A cancelled job ends those that wait for it, too.
pub fn cancelled_parent_names_itself(store: &dyn Store) {
    let mut world = World::new(store);
    let jobs = world.enqueue_tied(vec![job(), job(), job()], &[(0, 1, 0), (0, 2, 0)]);
    let leased = world.lease_one();
    world.finish(&leased, End::Cancelled("enough".into()));
    for child in &jobs[1..] {
        let record = world.record(*child);
        assert_eq!(record.state, State::Cancelled);
        assert_eq!(record.reason, Some(format!("parent {} is cancelled", jobs[0])));
    }
}

/// A parent may have been there before: with its result, still running, or ended otherwise.
pub fn parents_from_before(store: &dyn Store) {
    let mut world = World::new(store);
    let olds = world.enqueue(vec![job(), job(), job()]);
    let leased = world.lease(2);
    world.succeed(&leased[0], b"\"early\"");
    world.write(|broker, now| broker.cancel(olds[2], "", now)).unwrap();
    let (both, doomed) = (job(), job());
    let edge = |parent, child, position| Edge { parent, child, position, on: On::Success };
    let edges = [edge(olds[0], both.id, 1), edge(olds[1], both.id, 0), edge(olds[2], doomed.id, 0)];
    let new = world.enqueue_workflow(vec![both, doomed], &edges).unwrap();
    assert_eq!(world.state(new[0]), State::Waiting);
    assert_eq!(world.state(new[1]), State::Cancelled);
    world.succeed(&leased[1], b"\"late\"");
    let child = world.lease_one();
    assert_eq!(child.inputs, [b"\"late\"".to_vec(), b"\"early\"".to_vec()]);
    let orphan = job();
    let unknown = edge(job().id, orphan.id, 0);
    let error = world.enqueue_workflow(vec![orphan], &[unknown]).unwrap_err();
    assert!(matches!(error, BrokerError::Invalid(_)), "{error}");
}

/// Retrying a child before its parent makes it wait; after, it has its input.
pub fn children_retried_after_parents(store: &dyn Store) {
    let mut world = World::new(store);
    let mut doomed = job();
    doomed.retry.max_retries = 0;
    let jobs = world.enqueue_tied(vec![doomed, job(), job()], &[(0, 1, 0), (0, 2, 0)]);
    let leased = world.lease_one();
    world.fail(&leased);
    assert!(world.write(|broker, now| broker.retry(jobs[1], now)).unwrap());
    assert_eq!(world.state(jobs[1]), State::Waiting);
    assert!(world.write(|broker, now| broker.retry(jobs[0], now)).unwrap());
    let leased = world.lease_one();
    world.succeed(&leased, b"7");
    assert_eq!(world.state(jobs[1]), State::Queued);
    assert!(world.write(|broker, now| broker.retry(jobs[2], now)).unwrap());
    world.advance(1.0);
    let leased = world.lease(5);
    assert_eq!(leased.len(), 2);
    assert!(leased.iter().all(|job| job.inputs == [b"7".to_vec()]));
}

/// Edges that could never be fulfilled are refused, with all that came with them.
pub fn circles_are_refused(store: &dyn Store) {
    let mut world = World::new(store);
    let (one, two) = (job(), job());
    let edges = [(&one, &two), (&two, &one)].map(|(parent, child)| Edge {
        parent: parent.id,
        child: child.id,
        position: 0,
        on: On::Success,
    });
    let id = one.id;
    world.enqueue_workflow(vec![one, two], &edges).unwrap_err();
    assert_eq!(world.reader.get(id).unwrap(), None);
}

/// Where a job with the key is there already, it is the parent; as a child it is left alone.
pub fn key_may_stand_for_a_parent(store: &dyn Store) {
    let mut world = World::new(store);
    let keyed = || {
        let mut new = job();
        new.key = Some("k".into());
        new
    };
    let first = world.enqueue(vec![keyed()])[0];
    let jobs = world.enqueue_tied(vec![keyed(), job()], &[(0, 1, 0)]);
    assert_eq!(jobs[0], first);
    let same = world.enqueue_tied(vec![job(), keyed()], &[(0, 1, 0)]);
    assert_eq!(same[1], first);
    let leased = world.lease(5);
    assert_eq!(ids(&leased), [first, same[0]]);
    world.succeed(&leased[0], b"1");
    assert_eq!(world.lease_one().inputs, [b"1".to_vec()]);
    world.succeed(&leased[1], b"2");
}

/// A cancelled child can be deleted before its parent ends, and that parent still ends well.
pub fn children_can_be_deleted_first(store: &dyn Store) {
    let mut world = World::new(store);
    let jobs = world.enqueue_tied(vec![job(), job()], &[(0, 1, 0)]);
    let leased = world.lease_one();
    world.write(|broker, now| broker.cancel(jobs[1], "", now)).unwrap();
    assert!(world.write(|broker, now| broker.delete(jobs[1], now)).unwrap());
    assert_eq!(world.succeed(&leased, b"1").state, Some(State::Succeeded));
    let later = world.enqueue(vec![job()])[0];
    assert_eq!(world.lease_one().id, later);
}
