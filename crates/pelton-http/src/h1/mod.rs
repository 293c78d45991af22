//! HTTP/1.1 (and 1.0) as a server speaks it: RFC 9110 and 9112.

mod body;
mod connection;
mod error;
mod head;
mod outbound;
mod response;

pub use connection::{Connection, Event, Fate};
pub use error::{RequestError, ResponseError};
pub use head::{Head, Version};
pub use outbound::{Stamp, check_trailer};

pub(crate) use head::{Framing, is_host, is_token, list};
pub(crate) use outbound::{
    check_field, is_value_byte, note_length, write_field, write_stamp, write_status_line,
};
