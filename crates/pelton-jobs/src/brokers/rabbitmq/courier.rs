//! Publishing: a message for each job that is ready, confirmed by the server.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::bands::Bands;
use super::connection::{Broken, Listener, Wire};
use super::content::Event;
use super::frame::Out;
use super::link::Link;
use super::method::{self, Message};
use super::station::REST;
use crate::error::BrokerError;
use crate::id::JobId;

/// Messages under way at a time.
const TOGETHER_MAX: usize = 2048;

/// Jobs that are remembered while there is no server to tell. Those above it, and those of a
/// process that dies, are found in the store by workers that have nothing else to do.
const UNTOLD_MAX: usize = 100_000;

/// A server that has asked for nothing more may confirm what it has for this long.
const BLOCKED_PATIENCE: Duration = Duration::from_millis(500);

/// A job that workers are to be told of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Ready {
    pub(super) id: JobId,
    /// The queue of RabbitMQ.
    pub(super) queue: Arc<str>,
    pub(super) task: Arc<str>,
    pub(super) priority: i8,
}

/// Publishes on a channel of its own.
pub(super) struct Courier {
    link: Link,
    patience: Duration,
    bands: Bands,
    open: Option<Open>,
    untold: VecDeque<Ready>,
    /// The server was too slow, or would not take messages: it is not told before this.
    rests_until: Option<Instant>,
}

/// A channel, and what is known of its server.
struct Open {
    wire: Arc<Wire>,
    channel: u16,
    confirms: Arc<Confirms>,
    declared: HashSet<Arc<str>>,
    /// Messages published on the channel.
    published: u64,
}

impl Courier {
    pub(super) fn new(link: Link, patience: Duration, bands: Bands) -> Self {
        Self { link, patience, bands, open: None, untold: VecDeque::new(), rests_until: None }
    }

    /// The queues of RabbitMQ for one of ours.
    pub(super) fn bands(&mut self) -> &mut Bands {
        &mut self.bands
    }

    /// Sees that a queue is there, as far as the server is. An error where it will not have it.
    pub(super) fn prepare(&mut self, queue: &Arc<str>) -> Result<(), BrokerError> {
        if self.open.as_ref().is_some_and(|open| open.declared.contains(queue)) {
            return Ok(());
        }
        match self.declare(&[Arc::clone(queue)]) {
            Err(Broken::Refused(fault)) => Err(refused(queue, &fault)),
            // What cannot be said now is kept, and said later.
            Ok(()) | Err(Broken::Lost(_)) => Ok(()),
        }
    }

    /// Tells of jobs, and of those that could not be told of before; returns when the server has
    /// them safe, or is known not to.
    pub(super) fn tell(&mut self, ready: Vec<Ready>) {
        self.untold.extend(ready);
        // Each once: those that the server would not keep are at the back then.
        let mut tries = self.untold.len();
        while tries > 0 && !self.rests() && self.link.wire().is_some() {
            let batch: Vec<Ready> = self.untold.drain(..tries.min(TOGETHER_MAX)).collect();
            tries -= batch.len();
            let left = self.publish(batch);
            self.untold.extend(left);
        }
        self.untold.truncate(UNTOLD_MAX);
    }

    /// How many jobs wait to be told of.
    pub(super) fn untold(&self) -> usize {
        self.untold.len()
    }

    /// Publishes messages; those that the server does not have.
    fn publish(&mut self, mut batch: Vec<Ready>) -> Vec<Ready> {
        let began = Instant::now();
        let mut queues: Vec<Arc<str>> =
            batch.iter().map(|ready| Arc::clone(&ready.queue)).collect();
        queues.sort_unstable();
        queues.dedup();
        match self.declare(&queues) {
            Ok(()) => {}
            Err(Broken::Lost(_)) => return batch,
            Err(Broken::Refused(_)) => {
                // It took the queue when the job was written, and will not now: to try for ever
                // would be in vain. Workers find its jobs in the store.
                queues.retain(|queue| {
                    matches!(self.declare(std::slice::from_ref(queue)), Err(Broken::Refused(_)))
                });
                batch.retain(|ready| !queues.contains(&ready.queue));
                // The last refusal closed the channel.
                return batch;
            }
        }
        let Some(open) = &mut self.open else { return batch };
        if open.wire.is_blocked() {
            return batch;
        }
        let first = open.published + 1;
        let mut out = Out::default();
        for ready in &batch {
            let Ready { id, queue, task, priority } = ready;
            let message = Message { queue, id: *id, task, priority: *priority };
            message.write(open.channel, &mut out);
        }
        open.published += batch.len() as u64;
        open.confirms.expect(first, open.published);
        if open.wire.send(&out.bytes).is_err() {
            return batch;
        }
        let (unsafe_tags, returned) = open.confirms.wait(&open.wire, self.patience);
        if !returned.is_empty() {
            // Somebody removed queues: they are declared anew.
            open.declared.clear();
        }
        let may_not = open.confirms.is_over() && !open.wire.is_dead();
        let tagged = batch.into_iter().zip(first..);
        let left: Vec<Ready> = tagged
            .filter(|(ready, tag)| unsafe_tags.contains(tag) || returned.contains(&ready.id))
            .map(|(ready, _)| ready)
            .collect();
        if may_not || (!unsafe_tags.is_empty() && began.elapsed() >= self.patience) {
            self.rests_until = Some(Instant::now() + REST);
        }
        left
    }

    fn rests(&self) -> bool {
        self.rests_until.is_some_and(|until| Instant::now() < until)
    }

    /// Declares those queues that are not known to be there.
    fn declare(&mut self, queues: &[Arc<str>]) -> Result<(), Broken> {
        let wire = self.link.wire().filter(|_| !self.rests());
        let Some(wire) = wire else {
            return Err(Broken::Lost("the server is away".into()));
        };
        if wire.is_blocked() {
            // It does not read from this connection, and would not answer.
            return Err(Broken::Lost("the server is short of memory or disk".into()));
        }
        let began = Instant::now();
        let done = self.declare_on(wire, queues);
        if matches!(done, Err(Broken::Lost(_))) && began.elapsed() * 2 >= self.patience {
            self.rests_until = Some(Instant::now() + REST);
        }
        done
    }

    fn declare_on(&mut self, wire: Arc<Wire>, queues: &[Arc<str>]) -> Result<(), Broken> {
        let usable = |open: &&mut Open| Arc::ptr_eq(&open.wire, &wire) && !open.confirms.is_over();
        let open = match self.open.as_mut().filter(usable) {
            Some(open) => open,
            None => {
                if let Some(old) = self.open.take() {
                    old.wire.forget_channel(old.channel);
                }
                self.open.insert(Open::on(wire)?)
            }
        };
        let new: Vec<_> = queues.iter().filter(|queue| !open.declared.contains(*queue)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut out = Out::default();
        for queue in &new {
            method::declare(open.channel, queue, &mut out);
        }
        open.wire.ask(open.channel, &out, new.len())?;
        open.declared.extend(new.into_iter().cloned());
        Ok(())
    }
}

/// What a caller is told whose queue the server will not have.
pub(super) fn refused(queue: &str, fault: &method::Fault) -> BrokerError {
    BrokerError::Store(format!(
        "RabbitMQ refused the queue {queue:?}: {} ({}): delete the queue of that name, or use \
         ?namespace= in the broker's URL, or give its user the right to configure, write and read \
         queues of this name",
        fault.text, fault.code
    ))
}

impl Open {
    fn on(wire: Arc<Wire>) -> Result<Self, Broken> {
        let confirms = Arc::new(Confirms::default());
        let channel = wire.open_channel(Arc::clone(&confirms) as _)?;
        let mut out = Out::default();
        method::confirm(channel, &mut out);
        wire.ask(channel, &out, 1)?;
        Ok(Self { wire, channel, confirms, declared: HashSet::new(), published: 0 })
    }
}

/// What the server has not confirmed yet.
#[derive(Default)]
struct Confirms {
    state: Mutex<Unconfirmed>,
    changed: Condvar,
}

#[derive(Default)]
struct Unconfirmed {
    tags: BTreeSet<u64>,
    /// Those that it refused to keep.
    refused: HashSet<u64>,
    returned: HashSet<JobId>,
    over: bool,
}

impl Confirms {
    fn expect(&self, first: u64, last: u64) {
        let mut state = self.lock();
        state.refused.clear();
        state.returned.clear();
        // What an earlier wait gave up is somebody else's already.
        state.tags = (first..=last).collect();
    }

    fn is_over(&self) -> bool {
        self.lock().over
    }

    /// Waits for all; those that are not safe, and those that found no queue.
    fn wait(&self, wire: &Wire, patience: Duration) -> (HashSet<u64>, HashSet<JobId>) {
        let begun = Instant::now();
        let mut state = self.lock();
        while !state.tags.is_empty() && !state.over {
            let patience = if wire.is_blocked() { BLOCKED_PATIENCE } else { patience };
            if begun.elapsed() >= patience {
                if !wire.is_blocked() {
                    drop(state);
                    wire.fail("no confirms in time");
                    state = self.lock();
                }
                break;
            }
            // Whether it is blocked is not told here.
            let nap = BLOCKED_PATIENCE.min(patience);
            state = self.changed.wait_timeout(state, nap).unwrap_or_else(PoisonError::into_inner).0;
        }
        let Unconfirmed { tags, refused, returned, .. } = &mut *state;
        let left = std::mem::take(tags).into_iter().chain(std::mem::take(refused)).collect();
        (left, std::mem::take(returned))
    }

    fn lock(&self) -> MutexGuard<'_, Unconfirmed> {
        // Nothing that runs under this lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Confirms {
    fn hear(&self, event: Event) {
        let mut state = self.lock();
        match event {
            Event::Confirmed { tag, multiple, ok } => {
                let done: Vec<u64> = match multiple {
                    true => {
                        let later = state.tags.split_off(&tag.saturating_add(1));
                        std::mem::replace(&mut state.tags, later).into_iter().collect()
                    }
                    false => state.tags.take(&tag).into_iter().collect(),
                };
                if !ok {
                    state.refused.extend(done);
                }
                if state.tags.is_empty() {
                    self.changed.notify_all();
                }
            }
            Event::Returned { id } => state.returned.extend(id),
            _ => {}
        }
    }

    fn end(&self, _: &str) {
        self.lock().over = true;
        self.changed.notify_all();
    }
}
