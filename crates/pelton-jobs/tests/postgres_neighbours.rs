//! The PostgreSQL broker among others in its database: older tables, open transactions, refusals,
//! and brokers that lease beside it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pelton_jobs::BrokerError;
use pelton_jobs::broker::{Broker, Chance, EnqueueCall};
use pelton_jobs::brokers::postgres::PostgresBroker;
use pelton_jobs::id::JobId;
use pelton_jobs::job::{Edge, End, NewJob, On, Outcome};
use pelton_jobs::limit::{Limit, Scope};
use pelton_jobs::record::ListFilter;
use pelton_jobs::state::State;
use pelton_testkit::broker_conformance::{Store, World, ids, job, worker_spec, write};
use pelton_testkit::servers::{PostgresServer, wait_until};
use postgres::{Client, NoTls};

struct Database {
    url: String,
}

impl Store for Database {
    fn open(&self) -> Box<dyn Broker> {
        Box::new(PostgresBroker::open(&self.url).unwrap())
    }
}

/// One server for all of them.
#[test]
fn neighbours() {
    let server = PostgresServer::start();
    older_tables_are_migrated_with_their_jobs(&server);
    open_transactions_hold_up_their_key_and_no_more(&server);
    refusals_spare_their_group(&server);
    second_tries_find_what_has_ended(&server);
    limits_hold_across_connections(&server);
    jobs_astray_are_put_in_their_lanes(&server);
    followers_are_locked_before_their_edges(&server);
}

/// As `pelton_enqueue` takes it.
fn columns(new: &NewJob) -> String {
    let key = new.key.as_ref().map_or_else(|| "null".to_owned(), |key| format!("\"{key}\""));
    format!(
        "[{{\"id\": \"{}\", \"task\": \"{}\", \"queue\": \"{}\", \"priority\": {}, \
         \"result_ttl\": {}, \"policy\": \"{}\", \"payload\": \"5b5d\", \"key\": {key}}}]",
        new.id,
        new.task,
        new.queue,
        new.priority,
        new.result_ttl,
        new.retry.to_text()
    )
}

fn older_tables_are_migrated_with_their_jobs(server: &PostgresServer) {
    let url = server.url();
    server.run(&url, include_str!("../src/brokers/postgres/schema.sql"));
    let mut keyed = job();
    keyed.key = Some("k".into());
    for new in [&keyed, &job()] {
        server.run(&url, &format!("SELECT pelton_enqueue('{}')", columns(new)));
    }
    server.run(
        &url,
        "UPDATE pelton_jobs SET state = 3, attempt = 1, token = 1, worker = 77 WHERE key = 'k'; \
         INSERT INTO pelton_counts (queue, state, n) VALUES ('default', 2, -1), ('default', 3, 1); \
         INSERT INTO pelton_workers (row, name, hostname, pid, queues, concurrency, started_at, \
         seen_at, lease_until) VALUES (77, 'old', 'host', 1, '', 1, 0, 0, 9000000000000000)",
    );
    let store = Database { url };
    let mut world = World::new(&store);
    // `pelton_enqueue` goes by the server's clock.
    world.now = pelton_jobs::time::Time::from_secs(4_000_000_000.0);
    assert_eq!(world.record(keyed.id).worker.as_deref(), Some("old"));
    let limit = Limit { concurrency: Some(1), rate: None };
    let scope = Scope::Task("task".into());
    world.write(|broker, _| broker.set_limit(&scope, Some(&limit))).unwrap();
    assert!(world.lease(5).is_empty(), "the old worker runs one");
    world.write(|broker, _| broker.set_limit(&scope, None)).unwrap();
    let leased = world.lease_one();
    assert_eq!(world.succeed(&leased, b"1").state, Some(State::Succeeded));
    let counts = world.reader.queues().unwrap()[0].counts;
    assert_eq!(counts, [0, 0, 0, 1, 1, 0, 0]);
    drop(store.open());
}

fn open_transactions_hold_up_their_key_and_no_more(server: &PostgresServer) {
    let store = Database { url: server.url() };
    let mut world = World::new(&store);
    let mut client = Client::connect(&store.url, NoTls).unwrap();
    let mut open = client.transaction().unwrap();
    let mut first = job();
    (first.key, first.queue) = (Some("k".into()), "new".into());
    open.execute("SELECT pelton_enqueue($1::text::json)", &[&columns(&first)]).unwrap();
    let same_key = NewJob { id: job().id, queue: "default".into(), ..first.clone() };
    let same_queue = NewJob { id: job().id, key: None, ..first.clone() };
    let now = world.now;
    world.broker.begin().unwrap();
    let mut enqueue = |new: NewJob| world.broker.enqueue(&[Arc::new(new)], &[], now);
    let plain = [enqueue(job()), enqueue(same_key.clone()), enqueue(job()), enqueue(same_queue)];
    world.broker.commit().unwrap();
    for refused in [&plain[1], &plain[3]] {
        let error = refused.as_ref().unwrap_err().to_string();
        assert!(error.contains("another transaction"), "{error}");
    }
    assert_eq!(world.lease(5).len(), 2, "the others of the group were written");
    open.commit().unwrap();
    assert_eq!(world.enqueue(vec![same_key])[0], first.id);
}

fn refusals_spare_their_group(server: &PostgresServer) {
    let store = Database { url: server.url() };
    let mut world = World::new(&store);
    server.run(
        &store.url,
        "ALTER TABLE pelton_jobs ADD CONSTRAINT ours CHECK (task <> 'bad' AND priority <> 9)",
    );
    let bad = || NewJob { task: "bad".into(), ..job() };
    let now = world.now;
    world.broker.begin().unwrap();
    let call = |new: NewJob| EnqueueCall { jobs: vec![Arc::new(new)], edges: vec![], again: false };
    let done = world.broker.enqueue_all(&[call(bad()), call(job()), call(bad())], now);
    let later = [job(), bad(), job()].map(|new| world.broker.enqueue(&[Arc::new(new)], &[], now));
    world.broker.commit().unwrap();
    let written: Vec<bool> = done.iter().chain(&later).map(Result::is_ok).collect();
    assert_eq!(written, [false, true, false, true, false, true]);
    assert!(matches!(done[0], Err(BrokerError::Store(_))));
    assert_eq!(world.lease(9).len(), 3);
    let counts = world.reader.queues().unwrap()[0].counts;
    assert_eq!(counts, [0, 0, 0, 3, 0, 0, 0]);
}

/// The answer of an enqueue was lost; its job has run and ended before the second try comes.
fn second_tries_find_what_has_ended(server: &PostgresServer) {
    let store = Database { url: server.url() };
    let mut world = World::new(&store);
    let new = NewJob { result_ttl: 0.0, ..job() };
    let id = world.enqueue(vec![new.clone()])[0];
    let leased = world.lease_one();
    world.succeed(&leased, b"1");
    world.advance(30.0);
    world.tidy();
    let call = EnqueueCall { jobs: vec![Arc::new(new)], edges: vec![], again: true };
    let found: Vec<JobId> =
        world.write(|broker, now| broker.enqueue_all(&[call], now).remove(0)).unwrap();
    assert_eq!((found, world.lease(1).len()), (vec![id], 0));
    world.advance(31.0);
    world.tidy();
    assert_eq!(world.reader.get(id).unwrap(), None);
}

/// Two processes' worth of brokers lease at once: never more than the limit run.
fn limits_hold_across_connections(server: &PostgresServer) {
    let store = Database { url: server.url() };
    let mut world = World::new(&store);
    let limit = Limit { concurrency: Some(3), rate: None };
    let scope = Scope::Queue("default".into());
    world.write(|broker, _| broker.set_limit(&scope, Some(&limit))).unwrap();
    world.enqueue((0..60).map(|_| job()).collect());
    let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let done = AtomicUsize::new(0);
    let now = world.now;
    std::thread::scope(|scope| {
        for name in ["a", "b", "c"] {
            let (store, running, most, done) = (&store, &running, &most, &done);
            scope.spawn(move || {
                let mut broker = store.open();
                let spec = worker_spec(name, &[]);
                let row = write(broker.as_mut(), |b| b.add_worker(&spec, now)).unwrap();
                while done.load(Ordering::SeqCst) < 60 {
                    let jobs = write(broker.as_mut(), |b| b.lease(row, &spec, 2, now)).unwrap();
                    let now_run = running.fetch_add(jobs.len(), Ordering::SeqCst) + jobs.len();
                    most.fetch_max(now_run, Ordering::SeqCst);
                    // Counted down before the store is told: others cannot have taken their places.
                    running.fetch_sub(jobs.len(), Ordering::SeqCst);
                    for job in &jobs {
                        let end = pelton_jobs::job::End::Success(b"1".to_vec());
                        let outcome = pelton_jobs::job::Outcome { lease: job.lease(), end };
                        let mut chance = pelton_testkit::Random::new(1);
                        write(broker.as_mut(), |b| b.finish(row, &[outcome], now, &mut chance))
                            .unwrap();
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert!((2..=3).contains(&most.into_inner()));
    let filter = ListFilter { limit: 100, state: Some(State::Succeeded), ..ListFilter::default() };
    assert_eq!(world.reader.list(&filter).unwrap().len(), 60);
}

/// A job that was written while its task's limit was being set stands among those without.
fn jobs_astray_are_put_in_their_lanes(server: &PostgresServer) {
    let store = Database { url: server.url() };
    let mut world = World::new(&store);
    let limit = Limit { concurrency: Some(1), rate: None };
    let scope = Scope::Task("task".into());
    world.write(|broker, _| broker.set_limit(&scope, Some(&limit))).unwrap();
    let limited = world.enqueue((0..5).map(|_| job()).collect());
    server.run(&store.url, "UPDATE pelton_jobs SET lane = ''");
    let free = world.enqueue(vec![NewJob { task: "free".into(), ..job() }]);
    let mut leased = world.lease(2);
    let now = world.now;
    while leased.len() < 2
        && world.broker.work_at(&world.spec, now).unwrap().is_some_and(|at| at <= now)
    {
        leased.extend(world.lease(2));
    }
    assert_eq!(ids(&leased), [limited[0], free[0]]);
    assert!(world.broker.work_at(&world.spec, now).unwrap().is_none_or(|at| at > now));
    world.succeed(&leased[0], b"1");
    assert_eq!(world.lease_one().id, limited[1]);
}

/// No retry is put off by it.
struct Never;

impl Chance for Never {
    fn next(&mut self) -> f64 {
        0.0
    }
}

/// As by those who begin a follower: in another order they would wait for each other in a circle.
fn followers_are_locked_before_their_edges(server: &PostgresServer) {
    let store = Database { url: server.url() };
    let mut world = World::new(&store);
    let (parent, child) = (job(), job());
    let edge = Edge { parent: parent.id, child: child.id, position: 0, on: On::Failure };
    let id = child.id;
    world.enqueue_workflow(vec![parent, child], &[edge]).unwrap();
    let leased = world.lease_one();
    let mut client = Client::connect(&store.url, NoTls).unwrap();
    let mut open = client.transaction().unwrap();
    let bytes = &id.as_bytes()[..];
    open.execute("SELECT 1 FROM pelton_jobs WHERE id = $1 FOR UPDATE", &[&bytes]).unwrap();
    std::thread::scope(|scope| {
        // It may give up before it is let go.
        let outcome = [Outcome { lease: leased.lease(), end: End::Success(b"1".to_vec()) }];
        let (broker, worker, now) = (world.broker.as_mut(), world.worker, world.now);
        let ends = scope.spawn(move || {
            write(broker, |broker| broker.finish(worker, &outcome, now, &mut Never)).is_ok()
        });
        wait_until("a wait for the follower", || {
            let waits = "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)";
            ends.is_finished() || open.query_one(waits, &[]).unwrap().get(0)
        });
        let edges = "SELECT 1 FROM pelton_edges WHERE child = $1 FOR UPDATE NOWAIT";
        assert_eq!(open.query(edges, &[&bytes]).unwrap().len(), 1);
        open.commit().unwrap();
        let _ = ends.join().unwrap();
    });
}

#[test]
fn tls_is_spoken_and_certificates_are_checked() {
    let server = PostgresServer::start_with_tls();
    let plain = server.url();
    let url = |host: &str, user: &str, options: &str| {
        let options = options.replace("DIR", &server.directory().to_string_lossy());
        plain.replace("pelton@127.0.0.1", &format!("{user}@{host}")) + "&timeout=2&" + &options
    };
    let mut client = Client::connect(&format!("{plain}&sslmode=disable"), NoTls).unwrap();
    let mut in_tls = || {
        let of_ours = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                       WHERE application_name = 'pelton' AND ssl";
        client.query_one(of_ours, &[]).unwrap().get::<_, i64>(0)
    };
    let root = "sslrootcert=DIR/ca.pem";
    let own = "sslcert=DIR/client.pem&sslkey=DIR/client.key";
    for (url, encrypted) in [
        (url("localhost", "pelton", &format!("sslmode=verify-full&{root}")), true),
        (url("127.0.0.1", "pelton", &format!("sslmode=verify-ca&{root}")), true),
        (url("127.0.0.1", "pelton", "sslmode=require"), true),
        (url("127.0.0.1", "pelton", ""), true),
        (url("127.0.0.1", "pelton", "sslmode=disable"), false),
        (url("127.0.0.1", "certified", &format!("sslmode=verify-ca&{root}&{own}")), true),
    ] {
        let mut world = World::new(&Database { url: url.clone() });
        let id = world.enqueue(vec![job()])[0];
        let leased = world.lease_one();
        assert_eq!(world.succeed(&leased, b"1").state, Some(State::Succeeded));
        assert_eq!(world.state(id), State::Succeeded);
        assert_eq!(in_tls() > 0, encrypted, "{url}");
        world.write(|broker, now| broker.delete(id, now)).unwrap();
        drop(world);
        wait_until("the connections to end", || in_tls() == 0);
    }
    for (url, words) in [
        (url("127.0.0.1", "pelton", &format!("sslmode=verify-full&{root}")), "certificate"),
        (
            url("localhost", "pelton", "sslmode=verify-ca&sslrootcert=DIR/stranger.pem"),
            "certificate",
        ),
        (url("localhost", "certified", "sslmode=require"), "certificate"),
        (url("localhost", "pelton", "sslmode=verify-full&sslrootcert=DIR/none.pem"), "none.pem"),
    ] {
        let error = PostgresBroker::open(&url).err().unwrap().to_string();
        assert!(error.contains(words), "{url}: {error}");
    }
}
