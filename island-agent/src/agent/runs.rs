//! The jobs on this machine: what was assigned, what was emitted, what was signed, and what to say about it.
//!
//! Invariants:
//! - the machine never runs more than its slots: a run is on it from `StartRun` until its runner has let go,
//!   whatever becomes of the session;
//! - a lost session gives its slots back at once: what the next session assigns waits for the machine, not the
//!   other way round;
//! - every assignment is answered once, by `Acknowledge` or `Decline`; every acknowledged one ends with one
//!   `Finished`, unless its session is lost;
//! - what a receipt counts was sent as output before it, in order, and nothing is sent after a revoke.

use std::collections::{BTreeMap, VecDeque};

use domain::{Digest, JobId, LeaseEpoch, LeaseId, Price, ReceiptBody, ReceiptKind, Timestamp, TokenCount};

use crate::effect::{Assignment, Effect, Notice, Outgoing, Pay, RunId};
use crate::limits::ENDED_LEASES_MAX;
use crate::meter::Meter;
use runner::FinishReason;

/// A model that this Island runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedModel {
    /// Its id.
    pub model: String,
    /// SHA-256 of its weights.
    pub digest: Digest,
}

/// Whether new jobs are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Open,
    Draining,
}

/// A job that ended with a final receipt, on which the exchange will report.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) model: OfferedModel,
    pub(super) pay: Pay,
    pub(super) claim: Claim,
    pub(super) body: ReceiptBody,
}

/// What a final receipt asks to be paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Something: the exchange reports what became of it.
    Work,
    /// Nothing: it ended before its first id, and the exchange settles that without a word.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Runs {
    models: Vec<OfferedModel>,
    slots: u32,
    next_run: u64,
    running: BTreeMap<RunId, Run>,
    /// Taken, while orphans are still on the machine; in order of arrival.
    waiting: VecDeque<(RunId, Box<Assignment>)>,
    ended: Ended,
}

#[derive(Debug)]
struct Run {
    lease: LeaseId,
    epoch: LeaseEpoch,
    job: JobId,
    model: OfferedModel,
    price: Price,
    pay: Pay,
    prompt: Digest,
    prompt_tokens: u32,
    /// What an earlier Island emitted: positions in the whole output start behind it.
    resumed: u32,
    max_tokens: u32,
    started_at: Timestamp,
    meter: Meter,
    state: State,
    /// The exchange settled it before its end.
    is_settled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// It is not on the machine yet: an orphan has its place.
    Waiting,
    /// The runner was asked.
    Starting,
    /// The runner took it, and so the exchange was told.
    Running,
    /// It will be over, for this reason, once the runner lets go.
    Stopping(FinishReason),
    /// The exchange revoked it.
    Revoked,
    /// Its session is gone: nobody waits for its end.
    Orphaned,
}

impl Claim {
    fn of(body: &ReceiptBody, reason: &FinishReason) -> Self {
        match reason {
            // Whoever read the prompt to its end is paid for reading it, even if the answer is empty.
            FinishReason::Stop | FinishReason::Length => Self::Work,
            FinishReason::Cancelled | FinishReason::Failed { .. } if body.output_tokens.get() > 0 => {
                Self::Work
            }
            FinishReason::Cancelled | FinishReason::Failed { .. } => Self::Nothing,
        }
    }
}

impl Done {
    /// Whether the exchange owes a report: nobody reports on a canary, nor on nothing.
    pub(super) fn is_owed_a_report(&self) -> bool {
        self.pay == Pay::Paid && self.claim == Claim::Work
    }

    /// Whether a receipt that this Island signed is the one that ended this job, or a checkpoint of it.
    pub(super) fn covers(&self, body: &ReceiptBody) -> bool {
        match body.kind {
            ReceiptKind::Final => *body == self.body,
            ReceiptKind::Checkpoint => (body.lease, body.epoch) == (self.body.lease, self.body.epoch),
        }
    }
}

/// Leases that ended in this session.
#[derive(Debug, Default)]
struct Ended {
    leases: VecDeque<LeaseId>,
    jobs: VecDeque<(JobId, LeaseEpoch)>,
}

impl Runs {
    pub(super) fn new(models: Vec<OfferedModel>, slots: u32) -> Self {
        Self {
            models,
            slots,
            next_run: 0,
            running: BTreeMap::new(),
            waiting: VecDeque::new(),
            ended: Ended::default(),
        }
    }

    /// Slots that this session has taken.
    pub(super) fn busy(&self) -> u32 {
        self.count(|state| *state != State::Orphaned)
    }

    /// Places on the machine that are taken, by whichever session.
    fn on_the_machine(&self) -> u32 {
        self.count(|state| *state != State::Waiting)
    }

    fn count(&self, is_counted: impl Fn(&State) -> bool) -> u32 {
        let runs = self.running.values().filter(|run| is_counted(&run.state));
        u32::try_from(runs.count()).expect("runs are bounded by twice the slots, at most 2,048")
    }

    /// Whether anything runs that the session still waits for.
    pub(super) fn is_idle(&self) -> bool {
        self.running.values().all(|run| run.state == State::Orphaned)
    }

    /// Takes a job, declines it, or ignores it as repeated or stale.
    pub(super) fn assign(
        &mut self,
        assignment: Box<Assignment>,
        door: Door,
        now: Timestamp,
        effects: &mut impl FnMut(Effect),
    ) {
        let (lease, epoch) = (assignment.lease, assignment.epoch);
        if let Some(ignored) = self.repeated(&assignment, effects) {
            effects(Effect::Tell(Notice::Ignored { why: ignored }));
            return;
        }
        let model = match self.admit(&assignment, door) {
            Ok(model) => model,
            Err(reason) => return decline(lease, epoch, reason, effects),
        };
        let run = RunId(self.next_run);
        self.next_run = self.next_run.saturating_add(1);
        let all_ids = [assignment.prompt_ids.as_slice(), &assignment.emitted_ids].concat();
        let count = |ids: &[u32]| u32::try_from(ids.len()).unwrap_or(u32::MAX);
        self.running.insert(
            run,
            Run {
                lease,
                epoch,
                job: assignment.job,
                model,
                price: assignment.price,
                pay: assignment.pay,
                prompt: Digest::of_tokens(&all_ids),
                prompt_tokens: count(&all_ids),
                resumed: count(&assignment.emitted_ids),
                max_tokens: assignment.max_tokens,
                started_at: now,
                meter: Meter::start(lease, epoch),
                state: State::Waiting,
                is_settled: false,
            },
        );
        self.waiting.push_back((run, assignment));
        self.start_waiting(effects);
    }

    /// Starts what waits, as far as the machine has room.
    fn start_waiting(&mut self, effects: &mut impl FnMut(Effect)) {
        while self.on_the_machine() < self.slots {
            let Some((run, assignment)) = self.waiting.pop_front() else {
                return;
            };
            if let Some(waiting) = self.running.get_mut(&run) {
                waiting.state = State::Starting;
                effects(Effect::StartRun { run, assignment });
            }
        }
    }

    /// Lets go of a run that never was on the machine.
    fn forget_waiting(&mut self, id: RunId) {
        self.running.remove(&id);
        self.waiting.retain(|(run, _)| *run != id);
    }

    /// Why an assignment changes nothing, if it does not.
    fn repeated(&self, assignment: &Assignment, effects: &mut impl FnMut(Effect)) -> Option<String> {
        let (lease, epoch, job) = (assignment.lease, assignment.epoch, assignment.job);
        let runs = || self.running.values().filter(|run| run.state != State::Orphaned);
        if let Some(run) = runs().find(|run| run.lease == lease) {
            if run.epoch == epoch && run.state == State::Running {
                effects(Effect::Send(Outgoing::Acknowledge { lease, epoch }));
            }
            return Some(format!("{lease} was assigned before and runs"));
        }
        let is_stale = |(other, later): (JobId, LeaseEpoch)| other == job && later > epoch;
        if runs().any(|run| is_stale((run.job, run.epoch))) || self.ended.jobs.iter().copied().any(is_stale) {
            return Some(format!("{lease} is a stale attempt at {job}"));
        }
        // A canary may be run again under its name; a paid lease may not.
        (assignment.pay == Pay::Paid && self.ended.leases.contains(&lease))
            .then(|| format!("{lease} was assigned before and has ended"))
    }

    fn admit(&self, assignment: &Assignment, door: Door) -> Result<OfferedModel, String> {
        if door == Door::Draining {
            return Err("this Island is draining".to_owned());
        }
        let model = self.models.iter().find(|model| model.model == assignment.model);
        let Some(model) = model else {
            return Err("this Island does not offer that model".to_owned());
        };
        if self.busy() >= self.slots {
            return Err(format!("all {} slots are taken", self.slots));
        }
        Ok(model.clone())
    }

    pub(super) fn started(&mut self, run: RunId, effects: &mut impl FnMut(Effect)) {
        let Some(run) = self.running.get_mut(&run) else {
            return;
        };
        if run.state != State::Starting {
            return;
        }
        run.state = State::Running;
        let (lease, epoch) = (run.lease, run.epoch);
        effects(Effect::Send(Outgoing::Acknowledge { lease, epoch }));
        effects(Effect::Tell(Notice::JobStarted {
            lease,
            model: run.model.model.clone(),
            prompt_tokens: run.prompt_tokens,
            pay: run.pay,
        }));
    }

    pub(super) fn refused(&mut self, run: RunId, reason: String, effects: &mut impl FnMut(Effect)) {
        let Some(run) = self.running.remove(&run) else {
            return;
        };
        match run.state {
            State::Starting => decline(run.lease, run.epoch, reason, effects),
            State::Revoked => effects(Effect::Send(Outgoing::SlotFree { lease: run.lease })),
            State::Waiting | State::Running | State::Stopping(_) | State::Orphaned => {}
        }
        self.start_waiting(effects);
    }

    /// Sends what the runner emitted, a checkpoint at a time.
    pub(super) fn emitted(
        &mut self,
        id: RunId,
        position: u32,
        ids: &[u32],
        now: Timestamp,
        effects: &mut impl FnMut(Effect),
    ) {
        let Some(run) = self.running.get_mut(&id) else {
            return;
        };
        if run.state != State::Running {
            return;
        }
        if let Err(message) = run.check(position, ids) {
            run.state = State::Stopping(FinishReason::Failed { message });
            effects(Effect::CancelRun { run: id });
            return;
        }
        let mut rest = ids;
        while !rest.is_empty() {
            let room = usize::try_from(run.meter.room()).unwrap_or(usize::MAX);
            let (batch, left) = rest.split_at(room.min(rest.len()));
            rest = left;
            effects(Effect::Send(Outgoing::Output {
                lease: run.lease,
                epoch: run.epoch,
                first_index: run.meter.emitted().get(),
                ids: batch.to_vec(),
            }));
            run.meter.add(batch, now);
            run.checkpoint_if_due(now, effects);
        }
    }

    /// The runner let go; `None` if it died without a word. A final receipt is returned to wait for its report.
    pub(super) fn ended(
        &mut self,
        id: RunId,
        reason: Option<FinishReason>,
        now: Timestamp,
        effects: &mut impl FnMut(Effect),
    ) -> Option<Done> {
        let run = self.running.remove(&id)?;
        let done = self.conclude(run, reason, now, effects);
        self.start_waiting(effects);
        done
    }

    fn conclude(
        &mut self,
        run: Run,
        reason: Option<FinishReason>,
        now: Timestamp,
        effects: &mut impl FnMut(Effect),
    ) -> Option<Done> {
        let died = || FinishReason::Failed {
            message: "the runner died".to_owned(),
        };
        let revoked = run.state == State::Revoked;
        let reason = match run.state {
            State::Orphaned => return None,
            State::Waiting | State::Starting | State::Running => reason.unwrap_or_else(died),
            State::Stopping(ref reason) => reason.clone(),
            State::Revoked => FinishReason::Cancelled,
        };
        self.ended.remember(&run);
        let body = run.receipt(ReceiptKind::Final, now);
        effects(Effect::Send(Outgoing::Finished {
            body: Box::new(body),
            reason: reason.clone(),
        }));
        let claim = Claim::of(&body, &reason);
        if revoked {
            effects(Effect::Send(Outgoing::SlotFree { lease: run.lease }));
        }
        effects(Effect::Tell(Notice::JobDone {
            lease: run.lease,
            reason,
            output_tokens: run.meter.emitted().get(),
            took: now.since(run.started_at),
        }));
        Some(Done {
            model: run.model,
            pay: run.pay,
            claim,
            body,
        })
    }

    /// Stops a lease because the exchange said so.
    pub(super) fn revoke(&mut self, lease: LeaseId, epoch: LeaseEpoch, effects: &mut impl FnMut(Effect)) {
        let found = self
            .running
            .iter_mut()
            .find(|(_, run)| run.lease == lease && run.state != State::Orphaned);
        let Some((id, run)) = found else {
            effects(Effect::Send(Outgoing::SlotFree { lease }));
            return;
        };
        if epoch < run.epoch {
            let why = format!("the revoke of {lease} is for an earlier attempt");
            return effects(Effect::Tell(Notice::Ignored { why }));
        }
        match run.state {
            State::Waiting => {
                let id = *id;
                self.forget_waiting(id);
                effects(Effect::Send(Outgoing::SlotFree { lease }));
            }
            State::Starting | State::Running | State::Stopping(_) => {
                run.state = State::Revoked;
                effects(Effect::CancelRun { run: *id });
            }
            State::Revoked | State::Orphaned => {}
        }
    }

    /// A job on which the exchange reports before it has ended here; once.
    pub(super) fn settled_early(&mut self, lease: LeaseId) -> Option<Done> {
        let mut runs = self.running.values_mut();
        let run = runs.find(|run| run.lease == lease && run.state != State::Orphaned && !run.is_settled)?;
        run.is_settled = true;
        Some(Done {
            model: run.model.clone(),
            pay: run.pay,
            claim: Claim::Work,
            body: run.receipt(ReceiptKind::Checkpoint, run.started_at),
        })
    }

    /// Stops everything because the owner waits no longer.
    pub(super) fn cancel_all(&mut self, effects: &mut impl FnMut(Effect)) {
        for (id, assignment) in std::mem::take(&mut self.waiting) {
            self.running.remove(&id);
            let reason = "this Island is draining".to_owned();
            decline(assignment.lease, assignment.epoch, reason, effects);
        }
        for (id, run) in &mut self.running {
            match run.state {
                State::Starting | State::Running => {
                    run.state = State::Stopping(FinishReason::Cancelled);
                    effects(Effect::CancelRun { run: *id });
                }
                State::Waiting | State::Stopping(_) | State::Revoked | State::Orphaned => {}
            }
        }
    }

    /// The session is gone: everything is stopped, nobody is told. Returns how many jobs that lost.
    pub(super) fn orphan_all(&mut self, effects: &mut impl FnMut(Effect)) -> usize {
        let waiting = std::mem::take(&mut self.waiting);
        for (id, _) in &waiting {
            self.running.remove(id);
        }
        let mut lost = waiting.len();
        for (id, run) in &mut self.running {
            if run.state != State::Orphaned {
                run.state = State::Orphaned;
                lost = lost.saturating_add(1);
                effects(Effect::CancelRun { run: *id });
            }
        }
        self.ended = Ended::default();
        lost
    }

    /// Signs the checkpoints that time has made due.
    pub(super) fn checkpoint(&mut self, now: Timestamp, effects: &mut impl FnMut(Effect)) {
        for run in self.running.values_mut() {
            if run.state == State::Running {
                run.checkpoint_if_due(now, effects);
            }
        }
    }

    /// When [`Runs::checkpoint`] has something to sign.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let running = self.running.values().filter(|run| run.state == State::Running);
        running.filter_map(|run| run.meter.due_at()).min()
    }
}

impl Run {
    /// A runner that breaks its promises must not make this Island sign for it.
    fn check(&self, position: u32, ids: &[u32]) -> Result<(), String> {
        let emitted = self.meter.emitted().get();
        if position != self.resumed.saturating_add(emitted) {
            return Err(format!("the runner emitted position {position} out of turn"));
        }
        let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        if emitted.saturating_add(count) > self.max_tokens {
            return Err("the runner emitted more than was asked for".to_owned());
        }
        Ok(())
    }

    fn checkpoint_if_due(&mut self, now: Timestamp, effects: &mut impl FnMut(Effect)) {
        if !self.meter.is_due(now) {
            return;
        }
        self.meter.sign();
        let body = self.receipt(ReceiptKind::Checkpoint, now);
        effects(Effect::Send(Outgoing::Checkpoint(Box::new(body))));
    }

    fn receipt(&self, kind: ReceiptKind, now: Timestamp) -> ReceiptBody {
        ReceiptBody {
            kind,
            job: self.job,
            lease: self.lease,
            epoch: self.epoch,
            model: self.model.digest,
            prompt: self.prompt,
            prompt_tokens: TokenCount::new(self.prompt_tokens),
            output_tokens: self.meter.emitted(),
            chain: self.meter.chain(),
            started_at: self.started_at,
            signed_at: now,
            price: self.price,
        }
    }
}

impl Ended {
    fn remember(&mut self, run: &Run) {
        if self.leases.len() >= ENDED_LEASES_MAX {
            self.leases.pop_front();
            self.jobs.pop_front();
        }
        self.leases.push_back(run.lease);
        self.jobs.push_back((run.job, run.epoch));
    }
}

fn decline(lease: LeaseId, epoch: LeaseEpoch, reason: String, effects: &mut impl FnMut(Effect)) {
    effects(Effect::Send(Outgoing::Decline {
        lease,
        epoch,
        reason: reason.clone(),
    }));
    effects(Effect::Tell(Notice::JobDeclined { lease, reason }));
}
