//! What the end of a job means to those that wait for it, as the model has it.

use pelton_jobs::id::JobId;
use pelton_jobs::state::State;
use pelton_jobs::time::Time;

use super::super::write;
use super::{Job, Walk};

impl Walk<'_> {
    /// A failure that is not to be followed: nobody needs the job, nor those that wait for it.
    pub(super) fn set_unneeded(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        (job.state, job.holder) = (State::Cancelled, None);
        let waits = |job: &Job| job.parents.contains(&(Some(id), false));
        let children: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, job)| !job.on_failure && job.state == State::Waiting && waits(job))
            .map(|(id, _)| *id)
            .collect();
        for child in children {
            self.set_unneeded(child);
        }
        self.drop_failure_edges(id);
    }

    /// No failure of this one will be followed.
    pub(super) fn drop_failure_edges(&mut self, id: JobId) {
        let mut unneeded = Vec::new();
        for (child, job) in self.jobs.iter_mut().filter(|(_, job)| job.on_failure) {
            let before = job.parents.len();
            job.parents.retain(|parent| *parent != (Some(id), false));
            let fewer = job.parents.len() < before;
            if fewer && job.parents.is_empty() {
                job.unneeded = true;
                if job.state == State::Waiting {
                    unneeded.push(*child);
                }
            }
        }
        for child in unneeded {
            self.set_unneeded(child);
        }
    }

    /// Lets those begin that wait for this failure; those that ended meanwhile get it, too.
    pub(super) fn follow_failure(&mut self, id: JobId) {
        let now = self.now;
        for job in self.jobs.values_mut().filter(|job| job.on_failure) {
            let waits = job.parents.contains(&(Some(id), false));
            if waits && (job.state == State::Waiting || job.state.is_end()) {
                job.parents = vec![(Some(id), true)];
            }
            if waits && job.state == State::Waiting {
                job.state = if job.due > now { State::Scheduled } else { State::Queued };
            }
        }
    }

    /// Moves a job, with what that means to those that wait for it.
    pub(super) fn set(&mut self, id: JobId, state: State) {
        match state {
            State::Succeeded => self.drop_failure_edges(id),
            State::Dead | State::Cancelled => self.follow_failure(id),
            _ => {}
        }
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        (job.state, job.holder, job.listens) = (state, None, false);
        let mut ended = Vec::new();
        for (child, job) in self.jobs.iter_mut().filter(|(_, job)| !job.on_failure) {
            for (_, done) in job.parents.iter_mut().filter(|(parent, _)| *parent == Some(id)) {
                *done |= state == State::Succeeded;
            }
            let waits = job.parents.iter().any(|(parent, done)| *parent == Some(id) && !done);
            if job.state == State::Waiting {
                if job.parents.iter().all(|(_, done)| *done) {
                    job.state = if job.due > now { State::Scheduled } else { State::Queued };
                } else if waits && matches!(state, State::Dead | State::Cancelled) {
                    ended.push(*child);
                }
            }
        }
        for child in ended {
            self.set(child, State::Cancelled);
        }
    }

    /// What waits for jobs that nobody retries is cancelled.
    pub(super) fn end_abandoned(&mut self) {
        let live = |job: &Job| !job.state.is_end();
        let stuck: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.state == State::Waiting)
            .filter(|(_, job)| {
                job.parents.iter().any(|(parent, done)| {
                    !done && parent.is_none_or(|id| self.jobs.get(&id).is_none_or(|job| !live(job)))
                })
            })
            .map(|(id, _)| *id)
            .collect();
        let deaf: Vec<JobId> =
            self.jobs.iter().filter(|(_, job)| job.due == Time::MAX).map(|(id, _)| *id).collect();
        for id in stuck.into_iter().chain(deaf) {
            let now = self.now;
            write(self.broker.as_mut(), |b| b.cancel(id, "", now)).unwrap();
            if !self.jobs[&id].state.is_end() {
                self.set(id, State::Cancelled);
            }
        }
    }
}
