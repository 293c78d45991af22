//! What a job's end means to the jobs that wait for it.

use rusqlite::OptionalExtension;

use super::fault::Fault;
use super::{SqliteBroker, id_at, state_at};
use crate::id::JobId;
use crate::state::{self, Event, State};
use crate::time::Time;
use crate::workflow;

/// A job that waits, with what decides its next state.
struct Child {
    row: i64,
    id: JobId,
    state: State,
    queue: i64,
    pending: i64,
    due: Time,
    /// Whether it waits for a failure.
    on_failure: bool,
}

impl SqliteBroker {
    /// Hands `result` to the children of a job that succeeded; those with all inputs go on.
    pub(super) fn release_children(
        &mut self,
        id: JobId,
        parent: i64,
        result: &[u8],
        now: Time,
    ) -> Result<(), Fault> {
        let children: Vec<i64> = self
            .cached(
                "UPDATE pelton_edges SET done = 1, result = ? WHERE parent = ? AND done = 0 \
                 AND kind = 0 RETURNING child",
            )?
            .query_map((result, parent), |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for row in children {
            self.lower_pending(row, now)?;
        }
        self.drop_unneeded(id, parent, now)
    }

    /// A job that succeeded has no failure to follow: those that wait for nothing else are
    /// cancelled, with all that wait for them.
    pub(super) fn drop_unneeded(&mut self, id: JobId, parent: i64, now: Time) -> Result<(), Fault> {
        // What is not needed has no failure to follow either.
        let mut settled = vec![(id, parent)];
        while let Some((id, parent)) = settled.pop() {
            self.drop_unneeded_of(id, parent, &mut settled, now)?;
        }
        Ok(())
    }

    fn drop_unneeded_of(
        &mut self,
        id: JobId,
        parent: i64,
        settled: &mut Vec<(JobId, i64)>,
        now: Time,
    ) -> Result<(), Fault> {
        let children: Vec<i64> = self
            .cached(
                "DELETE FROM pelton_edges WHERE parent = ? AND done = 0 AND kind = 1 \
                 RETURNING child",
            )?
            .query_map([parent], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for row in children {
            let Some(child) = self.child(row)? else { continue };
            let next = state::step(child.state, Event::ParentEnded, now)
                .filter(|_| child.pending <= 1)
                .map(|next| next.state);
            let Some(to) = next else {
                // One that has ended for another reason is not to be retried either.
                self.cached(
                    "UPDATE pelton_jobs SET pending = pending - 1, inputs = inputs - 1, \
                     reason = CASE WHEN pending = 1 THEN ?2 ELSE reason END \
                     WHERE row = ?1 AND pending > 0",
                )?
                .execute((row, workflow::unneeded(id)))?;
                continue;
            };
            self.cached(
                "UPDATE pelton_jobs SET pending = pending - 1, inputs = inputs - 1, \
                 state = ?1, finished_at = ?2, reason = ?3, \
                 purge_at = ?2 + CAST(result_ttl * 1000000 AS INTEGER), \
                 version = version + 1 WHERE row = ?4",
            )?
            .execute((to as i64, now.0, workflow::unneeded(id), row))?;
            self.moved(child.queue, Some(child.state), Some(to));
            self.group.commit.changed.push(child.id);
            settled.push((child.id, row));
            settled.extend(self.end_descendants((child.id, row, to), false, now)?);
        }
        Ok(())
    }

    fn lower_pending(&mut self, row: i64, now: Time) -> Result<(), Fault> {
        // The child may be gone: an ended job can be deleted before its parents end.
        let Some(child) = self.child(row)? else { return Ok(()) };
        let event = Event::ParentsDone { due: child.due };
        let next = if child.pending > 1 { None } else { state::step(child.state, event, now) };
        let to = next.map_or(child.state, |next| next.state);
        // A job that becomes ready now stands behind those that were ready before.
        let due = if to == State::Queued && next.is_some() { now } else { child.due };
        self.cached(
            "UPDATE pelton_jobs SET pending = pending - 1, state = ?, due = ?, \
             version = version + 1 WHERE row = ?",
        )?
        .execute((to as i64, due.0, child.row))?;
        if to != child.state {
            self.moved(child.queue, Some(child.state), Some(to));
        }
        self.group.commit.changed.push(child.id);
        Ok(())
    }

    fn child(&self, row: i64) -> Result<Option<Child>, Fault> {
        let found = self
            .cached("SELECT id, state, queue, pending, due FROM pelton_jobs WHERE row = ?")?
            .query_row([row], |found| {
                Ok(Child {
                    row,
                    id: id_at(found, 0)?,
                    state: state_at(found, 1)?,
                    queue: found.get(2)?,
                    pending: found.get(3)?,
                    due: Time(found.get(4)?),
                    on_failure: false,
                })
            })
            .optional()?;
        Ok(found)
    }

    /// Cancels all jobs that wait, directly or through others, for a job that will not succeed,
    /// and lets those begin that wait for a failure.
    pub(super) fn end_children(
        &mut self,
        parent: JobId,
        parent_row: i64,
        parent_state: State,
        now: Time,
    ) -> Result<(), Fault> {
        self.end_descendants((parent, parent_row, parent_state), true, now)?;
        Ok(())
    }

    /// `fire`: whether the end is a failure that others may follow; else those are left alone.
    /// The jobs that were ended.
    fn end_descendants(
        &mut self,
        first: (JobId, i64, State),
        fire: bool,
        now: Time,
    ) -> Result<Vec<(JobId, i64)>, Fault> {
        let mut ended = vec![first];
        let mut all = Vec::new();
        while let Some((parent, parent_row, parent_state)) = ended.pop() {
            let reason = workflow::reason(parent, parent_state);
            for child in self.waiting_children(parent_row)? {
                if child.on_failure {
                    if fire {
                        self.follow_failure(&child, parent, parent_row, parent_state, now)?;
                    }
                    continue;
                }
                let Some(next) = state::step(child.state, Event::ParentEnded, now) else {
                    continue;
                };
                self.cached(
                    "UPDATE pelton_jobs SET state = ?1, finished_at = ?2, reason = ?3, \
                     purge_at = ?2 + CAST(result_ttl * 1000000 AS INTEGER), \
                     version = version + 1 WHERE row = ?4",
                )?
                .execute((next.state as i64, now.0, &reason, child.row))?;
                self.moved(child.queue, Some(child.state), Some(next.state));
                self.group.commit.changed.push(child.id);
                ended.push((child.id, child.row, next.state));
                all.push((child.id, child.row));
            }
        }
        Ok(all)
    }

    /// Lets a job begin that waited for a failure: this one is its only input. One that has ended
    /// while it waited gets it, too: it may be retried.
    fn follow_failure(
        &mut self,
        child: &Child,
        parent: JobId,
        parent_row: i64,
        parent_state: State,
        now: Time,
    ) -> Result<(), Fault> {
        let event = Event::ParentsDone { due: child.due };
        let next = state::step(child.state, event, now).map(|next| next.state);
        if next.is_none() && !(child.state.is_end() && child.pending > 0) {
            return Ok(());
        }
        let to = next.unwrap_or(child.state);
        let (reason, error): (Option<String>, Option<Vec<u8>>) = self
            .cached("SELECT reason, error FROM pelton_jobs WHERE row = ?")?
            .query_row([parent_row], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let input =
            workflow::failure_input(parent, parent_state, reason.as_deref(), error.as_deref());
        self.cached(
            "UPDATE pelton_edges SET done = 1, result = ? WHERE child = ? AND parent = ? \
             AND done = 0",
        )?
        .execute((input, child.row, parent_row))?;
        self.cached("DELETE FROM pelton_edges WHERE child = ? AND done = 0")?
            .execute([child.row])?;
        let due = if to == State::Queued { now } else { child.due };
        self.cached(
            "UPDATE pelton_jobs SET pending = 0, inputs = 1, state = ?, due = ?, \
             version = version + 1 WHERE row = ?",
        )?
        .execute((to as i64, due.0, child.row))?;
        if to != child.state {
            self.moved(child.queue, Some(child.state), Some(to));
        }
        self.group.commit.changed.push(child.id);
        Ok(())
    }

    fn waiting_children(&mut self, parent: i64) -> Result<Vec<Child>, Fault> {
        let mut statement = self.cached(
            "SELECT DISTINCT j.row, j.id, j.state, j.queue, j.pending, j.due, e.kind \
             FROM pelton_edges e JOIN pelton_jobs j ON j.row = e.child \
             WHERE e.parent = ? AND e.done = 0",
        )?;
        let rows = statement.query_map([parent], |found| {
            Ok(Child {
                row: found.get(0)?,
                id: id_at(found, 1)?,
                state: state_at(found, 2)?,
                queue: found.get(3)?,
                pending: found.get(4)?,
                due: Time(found.get(5)?),
                on_failure: found.get(6)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
