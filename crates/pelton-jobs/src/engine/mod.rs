//! The threads that drive one broker for a whole process.
//!
//! All writes go to one thread, which makes one group of whatever is waiting: a hundred callers
//! share one commit. All reads go to another, on a view of its own. Callers never wait for either
//! unless they want to: every call takes a [`Reply`], which is called from the thread that has the
//! answer, after the commit that made it true.
//!
//! Other processes' writes are told by the store where it can, and else seen within [`POLL`], while
//! somebody here waits for some, and within [`POLL_BUSY`] while they come.

mod lane;
mod reader;
mod reply;
mod writer;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::lane::Lane;
use self::reader::{ReadMessage, ReadThread, WatchCall};
use self::writer::{Action, LeaseCall, Operation, WriteMessage, WriteThread};
use crate::broker::{Broker, Ears, EnqueueCall, News, Reader, WorkerRow, WorkerSpec};
use crate::clock::{Clock, SystemClock};
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::{Edge, LeasedJob, NewJob};
use crate::record::JobRecord;
use crate::time::Time;

pub use self::reply::{Reply, wait};

/// How often other processes' writes are looked for.
pub const POLL: Duration = Duration::from_millis(5);

/// How often, for [`BUSY`] after the last of them: a look costs some microseconds, and a job that
/// another process enqueued should not wait for milliseconds.
pub const POLL_BUSY: Duration = Duration::from_micros(400);

/// How long others count as busy after a write.
pub const BUSY: Duration = Duration::from_secs(1);

/// One broker, opened, with its threads.
pub struct Engine {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The threads are not there in a forked child.
    pid: u32,
}

/// What the threads and their callers share.
struct Shared {
    writes: Lane<WriteMessage>,
    reads: Lane<ReadMessage>,
    clock: Arc<dyn Clock>,
    /// Calls of `watch` under way: nobody is told of changes while it is 0.
    watchers: AtomicUsize,
    /// What the store told of, and the writing thread has not looked at.
    heard_work: AtomicBool,
    heard_cancels: AtomicBool,
    heard_orders: AtomicBool,
}

/// Passes on what a store tells, for as long as the engine is there.
struct Hearing(Weak<Shared>);

impl Ears for Hearing {
    fn hear(&self, news: News) {
        let Some(shared) = self.0.upgrade() else { return };
        let flags: &[&AtomicBool] = match &news {
            News::Work => &[&shared.heard_work],
            News::Cancels => &[&shared.heard_cancels],
            News::Orders => &[&shared.heard_orders],
            News::Jobs(_) => &[],
            News::Anything => &[&shared.heard_work, &shared.heard_cancels, &shared.heard_orders],
        };
        let mut is_new = false;
        for flag in flags {
            is_new |= !flag.swap(true, Ordering::SeqCst);
        }
        if is_new {
            shared.writes.poke();
        }
        if shared.watchers.load(Ordering::SeqCst) > 0 {
            match news {
                News::Jobs(ids) => shared.reads.push(ReadMessage::Changed(ids)),
                News::Anything => shared.reads.push(ReadMessage::ChangedByOthers),
                News::Work | News::Cancels | News::Orders => {}
            }
        }
    }
}

/// Who learns that running jobs are to be cancelled. Implemented by worker sessions.
pub(crate) trait CancelPort: Send + Sync {
    /// The worker whose jobs these are.
    fn worker(&self) -> WorkerRow;
    /// All its running jobs that are to be cancelled, told of before or not. Must not block.
    fn cancel(&self, ids: Vec<JobId>);
    /// Orders may have come. Must not block.
    fn look(&self);
}

impl Engine {
    /// Opens the broker that `url` names, and starts its threads.
    pub fn open(url: &str) -> Result<Self, BrokerError> {
        Self::start(crate::broker::open(url)?, Arc::new(SystemClock))
    }

    /// Drives `broker` by `clock`.
    pub fn start(mut broker: Box<dyn Broker>, clock: Arc<dyn Clock>) -> Result<Self, BrokerError> {
        let reader = broker.reader()?;
        let shared = Arc::new(Shared {
            writes: Lane::default(),
            reads: Lane::default(),
            clock,
            watchers: AtomicUsize::new(0),
            heard_work: AtomicBool::new(false),
            heard_cancels: AtomicBool::new(false),
            heard_orders: AtomicBool::new(false),
        });
        let told = broker.listen(Arc::new(Hearing(Arc::downgrade(&shared))))?;
        let writing = WriteThread::new(Arc::clone(&shared), broker, told);
        let reading = ReadThread::new(Arc::clone(&shared), reader);
        let (threads, pid) = (Mutex::new(Vec::new()), std::process::id());
        let engine = Self { shared, threads, pid };
        engine.spawn("pelton-write", move || writing.run())?;
        engine.spawn("pelton-read", move || reading.run())?;
        Ok(engine)
    }

    /// The time, as this engine's threads see it.
    #[must_use]
    pub fn now(&self) -> Time {
        self.shared.clock.now()
    }

    /// Has `work` done in the next group of writes; the reply comes when it is durable.
    pub fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Broker, Time) -> Result<T, BrokerError> + Send + 'static,
        reply: Reply<T>,
    ) {
        if let Some(reply) = self.refuse(reply) {
            let operation: Box<dyn Action> = Box::new(Operation::new(work, reply));
            self.shared.writes.push(WriteMessage::Operation(operation));
        }
    }

    /// Has jobs written, all or none, with those of other callers in one go; the reply has their
    /// ids, as `Broker::enqueue` gives them, when they are durable.
    pub fn enqueue(&self, jobs: Vec<Arc<NewJob>>, edges: Vec<Edge>, reply: Reply<Vec<JobId>>) {
        if let Some(reply) = self.refuse(reply) {
            let call = EnqueueCall { jobs, edges, again: false };
            self.shared.writes.push(WriteMessage::Enqueue(call, reply));
        }
    }

    /// Has `question` answered from what was committed.
    pub fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Reader, Time) -> Result<T, BrokerError> + Send + 'static,
        reply: Reply<T>,
    ) {
        if let Some(reply) = self.refuse(reply) {
            let answer = Box::new(move |reader: &mut dyn Reader, now: Time| {
                reply.send(question(reader, now));
            });
            self.shared.reads.push(ReadMessage::Question(answer));
        }
    }

    /// The job's record once its version is above `version`; `None` after `patience`, or where
    /// there is no such job.
    pub fn watch(
        &self,
        id: JobId,
        version: i64,
        patience: Duration,
        reply: Reply<Option<JobRecord>>,
    ) {
        if let Some(reply) = self.refuse(reply) {
            let deadline = deadline(patience);
            self.shared.watchers.fetch_add(1, Ordering::SeqCst);
            self.shared.reads.push(ReadMessage::Watch(WatchCall { id, version, deadline, reply }));
            // The writing thread may be asleep, with nobody to look out for until now.
            self.shared.writes.poke();
        }
    }

    /// Up to `limit` jobs for a worker, once there are some; none after `patience`.
    pub(crate) fn lease(
        &self,
        worker: WorkerRow,
        spec: Arc<WorkerSpec>,
        limit: usize,
        patience: Duration,
        reply: Reply<Vec<LeasedJob>>,
    ) {
        if let Some(reply) = self.refuse(reply) {
            let call = LeaseCall::new(worker, spec, limit, deadline(patience), reply);
            self.shared.writes.push(WriteMessage::Lease(call));
        }
    }

    /// Tells `port` of cancellations from now on.
    pub(crate) fn add_port(&self, port: Arc<dyn CancelPort>) {
        self.shared.writes.push(WriteMessage::AddPort(port));
    }

    /// Tells this worker of none any more.
    pub(crate) fn remove_port(&self, worker: WorkerRow) {
        self.shared.writes.push(WriteMessage::RemovePort(worker));
    }

    /// Finishes what was asked for before, then stops the threads. Later calls fail.
    pub fn close(&self) {
        self.shared.writes.close();
        self.shared.reads.close();
        if self.pid != std::process::id() {
            return;
        }
        let threads = {
            let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *threads)
        };
        let own = std::thread::current().id();
        for thread in threads.into_iter().filter(|thread| thread.thread().id() != own) {
            // A thread that panicked has failed its callers already, by dropping their replies.
            let _ = thread.join();
        }
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), BrokerError> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)
            .map_err(|error| BrokerError::Store(format!("no thread for the broker: {error}")))?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// The reply back, unless this engine cannot take calls; then the reply has its error.
    fn refuse<T>(&self, reply: Reply<T>) -> Option<Reply<T>> {
        let why = if self.pid != std::process::id() {
            "the broker was opened before this process was forked: open one in each process"
        } else if self.shared.writes.is_closed() {
            "the broker is closed"
        } else if self.shared.writes.is_full() || self.shared.reads.is_full() {
            reply.send(Err(BrokerError::Store(format!(
                "{} calls wait for the broker already: wait for some of them first",
                lane::LIMIT
            ))));
            return None;
        } else {
            return Some(reply);
        };
        reply.send(Err(BrokerError::Closed(why.into())));
        None
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

fn deadline(patience: Duration) -> Instant {
    let now = Instant::now();
    // A year is for ever here, and no clock overflows by it.
    now + patience.min(Duration::from_secs(31_536_000))
}
