//! Jobs are written to Redis.

use std::collections::HashSet;
use std::sync::Arc;

use super::link::Call;
use super::resp::{Commands, Value};
use super::script::Script;
use super::{RedisBroker, fields, id_from};
use crate::broker::EnqueueCall;
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::{Edge, NewJob, On};
use crate::retry::RetryPolicy;
use crate::time::Time;
use crate::workflow;

/// Jobs in one script: so many take a tenth of a second, in which the server does nothing else.
const ENQUEUE_MAX: usize = 20_000;

/// Retry policies known by number; a program that makes them up must not fill the memory.
const POLICIES_MAX: usize = 10_000;

impl RedisBroker {
    pub(super) fn enqueue_jobs(
        &mut self,
        jobs: &[Arc<NewJob>],
        edges: &[Edge],
        now: Time,
    ) -> Result<Vec<JobId>, BrokerError> {
        let mut ids = HashSet::with_capacity(jobs.len());
        for job in jobs {
            job.check()?;
            if !ids.insert(job.id) {
                return Err(used(Some(job.id)));
            }
        }
        if jobs.len() > ENQUEUE_MAX {
            return Err(BrokerError::Invalid(format!(
                "{} jobs are too many for one write to Redis: {ENQUEUE_MAX} at most",
                jobs.len()
            )));
        }
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        if !edges.is_empty() || jobs.iter().any(|job| job.key.is_some()) {
            return self.enqueue_tied(jobs, edges, now);
        }
        match self.enqueue_plain(&mut jobs.iter(), now)? {
            None => Ok(jobs.iter().map(|job| job.id).collect()),
            id => Err(used(id)),
        }
    }

    pub(super) fn enqueue_calls(
        &mut self,
        calls: &[EnqueueCall],
        now: Time,
    ) -> Vec<Result<Vec<JobId>, BrokerError>> {
        let plain = |job: &Arc<NewJob>| job.key.is_none() && job.check().is_ok();
        let mut ids = HashSet::new();
        let count: usize = calls.iter().map(|call| call.jobs.len()).sum();
        let together = calls.len() > 1
            && count <= ENQUEUE_MAX
            && calls.iter().all(|call| {
                call.edges.is_empty()
                    && call.jobs.iter().all(|job| plain(job) && ids.insert(job.id))
            });
        if together {
            let mut jobs = calls.iter().flat_map(|call| call.jobs.iter());
            match self.enqueue_plain(&mut jobs, now) {
                Ok(None) => {
                    let ids = |call: &EnqueueCall| call.jobs.iter().map(|job| job.id).collect();
                    return calls.iter().map(|call| Ok(ids(call))).collect();
                }
                // One of them is wrong, and must not hurt the others.
                Ok(Some(_)) => {}
                Err(error) => return calls.iter().map(|_| Err(error.clone())).collect(),
            }
        }
        calls.iter().map(|call| self.enqueue_jobs(&call.jobs, &call.edges, now)).collect()
    }

    /// Jobs without keys and ties, of several calls in one script. `false`: some id was used.
    fn enqueue_plain(
        &mut self,
        jobs: &mut dyn Iterator<Item = &Arc<NewJob>>,
        now: Time,
    ) -> Result<Option<JobId>, BrokerError> {
        let mut batch = fields::Batch::default();
        for job in jobs {
            if batch.begins_shape(job) {
                let policy = self.policy_row(&job.retry)?;
                batch.add_shape(job, policy, now);
            }
            batch.add(job);
        }
        let mut call = Call::new(Script::Enqueue, now);
        batch.write(&mut call);
        let used = self.write(&call)?.next().and_then(Value::into_bytes);
        let used = used.ok_or_else(|| self.unexpected("new jobs"))?;
        self.note_work();
        Ok(id_from(&used))
    }

    fn enqueue_tied(
        &mut self,
        jobs: &[Arc<NewJob>],
        edges: &[Edge],
        now: Time,
    ) -> Result<Vec<JobId>, BrokerError> {
        let asked: HashSet<JobId> = jobs.iter().map(|job| job.id).collect();
        workflow::check(&asked, edges)?;
        let mut call = Call::new(Script::Workflow, now);
        call.text(jobs.len());
        for job in jobs {
            let policy = self.policy_row(&job.retry)?;
            fields::write_job(&mut call, job, policy, now, true);
        }
        for edge in edges {
            call.bytes(edge.parent.as_bytes()).bytes(edge.child.as_bytes()).text(edge.position);
            call.text(u8::from(edge.on == On::Failure));
        }
        let mut answer = self.write(&call)?;
        let wrong = answer.next().and_then(Value::into_text).unwrap_or_default();
        let about = answer.next().unwrap_or(Value::Nil);
        self.note_work();
        let named = |value: Value| value.into_bytes().and_then(|bytes| id_from(&bytes));
        match (wrong.as_str(), about) {
            ("", Value::Array(ids)) => {
                let ids: Option<Vec<_>> = ids.into_iter().map(named).collect();
                ids.ok_or_else(|| self.unexpected("new jobs"))
            }
            ("used", id) => Err(used(named(id))),
            ("orphan", id) => Err(BrokerError::Invalid(format!(
                "no job {} to wait for: it was never enqueued, or its record has expired",
                named(id).map(|id| id.to_string()).unwrap_or_default()
            ))),
            _ => Err(self.unexpected("new jobs")),
        }
    }

    /// The number of a retry policy, which is added if it is new.
    pub(super) fn policy_row(&mut self, policy: &RetryPolicy) -> Result<i64, BrokerError> {
        let text = policy.to_text();
        if let Some(row) = self.policies.get(&text) {
            return Ok(*row);
        }
        let mut call = Call::new(Script::Policy, Time(0));
        call.bytes(text.as_bytes());
        let row = self.write(&call)?.next().and_then(|value| value.as_int());
        let row = row.ok_or_else(|| self.unexpected("a retry policy"))?;
        if self.policies.len() >= POLICIES_MAX {
            self.policies.clear();
        }
        self.policies.insert(text, row);
        Ok(row)
    }

    /// The retry policy of this number.
    pub(super) fn policy(&mut self, row: i64) -> Result<RetryPolicy, BrokerError> {
        if let Some(policy) = self.policy_values.get(&row) {
            return Ok(*policy);
        }
        let key = self.link.key(&[b"policies"]);
        let mut ask = Commands::default();
        ask.add(&[b"HGETALL", &key]);
        let mut all = self.link.ask(&ask)?.swap_remove(0).into_array().into_iter();
        self.policy_values.clear();
        while let (Some(text), Some(number)) = (all.next(), all.next()) {
            if let (Some(text), Some(number)) = (text.into_text(), number.as_int())
                && let Some(policy) = RetryPolicy::from_text(&text)
            {
                self.policy_values.insert(number, policy);
            }
        }
        let found = self.policy_values.get(&row).copied();
        found.ok_or_else(|| self.unexpected(&format!("retry policy {row}")))
    }
}

fn used(id: Option<JobId>) -> BrokerError {
    let id = id.map(|id| id.to_string()).unwrap_or_default();
    BrokerError::Invalid(format!("job {id} cannot be written: an id can be used once"))
}
