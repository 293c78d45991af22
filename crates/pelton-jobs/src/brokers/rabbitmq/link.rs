//! A connection that is made again whenever it is lost.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::connection::{Broken, Reading, Wire, connect};
use super::url::Location;
use crate::error::BrokerError;

/// Between two tries to reach a server that is away.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A connection that was there for so long was a good one.
const LASTED: Duration = Duration::from_secs(5);

/// For a server to answer our goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Keeps a connection, in a thread of its own, which also reads from it.
pub(super) struct Link {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// The thread is not there in a forked child.
    pid: u32,
}

struct Shared {
    location: Arc<Location>,
    state: Mutex<State>,
    changed: Condvar,
    /// Called from the thread when a connection is there, or is lost.
    tell: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    wire: Option<Arc<Wire>>,
    stopped: bool,
    ended: bool,
}

impl Link {
    /// Connects, and keeps connected. An error where the first try fails.
    pub(super) fn open(
        location: Arc<Location>,
        tell: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Self, BrokerError> {
        let first = connect(&location).map_err(|broken| refuse(&location, &broken))?;
        Self::start(location, Some(first), tell)
    }

    /// Keeps connected from now on; the first connection may take a while.
    pub(super) fn keep(
        location: Arc<Location>,
        tell: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Self, BrokerError> {
        Self::start(location, None, tell)
    }

    fn start(
        location: Arc<Location>,
        first: Option<(Arc<Wire>, Reading)>,
        tell: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Self, BrokerError> {
        let wire = first.as_ref().map(|(wire, _)| Arc::clone(wire));
        let state = Mutex::new(State { wire, ..State::default() });
        let shared = Arc::new(Shared { location, state, changed: Condvar::new(), tell });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("pelton-amqp".into())
            .spawn(move || own.run(first))
            .map_err(|error| BrokerError::Store(format!("no thread for RabbitMQ: {error}")))?;
        Ok(Self { shared, thread: Some(thread), pid: std::process::id() })
    }

    /// The connection, if there is one now.
    pub(super) fn wire(&self) -> Option<Arc<Wire>> {
        self.shared.lock().wire.as_ref().filter(|wire| !wire.is_dead()).map(Arc::clone)
    }

    /// The connection, once there is one, for at most `patience`.
    pub(super) fn wait(&self, patience: Duration) -> Option<Arc<Wire>> {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.lock();
        loop {
            if let Some(wire) = state.wire.as_ref().filter(|wire| !wire.is_dead()) {
                return Some(Arc::clone(wire));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.shared.sleep(state, left);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.pid != std::process::id() {
            return;
        }
        let wire = {
            let mut state = self.shared.lock();
            state.stopped = true;
            state.wire.clone()
        };
        self.shared.changed.notify_all();
        if let Some(wire) = wire {
            wire.close();
            let deadline = Instant::now() + GOODBYE;
            let mut state = self.shared.lock();
            while !state.ended && Instant::now() < deadline {
                state = self.shared.sleep(state, Duration::from_millis(100));
            }
            drop(state);
            wire.fail("it was closed");
        }
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to say.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, first: Option<(Arc<Wire>, Reading)>) {
        let mut pause = PAUSE_MIN;
        let mut next = first;
        while !self.lock().stopped {
            let Some((wire, reading)) = next.take().or_else(|| connect(&self.location).ok()) else {
                // Why it cannot be reached is of no use to anybody but the next try: jobs wait in
                // the store, and workers take them from there.
                let state = self.lock();
                if !state.stopped {
                    drop(self.sleep(state, pause));
                }
                pause = (pause * 2).min(PAUSE_MAX);
                continue;
            };
            let made = Instant::now();
            {
                let mut state = self.lock();
                if state.stopped {
                    wire.close();
                }
                state.wire = Some(Arc::clone(&wire));
            }
            self.changed.notify_all();
            (self.tell)();
            let why = reading.run(&wire);
            wire.fail(&why);
            self.lock().wire = None;
            (self.tell)();
            if made.elapsed() >= LASTED {
                pause = PAUSE_MIN;
                continue;
            }
            // A server that ends each connection at once is not to be flooded with new ones.
            let state = self.lock();
            if !state.stopped {
                drop(self.sleep(state, pause));
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }

    fn sleep<'a>(&self, state: MutexGuard<'a, State>, patience: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What somebody who opens a broker is told.
fn refuse(location: &Location, broken: &Broken) -> BrokerError {
    let name = location.name();
    BrokerError::Open(match broken {
        Broken::Refused(fault) if fault.code == 403 => format!(
            "{name} refused the login of {:?}: {}: check user and password in the URL (\"guest\" \
             may log in from the server's own machine only)",
            location.user, fault.text
        ),
        Broken::Refused(fault) => format!(
            "{name} refused the connection: {} ({}): check the vhost in the URL, and that {:?} \
             may use it",
            fault.text, fault.code, location.user
        ),
        Broken::Lost(why) => {
            format!(
                "{name} cannot be reached: {why}: check host and port in the URL, and that it runs"
            )
        }
    })
}
