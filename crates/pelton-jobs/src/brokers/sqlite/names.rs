//! Queues, tasks and retry policies by number: a job's row holds three small integers instead.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::OptionalExtension;

use super::SqliteBroker;
use super::fault::Fault;
use crate::retry::RetryPolicy;

/// Numbers seen so far. Rows of these tables are never removed, so what is here stays true; what
/// an undone operation added is not, so the whole is dropped with it.
#[derive(Default)]
pub(super) struct Names {
    queues: HashMap<Arc<str>, i64>,
    queue_names: HashMap<i64, Arc<str>>,
    tasks: HashMap<Arc<str>, i64>,
    task_names: HashMap<i64, Arc<str>>,
    /// By the bits of its numbers.
    policies: HashMap<PolicyKey, i64>,
    policy_values: HashMap<i64, RetryPolicy>,
}

/// Programs use a handful of names; one that makes them up on the way must not fill the memory.
const LIMIT: usize = 10_000;

#[derive(Eq, Hash, PartialEq)]
struct PolicyKey(u32, u64, u64, u64, bool);

impl From<&RetryPolicy> for PolicyKey {
    fn from(policy: &RetryPolicy) -> Self {
        Self(
            policy.max_retries,
            policy.base_delay.to_bits(),
            policy.max_delay.to_bits(),
            policy.factor.to_bits(),
            policy.jitter,
        )
    }
}

impl SqliteBroker {
    /// The number of a queue, which is added if it is new.
    pub(super) fn queue_row(&mut self, name: &str) -> Result<i64, Fault> {
        if let Some(row) = self.names.queues.get(name) {
            return Ok(*row);
        }
        let row = self.named("pelton_queues", name)?;
        self.limit_names();
        self.names.queues.insert(name.into(), row);
        Ok(row)
    }

    /// The number of a task, which is added if it is new.
    pub(super) fn task_row(&mut self, name: &str) -> Result<i64, Fault> {
        if let Some(row) = self.names.tasks.get(name) {
            return Ok(*row);
        }
        let row = self.named("pelton_tasks", name)?;
        self.limit_names();
        self.names.tasks.insert(name.into(), row);
        Ok(row)
    }

    /// The number of a retry policy, which is added if it is new.
    pub(super) fn policy_row(&mut self, policy: &RetryPolicy) -> Result<i64, Fault> {
        let key = PolicyKey::from(policy);
        if let Some(row) = self.names.policies.get(&key) {
            return Ok(*row);
        }
        let values =
            (policy.max_retries, policy.base_delay, policy.max_delay, policy.factor, policy.jitter);
        self.cached(
            "INSERT OR IGNORE INTO pelton_policies \
             (max_retries, base_delay, max_delay, factor, jitter) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(values)?;
        let row = self
            .cached(
                "SELECT row FROM pelton_policies WHERE max_retries = ? AND base_delay = ? AND \
                 max_delay = ? AND factor = ? AND jitter = ?",
            )?
            .query_row(values, |row| row.get(0))?;
        self.limit_names();
        self.names.policies.insert(key, row);
        Ok(row)
    }

    /// The queue of this number.
    pub(super) fn queue_name(&mut self, row: i64) -> Result<Arc<str>, Fault> {
        if let Some(name) = self.names.queue_names.get(&row) {
            return Ok(Arc::clone(name));
        }
        let name: Arc<str> = self
            .cached("SELECT name FROM pelton_queues WHERE row = ?")?
            .query_row([row], |found| found.get(0))?;
        self.limit_names();
        self.names.queue_names.insert(row, Arc::clone(&name));
        Ok(name)
    }

    /// The task of this number.
    pub(super) fn task_name(&mut self, row: i64) -> Result<Arc<str>, Fault> {
        if let Some(name) = self.names.task_names.get(&row) {
            return Ok(Arc::clone(name));
        }
        let name: Arc<str> = self
            .cached("SELECT name FROM pelton_tasks WHERE row = ?")?
            .query_row([row], |found| found.get(0))?;
        self.limit_names();
        self.names.task_names.insert(row, Arc::clone(&name));
        Ok(name)
    }

    /// The retry policy of this number.
    pub(super) fn policy(&mut self, row: i64) -> Result<RetryPolicy, Fault> {
        if let Some(policy) = self.names.policy_values.get(&row) {
            return Ok(*policy);
        }
        let policy = self
            .cached(
                "SELECT max_retries, base_delay, max_delay, factor, jitter \
                 FROM pelton_policies WHERE row = ?",
            )?
            .query_row([row], |found| {
                Ok(RetryPolicy {
                    max_retries: found.get(0)?,
                    base_delay: found.get(1)?,
                    max_delay: found.get(2)?,
                    factor: found.get(3)?,
                    jitter: found.get(4)?,
                })
            })?;
        self.limit_names();
        self.names.policy_values.insert(row, policy);
        Ok(policy)
    }

    fn named(&self, table: &str, name: &str) -> Result<i64, Fault> {
        let select = format!("SELECT row FROM {table} WHERE name = ?");
        let found = self.cached(&select)?.query_row([name], |row| row.get(0)).optional()?;
        if let Some(row) = found {
            return Ok(row);
        }
        Ok(self.cached(&format!("INSERT INTO {table} (name) VALUES (?)"))?.insert([name])?)
    }

    fn limit_names(&mut self) {
        let names = &self.names;
        let held = names.queues.len() + names.tasks.len() + names.policies.len();
        if held > LIMIT {
            self.names = Names::default();
        }
    }
}
