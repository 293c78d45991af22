//! A process's part in firing schedules.

use std::sync::Arc;

use crate::broker::Tick;
use crate::engine::{Engine, Reply, wait};
use crate::error::BrokerError;
use crate::schedule::ScheduleSpec;

/// Housekeeping batches between two looks at the schedules.
const TIDY_MAX: usize = 20;

/// A scheduler at a broker. It leads while no other one does.
pub struct SchedulerSession {
    engine: Arc<Engine>,
    /// Unique among all schedulers: the name and a number of its own.
    leader: String,
}

impl SchedulerSession {
    /// Writes `schedules` as those of `owner`. Blocks for one write.
    pub fn start(
        engine: Arc<Engine>,
        name: &str,
        owner: String,
        schedules: Vec<ScheduleSpec>,
    ) -> Result<Self, BrokerError> {
        let leader = format!("{name} {}", crate::id::JobId::new(engine.now())?);
        wait(|reply| {
            engine.write(move |broker, now| broker.declare(&owner, &schedules, now), reply);
        })?;
        Ok(Self { engine, leader })
    }

    /// Fires what is due, if this one leads, and keeps the broker tidy. With the tick come the
    /// seconds until the next step is due.
    pub fn step(&self, reply: Reply<(Tick, f64)>) {
        let leader = self.leader.clone();
        self.engine.write(
            move |broker, now| {
                let tick = broker.tick(&leader, now)?;
                for _ in 0..TIDY_MAX {
                    if !(tick.leads && broker.tidy(now)?) {
                        break;
                    }
                }
                let sleep = tick.next_at.since(now).max(0.0);
                Ok((tick, sleep))
            },
            reply,
        );
    }

    /// Gives up the lead. Blocks for one write.
    pub fn close(&self) -> Result<(), BrokerError> {
        let leader = self.leader.clone();
        wait(|reply| self.engine.write(move |broker, _| broker.resign(&leader), reply))
    }
}
