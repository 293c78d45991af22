//! The thread that writes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::reader::ReadMessage;
use super::reply::Reply;
use super::{BUSY, CancelPort, POLL, POLL_BUSY, Shared};
use crate::broker::{Broker, Commit, WorkerRow, WorkerSpec};
use crate::error::BrokerError;
use crate::job::LeasedJob;
use crate::time::Time;

/// A group is committed after this long, whatever waits: the others want their answer.
const GROUP_TIME: Duration = Duration::from_millis(50);

/// What the writing thread is told.
pub(super) enum WriteMessage {
    Operation(Box<dyn Action>),
    Lease(LeaseCall),
    AddPort(Arc<dyn CancelPort>),
    RemovePort(WorkerRow),
}

/// A write and its reply, in two steps: nobody is answered before the commit.
pub(super) trait Action: Send {
    /// Does the work, and keeps what came of it.
    fn run(&mut self, broker: &mut dyn Broker, now: Time);
    /// Answers: with what came of it, or with the error of the group.
    fn settle(self: Box<Self>, group: Result<(), BrokerError>);
}

/// The usual action: a function, its result and who wants it.
pub(super) struct Operation<T, F> {
    work: Option<F>,
    result: Option<Result<T, BrokerError>>,
    reply: Reply<T>,
}

impl<T, F> Operation<T, F> {
    pub(super) fn new(work: F, reply: Reply<T>) -> Self {
        Self { work: Some(work), result: None, reply }
    }
}

impl<T, F> Action for Operation<T, F>
where
    T: Send,
    F: FnOnce(&mut dyn Broker, Time) -> Result<T, BrokerError> + Send,
{
    fn run(&mut self, broker: &mut dyn Broker, now: Time) {
        if let Some(work) = self.work.take() {
            self.result = Some(work(broker, now));
        }
    }

    fn settle(self: Box<Self>, group: Result<(), BrokerError>) {
        match (group, self.result) {
            (Ok(()), Some(result)) => self.reply.send(result),
            (Err(error), _) => self.reply.send(Err(error)),
            // Not run: the dropped reply says so.
            (Ok(()), None) => {}
        }
    }
}

/// A worker that waits for jobs.
pub(super) struct LeaseCall {
    worker: WorkerRow,
    spec: Arc<WorkerSpec>,
    limit: usize,
    deadline: Instant,
    /// When there would be something for it; `None` where that must be found out.
    work_at: Option<Time>,
    reply: Reply<Vec<LeasedJob>>,
}

impl LeaseCall {
    pub(super) fn new(
        worker: WorkerRow,
        spec: Arc<WorkerSpec>,
        limit: usize,
        deadline: Instant,
        reply: Reply<Vec<LeasedJob>>,
    ) -> Self {
        Self { worker, spec, limit, deadline, work_at: None, reply }
    }
}

/// The thread's own things.
pub(super) struct WriteThread {
    shared: Arc<Shared>,
    broker: Box<dyn Broker>,
    inbox: VecDeque<WriteMessage>,
    operations: VecDeque<Box<dyn Action>>,
    leases: Vec<LeaseCall>,
    ports: Vec<Arc<dyn CancelPort>>,
    /// When another process was last seen to have written.
    others_wrote: Option<Instant>,
}

impl WriteThread {
    pub(super) fn new(shared: Arc<Shared>, broker: Box<dyn Broker>) -> Self {
        Self {
            shared,
            broker,
            inbox: VecDeque::new(),
            operations: VecDeque::new(),
            leases: Vec::new(),
            ports: Vec::new(),
            others_wrote: None,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let open = self.shared.writes.take(self.patience(), &mut self.inbox);
            self.sort_inbox();
            if !open && self.operations.is_empty() {
                // Workers that wait for jobs learn of the end by their dropped replies.
                return;
            }
            let now = self.shared.clock.now();
            self.look_abroad();
            let ready = self.ready_leases(now);
            if !self.operations.is_empty() || !ready.is_empty() {
                self.write_group(ready, now);
            }
            self.answer_late_leases();
        }
    }

    /// How long to sleep: not at all where there is more to do, for ever where nobody waits for
    /// what others may write.
    fn patience(&self) -> Option<Duration> {
        if !self.operations.is_empty() || self.leases.iter().any(|call| call.work_at.is_none()) {
            Some(Duration::ZERO)
        } else {
            let busy = self.others_wrote.is_some_and(|at| at.elapsed() < BUSY);
            self.listens().then_some(if busy { POLL_BUSY } else { POLL })
        }
    }

    fn listens(&self) -> bool {
        !self.leases.is_empty()
            || !self.ports.is_empty()
            || self.shared.watchers.load(Ordering::SeqCst) > 0
    }

    fn sort_inbox(&mut self) {
        for message in self.inbox.drain(..) {
            match message {
                WriteMessage::Operation(operation) => self.operations.push_back(operation),
                WriteMessage::Lease(call) => self.leases.push(call),
                WriteMessage::AddPort(port) => self.ports.push(port),
                WriteMessage::RemovePort(worker) => {
                    self.ports.retain(|port| port.worker() != worker);
                }
            }
        }
    }

    /// Looks whether other processes wrote, where that matters to somebody here.
    fn look_abroad(&mut self) {
        if !self.listens() {
            return;
        }
        let changed = self.broker.was_changed_by_others();
        if let Ok(true) = changed {
            self.others_wrote = Some(Instant::now());
        }
        // A store that cannot be read is met again by those who wait, with its error.
        if changed.unwrap_or(true) {
            self.work_may_be_there();
            self.tell_cancels();
            if self.shared.watchers.load(Ordering::SeqCst) > 0 {
                self.shared.reads.push(ReadMessage::ChangedByOthers);
            }
        }
    }

    fn work_may_be_there(&mut self) {
        for call in &mut self.leases {
            call.work_at = None;
        }
    }

    /// Takes out the calls for which there is work now. A worker that waits in vain does not
    /// take the write lock.
    fn ready_leases(&mut self, now: Time) -> Vec<LeaseCall> {
        let mut ready = Vec::new();
        for mut call in std::mem::take(&mut self.leases) {
            if call.work_at.is_none() {
                match self.broker.work_at(&call.spec, now) {
                    Ok(at) => call.work_at = Some(at.unwrap_or(Time::MAX)),
                    Err(error) => {
                        call.reply.send(Err(error));
                        continue;
                    }
                }
            }
            if call.work_at.is_some_and(|at| at <= now) {
                ready.push(call);
            } else {
                self.leases.push(call);
            }
        }
        ready
    }

    fn write_group(&mut self, leases: Vec<LeaseCall>, now: Time) {
        if let Err(error) = self.broker.begin() {
            self.fail_group(leases, &error);
            return;
        }
        let started = Instant::now();
        let mut done = Vec::new();
        while let Some(mut operation) = self.operations.pop_front() {
            operation.run(self.broker.as_mut(), now);
            done.push(operation);
            if started.elapsed() > GROUP_TIME {
                break;
            }
        }
        let leased: Vec<_> = leases
            .iter()
            .map(|call| self.broker.lease(call.worker, &call.spec, call.limit, now))
            .collect();
        match self.broker.commit() {
            Ok(commit) => {
                for operation in done {
                    operation.settle(Ok(()));
                }
                self.settle_leases(leases, leased);
                self.tell(commit);
            }
            Err(error) => {
                self.operations = done.into_iter().chain(self.operations.drain(..)).collect();
                self.fail_group(leases, &error);
            }
        }
    }

    fn fail_group(&mut self, leases: Vec<LeaseCall>, error: &BrokerError) {
        for operation in self.operations.drain(..) {
            operation.settle(Err(error.clone()));
        }
        for call in leases {
            call.reply.send(Err(error.clone()));
        }
    }

    fn settle_leases(
        &mut self,
        leases: Vec<LeaseCall>,
        leased: Vec<Result<Vec<LeasedJob>, BrokerError>>,
    ) {
        for (mut call, result) in leases.into_iter().zip(leased) {
            match result {
                // Others were faster, or what was due is not for this worker.
                Ok(jobs) if jobs.is_empty() => {
                    call.work_at = None;
                    self.leases.push(call);
                }
                result => call.reply.send(result),
            }
        }
    }

    /// Tells those in this process who wait for something of what was committed.
    fn tell(&mut self, commit: Commit) {
        if commit.work {
            self.work_may_be_there();
        }
        if commit.cancels {
            self.tell_cancels();
        }
        if commit.orders {
            self.ports.iter().for_each(|port| port.look());
        }
        if !commit.changed.is_empty() && self.shared.watchers.load(Ordering::SeqCst) > 0 {
            self.shared.reads.push(ReadMessage::Changed(commit.changed));
        }
    }

    fn tell_cancels(&mut self) {
        for port in &self.ports {
            // Asked again at the next change, and at the worker's next sign of life.
            if let Ok(ids) = self.broker.cancels(port.worker())
                && !ids.is_empty()
            {
                port.cancel(ids);
            }
        }
    }

    fn answer_late_leases(&mut self) {
        let now = Instant::now();
        for call in std::mem::take(&mut self.leases) {
            if call.deadline <= now {
                call.reply.send(Ok(Vec::new()));
            } else {
                self.leases.push(call);
            }
        }
    }
}
