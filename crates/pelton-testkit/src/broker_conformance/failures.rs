//! Jobs that follow a failure, and what is remembered of attempts.

use pelton_jobs::BrokerError;
use pelton_jobs::job::{Edge, End, NewJob, On};
use pelton_jobs::state::State;

use super::{Store, World, ids, job};

fn edge(parent: &NewJob, child: &NewJob, position: u32, on: On) -> Edge {
    Edge { parent: parent.id, child: child.id, position, on }
}

fn doomed() -> NewJob {
    let mut new = job();
    new.retry.max_retries = 0;
    new
}

/// The first failure of several starts the job that waits for it, once, with what went wrong.
pub fn first_failure_is_followed(store: &dyn Store) {
    let mut world = World::new(store);
    let (one, two, three, after) = (doomed(), doomed(), doomed(), job());
    let edges = [
        edge(&one, &after, 0, On::Failure),
        edge(&two, &after, 1, On::Failure),
        edge(&three, &after, 2, On::Failure),
    ];
    let (second, last) = (two.id, after.id);
    world.enqueue_workflow(vec![one, two, three, after], &edges).unwrap();
    let leased = world.lease(3);
    world.succeed(&leased[0], b"1");
    assert_eq!(world.state(last), State::Waiting);
    let error = br#"{"type":"E"}"#.to_vec();
    world.finish(&leased[1], End::Failure { error, retry: true, delay: None });
    let follower = world.lease_one();
    assert_eq!(follower.id, last);
    let told = String::from_utf8(follower.inputs[0].clone()).unwrap();
    assert_eq!(follower.inputs.len(), 1);
    assert!(told.starts_with(&format!("{{\"job\":\"{second}\",\"state\":\"dead\",")), "{told}");
    assert!(told.ends_with(r#""error":{"type":"E"}}"#), "{told}");
    // Another failure changes nothing.
    world.fail(&leased[2]);
    assert_eq!(world.state(last), State::Running);
    world.fail(&follower);
    world.advance(5.0);
    assert_eq!(world.lease_one().inputs, follower.inputs);
}

/// Where all succeed, the job is not needed, nor are those that wait for it.
pub fn unneeded_followers_are_cancelled(store: &dyn Store) {
    let mut world = World::new(store);
    let (one, two, after, then, other) = (job(), job(), job(), job(), job());
    let edges = [
        edge(&one, &after, 0, On::Failure),
        edge(&two, &after, 1, On::Failure),
        edge(&after, &then, 0, On::Success),
        edge(&then, &other, 0, On::Failure),
    ];
    let watched = [after.id, then.id, other.id];
    world.enqueue_workflow(vec![one, two, after, then, other], &edges).unwrap();
    for leased in world.lease(5) {
        assert_eq!(world.state(watched[0]), State::Waiting);
        world.succeed(&leased, b"1");
    }
    for id in watched {
        assert_eq!(world.state(id), State::Cancelled, "{id}");
    }
    assert!(world.record(watched[0]).reason.unwrap().contains("not needed"));
    assert!(world.lease(5).is_empty());
    let again = world.write(|broker, now| broker.retry(watched[0], now));
    assert!(again.is_err_and(|error| error.to_string().contains("there was none")));
    assert_eq!(world.state(watched[0]), State::Cancelled);
}

/// A follower that is cancelled while it waits, and retried by hand, runs with what has failed
/// meanwhile, or not at all.
pub fn cancelled_followers_learn_of_failures(store: &dyn Store) {
    let mut world = World::new(store);
    for fails in [true, false] {
        let (one, after) = (doomed(), job());
        let edges = [edge(&one, &after, 0, On::Failure)];
        let (first, last) = (one.id, after.id);
        world.enqueue_workflow(vec![one, after], &edges).unwrap();
        assert!(world.write(|broker, now| broker.cancel(last, "", now)).unwrap());
        let leased = world.lease_one();
        if fails {
            world.fail(&leased);
            assert_eq!(world.state(last), State::Cancelled);
            assert!(world.write(|broker, now| broker.retry(last, now)).unwrap());
            let follower = world.lease_one();
            let told = String::from_utf8(follower.inputs[0].clone()).unwrap();
            assert!(told.contains(&first.to_string()) && follower.inputs.len() == 1, "{told}");
            world.succeed(&follower, b"1");
        } else {
            world.succeed(&leased, b"1");
            let again = world.write(|broker, now| broker.retry(last, now));
            assert!(again.is_err_and(|error| error.to_string().contains("there was none")));
            assert!(world.lease(5).is_empty());
        }
    }
}

/// The end of a workflow reaches what follows its last job: by a member's death, a cancellation.
pub fn failures_reach_through_chains(store: &dyn Store) {
    let mut world = World::new(store);
    for cancelled in [false, true] {
        let (one, two, after) = (doomed(), job(), job());
        let edges = [edge(&one, &two, 0, On::Success), edge(&two, &after, 0, On::Failure)];
        let (first, last) = (one.id, after.id);
        world.enqueue_workflow(vec![one, two, after], &edges).unwrap();
        if cancelled {
            world.write(|broker, now| broker.cancel(first, "", now)).unwrap();
        } else {
            let leased = world.lease_one();
            world.fail(&leased);
        }
        let follower = world.lease_one();
        assert_eq!(follower.id, last);
        world.succeed(&follower, b"1");
    }
}

/// Parents that ended before count as well.
pub fn failures_from_before(store: &dyn Store) {
    let mut world = World::new(store);
    let (good, bad) = (job(), doomed());
    let olds = world.enqueue(vec![good.clone(), bad.clone()]);
    let leased = world.lease(2);
    world.succeed(&leased[0], b"1");
    world.fail(&leased[1]);
    assert_eq!(ids(&leased), olds);
    let (idle, needed) = (job(), job());
    let edges = [edge(&good, &idle, 0, On::Failure), edge(&bad, &needed, 0, On::Failure)];
    let new = world.enqueue_workflow(vec![idle, needed], &edges).unwrap();
    assert_eq!(world.state(new[0]), State::Cancelled);
    assert_eq!(world.lease_one().id, new[1]);
    let mixed = job();
    let edges = [edge(&good, &mixed, 0, On::Failure), edge(&bad, &mixed, 1, On::Success)];
    let error = world.enqueue_workflow(vec![mixed], &edges).unwrap_err();
    assert!(matches!(error, BrokerError::Invalid(_)), "{error}");
}

/// Each attempt that did not succeed is remembered, with its worker, times and error.
pub fn attempts_are_remembered(store: &dyn Store) {
    let mut world = World::new(store);
    let id = world.enqueue(vec![job()])[0];
    let first = world.lease_one();
    let began = world.now;
    world.advance(1.0);
    let error = br#"{"type":"E"}"#.to_vec();
    world.finish(&first, End::Failure { error: error.clone(), retry: true, delay: Some(1.0) });
    world.advance(2.0);
    world.lease_one();
    // Its worker goes away.
    world.advance(30.0);
    world.tidy();
    let third = world.lease_one();
    world.write(|broker, now| broker.cancel(id, "enough", now)).unwrap();
    world.finish(&third, End::Cancelled(String::new()));
    let history = world.reader.history(id).unwrap();
    let ends: Vec<_> = history.iter().map(|one| (one.attempt, one.end.as_str())).collect();
    assert_eq!(ends, [(1, "failed"), (2, "lost"), (3, "cancelled")]);
    assert!(history.windows(2).all(|pair| pair[0].token < pair[1].token));
    let one = &history[0];
    assert_eq!((one.started_at, one.ended_at), (Some(began), began.after(1.0)));
    assert_eq!((one.worker.as_deref(), one.error.as_ref()), (Some("usual"), Some(&error)));
    world.write(|broker, now| broker.delete(id, now)).unwrap();
    assert!(world.reader.history(id).unwrap().is_empty());
}

/// Only the newest attempts are, and there is an end to it.
pub fn history_is_bounded(store: &dyn Store) {
    let mut world = World::new(store);
    let mut stubborn = job();
    stubborn.retry.max_retries = 200;
    let id = world.enqueue(vec![stubborn])[0];
    for _ in 0..70 {
        let leased = world.lease_one();
        world
            .finish(&leased, End::Failure { error: b"{}".to_vec(), retry: true, delay: Some(0.0) });
    }
    let history = world.reader.history(id).unwrap();
    assert_eq!(history.len(), pelton_jobs::record::HISTORY_MAX);
    assert_eq!(history.last().unwrap().attempt, 70);
}
