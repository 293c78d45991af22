//! A RabbitMQ that goes away, or forgets: what was accepted is in the store, and is run.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[allow(dead_code, reason = "a store that is a server is away for longer than a lease")]
mod working;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pelton_jobs::broker::Broker;
use pelton_jobs::brokers::rabbitmq::RabbitBroker;
use pelton_jobs::engine::Engine;
use pelton_jobs::id::JobId;
use pelton_jobs::state::State;
use pelton_testkit::broker_conformance::job;
use pelton_testkit::servers::{RabbitServer, wait_until};
use pelton_testkit::{Link, TemporaryDirectory};

use self::working::{enqueue, lease, session, succeed};

/// One server for all: starting it takes seconds of both processors.
#[test]
fn outages() {
    let mut server = RabbitServer::start();
    let link = Link::to(server.port());
    work_goes_on_through_cuts(&link);
    slow_wires_are_endured(&link);
    deaf_wires_are_given_up(&link);
    what_could_not_be_told_is_told_later(&link);
    a_worker_that_dies_lets_go_of_its_messages(&server);
    a_deleted_queue_is_made_again(&server);
    a_server_that_is_blocked_holds_nobody_up(&server);
    a_killed_server_comes_back(&mut server);
    an_empty_server_loses_no_job(&mut server);
}

struct Place {
    store: String,
    _directory: TemporaryDirectory,
}

impl Place {
    fn new() -> Self {
        let directory = TemporaryDirectory::new().unwrap();
        let path = directory.path().join("jobs.db");
        let store = format!("sqlite:///{}?synchronous=normal", path.display());
        Self { store, _directory: directory }
    }

    fn url(&self, port: u16, options: &str) -> String {
        format!("{}{options}", RabbitServer::url_at(port, &self.store))
    }
}

/// Runs jobs until all of `ids` are done; each is done once.
fn run_all(session: &pelton_jobs::worker::WorkerSession, ids: &[JobId]) {
    let mut done = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while done.len() < ids.len() {
        assert!(Instant::now() < deadline, "{} of {} done", done.len(), ids.len());
        let leased = lease(session, 7);
        assert_eq!(succeed(session, &leased), vec![Some(State::Succeeded); leased.len()]);
        done.extend(leased.iter().map(|job| job.id));
    }
    done.sort_unstable();
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    assert_eq!(done, ids);
}

fn work_goes_on_through_cuts(link: &Link) {
    let place = Place::new();
    let engine = Arc::new(Engine::open(&place.url(link.port(), "")).unwrap());
    let session = session(&engine);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = pelton_testkit::Random::new(7);
            while !stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20 + random.below(100) as u64));
                link.cut();
            }
        });
        let ids: Vec<JobId> = (0..150).map(|_| enqueue(&engine)).collect();
        run_all(&session, &ids);
        stop.store(true, Ordering::SeqCst);
    });
    session.close().unwrap();
}

fn slow_wires_are_endured(link: &Link) {
    let place = Place::new();
    let engine = Arc::new(Engine::open(&place.url(link.port(), "")).unwrap());
    let session = session(&engine);
    link.delay(Duration::from_millis(100));
    let ids = [enqueue(&engine), enqueue(&engine)];
    run_all(&session, &ids);
    link.delay(Duration::ZERO);
    session.close().unwrap();
}

/// A server that says nothing: what is asked of it is not waited for, but for the timeout.
fn deaf_wires_are_given_up(link: &Link) {
    let place = Place::new();
    let engine = Arc::new(Engine::open(&place.url(link.port(), "&timeout=0.5")).unwrap());
    let session = session(&engine);
    run_all(&session, &[enqueue(&engine)]);
    link.set_deaf(true);
    let ids = [enqueue(&engine), enqueue(&engine)];
    run_all(&session, &ids);
    link.set_deaf(false);
    link.cut();
    run_all(&session, &[enqueue(&engine)]);
    session.close().unwrap();
}

/// While there is no server jobs are written all the same, and told of when it is back.
fn what_could_not_be_told_is_told_later(link: &Link) {
    let place = Place::new();
    let mut broker = RabbitBroker::open(&place.url(link.port(), "")).unwrap();
    link.down();
    let now = pelton_jobs::time::Time::from_secs(1_700_000_000.0);
    let write = |broker: &mut RabbitBroker| {
        broker.begin().unwrap();
        let jobs: Vec<_> = (0..5).map(|_| Arc::new(job())).collect();
        broker.enqueue(&jobs, &[], now).unwrap();
        broker.commit().unwrap();
    };
    wait_until("the broker to see that the server is away", || {
        write(&mut broker);
        broker.untold() > 0
    });
    link.up();
    wait_until("all to be told", || {
        write(&mut broker);
        broker.untold() == 0
    });
}

/// What one worker was sent ahead and did not begin goes to another, when its process is gone.
fn a_worker_that_dies_lets_go_of_its_messages(server: &RabbitServer) {
    let place = Place::new();
    let url = place.url(server.port(), "");
    let engine = Arc::new(Engine::open(&url).unwrap());
    let first = session(&engine);
    let ids: Vec<JobId> = (0..20).map(|_| enqueue(&engine)).collect();
    let begun = lease(&first, 1);
    assert_eq!(begun.len(), 1);
    let other = Arc::new(Engine::open(&url).unwrap());
    let second = session(&other);
    drop(first);
    drop(engine);
    let rest: Vec<JobId> = ids.into_iter().filter(|id| *id != begun[0].id).collect();
    run_all(&second, &rest);
    second.close().unwrap();
}

fn a_deleted_queue_is_made_again(server: &RabbitServer) {
    let place = Place::new();
    let url = place.url(server.port(), "");
    let engine = Arc::new(Engine::open(&url).unwrap());
    let session = session(&engine);
    run_all(&session, &[enqueue(&engine)]);
    let namespace = url.split("namespace=").nth(1).unwrap().split('&').next().unwrap();
    server.control(&["delete_queue", &format!("{namespace}.default")]);
    let ids: Vec<JobId> = (0..20).map(|_| enqueue(&engine)).collect();
    run_all(&session, &ids);
    let listed = server.control(&["list_queues", "--no-table-headers", "name"]);
    assert!(listed.lines().any(|line| line == format!("{namespace}.default")), "{listed}");
    session.close().unwrap();
}

/// A memory alarm stops publishing, and neither producers nor workers.
fn a_server_that_is_blocked_holds_nobody_up(server: &RabbitServer) {
    let place = Place::new();
    let engine = Arc::new(Engine::open(&place.url(server.port(), "&timeout=20")).unwrap());
    let session = session(&engine);
    run_all(&session, &[enqueue(&engine)]);
    server.control(&["set_vm_memory_high_watermark", "absolute", "1MB"]);
    let ids: Vec<JobId> = (0..3).map(|_| enqueue(&engine)).collect();
    run_all(&session, &ids);
    server.control(&["set_vm_memory_high_watermark", "0.4"]);
    run_all(&session, &[enqueue(&engine)]);
    session.close().unwrap();
}

fn a_killed_server_comes_back(server: &mut RabbitServer) {
    let place = Place::new();
    let url = place.url(server.port(), "");
    let engine = Arc::new(Engine::open(&url).unwrap());
    let producer = Engine::open(&url).unwrap();
    let session = session(&engine);
    let mut ids: Vec<JobId> = (0..20).map(|_| enqueue(&producer)).collect();
    let held = lease(&session, 5);
    server.kill();
    ids.extend((0..5).map(|_| enqueue(&producer)));
    assert_eq!(succeed(&session, &held), vec![Some(State::Succeeded); held.len()]);
    let held: Vec<JobId> = held.iter().map(|job| job.id).collect();
    let left: Vec<JobId> = ids.into_iter().filter(|id| !held.contains(id)).collect();
    run_all(&session, &left);
    server.restart();
    run_all(&session, &[enqueue(&producer), enqueue(&producer)]);
    session.close().unwrap();
}

/// The server lost its disk: the store has the jobs.
fn an_empty_server_loses_no_job(server: &mut RabbitServer) {
    let place = Place::new();
    let url = place.url(server.port(), "");
    let producer = Engine::open(&url).unwrap();
    let ids: Vec<JobId> = (0..50).map(|_| enqueue(&producer)).collect();
    server.kill();
    server.restart_empty();
    let engine = Arc::new(Engine::open(&url).unwrap());
    let session = session(&engine);
    run_all(&session, &ids);
    run_all(&session, &[enqueue(&producer)]);
    session.close().unwrap();
}
