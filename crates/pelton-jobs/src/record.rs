//! What a broker tells about jobs, queues, workers and schedules.

use crate::id::JobId;
use crate::job::Extra;
use crate::limit::{Limit, Scope};
use crate::state::State;
use crate::time::Time;

/// A job as the broker knows it.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are explained in python/pelton/_core/, once")]
pub struct JobRecord {
    pub id: JobId,
    pub task: String,
    pub queue: String,
    pub state: State,
    pub priority: i8,
    pub attempt: u32,
    pub max_retries: u32,
    pub created_at: Time,
    pub run_at: Option<Time>,
    pub started_at: Option<Time>,
    pub finished_at: Option<Time>,
    pub timeout: Option<f64>,
    pub key: Option<String>,
    pub group: Option<String>,
    pub worker: Option<String>,
    pub progress: Option<f64>,
    pub message: Option<String>,
    pub reason: Option<String>,
    pub payload: Vec<u8>,
    pub result: Option<Vec<u8>>,
    pub error: Option<Vec<u8>>,
    pub cancel_requested: bool,
    pub version: i64,
    pub extra: Extra,
    pub signal: Option<String>,
}

/// An attempt that did not succeed.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRecord {
    /// 1 for the first.
    pub attempt: u32,
    /// The fence that it ran under: no two attempts of a job have the same.
    pub token: i64,
    /// Who ran it.
    pub worker: Option<String>,
    /// When it began.
    pub started_at: Option<Time>,
    /// When its end was written.
    pub ended_at: Time,
    /// `failed`, `lost` or `cancelled`.
    pub end: String,
    /// A JSON object, where it failed.
    pub error: Option<Vec<u8>>,
}

/// Attempts of one job that are remembered: the newest.
pub const HISTORY_MAX: usize = 50;

/// A limit, and what of it is in use.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitRecord {
    /// What is limited.
    pub scope: Scope,
    /// How.
    pub limit: Limit,
    /// Whether it is a task's own, by `declare_limit`.
    pub declared: bool,
}

/// A queue and how many of its jobs are in each state, by the state's number.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are explained in python/pelton/_core/, once")]
pub struct QueueRecord {
    pub name: String,
    pub paused: bool,
    pub counts: [u64; 7],
    pub oldest_queued_at: Option<Time>,
}

/// A worker that is alive, or was a moment ago.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are explained in python/pelton/_core/, once")]
pub struct WorkerRecord {
    pub name: String,
    pub hostname: String,
    pub pid: u32,
    pub queues: Vec<String>,
    pub concurrency: u32,
    pub started_at: Time,
    pub seen_at: Time,
    pub running: u64,
    pub processed: u64,
    pub failed: u64,
    pub report: Option<Vec<u8>>,
}

/// A schedule and where it stands.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are explained in python/pelton/_core/, once")]
pub struct ScheduleRecord {
    pub name: String,
    pub task: String,
    pub queue: String,
    pub cron: Option<String>,
    pub tz: String,
    pub every: Option<f64>,
    pub next_at: Option<Time>,
    pub last_at: Option<Time>,
    pub last_job: Option<JobId>,
    pub owner: String,
    pub paused: bool,
    pub grace: f64,
    pub catch_up: u32,
}

/// Which jobs to list, newest first.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the fields are explained in python/pelton/_core/, once")]
pub struct ListFilter {
    pub state: Option<State>,
    pub queue: Option<String>,
    pub task: Option<String>,
    pub group: Option<String>,
    pub limit: u32,
    pub before: Option<JobId>,
}
