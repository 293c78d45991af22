//! Readiness, timers, wakeups, sockets and write queues: the only engine crate that makes I/O calls.
//!
//! Nothing here knows Python. `poll` says which descriptors are ready, `timer` which deadlines have
//! passed, `inbox` what other threads left and `doorbell` that they did, `socket` moves bytes,
//! `write_queue` keeps those the kernel did not take yet, `separator` finds where a message ends.

mod clock;
mod doorbell;
mod inbox;
mod poll;
mod process;
mod separator;
pub mod socket;
mod timer;
mod write_queue;

pub use clock::monotonic_ns;
pub use doorbell::Doorbell;
pub use inbox::Inbox;
pub use poll::{Interest, Poller, Readiness, Registry, Waker};
pub use process::Process;
pub use separator::{Found, NoSeparator, Search, Searched, Separator, position};
pub use timer::TimerHeap;
pub use write_queue::{Chunk, Content, Flushed, WriteQueue};
