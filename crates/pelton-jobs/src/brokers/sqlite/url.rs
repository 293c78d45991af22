//! `sqlite:///relative/path.db?synchronous=normal`, taken apart.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::brokers::unquote::unquote;
use crate::error::BrokerError;

/// What a URL says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Location {
    /// The file.
    pub(super) path: PathBuf,
    /// When a commit returns.
    pub(super) synchronous: Synchronous,
    /// Whether the path is the URI of a database in this process's memory.
    pub(super) memory: bool,
}

/// How far a commit goes before it returns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Synchronous {
    /// To the disk: it survives a power cut.
    Full,
    /// To the operating system: it survives the death of any process, and a power cut may take
    /// the last moments (never more, and never the file).
    Normal,
}

impl Location {
    pub(super) fn parse(url: &str) -> Result<Self, BrokerError> {
        if let Some(name) = url.strip_prefix("memory://") {
            return Self::in_memory(name);
        }
        let bad = |why: &str| {
            BrokerError::Open(format!(
                "{url:?}: {why}; a SQLite broker is sqlite:///relative/path.db or \
                 sqlite:////absolute/path.db, with ?synchronous=full (default) or =normal"
            ))
        };
        let rest = url.strip_prefix("sqlite://").ok_or_else(|| bad("not a sqlite URL"))?;
        let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
        let path = path.strip_prefix('/').ok_or_else(|| bad("it takes three or four slashes"))?;
        if path.is_empty() || path == ":memory:" {
            return Err(bad("jobs must survive the process, so a file is needed"));
        }
        let mut location = Self {
            path: PathBuf::from(unquote(path)),
            synchronous: Synchronous::Full,
            memory: false,
        };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            location.synchronous = match option {
                "synchronous=full" => Synchronous::Full,
                "synchronous=normal" => Synchronous::Normal,
                _ => return Err(bad(&format!("unknown option {option:?}"))),
            };
        }
        Ok(location)
    }

    /// `memory://`, which is new each time, or `memory://name`, which all of this process share
    /// for as long as one of them has it open.
    fn in_memory(name: &str) -> Result<Self, BrokerError> {
        static UNNAMED: AtomicU64 = AtomicU64::new(0);
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(BrokerError::Open(format!(
                "\"memory://{name}\": a broker in memory is memory://, or memory://name with \
                 letters, digits, \"-\", \"_\" and \".\""
            )));
        }
        let name = match name {
            "" => format!("unnamed/{}", UNNAMED.fetch_add(1, Ordering::Relaxed)),
            name => format!("named/{name}"),
        };
        let path = PathBuf::from(format!("file:/pelton/{name}?vfs=memdb"));
        Ok(Self { path, synchronous: Synchronous::Normal, memory: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> (String, Synchronous) {
        let location = Location::parse(url).unwrap();
        (location.path.display().to_string(), location.synchronous)
    }

    #[test]
    fn paths_and_options() {
        assert_eq!(parse("sqlite:///a/b.db"), ("a/b.db".into(), Synchronous::Full));
        assert_eq!(parse("sqlite:////a/b%20c.db"), ("/a/b c.db".into(), Synchronous::Full));
        assert_eq!(
            parse("sqlite:///100%.db?synchronous=normal"),
            ("100%.db".into(), Synchronous::Normal)
        );
    }

    #[test]
    fn others_are_refused_with_an_example() {
        for url in
            ["sqlite://", "sqlite:///", "sqlite://a.db", "sqlite:///:memory:", "sqlite:///a?b=c"]
        {
            let error = Location::parse(url).unwrap_err().to_string();
            assert!(error.contains("sqlite:////absolute"), "{error}");
        }
    }
}
