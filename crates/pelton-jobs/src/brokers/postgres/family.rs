//! What a job's end means to the jobs that wait for it.

use postgres::Row;

use super::fault::Fault;
use super::{PostgresBroker, id_at, purge_at, state_at};
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
    /// Whether it waits for a failure.
    on_failure: bool,
}

impl Child {
    fn read(row: &Row) -> Result<Self, Fault> {
        Ok(Self {
            id: id_at(row, 0),
            state: state_at(row, 1)?,
            queue: row.get(2),
            pending: row.get(3),
            due: Time(row.get(4)),
            on_failure: row.get(5),
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
        let rows = self.link.query(
            "UPDATE pelton_edges SET done = true, result = $1 WHERE parent = $2 AND NOT done \
             AND kind = 0 RETURNING child",
            &[&result, &&parent.as_bytes()[..]],
        )?;
        for child in children(&rows) {
            self.lower_pending(child, now)?;
        }
        self.drop_unneeded(parent, now)
    }

    /// A job that succeeded has no failure to follow: those that wait for nothing else are
    /// cancelled, with all that wait for them.
    pub(super) fn drop_unneeded(&mut self, parent: JobId, now: Time) -> Result<(), Fault> {
        // What is not needed has no failure to follow either.
        let mut settled = vec![parent];
        while let Some(parent) = settled.pop() {
            // Jobs before edges, as those do who follow a failure: neither waits for the other in
            // a circle.
            let held = self.link.query(
                "SELECT id FROM pelton_jobs WHERE id IN (SELECT child FROM pelton_edges WHERE \
                 parent = $1 AND NOT done AND kind = 1) ORDER BY id FOR UPDATE",
                &[&&parent.as_bytes()[..]],
            )?;
            if held.is_empty() {
                continue;
            }
            let rows = self.link.query(
                "DELETE FROM pelton_edges WHERE parent = $1 AND NOT done AND kind = 1 \
                 RETURNING child",
                &[&&parent.as_bytes()[..]],
            )?;
            for child in children(&rows) {
                self.drop_edge(child, parent, &mut settled, now)?;
            }
        }
        Ok(())
    }

    /// One failure less that a job waits for.
    fn drop_edge(
        &mut self,
        id: JobId,
        parent: JobId,
        settled: &mut Vec<JobId>,
        now: Time,
    ) -> Result<(), Fault> {
        let Some(child) = self.child(id)? else { return Ok(()) };
        let next = state::step(child.state, Event::ParentEnded, now);
        let Some(next) = next.filter(|_| child.pending <= 1) else {
            // One that has ended for another reason is not to be retried either.
            self.link.execute(
                "UPDATE pelton_jobs SET pending = pending - 1, inputs = inputs - 1, reason = CASE \
                 WHEN pending = 1 THEN $2 ELSE reason END WHERE id = $1 AND pending > 0",
                &[&&id.as_bytes()[..], &workflow::unneeded(parent)],
            )?;
            return Ok(());
        };
        self.link.execute(
            concat!(
                "UPDATE pelton_jobs SET pending = pending - 1, inputs = inputs - 1, state = $1, \
                 finished_at = $2, reason = $3, purge_at = ",
                purge_at!("$2"),
                ", version = version + 1 WHERE id = $4"
            ),
            &[&(next.state as i16), &now.0, &workflow::unneeded(parent), &&id.as_bytes()[..]],
        )?;
        self.moved(&child.queue, Some(child.state), Some(next.state));
        self.group.changed.push(id);
        settled.push(id);
        settled.extend(self.end_descendants((id, next.state), false, now)?);
        Ok(())
    }

    fn lower_pending(&mut self, id: JobId, now: Time) -> Result<(), Fault> {
        // The child may be gone: an ended job can be deleted before its parents end.
        let Some(child) = self.child(id)? else { return Ok(()) };
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

    /// The lock makes two parents that end at once count one after the other.
    fn child(&mut self, id: JobId) -> Result<Option<Child>, Fault> {
        let rows = self.link.query(
            "SELECT id, state, queue, pending, due, false FROM pelton_jobs WHERE id = $1 \
             FOR UPDATE",
            &[&&id.as_bytes()[..]],
        )?;
        rows.first().map(Child::read).transpose()
    }

    /// Cancels all jobs that wait, directly or through others, for a job that will not succeed,
    /// and lets those begin that wait for a failure.
    pub(super) fn end_children(
        &mut self,
        parent: JobId,
        state: State,
        now: Time,
    ) -> Result<(), Fault> {
        self.end_descendants((parent, state), true, now)?;
        Ok(())
    }

    /// `fire`: whether the end is a failure that others may follow; else those are left alone.
    /// The jobs that were ended.
    fn end_descendants(
        &mut self,
        first: (JobId, State),
        fire: bool,
        now: Time,
    ) -> Result<Vec<JobId>, Fault> {
        let mut ended = vec![first];
        let mut all = Vec::new();
        while let Some((parent, parent_state)) = ended.pop() {
            let reason = workflow::reason(parent, parent_state);
            for child in self.waiting_children(parent)? {
                if child.on_failure {
                    if fire {
                        self.follow_failure(&child, parent, parent_state, now)?;
                    }
                    continue;
                }
                let Some(next) = state::step(child.state, Event::ParentEnded, now) else {
                    continue;
                };
                self.link.execute(
                    concat!(
                        "UPDATE pelton_jobs SET state = $1, finished_at = $2, reason = $3, \
                         purge_at = ",
                        purge_at!("$2"),
                        ", version = version + 1 WHERE id = $4"
                    ),
                    &[&(next.state as i16), &now.0, &reason, &&child.id.as_bytes()[..]],
                )?;
                self.moved(&child.queue, Some(child.state), Some(next.state));
                self.group.changed.push(child.id);
                ended.push((child.id, next.state));
                all.push(child.id);
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
        parent_state: State,
        now: Time,
    ) -> Result<(), Fault> {
        let event = Event::ParentsDone { due: child.due };
        let next = state::step(child.state, event, now).map(|next| next.state);
        if next.is_none() && !(child.state.is_end() && child.pending > 0) {
            return Ok(());
        }
        let to = next.unwrap_or(child.state);
        let told = self.link.query(
            "SELECT reason, error FROM pelton_jobs WHERE id = $1",
            &[&&parent.as_bytes()[..]],
        )?;
        let (reason, error): (Option<String>, Option<Vec<u8>>) =
            told.first().map_or((None, None), |row| (row.get(0), row.get(1)));
        let input =
            workflow::failure_input(parent, parent_state, reason.as_deref(), error.as_deref());
        let id = &child.id.as_bytes()[..];
        self.link.execute(
            "UPDATE pelton_edges SET done = true, result = $1 WHERE child = $2 AND parent = $3 \
             AND NOT done",
            &[&input, &id, &&parent.as_bytes()[..]],
        )?;
        self.link.execute("DELETE FROM pelton_edges WHERE child = $1 AND NOT done", &[&id])?;
        let due = if to == State::Queued { now } else { child.due };
        self.link.execute(
            "UPDATE pelton_jobs SET pending = 0, inputs = 1, state = $1, due = $2, \
             version = version + 1 WHERE id = $3",
            &[&(to as i16), &due.0, &id],
        )?;
        if to != child.state {
            self.moved(&child.queue, Some(child.state), Some(to));
        }
        self.group.changed.push(child.id);
        Ok(())
    }

    /// In one order everywhere, so that no two writers wait for each other in a circle.
    fn waiting_children(&mut self, parent: JobId) -> Result<Vec<Child>, Fault> {
        let rows = self.link.query(
            "SELECT j.id, j.state, j.queue, j.pending, j.due, e.kind = 1 FROM (SELECT DISTINCT \
             child, kind FROM pelton_edges WHERE parent = $1 AND NOT done) e \
             JOIN pelton_jobs j ON j.id = e.child ORDER BY j.id FOR UPDATE OF j",
            &[&&parent.as_bytes()[..]],
        )?;
        rows.iter().map(Child::read).collect()
    }
}

/// The jobs in the first column, in one order everywhere: no two writers wait for each
/// other in a circle.
fn children(rows: &[Row]) -> Vec<JobId> {
    let mut children: Vec<JobId> = rows.iter().map(|row| id_at(row, 0)).collect();
    children.sort_unstable();
    children
}
