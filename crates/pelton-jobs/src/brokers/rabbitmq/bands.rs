//! Names of RabbitMQ's queues: one for each of our queues and band of priority.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::BrokerError;

/// Bands of priority, best first: above 0, 0, below 0. RabbitMQ 3.10 has no priorities in quorum
/// queues, so each band is a queue of its own.
pub(super) const BANDS: usize = 3;

/// After the namespace, which has no "-" and no ".": names cannot be taken for each other's.
const MARKS: [&str; BANDS] = ["-high.", ".", "-low."];

/// Bytes that a name in AMQP may have.
const NAME_MAX: usize = 255;

/// The names that were asked for.
#[derive(Debug)]
pub(super) struct Bands {
    namespace: String,
    names: HashMap<String, [Arc<str>; BANDS]>,
}

impl Bands {
    pub(super) fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), names: HashMap::new() }
    }

    /// The names for one of our queues, best first.
    pub(super) fn of(&mut self, queue: &str) -> Result<&[Arc<str>; BANDS], BrokerError> {
        if !self.names.contains_key(queue) {
            let room = NAME_MAX - self.namespace.len() - MARKS[0].len();
            if queue.len() > room {
                return Err(BrokerError::Invalid(format!(
                    "a queue's name has {room} bytes at most on RabbitMQ with the namespace {:?}, \
                     and {:?} has {}",
                    self.namespace,
                    queue.chars().take(40).collect::<String>(),
                    queue.len()
                )));
            }
            let names = MARKS.map(|mark| format!("{}{mark}{queue}", self.namespace).into());
            self.names.insert(queue.to_owned(), names);
        }
        // INVARIANT: it was there, or has just been put there.
        Ok(self.names.get(queue).expect("the names of this queue"))
    }

    /// The name for a job of this queue and priority.
    pub(super) fn name(&mut self, queue: &str, priority: i8) -> Result<Arc<str>, BrokerError> {
        let band = match priority {
            1.. => 0,
            0 => 1,
            ..0 => 2,
        };
        self.of(queue).map(|names| Arc::clone(&names[band]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ() {
        let mut bands = Bands::new("pelton");
        let mut name = |queue: &str, priority| bands.name(queue, priority).unwrap().to_string();
        assert_eq!(name("default", 0), "pelton.default");
        assert_eq!(name("default", 1), "pelton-high.default");
        assert_eq!(name("default", 100), "pelton-high.default");
        assert_eq!(name("default", -1), "pelton-low.default");
        assert_eq!(name("high.default", 0), "pelton.high.default");
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        let mut bands = Bands::new("pelton");
        assert_eq!(bands.name(&"q".repeat(243), 1).unwrap().len(), 255);
        let error = bands.name(&"q".repeat(244), 0).unwrap_err().to_string();
        assert!(error.contains("243 bytes at most"), "{error}");
    }
}
