//! Random walks, beside a model that is too simple to be wrong.
//!
//! The model knows the rules in its own words, without the table of `pelton_jobs::state`. Crashes
//! are steps like others: of a broker in the middle of a group, of a worker with its jobs.

mod steps;
mod ties;

use std::collections::BTreeMap;
use std::sync::Arc;

use pelton_jobs::broker::{Broker, Reader, WorkerRow, WorkerSpec};
use pelton_jobs::brokers::sqlite::SqliteBroker;
use pelton_jobs::id::JobId;
use pelton_jobs::job::{Edge, End, LeasedJob, NewJob, On, Outcome};
use pelton_jobs::record::ListFilter;
use pelton_jobs::state::State;
use pelton_jobs::time::Time;

use super::{Store, job, seed, worker_spec, write};
use crate::random::Random;

/// Workers that may be alive; those after them in the list are dead, and hold jobs for a while.
const LIVE: usize = 3;

/// Walks random steps, and compares everything after each.
pub fn random_walks_agree_with_the_model(store: &dyn Store) {
    let seed = seed();
    let given = std::env::var("PELTON_TEST_STEPS").ok().and_then(|text| text.parse().ok());
    let steps = given.unwrap_or_else(|| store.steps());
    println!("PELTON_TEST_SEED={seed} PELTON_TEST_STEPS={steps}");
    let mut walk = Walk::new(store, Random::new(seed));
    for _ in 0..steps {
        walk.step();
        walk.compare();
    }
    walk.run_to_the_end();
}

/// A job, as the model has it.
struct Job {
    state: State,
    attempt: u32,
    failures: u32,
    losses: u32,
    max_retries: u32,
    due: Time,
    key: Option<String>,
    priority: i8,
    cancel: bool,
    holder: Option<usize>,
    token: i64,
    /// Whom it waits for, and whether that one has succeeded; `None`: its record is gone.
    parents: Vec<(Option<JobId>, bool)>,
    /// Whether it waits for the first failure among them, instead of all their success.
    on_failure: bool,
    /// Whether it was let go because there was no failure to follow.
    unneeded: bool,
    /// Whether it is aside until a signal comes.
    listens: bool,
    /// Signals that came and were not taken.
    signals: usize,
    /// Steps that it has finished.
    steps: usize,
}

/// A worker: alive for the broker until `lease_until`, unless it gives a sign of life.
struct Worker {
    row: WorkerRow,
    spec: WorkerSpec,
    lease_until: Time,
    listed: bool,
    held: Vec<LeasedJob>,
}

struct Walk<'a> {
    store: &'a dyn Store,
    broker: Box<dyn Broker>,
    reader: Box<dyn Reader>,
    random: Random,
    now: Time,
    jobs: BTreeMap<JobId, Job>,
    workers: Vec<Worker>,
    /// Leases that ended in whatever way: outcomes under them must not count.
    stale: Vec<LeasedJob>,
    versions: BTreeMap<JobId, (i64, State)>,
}

impl<'a> Walk<'a> {
    fn new(store: &'a dyn Store, random: Random) -> Self {
        let broker = store.open();
        let reader = broker.reader().unwrap();
        let now = Time::from_secs(1_700_000_000.0);
        let mut walk = Self {
            store,
            broker,
            reader,
            random,
            now,
            jobs: BTreeMap::new(),
            workers: Vec::new(),
            stale: Vec::new(),
            versions: BTreeMap::new(),
        };
        for name in ["one", "two", "three"] {
            let spec = worker_spec(name, &[]);
            let row = write(walk.broker.as_mut(), |b| b.add_worker(&spec, now)).unwrap();
            let lease_until = now.after(10.0);
            walk.workers.push(Worker { row, spec, lease_until, listed: true, held: Vec::new() });
        }
        walk
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..22 => self.enqueue(),
            22..45 => self.lease(),
            45..70 => self.finish(),
            70..73 => self.cancel(),
            73..76 => self.signal(),
            76..80 => self.retry(),
            80..83 => self.delete(),
            83..86 => self.finish_stale(),
            86..95 => self.pass_time(),
            95..97 => self.crash_worker(),
            97..98 => self.crash_broker(),
            98..99 => self.do_step(),
            _ => self.tidy(),
        }
    }

    fn new_job(&mut self) -> NewJob {
        let mut new = job();
        new.priority = self.random.below(3) as i8 - 1;
        new.queue = ["a", "b"][self.random.below(2)].into();
        new.retry.max_retries = self.random.below(3) as u32;
        if self.random.percent(20) {
            new.run_at = Some(self.now.after(self.random.below(15) as f64));
        }
        new
    }

    fn enqueue(&mut self) {
        let mut new: Vec<NewJob> = (0..=self.random.below(4)).map(|_| self.new_job()).collect();
        let mut edges = Vec::new();
        if self.random.percent(50) {
            for child in 1..new.len() {
                let on = match self.random.percent(25) {
                    true => On::Failure,
                    false => On::Success,
                };
                for parent in 0..child {
                    if self.random.percent(40) {
                        let position = parent as u32;
                        let (parent, child) = (new[parent].id, new[child].id);
                        edges.push(Edge { parent, child, position, on });
                    }
                }
            }
        } else if self.random.percent(30) {
            new[0].key = Some(format!("k{}", self.random.below(3)));
        }
        let batch: Vec<_> = new.iter().cloned().map(Arc::new).collect();
        let now = self.now;
        let ids =
            write(self.broker.as_mut(), |broker| broker.enqueue(&batch, &edges, now)).unwrap();
        for (new, id) in new.into_iter().zip(ids) {
            let taken = |job: &Job| job.key.is_some() && job.key == new.key && !job.state.is_end();
            let holder = self.jobs.iter().find(|(_, job)| taken(job)).map(|(id, _)| *id);
            assert_eq!(id, holder.unwrap_or(new.id));
            if id == new.id {
                self.jobs.insert(id, Self::model_of(new, &edges, now));
            }
        }
    }

    fn model_of(new: NewJob, edges: &[Edge], now: Time) -> Job {
        let on_failure = edges.iter().any(|edge| edge.child == new.id && edge.on == On::Failure);
        let parents: Vec<_> = edges
            .iter()
            .filter(|edge| edge.child == new.id)
            .map(|edge| (Some(edge.parent), false))
            .collect();
        let due = new.run_at.unwrap_or(now);
        let state = match (parents.is_empty(), due > now) {
            (false, _) => State::Waiting,
            (true, true) => State::Scheduled,
            (true, false) => State::Queued,
        };
        Job {
            state,
            attempt: 0,
            failures: 0,
            losses: 0,
            max_retries: new.retry.max_retries,
            due,
            key: new.key,
            priority: new.priority,
            cancel: false,
            holder: None,
            token: 0,
            parents,
            on_failure,
            unneeded: false,
            listens: false,
            signals: 0,
            steps: 0,
        }
    }

    fn tidy(&mut self) {
        let now = self.now;
        while write(self.broker.as_mut(), |broker| broker.tidy(now)).unwrap() {}
        for at in 0..self.workers.len() {
            if self.workers[at].listed && self.workers[at].lease_until < now {
                self.workers[at].listed = false;
                self.lose_all(at);
            }
        }
    }

    fn lose_all(&mut self, worker: usize) {
        let lost: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.state == State::Running && job.holder == Some(worker))
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            job.losses += 1;
            let state = if job.cancel {
                State::Cancelled
            } else if job.losses == 5 {
                State::Dead
            } else {
                State::Queued
            };
            self.set(id, state);
        }
    }

    fn lease(&mut self) {
        self.tidy();
        let (at, limit, now) = (self.random.below(LIVE), 1 + self.random.below(4), self.now);
        let worker = &mut self.workers[at];
        let (row, spec) = (worker.row, worker.spec.clone());
        let leased = write(self.broker.as_mut(), |b| b.lease(row, &spec, limit, now)).unwrap();
        (worker.lease_until, worker.listed) = (now.after(10.0), true);
        for job in self.jobs.values_mut() {
            if job.state == State::Scheduled && job.due <= now {
                (job.state, job.listens) = (State::Queued, false);
            }
        }
        let queued = |job: &&Job| job.state == State::Queued;
        assert_eq!(leased.len(), limit.min(self.jobs.values().filter(queued).count()));
        for taken in &leased {
            let job = self.jobs.get_mut(&taken.id).unwrap();
            assert_eq!(job.state, State::Queued);
            (job.state, job.holder, job.attempt) = (State::Running, Some(at), job.attempt + 1);
            assert!(taken.token > job.token);
            job.token = taken.token;
            assert_eq!((taken.attempt, taken.inputs.len()), (job.attempt, job.parents.len()));
        }
        let lowest = leased.iter().map(|taken| self.jobs[&taken.id].priority).min();
        let left = self.jobs.values().filter(queued).map(|job| job.priority).max();
        assert!(leased.is_empty() || left.is_none_or(|left| Some(left) <= lowest));
        // As in a worker's session: a job's new lease takes the place of one lost unnoticed.
        let (old, mut held): (Vec<_>, Vec<_>) = self.workers[at]
            .held
            .drain(..)
            .partition(|job| leased.iter().any(|new| new.id == job.id));
        self.stale.extend(old);
        held.extend(leased);
        self.workers[at].held = held;
    }

    fn finish(&mut self) {
        let at = self.random.below(LIVE);
        if self.workers[at].held.is_empty() {
            return;
        }
        let which = self.random.below(self.workers[at].held.len());
        let leased = self.workers[at].held.swap_remove(which);
        let retry = self.random.percent(90);
        let end = match self.random.below(100) {
            0..50 => End::Success(b"1".to_vec()),
            50..85 => End::Failure { error: b"{}".to_vec(), retry, delay: Some(3.0) },
            85..90 => End::Cancelled("done".into()),
            90..95 => End::Suspend {
                until: self.random.percent(50).then(|| self.now.after(4.0)),
                signal: self.random.percent(70).then(|| "s".to_owned()),
            },
            _ => End::Release,
        };
        let expected = self.expected_end(&leased, at, &end);
        let settled = self.hand_in(at, &leased, end.clone());
        assert_eq!(settled, expected);
        if let Some(state) = expected {
            self.set(leased.id, state);
            self.set_listening(leased.id, state, &end);
        }
        self.stale.push(leased);
    }

    /// The state after `end`; `None` where the worker has lost the job.
    fn expected_end(&mut self, leased: &LeasedJob, at: usize, end: &End) -> Option<State> {
        let now = self.now;
        let job = self.jobs.get_mut(&leased.id)?;
        if job.state != State::Running || job.holder != Some(at) || job.token != leased.token {
            return None;
        }
        if !matches!(end, End::Success(_)) {
            job.losses = 0;
        }
        Some(match end {
            End::Success(_) => State::Succeeded,
            End::Cancelled(_) => State::Cancelled,
            End::Release | End::Suspend { .. } if job.cancel => State::Cancelled,
            End::Suspend { until, signal } => {
                let came = signal.is_some() && job.signals > 0;
                job.attempt -= 1;
                job.due = if came { now } else { until.unwrap_or(Time::MAX) };
                State::Scheduled
            }
            End::Release => {
                job.attempt -= 1;
                State::Queued
            }
            End::Failure { retry, .. } if *retry && job.failures < job.max_retries => {
                if job.cancel {
                    return Some(State::Cancelled);
                }
                job.failures += 1;
                job.due = now.after(3.0);
                State::Scheduled
            }
            End::Failure { .. } => State::Dead,
        })
    }

    fn hand_in(&mut self, at: usize, leased: &LeasedJob, end: End) -> Option<State> {
        let (row, now) = (self.workers[at].row, self.now);
        let outcome = Outcome { lease: leased.lease(), end };
        let mut chance = self.random.clone();
        let settled =
            write(self.broker.as_mut(), |b| b.finish(row, &[outcome], now, &mut chance)).unwrap();
        settled[0].state
    }

    fn finish_stale(&mut self) {
        if self.stale.is_empty() {
            return;
        }
        let leased = self.stale[self.random.below(self.stale.len())].clone();
        assert_eq!(self.hand_in(0, &leased, End::Success(b"no".to_vec())), None);
    }

    fn any(&mut self) -> Option<JobId> {
        let at = self.random.below(self.jobs.len().max(1));
        self.jobs.keys().nth(at).copied()
    }

    fn cancel(&mut self) {
        let Some(id) = self.any() else { return };
        let now = self.now;
        let asked = write(self.broker.as_mut(), |b| b.cancel(id, "", now)).unwrap();
        let job = self.jobs.get_mut(&id).unwrap();
        assert_eq!(asked, !job.state.is_end());
        match job.state {
            State::Running => job.cancel = true,
            state if !state.is_end() => self.set(id, State::Cancelled),
            _ => {}
        }
    }

    fn retry(&mut self) {
        let Some(id) = self.any() else { return };
        let now = self.now;
        let answer = write(self.broker.as_mut(), |broker| broker.retry(id, now));
        let key = self.jobs[&id].key.clone();
        let taken =
            key.is_some() && self.jobs.values().any(|job| job.key == key && !job.state.is_end());
        let job = self.jobs.get_mut(&id).unwrap();
        if !matches!(job.state, State::Dead | State::Cancelled) {
            assert!(!answer.unwrap());
            return;
        }
        let orphan = job.parents.iter().any(|(parent, done)| parent.is_none() && !done);
        if taken || orphan || job.unneeded {
            answer.unwrap_err();
            return;
        }
        assert!(answer.unwrap());
        (job.attempt, job.failures, job.losses, job.cancel, job.due) = (0, 0, 0, false, now);
        let waits = job.parents.iter().any(|(_, done)| !done);
        job.state = if waits { State::Waiting } else { State::Queued };
    }

    fn delete(&mut self) {
        let Some(id) = self.any() else { return };
        let now = self.now;
        let deleted = write(self.broker.as_mut(), |broker| broker.delete(id, now)).unwrap();
        let state = self.jobs[&id].state;
        assert_eq!(deleted, state.is_end());
        if deleted {
            self.set(id, state);
            self.jobs.remove(&id);
            self.versions.remove(&id);
            for job in self.jobs.values_mut() {
                for (parent, _) in job.parents.iter_mut().filter(|(parent, _)| *parent == Some(id))
                {
                    *parent = None;
                }
            }
        }
    }

    fn pass_time(&mut self) {
        self.now = self.now.after(self.random.below(9) as f64 + 0.5);
        let now = self.now;
        for at in 0..LIVE {
            if !self.random.percent(75) {
                continue;
            }
            let (row, spec) = (self.workers[at].row, self.workers[at].spec.clone());
            let leases: Vec<_> = self.workers[at].held.iter().map(LeasedJob::lease).collect();
            let lost = write(self.broker.as_mut(), |b| b.renew(row, &spec, &leases, now)).unwrap();
            let worker = &mut self.workers[at];
            (worker.lease_until, worker.listed) = (now.after(10.0), true);
            let (gone, kept): (Vec<_>, Vec<_>) =
                worker.held.drain(..).partition(|job| lost.contains(&job.id));
            worker.held = kept;
            for job in &self.workers[at].held {
                assert_eq!(self.jobs[&job.id].holder, Some(at));
            }
            self.stale.extend(gone);
        }
    }

    /// A worker that dies without a word: the next of its name is another one.
    fn crash_worker(&mut self) {
        let at = self.random.below(LIVE);
        self.crash_worker_at(at);
    }

    fn crash_worker_at(&mut self, at: usize) {
        let now = self.now;
        let spec = self.workers[at].spec.clone();
        let row = write(self.broker.as_mut(), |broker| broker.add_worker(&spec, now)).unwrap();
        let lease_until = now.after(10.0);
        let fresh = Worker { row, spec, lease_until, listed: true, held: Vec::new() };
        let mut dead = std::mem::replace(&mut self.workers[at], fresh);
        dead.held.clear();
        // The dead one keeps its jobs until its lease is over: under a number of its own.
        let grave = self.workers.len();
        for job in self.jobs.values_mut().filter(|job| job.holder == Some(at)) {
            job.holder = Some(grave);
        }
        self.workers.push(dead);
    }

    /// A process that dies in the middle of a group, after any of its writes: nothing of it has
    /// happened.
    fn crash_broker(&mut self) {
        if !self.store.groups_are_atomic() {
            return self.crash_between_operations();
        }
        let now = self.now;
        let (row, spec) = (self.workers[0].row, self.workers[0].spec.clone());
        let held = self.workers[0].held.first().map(LeasedJob::lease);
        let victim = self.any();
        let mut chance = self.random.clone();
        self.broker.begin().unwrap();
        for step in 0..self.random.below(7) {
            match (step, held, victim) {
                (0, _, _) => {
                    self.broker.enqueue(&[Arc::new(job())], &[], now).unwrap();
                }
                (1, _, Some(id)) => {
                    self.broker.cancel(id, "never happened", now).unwrap();
                }
                (2, Some(lease), _) => {
                    self.broker.save_step(lease, "never happened", b"1").unwrap();
                }
                (3, _, Some(id)) => {
                    self.broker.signal(id, "s", b"1", now).unwrap();
                }
                (4, Some(lease), _) => {
                    let outcome = Outcome { lease, end: End::Success(b"never".to_vec()) };
                    self.broker.finish(row, &[outcome], now, &mut chance).unwrap();
                }
                (5, _, _) => {
                    self.broker.lease(row, &spec, 5, now).unwrap();
                }
                _ => {}
            }
        }
        // The dead one lets go before another opens, as a dead process does.
        let other = SqliteBroker::open("memory://").unwrap();
        drop(std::mem::replace(&mut self.broker, Box::new(other)));
        self.broker = self.store.open();
        self.reader = self.broker.reader().unwrap();
    }

    /// A process that dies after an operation, and before it could tell anybody: what that did has
    /// happened, and jobs that were leased in it come back when its worker is given up.
    fn crash_between_operations(&mut self) {
        let now = self.now;
        let new = self.new_job();
        self.broker.begin().unwrap();
        self.broker.enqueue(&[Arc::new(new.clone())], &[], now).unwrap();
        self.jobs.insert(new.id, Self::model_of(new, &[], now));
        self.lease();
        let at = (0..LIVE).max_by_key(|at| self.workers[*at].held.len()).unwrap_or(0);
        self.crash_worker_at(at);
        self.broker = self.store.open();
        self.reader = self.broker.reader().unwrap();
    }

    fn compare(&mut self) {
        let filter = ListFilter { limit: 1_000_000, ..ListFilter::default() };
        let records = self.reader.list(&filter).unwrap();
        assert_eq!(records.len(), self.jobs.len());
        let mut counts = [0_u64; 7];
        for record in records {
            let job = self.jobs.get(&record.id).expect("a job that the model does not have");
            assert_eq!(record.state, job.state, "{}", record.id);
            assert_eq!(record.attempt, job.attempt, "{}", record.id);
            counts[record.state as usize] += 1;
            let before = self.versions.insert(record.id, (record.version, record.state));
            if let Some((version, state)) = before {
                assert!(
                    record.version > version
                        || (record.version == version && record.state == state)
                );
            }
        }
        let mut told = [0_u64; 7];
        for queue in self.reader.queues().unwrap() {
            told.iter_mut().zip(queue.counts).for_each(|(sum, count)| *sum += count);
        }
        assert_eq!(told, counts);
    }

    /// With workers that do their work, every job ends.
    fn run_to_the_end(&mut self) {
        for _ in 0..10_000 {
            if self.jobs.values().all(|job| job.state.is_end()) {
                return;
            }
            self.now = self.now.after(3.0);
            let now = self.now;
            for at in 0..LIVE {
                let (row, spec) = (self.workers[at].row, self.workers[at].spec.clone());
                write(self.broker.as_mut(), |b| b.renew(row, &spec, &[], now)).unwrap();
                let worker = &mut self.workers[at];
                (worker.lease_until, worker.listed) = (now.after(10.0), true);
                while let Some(leased) = self.workers[at].held.pop() {
                    let expected = self.expected_end(&leased, at, &End::Success(Vec::new()));
                    let settled = self.hand_in(at, &leased, End::Success(b"1".to_vec()));
                    assert_eq!(settled, expected);
                    if let Some(state) = expected {
                        self.set(leased.id, state);
                    }
                }
            }
            self.end_abandoned();
            self.lease();
            self.compare();
        }
        panic!("jobs are left over");
    }
}
