//! The seam between the engine and what keeps the jobs.
//!
//! A [`Broker`] is driven by one thread. Writes come in groups: [`Broker::begin`], any number of
//! operations, [`Broker::commit`]; nothing is true, and nobody may be told, before the commit
//! returned. Each operation is atomic by itself: one that fails leaves nothing behind and does
//! not hurt the others of its group. Where the store is a server, an operation may have happened
//! although its group, or the process, ended before it was told: each is safe to be found done.
//! Every broker passes `pelton_testkit::broker_conformance`.

use std::sync::Arc;

use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::{Edge, Lease, LeasedJob, NewJob, Outcome, Settled};
use crate::limit::{Limit, Rate, Scope};
use crate::record::{
    AttemptRecord, JobRecord, LimitRecord, ListFilter, QueueRecord, ScheduleRecord, WorkerRecord,
};
use crate::schedule::ScheduleSpec;
use crate::time::Time;

/// A number in `[0, 1)` each time it is called: the chance in backoff with jitter.
pub trait Chance {
    /// The next number.
    fn next(&mut self) -> f64;
}

/// What a group of writes changed, for those who wait in this process.
#[derive(Debug, Default)]
pub struct Commit {
    /// Jobs were added, or became ready, or got a time.
    pub work: bool,
    /// A running job is to be cancelled.
    pub cancels: bool,
    /// Workers were ordered something.
    pub orders: bool,
    /// Jobs with a new version.
    pub changed: Vec<JobId>,
}

/// Who leases.
#[derive(Clone, Debug)]
pub struct WorkerSpec {
    /// What people call it.
    pub name: String,
    /// Where it runs.
    pub hostname: String,
    /// Its process there.
    pub pid: u32,
    /// The queues that it serves; empty: all.
    pub queues: Vec<String>,
    /// Queues that it leaves to others, even so.
    pub skip: Vec<String>,
    /// How many jobs it runs at a time.
    pub concurrency: u32,
    /// Seconds until its leases are lost, from each sign of life.
    pub lease: f64,
}

/// The store's number of a worker.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct WorkerRow(pub i64);

/// What came of a claim.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// The jobs that the worker has now.
    pub jobs: Vec<LeasedJob>,
    /// Whether some of those that were asked for are ready, but must wait: for a limit, or since
    /// their queue rests. Their worker must ask again without being told.
    pub held: bool,
}

/// A progress report.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Under which lease.
    pub lease: Lease,
    /// 0 to 1.
    pub fraction: f64,
    /// For people.
    pub message: Option<String>,
}

/// What a tick of the scheduler did.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Whether this scheduler leads.
    pub leads: bool,
    /// Schedules fired now, and their jobs.
    pub fired: Vec<(String, JobId)>,
    /// Schedules that are due, but not as this release reads them: they are left as they are, for
    /// one that can.
    pub unreadable: Vec<String>,
    /// When to come back at the latest.
    pub next_at: Time,
}

impl Tick {
    /// The tick of one that does not lead, while another one does until then.
    #[must_use]
    pub fn standby(until: Time) -> Self {
        Self { leads: false, fired: Vec::new(), unreadable: Vec::new(), next_at: until }
    }
}

/// What one caller wants to be written: all or none of it.
#[derive(Clone, Debug)]
pub struct EnqueueCall {
    /// The jobs.
    pub jobs: Vec<Arc<NewJob>>,
    /// Which of them wait for which jobs.
    pub edges: Vec<Edge>,
    /// Whether they may have been written by an earlier try, whose answer was lost.
    pub again: bool,
}

/// What others wrote, as a store tells it by itself.
#[derive(Clone, Debug)]
pub enum News {
    /// There may be work for those who wait.
    Work,
    /// Running jobs are to be cancelled.
    Cancels,
    /// Workers were ordered something.
    Orders,
    /// These jobs have new versions.
    Jobs(Vec<JobId>),
    /// Anything: the connection that would have told was away.
    Anything,
}

/// Who is told of others' writes.
pub trait Ears: Send + Sync {
    /// Called from a thread of the broker's; must not block.
    fn hear(&self, news: News);
}

/// Keeps jobs. See the module's text for the protocol of groups.
pub trait Broker: Send {
    /// Begins a group of writes.
    fn begin(&mut self) -> Result<(), BrokerError>;
    /// Ends the group; durable when it returns. On an error nothing of the group happened.
    fn commit(&mut self) -> Result<Commit, BrokerError>;

    /// Writes jobs, all or none. Returns the ids, where a job with the same key was unfinished
    /// that one's instead (edges then mean that one as a parent, and leave it alone as a child).
    fn enqueue(
        &mut self,
        jobs: &[Arc<NewJob>],
        edges: &[Edge],
        now: Time,
    ) -> Result<Vec<JobId>, BrokerError>;
    /// `enqueue` for several callers: one's failure is not another's.
    fn enqueue_all(
        &mut self,
        calls: &[EnqueueCall],
        now: Time,
    ) -> Vec<Result<Vec<JobId>, BrokerError>> {
        calls.iter().map(|call| self.enqueue(&call.jobs, &call.edges, now)).collect()
    }
    /// Up to `limit` jobs for a worker, best priority first, of each queue the oldest due. Makes
    /// due jobs ready, ends expired ones and takes over lost leases on the way.
    fn lease(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        limit: usize,
        now: Time,
    ) -> Result<Vec<LeasedJob>, BrokerError>;
    /// Up to `limit` jobs for a worker, of those that it was told are ready (`ids`, best first) and
    /// of those that this call itself made ready; else as `lease`. A store that has no quick way to
    /// claim by id gives the best that it has: then what was told says when, and not which.
    fn claim(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        ids: &[JobId],
        limit: usize,
        now: Time,
    ) -> Result<Claim, BrokerError> {
        let jobs = self.lease(worker, spec, limit, now)?;
        let held = jobs.len() < limit.min(ids.len());
        Ok(Claim { jobs, held })
    }
    /// Ends attempts. One `Settled` for each outcome, in order.
    fn finish(
        &mut self,
        worker: WorkerRow,
        outcomes: &[Outcome],
        now: Time,
        chance: &mut dyn Chance,
    ) -> Result<Vec<Settled>, BrokerError>;
    /// Notes progress; reports under lost leases are dropped.
    fn progress(&mut self, reports: &[Progress]) -> Result<(), BrokerError>;

    /// Ends a job that is not running, and those that wait for it; asks for the end of one that
    /// is. `false`: ended already, or unknown.
    fn cancel(&mut self, id: JobId, reason: &str, now: Time) -> Result<bool, BrokerError>;
    /// Runs a dead or cancelled job again, from the start. `false`: in another state, or unknown.
    fn retry(&mut self, id: JobId, now: Time) -> Result<bool, BrokerError>;
    /// Removes an ended job; jobs that still wait for it are cancelled. `false`: not ended, or
    /// unknown.
    fn delete(&mut self, id: JobId, now: Time) -> Result<bool, BrokerError>;
    /// Stops or allows leasing from a queue.
    fn set_paused(&mut self, queue: &str, paused: bool) -> Result<(), BrokerError>;

    /// Adds a worker.
    fn add_worker(&mut self, spec: &WorkerSpec, now: Time) -> Result<WorkerRow, BrokerError>;
    /// Renews a worker's leases (and the worker, if it was given up). Of `held`, those that are
    /// not its own any more.
    fn renew(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        held: &[Lease],
        now: Time,
    ) -> Result<Vec<JobId>, BrokerError>;
    /// Removes a worker; leases that it still holds expire by themselves.
    fn remove_worker(&mut self, worker: WorkerRow) -> Result<(), BrokerError>;

    /// Makes `schedules` those of `owner`; its others are removed.
    fn declare(
        &mut self,
        owner: &str,
        schedules: &[ScheduleSpec],
        now: Time,
    ) -> Result<(), BrokerError>;
    /// Leads if nobody else does, and fires what is due, whoever declared it, if it leads.
    fn tick(&mut self, leader: &str, now: Time) -> Result<Tick, BrokerError>;
    /// Gives up the lead, if it has it.
    fn resign(&mut self, leader: &str) -> Result<(), BrokerError>;

    /// One small batch of housekeeping: expired jobs end, old records go, dead workers' jobs are
    /// taken over. `true`: there may be more to do.
    fn tidy(&mut self, now: Time) -> Result<bool, BrokerError>;
    /// When `lease` would next have something to do for this worker: `now` or earlier if at once,
    /// `None` if it is not known. Outside a group.
    fn work_at(&mut self, spec: &WorkerSpec, now: Time) -> Result<Option<Time>, BrokerError>;
    /// Whether other processes wrote since the last call. Outside a group.
    fn was_changed_by_others(&mut self) -> Result<bool, BrokerError>;
    /// Tells `ears` of others' writes from now on, and of one's own as it likes. `false`: this
    /// store cannot tell all, and is to be asked, too (`was_changed_by_others`).
    fn listen(&mut self, ears: Arc<dyn Ears>) -> Result<bool, BrokerError> {
        drop(ears);
        Ok(false)
    }
    /// Running jobs of a worker that are to be cancelled. Outside a group.
    fn cancels(&mut self, worker: WorkerRow) -> Result<Vec<JobId>, BrokerError>;

    /// Keeps the result of a step of a running job, for its later attempts. The first result of a
    /// step stays. `false`: the lease is lost, and nothing was kept.
    fn save_step(&mut self, lease: Lease, step: &str, value: &[u8]) -> Result<bool, BrokerError>;
    /// The steps that a job has finished, in any order. Inside or outside a group.
    fn steps(&mut self, lease: Lease) -> Result<Vec<(String, Vec<u8>)>, BrokerError>;
    /// Makes the oldest signal of this name the result of `step`, and gives it; `None` where none
    /// came, or the lease is lost. The step's own value where it has one.
    fn take_signal(
        &mut self,
        lease: Lease,
        signal: &str,
        step: &str,
    ) -> Result<Option<Vec<u8>>, BrokerError>;
    /// Sends a signal to a job, and wakes it if it waits for it. `false`: it has ended, or is
    /// unknown.
    fn signal(
        &mut self,
        id: JobId,
        signal: &str,
        value: &[u8],
        now: Time,
    ) -> Result<bool, BrokerError>;

    /// Sets or (`None`) removes a limit. Leases heed it from now on, on all workers.
    fn set_limit(&mut self, scope: &Scope, limit: Option<&Limit>) -> Result<(), BrokerError>;
    /// As `set_limit`, for a limit that code declares: it leaves alone what `set_limit` set.
    fn declare_limit(&mut self, scope: &Scope, limit: Option<&Limit>) -> Result<(), BrokerError>;
    /// Takes `cost` from a bucket; the time at which to ask again where that is too much now.
    fn acquire(
        &mut self,
        bucket: &str,
        rate: Rate,
        cost: f64,
        now: Time,
    ) -> Result<Option<Time>, BrokerError>;

    /// Cancels all jobs of a workflow that have not ended. How many.
    fn cancel_group(&mut self, group: &str, reason: &str, now: Time) -> Result<u64, BrokerError>;
    /// Cancels up to `limit` jobs of a queue that are not running. How many: 0 where none is left.
    fn purge_queue(&mut self, queue: &str, limit: u32, now: Time) -> Result<u64, BrokerError>;

    /// Adds or changes one schedule of `owner`, and leaves its others alone.
    fn put_schedule(
        &mut self,
        owner: &str,
        schedule: &ScheduleSpec,
        now: Time,
    ) -> Result<(), BrokerError>;
    /// Removes the schedules of this name, whoever's they are. `false`: there is none.
    fn remove_schedule(&mut self, name: &str) -> Result<bool, BrokerError>;
    /// Stops them, or lets them go on with their next tick: none is made up for. `false`: none.
    fn pause_schedule(&mut self, name: &str, paused: bool, now: Time) -> Result<bool, BrokerError>;
    /// Enqueues a schedule's job now, besides its ticks. `None`: there is no such schedule.
    fn run_schedule(&mut self, name: &str, now: Time) -> Result<Option<JobId>, BrokerError>;

    /// Leaves an order for the workers of this name, or for all. How many got it.
    fn order_workers(
        &mut self,
        name: Option<&str>,
        order: &[u8],
        now: Time,
    ) -> Result<u64, BrokerError>;
    /// Takes the orders of a worker, oldest first, and keeps what it reports of itself.
    fn orders(
        &mut self,
        worker: WorkerRow,
        report: Option<&[u8]>,
    ) -> Result<Vec<Vec<u8>>, BrokerError>;

    /// A view for another thread, which sees what was committed.
    fn reader(&self) -> Result<Box<dyn Reader>, BrokerError>;
}

/// Answers questions about what was committed.
pub trait Reader: Send {
    /// One job.
    fn get(&mut self, id: JobId) -> Result<Option<JobRecord>, BrokerError>;
    /// One job's version: cheap.
    fn version(&mut self, id: JobId) -> Result<Option<i64>, BrokerError>;
    /// Some jobs, newest first.
    fn list(&mut self, filter: &ListFilter) -> Result<Vec<JobRecord>, BrokerError>;
    /// All queues, by name.
    fn queues(&mut self) -> Result<Vec<QueueRecord>, BrokerError>;
    /// Workers seen since `since`, by name.
    fn workers(&mut self, since: Time) -> Result<Vec<WorkerRecord>, BrokerError>;
    /// All schedules, by name.
    fn schedules(&mut self) -> Result<Vec<ScheduleRecord>, BrokerError>;
    /// The attempts of a job that did not succeed, oldest first, at most
    /// [`crate::record::HISTORY_MAX`].
    fn history(&mut self, id: JobId) -> Result<Vec<AttemptRecord>, BrokerError>;
    /// How many jobs of a workflow are in each state, by the state's number.
    fn group_counts(&mut self, group: &str) -> Result<[u64; 7], BrokerError>;
    /// All limits, by scope.
    fn limits(&mut self) -> Result<Vec<LimitRecord>, BrokerError>;
}

/// Opens the broker that `url` names.
pub fn open(url: &str) -> Result<Box<dyn Broker>, BrokerError> {
    match url.split_once("://") {
        Some(("sqlite" | "memory", _)) => {
            Ok(Box::new(crate::brokers::sqlite::SqliteBroker::open(url)?))
        }
        Some((scheme, _)) if crate::brokers::redis::SCHEMES.contains(&scheme) => {
            Ok(Box::new(crate::brokers::redis::RedisBroker::open(url)?))
        }
        Some(("postgresql" | "postgres", _)) => {
            Ok(Box::new(crate::brokers::postgres::PostgresBroker::open(url)?))
        }
        Some(("amqp" | "amqps", _)) => {
            Ok(Box::new(crate::brokers::rabbitmq::RabbitBroker::open(url)?))
        }
        _ => Err(BrokerError::Open(format!(
            "no broker for {:?}: use sqlite:///relative/path.db, sqlite:////absolute/path.db, \
             redis://host:6379/0, postgresql://user@host/database, \
             amqp://user:password@host/vhost?store=URL, or memory:// in tests",
            // A password may stand anywhere behind the scheme.
            url.split_once("://").map_or(url, |(scheme, _)| scheme)
        ))),
    }
}
