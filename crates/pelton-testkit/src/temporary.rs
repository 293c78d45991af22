//! A directory that goes with its test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Empty at first, and removed with all its files when it is dropped.
#[derive(Debug)]
pub struct TemporaryDirectory(PathBuf);

static MADE: AtomicU32 = AtomicU32::new(0);

impl TemporaryDirectory {
    /// A new one, under the system's place for such.
    pub fn new() -> std::io::Result<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("pelton-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // What an earlier process of the same number left behind.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        // Left to the system's own cleaning where it cannot be removed.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
