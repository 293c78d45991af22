//! One connection to a Redis server.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use super::resp::{Commands, Unread, Value, parse};
use super::stream::{Cutter, Stream};
use super::url::{Location, Place};

/// Bytes asked of the socket at a time.
const CHUNK: usize = 64 << 10;
const CHUNK_MAX: usize = 4 << 20;

/// Bytes of one answer, at most: a lease of large payloads stays far below.
const ANSWER_MAX: usize = 2 << 30;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection is of no use any more: another one may be.
    Lost(String),
    /// The server will not have us: asking again does not help.
    Refused(String),
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

/// A connection that is logged in.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    /// Read, and not yet given out: from `start`.
    buffer: Vec<u8>,
    start: usize,
    /// Where the socket writes to.
    chunk: Vec<u8>,
}

impl Connection {
    /// Connects and logs in: to the server that the Sentinels name, where there are some; else to
    /// `moved`, where a cluster said that our keys are, or to the first that answers.
    pub(super) fn open(location: &Location, moved: Option<&Place>) -> Result<Self, Broken> {
        if let Some(master) = &location.master {
            return Self::login(&find_master(location, master)?, location);
        }
        if let Some(place) = moved {
            return Self::login(place, location);
        }
        let mut last = Broken::Lost("no server is named".into());
        for place in &location.places {
            match Self::login(place, location) {
                Err(error @ Broken::Lost(_)) => last = error,
                other => return other,
            }
        }
        Err(last)
    }

    fn login(place: &Place, location: &Location) -> Result<Self, Broken> {
        let mut connection = Self::to(place, location)?;
        let mut login = Commands::default();
        match (&location.user, &location.password) {
            (Some(user), Some(password)) => {
                login.add(&[b"AUTH", user.as_bytes(), password.as_bytes()]);
            }
            (None, Some(password)) => login.add(&[b"AUTH", password.as_bytes()]),
            _ => {}
        }
        if location.database != 0 {
            login.add(&[b"SELECT", location.database.to_string().as_bytes()]);
        }
        login.add(&[b"CLIENT", b"SETNAME", b"pelton"]);
        if location.master.is_some() {
            login.add(&[b"ROLE"]);
        }
        let answers = connection.exchange(&login)?;
        if location.master.is_some()
            && let Some(Value::Array(role)) = answers.last()
            && role.first() != Some(&Value::Bytes(b"master".to_vec()))
        {
            return Err(Broken::Lost("the server that the Sentinels name does not lead".into()));
        }
        for answer in answers {
            if let Value::Error(why) = answer {
                return Err(if why.starts_with("LOADING") {
                    Broken::Lost(why)
                } else {
                    Broken::Refused(why)
                });
            }
        }
        Ok(connection)
    }

    fn to(place: &Place, location: &Location) -> Result<Self, Broken> {
        let stream = Stream::open(place, location)?;
        Ok(Self { stream, buffer: Vec::new(), start: 0, chunk: Vec::new() })
    }

    /// Sends commands, and waits for all answers.
    pub(super) fn exchange(&mut self, commands: &Commands) -> Result<Vec<Value>, Broken> {
        self.send(&commands.bytes)?;
        (0..commands.count).map(|_| self.receive()).collect()
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.stream.write_all(bytes)?;
        Ok(self.stream.flush()?)
    }

    /// The next answer.
    pub(super) fn receive(&mut self) -> Result<Value, Broken> {
        loop {
            match parse(&self.buffer[self.start..]) {
                Ok((value, length)) => {
                    self.start += length;
                    if self.start == self.buffer.len() {
                        self.buffer.clear();
                        self.start = 0;
                    }
                    return Ok(value);
                }
                Err(Unread::Malformed) => {
                    return Err(Broken::Refused("what answers there is not Redis".into()));
                }
                Err(Unread::More) => self.fill()?,
            }
        }
    }

    /// The next answer, if one comes within the read timeout.
    pub(super) fn receive_in_time(&mut self) -> Result<Option<Value>, Broken> {
        loop {
            match parse(&self.buffer[self.start..]) {
                Ok((value, length)) => {
                    self.start += length;
                    return Ok(Some(value));
                }
                Err(Unread::Malformed) => {
                    return Err(Broken::Refused("what answers there is not Redis".into()));
                }
                Err(Unread::More) => match self.read_some() {
                    Ok(()) => {}
                    Err(error) if is_late(&error) => return Ok(None),
                    Err(error) => return Err(error.into()),
                },
            }
        }
    }

    fn fill(&mut self) -> Result<(), Broken> {
        self.read_some().map_err(|error| {
            if is_late(&error) { Broken::Lost("no answer in time".into()) } else { error.into() }
        })
    }

    fn read_some(&mut self) -> std::io::Result<()> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        if self.buffer.len() > ANSWER_MAX {
            return Err(std::io::Error::other("an answer without end"));
        }
        // The more there is already, the more is read at once: an answer is parsed a few times
        // only, however long it is.
        let wanted = CHUNK.max(self.buffer.len().min(CHUNK_MAX));
        if self.chunk.len() < wanted {
            self.chunk.resize(wanted, 0);
        }
        let read = self.stream.read(&mut self.chunk)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&self.chunk[..read]);
        Ok(())
    }

    /// How long `receive` waits.
    pub(super) fn set_patience(&self, patience: Duration) -> Result<(), Broken> {
        Ok(self.stream.set_read_timeout(patience)?)
    }

    /// A handle that can end this connection from another thread.
    pub(super) fn cutter(&self) -> Result<Cutter, Broken> {
        Ok(self.stream.cutter()?)
    }
}

fn is_late(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

/// Asks one Sentinel after the other for the address of the server that leads.
fn find_master(location: &Location, master: &str) -> Result<Place, Broken> {
    let mut last = Broken::Lost("no Sentinel".into());
    for place in &location.places {
        let mut ask = Commands::default();
        if let Some(password) = &location.sentinel_password {
            ask.add(&[b"AUTH", password.as_bytes()]);
        }
        ask.add(&[b"SENTINEL", b"get-master-addr-by-name", master.as_bytes()]);
        let answer = Connection::to(place, location).and_then(|mut sentinel| {
            let mut answers = sentinel.exchange(&ask)?;
            Ok(answers.pop().unwrap_or(Value::Nil))
        });
        match answer {
            Ok(Value::Array(parts)) if parts.len() == 2 => {
                let mut parts = parts.into_iter().filter_map(Value::into_text);
                if let (Some(host), Some(port)) = (parts.next(), parts.next())
                    && let Ok(port) = port.parse()
                {
                    return Ok(Place::Host(host, port));
                }
            }
            Ok(Value::Error(why)) => last = Broken::Lost(why),
            Ok(_) => last = Broken::Lost(format!("the Sentinels do not know {master:?}")),
            Err(error) => last = error,
        }
    }
    Err(last)
}
