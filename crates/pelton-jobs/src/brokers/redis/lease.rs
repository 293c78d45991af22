//! Jobs are taken by workers.

use std::sync::atomic::Ordering;

use super::link::Call;
use super::resp::Value;
use super::script::Script;
use super::{LOOK_AGAIN, RedisBroker, fields, id_from};
use crate::broker::{WorkerRow, WorkerSpec};
use crate::error::BrokerError;
use crate::job::LeasedJob;
use crate::time::Time;

impl RedisBroker {
    pub(super) fn lease_jobs(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        limit: usize,
        now: Time,
    ) -> Result<Vec<LeasedJob>, BrokerError> {
        let request = self.request();
        let mut call = Self::worker_call(Script::Lease, worker, spec, now);
        call.text(limit).bytes(&request);
        call.bytes(self.received.get(&worker).map(Vec::as_slice).unwrap_or_default());
        call.text(self.requests % 1_000_000);
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
        Ok(jobs)
    }

    /// When a lease for this worker would find something to do.
    pub(super) fn next_work(
        &mut self,
        spec: &WorkerSpec,
        now: Time,
    ) -> Result<Option<Time>, BrokerError> {
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
}

/// The queues of a worker, as `levels.lua` takes them.
fn write_queues(call: &mut Call, spec: &WorkerSpec) {
    call.text(spec.queues.len());
    for queue in spec.queues.iter().chain(&spec.skip) {
        call.bytes(queue.as_bytes());
    }
}

/// A job from an answer of `lease.lua`, and the number of its retry policy.
fn leased(value: Value) -> Option<LeasedJob> {
    let parts: [Value; 13] = value.into_array().try_into().ok()?;
    let [id, _, payload, own, attempt, token, key, group, _, _, failures, inputs, headers] = parts;
    let own = fields::Own::read(&String::from_utf8(own.into_bytes()?).ok()?)?;
    let text = |value: Value| value.into_bytes().and_then(|bytes| String::from_utf8(bytes).ok());
    let failures = failures.as_int().unwrap_or(0);
    let mut by_position: Vec<(u32, Vec<u8>)> = Vec::new();
    let mut flat = inputs.into_array().into_iter();
    while let (Some(position), Some(result)) = (flat.next(), flat.next()) {
        by_position.push((u32::try_from(position.as_int()?).ok()?, result.into_bytes()?));
    }
    by_position.sort_by_key(|(position, _)| *position);
    Some(LeasedJob {
        id: id_from(&id.into_bytes()?)?,
        row: own.policy << 32 | failures,
        task: own.task.into(),
        queue: own.queue.into(),
        payload: payload.into_bytes()?,
        attempt: u32::try_from(attempt.as_int()?).ok()?,
        token: token.as_int()?,
        max_retries: own.max_retries,
        timeout: own.timeout,
        inputs: by_position.into_iter().map(|(_, result)| result).collect(),
        key: text(key),
        group: text(group),
        created_at: own.created_at,
        headers: headers.into_bytes(),
    })
}
