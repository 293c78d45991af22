//! An uploaded file: in memory while it is small, then in a file without a name.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// How often another name is tried where the system knows no files without one.
const ATTEMPTS: u32 = 100;

/// A file that is being received.
pub(super) struct Spool {
    content: Content,
    size: u64,
    /// Bytes that are kept in memory; 0 keeps all of them there.
    limit: usize,
    directory: PathBuf,
}

enum Content {
    Memory(Vec<u8>),
    Disk(File),
}

impl Spool {
    /// An empty file; `directory` is where it goes when it is large.
    pub(super) fn new(limit: usize, directory: PathBuf) -> Self {
        Self { content: Content::Memory(Vec::new()), size: 0, limit, directory }
    }

    /// Bytes received.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Adds bytes.
    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.size += data.len() as u64;
        match &mut self.content {
            Content::Disk(file) => return file.write_all(data),
            Content::Memory(memory) if self.limit == 0 || self.size <= self.limit as u64 => {
                memory.extend_from_slice(data);
                return Ok(());
            }
            Content::Memory(_) => {}
        }
        let mut file = nameless(&self.directory)?;
        if let Content::Memory(memory) = &self.content {
            file.write_all(memory)?;
        }
        file.write_all(data)?;
        self.content = Content::Disk(file);
        Ok(())
    }

    /// What Python makes a file object of: its bytes, or a descriptor that Python then owns.
    pub(super) fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        match self.content {
            Content::Memory(memory) => Ok(PyBytes::new(py, &memory).into_any()),
            Content::Disk(mut file) => {
                file.seek(SeekFrom::Start(0))?;
                Ok(file.into_raw_fd().into_pyobject(py)?.into_any())
            }
        }
    }
}

/// A new file that no directory lists, and that is gone when it is closed.
fn nameless(directory: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    #[cfg(target_os = "linux")]
    {
        // Not every file system has such files; then the way below is left.
        if let Ok(file) = options.clone().custom_flags(libc::O_TMPFILE).open(directory) {
            return Ok(file);
        }
    }
    options.create_new(true);
    let mut error = None;
    for _ in 0..ATTEMPTS {
        let path = directory.join(unique_name());
        match options.open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(failed) if failed.kind() == io::ErrorKind::AlreadyExists => error = Some(failed),
            Err(failed) => return Err(failed),
        }
    }
    Err(error.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into()))
}

/// A name that nobody else is likely to choose; `create_new` refuses it if somebody did.
fn unique_name() -> String {
    use std::collections::hash_map::RandomState;
    use std::hash::BuildHasher;
    let random = RandomState::new().hash_one(std::process::id());
    format!(".pelton-upload-{random:016x}")
}
