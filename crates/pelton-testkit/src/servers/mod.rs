//! Real servers for tests: each on a free loopback port, with its data in a temporary directory.
//!
//! Debian's packages bring the programs (`scripts/system-packages redis-server postgresql
//! rabbitmq-server`). A server ends with the test's process, however that ends.

mod child;
mod postgres;
mod rabbitmq;
mod redis;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use self::child::Child;
pub use self::postgres::PostgresServer;
pub use self::rabbitmq::RabbitServer;
pub use self::redis::RedisServer;

static NAMES: AtomicU32 = AtomicU32::new(0);

/// A name that no other test of this process, nor another process, has.
#[must_use]
pub fn unique_name() -> String {
    format!("t{}x{}", std::process::id(), NAMES.fetch_add(1, Ordering::Relaxed))
}

/// A loopback port that nobody listens at, a moment ago.
#[must_use]
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until `condition` holds; panics, with `what`, after a minute.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited a minute for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
