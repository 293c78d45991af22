//! Messages that RabbitMQ has sent ahead, until their jobs are claimed.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::connection::Listener;
use super::content::Event;
use super::frame::Out;
use super::method;
use crate::broker::{Ears, News};
use crate::id::JobId;

/// A message that says: this job is ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Arrival {
    pub(super) id: JobId,
    pub(super) tag: u64,
    priority: i8,
    /// Which of the station's queues it came by.
    queue: usize,
}

/// What has come on one channel.
pub(super) struct Intake {
    state: Mutex<State>,
    /// Who is told of the first message that comes when there was none.
    ears: Arc<OnceLock<Arc<dyn Ears>>>,
}

#[derive(Default)]
struct State {
    /// In the order in which they came.
    waiting: Vec<Arrival>,
    /// Messages that the server still counts as ours.
    open: BTreeSet<u64>,
    /// How many of those each consumer has.
    of_consumer: HashMap<usize, usize>,
    consumer_of: HashMap<u64, usize>,
    /// Messages that are not ours at all.
    foreign: Vec<u64>,
    over: bool,
}

impl Intake {
    pub(super) fn new(ears: Arc<OnceLock<Arc<dyn Ears>>>) -> Self {
        Self { state: Mutex::default(), ears }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Whether the channel is gone, or one of its queues.
    pub(super) fn is_over(&self) -> bool {
        self.lock().over
    }

    /// Messages that a consumer has, acknowledged or not yet sent.
    pub(super) fn held_by(&self, consumer: usize) -> usize {
        self.lock().of_consumer.get(&consumer).copied().unwrap_or(0)
    }

    /// Whether a job is among those that wait here.
    pub(super) fn has(&self, id: JobId) -> bool {
        self.lock().waiting.iter().any(|arrival| arrival.id == id)
    }

    /// Takes up to `limit`: the best priority first, then from each queue in turn, the job that
    /// was written first: one that was given back has kept its place. `turn` says which queue is
    /// the first.
    pub(super) fn take(&self, limit: usize, turn: usize, queues: usize) -> Vec<Arrival> {
        let mut state = self.lock();
        let mut ranks: HashMap<(usize, i8), usize> = HashMap::new();
        let mut all: Vec<&Arrival> = state.waiting.iter().collect();
        all.sort_unstable_by_key(|arrival| arrival.id);
        let mut order: Vec<_> = all
            .into_iter()
            .map(|arrival| {
                let rank = ranks.entry((arrival.queue, arrival.priority)).or_default();
                *rank += 1;
                let place = (arrival.queue + turn) % queues.max(1);
                ((-i16::from(arrival.priority), *rank, place, arrival.id), *arrival)
            })
            .collect();
        order.sort_unstable_by_key(|(key, _)| *key);
        order.truncate(limit);
        let taken: Vec<Arrival> = order.into_iter().map(|(_, arrival)| arrival).collect();
        if taken.len() == state.waiting.len() {
            state.waiting.clear();
        } else {
            let gone: BTreeSet<u64> = taken.iter().map(|arrival| arrival.tag).collect();
            state.waiting.retain(|arrival| !gone.contains(&arrival.tag));
        }
        taken
    }

    /// Takes the messages that are not ours: they are to be acknowledged, and that is all.
    pub(super) fn take_foreign(&self) -> Vec<u64> {
        std::mem::take(&mut self.lock().foreign)
    }

    /// Puts back what was taken, since nothing came of it.
    pub(super) fn put_back(&self, taken: Vec<Arrival>, foreign: Vec<u64>) {
        let mut state = self.lock();
        state.foreign.extend(foreign);
        state.waiting.extend(taken);
        state.waiting.sort_unstable_by_key(|arrival| arrival.tag);
    }

    /// Acknowledges messages in as few frames as possible.
    pub(super) fn acknowledge(&self, tags: &[u64], channel: u16, out: &mut Out) {
        let mut state = self.lock();
        let mut done: Vec<u64> =
            tags.iter().copied().filter(|tag| state.open.remove(tag)).collect();
        for tag in &done {
            if let Some(consumer) = state.consumer_of.remove(tag)
                && let Some(count) = state.of_consumer.get_mut(&consumer)
            {
                *count = count.saturating_sub(1);
            }
        }
        done.sort_unstable();
        // Up to the first that stays, one frame is for all.
        let stays = state.open.first().copied().unwrap_or(u64::MAX);
        let front = done.partition_point(|tag| *tag < stays);
        if let Some(last) = done[..front].last() {
            method::ack(channel, *last, true, out);
        }
        for tag in &done[front..] {
            method::ack(channel, *tag, false, out);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Intake {
    fn hear(&self, event: Event) {
        let first = {
            let mut state = self.lock();
            match event {
                Event::Message { consumer, tag, id, priority } => {
                    // What we call consumers is their number.
                    let consumer: usize = consumer.parse().unwrap_or(usize::MAX);
                    state.open.insert(tag);
                    state.consumer_of.insert(tag, consumer);
                    *state.of_consumer.entry(consumer).or_default() += 1;
                    let Some(id) = id else {
                        state.foreign.push(tag);
                        return;
                    };
                    let queue = consumer / super::bands::BANDS;
                    state.waiting.push(Arrival { id, tag, priority, queue });
                    state.waiting.len() == 1
                }
                Event::Cancelled => {
                    state.over = true;
                    true
                }
                _ => false,
            }
        };
        if let (true, Some(ears)) = (first, self.ears.get()) {
            ears.hear(News::Work);
        }
    }

    fn end(&self, _: &str) {
        let mut state = self.lock();
        state.over = true;
        state.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{In, parse};
    use super::*;
    use crate::time::Time;

    fn intake(messages: &[(usize, i8)]) -> (Intake, Vec<JobId>) {
        let intake = Intake::new(Arc::default());
        let mut ids = Vec::new();
        for (at, (consumer, priority)) in messages.iter().enumerate() {
            let id = JobId::new(Time::from_secs(1.0)).unwrap();
            ids.push(id);
            let (consumer, tag) = (consumer.to_string(), at as u64 + 1);
            intake.hear(Event::Message { consumer, tag, id: Some(id), priority: *priority });
        }
        (intake, ids)
    }

    /// Tag and "multiple" of each acknowledgement.
    fn acks(bytes: &[u8]) -> Vec<(u64, bool)> {
        let mut rest = bytes;
        let mut found = Vec::new();
        while let Ok((frame, length)) = parse(rest, 4096) {
            let mut read = In(&frame.payload[4..]);
            found.push((read.longlong().unwrap(), read.octet().unwrap() == 1));
            rest = &rest[length..];
        }
        found
    }

    #[test]
    fn the_best_come_first_and_queues_in_turn() {
        // Queue 0 has consumers 0 to 2, queue 1 has 3 to 5.
        let (intake, ids) =
            intake(&[(1, 0), (1, 0), (1, 0), (4, 0), (3, 5), (3, 9), (2, -1), (4, 0)]);
        let order = |taken: Vec<Arrival>| -> Vec<usize> {
            let place = |id| ids.iter().position(|one| *one == id).unwrap();
            taken.into_iter().map(|arrival| place(arrival.id)).collect()
        };
        let taken = intake.take(3, 0, 2);
        assert!(!intake.has(ids[5]) && intake.has(ids[3]));
        intake.put_back(taken, Vec::new());
        assert_eq!(order(intake.take(4, 1, 2)), [5, 4, 3, 0]);
        assert_eq!(order(intake.take(9, 0, 2)), [1, 7, 2, 6]);
        assert!(intake.is_empty());
    }

    #[test]
    fn what_comes_again_has_kept_its_place() {
        let (intake, ids) = intake(&[(1, 0), (1, 0)]);
        let first = intake.take(1, 0, 1);
        assert_eq!(first[0].id, ids[0]);
        // It was given back, and published anew: under another tag, behind the other.
        intake.hear(Event::Message { consumer: "1".into(), tag: 9, id: Some(ids[0]), priority: 0 });
        assert_eq!(intake.take(1, 0, 1)[0].tag, 9);
    }

    #[test]
    fn acknowledgements_are_put_together() {
        let (intake, _) = intake(&[(1, 0); 6]);
        let all: Vec<u64> = intake.take(6, 0, 1).iter().map(|arrival| arrival.tag).collect();
        let mut out = Out::default();
        intake.acknowledge(&[all[1], all[0], all[3]], 1, &mut out);
        assert_eq!(acks(&out.bytes), [(2, true), (4, false)]);
        assert_eq!(intake.held_by(1), 3);
        let mut out = Out::default();
        intake.acknowledge(&all, 1, &mut out);
        assert_eq!(acks(&out.bytes), [(6, true)], "those before count once");
        let mut out = Out::default();
        intake.acknowledge(&all, 1, &mut out);
        assert!(out.bytes.is_empty());
    }

    #[test]
    fn what_is_not_ours_is_given_once() {
        let (intake, _) = intake(&[(0, 1)]);
        intake.hear(Event::Message { consumer: "1".into(), tag: 2, id: None, priority: 0 });
        intake.put_back(Vec::new(), intake.take_foreign());
        assert_eq!(intake.take_foreign(), [2]);
        assert!(intake.take_foreign().is_empty());
        let mut out = Out::default();
        intake.acknowledge(&[2], 1, &mut out);
        assert_eq!(acks(&out.bytes), [(2, false)], "the one before it is still wanted");
        intake.end("over");
        assert!(intake.is_over() && intake.is_empty());
    }
}
