//! Readiness, timers, wakeups, sockets and write queues: the only engine crate that makes I/O calls.
