//! A Redis that goes away: what was accepted is kept, and work goes on when it is back.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod working;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pelton_jobs::broker::Broker;
use pelton_jobs::brokers::redis::RedisBroker;
use pelton_jobs::engine::{Engine, wait};
use pelton_jobs::id::JobId;
use pelton_jobs::state::State;
use pelton_testkit::Link;
use pelton_testkit::broker_conformance::{World, job, worker_spec};
use pelton_testkit::servers::{RedisServer, unique_name, wait_until};

use self::working::{enqueue, lease, session, succeed};

fn url(port: u16, options: &str) -> String {
    format!("redis://127.0.0.1:{port}/0?namespace={}{options}", unique_name())
}

/// A call whose answer is lost is made again, and finds itself done: nothing twice.
#[test]
fn lost_answers_do_not_double_anything() {
    let server = RedisServer::start();
    let link = Arc::new(Link::to(server.port()));
    let url = url(link.port(), "&timeout=20");
    let store = Through { url: url.clone() };
    let mut world = World::new(&store);
    // While it is deaf, what is asked happens and the answer is swallowed; then the wire is cut.
    let cut_soon = |link: &Arc<Link>| {
        link.set_deaf(true);
        let link = Arc::clone(link);
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            link.set_deaf(false);
            link.cut();
        })
    };
    let cutter = cut_soon(&link);
    let plain = world.enqueue(vec![job(), job()]);
    cutter.join().unwrap();
    let mut keyed = job();
    keyed.key = Some("k".into());
    let cutter = cut_soon(&link);
    let tied = world.enqueue_tied(vec![keyed.clone(), job()], &[(0, 1, 0)]);
    cutter.join().unwrap();
    assert_eq!(tied[0], keyed.id);
    let cutter = cut_soon(&link);
    let leased = world.lease(10);
    cutter.join().unwrap();
    let ids: Vec<_> = leased.iter().map(|job| job.id).collect();
    assert_eq!(ids, [plain[0], plain[1], tied[0]]);
    assert!(leased.iter().all(|job| job.attempt == 1));
    let cutter = cut_soon(&link);
    assert_eq!(world.succeed(&leased[0], b"1").state, Some(State::Succeeded));
    cutter.join().unwrap();
    let cutter = cut_soon(&link);
    assert_eq!(world.fail(&leased[1]).state, Some(State::Scheduled));
    cutter.join().unwrap();
    assert_eq!(world.record(plain[1]).attempt, 1);
    let cutter = cut_soon(&link);
    assert!(world.write(|broker, now| broker.cancel(plain[1], "", now)).unwrap());
    cutter.join().unwrap();
    world.succeed(&leased[2], b"2");
    assert_eq!(world.lease_one().inputs, [b"2".to_vec()]);
    assert_eq!(world.reader.queues().unwrap()[0].counts, [0, 0, 0, 1, 2, 0, 1]);
}

/// An enqueue whose answer was lost is made again: also when the job has ended meanwhile, and its
/// record is gone.
#[test]
fn what_ran_meanwhile_is_not_written_again() {
    let server = RedisServer::start();
    let link = Link::to(server.port());
    let url = url(link.port(), "&timeout=30");
    let direct = url.replace(&link.port().to_string(), &server.port().to_string());
    let mut world = World::new(&Through { url });
    let mut other = World::new(&Through { url: direct });
    world.enqueue(vec![job()]);
    let first = other.lease_one();
    other.succeed(&first, b"1");
    let mut brief = job();
    brief.result_ttl = 0.0;
    let id = brief.id;
    link.set_deaf(true);
    std::thread::scope(|scope| {
        let meanwhile = scope.spawn(|| {
            let mut leased = Vec::new();
            wait_until("the job is written", || {
                leased = other.lease(1);
                !leased.is_empty()
            });
            other.succeed(&leased[0], b"1");
            other.tidy();
            let gone = other.reader.get(id).unwrap().is_none();
            link.set_deaf(false);
            link.cut();
            gone
        });
        assert_eq!(world.enqueue(vec![brief]), [id]);
        assert!(meanwhile.join().unwrap());
    });
    assert!(world.lease(5).is_empty());
    assert_eq!(world.reader.get(id).unwrap(), None);
    world.advance(61.0);
    world.tidy();
    assert_eq!(world.lease(5).len(), 0);
}

struct Through {
    url: String,
}

impl pelton_testkit::broker_conformance::Store for Through {
    fn open(&self) -> Box<dyn Broker> {
        Box::new(RedisBroker::open(&self.url).unwrap())
    }
}

/// Jobs of a lease whose answer never arrived come back with the next lease.
#[test]
fn leases_that_nobody_got_are_given_again() {
    let server = RedisServer::start();
    let link = Link::to(server.port());
    let store = Through { url: url(link.port(), "&timeout=0.4") };
    let mut world = World::new(&store);
    assert!(world.lease(5).is_empty(), "the server knows the script from here on");
    let mut ids = world.enqueue(vec![job(), job(), job()]);
    link.set_deaf(true);
    let (worker, spec) = (world.worker, world.spec.clone());
    world.write(|broker, now| broker.lease(worker, &spec, 5, now)).unwrap_err();
    link.set_deaf(false);
    link.cut();
    wait_until("the link is used again", || {
        world.broker.work_at(&worker_spec("any", &[]), world.now).is_ok()
    });
    // A cancellation of one that nobody runs is done at once then.
    let unwanted = ids.pop().unwrap();
    assert!(world.write(|broker, now| broker.cancel(unwanted, "", now)).unwrap());
    let leased = world.lease(5);
    assert_eq!(leased.iter().map(|job| job.id).collect::<Vec<_>>(), ids);
    assert!(leased.iter().all(|job| job.attempt == 1 && job.token == 2));
    assert_eq!(world.state(unwanted), State::Cancelled);
}

/// Cut at random, with work going on: every job is done, and once.
#[test]
fn work_goes_on_through_cuts() {
    let server = RedisServer::start();
    let link = Arc::new(Link::to(server.port()));
    let url = url(link.port(), "&timeout=30");
    let engine = Arc::new(Engine::open(&url).unwrap());
    let session = session(&engine);
    let stop = Arc::new(AtomicBool::new(false));
    let cutter = {
        let (link, stop) = (Arc::clone(&link), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut random = pelton_testkit::Random::new(7);
            while !stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5 + random.below(40) as u64));
                link.cut();
            }
        })
    };
    let mut ids: Vec<JobId> = (0..100).map(|_| enqueue(&engine)).collect();
    let mut done = Vec::new();
    while done.len() < ids.len() {
        let leased = lease(&session, 7);
        assert!(!leased.is_empty());
        assert_eq!(succeed(&session, &leased), vec![Some(State::Succeeded); leased.len()]);
        done.extend(leased.iter().map(|job| job.id));
    }
    stop.store(true, Ordering::SeqCst);
    cutter.join().unwrap();
    done.sort_unstable();
    ids.sort_unstable();
    assert_eq!(done, ids);
    session.close().unwrap();
}

/// A waiting worker is told of jobs after its server was killed and started again.
#[test]
fn a_killed_server_comes_back_with_everything() {
    let mut server = RedisServer::start();
    let url = url(server.port(), "&timeout=30");
    let engine = Arc::new(Engine::open(&url).unwrap());
    let producer = Engine::open(&url).unwrap();
    let session = session(&engine);
    let first: Vec<_> = (0..20).map(|_| enqueue(&producer)).collect();
    let held = lease(&session, 5);
    server.kill();
    let restarted = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        server.restart();
        server
    });
    let late = enqueue(&producer);
    let server = restarted.join().unwrap();
    let back = Instant::now();
    assert_eq!(succeed(&session, &held), vec![Some(State::Succeeded); 5]);
    let mut seen: Vec<_> = held.iter().map(|job| job.id).collect();
    while seen.len() < 21 {
        let leased = lease(&session, 50);
        seen.extend(leased.iter().map(|job| job.id));
    }
    println!("consuming again after {:?}", back.elapsed());
    assert_eq!(seen[..20], first);
    assert_eq!(seen[20], late);
    drop(server);
}

#[test]
fn leases_given_up_are_given_back() {
    let server = RedisServer::start();
    let link = Link::to(server.port());
    working::outlast_leases(&url(link.port(), "&timeout=0.2"), &link);
}

/// Producers get an error that says what is wrong when the server stays away.
#[test]
fn producers_are_told_when_it_stays_away() {
    let server = RedisServer::start();
    let link = Link::to(server.port());
    let url = url(link.port(), "&timeout=0.5");
    let engine = Engine::open(&url).unwrap();
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
    assert!(RedisBroker::open("redis://127.0.0.1:1/0?timeout=0.2").is_err());
}

/// Over a slow wire everything still works.
#[test]
fn slow_wires_are_endured() {
    let server = RedisServer::start();
    let link = Link::to(server.port());
    let engine = Arc::new(Engine::open(&url(link.port(), "")).unwrap());
    let session = session(&engine);
    link.delay(Duration::from_millis(100));
    let id = enqueue(&engine);
    let leased = lease(&session, 1);
    assert_eq!(leased[0].id, id);
    assert_eq!(succeed(&session, &leased), [Some(State::Succeeded)]);
    link.delay(Duration::ZERO);
    session.close().unwrap();
}

/// A record that somebody else removed costs that job, and no other.
#[test]
fn missing_records_do_not_stop_the_others() {
    let server = RedisServer::start();
    let store = Through { url: url(server.port(), "") };
    let mut world = World::new(&store);
    let mut late = job();
    late.run_at = Some(world.now.after(5.0));
    world.enqueue(vec![job(), late]);
    server.command(
        "EVAL \"for _, key in ipairs(redis.call('KEYS', '*}:j*')) do redis.call('DEL', key) end\" 0",
    );
    let ids = world.enqueue(vec![job(), job()]);
    let first = world.lease(1);
    world.advance(9.0);
    let rest = world.lease(5);
    let leased: Vec<_> = first.iter().chain(&rest).map(|job| job.id).collect();
    assert_eq!(leased, ids);
    assert!(world.lease(5).is_empty());
    let counts = world.reader.queues().unwrap()[0].counts;
    assert_eq!((counts[State::Queued as usize], counts[State::Running as usize]), (0, 2));
}

/// Keys of another layout are left alone.
#[test]
fn newer_keys_are_refused() {
    let server = RedisServer::start();
    let name = unique_name();
    let url = format!("{}?namespace={name}", server.url());
    drop(RedisBroker::open(&url).unwrap());
    server.command(&format!("SET {{{name}}}:schema 99"));
    let error = RedisBroker::open(&url).err().unwrap().to_string();
    assert!(error.contains("newer Pelton"), "{error}");
    server.command(&format!("SET {{{name}}}:schema 1"));
    let error = RedisBroker::open(&url).err().unwrap().to_string();
    assert!(error.contains("older Pelton"), "{error}");
    server.command(&format!("SET {{{name}}}:schema zebra"));
    let error = RedisBroker::open(&url).err().unwrap().to_string();
    assert!(error.contains("not ours"), "{error}");
}
