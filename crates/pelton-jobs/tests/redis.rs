//! The Redis broker passes the suite that every broker passes, on a server of its own.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use pelton_jobs::broker::Broker;
use pelton_jobs::brokers::redis::RedisBroker;
use pelton_testkit::broker_conformance::Store;
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
