//! What the dispatcher says, done.

use dispatch::{Effect, Input, Settlement};
use domain::{CancelCause, EndCause, JobEnd, JobId, OrderId, Timestamp, TokenCount};
use matcher::{Cancel, CloseLease, Command, FailOver, LoseSessions, ReleaseSlot};

use super::agents::{Assignment, ReceiptOutcome, ToAgent};
use super::job::{JobEvent, JobState};
use super::state::{Ending, Job};
use super::task::State;

/// Tokens of one order that may wait for their reader: some forty seconds of a fast Island. A reader who is further
/// behind does not read.
pub(super) const UNREAD_TOKENS_MAX: usize = 4_096;

impl State {
    /// Does what the dispatcher says until it says nothing more.
    pub(super) fn carry_out(&mut self, now: Timestamp) {
        loop {
            while let Some(effect) = self.dispatcher.next_effect() {
                self.effect(effect, now);
            }
            let Some(input) = self.caused.pop_front() else {
                return;
            };
            self.dispatcher.handle(input, now);
        }
    }

    fn effect(&mut self, effect: Effect, now: Timestamp) {
        match effect {
            Effect::Assign {
                session,
                lease,
                job,
                epoch,
                emitted,
                max_tokens,
                acknowledge_within,
            } => {
                if let Some(assignment) = self.assignment(job, lease, max_tokens, emitted) {
                    let assignment = Assignment {
                        epoch,
                        acknowledge_within,
                        ..assignment
                    };
                    self.tell(session, ToAgent::Assign(Box::new(assignment)));
                }
            }
            Effect::Revoke {
                session,
                lease,
                epoch,
                reason,
            } => self.tell(session, ToAgent::Revoke { lease, epoch, reason }),
            Effect::EndSession { session } => {
                self.tell(
                    session,
                    ToAgent::End("nothing was heard of this agent for three seconds"),
                );
                if self.agents.remove(&session).is_some() {
                    self.commands
                        .push_back(Command::LoseSessions(LoseSessions::One(session)));
                }
            }
            Effect::Deliver { job, ids } => self.deliver(job, ids, now),
            Effect::Checkpoint { lease, units } => {
                self.checkpoints.insert(lease, units);
            }
            Effect::AcceptReceipt { lease } => {
                if let Some(receipt) = self.arriving {
                    let receipt = self.key.countersign(receipt);
                    if let Some(lease) = self.lease_mut(lease) {
                        lease.receipt = Some(receipt);
                    }
                }
            }
            Effect::RefuseReceipt {
                session,
                lease,
                reason,
            } => {
                if let Some(lease) = self.lease_mut(lease) {
                    lease.receipt = None;
                }
                let outcome = ReceiptOutcome::Refused(reason.code());
                self.tell(session, ToAgent::Receipt { lease, outcome });
            }
            Effect::Audit {
                lease,
                island,
                finding,
            } => {
                tracing::warn!(target: "audit", %lease, %island, ?finding, "an Island did what it should not");
            }
            Effect::CloseLease { settlement, end } => self.close(settlement, end),
            Effect::FailOver {
                settlement,
                units_max,
                time_in_force,
                otherwise,
            } => {
                self.settling(settlement);
                self.commands.push_back(Command::FailOver(FailOver {
                    lease: settlement.lease,
                    units: settlement.units,
                    units_max,
                    time_in_force,
                    otherwise,
                }));
            }
            Effect::ReleaseSlot { lease, session } => {
                self.commands
                    .push_back(Command::ReleaseSlot(ReleaseSlot { lease, session }));
            }
            Effect::CancelRebid { job, order } => {
                if let Some(of) = self.orders.get(&job.order()) {
                    let account = of.accepted.account;
                    self.commands
                        .push_back(Command::Cancel(Cancel { account, order }));
                }
            }
            Effect::ReportFailover {
                job,
                island,
                failure,
                emitted,
            } => {
                if let Some(order) = self.orders.get_mut(&job.order()) {
                    if let Some(job) = order.jobs.get_mut(&job.index()) {
                        job.failovers = job.failovers.saturating_add(1);
                    }
                    order.outlet.push(JobEvent::FailedOver {
                        job,
                        index: job.index(),
                        island,
                        failure,
                        emitted,
                    });
                }
            }
            Effect::JobEnded {
                job,
                outcome,
                cause,
                output_tokens,
                failovers,
            } => {
                let ending = Ending {
                    outcome,
                    cause,
                    output_tokens,
                    failovers,
                };
                self.job_ended(job, ending, now);
            }
        }
    }

    fn assignment(
        &self,
        job: JobId,
        lease_id: domain::LeaseId,
        max_tokens: TokenCount,
        emitted: Vec<u32>,
    ) -> Option<Assignment> {
        let order = self.orders.get(&job.order())?;
        let payload = order.payloads.get(usize::try_from(job.index()).ok()?)?;
        let leases = &order.jobs.get(&job.index())?.leases;
        let lease = leases.iter().find(|lease| lease.lease == lease_id)?;
        Some(Assignment {
            lease: lease_id,
            epoch: lease.epoch,
            job,
            instrument: lease.cell.instrument,
            price: lease.price,
            prompt_ids: payload.prompt_ids.clone(),
            emitted,
            max_tokens,
            sampling: payload.sampling,
            stop_ids: payload.stop_ids.clone(),
            acknowledge_within: dispatch::ACKNOWLEDGE_WITHIN,
        })
    }

    fn deliver(&mut self, job_id: JobId, ids: Vec<u32>, now: Timestamp) {
        let Some(order) = self.orders.get_mut(&job_id.order()) else {
            return;
        };
        if let Some(job) = order.jobs.get_mut(&job_id.index()) {
            job.first_token_at.get_or_insert(now);
            let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
            job.output_tokens = job.output_tokens.saturating_add(count);
        }
        let unread = order.outlet.push(JobEvent::Tokens {
            job: job_id,
            index: job_id.index(),
            ids,
        });
        if unread > UNREAD_TOKENS_MAX {
            self.caused.push_back(Input::Cancel {
                job: job_id,
                cause: CancelCause::NotReading,
            });
        }
    }

    fn close(&mut self, settlement: Settlement, end: JobEnd) {
        self.settling(settlement);
        self.commands.push_back(Command::CloseLease(CloseLease {
            lease: settlement.lease,
            units: settlement.units,
            reread_units: settlement.reread_units,
            end,
        }));
    }

    fn settling(&mut self, settlement: Settlement) {
        self.checkpoints.remove(&settlement.lease);
        if let Some(lease) = self.lease_mut(settlement.lease) {
            lease.settlement = Some(settlement);
        }
    }

    fn job_ended(&mut self, job_id: JobId, ending: Ending, now: Timestamp) {
        let Some(order) = self.orders.get_mut(&job_id.order()) else {
            return;
        };
        let index = job_id.index();
        let Some(job) = order.jobs.remove(&index) else {
            return;
        };
        let completed = order.completed(index, &job, ending, now);
        let mut view = order.view(index, &job);
        view.state = JobState::Ended(ending.outcome);
        view.code = ending.cause.map(EndCause::code);
        view.ended_at = Some(now);
        view.output_tokens = ending.output_tokens;
        view.failovers = ending.failovers;
        for follower in &order.followers {
            follower.push(JobEvent::Completed(Box::new(completed.clone())));
        }
        order
            .outlet
            .push(JobEvent::Completed(Box::new(completed.clone())));
        self.history.remember(view, Some(completed));
        self.forget_leases(&job);
        self.forget_if_over(job_id.order());
    }

    fn forget_leases(&mut self, job: &Job) {
        for lease in &job.leases {
            self.leases.remove(&lease.lease);
        }
    }

    /// Drops an order of which nothing is left: its streams end.
    pub(super) fn forget_if_over(&mut self, order_id: OrderId) {
        if self
            .orders
            .get(&order_id)
            .is_some_and(super::state::Order::is_over)
            && let Some(order) = self.orders.remove(&order_id)
        {
            self.by_submission.remove(&order.submission);
        }
    }
}
