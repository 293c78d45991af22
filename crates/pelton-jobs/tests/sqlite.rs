//! The SQLite broker passes the suite that every broker passes.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use pelton_jobs::broker::Broker;
use pelton_jobs::brokers::sqlite::SqliteBroker;
use pelton_testkit::TemporaryDirectory;
use pelton_testkit::broker_conformance::Store;

struct File {
    directory: TemporaryDirectory,
}

impl Store for File {
    fn open(&self) -> Box<dyn Broker> {
        let path = self.directory.path().join("jobs.db");
        // The suite is about what is written, not about the disk.
        let url = format!("sqlite:///{}?synchronous=normal", path.display());
        Box::new(SqliteBroker::open(&url).unwrap())
    }
}

fn file() -> File {
    File { directory: TemporaryDirectory::new().unwrap() }
}

pelton_testkit::broker_conformance!(file());

/// The same suite on a broker in memory.
mod memory {
    use std::sync::atomic::{AtomicU64, Ordering};

    use pelton_jobs::broker::Broker;
    use pelton_jobs::brokers::sqlite::SqliteBroker;
    use pelton_testkit::broker_conformance::Store;

    struct Memory {
        url: String,
        /// A broker in memory is there while one has it open.
        _first: SqliteBroker,
    }

    impl Store for Memory {
        fn open(&self) -> Box<dyn Broker> {
            Box::new(SqliteBroker::open(&self.url).unwrap())
        }
    }

    fn memory() -> Memory {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let url = format!("memory://suite-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let first = SqliteBroker::open(&url).unwrap();
        Memory { url, _first: first }
    }

    pelton_testkit::broker_conformance!(memory());
}

/// What is wrong with a URL is said without what is secret in it.
#[test]
fn strangers_are_named_by_their_schemes() {
    let url = "postgresql+driver://me:sec@ret@host/jobs?password=secret";
    let error = pelton_jobs::broker::open(url).err().unwrap().to_string();
    assert!(error.contains("no broker for \"postgresql+driver\""), "{error}");
    assert!(!error.contains("ret"), "{error}");
    let error = pelton_jobs::broker::open("jobs.db").err().unwrap().to_string();
    assert!(error.contains("no broker for \"jobs.db\""), "{error}");
}
