//! A job on its way: written, leased, ended.

use std::sync::Arc;

use crate::error::BrokerError;
use crate::id::JobId;
use crate::retry::RetryPolicy;
use crate::state::State;
use crate::time::Time;

/// A job to be written.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Made by the caller: [`JobId::new`].
    pub id: JobId,
    /// The name of the function that a worker runs.
    pub task: String,
    /// Its arguments, never looked into.
    pub payload: Vec<u8>,
    /// Where workers find it.
    pub queue: String,
    /// -100 to 100; the larger runs first.
    pub priority: i8,
    /// Not before.
    pub run_at: Option<Time>,
    /// Not started by then: cancelled.
    pub expires_at: Option<Time>,
    /// At most one unfinished job has a given key.
    pub key: Option<String>,
    /// Seconds that an attempt may take (the worker sees to it).
    pub timeout: Option<f64>,
    /// What follows a failure.
    pub retry: RetryPolicy,
    /// Seconds that the record is kept after the end.
    pub result_ttl: f64,
    /// Members of one workflow share it.
    pub group: Option<String>,
    /// What only some jobs carry.
    pub extra: Extra,
}

/// What only some jobs carry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extra {
    /// Rides along to the worker, never looked into: context, traces, the payload's version.
    pub headers: Option<Vec<u8>>,
    /// Whose share of the task's limit per key this job uses.
    pub limit_key: Option<String>,
    /// Seconds from the enqueue for which `key` stays taken, though the job may have ended.
    pub key_ttl: Option<f64>,
}

/// Names are bounded, so that an index page always holds several.
pub const MAX_NAME_BYTES: usize = 512;

/// Thousands of years. The end of a job in microseconds must fit a number of 64 bits, or it could
/// not be written when the job has run.
const RESULT_TTL_MAX: f64 = 1e11;

/// Payloads, results and errors are bounded: larger data belongs elsewhere, and its name here.
pub const MAX_BLOB_BYTES: usize = 64 << 20;

impl NewJob {
    /// Refuses what no broker could store.
    pub fn check(&self) -> Result<(), BrokerError> {
        check_name("task", &self.task)?;
        check_name("queue", &self.queue)?;
        let limit_key = &self.extra.limit_key;
        for (what, name) in [("key", &self.key), ("group", &self.group), ("limit key", limit_key)] {
            if let Some(name) = name {
                check_name(what, name)?;
            }
        }
        check_blob("payload", &self.payload)?;
        check_blob("job's headers", self.extra.headers.as_deref().unwrap_or_default())?;
        if !(-100..=100).contains(&self.priority) {
            return invalid(format!("priority {} is not within -100 to 100", self.priority));
        }
        let retry = &self.retry;
        for (what, value) in [
            ("timeout", self.timeout.unwrap_or(1.0)),
            ("result_ttl", self.result_ttl),
            ("key_ttl", self.extra.key_ttl.unwrap_or(0.0)),
            ("base_delay", retry.base_delay),
            ("max_delay", retry.max_delay),
            ("factor", retry.factor),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return invalid(format!("{what} must be a finite number, 0 or more, not {value}"));
            }
        }
        if self.result_ttl > RESULT_TTL_MAX {
            return invalid(format!(
                "result_ttl must be {RESULT_TTL_MAX:e} seconds at most, not {:e}",
                self.result_ttl
            ));
        }
        Ok(())
    }
}

pub(crate) fn check_name(what: &str, name: &str) -> Result<(), BrokerError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return invalid(format!(
            "a {what} has 1 to {MAX_NAME_BYTES} bytes, and {:?} has {}",
            name.chars().take(40).collect::<String>(),
            name.len()
        ));
    }
    Ok(())
}

pub(crate) fn check_blob(what: &str, blob: &[u8]) -> Result<(), BrokerError> {
    if blob.len() > MAX_BLOB_BYTES {
        return invalid(format!(
            "a {what} of {} bytes is above the limit of {MAX_BLOB_BYTES}: store the data \
             elsewhere and pass its name",
            blob.len()
        ));
    }
    Ok(())
}

fn invalid<T>(message: String) -> Result<T, BrokerError> {
    Err(BrokerError::Invalid(message))
}

/// `child` waits for `parent`, and gets its result at `position` of its inputs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Edge {
    /// The job that is waited for.
    pub parent: JobId,
    /// The job that waits.
    pub child: JobId,
    /// Where the parent's result goes among the child's inputs.
    pub position: u32,
    /// Which end of the parent is waited for.
    pub on: On,
}

/// Which end of its parent a child waits for. The edges that lead to one child are all of a kind.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum On {
    /// All its parents' success; it is cancelled when one of them ends otherwise.
    #[default]
    Success,
    /// The first of its parents that is dead or cancelled: that one is its only input, see
    /// [`crate::workflow::failure_input`]. It is cancelled once all of them succeeded.
    Failure,
}

/// A job that a worker may run, once, while it holds the lease.
#[derive(Clone, Debug)]
pub struct LeasedJob {
    /// Its name.
    pub id: JobId,
    /// The store's own number for it: outcomes find it again without a search.
    pub row: i64,
    /// The function to run.
    pub task: Arc<str>,
    /// Where it came from.
    pub queue: Arc<str>,
    /// The arguments.
    pub payload: Vec<u8>,
    /// 1 for the first.
    pub attempt: u32,
    /// The fence: outcomes with another token are refused.
    pub token: i64,
    /// How many failures are followed by another attempt.
    pub max_retries: u32,
    /// Seconds that this attempt may take.
    pub timeout: Option<f64>,
    /// Results of the jobs it waited for, by position.
    pub inputs: Vec<Vec<u8>>,
    /// Its idempotency key.
    pub key: Option<String>,
    /// Its workflow.
    pub group: Option<String>,
    /// When it was written.
    pub created_at: Time,
    /// What rides along.
    pub headers: Option<Vec<u8>>,
}

/// The lease that an outcome or a progress report belongs to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Lease {
    /// The job.
    pub id: JobId,
    /// The store's number for it.
    pub row: i64,
    /// The fence.
    pub token: i64,
}

impl LeasedJob {
    /// The lease that this job is held under.
    #[must_use]
    pub fn lease(&self) -> Lease {
        Lease { id: self.id, row: self.row, token: self.token }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Under which lease.
    pub lease: Lease,
    /// How.
    pub end: End,
}

/// The ways in which an attempt ends.
#[derive(Clone, Debug)]
pub enum End {
    /// With a result.
    Success(Vec<u8>),
    /// With an error.
    Failure {
        /// A JSON object, never looked into.
        error: Vec<u8>,
        /// `false`: dead at once.
        retry: bool,
        /// Seconds to the next attempt, instead of the policy's.
        delay: Option<f64>,
    },
    /// As was asked for.
    Cancelled(String),
    /// Not run: the attempt does not count.
    Release,
    /// Aside until a time, or until a signal came (at once, where it came already); without both,
    /// for ever. The attempt goes on then: it does not count twice.
    Suspend {
        /// When to go on at the latest.
        until: Option<Time>,
        /// The signal that it waits for.
        signal: Option<String>,
    },
}

impl End {
    /// Whether the attempt goes on later, or never began: then it does not count.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        matches!(self, Self::Release | Self::Suspend { .. })
    }
}

/// What the broker made of an outcome.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settled {
    /// The job.
    pub id: JobId,
    /// Its new state; `None` where the lease was lost and nothing was changed.
    pub state: Option<State>,
    /// The time of the next attempt, where there is one.
    pub run_at: Option<Time>,
}
