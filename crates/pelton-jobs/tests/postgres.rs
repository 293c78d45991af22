//! The PostgreSQL broker passes the suite that every broker passes, and outlives its server's
//! absences.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod working;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pelton_jobs::BrokerError;
use pelton_jobs::broker::Broker;
use pelton_jobs::brokers::postgres::PostgresBroker;
use pelton_jobs::engine::{Engine, wait};
use pelton_jobs::state::State;
use pelton_testkit::Link;
use pelton_testkit::broker_conformance::{Store, World, job};
use pelton_testkit::servers::{PostgresServer, wait_until};

use self::working::{enqueue, lease, session, succeed};

struct Database {
    url: String,
}

impl Store for Database {
    fn open(&self) -> Box<dyn Broker> {
        Box::new(PostgresBroker::open(&self.url).unwrap())
    }

    // Each is some round trips, and the comparison one more, of all jobs.
    fn steps(&self) -> usize {
        400
    }
}

#[test]
fn conformance() {
    let server = PostgresServer::start();
    pelton_testkit::run_broker_conformance!(Database { url: server.url() });
}

/// One server for all that is about its absence.
#[test]
fn absences() {
    let mut server = PostgresServer::start();
    newer_tables_are_refused(&server);
    foreign_policies_do_not_stop_work(&server);
    producers_are_told_when_it_stays_away(&server);
    slow_wires_are_endured(&server);
    leases_given_up_are_given_back(&server);
    leases_that_nobody_got_are_given_again(&server);
    work_goes_on_through_cuts(&server);
    a_killed_server_comes_back_with_everything(&mut server);
}

fn newer_tables_are_refused(server: &PostgresServer) {
    let url = server.url();
    drop(PostgresBroker::open(&url).unwrap());
    server.run(&url, "UPDATE pelton_schema SET version = 99");
    let error = PostgresBroker::open(&url).err().unwrap().to_string();
    assert!(error.contains("newer Pelton"), "{error}");
}

/// A row of another program, by way of `pelton_enqueue` for instance.
fn foreign_policies_do_not_stop_work(server: &PostgresServer) {
    let url = server.url();
    let mut world = World::new(&Database { url: url.clone() });
    let ids = world.enqueue(vec![job(), job()]);
    server.run(
        &url,
        "UPDATE pelton_jobs SET policy = 'zebra' WHERE due = (SELECT min(due) FROM pelton_jobs)",
    );
    let leased = world.lease(5);
    assert_eq!(leased.iter().map(|job| job.id).collect::<Vec<_>>(), ids);
    assert_eq!(world.fail(&leased[0]).state, Some(State::Scheduled));
    assert_eq!(world.succeed(&leased[1], b"1").state, Some(State::Succeeded));
}

fn producers_are_told_when_it_stays_away(server: &PostgresServer) {
    let link = Link::to(server.port());
    let engine = Engine::open(&format!("{}&timeout=0.5", server.url_at(link.port()))).unwrap();
    enqueue(&engine);
    link.down();
    for _ in 0..3 {
        let error = wait(|reply| engine.enqueue(vec![Arc::new(job())], Vec::new(), reply));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("has been away for"), "{error}");
    }
    link.up();
    wait_until("it is back", || {
        wait(|reply| engine.enqueue(vec![Arc::new(job())], Vec::new(), reply)).is_ok()
    });
    assert!(PostgresBroker::open("postgresql://a@127.0.0.1:1/b?timeout=0.2").is_err());
}

fn slow_wires_are_endured(server: &PostgresServer) {
    let link = Link::to(server.port());
    let engine = Arc::new(Engine::open(&server.url_at(link.port())).unwrap());
    let session = session(&engine);
    link.delay(Duration::from_millis(20));
    let id = enqueue(&engine);
    let leased = lease(&session, 1);
    assert_eq!(leased[0].id, id);
    assert_eq!(succeed(&session, &leased), [Some(State::Succeeded)]);
    link.delay(Duration::ZERO);
    session.close().unwrap();
}

fn leases_given_up_are_given_back(server: &PostgresServer) {
    let link = Link::to(server.port());
    working::outlast_leases(&format!("{}&timeout=0.2", server.url_at(link.port())), &link);
}

/// Jobs of a lease whose commit was done and not answered come back with the next lease.
fn leases_that_nobody_got_are_given_again(server: &PostgresServer) {
    let link = Link::to(server.port());
    let store = Database { url: server.url_at(link.port()) };
    let mut world = World::new(&store);
    let ids = world.enqueue(vec![job(), job()]);
    let (worker, spec, now) = (world.worker, world.spec.clone(), world.now);
    world.broker.begin().unwrap();
    assert_eq!(world.broker.lease(worker, &spec, 5, now).unwrap().len(), 2);
    link.cut_answer_to(b"COMMIT");
    let error = world.broker.commit().unwrap_err();
    assert!(matches!(error, BrokerError::Lost(_)), "{error}");
    wait_until("the commit", || {
        world.reader.get(ids[0]).unwrap().is_some_and(|job| job.state == State::Running)
    });
    let leased = world.lease(5);
    assert_eq!(leased.iter().map(|job| job.id).collect::<Vec<_>>(), ids);
    assert!(leased.iter().all(|job| job.attempt == 1 && job.token == 2));
    // Those are not given back as well.
    assert!(world.lease(5).is_empty());
    assert_eq!(world.succeed(&leased[0], b"1").state, Some(State::Succeeded));
}

/// Cut at random, with work going on: every job is written once, and done.
fn work_goes_on_through_cuts(server: &PostgresServer) {
    let link = Arc::new(Link::to(server.port()));
    let engine =
        Arc::new(Engine::open(&format!("{}&timeout=30", server.url_at(link.port()))).unwrap());
    let session = session(&engine);
    let stop = Arc::new(AtomicBool::new(false));
    let cutter = {
        let (link, stop) = (Arc::clone(&link), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut random = pelton_testkit::Random::new(7);
            while !stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(50 + random.below(200) as u64));
                link.cut();
            }
        })
    };
    let ids: Vec<_> = (0..60).map(|_| enqueue(&engine)).collect();
    stop.store(true, Ordering::SeqCst);
    cutter.join().unwrap();
    let mut done = Vec::new();
    while done.len() < ids.len() {
        let leased = lease(&session, 7);
        assert_eq!(succeed(&session, &leased), vec![Some(State::Succeeded); leased.len()]);
        done.extend(leased.iter().map(|job| job.id));
    }
    done.sort_unstable();
    assert_eq!(done, ids);
    session.close().unwrap();
}

/// A waiting worker is told of jobs after its server was killed and started again.
fn a_killed_server_comes_back_with_everything(server: &mut PostgresServer) {
    let url = format!("{}&timeout=60", server.url());
    let engine = Arc::new(Engine::open(&url).unwrap());
    let producer = Engine::open(&url).unwrap();
    let session = session(&engine);
    let mut ids: Vec<_> = (0..20).map(|_| enqueue(&producer)).collect();
    let held = lease(&session, 5);
    server.kill();
    server.restart();
    ids.push(enqueue(&producer));
    let mut states = Vec::new();
    wait_until("outcomes are written", || {
        states = working::try_succeed(&session, &held).unwrap_or_default();
        !states.is_empty()
    });
    assert_eq!(states, vec![Some(State::Succeeded); 5]);
    let mut seen: Vec<_> = held.iter().map(|job| job.id).collect();
    while seen.len() < ids.len() {
        seen.extend(working::try_lease(&session, 50).unwrap_or_default().iter().map(|job| job.id));
    }
    assert_eq!(seen, ids);
}
