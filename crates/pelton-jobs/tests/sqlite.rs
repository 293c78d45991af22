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
