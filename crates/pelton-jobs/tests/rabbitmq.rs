//! RabbitMQ before a store passes the suite that every broker passes, on a server of its own.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;

use pelton_jobs::broker::Broker;
use pelton_jobs::brokers::rabbitmq::{Paths, RabbitBroker};
use pelton_jobs::job::NewJob;
use pelton_testkit::TemporaryDirectory;
use pelton_testkit::broker_conformance::{Store, World, ids, job, worker_spec, write};
use pelton_testkit::servers::{RabbitServer, RedisServer, unique_name};

/// A namespace and a store of its own; each lease sees all messages that there are.
struct Pair {
    url: String,
    /// Whether the store undoes what a process that died had begun.
    atomic: bool,
    _directory: Option<TemporaryDirectory>,
}

impl Pair {
    fn with_file(server: &RabbitServer) -> Self {
        let directory = TemporaryDirectory::new().unwrap();
        let path = directory.path().join("jobs.db");
        let store = format!("sqlite:///{}?synchronous=normal", path.display());
        let url = format!("{}&prefetch=1000&timeout=60", server.url(&store));
        Self { url, atomic: true, _directory: Some(directory) }
    }

    fn open(&self) -> RabbitBroker {
        RabbitBroker::open(&self.url).unwrap().settled()
    }
}

impl Store for Pair {
    fn open(&self) -> Box<dyn Broker> {
        Box::new(Pair::open(self))
    }

    fn groups_are_atomic(&self) -> bool {
        self.atomic
    }

    fn steps(&self) -> usize {
        500
    }
}

/// All on one server: starting it takes seconds of both processors.
#[test]
fn conformance() {
    let server = RabbitServer::start();
    jobs_come_by_messages(&server);
    bands_are_kept_apart(&server);
    bad_names_and_logins_are_explained(&server);
    foreign_messages_are_put_away(&server);
    pelton_testkit::run_broker_conformance!(Pair::with_file(&server));
    redis_keeps_the_records(&server);
}

/// Some of the same with Redis as the store, which has a suite of its own.
fn redis_keeps_the_records(server: &RabbitServer) {
    let redis = RedisServer::start();
    let pair = || {
        let store = format!("{}?namespace={}", redis.url(), unique_name());
        let url = format!("{}&prefetch=1000&timeout=60", server.url(&store));
        Pair { url, atomic: false, _directory: None }
    };
    use pelton_testkit::broker_conformance as suite;
    suite::leases::priority_then_age(&pair());
    suite::leases::delayed_jobs_wait(&pair());
    suite::leases::lost_leases_are_taken_over(&pair());
    suite::ends::failures_back_off(&pair());
    suite::workflows::chain_passes_results(&pair());
    suite::schedules::fires_once_per_tick(&pair());
    suite::leases::claims_are_leases(&pair());
}

/// What a worker runs was told to it by RabbitMQ, whoever made it ready.
fn jobs_come_by_messages(server: &RabbitServer) {
    let pair = Pair::with_file(server);
    let mut broker = pair.open();
    let mut world = World::new(&pair);
    let now = world.now;
    // A consumer is there before the first job: the store is asked by nobody then.
    let spec = worker_spec("told", &["default"]);
    let worker = write(&mut broker, |broker| broker.add_worker(&spec, now)).unwrap();
    let lease = |broker: &mut RabbitBroker| {
        write(broker, |broker| broker.lease(worker, &spec, 10, now)).unwrap()
    };
    assert!(lease(&mut broker).is_empty());
    let mut jobs = vec![job(), job(), job()];
    jobs[2].retry.max_retries = 0;
    let all = world.enqueue_tied(jobs, &[(0, 1, 0)]);
    let leased = lease(&mut broker);
    assert_eq!(ids(&leased), [all[0], all[2]]);
    world.worker = worker;
    // Others end the jobs; the child, and the one that is tried again by hand, are told of, too.
    world.succeed(&leased[0], b"1");
    world.fail(&leased[1]);
    assert!(world.write(|broker, now| broker.retry(all[2], now)).unwrap());
    let again = ids(&lease(&mut broker));
    assert!(again.len() == 2 && again.contains(&all[1]) && again.contains(&all[2]), "{again:?}");
    assert_eq!(broker.paths(), Paths { messages: 4, store: 0 });
    assert!(lease(&mut broker).is_empty(), "each message is there once");
}

/// The queues of a band have their names, are durable quorum queues, and are empty in the end.
fn bands_are_kept_apart(server: &RabbitServer) {
    let pair = Pair::with_file(server);
    let mut world = World::new(&pair);
    let of = |priority: i8| NewJob { priority, ..job() };
    world.enqueue(vec![of(-1), of(0), of(100), of(7)]);
    let namespace = pair.url.split("namespace=").nth(1).unwrap().split('&').next().unwrap();
    let listed = |columns: &[&str]| {
        let words = [&["list_queues", "--no-table-headers"], columns].concat();
        let mut lines: Vec<String> = server
            .control(&words)
            .lines()
            .filter(|line| line.starts_with(namespace))
            .map(|line| line.replacen(namespace, "n", 1))
            .collect();
        lines.sort_unstable();
        lines
    };
    let expected = [
        "n-high.default\tquorum\ttrue\t2",
        "n-low.default\tquorum\ttrue\t1",
        "n.default\tquorum\ttrue\t1",
    ];
    // The server counts every few seconds.
    pelton_testkit::servers::wait_until("the messages to be counted", || {
        listed(&["name", "type", "durable", "messages"]) == expected
    });
    let leased = world.lease(10);
    let order: Vec<i8> = leased
        .iter()
        .map(|leased| world.reader.get(leased.id).unwrap().unwrap().priority)
        .collect();
    assert_eq!(order, [100, 7, 0, -1]);
}

fn bad_names_and_logins_are_explained(server: &RabbitServer) {
    let port = server.port();
    let refused = |url: &str| RabbitBroker::open(url).err().unwrap().to_string();
    let login = refused(&format!("amqp://guest:wrong@127.0.0.1:{port}/?store=memory://"));
    assert!(login.contains("check user and password") && !login.contains("wrong"), "{login}");
    let vhost = refused(&format!("amqp://127.0.0.1:{port}/none?store=memory://"));
    assert!(vhost.contains("check the vhost"), "{vhost}");
    let nobody = refused("amqp://127.0.0.1:1/?store=memory://");
    assert!(nobody.contains("cannot be reached"), "{nobody}");
    let store = refused(&format!("amqp://127.0.0.1:{port}/?store=nothing://"));
    assert!(store.contains("no broker for"), "{store}");
    let pair = Pair::with_file(server);
    let mut world = World::new(&pair);
    let long = NewJob { queue: "q".repeat(300), ..job() };
    let error = world
        .write(|broker, now| broker.enqueue(&[Arc::new(long)], &[], now))
        .unwrap_err()
        .to_string();
    assert!(error.contains("bytes at most on RabbitMQ"), "{error}");
    // A queue of that name that is not as ours are.
    let namespace = pair.url.split("namespace=").nth(1).unwrap().split('&').next().unwrap();
    let code = format!(
        "rabbit_amqqueue:declare(rabbit_misc:r(<<\"/\">>, queue, <<\"{namespace}.taken\">>), \
         true, false, [], none, <<\"me\">>)."
    );
    server.control(&["eval", &code]);
    let taken = NewJob { queue: "taken".into(), ..job() };
    let error = world
        .write(|broker, now| broker.enqueue(&[Arc::new(taken)], &[], now))
        .unwrap_err()
        .to_string();
    assert!(error.contains("refused the queue") && error.contains("406"), "{error}");
    assert_eq!(world.enqueue(vec![job()]).len(), 1, "others are as well as before");
    assert_eq!(world.lease(5).len(), 1);
}

/// A message that is not ours, or is about a job that nobody knows, is taken away.
fn foreign_messages_are_put_away(server: &RabbitServer) {
    let pair = Pair::with_file(server);
    let mut world = World::new(&pair);
    let first = world.enqueue(vec![job()]);
    let namespace = pair.url.split("namespace=").nth(1).unwrap().split('&').next().unwrap();
    for body in ["not ours", "0123456789abcdef0123456789abcdef", &"x".repeat(5000)] {
        let code = format!(
            "rabbit_basic:publish(rabbit_misc:r(<<\"/\">>, exchange, <<>>), \
             <<\"{namespace}.default\">>, [], <<\"{body}\">>)."
        );
        server.control(&["eval", &code]);
    }
    assert_eq!(ids(&world.lease(10)), first);
    assert!(world.lease(10).is_empty());
    pelton_testkit::servers::wait_until("all to be taken away", || {
        world.lease(1);
        let queues = server.control(&["list_queues", "--no-table-headers", "name", "messages"]);
        queues.lines().any(|line| line == format!("{namespace}.default\t0"))
    });
}
