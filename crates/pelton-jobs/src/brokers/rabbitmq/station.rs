//! Consuming: what one kind of worker of this process is sent.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::bands::{BANDS, Bands};
use super::connection::{Broken, Wire};
use super::courier::refused as refused_queue;
use super::frame::Out;
use super::intake::{Arrival, Intake};
use super::method::{self, Said};
use super::url::Location;
use crate::broker::{Ears, WorkerRow, WorkerSpec};
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::LeasedJob;
use crate::time::Time;

/// Seconds for a message of a job that the store has ready. After that an idle worker takes the
/// job from the store: nobody has told of it, or whoever was told does not come to it.
const GRACE: f64 = 0.2;

/// Seconds between two looks at the store by workers that have enough messages: jobs that nobody
/// told of are the oldest there.
const SWEEP: f64 = 5.0;

/// Seconds for which the store is asked directly after a job was held back by a limit, or a pause.
const HELD: f64 = 5.0;

/// How long messages are kept for workers that ask for none.
const UNUSED: Duration = Duration::from_secs(60);

/// Between two tries to consume a queue that the server refused, and to use a server that was too
/// slow to answer: each try keeps this process's writes waiting.
const REFUSED: Duration = Duration::from_secs(60);
pub(super) const REST: Duration = Duration::from_secs(30);

/// Messages sent ahead by a worker's own measure.
const PREFETCH_MIN: u32 = 8;
const PREFETCH_MAX: u32 = 1000;

/// The messages for workers of the same queues.
pub(super) struct Station {
    queues: Vec<String>,
    skip: Vec<String>,
    concurrency: u32,
    prefetch: u16,
    workers: HashSet<i64>,
    channel: Option<Channel>,
    /// Queues that the server would not have, and since when.
    refused: HashMap<String, Instant>,
    /// The server was too slow: it is not asked again before this.
    rests_until: Option<Instant>,
    /// How long it may take to answer.
    patience: Duration,
    used: Instant,
    ears: Arc<OnceLock<Arc<dyn Ears>>>,
    /// Which of its queues is served first: the next one each time.
    turn: usize,
    watch: Watch,
}

/// A channel with a consumer for each queue and band.
struct Channel {
    wire: Arc<Wire>,
    number: u16,
    intake: Arc<Intake>,
    subscribed: Vec<String>,
}

/// Messages that were taken, until it is known what came of them.
pub(super) struct Taken {
    intake: Arc<Intake>,
    wire: Arc<Wire>,
    channel: u16,
    pub(super) arrivals: Vec<Arrival>,
    /// Messages that are about no job.
    foreign: Vec<u64>,
}

/// When the store is to be looked at, besides the messages.
#[derive(Debug, Default)]
struct Watch {
    /// Since when the store has something ready, and no message is here.
    ready_since: Option<Time>,
    /// When something falls due there.
    due: Option<Time>,
    /// Jobs were held back lately.
    held_until: Option<Time>,
    /// The last look found as much as was wanted: there is more.
    draining: bool,
    swept: Option<Time>,
}

impl Station {
    pub(super) fn new(
        spec: &WorkerSpec,
        location: &Location,
        ears: Arc<OnceLock<Arc<dyn Ears>>>,
    ) -> Self {
        let own = spec.concurrency.saturating_mul(2).clamp(PREFETCH_MIN, PREFETCH_MAX) as u16;
        Self {
            queues: spec.queues.clone(),
            skip: spec.skip.clone(),
            concurrency: spec.concurrency,
            prefetch: location.prefetch.unwrap_or(own),
            workers: HashSet::new(),
            channel: None,
            refused: HashMap::new(),
            rests_until: None,
            patience: location.patience,
            used: Instant::now(),
            ears,
            turn: 0,
            watch: Watch::default(),
        }
    }

    /// Whether it is for workers like this one.
    pub(super) fn is_for(&self, spec: &WorkerSpec) -> bool {
        (&self.queues, &self.skip, self.concurrency) == (&spec.queues, &spec.skip, spec.concurrency)
    }

    pub(super) fn add(&mut self, worker: WorkerRow) {
        self.workers.insert(worker.0);
    }

    /// `true`: nobody is left, and its messages have gone back.
    pub(super) fn remove(&mut self, worker: WorkerRow) -> bool {
        if !self.workers.remove(&worker.0) || !self.workers.is_empty() {
            return false;
        }
        self.leave();
        true
    }

    /// Gives its messages back, and asks for no more until it is used again.
    pub(super) fn leave(&mut self) {
        if let Some(channel) = self.channel.take() {
            channel.give_back();
        }
    }

    /// `true`: nobody has asked for jobs for a while, and its messages have gone back.
    pub(super) fn leave_if_unused(&mut self) -> bool {
        let unused = self.used.elapsed() > UNUSED;
        if unused {
            self.leave();
        }
        unused
    }

    /// Whether it takes any queue that there is.
    pub(super) fn takes_all(&self) -> bool {
        self.queues.is_empty()
    }

    /// Sees that there is a consumer for each wanted queue. An error, once a minute, where the server
    /// will not have one: the others are served all the same. Where it is away, that is no error.
    pub(super) fn subscribe(
        &mut self,
        wire: Option<Arc<Wire>>,
        known: &[String],
        bands: &mut Bands,
    ) -> Result<(), BrokerError> {
        self.used = Instant::now();
        if self.rests_until.is_some_and(|until| Instant::now() < until) {
            self.channel = None;
            return Ok(());
        }
        let Some(wire) = wire else {
            self.channel = None;
            return Ok(());
        };
        loop {
            let began = Instant::now();
            if !self.channel.as_ref().is_some_and(|channel| channel.is_usable(&wire)) {
                self.reopen(&wire);
            }
            let Some(channel) = &mut self.channel else {
                self.rest_if_slow(began);
                return Ok(());
            };
            let all = if self.queues.is_empty() { known } else { &self.queues };
            let refused = |queue: &String| {
                self.refused.get(queue).is_some_and(|since| since.elapsed() < REFUSED)
            };
            let next = all.iter().find(|queue| {
                !channel.subscribed.contains(queue) && !self.skip.contains(queue) && !refused(queue)
            });
            let Some(queue) = next.cloned() else { return Ok(()) };
            let error = match bands.of(&queue).cloned() {
                Ok(names) => match channel.consume(&queue, &names) {
                    Ok(()) => continue,
                    Err(Broken::Refused(fault)) => refused_queue(&names[1], &fault),
                    Err(Broken::Lost(_)) => {
                        self.channel = None;
                        self.rest_if_slow(began);
                        return Ok(());
                    }
                },
                Err(error) => error,
            };
            self.channel = None;
            self.refused.insert(queue, Instant::now());
            return Err(error);
        }
    }

    fn reopen(&mut self, wire: &Arc<Wire>) {
        if let Some(old) = self.channel.take() {
            // One of its queues was deleted, or the server closed it.
            old.wire.close_channel(old.number);
            old.wire.forget_channel(old.number);
        }
        // Where that fails the store is asked, until it does not.
        self.channel = Channel::open(Arc::clone(wire), self.prefetch, &self.ears).ok();
    }

    /// A server that is waited for in vain is left alone for a while: the store has the jobs.
    fn rest_if_slow(&mut self, began: Instant) {
        if began.elapsed() * 2 >= self.patience {
            self.rests_until = Some(Instant::now() + REST);
        }
    }

    /// Whether messages wait here.
    pub(super) fn has_messages(&self) -> bool {
        self.channel.as_ref().is_some_and(|channel| !channel.intake.is_empty())
    }

    /// Takes up to `limit` messages, the best first.
    pub(super) fn take(&mut self, limit: usize) -> Option<Taken> {
        let channel = self.channel.as_ref()?;
        let queues = channel.subscribed.len();
        let arrivals = channel.intake.take(limit, self.turn, queues);
        let foreign = channel.intake.take_foreign();
        if arrivals.is_empty() && foreign.is_empty() {
            return None;
        }
        self.turn = self.turn.wrapping_add(1);
        self.watch.ready_since = None;
        Some(Taken {
            intake: Arc::clone(&channel.intake),
            wire: Arc::clone(&channel.wire),
            channel: channel.number,
            arrivals,
            foreign,
        })
    }

    /// Waits until the server has sent all that it would: nothing is left in the queues, or each
    /// consumer has as much as it may.
    pub(super) fn settle(&self, bands: &mut Bands, patience: Duration) -> Result<(), BrokerError> {
        let deadline = Instant::now() + patience;
        let Some(channel) = &self.channel else { return Ok(()) };
        loop {
            let quiet = channel.is_quiet(bands, self.prefetch)?;
            if quiet || Instant::now() > deadline || channel.intake.is_over() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// When a lease would have something to do: what the store says, which knows nothing of the
    /// messages that are on their way.
    pub(super) fn work_at(&mut self, store: Option<Time>, now: Time) -> Option<Time> {
        if self.has_messages() {
            return Some(now);
        }
        let watch = &mut self.watch;
        match store {
            Some(at) if at <= now => {
                let direct = self.channel.is_none()
                    || watch.draining
                    || watch.is_held(now)
                    || watch.due.take().is_some_and(|due| due <= now);
                // A clock that was set back has no say in how long it was.
                let since = watch.ready_since.filter(|since| *since <= now).unwrap_or(now);
                watch.ready_since = Some(since);
                Some(if direct { now } else { now.max(since.after(GRACE)) })
            }
            at => {
                watch.ready_since = None;
                watch.due = at;
                at
            }
        }
    }

    /// Whether it is time to take jobs from the store, before the messages.
    pub(super) fn is_sweep_due(&self, now: Time) -> bool {
        self.watch.swept.is_some_and(|swept| now.since(swept).abs() >= SWEEP)
    }

    /// Whether jobs may be taken from the store now, since there are no more messages.
    pub(super) fn may_look(&self, now: Time) -> bool {
        let watch = &self.watch;
        self.channel.is_none()
            || watch.draining
            || watch.is_held(now)
            || watch.ready_since.is_some_and(|since| now >= since.after(GRACE))
    }

    /// Notes what a look at the store found, of `wanted` jobs.
    pub(super) fn looked(&mut self, found: usize, wanted: usize, now: Time) {
        let watch = &mut self.watch;
        watch.draining = found == wanted;
        if found < wanted {
            watch.ready_since = None;
        }
        // Those that a limit holds back have no messages any more: each goes when one has ended.
        if found > 0 && watch.is_held(now) {
            watch.held_until = Some(now.after(HELD));
        }
    }

    /// Notes a look before the messages. The next one comes at once where it found only jobs that
    /// no message here is about, and as many as were wanted: those have waited for longer.
    pub(super) fn swept(&mut self, found: &[LeasedJob], wanted: usize, now: Time) {
        let told = |job: &LeasedJob| {
            self.channel.as_ref().is_some_and(|channel| channel.intake.has(job.id))
        };
        let untold = found.len() == wanted && !found.iter().any(told);
        self.watch.swept = Some(if untold { now.after(0.1 - SWEEP) } else { now });
    }

    /// Notes that messages are served.
    pub(super) fn served(&mut self, held: bool, now: Time) {
        self.watch.swept.get_or_insert(now);
        if held {
            self.watch.held_until = Some(now.after(HELD));
        }
    }
}

impl Watch {
    /// Whether jobs were held back a moment ago.
    fn is_held(&self, now: Time) -> bool {
        self.held_until.is_some_and(|until| now < until && until.since(now) <= HELD)
    }
}

impl Channel {
    fn is_usable(&self, wire: &Arc<Wire>) -> bool {
        Arc::ptr_eq(&self.wire, wire) && !self.intake.is_over()
    }

    fn open(
        wire: Arc<Wire>,
        prefetch: u16,
        ears: &Arc<OnceLock<Arc<dyn Ears>>>,
    ) -> Result<Self, Broken> {
        let intake = Arc::new(Intake::new(Arc::clone(ears)));
        let number = wire.open_channel(Arc::clone(&intake) as _)?;
        let mut out = Out::default();
        method::qos(number, prefetch, &mut out);
        wire.ask(number, &out, 1)?;
        Ok(Self { wire, number, intake, subscribed: Vec::new() })
    }

    fn consume(&mut self, queue: &str, names: &[Arc<str>; BANDS]) -> Result<(), Broken> {
        let first = self.subscribed.len() * BANDS;
        let mut out = Out::default();
        for (band, name) in names.iter().enumerate() {
            method::declare(self.number, name, &mut out);
            method::consume(self.number, name, &(first + band).to_string(), &mut out);
        }
        // Before the first message can come by it.
        self.subscribed.push(queue.to_owned());
        self.wire.ask(self.number, &out, 2 * BANDS)?;
        Ok(())
    }

    /// Has its messages sent to others. The consumers go first: what comes back to a queue goes to
    /// any that it has, and would be gone with the channel until the server sees to that.
    fn give_back(self) {
        let mut out = Out::default();
        let consumers = self.subscribed.len() * BANDS;
        for consumer in 0..consumers {
            method::cancel(self.number, &consumer.to_string(), &mut out);
        }
        // A connection that is lost gives everything back by itself.
        if self.wire.ask(self.number, &out, consumers).is_ok() {
            let mut out = Out::default();
            method::give_back(self.number, &mut out);
            let _ = self.wire.send(&out.bytes);
        }
        self.wire.close_channel(self.number);
    }

    fn is_quiet(&self, bands: &mut Bands, prefetch: u16) -> Result<bool, BrokerError> {
        let mut out = Out::default();
        let mut count = 0;
        for queue in &self.subscribed {
            for name in bands.of(queue)? {
                method::declare(self.number, name, &mut out);
                count += 1;
            }
        }
        // Twice: what was on its way when the first was answered is here with the second.
        for _ in 0..2 {
            let Ok(answers) = self.wire.ask(self.number, &out, count) else { return Ok(true) };
            let waits = answers.iter().enumerate().any(|(consumer, said)| {
                let full = self.intake.held_by(consumer) >= prefetch.into();
                matches!(said, Said::Declared { messages: 1.. }) && !full
            });
            if waits {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Taken {
    /// Done with, whatever came of it.
    pub(super) fn acknowledge(self) {
        let mut out = Out::default();
        let tags = self.arrivals.iter().map(|arrival| arrival.tag).chain(self.foreign);
        self.intake.acknowledge(&tags.collect::<Vec<_>>(), self.channel, &mut out);
        if !out.bytes.is_empty() && !self.intake.is_over() {
            // Where the connection is lost, the messages come again, and find their jobs taken.
            let _ = self.wire.send(&out.bytes);
        }
    }

    /// Puts back all but the messages of these jobs.
    pub(super) fn keep(&mut self, wanted: impl Fn(JobId) -> bool) {
        let (kept, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.arrivals).into_iter().partition(|one| wanted(one.id));
        self.arrivals = kept;
        if !self.intake.is_over() {
            self.intake.put_back(others, Vec::new());
        }
    }

    /// Nothing came of it.
    pub(super) fn put_back(self) {
        if !self.intake.is_over() {
            self.intake.put_back(self.arrivals, self.foreign);
        }
    }
}
