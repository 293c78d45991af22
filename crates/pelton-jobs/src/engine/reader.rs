//! The thread that reads, and looks after those who wait for a job to change.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Shared;
use super::reply::Reply;
use crate::broker::Reader;
use crate::error::BrokerError;
use crate::id::JobId;
use crate::record::JobRecord;
use crate::time::Time;

/// What the reading thread is told.
pub(super) enum ReadMessage {
    Question(Question),
    Watch(WatchCall),
    /// These jobs have new versions.
    Changed(Vec<JobId>),
    /// Some jobs may have.
    ChangedByOthers,
}

/// A question that answers itself.
pub(super) type Question = Box<dyn FnOnce(&mut dyn Reader, Time) + Send>;

/// Somebody who waits for a job to change.
pub(super) struct WatchCall {
    pub(super) id: JobId,
    pub(super) version: i64,
    pub(super) deadline: Instant,
    pub(super) reply: Reply<Option<JobRecord>>,
}

/// The thread's own things.
pub(super) struct ReadThread {
    shared: Arc<Shared>,
    reader: Box<dyn Reader>,
    inbox: VecDeque<ReadMessage>,
    watches: HashMap<JobId, Vec<WatchCall>>,
    /// The first deadline of all watches, or earlier.
    deadline: Option<Instant>,
    /// All watches are to be looked at, for others wrote.
    look_at_all: bool,
    /// Not before this: looking at all must not take all the time.
    look_after: Instant,
}

impl ReadThread {
    pub(super) fn new(shared: Arc<Shared>, reader: Box<dyn Reader>) -> Self {
        Self {
            shared,
            reader,
            inbox: VecDeque::new(),
            watches: HashMap::new(),
            deadline: None,
            look_at_all: false,
            look_after: Instant::now(),
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let open = self.shared.reads.take(self.patience(), &mut self.inbox);
            while let Some(message) = self.inbox.pop_front() {
                self.handle(message);
            }
            if !open {
                // Those who still watch learn of it by their dropped replies.
                return;
            }
            if self.look_at_all && self.look_after <= Instant::now() {
                self.look_at_all();
            }
            if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                self.answer_late();
            }
        }
    }

    fn patience(&self) -> Option<Duration> {
        let look = self.look_at_all.then_some(self.look_after);
        let next = [look, self.deadline].into_iter().flatten().min();
        next.map(|next| next.saturating_duration_since(Instant::now()))
    }

    fn handle(&mut self, message: ReadMessage) {
        match message {
            ReadMessage::Question(question) => {
                question(self.reader.as_mut(), self.shared.clock.now());
            }
            ReadMessage::Watch(call) => self.watch(call),
            ReadMessage::Changed(ids) => {
                for id in ids {
                    for call in self.watches.remove(&id).unwrap_or_default() {
                        self.watch(call);
                    }
                }
            }
            ReadMessage::ChangedByOthers => self.look_at_all = true,
        }
    }

    /// Answers, or keeps the call until the job changes.
    fn watch(&mut self, call: WatchCall) {
        let newer = match self.reader.version(call.id) {
            Ok(Some(version)) if version <= call.version => None,
            Ok(Some(_)) => Some(self.reader.get(call.id)),
            Ok(None) => Some(Ok(None)),
            Err(error) => Some(Err(error)),
        };
        match newer {
            Some(answer) => self.answer(call, answer),
            None => {
                self.deadline = Some(match self.deadline {
                    Some(deadline) => deadline.min(call.deadline),
                    None => call.deadline,
                });
                self.watches.entry(call.id).or_default().push(call);
            }
        }
    }

    fn look_at_all(&mut self) {
        let started = Instant::now();
        self.look_at_all = false;
        for call in std::mem::take(&mut self.watches).into_values().flatten() {
            self.watch(call);
        }
        let ended = Instant::now();
        self.look_after = ended + 4 * (ended - started);
    }

    fn answer_late(&mut self) {
        let now = Instant::now();
        self.deadline = None;
        for call in std::mem::take(&mut self.watches).into_values().flatten() {
            if call.deadline <= now {
                self.answer(call, Ok(None));
            } else {
                self.deadline =
                    Some(self.deadline.map_or(call.deadline, |first| first.min(call.deadline)));
                self.watches.entry(call.id).or_default().push(call);
            }
        }
    }

    fn answer(&self, call: WatchCall, answer: Result<Option<JobRecord>, BrokerError>) {
        self.shared.watchers.fetch_sub(1, Ordering::SeqCst);
        call.reply.send(answer);
    }
}
