//! Which process this is, as far as `fork` is concerned.

use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

unsafe extern "C" {
    // POSIX; the libc crate has it for some systems only.
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> libc::c_int;
}

/// Forks between the first process and this one, counted in each child.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// A process; what shares its memory's copy after `fork` is another one. Comparing costs one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(u32);

impl Process {
    /// This one. From the first call on, forks are counted.
    #[must_use]
    pub fn current() -> Self {
        static COUNTING: Once = Once::new();
        COUNTING.call_once(|| {
            // SAFETY: the handler touches one atomic, which is allowed between fork and exec. It can
            // only fail for lack of memory, and then no fork is noticed.
            unsafe { pthread_atfork(None, None, Some(count_fork)) };
        });
        Self(GENERATION.load(Ordering::Relaxed))
    }

    /// Whether this is the current process.
    #[must_use]
    pub fn is_current(self) -> bool {
        self.0 == GENERATION.load(Ordering::Relaxed)
    }

    /// An error in any process but this.
    ///
    /// # Errors
    /// `Unsupported`, in a child made by `fork`.
    pub fn check(self) -> io::Result<()> {
        if self.is_current() {
            return Ok(());
        }
        let text = "this event loop belongs to the process that this one was forked from: make a \
                    new loop here";
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }
}

extern "C" fn count_fork() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::Process;

    #[test]
    fn a_child_is_another_process() {
        let parent = Process::current();
        // SAFETY: the child calls only what is allowed after fork, and leaves at once.
        let status = unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::_exit(i32::from(parent.is_current() || parent.check().is_ok()));
            }
            let mut status = -1;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            status
        };
        assert_eq!(status, 0);
        assert!(parent.is_current());
    }
}
