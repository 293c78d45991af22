//! Jobs handed out by RabbitMQ, with their records in another broker, the store.
//!
//! The store knows everything: states, results, keys, limits, schedules. RabbitMQ has a message for
//! each job that is ready, in a quorum queue; workers are sent messages and claim those jobs in the
//! store. A message may be lost, late, or there twice: a job is begun by its transition in the
//! store, and what nobody was told of is found there. docs/design/brokers.md says more.

mod bands;
mod connection;
mod content;
mod courier;
mod forward;
mod frame;
mod intake;
mod link;
mod method;
mod station;
mod url;

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use self::bands::Bands;
use self::courier::{Courier, Ready};
use self::link::Link;
use self::station::{Station, Taken};
use self::url::Location;
use crate::broker::{Broker, Commit, Ears, News, Reader, WorkerRow, WorkerSpec};
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::{Edge, LeasedJob, NewJob, Settled};
use crate::state::State;
use crate::time::Time;

/// Jobs of one group that are looked at, whether they became ready. Those above it are found by
/// idle workers.
const LOOK_MAX: usize = 1000;

/// How often the store's queues are listed, for workers that serve all.
const LIST_PAUSE: Duration = Duration::from_secs(1);

/// RabbitMQ before a store. One thread drives it; others get the store's [`Reader`].
pub struct RabbitBroker {
    location: Arc<Location>,
    store: Box<dyn Broker>,
    /// The store's view of what was committed.
    reader: Box<dyn Reader>,
    courier: Courier,
    /// Where messages come from; opened for the first worker. Not the connection that publishes:
    /// a server that is short of memory stops reading from those.
    consuming: Option<Link>,
    stations: Vec<Station>,
    /// All queues of the store, as far as they are known.
    known: Vec<String>,
    listed: Option<Instant>,
    ears: Arc<OnceLock<Arc<dyn Ears>>>,
    group: Group,
    settled: bool,
    paths: Paths,
    pid: u32,
}

/// How jobs came to workers of this process.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Paths {
    /// By a message.
    pub messages: u64,
    /// From the store, without one.
    pub store: u64,
}

/// What the operations of a group leave for its end.
#[derive(Default)]
struct Group {
    /// Jobs that were written ready.
    ready: Vec<Ready>,
    /// Jobs that may have become ready.
    look: Vec<JobId>,
    /// Jobs whose new state is known, and is not "ready".
    known: HashSet<JobId>,
    /// Messages whose jobs were claimed.
    taken: Vec<Taken>,
}

impl RabbitBroker {
    /// Connects to the server that `url` names, and opens the store that it names.
    pub fn open(url: &str) -> Result<Self, BrokerError> {
        let location = Arc::new(Location::parse(url)?);
        let link = Link::open(Arc::clone(&location), Box::new(|| {}))?;
        let store = crate::broker::open(&location.store)?;
        let reader = store.reader()?;
        let bands = Bands::new(&location.namespace);
        Ok(Self {
            courier: Courier::new(link, location.patience, bands),
            location,
            store,
            reader,
            consuming: None,
            stations: Vec::new(),
            known: Vec::new(),
            listed: None,
            ears: Arc::default(),
            group: Group::default(),
            settled: false,
            paths: Paths::default(),
            pid: std::process::id(),
        })
    }

    /// From now on each lease waits until all messages that the server would send are here, and
    /// takes what is left from the store at once: for tests, whose time is not the server's.
    #[must_use]
    pub fn settled(mut self) -> Self {
        self.settled = true;
        self
    }

    /// How jobs came to workers of this process.
    #[must_use]
    pub fn paths(&self) -> Paths {
        self.paths
    }

    /// Jobs that are ready, and that no server could be told of yet.
    #[must_use]
    pub fn untold(&self) -> usize {
        self.courier.untold()
    }

    /// Refuses jobs whose queue the server would not have.
    fn prepare(&mut self, jobs: &[Arc<NewJob>]) -> Result<(), BrokerError> {
        for job in jobs {
            // What the store refuses anyway.
            if job.queue.is_empty() {
                continue;
            }
            let name = self.courier.bands().name(&job.queue, job.priority)?;
            self.courier.prepare(&name)?;
        }
        Ok(())
    }

    /// Notes which of these jobs were written ready.
    fn note_written(
        &mut self,
        jobs: &[Arc<NewJob>],
        edges: &[Edge],
        ids: &[JobId],
        now: Time,
    ) -> Result<(), BrokerError> {
        let written = jobs.iter().zip(ids).filter(|(job, id)| job.id == **id).map(|(_, id)| *id);
        let written: HashSet<JobId> =
            if edges.is_empty() { HashSet::new() } else { written.collect() };
        let waits_for_others = |edge: &&Edge| !written.contains(&edge.parent);
        let children: HashSet<JobId> = edges.iter().map(|edge| edge.child).collect();
        let of_others: HashSet<JobId> =
            edges.iter().filter(waits_for_others).map(|edge| edge.child).collect();
        for (job, id) in jobs.iter().zip(ids) {
            if job.id != *id || job.run_at.is_some_and(|at| at > now) {
                continue;
            }
            if children.contains(id) {
                // All whom it waits for may have ended before.
                if of_others.contains(id) {
                    self.group.look.push(*id);
                }
                continue;
            }
            let queue = self.courier.bands().name(&job.queue, job.priority)?;
            let task = job.task.as_str().into();
            self.group.ready.push(Ready { id: *id, queue, task, priority: job.priority });
        }
        Ok(())
    }

    /// Notes what became of attempts: only what went back to its queue is ready.
    fn note_settled(&mut self, settled: &[Settled]) {
        let elsewhere =
            settled.iter().filter(|one| one.state.is_some_and(|to| to != State::Queued));
        self.group.known.extend(elsewhere.map(|one| one.id));
        for one in settled.iter().filter(|one| one.state == Some(State::Queued)) {
            // Its progress was written before it.
            self.group.known.remove(&one.id);
            self.group.look.push(one.id);
        }
    }

    fn note_leased(&mut self, jobs: &[LeasedJob]) {
        self.group.known.extend(jobs.iter().map(|job| job.id));
    }

    /// What comes after the store's commit: messages of claimed jobs are done with, and workers
    /// are told of what is ready. Nothing here can undo the commit; what cannot be told is found.
    fn after_commit(&mut self, commit: &Commit) {
        let group = std::mem::take(&mut self.group);
        for taken in group.taken {
            taken.acknowledge();
        }
        // A worker that is full for long, or is gone, has no use for what it was sent ahead.
        self.stations.retain_mut(|station| !station.leave_if_unused());
        let mut ready = group.ready;
        let mut seen = group.known;
        seen.extend(ready.iter().map(|one| one.id));
        let changed = group.look.iter().chain(&commit.changed).copied();
        let unclear: Vec<JobId> = changed.filter(|id| seen.insert(*id)).take(LOOK_MAX).collect();
        for id in unclear {
            // A store that cannot be read now is met again by the next operation.
            let Ok(Some(record)) = self.reader.get(id) else { continue };
            if record.state != State::Queued {
                continue;
            }
            if let Ok(queue) = self.courier.bands().name(&record.queue, record.priority) {
                let (task, priority) = (record.task.into(), record.priority);
                ready.push(Ready { id, queue, task, priority });
            }
        }
        if !ready.is_empty() || self.courier.untold() > 0 {
            self.courier.tell(ready);
        }
    }

    /// The place of the station for workers like this one, with its consumers.
    fn station(&mut self, spec: &WorkerSpec) -> Result<usize, BrokerError> {
        if self.consuming.is_none() {
            let ears = Arc::clone(&self.ears);
            let tell = move || {
                if let Some(ears) = ears.get() {
                    ears.hear(News::Work);
                }
            };
            self.consuming = Some(Link::keep(Arc::clone(&self.location), Box::new(tell))?);
        }
        let place = match self.stations.iter().position(|station| station.is_for(spec)) {
            Some(place) => place,
            None => {
                let ears = Arc::clone(&self.ears);
                self.stations.push(Station::new(spec, &self.location, ears));
                self.stations.len() - 1
            }
        };
        if self.stations[place].takes_all() {
            self.list_queues()?;
        }
        let patience = self.location.patience;
        let wire = match &self.consuming {
            Some(link) if self.settled => link.wait(patience),
            Some(link) => link.wire(),
            None => None,
        };
        self.stations[place].subscribe(wire, &self.known, self.courier.bands())?;
        Ok(place)
    }

    fn list_queues(&mut self) -> Result<(), BrokerError> {
        if !self.settled && self.listed.is_some_and(|listed| listed.elapsed() < LIST_PAUSE) {
            return Ok(());
        }
        for queue in self.reader.queues()? {
            // One that RabbitMQ cannot name has its jobs found in the store.
            if !self.known.contains(&queue.name) && self.courier.bands().of(&queue.name).is_ok() {
                self.known.push(queue.name);
            }
        }
        self.listed = Some(Instant::now());
        Ok(())
    }

    /// Jobs for a worker: by its messages, and where there are too few, as the store has them.
    fn lease_jobs(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        limit: usize,
        now: Time,
    ) -> Result<Vec<LeasedJob>, BrokerError> {
        let place = self.station(spec)?;
        self.stations[place].add(worker);
        if self.settled {
            self.stations[place].settle(self.courier.bands(), self.location.patience)?;
        }
        let mut leased = Vec::new();
        if !self.settled && self.stations[place].is_sweep_due(now) {
            leased = self.store.lease(worker, spec, limit, now)?;
            self.paths.store += leased.len() as u64;
            self.stations[place].swept(&leased, limit, now);
        }
        self.claim_told(place, worker, spec, limit, now, &mut leased)?;
        let room = limit - leased.len();
        if room > 0 && (self.settled || self.stations[place].may_look(now)) {
            match self.store.lease(worker, spec, room, now) {
                Ok(found) => {
                    self.stations[place].looked(found.len(), room, now);
                    self.paths.store += found.len() as u64;
                    leased.extend(found);
                }
                // Those that are leased must be heard of.
                Err(error) if leased.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
        self.note_leased(&leased);
        Ok(leased)
    }

    /// Claims the jobs that messages are about.
    fn claim_told(
        &mut self,
        place: usize,
        worker: WorkerRow,
        spec: &WorkerSpec,
        limit: usize,
        now: Time,
        leased: &mut Vec<LeasedJob>,
    ) -> Result<(), BrokerError> {
        let mut first = true;
        while leased.len() < limit {
            let room = limit - leased.len();
            let taken = self.stations[place].take(room);
            // The first is a sign of life, and makes ready what is due, message or not.
            if taken.is_none() && !first {
                break;
            }
            first = false;
            let told: Vec<JobId> =
                taken.iter().flat_map(|taken| taken.arrivals.iter().map(|one| one.id)).collect();
            match self.store.claim(worker, spec, &told, room, now) {
                Ok(claim) => {
                    self.stations[place].served(claim.held, now);
                    let by_message = claim.jobs.iter().filter(|job| told.contains(&job.id)).count();
                    self.paths.messages += by_message as u64;
                    self.paths.store += (claim.jobs.len() - by_message) as u64;
                    let others = by_message < claim.jobs.len();
                    let full = claim.jobs.len() == room;
                    leased.extend(claim.jobs);
                    let Some(mut taken) = taken else { break };
                    if others && full {
                        // What the claim itself made ready took the place of some: those are told
                        // of again.
                        taken.keep(|id| leased.iter().any(|job| job.id == id));
                    }
                    self.group.taken.push(taken);
                }
                Err(error) => {
                    if let Some(taken) = taken {
                        taken.put_back();
                    }
                    // Those that are leased must be heard of.
                    return if leased.is_empty() { Err(error) } else { Ok(()) };
                }
            }
        }
        Ok(())
    }

    fn next_work(&mut self, spec: &WorkerSpec, now: Time) -> Result<Option<Time>, BrokerError> {
        if self.settled {
            return self.store.work_at(spec, now);
        }
        let place = self.station(spec)?;
        if self.stations[place].has_messages() {
            return Ok(Some(now));
        }
        let store = self.store.work_at(spec, now)?;
        Ok(self.stations[place].work_at(store, now))
    }

    fn leave(&mut self, worker: WorkerRow) {
        self.stations.retain_mut(|station| !station.remove(worker));
    }
}

impl Drop for RabbitBroker {
    fn drop(&mut self) {
        // A forked child has no say in its parent's connections.
        if self.pid == std::process::id() {
            for station in &mut self.stations {
                station.leave();
            }
        }
    }
}
