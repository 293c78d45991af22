//! What a job's end means to the jobs that wait for it.

use postgres::Row;

use super::fault::Fault;
use super::{PostgresBroker, id_at, state_at};
use crate::id::JobId;
use crate::state::{self, Event, State};
use crate::time::Time;
use crate::workflow;

/// A job that waits, with what decides its next state.
struct Child {
    id: JobId,
    state: State,
    queue: String,
    pending: i32,
    due: Time,
}

impl Child {
    fn read(row: &Row) -> Result<Self, Fault> {
        Ok(Self {
            id: id_at(row, 0),
            state: state_at(row, 1)?,
            queue: row.get(2),
            pending: row.get(3),
            due: Time(row.get(4)),
        })
    }
}

impl PostgresBroker {
    /// Hands `result` to the children of a job that succeeded; those with all inputs go on.
    pub(super) fn release_children(
        &mut self,
        parent: JobId,
        result: &[u8],
        now: Time,
    ) -> Result<(), Fault> {
        let mut children: Vec<JobId> = self
            .link
            .query(
                "UPDATE pelton_edges SET done = true, result = $1 WHERE parent = $2 AND NOT done \
                 RETURNING child",
                &[&result, &&parent.as_bytes()[..]],
            )?
            .iter()
            .map(|row| id_at(row, 0))
            .collect();
        // In one order everywhere, so that no two writers wait for each other in a circle.
        children.sort_unstable();
        for child in children {
            self.lower_pending(child, now)?;
        }
        Ok(())
    }

    fn lower_pending(&mut self, id: JobId, now: Time) -> Result<(), Fault> {
        // The lock makes two parents that end at once count one after the other.
        let rows = self.link.query(
            "SELECT id, state, queue, pending, due FROM pelton_jobs WHERE id = $1 FOR UPDATE",
            &[&&id.as_bytes()[..]],
        )?;
        // The child may be gone: an ended job can be deleted before its parents end.
        let Some(row) = rows.first() else { return Ok(()) };
        let child = Child::read(row)?;
        let event = Event::ParentsDone { due: child.due };
        let next = if child.pending > 1 { None } else { state::step(child.state, event, now) };
        let to = next.map_or(child.state, |next| next.state);
        // A job that becomes ready now stands behind those that were ready before.
        let due = if to == State::Queued && next.is_some() { now } else { child.due };
        self.link.execute(
            "UPDATE pelton_jobs SET pending = pending - 1, state = $1, due = $2, \
             version = version + 1 WHERE id = $3",
            &[&(to as i16), &due.0, &&id.as_bytes()[..]],
        )?;
        if to != child.state {
            self.moved(&child.queue, Some(child.state), Some(to));
        }
        self.group.changed.push(child.id);
        Ok(())
    }

    /// Cancels all jobs that wait, directly or through others, for a job that will not succeed.
    pub(super) fn end_children(
        &mut self,
        parent: JobId,
        state: State,
        now: Time,
    ) -> Result<(), Fault> {
        let mut ended = vec![(parent, state)];
        while let Some((parent, parent_state)) = ended.pop() {
            let reason = workflow::reason(parent, parent_state);
            let rows = self.link.query(
                "SELECT id, state, queue, pending, due FROM pelton_jobs WHERE id IN \
                 (SELECT child FROM pelton_edges WHERE parent = $1 AND NOT done) \
                 ORDER BY id FOR UPDATE",
                &[&&parent.as_bytes()[..]],
            )?;
            for row in rows {
                let child = Child::read(&row)?;
                let Some(next) = state::step(child.state, Event::ParentEnded, now) else {
                    continue;
                };
                self.link.execute(
                    "UPDATE pelton_jobs SET state = $1, finished_at = $2, reason = $3, \
                     purge_at = $2 + (result_ttl * 1000000)::bigint, version = version + 1 \
                     WHERE id = $4",
                    &[&(next.state as i16), &now.0, &reason, &&child.id.as_bytes()[..]],
                )?;
                self.moved(&child.queue, Some(child.state), Some(next.state));
                self.group.changed.push(child.id);
                ended.push((child.id, next.state));
            }
        }
        Ok(())
    }
}
