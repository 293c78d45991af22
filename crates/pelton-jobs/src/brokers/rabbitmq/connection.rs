//! One connection to a RabbitMQ server: one thread reads, any may write.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::content::{Content, Event};
use super::frame::{self, Out, Unread};
use super::method::{self, Fault, Said};
use super::url::Location;

/// Bytes asked of the socket at a time.
const CHUNK: usize = 64 << 10;

/// Bytes of a frame, at most; the server may want less.
const FRAME_MAX: u32 = 128 << 10;

/// Seconds without a sign of life, on either side, that we agree to.
const HEARTBEAT: u16 = 10;

/// Channels that we open at most.
const CHANNEL_MAX: u16 = 255;

/// How often the reading thread looks up from the socket.
const TICK: Duration = Duration::from_secs(1);

/// For a connection to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) enum Broken {
    /// The connection is of no use any more: another one may be.
    Lost(String),
    /// The server will not have it: asking again does not help.
    Refused(Fault),
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

impl Broken {
    /// What happened, for people.
    pub(super) fn why(&self) -> String {
        match self {
            Self::Lost(why) => why.clone(),
            Self::Refused(fault) => format!("{} ({})", fault.text, fault.code),
        }
    }
}

/// Who is told of what comes on a channel. Called from the reading thread: must not block.
pub(super) trait Listener: Send + Sync {
    /// A message, a confirm and the like.
    fn hear(&self, event: Event);
    /// The channel is gone, or its connection.
    fn end(&self, why: &str);
}

/// The side of a connection that all threads share.
pub(super) struct Wire {
    writing: Mutex<Writing>,
    /// Ends the connection, also while another thread writes.
    end: TcpStream,
    state: Mutex<State>,
    changed: Condvar,
    blocked: AtomicBool,
    /// How long an answer may take.
    patience: Duration,
    frame_max: usize,
    heartbeat: Duration,
}

struct Writing {
    stream: TcpStream,
    last: Instant,
}

#[derive(Default)]
struct State {
    dead: Option<String>,
    newest: u16,
    channels: HashMap<u16, Channel>,
}

struct Channel {
    listener: Arc<dyn Listener>,
    answers: VecDeque<Said>,
    fault: Option<Fault>,
}

/// The side of the reading thread.
pub(super) struct Reading {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    heard: Instant,
    /// When a frame must be there, as long as nobody else reads.
    deadline: Option<Instant>,
}

/// Connects and logs in.
pub(super) fn connect(location: &Location) -> Result<(Arc<Wire>, Reading), Broken> {
    let stream = dial(location)?;
    let mut writing = stream.try_clone()?;
    let deadline = Instant::now() + location.patience;
    let mut reading = Reading {
        stream,
        buffer: Vec::new(),
        start: 0,
        heard: Instant::now(),
        deadline: Some(deadline),
    };
    writing.write_all(b"AMQP\0\0\x09\x01")?;
    let Said::Start { mechanisms } = reading.answer(deadline)? else {
        return Err(Broken::Lost("what answers there is not RabbitMQ".into()));
    };
    if !mechanisms.split(' ').any(|mechanism| mechanism == "PLAIN") {
        let text = format!("it takes no passwords, but {mechanisms}");
        return Err(Broken::Refused(Fault { code: 403, text }));
    }
    let mut out = Out::default();
    method::start_ok(&location.user, &location.password, &mut out);
    writing.write_all(&out.bytes)?;
    let (channels, frames, heartbeat) = match reading.answer(deadline)? {
        Said::Tune { channel_max, frame_max, heartbeat } => (channel_max, frame_max, heartbeat),
        Said::Close(fault) => return Err(Broken::Refused(fault)),
        other => return Err(Broken::Lost(format!("an answer out of turn: {other:?}"))),
    };
    // 0 is "no limit".
    let least = |theirs: u32, ours: u32| if theirs == 0 { ours } else { theirs.min(ours) };
    let frame_max = least(frames, FRAME_MAX);
    let heartbeat = least(heartbeat.into(), HEARTBEAT.into()) as u16;
    let mut out = Out::default();
    let channel_max = least(channels.into(), CHANNEL_MAX.into()) as u16;
    method::tune_ok(channel_max, frame_max, heartbeat, &mut out);
    method::open(&location.vhost, &mut out);
    writing.write_all(&out.bytes)?;
    match reading.answer(deadline)? {
        Said::Opened => {}
        Said::Close(fault) => return Err(Broken::Refused(fault)),
        other => return Err(Broken::Lost(format!("an answer out of turn: {other:?}"))),
    }
    reading.stream.set_read_timeout(Some(TICK))?;
    reading.deadline = None;
    let wire = Wire {
        end: writing.try_clone()?,
        writing: Mutex::new(Writing { stream: writing, last: Instant::now() }),
        state: Mutex::default(),
        changed: Condvar::new(),
        blocked: AtomicBool::new(false),
        patience: location.patience,
        frame_max: frame_max.max(4096) as usize,
        heartbeat: Duration::from_secs(heartbeat.into()),
    };
    Ok((Arc::new(wire), reading))
}

fn dial(location: &Location) -> Result<TcpStream, Broken> {
    let mut last = Broken::Lost(format!("{} has no address", location.host));
    let timeout = CONNECT.min(location.patience);
    for address in (location.host.as_str(), location.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(location.patience.min(TICK)))?;
                stream.set_write_timeout(Some(location.patience))?;
                return Ok(stream);
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

impl Wire {
    /// Opens a channel; `listener` is told of what comes on it.
    pub(super) fn open_channel(&self, listener: Arc<dyn Listener>) -> Result<u16, Broken> {
        let channel = {
            let mut state = self.lock();
            let free = |number: &u16| !state.channels.contains_key(number);
            // Numbers of closed channels are used again last.
            let mut next = (1..=CHANNEL_MAX).map(|by| (state.newest + by - 1) % CHANNEL_MAX + 1);
            let Some(number) = next.find(free) else {
                return Err(Broken::Lost("too many channels".into()));
            };
            state.newest = number;
            let channel = Channel { listener, answers: VecDeque::new(), fault: None };
            state.channels.insert(number, channel);
            number
        };
        let mut out = Out::default();
        method::open_channel(channel, &mut out);
        self.ask(channel, &out, 1)?;
        Ok(channel)
    }

    /// Sends methods, and waits for their `count` answers.
    pub(super) fn ask(&self, channel: u16, out: &Out, count: usize) -> Result<Vec<Said>, Broken> {
        if let Some(fault) = self.fault_of(channel) {
            return Err(Broken::Refused(fault));
        }
        self.send(&out.bytes)?;
        let deadline = Instant::now() + self.patience;
        let mut state = self.lock();
        loop {
            if let Some(why) = &state.dead {
                return Err(Broken::Lost(why.clone()));
            }
            let Some(asked) = state.channels.get_mut(&channel) else {
                return Err(Broken::Lost("the channel is closed".into()));
            };
            if let Some(fault) = asked.fault.take() {
                state.channels.remove(&channel);
                return Err(Broken::Refused(fault));
            }
            if asked.answers.len() >= count {
                return Ok(asked.answers.drain(..count).collect());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                let why = "no answer in time";
                self.fail(why);
                return Err(Broken::Lost(why.into()));
            }
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Why the server has closed a channel, which is then forgotten.
    fn fault_of(&self, channel: u16) -> Option<Fault> {
        let mut state = self.lock();
        let fault = state.channels.get_mut(&channel)?.fault.take()?;
        state.channels.remove(&channel);
        Some(fault)
    }

    /// Sends what needs no answer.
    pub(super) fn send(&self, bytes: &[u8]) -> Result<(), Broken> {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        writing.last = Instant::now();
        let sent = writing.stream.write_all(bytes);
        drop(writing);
        sent.map_err(|error| {
            // Half a frame may be out: nothing can follow it.
            self.fail(&error.to_string());
            error.into()
        })
    }

    /// Closes a channel; what was delivered on it and not acknowledged goes to others.
    pub(super) fn close_channel(&self, channel: u16) {
        let mut out = Out::default();
        method::close(channel, &mut out);
        // A connection that is lost has closed it already.
        if self.ask(channel, &out, 1).is_ok() {
            self.lock().channels.remove(&channel);
        }
    }

    /// Gives up a channel that the server has closed.
    pub(super) fn forget_channel(&self, channel: u16) {
        self.lock().channels.remove(&channel);
    }

    /// Whether the server asked for nothing more to be published: it is short of memory or disk.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::SeqCst)
    }

    /// Ends the connection, and tells everybody.
    pub(super) fn fail(&self, why: &str) {
        let listeners: Vec<_> = {
            let mut state = self.lock();
            if state.dead.is_some() {
                return;
            }
            state.dead = Some(why.to_owned());
            state.channels.values().map(|channel| Arc::clone(&channel.listener)).collect()
        };
        self.changed.notify_all();
        for listener in listeners {
            listener.end(why);
        }
        // The other side may have ended it.
        let _ = self.end.shutdown(Shutdown::Both);
    }

    /// Says goodbye; the reading thread then ends.
    pub(super) fn close(&self) {
        let mut out = Out::default();
        method::close(0, &mut out);
        // Lost already: then there is nobody to say it to.
        let _ = self.send(&out.bytes);
    }

    /// Whether it is lost.
    pub(super) fn is_dead(&self) -> bool {
        self.lock().dead.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came on a channel, or for the connection. `Err`: it is over.
    fn take(&self, channel: u16, said: Said) -> Result<(), String> {
        match said {
            Said::Close(fault) if channel == 0 => {
                let mut out = Out::default();
                method::close_ok(0, &mut out);
                // The connection is over, heard or not.
                let _ = self.send(&out.bytes);
                return Err(Broken::Refused(fault).why());
            }
            Said::CloseOk => return Err("it was closed".into()),
            Said::Blocked => self.blocked.store(true, Ordering::SeqCst),
            Said::Unblocked => self.blocked.store(false, Ordering::SeqCst),
            Said::Close(fault) => {
                let mut out = Out::default();
                method::close_ok(channel, &mut out);
                let _ = self.send(&out.bytes);
                let mut state = self.lock();
                let Some(closed) = state.channels.get_mut(&channel) else { return Ok(()) };
                let listener = Arc::clone(&closed.listener);
                closed.fault = Some(fault.clone());
                drop(state);
                listener.end(&Broken::Refused(fault).why());
            }
            answer => {
                let mut state = self.lock();
                if let Some(asked) = state.channels.get_mut(&channel) {
                    asked.answers.push_back(answer);
                }
            }
        }
        self.changed.notify_all();
        Ok(())
    }

    fn listener(&self, channel: u16) -> Option<Arc<dyn Listener>> {
        self.lock().channels.get(&channel).map(|channel| Arc::clone(&channel.listener))
    }

    /// Says that we are there, if nothing was said for a while.
    fn beat(&self) {
        if self.heartbeat.is_zero() {
            return;
        }
        // Who holds the lock is saying something.
        let Ok(mut writing) = self.writing.try_lock() else { return };
        if writing.last.elapsed() >= self.heartbeat / 2 {
            let mut out = Out::default();
            out.frame(frame::HEARTBEAT, 0, |_| {});
            writing.last = Instant::now();
            let sent = writing.stream.write_all(&out.bytes);
            drop(writing);
            if let Err(error) = sent {
                // Half a frame may be out: nothing can follow it.
                self.fail(&error.to_string());
            }
        }
    }
}

impl Reading {
    /// Reads until the connection is over; why it is.
    pub(super) fn run(mut self, wire: &Wire) -> String {
        let mut content = Content::default();
        loop {
            let next = match self.next(wire.frame_max) {
                Ok(next) => next,
                Err(why) => return why,
            };
            let Some((kind, channel, payload)) = next else {
                if wire.is_dead() {
                    return "it was given up".into();
                }
                wire.beat();
                if !wire.heartbeat.is_zero() && self.heard.elapsed() > wire.heartbeat * 2 {
                    return "no sign of life from the server".into();
                }
                continue;
            };
            let payload = &self.buffer[payload];
            match content.frame(kind, channel, payload) {
                Err(()) => return "what came from the server makes no sense".into(),
                Ok(Some(Event::Method(said))) => {
                    if let Err(why) = wire.take(channel, said) {
                        return why;
                    }
                }
                Ok(Some(event)) => {
                    if let Some(listener) = wire.listener(channel) {
                        listener.hear(event);
                    }
                }
                Ok(None) => {}
            }
            if wire.heartbeat > Duration::ZERO {
                wire.beat();
            }
        }
    }

    /// The next frame: kind, channel, and where its payload is. `None`: nothing in time.
    fn next(&mut self, max: usize) -> Result<Option<(u8, u16, Range<usize>)>, String> {
        loop {
            match frame::parse(&self.buffer[self.start..], max) {
                Ok((frame, length)) => {
                    let from = self.start + frame::OVERHEAD - 1;
                    let payload = from..from + frame.payload.len();
                    let found = (frame.kind, frame.channel, payload);
                    self.start += length;
                    return Ok(Some(found));
                }
                Err(Unread::Malformed) => {
                    return Err("what answers there is not RabbitMQ".into());
                }
                Err(Unread::More) => {
                    self.buffer.drain(..self.start);
                    self.start = 0;
                }
            }
            let length = self.buffer.len();
            self.buffer.resize(length + CHUNK, 0);
            let read = self.stream.read(&mut self.buffer[length..]);
            self.buffer.truncate(length + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Err("the server ended the connection".into()),
                Ok(_) => {
                    self.heard = Instant::now();
                    if self.deadline.is_some_and(|deadline| self.heard >= deadline) {
                        return Ok(None);
                    }
                }
                Err(error) if is_late(&error) => return Ok(None),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// The next method, while nobody else reads.
    fn answer(&mut self, deadline: Instant) -> Result<Said, Broken> {
        loop {
            match self.next(FRAME_MAX as usize).map_err(Broken::Lost)? {
                Some((frame::METHOD, 0, payload)) => {
                    let said = Said::parse(&self.buffer[payload]);
                    return said.ok_or(Broken::Lost("an answer that makes no sense".into()));
                }
                Some((frame::HEARTBEAT, ..)) if Instant::now() < deadline => {}
                Some((frame::HEARTBEAT, ..)) => {
                    return Err(Broken::Lost("no answer in time".into()));
                }
                Some(_) => return Err(Broken::Lost("what answers there is not RabbitMQ".into())),
                None if Instant::now() >= deadline => {
                    return Err(Broken::Lost("no answer in time".into()));
                }
                None => {}
            }
        }
    }
}

fn is_late(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}
