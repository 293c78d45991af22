//! Others' writes, told by Redis as they happen.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{Broken, Connection};
use super::resp::{Commands, Value};
use super::stream::Cutter;
use super::url::Location;
use crate::broker::{Ears, News};
use crate::error::BrokerError;
use crate::id::JobId;

/// A connection that says nothing for this long is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(5);

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A thread that listens, until this is dropped.
pub(super) struct Listening {
    /// There may be work that nobody here has looked for.
    pub(super) work: Arc<AtomicBool>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    closed: bool,
    cutter: Option<Cutter>,
}

struct Listener {
    location: Arc<Location>,
    channels: [Vec<u8>; 4],
    ears: Arc<dyn Ears>,
    work: Arc<AtomicBool>,
    state: Arc<Mutex<State>>,
}

impl Listening {
    pub(super) fn start(
        location: Arc<Location>,
        prefix: Vec<u8>,
        ears: Arc<dyn Ears>,
    ) -> Result<Self, BrokerError> {
        let work = Arc::new(AtomicBool::new(true));
        let state = Arc::new(Mutex::new(State::default()));
        let channels = [b"work".as_slice(), b"cancel", b"order", b"changed"]
            .map(|name| [&prefix, name].concat());
        let (work_too, state_too) = (Arc::clone(&work), Arc::clone(&state));
        let listener = Listener { location, channels, ears, work: work_too, state: state_too };
        std::thread::Builder::new()
            .name("pelton-redis".into())
            .spawn(move || listener.run())
            .map_err(|error| BrokerError::Store(format!("no thread for Redis: {error}")))?;
        Ok(Self { work, state })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        if let Some(cutter) = &state.cutter {
            cutter.cut();
        }
    }
}

impl Listener {
    fn run(self) {
        let mut pause = PAUSE_MIN;
        while !self.is_closed() {
            let started = Instant::now();
            // Why it ended is met, and told, by those who write; here it begins anew.
            let _ = self.listen();
            if started.elapsed() > PAUSE_MAX {
                pause = PAUSE_MIN;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn is_closed(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed
    }

    fn listen(&self) -> Result<(), Broken> {
        let mut connection = Connection::open(&self.location, None)?;
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.closed {
                return Ok(());
            }
            state.cutter = Some(connection.cutter()?);
        }
        let mut subscribe = Commands::default();
        let [work, cancel, order, changed] = &self.channels;
        subscribe.add(&[b"SUBSCRIBE", work, cancel, order, changed]);
        connection.send(&subscribe.bytes)?;
        for _ in 0..self.channels.len() {
            connection.receive()?;
        }
        // Whatever was written before, nobody told us of.
        self.hear_work();
        self.ears.hear(News::Anything);
        connection.set_patience(SILENCE)?;
        let mut asked = false;
        loop {
            match connection.receive_in_time()? {
                Some(message) => {
                    asked = false;
                    self.pass_on(message);
                }
                None if asked => return Err(Broken::Lost("silent".into())),
                None => {
                    let mut ping = Commands::default();
                    ping.add(&[b"PING"]);
                    connection.send(&ping.bytes)?;
                    asked = true;
                }
            }
        }
    }

    fn hear_work(&self) {
        self.work.store(true, Ordering::SeqCst);
    }

    fn pass_on(&self, message: Value) {
        let mut parts = message.into_array().into_iter().filter_map(Value::into_bytes);
        let (Some(kind), Some(channel), Some(body)) = (parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        if kind != b"message" {
            return;
        }
        if channel == self.channels[0] {
            self.hear_work();
            self.ears.hear(News::Work);
        } else if channel == self.channels[1] {
            self.ears.hear(News::Cancels);
        } else if channel == self.channels[2] {
            self.ears.hear(News::Orders);
        } else {
            let ids = body.get(8..).unwrap_or_default().chunks_exact(16);
            let ids = ids.filter_map(|id| id.try_into().ok()).map(JobId::from_bytes);
            self.ears.hear(News::Jobs(ids.collect()));
        }
    }
}
