//! Streams: `StreamReader` and `StreamWriter`.
//!
//! - `reader`: the bytes that came, and who waits for them; `reader_type`: its Python face
//! - `reading`: the coroutines `read`, `readexactly`, `readuntil`, `readline`
//! - `searching`: where a line or message ends
//! - `writer`: `StreamWriter`; `draining`: its coroutines
//!
//! On our loop, a connection gives its bytes to its reader with no Python in between
//! (`transport/stream_feed.rs`). On other loops, the protocol in `pelton/aio/_streams.py` feeds it.

mod draining;
pub(crate) mod reader;
mod reader_type;
mod reading;
mod searching;
mod writer;

use pyo3::prelude::*;

/// Adds this area's names to `pelton._core`.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<reader_type::StreamReader>()?;
    module.add_class::<writer::StreamWriter>()?;
    reader_type::register(module.py())?;
    writer::register(module.py())?;
    reading::register(module.py())?;
    draining::register(module.py())
}
