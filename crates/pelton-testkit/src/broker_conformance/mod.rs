//! What every broker must do, as functions that take a store.
//!
//! A broker's own tests implement [`Store`] and write `pelton_testkit::broker_conformance!(make)`,
//! where `make` returns a new, empty store: each check becomes a test. Where a server must be started
//! for them, `run_broker_conformance!` makes one test of all.

pub mod control;
pub mod ends;
pub mod failures;
pub mod leases;
pub mod limits;
pub mod model;
pub mod operations;
pub mod schedules;
pub mod steps;
pub mod workflows;
pub mod writes;

use std::sync::Arc;

use pelton_jobs::BrokerError;
use pelton_jobs::broker::{Broker, Commit, Reader, WorkerRow, WorkerSpec};
use pelton_jobs::id::JobId;
use pelton_jobs::job::{Edge, End, Extra, LeasedJob, NewJob, On, Outcome, Settled};
use pelton_jobs::record::JobRecord;
use pelton_jobs::retry::RetryPolicy;
use pelton_jobs::state::State;
use pelton_jobs::time::Time;

use crate::random::Random;

/// A place where jobs are kept, that can be opened several times, as several processes would.
pub trait Store {
    /// A broker on it.
    fn open(&self) -> Box<dyn Broker>;

    /// Whether a process that dies in the middle of a group leaves nothing of it behind. Where each
    /// operation happens at once, it leaves the whole operations that came before.
    fn groups_are_atomic(&self) -> bool {
        true
    }

    /// How long random walks are. `PELTON_TEST_STEPS` has another number.
    fn steps(&self) -> usize {
        1500
    }
}

/// Makes a test of each check. The argument is an expression that makes a new, empty store.
#[macro_export]
macro_rules! broker_conformance {
    ($make:expr) => {
        $crate::each_broker_check!(broker_conformance, $make);
    };
    ($make:expr; $area:ident: $($check:ident),+) => {
        mod $area {
            use super::*;
            $(#[test]
            fn $check() {
                $crate::broker_conformance::$area::$check(&$make);
            })+
        }
    };
}

/// Runs each check, one after the other: for stores whose server is worth starting once only.
#[macro_export]
macro_rules! run_broker_conformance {
    ($make:expr) => {
        $crate::each_broker_check!(run_broker_conformance, $make);
    };
    ($make:expr; $area:ident: $($check:ident),+) => {
        $({
            println!("{}::{}", stringify!($area), stringify!($check));
            $crate::broker_conformance::$area::$check(&$make);
        })+
    };
}

/// Gives all checks there are to another macro, area by area.
#[macro_export]
macro_rules! each_broker_check {
    ($then:ident, $make:expr) => {
        $crate::$then!($make; writes: round_trip, batch_is_all_or_nothing,
            bad_operation_spares_its_group, keys_are_unique_while_unfinished,
            bulk_keeps_order, others_see_commits, used_ids_are_refused);
        $crate::$then!($make; leases: priority_then_age, queues_are_chosen,
            paused_queues_rest, delayed_jobs_wait, expired_jobs_never_start,
            leases_go_to_one, claims_are_leases, lost_leases_are_taken_over, poison_is_put_away,
            worker_comes_back, renewing_keeps, work_is_announced);
        $crate::$then!($make; ends: success_is_kept, failures_back_off,
            failure_can_be_final, own_delay_counts_as_retry, release_does_not_count,
            stale_outcomes_change_nothing, progress_is_fenced, records_are_purged);
        $crate::$then!($make; control: cancel_unstarted, cancel_running,
            cancel_wins_over_retry, retry_starts_over, delete_only_ended, counts_are_true,
            lists_are_filtered, workers_are_listed);
        $crate::$then!($make; workflows: chain_passes_results, group_gathers_in_order,
            dead_parent_ends_descendants, cancelled_parent_names_itself, parents_from_before,
            children_retried_after_parents, circles_are_refused, key_may_stand_for_a_parent,
            children_can_be_deleted_first);
        $crate::$then!($make; schedules: fires_once_per_tick, one_leads,
            dead_leader_is_replaced, missed_ticks_fire_once, old_ticks_do_not_fire,
            declaring_again_keeps_the_place, owners_keep_theirs, cron_and_interval_are_told);
        $crate::$then!($make; failures: first_failure_is_followed,
            unneeded_followers_are_cancelled, cancelled_followers_learn_of_failures,
            failures_reach_through_chains,
            failures_from_before, attempts_are_remembered, history_is_bounded);
        $crate::$then!($make; steps: steps_outlive_attempts, rest_is_no_attempt,
            signals_wake, rest_can_be_ended, steps_go_with_the_record);
        $crate::$then!($make; limits: concurrency_is_limited, rates_are_kept,
            keys_have_their_own_limits, retried_jobs_heed_new_limits, what_is_set_wins,
            buckets_are_shared, queues_are_served_in_turn, keys_stay_taken);
        $crate::$then!($make; operations: schedules_change_at_run_time,
            missed_ticks_are_made_up_for, orders_reach_workers, many_jobs_end_at_once);
        $crate::$then!($make; model: random_walks_agree_with_the_model);
    };
}

/// One broker on a store, with a time of its own and the usual worker.
pub struct World {
    /// The broker.
    pub broker: Box<dyn Broker>,
    /// What was committed.
    pub reader: Box<dyn Reader>,
    /// The time that all operations get.
    pub now: Time,
    /// Serves all queues, for 10 seconds without a sign of life.
    pub spec: WorkerSpec,
    /// That worker.
    pub worker: WorkerRow,
}

impl World {
    /// Opens `store`, at a fixed time.
    pub fn new(store: &dyn Store) -> Self {
        let mut broker = store.open();
        let reader = broker.reader().unwrap();
        let now = Time::from_secs(1_700_000_000.0);
        let spec = worker_spec("usual", &[]);
        let worker = write(broker.as_mut(), |broker| broker.add_worker(&spec, now)).unwrap();
        Self { broker, reader, now, spec, worker }
    }

    /// Moves the time on.
    pub fn advance(&mut self, seconds: f64) {
        self.now = self.now.after(seconds);
    }

    /// One operation as a group of its own.
    pub fn write<T>(
        &mut self,
        operation: impl FnOnce(&mut dyn Broker, Time) -> Result<T, BrokerError>,
    ) -> Result<T, BrokerError> {
        let now = self.now;
        write(self.broker.as_mut(), |broker| operation(broker, now))
    }

    /// Writes jobs without ties.
    pub fn enqueue(&mut self, jobs: Vec<NewJob>) -> Vec<JobId> {
        self.enqueue_workflow(jobs, &[]).unwrap()
    }

    /// Writes jobs with edges: (parent, child, position) by index into `jobs`.
    pub fn enqueue_tied(&mut self, jobs: Vec<NewJob>, edges: &[(usize, usize, u32)]) -> Vec<JobId> {
        let edges: Vec<Edge> = edges
            .iter()
            .map(|(parent, child, position)| Edge {
                parent: jobs[*parent].id,
                child: jobs[*child].id,
                position: *position,
                on: On::Success,
            })
            .collect();
        self.enqueue_workflow(jobs, &edges).unwrap()
    }

    /// Writes jobs with edges.
    pub fn enqueue_workflow(
        &mut self,
        jobs: Vec<NewJob>,
        edges: &[Edge],
    ) -> Result<Vec<JobId>, BrokerError> {
        let jobs: Vec<_> = jobs.into_iter().map(Arc::new).collect();
        self.write(|broker, now| broker.enqueue(&jobs, edges, now))
    }

    /// Leases for the usual worker.
    pub fn lease(&mut self, limit: usize) -> Vec<LeasedJob> {
        let (worker, spec) = (self.worker, self.spec.clone());
        self.write(|broker, now| broker.lease(worker, &spec, limit, now)).unwrap()
    }

    /// Leases exactly one job.
    pub fn lease_one(&mut self) -> LeasedJob {
        let mut jobs = self.lease(1);
        assert_eq!(jobs.len(), 1, "one job was to be leased");
        jobs.remove(0)
    }

    /// Ends an attempt. Backoff gets the largest chance there is.
    pub fn finish(&mut self, job: &LeasedJob, end: End) -> Settled {
        let worker = self.worker;
        let outcome = Outcome { lease: job.lease(), end };
        let settled =
            self.write(|broker, now| broker.finish(worker, &[outcome], now, &mut Highest)).unwrap();
        assert_eq!(settled.len(), 1);
        settled[0]
    }

    /// Ends an attempt well.
    pub fn succeed(&mut self, job: &LeasedJob, result: &[u8]) -> Settled {
        self.finish(job, End::Success(result.to_vec()))
    }

    /// Ends an attempt badly.
    pub fn fail(&mut self, job: &LeasedJob) -> Settled {
        self.finish(job, End::Failure { error: b"{}".to_vec(), retry: true, delay: None })
    }

    /// A job's record, which is there.
    pub fn record(&mut self, id: JobId) -> JobRecord {
        self.reader.get(id).unwrap().unwrap_or_else(|| panic!("no job {id}"))
    }

    /// A job's state.
    pub fn state(&mut self, id: JobId) -> State {
        self.record(id).state
    }

    /// Tidies until there is nothing more to do.
    pub fn tidy(&mut self) {
        while self.write(|broker, now| broker.tidy(now)).unwrap() {}
    }
}

/// One operation as a group of its own.
pub fn write<T>(
    broker: &mut dyn Broker,
    operation: impl FnOnce(&mut dyn Broker) -> Result<T, BrokerError>,
) -> Result<T, BrokerError> {
    let (result, _) = write_and_tell(broker, operation);
    result
}

/// One operation as a group of its own, and what the commit told.
pub fn write_and_tell<T>(
    broker: &mut dyn Broker,
    operation: impl FnOnce(&mut dyn Broker) -> Result<T, BrokerError>,
) -> (Result<T, BrokerError>, Commit) {
    broker.begin().unwrap();
    let result = operation(broker);
    (result, broker.commit().unwrap())
}

/// A job of task "task" with all the defaults, and no jitter.
pub fn job() -> NewJob {
    NewJob {
        id: JobId::new(Time::from_secs(1_700_000_000.0)).unwrap(),
        task: "task".into(),
        payload: b"[]".to_vec(),
        queue: "default".into(),
        priority: 0,
        run_at: None,
        expires_at: None,
        key: None,
        timeout: None,
        retry: RetryPolicy { jitter: false, ..RetryPolicy::default() },
        result_ttl: 86_400.0,
        group: None,
        extra: Extra::default(),
    }
}

/// A worker of 10 seconds' lease.
pub fn worker_spec(name: &str, queues: &[&str]) -> WorkerSpec {
    WorkerSpec {
        name: name.into(),
        hostname: "host".into(),
        pid: 7,
        queues: queues.iter().map(ToString::to_string).collect(),
        skip: Vec::new(),
        concurrency: 4,
        lease: 10.0,
    }
}

/// The ids of leased jobs.
pub fn ids(jobs: &[LeasedJob]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

/// Chance that is always nearly 1.
struct Highest;

impl pelton_jobs::broker::Chance for Highest {
    fn next(&mut self) -> f64 {
        0.999
    }
}

/// The seed of this run: `PELTON_TEST_SEED`, or one made of the time.
pub fn seed() -> u64 {
    let given = std::env::var("PELTON_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    given.unwrap_or_else(|| Random::new(since.unwrap_or_default().as_nanos() as u64).bits())
}
