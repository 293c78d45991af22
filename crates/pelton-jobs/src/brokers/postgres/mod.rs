//! Jobs in tables of a PostgreSQL database.
//!
//! A group of operations is one transaction; jobs are leased with `SKIP LOCKED`, and others are told
//! of a commit by `NOTIFY`. An operation that can fail by itself is a savepoint, or checks before it
//! writes. Time is the caller's.

mod control;
mod enqueue;
mod family;
mod fault;
mod finish;
mod lease;
mod link;
mod listen;
mod read;
mod schedule;
mod schema;
mod worker;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use postgres::{Client, Row};

use self::fault::Fault;
use self::link::{Link, Location};
use self::listen::Listening;
use crate::broker::{
    Broker, Chance, Commit, Ears, EnqueueCall, Progress, Reader, Tick, WorkerRow, WorkerSpec,
};
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::{Edge, Lease, LeasedJob, NewJob, Outcome, Settled};
use crate::retry::RetryPolicy;
use crate::schedule::ScheduleSpec;
use crate::state::State;
use crate::time::Time;

/// Ids in one notification, which has 8000 bytes at most.
const NOTIFY_IDS: usize = 240;

/// Times that a question is asked again, each on a new connection.
const TRIES_MAX: u32 = 10;

/// Queues known to be in their table; a program that makes names up must not fill the memory.
const QUEUES_MAX: usize = 10_000;

/// The broker on one database. One thread drives it; others get a [`Reader`].
pub struct PostgresBroker {
    link: Link,
    uid: String,
    queues: HashSet<String>,
    /// When each worker gave its last sign of life.
    touched: HashMap<WorkerRow, Time>,
    group: Group,
    /// Leases whose commit was not answered: they may hold, and nobody has them.
    unsure: Vec<(WorkerRow, Lease)>,
    listening: Option<Listening>,
    /// For `was_changed_by_others`, once somebody asks.
    overheard: Option<Client>,
}

/// What the operations of a group leave for its end.
#[derive(Default)]
struct Group {
    work: bool,
    cancels: bool,
    changed: Vec<JobId>,
    leased: Vec<(WorkerRow, Lease)>,
    /// How many of the unsure leases it gave back, from the first on.
    returned: usize,
    /// Changes to the number of jobs, by queue and state.
    counts: BTreeMap<(String, i16), i64>,
    /// The fault that ended the whole transaction, not just its operation.
    broken: Option<BrokerError>,
}

impl PostgresBroker {
    /// Connects to the database that `url` names, and makes or migrates the tables.
    pub fn open(url: &str) -> Result<Self, BrokerError> {
        let location = Location::parse(url)?;
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes)
            .map_err(|error| BrokerError::Store(format!("no random numbers: {error}")))?;
        let mut link = Link::new(location);
        link.ready()?;
        schema::prepare(&mut link).map_err(|fault| fault.explain(&link.location.name))?;
        Ok(Self {
            link,
            uid: format!("{:016x}", u64::from_be_bytes(bytes)),
            queues: HashSet::new(),
            touched: HashMap::new(),
            group: Group::default(),
            unsure: Vec::new(),
            listening: None,
            overheard: None,
        })
    }

    /// Notes that a job of `queue` moved; `None` is before the first and after the last state.
    fn moved(&mut self, queue: &str, from: Option<State>, to: Option<State>) {
        for (state, by) in [(from, -1), (to, 1)] {
            if let Some(state) = state {
                *self.group.counts.entry((queue.to_owned(), state as i16)).or_default() += by;
            }
        }
        self.group.work |= matches!(to, Some(State::Queued | State::Scheduled));
    }

    /// Adds queues that are new.
    fn know_queues(&mut self, queues: HashSet<&str>) -> Result<(), Fault> {
        let mut new: Vec<&str> =
            queues.into_iter().filter(|name| !self.queues.contains(*name)).collect();
        if new.is_empty() {
            return Ok(());
        }
        new.sort_unstable();
        self.link.execute(
            "INSERT INTO pelton_queues (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING",
            &[&new],
        )?;
        if self.queues.len() + new.len() > QUEUES_MAX {
            self.queues.clear();
        }
        self.queues.extend(new.into_iter().map(str::to_owned));
        Ok(())
    }

    /// Runs one operation that writes nothing before it has checked everything.
    fn checked<T>(
        &mut self,
        operation: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, BrokerError> {
        if let Some(broken) = &self.group.broken {
            return Err(broken.clone());
        }
        operation(self).map_err(|fault| self.note_fault(fault))
    }

    /// Runs one operation in a savepoint: all of it happens, or nothing.
    fn atomic<T>(
        &mut self,
        operation: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, BrokerError> {
        self.checked(|broker| {
            let before = broker.group.counts.clone();
            let changed = broker.group.changed.len();
            broker.link.batch("SAVEPOINT operation")?;
            let result = operation(broker);
            match result {
                Ok(value) => {
                    broker.link.batch("RELEASE operation")?;
                    Ok(value)
                }
                Err(Fault::Ours(error)) => {
                    broker.link.batch("ROLLBACK TO operation; RELEASE operation")?;
                    // Queues that the operation added are gone with it.
                    broker.queues.clear();
                    broker.group.counts = before;
                    broker.group.changed.truncate(changed);
                    Err(Fault::Ours(error))
                }
                other => other,
            }
        })
    }

    /// A fault of PostgreSQL's ends the whole transaction.
    fn note_fault(&mut self, fault: Fault) -> BrokerError {
        if matches!(fault, Fault::Lost(_)) {
            self.link.drop_connection();
        }
        let ours = matches!(fault, Fault::Ours(_));
        let error = fault.explain(&self.link.location.name);
        if !ours {
            self.group.broken = Some(error.clone());
        }
        error
    }

    fn commit_group(&mut self) -> Result<(), Fault> {
        let counts = std::mem::take(&mut self.group.counts);
        let counts: Vec<_> = counts.into_iter().filter(|(_, by)| *by != 0).collect();
        let queues: Vec<&str> = counts.iter().map(|((queue, _), _)| queue.as_str()).collect();
        let states: Vec<i16> = counts.iter().map(|((_, state), _)| *state).collect();
        let numbers: Vec<i64> = counts.iter().map(|(_, by)| *by).collect();
        let mut messages = Vec::new();
        if self.group.work {
            messages.push(format!("work {}", self.uid));
        }
        if self.group.cancels {
            messages.push(format!("cancels {}", self.uid));
        }
        for ids in self.group.changed.chunks(NOTIFY_IDS) {
            let ids: String = ids.iter().map(ToString::to_string).collect();
            messages.push(format!("{ids} {}", self.uid));
        }
        if !counts.is_empty() || !messages.is_empty() {
            self.link.query(
                "WITH counted AS (INSERT INTO pelton_counts (queue, state, n) \
                 SELECT * FROM unnest($1::text[], $2::smallint[], $3::bigint[])) \
                 SELECT pg_notify(pelton_channel(), message) FROM unnest($4::text[]) message",
                &[&queues, &states, &numbers, &messages],
            )?;
        }
        self.link.batch("COMMIT")
    }

    /// For questions outside a group.
    fn ask<T>(
        &mut self,
        mut question: impl FnMut(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, BrokerError> {
        let mut tries = 0;
        loop {
            self.link.ready()?;
            match question(self) {
                Err(Fault::Lost(_)) if tries < TRIES_MAX => self.link.drop_connection(),
                other => return other.map_err(|fault| fault.explain(&self.link.location.name)),
            }
            tries += 1;
        }
    }

    fn enqueue_one(&mut self, call: &EnqueueCall, now: Time) -> Result<Vec<JobId>, BrokerError> {
        let jobs: Vec<&Arc<NewJob>> = call.jobs.iter().collect();
        if call.edges.is_empty() {
            return self.checked(|broker| broker.enqueue_jobs(&jobs, &[], call.again, now));
        }
        self.atomic(|broker| broker.enqueue_jobs(&jobs, &call.edges, call.again, now))
    }
}

impl Broker for PostgresBroker {
    fn begin(&mut self) -> Result<(), BrokerError> {
        self.group = Group::default();
        // A connection that broke while nobody looked had nothing under way.
        self.ask(|broker| broker.link.batch("BEGIN"))
    }

    fn commit(&mut self) -> Result<Commit, BrokerError> {
        let ended = match self.group.broken.take() {
            Some(broken) => Err(broken),
            None => self.commit_group().map_err(|fault| self.note_fault(fault)),
        };
        if let Err(error) = ended {
            self.queues.clear();
            self.touched.clear();
            let leased = std::mem::take(&mut self.group.leased);
            self.unsure.extend(leased);
            if self.link.batch("ROLLBACK").is_err() {
                self.link.drop_connection();
            }
            return Err(error);
        }
        let Group { work, cancels, changed, returned, .. } = std::mem::take(&mut self.group);
        self.unsure.drain(..returned);
        Ok(Commit { work, cancels, changed, ..Commit::default() })
    }

    fn enqueue(
        &mut self,
        jobs: &[Arc<NewJob>],
        edges: &[Edge],
        now: Time,
    ) -> Result<Vec<JobId>, BrokerError> {
        let call = EnqueueCall { jobs: jobs.to_vec(), edges: edges.to_vec(), again: false };
        self.enqueue_one(&call, now)
    }

    fn enqueue_all(
        &mut self,
        calls: &[EnqueueCall],
        now: Time,
    ) -> Vec<Result<Vec<JobId>, BrokerError>> {
        let plain = |call: &EnqueueCall| {
            let fits = |job: &Arc<NewJob>| job.key.is_none();
            call.edges.is_empty() && !call.again && call.jobs.iter().all(fits)
        };
        if calls.len() > 1 && calls.iter().all(plain) {
            let jobs: Vec<&Arc<NewJob>> = calls.iter().flat_map(|call| &call.jobs).collect();
            let together = self.checked(|broker| broker.enqueue_jobs(&jobs, &[], false, now));
            match together {
                Ok(_) => {
                    let ids = |call: &EnqueueCall| call.jobs.iter().map(|job| job.id).collect();
                    return calls.iter().map(|call| Ok(ids(call))).collect();
                }
                // One of them is wrong, and must not hurt the others.
                Err(BrokerError::Invalid(_) | BrokerError::Unsupported(_)) => {}
                Err(error) => return calls.iter().map(|_| Err(error.clone())).collect(),
            }
        }
        calls.iter().map(|call| self.enqueue_one(call, now)).collect()
    }

    fn lease(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        limit: usize,
        now: Time,
    ) -> Result<Vec<LeasedJob>, BrokerError> {
        self.checked(|broker| broker.lease_jobs(worker, spec, limit, now))
    }

    fn finish(
        &mut self,
        worker: WorkerRow,
        outcomes: &[Outcome],
        now: Time,
        chance: &mut dyn Chance,
    ) -> Result<Vec<Settled>, BrokerError> {
        self.checked(|broker| broker.finish_jobs(worker, outcomes, now, chance))
    }

    fn progress(&mut self, reports: &[Progress]) -> Result<(), BrokerError> {
        self.checked(|broker| broker.write_progress(reports))
    }

    fn cancel(&mut self, id: JobId, reason: &str, now: Time) -> Result<bool, BrokerError> {
        self.checked(|broker| broker.cancel_job(id, reason, now))
    }

    fn retry(&mut self, id: JobId, now: Time) -> Result<bool, BrokerError> {
        self.checked(|broker| broker.retry_job(id, now))
    }

    fn delete(&mut self, id: JobId, now: Time) -> Result<bool, BrokerError> {
        self.checked(|broker| broker.delete_job(id, now))
    }

    fn set_paused(&mut self, queue: &str, paused: bool) -> Result<(), BrokerError> {
        self.checked(|broker| broker.pause_queue(queue, paused))
    }

    fn add_worker(&mut self, spec: &WorkerSpec, now: Time) -> Result<WorkerRow, BrokerError> {
        self.checked(|broker| broker.insert_worker(spec, now))
    }

    fn renew(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        held: &[Lease],
        now: Time,
    ) -> Result<Vec<JobId>, BrokerError> {
        self.checked(|broker| broker.renew_leases(worker, spec, held, now))
    }

    fn remove_worker(&mut self, worker: WorkerRow) -> Result<(), BrokerError> {
        self.checked(|broker| broker.delete_worker(worker))
    }

    fn declare(
        &mut self,
        owner: &str,
        schedules: &[ScheduleSpec],
        now: Time,
    ) -> Result<(), BrokerError> {
        self.atomic(|broker| broker.declare_schedules(owner, schedules, now))
    }

    fn tick(&mut self, leader: &str, now: Time) -> Result<Tick, BrokerError> {
        self.atomic(|broker| broker.fire_schedules(leader, now))
    }

    fn resign(&mut self, leader: &str) -> Result<(), BrokerError> {
        self.checked(|broker| broker.give_up_lead(leader))
    }

    fn tidy(&mut self, now: Time) -> Result<bool, BrokerError> {
        self.checked(|broker| broker.tidy_up(now))
    }

    fn work_at(&mut self, spec: &WorkerSpec, now: Time) -> Result<Option<Time>, BrokerError> {
        self.ask(|broker| broker.next_work(spec, now))
    }

    fn was_changed_by_others(&mut self) -> Result<bool, BrokerError> {
        let heard = match self.overheard.as_mut() {
            Some(client) => listen::others_wrote(client, &self.uid),
            None => Err(Fault::Lost("not listening yet".into())),
        };
        match heard {
            Ok(wrote) => Ok(wrote),
            Err(Fault::Lost(_)) => {
                self.link.ready()?;
                let client = listen::subscribe(&self.link.location);
                self.overheard =
                    Some(client.map_err(|fault| fault.explain(&self.link.location.name))?);
                Ok(true)
            }
            Err(fault) => Err(fault.explain(&self.link.location.name)),
        }
    }

    fn cancels(&mut self, worker: WorkerRow) -> Result<Vec<JobId>, BrokerError> {
        // Within a group, too: a lost connection is the group's to tell.
        match self.cancelled_of(worker) {
            Err(Fault::Lost(_)) => self.ask(|broker| broker.cancelled_of(worker)),
            other => other.map_err(|fault| fault.explain(&self.link.location.name)),
        }
    }

    fn listen(&mut self, ears: Arc<dyn Ears>) -> Result<bool, BrokerError> {
        let location = self.link.location.clone();
        self.listening = Some(Listening::start(location, self.uid.clone(), ears)?);
        Ok(true)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, BrokerError> {
        Ok(Box::new(read::PostgresReader::new(Link::new(self.link.location.clone()))))
    }
}

/// Reads a job's id from a column.
fn id_at(row: &Row, column: usize) -> JobId {
    // INVARIANT: the table's constraints, and our own writing, allow 16 bytes only.
    let bytes: &[u8] = row.get(column);
    JobId::from_bytes(bytes.try_into().unwrap_or([0; 16]))
}

/// Reads a state from a column.
fn state_at(row: &Row, column: usize) -> Result<State, Fault> {
    let number: i16 = row.get(column);
    State::from_number(number.into())
        .ok_or_else(|| Fault::Ours(BrokerError::Store(format!("a job has the state {number}"))))
}

/// PostgreSQL does not store null characters.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// One that was written by another program, and means nothing, is the usual one: its job must not
/// keep those beside it from being leased, or their outcomes from being written.
fn read_policy(text: &str) -> RetryPolicy {
    RetryPolicy::from_text(text).unwrap_or_default()
}
