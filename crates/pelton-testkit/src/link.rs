//! A wire between a client and a server that tests can cut, and make slow.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Listens at a loopback port, and passes on to another.
#[derive(Debug)]
pub struct Link {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    down: bool,
    /// Each piece of data waits this long, each way.
    delay: Duration,
    /// Answers are swallowed: what was asked happens, and nobody hears of it.
    deaf: bool,
    /// What a client says before its connection ends, with its answer swallowed.
    last_words: Option<Vec<u8>>,
    ends: Vec<TcpStream>,
}

impl Link {
    /// A wire to `port`.
    #[must_use]
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let own = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                connect(client, port, &shared);
            }
        });
        Self { port: own, state }
    }

    /// The port to connect to instead.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends all connections; new ones are possible.
    pub fn cut(&self) {
        for end in self.state.lock().unwrap().ends.drain(..) {
            // The other side may have ended it.
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Ends all connections, and each new one at once, until `up`.
    pub fn down(&self) {
        self.state.lock().unwrap().down = true;
        self.cut();
    }

    /// The opposite of `down`.
    pub fn up(&self) {
        self.state.lock().unwrap().down = false;
    }

    /// Makes data of all connections wait, each way.
    pub fn delay(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    /// Passes on the next data of a client with `words` in it, swallows the answer, and ends that
    /// connection.
    pub fn cut_answer_to(&self, words: &[u8]) {
        self.state.lock().unwrap().last_words = Some(words.to_vec());
    }

    /// Swallows what the server says, or not.
    pub fn set_deaf(&self, deaf: bool) {
        self.state.lock().unwrap().deaf = deaf;
    }
}

fn connect(client: TcpStream, port: u16, state: &Arc<Mutex<State>>) {
    if state.lock().unwrap().down {
        return;
    }
    // A server that is away: the client finds its connection closed.
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let copies = (client.try_clone().unwrap(), server.try_clone().unwrap());
    {
        let mut state = state.lock().unwrap();
        state.ends.push(client.try_clone().unwrap());
        state.ends.push(server.try_clone().unwrap());
    }
    let ending = Arc::new(AtomicBool::new(false));
    for (from, to, answers) in [(client, copies.1, false), (server, copies.0, true)] {
        let (state, ending) = (Arc::clone(state), Arc::clone(&ending));
        std::thread::spawn(move || pass_on(from, to, answers, &state, &ending));
    }
}

fn pass_on(
    mut from: TcpStream,
    mut to: TcpStream,
    answers: bool,
    state: &Mutex<State>,
    ending: &AtomicBool,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let (delay, deaf) = {
            let mut state = state.lock().unwrap();
            let has = |words: &Vec<u8>| buffer[..length].windows(words.len()).any(|w| w == words);
            if !answers && state.last_words.as_ref().is_some_and(has) {
                state.last_words = None;
                ending.store(true, Ordering::SeqCst);
            }
            (state.delay, state.deaf)
        };
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        if answers && ending.load(Ordering::SeqCst) {
            break;
        }
        if deaf && answers {
            continue;
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // Either side may have gone already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
