//! Job states, retries, schedules and workflows over a `Broker` trait.
#![forbid(unsafe_code)]
