//! Jobs in one Redis (6.2 or newer), shared by the processes of a cluster.
//!
//! Every operation is one script, atomic in the server, and one round trip; it happens at once, not
//! at the end of its group, and each is safe to be found done after a crash: see docs/design.
//! All keys have one hash tag, so that a Redis Cluster keeps them together. Time is the caller's.

mod connection;
mod enqueue;
mod fields;
mod finish;
mod lease;
mod limits;
mod link;
mod listen;
mod operations;
mod pack;
mod read;
mod resp;
mod schedule;
mod script;
mod steps;
mod stream;
mod url;

use std::collections::HashMap;
use std::sync::Arc;

use self::link::{Call, Link};
use self::listen::Listening;
use self::resp::{Commands, Value};
use self::script::Script;
use self::url::Location;
use crate::broker::{
    Broker, Chance, Commit, Ears, EnqueueCall, Progress, Reader, Tick, WorkerRow, WorkerSpec,
};
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::{Edge, Lease, LeasedJob, NewJob, Outcome, Settled};
use crate::limit::{Limit, Rate, Scope};
use crate::retry::RetryPolicy;
use crate::schedule::ScheduleSpec;
use crate::time::Time;

/// The schemes of URLs that name a Redis.
pub const SCHEMES: [&str; 7] = [
    "redis",
    "rediss",
    "redis+cluster",
    "rediss+cluster",
    "redis+sentinel",
    "rediss+sentinel",
    "unix",
];

/// The layout of keys that this release reads and writes.
const SCHEMA: i64 = 2;

/// A waiting worker looks again after this long, in case a message was lost with its connection.
const LOOK_AGAIN: f64 = 2.0;

/// Beyond it, a time is no exact score of Redis: the year 2255.
const FOR_EVER: i64 = 1 << 53;

/// The broker on one Redis. One thread drives it; others get a [`Reader`].
pub struct RedisBroker {
    link: Link,
    uid: [u8; 8],
    policies: HashMap<String, i64>,
    policy_values: HashMap<i64, RetryPolicy>,
    commit: Commit,
    /// The number of writes after our last one, and whether others wrote before it.
    writes: i64,
    others_wrote: bool,
    /// For each worker, the last lease call whose answer arrived.
    received: HashMap<WorkerRow, Vec<u8>>,
    requests: u64,
    /// For each worker, the last of the orders that arrived.
    ordered: HashMap<WorkerRow, Vec<u8>>,
    listening: Option<Listening>,
    /// What the last lease in vain said of the next: for whom, and when.
    vain: Option<(Vec<String>, Vec<String>, Option<Time>)>,
}

impl RedisBroker {
    /// Connects to the server that `url` names; fails where it does not answer.
    pub fn open(url: &str) -> Result<Self, BrokerError> {
        let location = Arc::new(Location::parse(url)?);
        let mut uid = [0; 8];
        getrandom::fill(&mut uid)
            .map_err(|error| BrokerError::Store(format!("no random numbers: {error}")))?;
        let mut broker = Self {
            link: Link::new(location, uid),
            uid,
            policies: HashMap::new(),
            policy_values: HashMap::new(),
            commit: Commit::default(),
            writes: 0,
            others_wrote: false,
            received: HashMap::new(),
            requests: 0,
            ordered: HashMap::new(),
            listening: None,
            vain: None,
        };
        broker.check_schema()?;
        Ok(broker)
    }

    fn check_schema(&mut self) -> Result<(), BrokerError> {
        let key = self.link.key(&[b"schema"]);
        let mut ask = Commands::default();
        ask.add(&[b"SETNX", &key, SCHEMA.to_string().as_bytes()]);
        ask.add(&[b"GET", &key]);
        match self.link.ask(&ask)?[1].as_int() {
            Some(SCHEMA) => Ok(()),
            Some(older @ 1..SCHEMA) => Err(BrokerError::Open(format!(
                "{}: the keys of namespace {:?} were written by an older Pelton (layout {older}; \
                 this one has {SCHEMA}): let that one finish its jobs, then delete them, or use \
                 another namespace",
                self.link.location.name(),
                self.link.location.namespace
            ))),
            Some(newer) if newer > SCHEMA => Err(BrokerError::Newer(format!(
                "{}: its keys were written by a newer Pelton (schema {newer}; this one knows \
                 {SCHEMA}): upgrade Pelton, or use another namespace",
                self.link.location.name()
            ))),
            _ => Err(BrokerError::Open(format!(
                "{}: the keys of namespace {:?} are not ours: use another namespace",
                self.link.location.name(),
                self.link.location.namespace
            ))),
        }
    }

    /// Runs a script that writes, and notes whether others wrote in between.
    fn write(&mut self, call: &Call) -> Result<std::vec::IntoIter<Value>, BrokerError> {
        let mut answer = self.link.call(call)?.into_array().into_iter();
        let writes = answer.next().and_then(|value| value.as_int()).unwrap_or(self.writes);
        self.others_wrote |= writes > self.writes + 1;
        self.writes = writes;
        if answer.next().and_then(|value| value.as_int()) == Some(1) {
            self.note_work();
        }
        let changed = answer.next().and_then(Value::into_bytes).unwrap_or_default();
        let changed = changed.chunks_exact(16).filter_map(id_from);
        self.commit.changed.extend(changed);
        Ok(answer)
    }

    /// A name for a call that the server must know again.
    fn request(&mut self) -> Vec<u8> {
        self.requests += 1;
        [&self.uid[..], &self.requests.to_be_bytes()].concat()
    }

    /// Work may be there now, for those who wait in this process.
    fn note_work(&mut self) {
        self.commit.work = true;
        self.vain = None;
    }

    fn unexpected(&self, what: &str) -> BrokerError {
        BrokerError::Store(format!(
            "{}: an unexpected answer about {what}: are its keys written by another program?",
            self.link.location.name()
        ))
    }

    fn worker_call(script: Script, worker: WorkerRow, spec: &WorkerSpec, now: Time) -> Call {
        let mut call = Call::new(script, now);
        call.text(worker.0).text(now.after(spec.lease).0);
        call.bytes(spec.name.as_bytes()).bytes(spec.hostname.as_bytes()).text(spec.pid);
        call.bytes(spec.queues.join("\n").as_bytes()).text(spec.concurrency);
        call
    }

    fn control(
        &mut self,
        what: &str,
        id: JobId,
        reason: &str,
        now: Time,
    ) -> Result<Value, BrokerError> {
        let mut call = Call::new(Script::Control, now);
        call.bytes(what.as_bytes()).bytes(reason.as_bytes()).bytes(id.as_bytes());
        Ok(self.write(&call)?.next().unwrap_or(Value::Nil))
    }
}

fn id_from(bytes: &[u8]) -> Option<JobId> {
    bytes.try_into().ok().map(JobId::from_bytes)
}

impl Broker for RedisBroker {
    fn begin(&mut self) -> Result<(), BrokerError> {
        self.commit = Commit::default();
        Ok(())
    }

    fn commit(&mut self) -> Result<Commit, BrokerError> {
        Ok(std::mem::take(&mut self.commit))
    }

    fn enqueue(
        &mut self,
        jobs: &[Arc<NewJob>],
        edges: &[Edge],
        now: Time,
    ) -> Result<Vec<JobId>, BrokerError> {
        self.enqueue_jobs(jobs, edges, now)
    }

    fn enqueue_all(
        &mut self,
        calls: &[EnqueueCall],
        now: Time,
    ) -> Vec<Result<Vec<JobId>, BrokerError>> {
        self.enqueue_calls(calls, now)
    }

    fn lease(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        limit: usize,
        now: Time,
    ) -> Result<Vec<LeasedJob>, BrokerError> {
        self.lease_jobs(worker, spec, limit, now)
    }

    fn finish(
        &mut self,
        worker: WorkerRow,
        outcomes: &[Outcome],
        now: Time,
        chance: &mut dyn Chance,
    ) -> Result<Vec<Settled>, BrokerError> {
        self.finish_jobs(worker, outcomes, now, chance)
    }

    fn progress(&mut self, reports: &[Progress]) -> Result<(), BrokerError> {
        let mut call = Call::new(Script::Progress, Time(0));
        for Progress { lease, fraction, message } in reports {
            call.bytes(lease.id.as_bytes()).text(lease.token).text(fraction);
            call.text(u8::from(message.is_some()));
            call.bytes(message.as_deref().unwrap_or_default().as_bytes());
        }
        self.write(&call)?;
        Ok(())
    }

    fn cancel(&mut self, id: JobId, reason: &str, now: Time) -> Result<bool, BrokerError> {
        let done = self.control("cancel", id, reason, now)?.as_int() == Some(1);
        self.commit.cancels |= done;
        Ok(done)
    }

    fn retry(&mut self, id: JobId, now: Time) -> Result<bool, BrokerError> {
        let answer = self.control("retry", id, "", now)?;
        let why = match answer.as_int() {
            Some(done) => return Ok(done == 1),
            None => answer.into_text().unwrap_or_default(),
        };
        crate::workflow::check_needed(id, Some(&why))?;
        Err(match why.as_str() {
            "key" => BrokerError::Invalid(format!(
                "job {id} cannot run again now: an unfinished job has its key"
            )),
            "orphan" => BrokerError::Invalid(format!(
                "job {id} cannot run again: the record of a job that it waits for is gone"
            )),
            _ => self.unexpected("a retry"),
        })
    }

    fn delete(&mut self, id: JobId, now: Time) -> Result<bool, BrokerError> {
        Ok(self.control("delete", id, "", now)?.as_int() == Some(1))
    }

    fn set_paused(&mut self, queue: &str, paused: bool) -> Result<(), BrokerError> {
        crate::job::check_name("queue", queue)?;
        let mut call = Call::new(Script::Pause, Time(0));
        call.bytes(queue.as_bytes()).text(u8::from(paused));
        self.write(&call)?;
        Ok(())
    }

    fn add_worker(&mut self, spec: &WorkerSpec, now: Time) -> Result<WorkerRow, BrokerError> {
        let mut call = Self::worker_call(Script::Worker, WorkerRow(0), spec, now);
        call.bytes(b"add");
        let row = self.write(&call)?.next().and_then(|value| value.as_int());
        let row = WorkerRow(row.ok_or_else(|| self.unexpected("a worker"))?);
        self.received.insert(row, b"none yet".to_vec());
        self.vain = None;
        Ok(row)
    }

    fn renew(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        held: &[Lease],
        now: Time,
    ) -> Result<Vec<JobId>, BrokerError> {
        let mut call = Self::worker_call(Script::Worker, worker, spec, now);
        call.bytes(b"renew");
        for lease in held {
            call.bytes(lease.id.as_bytes()).text(lease.token);
        }
        let lost = self.write(&call)?.next().unwrap_or(Value::Nil).into_array();
        let lost = lost.into_iter().filter_map(Value::into_bytes);
        Ok(lost.filter_map(|id| id_from(&id)).collect())
    }

    fn remove_worker(&mut self, worker: WorkerRow) -> Result<(), BrokerError> {
        let mut call = Call::new(Script::Worker, Time(0));
        call.text(worker.0);
        for _ in 0..6 {
            call.bytes(b"");
        }
        call.bytes(b"remove");
        self.write(&call)?;
        self.received.remove(&worker);
        self.ordered.remove(&worker);
        Ok(())
    }

    fn declare(
        &mut self,
        owner: &str,
        schedules: &[ScheduleSpec],
        now: Time,
    ) -> Result<(), BrokerError> {
        self.declare_schedules(owner, schedules, false, now)
    }

    fn tick(&mut self, leader: &str, now: Time) -> Result<Tick, BrokerError> {
        self.fire_schedules(leader, now)
    }

    fn resign(&mut self, leader: &str) -> Result<(), BrokerError> {
        let mut call = Call::new(Script::Lead, Time(0));
        call.bytes(leader.as_bytes()).bytes(b"");
        self.write(&call)?;
        Ok(())
    }

    fn tidy(&mut self, now: Time) -> Result<bool, BrokerError> {
        let more = self.write(&Call::new(Script::Tidy, now))?.next();
        Ok(more.and_then(|value| value.as_int()) == Some(1))
    }

    fn work_at(&mut self, spec: &WorkerSpec, now: Time) -> Result<Option<Time>, BrokerError> {
        self.next_work(spec, now)
    }

    fn was_changed_by_others(&mut self) -> Result<bool, BrokerError> {
        let key = self.link.key(&[b"writes"]);
        let mut ask = Commands::default();
        ask.add(&[b"GET", &key]);
        let writes = self.link.ask(&ask)?[0].as_int().unwrap_or(0);
        let changed = self.others_wrote || writes != self.writes;
        (self.writes, self.others_wrote) = (writes, false);
        Ok(changed)
    }

    fn cancels(&mut self, worker: WorkerRow) -> Result<Vec<JobId>, BrokerError> {
        let key = self.link.key(&[b"c", worker.0.to_string().as_bytes()]);
        let mut ask = Commands::default();
        ask.add(&[b"SMEMBERS", &key]);
        let ids = self.link.ask(&ask)?.swap_remove(0).into_array().into_iter();
        Ok(ids.filter_map(Value::into_bytes).filter_map(|id| id_from(&id)).collect())
    }

    fn save_step(&mut self, lease: Lease, step: &str, value: &[u8]) -> Result<bool, BrokerError> {
        self.write_step(lease, step, value)
    }

    fn steps(&mut self, lease: Lease) -> Result<Vec<(String, Vec<u8>)>, BrokerError> {
        self.steps_of(lease)
    }

    fn take_signal(
        &mut self,
        lease: Lease,
        signal: &str,
        step: &str,
    ) -> Result<Option<Vec<u8>>, BrokerError> {
        self.signal_to_step(lease, signal, step)
    }

    fn signal(
        &mut self,
        id: JobId,
        signal: &str,
        value: &[u8],
        now: Time,
    ) -> Result<bool, BrokerError> {
        self.send_signal(id, signal, value, now)
    }

    fn set_limit(&mut self, scope: &Scope, limit: Option<&Limit>) -> Result<(), BrokerError> {
        self.write_limit(scope, limit, false)
    }

    fn declare_limit(&mut self, scope: &Scope, limit: Option<&Limit>) -> Result<(), BrokerError> {
        self.write_limit(scope, limit, true)
    }

    fn acquire(
        &mut self,
        bucket: &str,
        rate: Rate,
        cost: f64,
        now: Time,
    ) -> Result<Option<Time>, BrokerError> {
        self.take_from(bucket, rate, cost, now)
    }

    fn cancel_group(&mut self, group: &str, reason: &str, now: Time) -> Result<u64, BrokerError> {
        self.cancel_all_of(group, reason, now)
    }

    fn purge_queue(&mut self, queue: &str, limit: u32, now: Time) -> Result<u64, BrokerError> {
        self.cancel_unstarted_of(queue, limit, now)
    }

    fn put_schedule(
        &mut self,
        owner: &str,
        schedule: &ScheduleSpec,
        now: Time,
    ) -> Result<(), BrokerError> {
        self.declare_schedules(owner, std::slice::from_ref(schedule), true, now)
    }

    fn remove_schedule(&mut self, name: &str) -> Result<bool, BrokerError> {
        self.delete_schedule(name)
    }

    fn pause_schedule(&mut self, name: &str, paused: bool, now: Time) -> Result<bool, BrokerError> {
        self.rest_schedule(name, paused, now)
    }

    fn run_schedule(&mut self, name: &str, now: Time) -> Result<Option<JobId>, BrokerError> {
        self.fire_now(name, now)
    }

    fn order_workers(
        &mut self,
        name: Option<&str>,
        order: &[u8],
        now: Time,
    ) -> Result<u64, BrokerError> {
        self.write_orders(name, order, now)
    }

    fn orders(
        &mut self,
        worker: WorkerRow,
        report: Option<&[u8]>,
    ) -> Result<Vec<Vec<u8>>, BrokerError> {
        self.take_orders(worker, report)
    }

    fn listen(&mut self, ears: Arc<dyn Ears>) -> Result<bool, BrokerError> {
        let location = Arc::clone(&self.link.location);
        self.listening = Some(Listening::start(location, self.link.key(&[]), ears)?);
        Ok(true)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, BrokerError> {
        Ok(Box::new(read::RedisReader::new(Link::new(Arc::clone(&self.link.location), self.uid))))
    }
}
