//! `redis-server`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{Child, free_port, wait_until};
use crate::TemporaryDirectory;

/// A Redis that keeps what it answered through its own death, as a production one should.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    directory: TemporaryDirectory,
    options: Vec<String>,
    child: Child,
}

impl RedisServer {
    /// A new one.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(Vec::new)
    }

    /// A new one with more options, which are asked for anew for each try to find a free port.
    #[must_use]
    pub fn start_with(options: impl Fn() -> Vec<String>) -> Self {
        let directory = TemporaryDirectory::new().unwrap();
        loop {
            let (port, options) = (free_port(), options());
            let child = Self::spawn(port, &directory, &options);
            if is_up(port, &child) {
                return Self { port, directory, options, child };
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Has it run a command of words without spaces in them.
    pub fn command(&self, words: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(format!("{words}\r\n").as_bytes()).unwrap();
        let mut answer = [0; 1];
        stream.read_exact(&mut answer).unwrap();
        assert_ne!(&answer, b"-", "{words}");
    }

    /// The start of what it says to a command of words without spaces in them.
    #[must_use]
    pub fn ask(&self, words: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(format!("{words}\r\n").as_bytes()).unwrap();
        let mut answer = [0; 4096];
        let read = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..read]).into_owned()
    }

    /// Kills it.
    pub fn kill(&self) {
        self.child.kill();
    }

    /// Starts it again, after `kill`, with the same data at the same port.
    pub fn restart(&mut self) {
        self.child = Self::spawn(self.port, &self.directory, &self.options);
        assert!(is_up(self.port, &self.child), "redis-server does not start again");
    }

    fn spawn(port: u16, directory: &TemporaryDirectory, options: &[String]) -> Child {
        let path = directory.path().to_string_lossy().into_owned();
        let port = port.to_string();
        let arguments = [
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--dir",
            &path,
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "no",
            "--daemonize",
            "no",
        ];
        let options = options.iter().map(String::as_str);
        let all = arguments.into_iter().chain(options).map(Into::into);
        Child::start("redis-server", all.collect(), Vec::new())
    }
}

/// Whether it answers; `false` if it ended, since the port was taken.
fn is_up(port: u16, child: &Child) -> bool {
    let mut up = false;
    wait_until("redis-server", || {
        up = ping(port).unwrap_or(false);
        up || child.has_ended()
    });
    up
}

fn ping(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG\r\n")
}
