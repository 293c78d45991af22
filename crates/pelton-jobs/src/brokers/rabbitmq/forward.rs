//! The broker as the engine drives it: the store does the work, and RabbitMQ learns of it.

use std::sync::Arc;

use super::{Group, RabbitBroker};
use crate::broker::{
    Broker, Chance, Claim, Commit, Ears, EnqueueCall, Progress, Reader, Tick, WorkerRow, WorkerSpec,
};
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::{Edge, Lease, LeasedJob, NewJob, Outcome, Settled};
use crate::limit::{Limit, Rate, Scope};
use crate::schedule::ScheduleSpec;
use crate::time::Time;

impl Broker for RabbitBroker {
    fn begin(&mut self) -> Result<(), BrokerError> {
        self.group = Group::default();
        self.store.begin()
    }

    fn commit(&mut self) -> Result<Commit, BrokerError> {
        match self.store.commit() {
            Ok(commit) => {
                self.after_commit(&commit);
                Ok(commit)
            }
            Err(error) => {
                // What was claimed may have been, or not: the messages tell again.
                for taken in std::mem::take(&mut self.group).taken {
                    taken.put_back();
                }
                Err(error)
            }
        }
    }

    fn enqueue(
        &mut self,
        jobs: &[Arc<NewJob>],
        edges: &[Edge],
        now: Time,
    ) -> Result<Vec<JobId>, BrokerError> {
        self.prepare(jobs)?;
        let ids = self.store.enqueue(jobs, edges, now)?;
        self.note_written(jobs, edges, &ids, now)?;
        Ok(ids)
    }

    fn enqueue_all(
        &mut self,
        calls: &[EnqueueCall],
        now: Time,
    ) -> Vec<Result<Vec<JobId>, BrokerError>> {
        let refused: Vec<Option<BrokerError>> =
            calls.iter().map(|call| self.prepare(&call.jobs).err()).collect();
        if refused.iter().all(Option::is_none) {
            let results = self.store.enqueue_all(calls, now);
            return calls
                .iter()
                .zip(results)
                .map(|(call, result)| {
                    let ids = result?;
                    self.note_written(&call.jobs, &call.edges, &ids, now)?;
                    Ok(ids)
                })
                .collect();
        }
        let one_by_one = calls.iter().zip(refused);
        one_by_one
            .map(|(call, refused)| match refused {
                Some(error) => Err(error),
                None => {
                    let one = std::slice::from_ref(call);
                    let result = self.store.enqueue_all(one, now).pop();
                    let ids = result.unwrap_or_else(|| {
                        Err(BrokerError::Store("the store did not answer".into()))
                    })?;
                    self.note_written(&call.jobs, &call.edges, &ids, now)?;
                    Ok(ids)
                }
            })
            .collect()
    }

    fn lease(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        limit: usize,
        now: Time,
    ) -> Result<Vec<LeasedJob>, BrokerError> {
        self.lease_jobs(worker, spec, limit, now)
    }

    fn claim(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        ids: &[JobId],
        limit: usize,
        now: Time,
    ) -> Result<Claim, BrokerError> {
        let claim = self.store.claim(worker, spec, ids, limit, now)?;
        self.note_leased(&claim.jobs);
        Ok(claim)
    }

    fn finish(
        &mut self,
        worker: WorkerRow,
        outcomes: &[Outcome],
        now: Time,
        chance: &mut dyn Chance,
    ) -> Result<Vec<Settled>, BrokerError> {
        let settled = self.store.finish(worker, outcomes, now, chance)?;
        self.note_settled(&settled);
        Ok(settled)
    }

    fn progress(&mut self, reports: &[Progress]) -> Result<(), BrokerError> {
        self.group.known.extend(reports.iter().map(|report| report.lease.id));
        self.store.progress(reports)
    }

    fn cancel(&mut self, id: JobId, reason: &str, now: Time) -> Result<bool, BrokerError> {
        self.store.cancel(id, reason, now)
    }

    fn retry(&mut self, id: JobId, now: Time) -> Result<bool, BrokerError> {
        let retried = self.store.retry(id, now)?;
        self.group.known.remove(&id);
        self.group.look.push(id);
        Ok(retried)
    }

    fn delete(&mut self, id: JobId, now: Time) -> Result<bool, BrokerError> {
        self.store.delete(id, now)
    }

    fn set_paused(&mut self, queue: &str, paused: bool) -> Result<(), BrokerError> {
        self.store.set_paused(queue, paused)
    }

    fn add_worker(&mut self, spec: &WorkerSpec, now: Time) -> Result<WorkerRow, BrokerError> {
        self.store.add_worker(spec, now)
    }

    fn renew(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        held: &[Lease],
        now: Time,
    ) -> Result<Vec<JobId>, BrokerError> {
        self.store.renew(worker, spec, held, now)
    }

    fn remove_worker(&mut self, worker: WorkerRow) -> Result<(), BrokerError> {
        self.leave(worker);
        self.store.remove_worker(worker)
    }

    fn declare(
        &mut self,
        owner: &str,
        schedules: &[ScheduleSpec],
        now: Time,
    ) -> Result<(), BrokerError> {
        self.store.declare(owner, schedules, now)
    }

    fn tick(&mut self, leader: &str, now: Time) -> Result<Tick, BrokerError> {
        let tick = self.store.tick(leader, now)?;
        self.group.look.extend(tick.fired.iter().map(|(_, id)| *id));
        Ok(tick)
    }

    fn resign(&mut self, leader: &str) -> Result<(), BrokerError> {
        self.store.resign(leader)
    }

    fn tidy(&mut self, now: Time) -> Result<bool, BrokerError> {
        self.store.tidy(now)
    }

    fn work_at(&mut self, spec: &WorkerSpec, now: Time) -> Result<Option<Time>, BrokerError> {
        self.next_work(spec, now)
    }

    fn was_changed_by_others(&mut self) -> Result<bool, BrokerError> {
        self.store.was_changed_by_others()
    }

    fn listen(&mut self, ears: Arc<dyn Ears>) -> Result<bool, BrokerError> {
        // Called once; a second engine on one broker there is not.
        let _ = self.ears.set(Arc::clone(&ears));
        self.store.listen(ears)
    }

    fn cancels(&mut self, worker: WorkerRow) -> Result<Vec<JobId>, BrokerError> {
        self.store.cancels(worker)
    }

    fn save_step(&mut self, lease: Lease, step: &str, value: &[u8]) -> Result<bool, BrokerError> {
        self.store.save_step(lease, step, value)
    }

    fn steps(&mut self, lease: Lease) -> Result<Vec<(String, Vec<u8>)>, BrokerError> {
        self.store.steps(lease)
    }

    fn take_signal(
        &mut self,
        lease: Lease,
        signal: &str,
        step: &str,
    ) -> Result<Option<Vec<u8>>, BrokerError> {
        self.store.take_signal(lease, signal, step)
    }

    fn signal(
        &mut self,
        id: JobId,
        signal: &str,
        value: &[u8],
        now: Time,
    ) -> Result<bool, BrokerError> {
        let taken = self.store.signal(id, signal, value, now)?;
        self.group.known.remove(&id);
        self.group.look.push(id);
        Ok(taken)
    }

    fn set_limit(&mut self, scope: &Scope, limit: Option<&Limit>) -> Result<(), BrokerError> {
        self.store.set_limit(scope, limit)
    }

    fn declare_limit(&mut self, scope: &Scope, limit: Option<&Limit>) -> Result<(), BrokerError> {
        self.store.declare_limit(scope, limit)
    }

    fn acquire(
        &mut self,
        bucket: &str,
        rate: Rate,
        cost: f64,
        now: Time,
    ) -> Result<Option<Time>, BrokerError> {
        self.store.acquire(bucket, rate, cost, now)
    }

    fn cancel_group(&mut self, group: &str, reason: &str, now: Time) -> Result<u64, BrokerError> {
        self.store.cancel_group(group, reason, now)
    }

    fn purge_queue(&mut self, queue: &str, limit: u32, now: Time) -> Result<u64, BrokerError> {
        self.store.purge_queue(queue, limit, now)
    }

    fn put_schedule(
        &mut self,
        owner: &str,
        schedule: &ScheduleSpec,
        now: Time,
    ) -> Result<(), BrokerError> {
        self.store.put_schedule(owner, schedule, now)
    }

    fn remove_schedule(&mut self, name: &str) -> Result<bool, BrokerError> {
        self.store.remove_schedule(name)
    }

    fn pause_schedule(&mut self, name: &str, paused: bool, now: Time) -> Result<bool, BrokerError> {
        self.store.pause_schedule(name, paused, now)
    }

    fn run_schedule(&mut self, name: &str, now: Time) -> Result<Option<JobId>, BrokerError> {
        let id = self.store.run_schedule(name, now)?;
        self.group.look.extend(id);
        Ok(id)
    }

    fn order_workers(
        &mut self,
        name: Option<&str>,
        order: &[u8],
        now: Time,
    ) -> Result<u64, BrokerError> {
        self.store.order_workers(name, order, now)
    }

    fn orders(
        &mut self,
        worker: WorkerRow,
        report: Option<&[u8]>,
    ) -> Result<Vec<Vec<u8>>, BrokerError> {
        self.store.orders(worker, report)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, BrokerError> {
        self.store.reader()
    }
}
