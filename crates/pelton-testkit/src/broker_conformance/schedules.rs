//! Schedules fire: each tick once, whoever leads.

use std::sync::Arc;

use pelton_jobs::broker::Tick;
use pelton_jobs::schedule::{Cron, Interval, Rule, ScheduleSpec};

use super::{Store, World, job};

fn every(name: &str, seconds: f64) -> ScheduleSpec {
    let mut template = job();
    template.task = format!("task of {name}");
    ScheduleSpec {
        name: name.into(),
        rule: Rule::Every(Interval::new(seconds).unwrap()),
        template: Arc::new(template),
        grace: 60.0,
        catch_up: 1,
    }
}

fn declare(world: &mut World, owner: &str, schedules: &[ScheduleSpec]) {
    world.write(|broker, now| broker.declare(owner, schedules, now)).unwrap();
}

fn tick(world: &mut World, leader: &str) -> Tick {
    world.write(|broker, now| broker.tick(leader, now)).unwrap()
}

/// One job for each tick, made from the template.
pub fn fires_once_per_tick(store: &dyn Store) {
    let mut world = World::new(store);
    declare(&mut world, "app", &[every("a", 30.0)]);
    let first = tick(&mut world, "one");
    assert!(first.leads && first.fired.is_empty());
    let mut fired = 0;
    for _ in 0..100 {
        world.advance(3.0);
        let now = tick(&mut world, "one");
        for (name, id) in &now.fired {
            let leased = world.lease_one();
            assert_eq!((leased.id, name.as_str(), &*leased.task), (*id, "a", "task of a"));
            world.succeed(&leased, b"1");
        }
        assert!(now.next_at > world.now && now.next_at <= world.now.after(30.0));
        assert!(tick(&mut world, "one").fired.is_empty());
        fired += now.fired.len();
    }
    assert_eq!(fired, 10);
}

/// Of several schedulers one leads; the others fire nothing, and know when to ask again.
pub fn one_leads(store: &dyn Store) {
    let mut world = World::new(store);
    declare(&mut world, "app", &[every("a", 1.0)]);
    assert!(tick(&mut world, "one").leads);
    world.advance(2.0);
    let other = tick(&mut world, "two");
    assert!(!other.leads && other.fired.is_empty() && other.next_at > world.now);
    assert_eq!(tick(&mut world, "one").fired.len(), 1);
    world.write(|broker, _| broker.resign("two")).unwrap();
    world.write(|broker, _| broker.resign("one")).unwrap();
    assert!(tick(&mut world, "two").leads, "at once after a resignation");
}

/// A leader that gives no sign of life is replaced within 30 seconds, and no tick is doubled.
pub fn dead_leader_is_replaced(store: &dyn Store) {
    let mut world = World::new(store);
    declare(&mut world, "app", &[every("a", 60.0)]);
    tick(&mut world, "one");
    let mut fired = 0;
    let mut led_after = None;
    for second in 0..120 {
        world.advance(1.0);
        let two = tick(&mut world, "two");
        if two.leads && led_after.is_none() {
            led_after = Some(second);
        }
        fired += two.fired.len();
    }
    assert!(led_after.is_some_and(|second| second <= 30));
    assert_eq!(fired, 2);
    assert!(!tick(&mut world, "one").leads);
}

/// Ticks that were missed while no scheduler ran fire once.
pub fn missed_ticks_fire_once(store: &dyn Store) {
    let mut world = World::new(store);
    declare(&mut world, "app", &[every("a", 10.0)]);
    world.advance(35.0);
    assert_eq!(tick(&mut world, "one").fired.len(), 1);
    assert!(tick(&mut world, "one").fired.is_empty());
    let record = &world.reader.schedules().unwrap()[0];
    assert!(
        record.last_at.unwrap() <= world.now && world.now.since(record.last_at.unwrap()) < 10.0
    );
    assert!(record.next_at.unwrap() > world.now);
    assert!(record.last_job.is_some());
}

/// A missed tick that is older than its grace does not fire; the next one does.
pub fn old_ticks_do_not_fire(store: &dyn Store) {
    let mut world = World::new(store);
    let schedule = ScheduleSpec { grace: 5.0, ..every("a", 3600.0) };
    declare(&mut world, "app", &[schedule]);
    let next = world.reader.schedules().unwrap()[0].next_at.unwrap();
    world.now = next.after(6.0);
    assert!(tick(&mut world, "one").fired.is_empty());
    assert_eq!(world.reader.schedules().unwrap()[0].last_at, None);
    world.now = next.after(3600.0 + 4.0);
    assert_eq!(tick(&mut world, "one").fired.len(), 1);
}

/// A restart declares the same again: ticks missed in between are not forgotten. Another rule
/// begins anew.
pub fn declaring_again_keeps_the_place(store: &dyn Store) {
    let mut world = World::new(store);
    declare(&mut world, "app", &[every("a", 10.0)]);
    world.advance(15.0);
    declare(&mut world, "app", &[every("a", 10.0)]);
    assert_eq!(tick(&mut world, "one").fired.len(), 1);
    world.advance(15.0);
    declare(&mut world, "app", &[every("a", 7.0)]);
    assert!(tick(&mut world, "one").fired.is_empty());
}

/// What an owner does not declare any more is gone; other owners' schedules stay, and fire.
pub fn owners_keep_theirs(store: &dyn Store) {
    let mut world = World::new(store);
    declare(&mut world, "app", &[every("a", 10.0), every("b", 10.0)]);
    declare(&mut world, "other", &[every("b", 10.0)]);
    declare(&mut world, "app", &[every("a", 10.0)]);
    let names = |world: &mut World| -> Vec<String> {
        world.reader.schedules().unwrap().into_iter().map(|record| record.name).collect()
    };
    assert_eq!(names(&mut world), ["a", "b"]);
    world.advance(10.0);
    assert_eq!(tick(&mut world, "one").fired.len(), 2);
    declare(&mut world, "app", &[]);
    assert_eq!(names(&mut world), ["b"]);
}

/// Records tell what was declared.
pub fn cron_and_interval_are_told(store: &dyn Store) {
    let mut world = World::new(store);
    let cron = ScheduleSpec {
        rule: Rule::Cron(Box::new(Cron::new("0 3 * * 2", "Europe/Paris").unwrap())),
        ..every("weekly", 1.0)
    };
    declare(&mut world, "app", &[cron, every("quick", 0.5)]);
    let records = world.reader.schedules().unwrap();
    assert_eq!((records[0].name.as_str(), records[0].every), ("quick", Some(0.5)));
    let weekly = &records[1];
    assert_eq!((weekly.cron.as_deref(), weekly.tz.as_str()), (Some("0 3 * * 2"), "Europe/Paris"));
    assert_eq!((weekly.task.as_str(), weekly.queue.as_str()), ("task of weekly", "default"));
    // Tuesday 21 November 2023, 3:00 in Paris.
    assert_eq!(weekly.next_at.map(|at| at.0), Some(1_700_532_000_000_000));
    assert_eq!((weekly.last_at, weekly.last_job), (None, None));
}
