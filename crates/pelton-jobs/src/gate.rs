//! Which of the ready jobs may begin, and in which order.

use std::collections::HashMap;
use std::hash::Hash;

use crate::limit::Limit;
use crate::time::Time;

/// Ready jobs of a task with a limit for each key that one lease looks at: those of keys that are
/// open may stand behind many of one that is not.
const KEY_SCAN: usize = 2000;

/// A ready job, and where it stands among the others. `R` is the store's name of a job, `N` its
/// name of a queue or a task.
#[derive(Clone, Debug)]
pub struct Candidate<R, N> {
    /// Which job.
    pub row: R,
    /// Its queue.
    pub queue: N,
    /// Its task, as far as that has limits.
    pub task: N,
    /// Whose share of its task's limit for each key it uses.
    pub key: Option<String>,
    /// The larger runs first.
    pub priority: i64,
    /// The earlier runs first.
    pub due: i64,
}

/// Puts ready jobs in the order in which they should run: by priority, then from each queue in turn
/// (so that a flood in one does not keep the others waiting), the oldest first. Each lease gives
/// another `turn`.
pub fn in_turn<R, N>(queues: Vec<Vec<Candidate<R, N>>>, turn: usize) -> Vec<Candidate<R, N>>
where
    R: Copy + Ord,
{
    let count = queues.len();
    let mut all = Vec::new();
    for (place, mut of_queue) in queues.into_iter().enumerate() {
        of_queue.sort_unstable_by_key(|one| (-one.priority, one.due, one.row));
        let (mut rank, mut priority) = (0, None);
        for candidate in of_queue {
            rank = if priority == Some(candidate.priority) { rank + 1 } else { 0 };
            priority = Some(candidate.priority);
            all.push((rank, place.wrapping_add(turn) % count, candidate));
        }
    }
    if count > 1 {
        all.sort_unstable_by_key(|(rank, turn, one)| {
            (-one.priority, *rank, *turn, one.due, one.row)
        });
    }
    all.into_iter().map(|(_, _, candidate)| candidate).collect()
}

/// Lets ready jobs through as far as the limits allow.
#[derive(Clone, Debug)]
pub struct Gate<N> {
    now: Time,
    queues: HashMap<N, Bound>,
    tasks: HashMap<N, Bound>,
    /// Of each task with such a limit: the bucket's name, and what is used of it by key.
    keys: HashMap<N, (String, Limit, HashMap<String, Bound>)>,
    opens_at: Option<Time>,
}

/// A limit and what is used of it.
#[derive(Clone, Debug)]
pub struct Bound {
    limit: Limit,
    bucket: String,
    running: u32,
    tat: Option<Time>,
    taken: bool,
}

impl Bound {
    /// `running` jobs have it; `tat` is the theoretical arrival time of the bucket of that name.
    #[must_use]
    pub fn new(limit: Limit, bucket: String, running: u32, tat: Option<Time>) -> Self {
        Self { limit, bucket, running, tat, taken: false }
    }

    fn admits(&self, now: Time) -> Result<(), Option<Time>> {
        if self.limit.concurrency.is_some_and(|most| self.running >= most) {
            return Err(None);
        }
        match self.limit.rate {
            Some(rate) => rate.take(self.tat, 1.0, now).map(drop).map_err(Some),
            None => Ok(()),
        }
    }

    fn pass(&mut self, now: Time) {
        self.running += 1;
        if let Some(rate) = self.limit.rate
            && let Ok(tat) = rate.take(self.tat, 1.0, now)
        {
            self.tat = Some(tat);
            self.taken = true;
        }
    }
}

impl<N: Clone + Eq + Hash> Gate<N> {
    /// One without limits.
    #[must_use]
    pub fn new(now: Time) -> Self {
        Self {
            now,
            queues: HashMap::new(),
            tasks: HashMap::new(),
            keys: HashMap::new(),
            opens_at: None,
        }
    }

    /// Limits a queue.
    pub fn limit_queue(&mut self, queue: N, bound: Bound) {
        self.queues.insert(queue, bound);
    }

    /// Limits a task.
    pub fn limit_task(&mut self, task: N, bound: Bound) {
        self.tasks.insert(task, bound);
    }

    /// Limits each key of a task; their buckets' names begin with `bucket`.
    pub fn limit_keys(&mut self, task: N, limit: Limit, bucket: String) {
        self.keys.insert(task, (bucket, limit, HashMap::new()));
    }

    /// How many ready jobs of a task are to be looked at.
    #[must_use]
    pub fn scan(&self, task: &N, limit: usize) -> usize {
        if self.keys.contains_key(task) { limit.max(KEY_SCAN) } else { limit }
    }

    /// The limit and the bucket of a candidate's key that the gate does not know yet: its `Bound` is
    /// to be given to `know_key` before the candidate is asked about.
    #[must_use]
    pub fn unknown_key<R>(&self, candidate: &Candidate<R, N>) -> Option<(Limit, String)> {
        let (key, (bucket, limit, bounds)) =
            candidate.key.as_ref().zip(self.keys.get(&candidate.task))?;
        (!bounds.contains_key(key)).then(|| (*limit, format!("{bucket}\n{key}")))
    }

    /// Tells how much of its limit a candidate's key has used.
    pub fn know_key<R>(&mut self, candidate: &Candidate<R, N>, bound: Bound) {
        if let (Some(key), Some((_, _, bounds))) =
            (&candidate.key, self.keys.get_mut(&candidate.task))
        {
            bounds.insert(key.clone(), bound);
        }
    }

    /// Whether this job may begin now.
    pub fn admits<R>(&mut self, candidate: &Candidate<R, N>) -> bool {
        let now = self.now;
        let mut open = true;
        let mut at = None;
        for bound in self.bounds(candidate) {
            if let Err(again) = bound.admits(now) {
                open = false;
                at = at.max(again);
            }
        }
        if let (false, Some(at)) = (open, at) {
            self.opens_at = Some(self.opens_at.map_or(at, |first| first.min(at)));
        }
        open
    }

    /// Counts a job that begins.
    pub fn passed<R>(&mut self, candidate: &Candidate<R, N>) {
        let now = self.now;
        for bound in self.bounds(candidate) {
            bound.pass(now);
        }
    }

    /// When a rate would let through what it held back.
    #[must_use]
    pub fn opens_at(&self) -> Option<Time> {
        self.opens_at
    }

    /// The buckets that were taken from, with their new theoretical arrival times.
    pub fn taken(self) -> impl Iterator<Item = (String, Time)> {
        let of_keys = self.keys.into_values().flat_map(|(_, _, bounds)| bounds.into_values());
        let all = self.queues.into_values().chain(self.tasks.into_values()).chain(of_keys);
        all.filter(|bound| bound.taken).filter_map(|bound| Some((bound.bucket, bound.tat?)))
    }

    fn bounds<R>(&mut self, candidate: &Candidate<R, N>) -> impl Iterator<Item = &mut Bound> {
        let of_key = match (&candidate.key, self.keys.get_mut(&candidate.task)) {
            (Some(key), Some((_, _, bounds))) => bounds.get_mut(key),
            _ => None,
        };
        let of_task = self.tasks.get_mut(&candidate.task);
        self.queues.get_mut(&candidate.queue).into_iter().chain(of_task).chain(of_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Rate;

    const NOW: Time = Time(1_000_000);

    fn candidate(row: u8, queue: u8, priority: i64, due: i64) -> Candidate<u8, u8> {
        Candidate { row, queue, task: 0, key: None, priority, due }
    }

    #[test]
    fn queues_of_a_priority_take_turns() {
        let flood = (0..4).map(|row| candidate(row, 1, 0, row.into())).collect::<Vec<_>>();
        let trickle = vec![candidate(8, 2, 0, 50), candidate(9, 2, 5, 90)];
        let rows = |turn| {
            let all = in_turn(vec![flood.clone(), trickle.clone()], turn);
            all.iter().map(|one| one.row).collect::<Vec<_>>()
        };
        assert_eq!(rows(0), [9, 0, 8, 1, 2, 3]);
        assert_eq!(rows(1), [9, 8, 0, 1, 2, 3]);
    }

    #[test]
    fn what_passes_uses_up_all_its_limits() {
        let mut gate = Gate::new(NOW);
        let two = Limit { concurrency: Some(2), rate: None };
        gate.limit_queue(1, Bound::new(two, "queue:q".into(), 0, None));
        let rate = Rate { per_second: 1.0, burst: 1.0 };
        gate.limit_keys(0, Limit { concurrency: None, rate: Some(rate) }, "key:t".into());
        let mut one = candidate(1, 1, 0, 0);
        one.key = Some("k".into());
        let (limit, bucket) = gate.unknown_key(&one).unwrap();
        gate.know_key(&one, Bound::new(limit, bucket, 0, None));
        assert!(gate.unknown_key(&one).is_none() && gate.admits(&one));
        gate.passed(&one);
        assert!(!gate.admits(&one));
        assert_eq!(gate.opens_at(), Some(NOW.after(1.0)));
        let other = candidate(2, 1, 0, 0);
        assert!(gate.admits(&other));
        gate.passed(&other);
        assert!(!gate.admits(&candidate(3, 1, 0, 0)) && gate.admits(&candidate(4, 2, 0, 0)));
        assert_eq!((gate.scan(&0, 5), gate.scan(&1, 5)), (KEY_SCAN, 5));
        let taken: Vec<_> = gate.taken().collect();
        assert_eq!(taken, [("key:t\nk".to_owned(), NOW.after(1.0))]);
    }
}
