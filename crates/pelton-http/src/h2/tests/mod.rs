//! One connection, driven by bytes and a clock that the tests move.

mod abuse;
mod bodies;
mod client;
mod exchanges;
mod h2spec;
mod splits;
