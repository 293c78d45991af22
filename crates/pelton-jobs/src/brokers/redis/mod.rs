//! Jobs in one Redis (6.2 or newer), shared by the processes of a cluster.
//!
//! Every operation is one script, atomic in the server, and one round trip; it happens at once, not
//! at the end of its group, and each is safe to be found done after a crash: see docs/design.
//! All keys have one hash tag, so that a Redis Cluster keeps them together. Time is the caller's.

mod connection;
mod enqueue;
mod fields;
mod link;
mod listen;
mod pack;
mod read;
mod resp;
mod schedule;
mod script;
mod url;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

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
use crate::job::{Edge, End, Lease, LeasedJob, NewJob, Outcome, Settled, check_blob};
use crate::retry::{RetryPolicy, Verdict};
use crate::schedule::ScheduleSpec;
use crate::state::State;
use crate::time::Time;

/// The layout of keys that this release reads and writes.
const SCHEMA: i64 = 1;

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
        Ok(answer)
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

    /// What follows from an outcome, by the rules of `retry`.
    fn write_outcome(
        &mut self,
        call: &mut Call,
        outcome: &Outcome,
        now: Time,
        chance: &mut dyn Chance,
    ) -> Result<Option<Time>, BrokerError> {
        call.bytes(outcome.lease.id.as_bytes()).text(outcome.lease.token);
        let mut add = |how: &str, one: &[u8], two: &[u8]| {
            call.bytes(how.as_bytes()).bytes(one).bytes(two);
        };
        match &outcome.end {
            End::Success(result) => add("success", result, b""),
            End::Release => add("release", b"", b""),
            End::Suspend { signal: Some(_), .. } => {
                return Err(BrokerError::Unsupported("sending signals to jobs"));
            }
            End::Suspend { until, signal: None } => {
                let at = until.map_or(FOR_EVER, |until| until.0.min(FOR_EVER));
                add("suspend", at.to_string().as_bytes(), b"");
                return Ok(Some(Time(at)));
            }
            End::Cancelled(reason) => add("cancelled", reason.as_bytes(), b""),
            End::Failure { error, retry, delay } => {
                let (policy, failures) = (outcome.lease.row >> 32, outcome.lease.row as u32);
                let policy = self.policy(policy)?;
                let failures = failures.saturating_add(1);
                match policy.after_failure(failures, *delay, now, chance.next()) {
                    Verdict::Again(at) if *retry => {
                        add("again", at.0.to_string().as_bytes(), error);
                        return Ok(Some(at));
                    }
                    Verdict::Again(_) => add("dead", b"failed, and is not to be retried", error),
                    Verdict::GiveUp if !retry => {
                        add("dead", b"failed, and is not to be retried", error);
                    }
                    Verdict::GiveUp => add("dead", b"failed, and has no retries left", error),
                }
            }
        }
        Ok(None)
    }

    fn control(
        &mut self,
        what: &str,
        id: JobId,
        reason: &str,
        now: Time,
    ) -> Result<Value, BrokerError> {
        let mut call = Call::new(Script::Control, now);
        call.bytes(what.as_bytes()).bytes(id.as_bytes()).bytes(reason.as_bytes());
        let answer = self.write(&call)?.next().unwrap_or(Value::Nil);
        self.note_work();
        self.commit.changed.push(id);
        Ok(answer)
    }
}

/// The queues of a worker, as `levels.lua` takes them.
fn write_queues(call: &mut Call, spec: &WorkerSpec) {
    call.text(spec.queues.len());
    for queue in spec.queues.iter().chain(&spec.skip) {
        call.bytes(queue.as_bytes());
    }
}

fn id_from(bytes: &[u8]) -> Option<JobId> {
    bytes.try_into().ok().map(JobId::from_bytes)
}

/// A job from an answer of `lease.lua`, and the number of its retry policy.
fn leased(value: Value) -> Option<LeasedJob> {
    let mut parts = value.into_array().into_iter();
    let mut bytes = || parts.next().and_then(Value::into_bytes);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
    let number = |bytes: Vec<u8>| std::str::from_utf8(&bytes).ok()?.parse::<i64>().ok();
    let named = |text: String| (!text.is_empty()).then_some(text);
    let id = id_from(&bytes()?)?;
    let (queue, task) = (text(bytes()?)?, text(bytes()?)?);
    let payload = bytes()?;
    let own = fields::Own::read(&text(bytes()?)?)?;
    let (attempt, token) = (number(bytes()?)?, number(bytes()?)?);
    let (key, group) = (named(text(bytes()?)?), named(text(bytes()?)?));
    let failures = number(bytes()?)?;
    let mut inputs: Vec<(u32, Vec<u8>)> = Vec::new();
    let mut flat = parts.next()?.into_array().into_iter();
    while let (Some(position), Some(result)) = (flat.next(), flat.next()) {
        inputs.push((u32::try_from(position.as_int()?).ok()?, result.into_bytes()?));
    }
    inputs.sort_by_key(|(position, _)| *position);
    let headers = parts.next().and_then(Value::into_bytes);
    Some(LeasedJob {
        id,
        row: own.policy << 32 | failures,
        task: task.into(),
        queue: queue.into(),
        payload,
        attempt: u32::try_from(attempt).ok()?,
        token,
        max_retries: own.max_retries,
        timeout: own.timeout,
        inputs: inputs.into_iter().map(|(_, result)| result).collect(),
        key,
        group,
        created_at: own.created_at,
        headers,
    })
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
        self.requests += 1;
        let request = [&self.uid[..], &self.requests.to_be_bytes()].concat();
        let mut call = Self::worker_call(Script::Lease, worker, spec, now);
        call.text(limit).bytes(&request);
        call.bytes(self.received.get(&worker).map(Vec::as_slice).unwrap_or_default());
        write_queues(&mut call, spec);
        let mut answer = self.write(&call)?;
        let jobs = answer.next().unwrap_or(Value::Nil).into_array();
        let next = answer.next().and_then(|value| value.as_int()).map(Time);
        if jobs.is_empty() {
            self.vain = Some((spec.queues.clone(), spec.skip.clone(), next));
        } else {
            self.vain = None;
        }
        let jobs: Option<Vec<LeasedJob>> = jobs.into_iter().map(leased).collect();
        let jobs = jobs.ok_or_else(|| self.unexpected("leased jobs"))?;
        if !jobs.is_empty() {
            // Not before the answer was read: what nobody got is given again.
            self.received.insert(worker, request);
        }
        self.commit.changed.extend(jobs.iter().map(|job| job.id));
        Ok(jobs)
    }

    fn finish(
        &mut self,
        worker: WorkerRow,
        outcomes: &[Outcome],
        now: Time,
        chance: &mut dyn Chance,
    ) -> Result<Vec<Settled>, BrokerError> {
        for outcome in outcomes {
            match &outcome.end {
                End::Success(result) => check_blob("result", result)?,
                End::Failure { error, .. } => check_blob("error", error)?,
                End::Cancelled(_) | End::Release | End::Suspend { .. } => {}
            }
        }
        let mut call = Call::new(Script::Finish, now);
        call.text(worker.0);
        let mut times = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            times.push(self.write_outcome(&mut call, outcome, now, chance)?);
        }
        let states = self.write(&call)?.next().unwrap_or(Value::Nil).into_array();
        if states.len() != outcomes.len() {
            return Err(self.unexpected("ended attempts"));
        }
        let mut settled = Vec::with_capacity(outcomes.len());
        for ((outcome, state), run_at) in outcomes.iter().zip(states).zip(times) {
            let state = state.as_int().and_then(State::from_number);
            let run_at = run_at.filter(|_| state == Some(State::Scheduled));
            if matches!(state, Some(State::Scheduled | State::Queued)) {
                self.note_work();
            }
            self.commit.changed.push(outcome.lease.id);
            settled.push(Settled { id: outcome.lease.id, state, run_at });
        }
        Ok(settled)
    }

    fn progress(&mut self, reports: &[Progress]) -> Result<(), BrokerError> {
        let mut call = Call::new(Script::Progress, Time(0));
        for Progress { lease, fraction, message } in reports {
            call.bytes(lease.id.as_bytes()).text(lease.token).text(fraction);
            call.text(u8::from(message.is_some()));
            call.bytes(message.as_deref().unwrap_or_default().as_bytes());
        }
        self.write(&call)?;
        self.commit.changed.extend(reports.iter().map(|report| report.lease.id));
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
        self.note_work();
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
        Ok(())
    }

    fn declare(
        &mut self,
        owner: &str,
        schedules: &[ScheduleSpec],
        now: Time,
    ) -> Result<(), BrokerError> {
        self.declare_schedules(owner, schedules, now)
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
        self.note_work();
        Ok(more.and_then(|value| value.as_int()) == Some(1))
    }

    fn work_at(&mut self, spec: &WorkerSpec, now: Time) -> Result<Option<Time>, BrokerError> {
        if let Some(listening) = &self.listening {
            if listening.work.swap(false, Ordering::SeqCst) {
                self.vain = None;
                return Ok(Some(now));
            }
            if let Some((queues, skip, next)) = &self.vain
                && (queues, skip) == (&spec.queues, &spec.skip)
            {
                let look = now.after(LOOK_AGAIN);
                return Ok(Some(next.map_or(look, |next| next.min(look))));
            }
        }
        let mut call = Call::new(Script::WorkAt, now);
        write_queues(&mut call, spec);
        let answer = self.link.call(&call)?.into_array().into_iter().next();
        match answer.and_then(Value::into_text).as_deref() {
            Some("now") => Ok(Some(now)),
            Some(time) => Ok(time.parse().ok().map(Time)),
            None => Err(self.unexpected("work to come")),
        }
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

    fn listen(&mut self, ears: Arc<dyn Ears>) -> Result<bool, BrokerError> {
        let location = Arc::clone(&self.link.location);
        self.listening = Some(Listening::start(location, self.link.key(&[]), ears)?);
        Ok(true)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, BrokerError> {
        Ok(Box::new(read::RedisReader::new(Link::new(Arc::clone(&self.link.location), self.uid))))
    }
}
