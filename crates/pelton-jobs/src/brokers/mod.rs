//! Where jobs are kept: one module for each kind of store.

pub mod postgres;
pub mod rabbitmq;
pub mod redis;
pub mod sqlite;
mod tls;
mod unquote;
