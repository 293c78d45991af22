//! What other threads leave for one.

#[cfg(loom)]
use loom::sync::{Mutex, MutexGuard};
use std::sync::PoisonError;
#[cfg(not(loom))]
use std::sync::{Mutex, MutexGuard};

use crate::Doorbell;

/// A queue into which all threads put and from which one takes everything at once, with its bell.
#[derive(Debug)]
pub struct Inbox<T> {
    slot: Mutex<Slot<T>>,
    bell: Doorbell,
}

#[derive(Debug)]
struct Slot<T> {
    items: Vec<T>,
    closed: bool,
}

impl<T> Inbox<T> {
    /// An empty inbox.
    #[must_use]
    pub fn new() -> Self {
        Self { slot: Mutex::new(Slot { items: Vec::new(), closed: false }), bell: Doorbell::new() }
    }

    /// Puts `item` in and rings. True: the owner waits in the kernel and must be woken there.
    ///
    /// # Errors
    /// The item itself, once the inbox is closed.
    pub fn put(&self, item: T) -> Result<bool, T> {
        let mut slot = self.lock();
        if slot.closed {
            return Err(item);
        }
        slot.items.push(item);
        drop(slot);
        Ok(self.bell.ring())
    }

    /// Everything, in the order it came. The owner calls this whenever `answer` says that it was
    /// rung.
    pub fn take(&self) -> Vec<T> {
        std::mem::take(&mut self.lock().items)
    }

    /// Refuses items from now on, and gives those that nobody took.
    pub fn close(&self) -> Vec<T> {
        let mut slot = self.lock();
        slot.closed = true;
        std::mem::take(&mut slot.items)
    }

    /// The owner's bell.
    pub fn bell(&self) -> &Doorbell {
        &self.bell
    }

    fn lock(&self) -> MutexGuard<'_, Slot<T>> {
        // Nothing that runs under this lock leaves the slot half changed.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    #[cfg(not(loom))]
    #[test]
    fn a_closed_inbox_gives_items_back() {
        let inbox = super::Inbox::new();
        assert_eq!(inbox.put(1), Ok(false));
        assert!(inbox.bell().answer());
        assert_eq!(inbox.put(2), Ok(false));
        assert_eq!(inbox.close(), [1, 2]);
        assert_eq!(inbox.put(3), Err(3));
        assert!(inbox.take().is_empty());
    }

    /// Every interleaving of the threads, by `scripts/loom`.
    #[cfg(loom)]
    mod models {
        use loom::sync::{Arc, Condvar, Mutex};
        use loom::thread;

        use crate::Inbox;

        /// The kernel's wait: as with an eventfd, a wakeup that comes early ends the next wait.
        struct Kernel {
            woken: Mutex<bool>,
            changed: Condvar,
        }

        impl Kernel {
            fn new() -> Self {
                Self { woken: Mutex::new(false), changed: Condvar::new() }
            }

            fn wake(&self) {
                *self.woken.lock().unwrap() = true;
                self.changed.notify_one();
            }

            /// Loom reports a deadlock where nobody ends it.
            fn wait(&self) {
                let mut woken = self.woken.lock().unwrap();
                while !*woken {
                    woken = self.changed.wait(woken).unwrap();
                }
                *woken = false;
            }
        }

        /// The owner's rounds, as the loop does them, until it has `count` items.
        fn collect(inbox: &Inbox<u8>, kernel: &Kernel, count: usize) -> Vec<u8> {
            let mut got = Vec::new();
            loop {
                if inbox.bell().answer() {
                    got.extend(inbox.take());
                }
                if got.len() == count {
                    return got;
                }
                if inbox.bell().listen() && !inbox.bell().is_rung() && inbox.bell().sleep() {
                    kernel.wait();
                }
            }
        }

        fn send(inbox: &Inbox<u8>, kernel: &Kernel, item: u8) {
            if inbox.put(item).unwrap() {
                kernel.wake();
            }
        }

        #[test]
        fn no_wakeup_is_lost() {
            let mut model = loom::model::Builder::new();
            model.preemption_bound = Some(2); // three threads without a bound take minutes
            model.check(|| {
                let shared = Arc::new((Inbox::new(), Kernel::new()));
                let senders: Vec<_> = (0..2)
                    .map(|sender| {
                        let shared = shared.clone();
                        thread::spawn(move || send(&shared.0, &shared.1, sender))
                    })
                    .collect();
                let mut got = collect(&shared.0, &shared.1, 2);
                got.sort_unstable();
                assert_eq!(got, [0, 1]);
                for sender in senders {
                    sender.join().unwrap();
                }
            });
        }

        #[test]
        fn one_senders_items_keep_their_order() {
            loom::model(|| {
                let shared = Arc::new((Inbox::new(), Kernel::new()));
                let sender = {
                    let shared = shared.clone();
                    thread::spawn(move || (0..3).for_each(|item| send(&shared.0, &shared.1, item)))
                };
                assert_eq!(collect(&shared.0, &shared.1, 3), [0, 1, 2]);
                sender.join().unwrap();
            });
        }

        #[test]
        fn closing_loses_nothing() {
            loom::model(|| {
                let inbox = Arc::new(Inbox::new());
                let sender = {
                    let inbox = inbox.clone();
                    thread::spawn(move || usize::from(inbox.put(1).is_ok()))
                };
                let taken = inbox.take().len() + inbox.close().len();
                assert_eq!(taken, sender.join().unwrap());
            });
        }

        /// Work left under another lock (the GIL, in the loop), with the bell alone to tell of it.
        #[test]
        fn a_ring_tells_of_what_another_lock_guards() {
            loom::model(|| {
                let shared = Arc::new((Inbox::<u8>::new(), Kernel::new(), Mutex::new(false)));
                let sender = {
                    let shared = shared.clone();
                    thread::spawn(move || {
                        *shared.2.lock().unwrap() = true;
                        if shared.0.bell().ring() {
                            shared.1.wake();
                        }
                    })
                };
                loop {
                    shared.0.bell().answer();
                    if *shared.2.lock().unwrap() {
                        break;
                    }
                    if shared.0.bell().listen() && shared.0.bell().sleep() {
                        shared.1.wait();
                    }
                }
                sender.join().unwrap();
            });
        }
    }
}
