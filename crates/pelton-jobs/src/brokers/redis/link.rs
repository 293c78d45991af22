//! Calls to a Redis that may be away for a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::{Broken, Connection};
use super::resp::{Commands, Value};
use super::script::{SCRIPTS, Script};
use super::url::{Location, Place};
use crate::error::BrokerError;
use crate::time::Time;

/// Between two tries to reach a server that is away.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A call of a script, ready to be sent, and to be sent again.
#[derive(Debug)]
pub(super) struct Call {
    script: Script,
    now: Time,
    arguments: Commands,
}

impl Call {
    pub(super) fn new(script: Script, now: Time) -> Self {
        Self { script, now, arguments: Commands::default() }
    }

    pub(super) fn bytes(&mut self, argument: &[u8]) -> &mut Self {
        self.arguments.count += 1;
        self.arguments.part(argument);
        self
    }

    pub(super) fn text(&mut self, argument: impl ToString) -> &mut Self {
        self.bytes(argument.to_string().as_bytes())
    }

    /// More arguments, written elsewhere.
    pub(super) fn append(&mut self, arguments: &Commands) {
        self.arguments.count += arguments.count;
        self.arguments.bytes.extend_from_slice(&arguments.bytes);
    }
}

/// Since when the server is away.
#[derive(Debug)]
struct Outage {
    began: Instant,
    next_try: Instant,
    pause: Duration,
    why: String,
}

/// A connection that is made again whenever it is lost.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) location: Arc<Location>,
    prefix: Vec<u8>,
    uid: [u8; 8],
    connection: Option<Connection>,
    /// The names that the server gave to our scripts.
    names: [Option<Vec<u8>>; SCRIPTS],
    outage: Option<Outage>,
    /// Where a cluster said that our keys are.
    moved: Option<Place>,
}

impl Link {
    pub(super) fn new(location: Arc<Location>, uid: [u8; 8]) -> Self {
        let prefix = format!("{{{}}}:", location.namespace).into_bytes();
        let names = [const { None }; SCRIPTS];
        Self { location, prefix, uid, connection: None, names, outage: None, moved: None }
    }

    /// A key of ours.
    pub(super) fn key(&self, parts: &[&[u8]]) -> Vec<u8> {
        let mut key = self.prefix.clone();
        for part in parts {
            key.extend_from_slice(part);
        }
        key
    }

    /// Runs a script once, or, where the connection broke meanwhile, again: the script is told.
    pub(super) fn call(&mut self, call: &Call) -> Result<Value, BrokerError> {
        self.with_patience(|link, again| {
            loop {
                let value = link.try_call(call, again)?;
                match &value {
                    Value::Error(why) if why.starts_with("NOSCRIPT") => {
                        link.names[call.script as usize] = None;
                    }
                    Value::Error(why) if is_away(why) => {
                        link.moved = moved_to(why);
                        return Err(Broken::Lost(why.clone()));
                    }
                    _ => return Ok(value),
                }
            }
        })
        .and_then(|value| self.refuse_error(value))
    }

    /// Plain commands, which only read: asked again as often as it takes.
    pub(super) fn ask(&mut self, commands: &Commands) -> Result<Vec<Value>, BrokerError> {
        let values = self.with_patience(|link, _| {
            let values = link.connected()?.exchange(commands)?;
            let away = values.iter().find_map(|value| match value {
                Value::Error(why) if is_away(why) => Some(why.clone()),
                _ => None,
            });
            let Some(why) = away else { return Ok(values) };
            link.moved = moved_to(&why);
            Err(Broken::Lost(why))
        })?;
        values.into_iter().map(|value| self.refuse_error(value)).collect()
    }

    fn try_call(&mut self, call: &Call, again: bool) -> Result<Value, Broken> {
        self.connected()?;
        let index = call.script as usize;
        if self.names[index].is_none() {
            let mut load = Commands::default();
            load.add(&[b"SCRIPT", b"LOAD", call.script.text().as_bytes()]);
            match self.connected()?.exchange(&load)?.swap_remove(0) {
                Value::Bytes(name) => self.names[index] = Some(name),
                Value::Error(why) if is_away(&why) => {
                    self.moved = moved_to(&why);
                    return Err(Broken::Lost(why));
                }
                other => return Err(Broken::Refused(format!("SCRIPT LOAD: {other:?}"))),
            }
        }
        let mut commands = Commands::default();
        commands.bytes.reserve(call.arguments.bytes.len() + 160);
        commands.begin(7 + call.arguments.count);
        commands.part(b"EVALSHA");
        commands.part(self.names[index].as_deref().unwrap_or_default());
        commands.part(b"1");
        commands.part(&self.prefix);
        let mut now = [0; 20];
        commands.part(digits(call.now.0, &mut now));
        commands.part(&self.uid);
        commands.bytes.extend_from_slice(if again { b"$1\r\n1\r\n" } else { b"$1\r\n0\r\n" });
        commands.bytes.extend_from_slice(&call.arguments.bytes);
        Ok(self.connected()?.exchange(&commands)?.swap_remove(0))
    }

    fn connected(&mut self) -> Result<&mut Connection, Broken> {
        if self.connection.is_none() {
            let opened = Connection::open(&self.location, self.moved.as_ref());
            if opened.is_err() {
                // The others know where our keys went.
                self.moved = None;
            }
            self.connection = Some(opened?);
            // Another server may not know our scripts.
            self.names = [const { None }; SCRIPTS];
        }
        self.connection.as_mut().ok_or_else(|| Broken::Lost("not connected".into()))
    }

    /// Tries, with pauses, until the server has been away for as long as the URL allows; then each
    /// call fails, and only one now and then tries first.
    fn with_patience<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self, bool) -> Result<T, Broken>,
    ) -> Result<T, BrokerError> {
        let mut again = false;
        loop {
            if let Some(outage) = &self.outage
                && outage.began.elapsed() >= self.location.patience
                && Instant::now() < outage.next_try
            {
                return Err(self.away(outage));
            }
            let was_connected = self.connection.is_some();
            match attempt(self, again) {
                Ok(value) => {
                    self.outage = None;
                    return Ok(value);
                }
                Err(Broken::Refused(why)) => {
                    self.connection = None;
                    return Err(BrokerError::Open(format!("{}: {why}", self.location.name())));
                }
                Err(Broken::Lost(why)) => {
                    // It may have been done, and only the answer was lost.
                    again |= was_connected || self.connection.is_some();
                    self.connection = None;
                    let pause = self.note_outage(why);
                    if let Some(outage) = &self.outage
                        && outage.began.elapsed() + pause >= self.location.patience
                    {
                        return Err(self.away(outage));
                    }
                    std::thread::sleep(pause);
                }
            }
        }
    }

    /// The pause before the next try.
    fn note_outage(&mut self, why: String) -> Duration {
        let now = Instant::now();
        let outage = self.outage.get_or_insert(Outage {
            began: now,
            next_try: now,
            pause: PAUSE_MIN / 2,
            why: String::new(),
        });
        outage.why = why;
        outage.pause = (outage.pause * 2).min(PAUSE_MAX);
        outage.next_try = now + outage.pause;
        outage.pause
    }

    fn away(&self, outage: &Outage) -> BrokerError {
        BrokerError::Store(format!(
            "{} has been away for {:.1} s ({}): start it, or see that it can be reached; what was \
             asked may or may not have been done",
            self.location.name(),
            outage.began.elapsed().as_secs_f64(),
            outage.why
        ))
    }

    fn refuse_error(&self, value: Value) -> Result<Value, BrokerError> {
        match value {
            Value::Error(why) if why.starts_with("OOM") => Err(BrokerError::Store(format!(
                "{} is out of memory: raise its maxmemory, or let old jobs go ({why})",
                self.location.name()
            ))),
            Value::Error(why) => {
                Err(BrokerError::Store(format!("{}: {why}", self.location.name())))
            }
            value => Ok(value),
        }
    }
}

/// Where a cluster says that our keys are: `MOVED 42 host:port`.
fn moved_to(why: &str) -> Option<Place> {
    let (host, port) = why.strip_prefix("MOVED ")?.split_once(' ')?.1.rsplit_once(':')?;
    Some(Place::Host(host.to_owned(), port.parse().ok()?))
}

/// Whether a refusal passes by itself: a restart, a failover, or keys that are elsewhere.
fn is_away(why: &str) -> bool {
    [
        "LOADING",
        "READONLY",
        "MASTERDOWN",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "BUSY",
        "MOVED",
        "ASK",
        "UNBLOCKED",
    ]
    .iter()
    .any(|word| why.starts_with(word))
}

/// Decimal digits.
pub(super) fn digits(number: i64, into: &mut [u8; 20]) -> &[u8] {
    let mut at = into.len();
    let mut left = number.unsigned_abs();
    loop {
        at -= 1;
        into[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        into[at] = b'-';
    }
    &into[at..]
}
