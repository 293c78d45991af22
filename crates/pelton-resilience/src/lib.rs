//! Limits on what is let in, as functions of (state, now): no clock, no thread, no socket.
//!
//! - [`rate::Limiter`]: so many per period and key, by the generic cell rate algorithm
//! - [`bulkhead::Bulkhead`]: so many at a time, with a bounded queue before it
//!
//! Time is the [`Duration`](std::time::Duration) since any fixed moment; a clock that goes back is
//! taken for one that stands still.
#![forbid(unsafe_code)]

pub mod bulkhead;
pub mod rate;

pub use bulkhead::{Bulkhead, Entry, Ticket};
pub use rate::{Decision, InvalidRate, Limiter, Rate};
