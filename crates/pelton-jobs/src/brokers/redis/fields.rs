//! A job as the fields of a Redis hash, there and back.
//!
//! `st` state, `q` queue, `p` level of priority, `d` due, `y` microseconds that the record is kept,
//! `t` task, `l` payload, `s` what only we read (creation, policy, retries, timeout), `x` expiry,
//! `k` key, `g` group; `at` attempts, `fa` failures, `lo` losses, `tk` token, `v` version, `w`
//! worker, `ca` to be cancelled, `sa` start, `fi` end, `pu` purge, `pr` progress, `me` message,
//! `re` reason, `rs` result, `er` error; `ni` inputs, `pe` those pending, `ch` has children, `or`
//! a parent's record is gone, `ft` token of the outcome that ended the attempt.

use std::collections::HashMap;

use super::link::{Call, digits};
use super::resp::Value;
use crate::id::JobId;
use crate::job::NewJob;
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

/// Writes a job as `enqueue.lua` wants it, with its key where `workflow.lua` wants that.
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
    let mut queue_level = Vec::with_capacity(3 + job.queue.len());
    queue_level.extend_from_slice(&level);
    queue_level.extend_from_slice(job.queue.as_bytes());
    let number = [b'0' + state as u8];
    call.bytes(job.id.as_bytes());
    call.bytes(&number);
    call.bytes(job.queue.as_bytes());
    call.bytes(&queue_level);
    call.bytes(job.task.as_bytes());
    call.bytes(due);
    call.bytes(expires);
    call.bytes(job.group.as_deref().unwrap_or_default().as_bytes());
    if with_key {
        call.bytes(job.key.as_deref().unwrap_or_default().as_bytes());
    }
    let optional = [job.expires_at.is_some(), job.key.is_some(), job.group.is_some()];
    call.text(2 * (8 + optional.iter().filter(|is| **is).count()));
    let timeout = job.timeout.map(|seconds| seconds.to_string()).unwrap_or_default();
    let own = format!("{} {policy} {} {timeout}", now.0, job.retry.max_retries);
    let ttl = (job.result_ttl * 1e6).min(TTL_MAX) as i64;
    let mut ttl_buffer = [0; 20];
    let mut field = |name: &[u8], value: &[u8]| {
        call.bytes(name);
        call.bytes(value);
    };
    field(b"st", &number);
    field(b"q", job.queue.as_bytes());
    field(b"p", &level);
    field(b"d", due);
    field(b"y", digits(ttl, &mut ttl_buffer));
    field(b"t", job.task.as_bytes());
    field(b"s", own.as_bytes());
    field(b"l", &job.payload);
    for (name, value) in [
        (&b"x"[..], job.expires_at.map(|_| expires)),
        (b"k", job.key.as_deref().map(str::as_bytes)),
        (b"g", job.group.as_deref().map(str::as_bytes)),
    ] {
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
}

impl Own {
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        Some(Self {
            created_at: Time(parts.next()?.parse().ok()?),
            policy: parts.next()?.parse().ok()?,
            max_retries: parts.next()?.parse().ok()?,
            timeout: parts.next().and_then(|text| text.parse().ok()),
        })
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
        task: take("t").and_then(text)?,
        queue: take("q").and_then(text)?,
        state,
        priority: priority_of(&take("p").and_then(text)?),
        attempt: take("at").and_then(number).map_or(0, |n| u32::try_from(n).unwrap_or(0)),
        max_retries: own.max_retries,
        created_at: own.created_at,
        run_at: (state == State::Scheduled || due != own.created_at).then_some(due),
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
    })
}
