//! Jobs in tables of a PostgreSQL database.
//!
//! A group of operations is one transaction, each operation after the first a savepoint in it; jobs
//! are leased with `SKIP LOCKED`, and others are told of a commit by `NOTIFY`. Time is the caller's.

mod bulk;
mod control;
mod encrypted;
mod enqueue;
mod family;
mod fault;
mod finish;
mod group;
mod history;
mod lease;
mod limits;
mod link;
mod listen;
mod location;
mod read;
mod schedule;
mod schema;
mod steps;
mod tidy;
mod worker;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use postgres::{Client, Row};

use self::fault::Fault;
use self::group::Group;
use self::link::Link;
use self::listen::Listening;
use self::location::Location;
use crate::broker::{
    Broker, Chance, Commit, Ears, EnqueueCall, Progress, Reader, Tick, WorkerRow, WorkerSpec,
};
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::{Edge, Lease, LeasedJob, NewJob, Outcome, Settled, check_name};
use crate::limit::{Limit, Rate, Scope};
use crate::retry::RetryPolicy;
use crate::schedule::ScheduleSpec;
use crate::state::State;
use crate::time::Time;

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
    /// Which of its queues a worker is served first: the next one each time.
    turn: usize,
    /// Whether there were limits when last looked at: then an attempt's end may let others begin.
    limited: bool,
    /// When a wait for another's transaction was in vain.
    blocked_at: Option<Instant>,
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
            turn: 0,
            limited: false,
            blocked_at: None,
        })
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
            "INSERT INTO pelton_queues (name) SELECT new FROM unnest($1::text[]) new WHERE NOT \
             EXISTS (SELECT 1 FROM pelton_queues WHERE name = new) ON CONFLICT DO NOTHING",
            &[&new],
        )?;
        if self.queues.len() + new.len() > QUEUES_MAX {
            self.queues.clear();
        }
        self.queues.extend(new.into_iter().map(str::to_owned));
        Ok(())
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
        self.atomic(|broker| broker.enqueue_jobs(&jobs, &call.edges, call.again, now))
    }
}

impl Broker for PostgresBroker {
    fn begin(&mut self) -> Result<(), BrokerError> {
        self.group = Group::default();
        self.link.ready()?;
        let begin = format!("BEGIN{}", self.shorter_wait());
        self.link.begin(&begin);
        Ok(())
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
        let Group { work, cancels, orders, changed, returned, .. } =
            std::mem::take(&mut self.group);
        self.unsure.drain(..returned);
        Ok(Commit { work, cancels, orders, changed })
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
            if self.atomic(|broker| broker.enqueue_jobs(&jobs, &[], false, now)).is_ok() {
                let ids = |call: &EnqueueCall| call.jobs.iter().map(|job| job.id).collect();
                return calls.iter().map(|call| Ok(ids(call))).collect();
            }
            // One of them is wrong, and must not hurt the others.
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
        self.atomic(|broker| broker.lease_jobs(worker, spec, limit, now))
    }

    fn finish(
        &mut self,
        worker: WorkerRow,
        outcomes: &[Outcome],
        now: Time,
        chance: &mut dyn Chance,
    ) -> Result<Vec<Settled>, BrokerError> {
        self.atomic(|broker| broker.finish_jobs(worker, outcomes, now, chance))
    }

    fn progress(&mut self, reports: &[Progress]) -> Result<(), BrokerError> {
        self.atomic(|broker| broker.write_progress(reports))
    }

    fn cancel(&mut self, id: JobId, reason: &str, now: Time) -> Result<bool, BrokerError> {
        self.atomic(|broker| broker.cancel_job(id, reason, now))
    }

    fn retry(&mut self, id: JobId, now: Time) -> Result<bool, BrokerError> {
        self.atomic(|broker| broker.retry_job(id, now))
    }

    fn delete(&mut self, id: JobId, now: Time) -> Result<bool, BrokerError> {
        self.atomic(|broker| broker.delete_job(id, now))
    }

    fn set_paused(&mut self, queue: &str, paused: bool) -> Result<(), BrokerError> {
        self.atomic(|broker| broker.pause_queue(queue, paused))
    }

    fn add_worker(&mut self, spec: &WorkerSpec, now: Time) -> Result<WorkerRow, BrokerError> {
        self.atomic(|broker| broker.insert_worker(spec, now))
    }

    fn renew(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        held: &[Lease],
        now: Time,
    ) -> Result<Vec<JobId>, BrokerError> {
        self.atomic(|broker| broker.renew_leases(worker, spec, held, now))
    }

    fn remove_worker(&mut self, worker: WorkerRow) -> Result<(), BrokerError> {
        self.atomic(|broker| broker.delete_worker(worker))
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
        self.atomic(|broker| broker.give_up_lead(leader))
    }

    fn tidy(&mut self, now: Time) -> Result<bool, BrokerError> {
        self.atomic(|broker| broker.tidy_up(now))
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

    fn save_step(&mut self, lease: Lease, step: &str, value: &[u8]) -> Result<bool, BrokerError> {
        self.atomic(|broker| broker.write_step(lease, step, value))
    }

    fn steps(&mut self, lease: Lease) -> Result<Vec<(String, Vec<u8>)>, BrokerError> {
        // Within a group, too: a lost connection is the group's to tell.
        match self.steps_of(lease) {
            Err(Fault::Lost(_)) => self.ask(|broker| broker.steps_of(lease)),
            other => other.map_err(|fault| fault.explain(&self.link.location.name)),
        }
    }

    fn take_signal(
        &mut self,
        lease: Lease,
        signal: &str,
        step: &str,
    ) -> Result<Option<Vec<u8>>, BrokerError> {
        self.atomic(|broker| broker.signal_to_step(lease, signal, step))
    }

    fn signal(
        &mut self,
        id: JobId,
        signal: &str,
        value: &[u8],
        now: Time,
    ) -> Result<bool, BrokerError> {
        self.atomic(|broker| broker.send_signal(id, signal, value, now))
    }

    fn set_limit(&mut self, scope: &Scope, limit: Option<&Limit>) -> Result<(), BrokerError> {
        self.atomic(|broker| broker.write_limit(scope, limit, false))
    }

    fn declare_limit(&mut self, scope: &Scope, limit: Option<&Limit>) -> Result<(), BrokerError> {
        self.atomic(|broker| broker.write_limit(scope, limit, true))
    }

    fn acquire(
        &mut self,
        bucket: &str,
        rate: Rate,
        cost: f64,
        now: Time,
    ) -> Result<Option<Time>, BrokerError> {
        self.atomic(|broker| broker.take_from(bucket, rate, cost, now))
    }

    fn cancel_group(&mut self, group: &str, reason: &str, now: Time) -> Result<u64, BrokerError> {
        self.atomic(|broker| broker.cancel_all_of(group, reason, now))
    }

    fn purge_queue(&mut self, queue: &str, limit: u32, now: Time) -> Result<u64, BrokerError> {
        self.atomic(|broker| broker.cancel_unstarted_of(queue, limit, now))
    }

    fn put_schedule(
        &mut self,
        owner: &str,
        schedule: &ScheduleSpec,
        now: Time,
    ) -> Result<(), BrokerError> {
        self.atomic(|broker| broker.add_schedule(owner, schedule, now))
    }

    fn remove_schedule(&mut self, name: &str) -> Result<bool, BrokerError> {
        self.atomic(|broker| broker.delete_schedule(name))
    }

    fn pause_schedule(&mut self, name: &str, paused: bool, now: Time) -> Result<bool, BrokerError> {
        self.atomic(|broker| broker.rest_schedule(name, paused, now))
    }

    fn run_schedule(&mut self, name: &str, now: Time) -> Result<Option<JobId>, BrokerError> {
        self.atomic(|broker| broker.fire_now(name, now))
    }

    fn order_workers(
        &mut self,
        name: Option<&str>,
        order: &[u8],
        now: Time,
    ) -> Result<u64, BrokerError> {
        self.atomic(|broker| broker.write_orders(name, order, now))
    }

    fn orders(
        &mut self,
        worker: WorkerRow,
        report: Option<&[u8]>,
    ) -> Result<Vec<Vec<u8>>, BrokerError> {
        self.atomic(|broker| broker.take_orders(worker, report))
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

/// Refuses a name that is not one, or that PostgreSQL does not store.
fn check_text(what: &str, name: &str) -> Result<(), BrokerError> {
    check_name(what, name)?;
    if name.contains('\0') {
        return Err(BrokerError::Invalid(format!(
            "the {what} {name:?} has a null character in it, which PostgreSQL does not store"
        )));
    }
    Ok(())
}

/// When a record may be removed, `now` being its job's end: not before a second try of its enqueue,
/// whose answer was lost, could come and find that it is not there. That is a minute at least.
macro_rules! purge_at {
    ($now:literal) => {
        purge_at!($now, "0")
    };
    ($now:literal, $least:literal) => {
        concat!(
            "greatest(",
            $now,
            "::bigint + (greatest(result_ttl, ",
            $least,
            ") * 1000000)::bigint, created_at + 60000000)"
        )
    };
}
use purge_at;

/// One that was written by another program, and means nothing, is the usual one: its job must not
/// keep those beside it from being leased, or their outcomes from being written.
fn read_policy(text: &str) -> RetryPolicy {
    RetryPolicy::from_text(text).unwrap_or_default()
}
