//! The Redis broker passes the suite that every broker passes, on a server of its own.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use pelton_jobs::broker::Broker;
use pelton_jobs::brokers::redis::RedisBroker;
use pelton_jobs::job::NewJob;
use pelton_jobs::limit::{Limit, Scope};
use pelton_testkit::broker_conformance::{Store, World, ids, job};
use pelton_testkit::servers::{self, RedisServer};

struct Namespace {
    url: String,
}

impl Store for Namespace {
    fn open(&self) -> Box<dyn Broker> {
        Box::new(RedisBroker::open(&self.url).unwrap())
    }

    fn groups_are_atomic(&self) -> bool {
        false
    }
}

#[test]
fn conformance() {
    let server = RedisServer::start();
    let url = || format!("{}?namespace={}", server.url(), servers::unique_name());
    pelton_testkit::run_broker_conformance!(Namespace { url: url() });
}

#[test]
fn neighbours() {
    let server = RedisServer::start();
    let store =
        || Namespace { url: format!("{}?namespace={}", server.url(), servers::unique_name()) };
    backlogs_leave_the_way_free(&store());
    kept_keys_outlive_retries_of_others(&store());
}

/// Many ready jobs of a task that gets a limit now: others behind them are found in a few calls.
fn backlogs_leave_the_way_free(store: &Namespace) {
    let mut world = World::new(store);
    let limited = world.enqueue((0..3000).map(|_| job()).collect());
    let free = world.enqueue(vec![NewJob { task: "free".into(), ..job() }]);
    let limit = Limit { concurrency: Some(1), rate: None };
    let scope = Scope::Task("task".into());
    world.write(|broker, _| broker.set_limit(&scope, Some(&limit))).unwrap();
    let now = world.now;
    let mut leased = world.lease(1);
    assert_eq!(ids(&leased), limited[..1]);
    for _ in 0..3 {
        assert!(world.broker.work_at(&world.spec, now).unwrap().is_some_and(|at| at <= now));
        leased.extend(world.lease(1));
        if leased.len() > 1 {
            break;
        }
    }
    assert_eq!(ids(&leased), [limited[0], free[0]]);
    assert!(world.broker.work_at(&world.spec, now).unwrap().is_none_or(|at| at > now));
    world.succeed(&leased[0], b"1");
    assert_eq!(world.lease_one().id, limited[1]);
}

/// A key that stays taken after its job's end is not let go by an older job that is run again.
fn kept_keys_outlive_retries_of_others(store: &Namespace) {
    let mut world = World::new(store);
    let keyed = |key_ttl| {
        let mut new = job();
        (new.key, new.extra.key_ttl, new.retry.max_retries) = (Some("k".into()), key_ttl, 0);
        new
    };
    let older = world.enqueue(vec![keyed(None)])[0];
    let leased = world.lease_one();
    world.fail(&leased);
    let newer = world.enqueue(vec![keyed(Some(100.0))])[0];
    assert_ne!(newer, older);
    let leased = world.lease_one();
    world.succeed(&leased, b"1");
    assert!(world.write(|broker, now| broker.retry(older, now)).unwrap());
    assert_eq!(world.enqueue(vec![keyed(None)])[0], older);
    let leased = world.lease_one();
    world.succeed(&leased, b"1");
    assert!([older, newer].contains(&world.enqueue(vec![keyed(None)])[0]));
    world.advance(101.0);
    let next = world.enqueue(vec![keyed(None)])[0];
    assert!(![older, newer].contains(&next));
}
