//! Job states, retries, schedules and workflows over a `Broker` trait.
//!
//! Reading order: [`job`] (what a job is), [`state`] (how it moves), [`broker`] (what a store of
//! jobs must do), [`engine`] (the threads that drive one broker for a whole process), [`worker`]
//! and [`scheduler`] (what a process does with it). The rules (`state`, `attempt`, `retry`, `gate`,
//! `limit`, `schedule`, `workflow`) read no clock and start no thread: time and chance are arguments.
#![forbid(unsafe_code)]

pub mod attempt;
pub mod broker;
pub mod brokers;
pub mod clock;
pub mod engine;
mod error;
pub mod gate;
pub mod id;
pub mod job;
pub mod limit;
pub mod record;
pub mod retry;
pub mod schedule;
pub mod scheduler;
pub mod state;
pub mod time;
pub mod worker;
pub mod workflow;

pub use error::BrokerError;
