//! One worker's leases, from taking jobs to their outcomes.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::broker::{Chance, Progress, WorkerRow, WorkerSpec};
use crate::engine::{CancelPort, Engine, Reply, wait};
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::{End, Lease, LeasedJob, Outcome, Settled};

/// Progress is written at most this often.
const PROGRESS_PAUSE: Duration = Duration::from_millis(50);

/// What a worker must be told while its jobs run. Called from the session's own thread.
pub trait WorkerEvents: Send + Sync {
    /// These running jobs are to be cancelled. Told once for each lease.
    fn cancel(&self, ids: Vec<JobId>);
    /// The leases of these jobs are lost: their outcomes will be stale.
    fn lost(&self, ids: Vec<JobId>);
    /// Somebody ordered something of this worker.
    fn order(&self, orders: Vec<Vec<u8>>) {
        drop(orders);
    }
}

/// A worker at a broker. Its thread renews the leases until their outcomes are in.
pub struct WorkerSession {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Inner {
    engine: Arc<Engine>,
    spec: Arc<WorkerSpec>,
    worker: WorkerRow,
    state: Mutex<SessionState>,
    changed: Condvar,
}

#[derive(Default)]
struct SessionState {
    /// Leases whose outcomes nobody has handed in.
    held: HashMap<JobId, Lease>,
    /// Those of them whose outcomes could not be written, and are handed in again.
    handed: HashSet<JobId>,
    /// Leases that nobody works under any more, and that the broker may still count as this
    /// worker's: it lives, so they would never expire.
    abandoned: Vec<Lease>,
    /// The newest report of each job that is held, and whether it is still to be written. An
    /// outcome takes it along, written or not: a write under way could come too late.
    progress: HashMap<JobId, (Progress, bool)>,
    /// Whether any is to be written.
    reports: bool,
    /// Jobs to be cancelled that the events were not told of yet.
    cancels: Vec<JobId>,
    /// Those that they were told of.
    told: HashSet<JobId>,
    /// What the worker says of itself, with the next renewal.
    report: Option<Vec<u8>>,
    /// Orders may be there.
    look_for_orders: bool,
    closed: bool,
}

impl WorkerSession {
    /// Adds a worker to the broker, and starts its thread. Blocks for one write.
    pub fn start(
        engine: Arc<Engine>,
        spec: WorkerSpec,
        events: Box<dyn WorkerEvents>,
    ) -> Result<Self, BrokerError> {
        check(&spec)?;
        let spec = Arc::new(spec);
        let for_broker = Arc::clone(&spec);
        let worker = wait(|reply| {
            engine.write(move |broker, now| broker.add_worker(&for_broker, now), reply);
        })?;
        let inner = Arc::new(Inner {
            engine,
            spec,
            worker,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let port: Arc<dyn CancelPort> = Arc::clone(&inner) as _;
        inner.engine.add_port(port);
        let keeper = Keeper::new(Arc::clone(&inner), events);
        let thread = std::thread::Builder::new()
            .name("pelton-lease".into())
            .spawn(move || keeper.run())
            .map_err(|error| BrokerError::Store(format!("no thread for the worker: {error}")))?;
        Ok(Self { inner, thread: Mutex::new(Some(thread)) })
    }

    /// Up to `limit` due jobs, once there are some; none after `patience`. They are held from the
    /// moment of the reply.
    pub fn lease(&self, limit: usize, patience: Duration, reply: Reply<Vec<LeasedJob>>) {
        let inner = Arc::clone(&self.inner);
        let keep = Reply::new(move |result: Result<Vec<LeasedJob>, BrokerError>| {
            if let Ok(jobs) = &result {
                let mut state = inner.lock();
                for job in jobs {
                    state.told.remove(&job.id);
                    state.handed.remove(&job.id);
                    state.held.insert(job.id, job.lease());
                }
            }
            reply.send(result);
        });
        let inner = &self.inner;
        inner.engine.lease(inner.worker, Arc::clone(&inner.spec), limit.max(1), patience, keep);
    }

    /// Hands in outcomes: one write for all.
    pub fn finish(&self, outcomes: Vec<Outcome>, reply: Reply<Vec<Settled>>) {
        let (held, reports) = self.let_go(&outcomes);
        let inner = Arc::clone(&self.inner);
        let written: Vec<Lease> = outcomes.iter().map(|outcome| outcome.lease).collect();
        let settle = Reply::new(move |result: Result<Vec<Settled>, BrokerError>| {
            let mut state = inner.lock();
            if result.is_err() {
                // Not written: the jobs are still this worker's, and it may try again.
                for lease in held {
                    state.handed.insert(lease.id);
                    state.held.insert(lease.id, lease);
                }
            } else {
                for lease in written {
                    state.handed.remove(&lease.id);
                }
            }
            drop(state);
            reply.send(result);
        });
        let worker = self.inner.worker;
        self.inner.engine.write(
            move |broker, now| {
                if !reports.is_empty() {
                    broker.progress(&reports)?;
                }
                broker.finish(worker, &outcomes, now, &mut Jitter::new()?)
            },
            settle,
        );
    }

    /// Gives jobs back that nobody will work on. Where that fails, it is tried again with the
    /// signs of life.
    pub fn release(&self, leases: Vec<Lease>) {
        let outcomes = releases(&leases);
        drop(self.let_go(&outcomes));
        let inner = Arc::clone(&self.inner);
        let settle = Reply::new(move |result: Result<Vec<Settled>, BrokerError>| {
            if result.is_err() {
                inner.lock().abandoned.extend(leases);
            }
        });
        let worker = self.inner.worker;
        self.inner.engine.write(
            move |broker, now| broker.finish(worker, &outcomes, now, &mut Jitter::new()?),
            settle,
        );
    }

    /// Notes progress, to be written soon; only the newest of a job is.
    pub fn progress(&self, report: Progress) {
        let mut state = self.inner.lock();
        if state.held.get(&report.lease.id) == Some(&report.lease) {
            state.progress.insert(report.lease.id, (report, true));
            state.reports = true;
            self.inner.changed.notify_one();
        }
    }

    /// The steps that a job has finished.
    pub fn steps(&self, lease: Lease, reply: Reply<Vec<(String, Vec<u8>)>>) {
        self.inner.engine.write(move |broker, _| broker.steps(lease), reply);
    }

    /// Keeps the result of a step; `false` where the lease is lost.
    pub fn save_step(&self, lease: Lease, step: String, value: Vec<u8>, reply: Reply<bool>) {
        self.inner.engine.write(move |broker, _| broker.save_step(lease, &step, &value), reply);
    }

    /// Makes a signal the result of a step; `None` where none came.
    pub fn take_signal(
        &self,
        lease: Lease,
        signal: String,
        step: String,
        reply: Reply<Option<Vec<u8>>>,
    ) {
        self.inner.engine.write(move |broker, _| broker.take_signal(lease, &signal, &step), reply);
    }

    /// What others are told of this worker, from its next sign of life.
    pub fn report(&self, report: Vec<u8>) {
        self.inner.lock().report = Some(report);
    }

    /// Ends the heartbeat and removes the worker; leases still held expire by themselves.
    pub fn close(&self) -> Result<(), BrokerError> {
        {
            let mut state = self.inner.lock();
            if state.closed {
                return Ok(());
            }
            state.closed = true;
            self.inner.changed.notify_one();
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let own = std::thread::current().id();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != own) {
            // It panicked, at worst: the leases expire, and nothing is lost.
            let _ = thread.join();
        }
        let worker = self.inner.worker;
        self.inner.engine.remove_port(worker);
        wait(|reply| {
            self.inner.engine.write(move |broker, _| broker.remove_worker(worker), reply);
        })
    }

    /// Takes the leases of `outcomes`, and what was to be reported of them, out of the state.
    fn let_go(&self, outcomes: &[Outcome]) -> (Vec<Lease>, Vec<Progress>) {
        let mut state = self.inner.lock();
        let mut held = Vec::with_capacity(outcomes.len());
        let mut reports = Vec::new();
        for outcome in outcomes {
            let id = outcome.lease.id;
            if state.held.get(&id) == Some(&outcome.lease) {
                state.held.remove(&id);
                state.told.remove(&id);
                reports.extend(state.progress.remove(&id).map(|(report, _)| report));
                held.push(outcome.lease);
            }
        }
        (held, reports)
    }
}

impl Drop for WorkerSession {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        if !state.closed {
            // Not closed in order: the thread ends without anybody waiting for it, and the
            // worker's row goes when its lease expires.
            state.closed = true;
            self.inner.changed.notify_one();
            drop(state);
            self.inner.engine.remove_port(self.inner.worker);
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, SessionState> {
        // Nothing that runs under this lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CancelPort for Inner {
    fn worker(&self) -> WorkerRow {
        self.worker
    }

    fn cancel(&self, ids: Vec<JobId>) {
        let mut state = self.lock();
        state.cancels = ids;
        self.changed.notify_one();
    }

    fn look(&self) {
        let mut state = self.lock();
        state.look_for_orders = true;
        self.changed.notify_one();
    }
}

/// The session's thread: it keeps the leases.
struct Keeper {
    inner: Arc<Inner>,
    events: Box<dyn WorkerEvents>,
    renew_every: Duration,
    renewed: Instant,
    next_renewal: Instant,
    next_progress: Instant,
}

/// What there is to do at a time.
enum Duty {
    Cancel(Vec<JobId>),
    Report(Vec<Progress>),
    Renew(Vec<Lease>),
    Orders,
    Stop,
}

impl Keeper {
    fn new(inner: Arc<Inner>, events: Box<dyn WorkerEvents>) -> Self {
        let renew_every = Duration::from_secs_f64(inner.spec.lease / 3.0);
        let now = Instant::now();
        Self {
            inner,
            events,
            renew_every,
            renewed: now,
            next_renewal: now + renew_every,
            next_progress: now,
        }
    }

    fn run(mut self) {
        loop {
            match self.next_duty() {
                Duty::Stop => return,
                Duty::Cancel(ids) => self.events.cancel(ids),
                Duty::Report(reports) => {
                    // A report that cannot be written is old by the next one.
                    let _ = wait(|reply| {
                        let write = move |broker: &mut dyn crate::broker::Broker, _| {
                            broker.progress(&reports)
                        };
                        self.inner.engine.write(write, reply);
                    });
                    self.next_progress = Instant::now() + PROGRESS_PAUSE;
                }
                Duty::Renew(held) => self.renew(held),
                Duty::Orders => self.take_orders(),
            }
        }
    }

    /// Sleeps until there is something to do.
    fn next_duty(&self) -> Duty {
        let mut state = self.inner.lock();
        loop {
            if state.closed {
                return Duty::Stop;
            }
            let SessionState { held, cancels, told, .. } = &mut *state;
            let new: Vec<JobId> =
                cancels.drain(..).filter(|id| held.contains_key(id) && told.insert(*id)).collect();
            if !new.is_empty() {
                return Duty::Cancel(new);
            }
            if std::mem::take(&mut state.look_for_orders) {
                return Duty::Orders;
            }
            let now = Instant::now();
            if self.next_renewal <= now {
                return Duty::Renew(state.held.values().copied().collect());
            }
            let mut until = self.next_renewal;
            if state.reports {
                if self.next_progress <= now {
                    state.reports = false;
                    return Duty::Report(new_reports(&mut state.progress));
                }
                until = until.min(self.next_progress);
            }
            state = self
                .inner
                .changed
                .wait_timeout(state, until - now)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn renew(&mut self, held: Vec<Lease>) {
        let (worker, spec) = (self.inner.worker, Arc::clone(&self.inner.spec));
        let asked = held.clone();
        let result = wait(|reply| {
            self.inner.engine.write(
                move |broker, now| {
                    let lost = broker.renew(worker, &spec, &asked, now)?;
                    Ok((lost, broker.cancels(worker)?))
                },
                reply,
            );
        });
        let now = Instant::now();
        let lost = match result {
            Ok((lost, cancels)) => {
                self.renewed = now;
                self.next_renewal = now + self.renew_every;
                self.inner.lock().cancels = cancels;
                lost
            }
            Err(_) => {
                self.next_renewal = now + self.renew_every.min(Duration::from_secs(1));
                if now - self.renewed > Duration::from_secs_f64(self.inner.spec.lease) {
                    self.abandon(&held);
                }
                return;
            }
        };
        self.give_up(&held, lost);
        self.give_back();
        self.take_orders();
        self.tidy();
    }

    /// Fetches what was ordered, and leaves the worker's report. What fails is tried again with
    /// the next renewal.
    fn take_orders(&self) {
        let worker = self.inner.worker;
        let report = self.inner.lock().report.take();
        let result = wait(|reply| {
            let take = move |broker: &mut dyn crate::broker::Broker, _| {
                broker.orders(worker, report.as_deref())
            };
            self.inner.engine.write(take, reply);
        });
        if let Ok(orders) = result
            && !orders.is_empty()
        {
            self.events.order(orders);
        }
    }

    /// Housekeeping, batch by batch, while there is some and others have had their turn between;
    /// for no longer than half of the time to the next renewal.
    fn tidy(&self) {
        let until = Instant::now() + self.renew_every / 2;
        let batch = || wait(|reply| self.inner.engine.write(|broker, now| broker.tidy(now), reply));
        // What fails now is tried again after the next renewal, which meets the same error.
        while batch().unwrap_or(false) && Instant::now() < until && !self.inner.lock().closed {}
    }

    /// Forgets lost leases, but for those whose outcome was handed in meanwhile (that outcome's
    /// reply tells), and says so.
    fn give_up(&self, asked: &[Lease], lost: Vec<JobId>) -> Vec<JobId> {
        let gone: Vec<JobId> = {
            let mut state = self.inner.lock();
            let still = |state: &SessionState, id: &JobId| {
                asked.iter().any(|lease| lease.id == *id && state.held.get(id) == Some(lease))
            };
            let gone = lost.into_iter().filter(|id| still(&state, id)).collect();
            for id in &gone {
                state.held.remove(id);
                state.progress.remove(id);
            }
            gone
        };
        if !gone.is_empty() {
            self.events.lost(gone.clone());
        }
        gone
    }

    /// Others may have taken the jobs by now: the broker was away for longer than a lease. If
    /// nobody did, they are this worker's again with its next sign of life, and are given back.
    fn abandon(&self, held: &[Lease]) {
        let all = held.iter().map(|lease| lease.id).collect();
        let gone: HashSet<JobId> = self.give_up(held, all).into_iter().collect();
        let mut state = self.inner.lock();
        let SessionState { handed, abandoned, .. } = &mut *state;
        // Of those with an outcome, that outcome will tell.
        let left = |lease: &&Lease| gone.contains(&lease.id) && !handed.contains(&lease.id);
        abandoned.extend(held.iter().filter(left));
    }

    /// Gives back what was abandoned. What others took meanwhile is theirs: the token tells.
    fn give_back(&self) {
        let leases = std::mem::take(&mut self.inner.lock().abandoned);
        if leases.is_empty() {
            return;
        }
        let outcomes = releases(&leases);
        let worker = self.inner.worker;
        let written = wait(|reply| {
            self.inner.engine.write(
                move |broker, now| broker.finish(worker, &outcomes, now, &mut Jitter::new()?),
                reply,
            );
        });
        if written.is_err() {
            self.inner.lock().abandoned.extend(leases);
        }
    }
}

fn releases(leases: &[Lease]) -> Vec<Outcome> {
    leases.iter().map(|lease| Outcome { lease: *lease, end: End::Release }).collect()
}

/// The reports that are still to be written, marked as written.
fn new_reports(progress: &mut HashMap<JobId, (Progress, bool)>) -> Vec<Progress> {
    let new = progress.values_mut().filter(|(_, new)| *new);
    new.map(|(report, new)| {
        *new = false;
        report.clone()
    })
    .collect()
}

/// The chance in backoff: good enough to spread retries, and seeded by the system.
struct Jitter(u64);

impl Jitter {
    fn new() -> Result<Self, BrokerError> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed)
            .map_err(|error| BrokerError::Store(format!("no random numbers: {error}")))?;
        Ok(Self(u64::from_le_bytes(seed)))
    }
}

impl Chance for Jitter {
    fn next(&mut self) -> f64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn check(spec: &WorkerSpec) -> Result<(), BrokerError> {
    crate::job::check_name("worker", &spec.name)?;
    for queue in spec.queues.iter().chain(&spec.skip) {
        crate::job::check_name("queue", queue)?;
    }
    if !(0.05..=86_400.0).contains(&spec.lease) {
        return Err(BrokerError::Invalid(format!(
            "a lease is 0.05 to 86400 seconds, not {}",
            spec.lease
        )));
    }
    Ok(())
}
