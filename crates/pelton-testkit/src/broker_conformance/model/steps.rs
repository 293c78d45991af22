//! Steps, signals and rests, as the model has them.

use pelton_jobs::job::End;
use pelton_jobs::state::State;

use super::super::write;
use super::{LIVE, Walk};
use pelton_jobs::id::JobId;

impl Walk<'_> {
    pub(super) fn set_listening(&mut self, id: JobId, state: State, end: &End) {
        if let (State::Scheduled, End::Suspend { signal: Some(_), .. }) = (state, end)
            && let Some(job) = self.jobs.get_mut(&id)
        {
            job.listens = job.signals == 0;
        }
    }

    pub(super) fn signal(&mut self) {
        let Some(id) = self.any() else { return };
        let now = self.now;
        let sent = write(self.broker.as_mut(), |b| b.signal(id, "s", b"1", now)).unwrap();
        let job = self.jobs.get_mut(&id).unwrap();
        assert_eq!(sent, !job.state.is_end());
        job.signals += usize::from(sent);
        if job.listens {
            (job.listens, job.due) = (false, now);
        }
    }

    /// A running job finishes a step, or takes a signal for one; not under a lost lease.
    pub(super) fn do_step(&mut self) {
        let at = self.random.below(LIVE);
        let Some(leased) = self.workers[at].held.first().cloned() else { return };
        let lease = leased.lease();
        let Some(job) = self.jobs.get_mut(&leased.id) else { return };
        let holds =
            job.state == State::Running && job.holder == Some(at) && job.token == leased.token;
        let step = format!("step {}", job.steps);
        let done = if self.random.percent(50) {
            write(self.broker.as_mut(), |b| b.save_step(lease, &step, b"1")).unwrap()
        } else {
            let taken = write(self.broker.as_mut(), |b| b.take_signal(lease, "s", &step)).unwrap();
            assert_eq!(taken.is_some(), holds && job.signals > 0);
            job.signals -= usize::from(taken.is_some());
            let done = taken.is_some();
            job.steps += usize::from(done);
            return;
        };
        assert_eq!(done, holds);
        job.steps += usize::from(done);
        assert_eq!(self.broker.steps(lease).unwrap().len(), job.steps);
    }
}
