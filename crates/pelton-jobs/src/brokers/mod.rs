//! Where jobs are kept: one module for each kind of store.

pub mod sqlite;
