//! A job as the fields of a Redis hash, there and back.
//!
//! `st` state, `d` due, `l` payload, `s` what never changes (creation, policy, retries, timeout, level
//! of priority, microseconds that the record is kept, task and queue), `x` expiry,
//! `k` key, `g` group, `h` headers; `at` attempts, `fa` failures, `lo` losses, `tk` token, `v` version, `w`
//! worker, `ca` to be cancelled, `sa` start, `fi` end, `pu` purge, `pr` progress, `me` message,
//! `re` reason, `rs` result, `er` error; `ni` inputs, `pe` those pending, `ch` has children, `or`
//! a parent's record is gone, `ft` token of the outcome that ended the attempt; `lk` key of its
//! limit, `us` letters of the limits that it runs under, `sg` the signal that it waits for, `ku` until
//! when its key stays taken.

use std::collections::HashMap;

use super::link::{Call, digits};
use super::resp::{Commands, Value};
use crate::id::JobId;
use crate::job::{Extra, NewJob};
use crate::record::JobRecord;
use crate::state::State;
use crate::time::Time;

/// Records are kept for at most so long: longer does not fit a score of Redis.
const TTL_MAX: f64 = 1e15;

/// The first three bytes of a level: the best priority first.
pub(super) fn level_of(priority: i8) -> [u8; 3] {
    // INVARIANT: NewJob::check has seen that the priority is within -100 to 100.
    let number = (100 - i16::from(priority)) as u8;
    [b'0' + number / 100, b'0' + number / 10 % 10, b'0' + number % 10]
}

fn priority_of(level: &str) -> i8 {
    level.parse::<i16>().map_or(0, |number| (100 - number) as i8)
}

/// What jobs of one task, written at once, have in common.
fn has_shape_of(one: &NewJob, two: &NewJob) -> bool {
    (one.task == two.task && one.queue == two.queue && one.priority == two.priority)
        && (one.run_at, one.expires_at) == (two.run_at, two.expires_at)
        && (one.timeout, one.retry, &one.group) == (two.timeout, two.retry, &two.group)
        && one.result_ttl.to_bits() == two.result_ttl.to_bits()
        && one.extra == two.extra
}

/// Jobs without keys and ties, as `enqueue.lua` wants them: what is the same is said once.
#[derive(Default)]
pub(super) struct Batch<'a> {
    shapes: Commands,
    /// How many jobs have each.
    counts: Vec<usize>,
    last: Option<&'a NewJob>,
    jobs: Commands,
}

impl<'a> Batch<'a> {
    /// Whether the next job needs the number of its policy.
    pub(super) fn begins_shape(&self, job: &NewJob) -> bool {
        !self.last.is_some_and(|last| has_shape_of(last, job))
    }

    /// Adds the shape of the jobs to come.
    pub(super) fn add_shape(&mut self, job: &'a NewJob, policy: i64, now: Time) {
        let due = job.run_at.unwrap_or(now);
        let state = crate::state::first(0, due, now);
        let expires = job.expires_at.map(|at| at.0.to_string()).unwrap_or_default();
        for part in [
            &[b'0' + state as u8][..],
            job.queue.as_bytes(),
            &level_of(job.priority),
            job.task.as_bytes(),
            due.0.to_string().as_bytes(),
            own_of(job, policy, now).as_bytes(),
            job.group.as_deref().unwrap_or_default().as_bytes(),
            expires.as_bytes(),
            job.extra.headers.as_deref().unwrap_or_default(),
            job.extra.limit_key.as_deref().unwrap_or_default().as_bytes(),
        ] {
            self.shapes.count += 1;
            self.shapes.part(part);
        }
        self.counts.push(0);
        self.last = Some(job);
    }

    /// Adds a job of the last shape.
    pub(super) fn add(&mut self, job: &NewJob) {
        if let Some(count) = self.counts.last_mut() {
            *count += 1;
        }
        self.jobs.count += 1;
        self.jobs.part_of(&[job.id.as_bytes(), &job.payload]);
    }

    pub(super) fn write(&self, call: &mut Call) {
        call.text(self.counts.len());
        call.append(&self.shapes);
        for count in &self.counts {
            call.text(count);
        }
        call.append(&self.jobs);
    }
}

fn own_of(job: &NewJob, policy: i64, now: Time) -> String {
    let timeout = job.timeout.map(|seconds| seconds.to_string()).unwrap_or_default();
    let level = level_of(job.priority);
    let level = String::from_utf8_lossy(&level);
    let (ttl, length) = (ttl_of(job), job.task.len());
    format!(
        "{} {policy} {} {timeout} {level} {ttl} {length} {}{}",
        now.0, job.retry.max_retries, job.task, job.queue
    )
}

fn ttl_of(job: &NewJob) -> i64 {
    (job.result_ttl * 1e6).min(TTL_MAX) as i64
}

/// Writes a job as `workflow.lua` wants it, or, without its key, as `fire.lua` does.
pub(super) fn write_job(call: &mut Call, job: &NewJob, policy: i64, now: Time, with_key: bool) {
    let due = job.run_at.unwrap_or(now);
    let state = crate::state::first(0, due, now);
    let level = level_of(job.priority);
    let mut buffer = [0; 20];
    let mut expiry = [0; 20];
    let due = digits(due.0, &mut buffer);
    let expires: &[u8] = match job.expires_at {
        Some(at) => digits(at.0, &mut expiry),
        None => b"",
    };
    let number = [b'0' + state as u8];
    call.bytes(job.id.as_bytes());
    call.bytes(&number);
    call.bytes(job.queue.as_bytes());
    call.bytes(&level);
    call.bytes(job.task.as_bytes());
    call.bytes(due);
    call.bytes(expires);
    call.bytes(job.group.as_deref().unwrap_or_default().as_bytes());
    if with_key {
        call.bytes(job.key.as_deref().unwrap_or_default().as_bytes());
    }
    let headers = job.extra.headers.as_deref().filter(|headers| !headers.is_empty());
    let key_until = job.extra.key_ttl.filter(|_| job.key.is_some());
    let key_until = key_until.map(|ttl| now.after(ttl).0.min(super::FOR_EVER).to_string());
    let optional = [
        (&b"x"[..], job.expires_at.map(|_| expires)),
        (b"k", job.key.as_deref().map(str::as_bytes)),
        (b"g", job.group.as_deref().map(str::as_bytes)),
        (b"h", headers),
        (b"lk", job.extra.limit_key.as_deref().map(str::as_bytes)),
        (b"ku", key_until.as_deref().map(str::as_bytes)),
    ];
    call.text(2 * (4 + optional.iter().filter(|(_, value)| value.is_some()).count()));
    let own = own_of(job, policy, now);
    let mut field = |name: &[u8], value: &[u8]| {
        call.bytes(name);
        call.bytes(value);
    };
    field(b"st", &number);
    field(b"d", due);
    field(b"s", own.as_bytes());
    field(b"l", &job.payload);
    for (name, value) in optional {
        if let Some(value) = value {
            field(name, value);
        }
    }
}

/// What is in `s`.
pub(super) struct Own {
    pub(super) created_at: Time,
    pub(super) policy: i64,
    pub(super) max_retries: u32,
    pub(super) timeout: Option<f64>,
    pub(super) priority: i8,
    pub(super) task: String,
    pub(super) queue: String,
}

impl Own {
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(8, ' ');
        let mut own = Self {
            created_at: Time(parts.next()?.parse().ok()?),
            policy: parts.next()?.parse().ok()?,
            max_retries: parts.next()?.parse().ok()?,
            timeout: parts.next().and_then(|text| text.parse().ok()),
            priority: priority_of(parts.next()?),
            task: String::new(),
            queue: String::new(),
        };
        // How long it is kept is for the scripts.
        let (length, names) = (parts.nth(1)?, parts.next()?);
        let (task, queue) = names.split_at_checked(length.parse().ok()?)?;
        (own.task, own.queue) = (task.to_owned(), queue.to_owned());
        Some(own)
    }
}

/// A job's record from its hash, as HGETALL answers; `None` where it is not a job of ours.
pub(super) fn record(id: JobId, hash: Value) -> Option<JobRecord> {
    let mut fields = HashMap::new();
    let mut values = hash.into_array().into_iter();
    while let (Some(name), Some(value)) = (values.next(), values.next()) {
        fields.insert(name.into_bytes()?, value.into_bytes()?);
    }
    let mut take = |name: &str| fields.remove(name.as_bytes());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
    let number = |bytes: Vec<u8>| std::str::from_utf8(&bytes).ok()?.parse::<i64>().ok();
    let state = State::from_number(take("st").and_then(number)?)?;
    let own = Own::read(&take("s").and_then(text)?)?;
    let due = Time(take("d").and_then(number)?);
    let mut time = |name: &str| take(name).and_then(number).map(Time);
    let (started_at, finished_at) = (time("sa"), time("fi"));
    Some(JobRecord {
        id,
        task: own.task,
        queue: own.queue,
        state,
        priority: own.priority,
        attempt: take("at").and_then(number).map_or(0, |n| u32::try_from(n).unwrap_or(0)),
        max_retries: own.max_retries,
        created_at: own.created_at,
        run_at: (state == State::Scheduled || due != own.created_at)
            .then_some(due)
            .filter(|due| due.0 < super::FOR_EVER),
        started_at,
        finished_at,
        timeout: own.timeout,
        key: take("k").and_then(text),
        group: take("g").and_then(text),
        worker: take("w").and_then(text).filter(|_| state == State::Running),
        progress: take("pr").and_then(text).and_then(|text| text.parse().ok()),
        message: take("me").and_then(text),
        reason: take("re").and_then(text),
        payload: take("l")?,
        result: take("rs"),
        error: take("er"),
        cancel_requested: take("ca").is_some(),
        version: take("v").and_then(number).unwrap_or(1),
        extra: Extra { headers: take("h"), limit_key: take("lk").and_then(text), key_ttl: None },
        signal: take("sg").and_then(text),
    })
}
