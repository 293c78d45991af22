//! Development only: a clock that tests move, and the suite that every broker passes.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a check fails by panicking, as a test does")]

pub mod broker_conformance;
mod certificates;
pub mod clock;
pub mod link;
pub mod random;
pub mod servers;
pub mod temporary;

pub use certificates::make_certificates;
pub use clock::ManualClock;
pub use link::Link;
pub use random::Random;
pub use temporary::TemporaryDirectory;
