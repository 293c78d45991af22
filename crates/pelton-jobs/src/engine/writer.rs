//! The thread that writes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::reader::ReadMessage;
use super::reply::Reply;
use super::{BUSY, CancelPort, POLL, POLL_BUSY, Shared};
use crate::broker::{Broker, Commit, EnqueueCall, WorkerRow, WorkerSpec};
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::LeasedJob;
use crate::time::Time;

/// A group is committed after this long, whatever waits: the others want their answer.
const GROUP_TIME: Duration = Duration::from_millis(50);

/// Jobs written in one go with those of other callers.
const TOGETHER_MAX: usize = 4096;

/// Times that jobs are written again after the connection broke.
const TRIES_MAX: u32 = 20;

/// Where the store tells of others' writes: it is asked this often all the same.
const LOOK: Duration = Duration::from_secs(1);

/// What the writing thread is told.
pub(super) enum WriteMessage {
    Operation(Box<dyn Action>),
    Enqueue(EnqueueCall, Reply<Vec<JobId>>),
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

/// What callers want to be done, in the order in which they asked.
enum Wish {
    Action(Box<dyn Action>),
    Enqueue(EnqueueCall, Reply<Vec<JobId>>, u32),
}

impl Wish {
    fn fail(self, error: BrokerError) {
        match self {
            Self::Action(action) => action.settle(Err(error)),
            Self::Enqueue(call, reply, _) => reply.send(Err(unsure(&call, error))),
        }
    }
}

/// What the caller is told of an error: jobs that were sent before may be written, whatever kept
/// the broker from looking.
fn unsure(call: &EnqueueCall, error: BrokerError) -> BrokerError {
    match error {
        BrokerError::Store(why) | BrokerError::Open(why) if call.again => {
            BrokerError::Lost(format!(
                "{why}. That was another try: these jobs were sent before, over a connection that \
                 broke, and may or may not have been written"
            ))
        }
        error => error,
    }
}

/// What was done, and is to be told after the commit.
enum Deed {
    Action(Box<dyn Action>),
    Enqueue(EnqueueCall, Reply<Vec<JobId>>, u32, Result<Vec<JobId>, BrokerError>),
}

impl Deed {
    fn settle(self) {
        match self {
            Self::Action(action) => action.settle(Ok(())),
            Self::Enqueue(call, reply, _, result) => {
                reply.send(result.map_err(|error| unsure(&call, error)));
            }
        }
    }

    /// Tells of a group's failure; or gives back what can be tried again, since its ids make a
    /// second time no other than the first.
    fn fail(self, error: &BrokerError) -> Option<Wish> {
        match self {
            Self::Action(action) => action.settle(Err(error.clone())),
            Self::Enqueue(mut call, reply, tries, _)
                if tries < TRIES_MAX && matches!(error, BrokerError::Lost(_)) =>
            {
                call.again = true;
                return Some(Wish::Enqueue(call, reply, tries + 1));
            }
            Self::Enqueue(call, reply, ..) => reply.send(Err(unsure(&call, error.clone()))),
        }
        None
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
    /// Whether the store tells of others' writes by itself.
    told: bool,
    inbox: VecDeque<WriteMessage>,
    wishes: VecDeque<Wish>,
    leases: Vec<LeaseCall>,
    ports: Vec<Arc<dyn CancelPort>>,
    /// When another process was last seen to have written.
    others_wrote: Option<Instant>,
}

impl WriteThread {
    pub(super) fn new(shared: Arc<Shared>, broker: Box<dyn Broker>, told: bool) -> Self {
        Self {
            shared,
            broker,
            told,
            inbox: VecDeque::new(),
            wishes: VecDeque::new(),
            leases: Vec::new(),
            ports: Vec::new(),
            others_wrote: None,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let open = self.shared.writes.take(self.patience(), &mut self.inbox);
            self.sort_inbox();
            if !open && self.wishes.is_empty() {
                // Workers that wait for jobs learn of the end by their dropped replies.
                return;
            }
            let now = self.shared.clock.now();
            self.look_abroad();
            let ready = self.ready_leases(now);
            if !self.wishes.is_empty() || !ready.is_empty() {
                self.write_group(ready, now);
            }
            self.answer_late_leases();
        }
    }

    /// How long to sleep: not at all where there is more to do, for ever where nobody waits for
    /// what others may write.
    fn patience(&self) -> Option<Duration> {
        if !self.wishes.is_empty() || self.leases.iter().any(|call| call.work_at.is_none()) {
            return Some(Duration::ZERO);
        }
        if !self.told {
            let busy = self.others_wrote.is_some_and(|at| at.elapsed() < BUSY);
            return self.listens().then_some(if busy { POLL_BUSY } else { POLL });
        }
        let (now, wall) = (Instant::now(), self.shared.clock.now());
        let next = self.leases.iter().map(|call| {
            let work = call.work_at.map_or(0.0, |at| at.since(wall).clamp(0.0, LOOK.as_secs_f64()));
            call.deadline.saturating_duration_since(now).min(Duration::from_secs_f64(work))
        });
        // A microsecond more: not awake a moment before the time.
        next.min().map(|next| next + Duration::from_micros(1))
    }

    fn listens(&self) -> bool {
        !self.leases.is_empty()
            || !self.ports.is_empty()
            || self.shared.watchers.load(Ordering::SeqCst) > 0
    }

    fn sort_inbox(&mut self) {
        for message in self.inbox.drain(..) {
            match message {
                WriteMessage::Operation(operation) => {
                    self.wishes.push_back(Wish::Action(operation));
                }
                WriteMessage::Enqueue(call, reply) => {
                    self.wishes.push_back(Wish::Enqueue(call, reply, 0));
                }
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
        // A broker may tell of some things, and have to be asked for the rest.
        if self.shared.heard_work.swap(false, Ordering::SeqCst) {
            self.work_may_be_there();
        }
        if self.shared.heard_cancels.swap(false, Ordering::SeqCst) {
            self.tell_cancels();
        }
        if self.shared.heard_orders.swap(false, Ordering::SeqCst) {
            self.ports.iter().for_each(|port| port.look());
        }
        if self.told || !self.listens() {
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
        while let Some(wish) = self.wishes.pop_front() {
            match wish {
                Wish::Action(mut action) => {
                    action.run(self.broker.as_mut(), now);
                    done.push(Deed::Action(action));
                }
                Wish::Enqueue(call, reply, tries) => {
                    self.wishes.push_front(Wish::Enqueue(call, reply, tries));
                    self.enqueue_together(now, &mut done);
                }
            }
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
                for deed in done {
                    deed.settle();
                }
                self.settle_leases(leases, leased);
                self.tell(commit);
            }
            Err(error) => {
                let again: Vec<Wish> =
                    done.into_iter().filter_map(|deed| deed.fail(&error)).collect();
                for wish in again.into_iter().rev() {
                    self.wishes.push_front(wish);
                }
                for call in leases {
                    call.reply.send(Err(error.clone()));
                }
            }
        }
    }

    /// Writes the jobs of the first caller and of those that come right after it.
    fn enqueue_together(&mut self, now: Time, done: &mut Vec<Deed>) {
        let mut count = 0;
        let (mut calls, mut replies) = (Vec::new(), Vec::new());
        while (calls.is_empty() || count < TOGETHER_MAX)
            && matches!(self.wishes.front(), Some(Wish::Enqueue(..)))
        {
            if let Some(Wish::Enqueue(call, reply, tries)) = self.wishes.pop_front() {
                count += call.jobs.len();
                calls.push(call);
                replies.push((reply, tries));
            }
        }
        let results = self.broker.enqueue_all(&calls, now);
        let all = calls.into_iter().zip(replies).zip(results);
        done.extend(
            all.map(|((call, (reply, tries)), result)| Deed::Enqueue(call, reply, tries, result)),
        );
    }

    fn fail_group(&mut self, leases: Vec<LeaseCall>, error: &BrokerError) {
        for wish in self.wishes.drain(..) {
            wish.fail(error.clone());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::wait;

    #[test]
    fn jobs_that_may_be_written_are_not_told_to_be_not() {
        let away = || BrokerError::Store("away; nothing was done".into());
        let lost = BrokerError::Lost("broke".into());
        let call = || EnqueueCall { jobs: Vec::new(), edges: Vec::new(), again: false };
        let first = wait(|reply| Wish::Enqueue(call(), reply, 0).fail(away()));
        assert!(matches!(first, Err(BrokerError::Store(_))), "{first:?}");
        let second = wait(|reply| {
            let again = Deed::Enqueue(call(), reply, 0, Ok(Vec::new())).fail(&lost);
            again.into_iter().for_each(|wish| wish.fail(away()));
        });
        assert!(matches!(second, Err(BrokerError::Lost(_))), "{second:?}");
        let refused = wait(|reply| {
            Deed::Enqueue(EnqueueCall { again: true, ..call() }, reply, 1, Err(away())).settle();
        });
        assert!(matches!(refused, Err(BrokerError::Lost(_))), "{refused:?}");
    }
}
