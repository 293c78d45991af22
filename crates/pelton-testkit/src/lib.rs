//! Development only: a clock that tests move, and the suite that every broker passes.
#![forbid(unsafe_code)]
