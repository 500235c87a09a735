//! What the engine did, as far as it concerns jobs and agents.

use std::collections::BTreeSet;

use dispatch::{Grant, Input, JobFacts, Speeds};
use domain::{CancelCause, EndCause, JobEnd, JobId, JobOutcome, Jobs, LeaseId, OrderId, Side, Timestamp};
use matcher::{
    AskAccepted, BidAccepted, Cancel, CloseLease, Command, EndReason, Event, FailOver, LeaseEnd, LeaseEnded,
    OrderEnded, PlaceAsk, PlaceBid, RejectReason, Rejected, ReleaseSlot, Traded, Unmatched,
};

use super::agents::{AskUpdate, ReceiptOutcome, ToAgent};
use super::job::{CancelRefused, Cancelled, JobEvent, Matched};
use super::recalled::recall;
use super::state::{FOLLOWERS_MAX, Job, Lease, Order, Pending};
use super::task::{Owner, State};
use crate::halts::Trading;
use crate::sequencer::Applied;

impl State {
    /// Takes note of one durable command.
    pub(super) fn applied(&mut self, applied: &Applied) {
        let mut cancelled = Jobs::ZERO;
        let mut refused = None;
        for event in applied.events.iter() {
            self.halts.note(event);
            match event {
                Event::BidAccepted(accepted) if accepted.resumes.is_none() => {
                    self.bid_accepted(&applied.command, accepted, applied.at);
                }
                Event::Repeated {
                    client_order_id,
                    order,
                    unmatched,
                    ..
                } => {
                    if let Command::PlaceBid(bid) = &*applied.command {
                        self.bid_repeated(bid, *order, *unmatched, &applied.events);
                    } else if let Command::PlaceAsk(ask) = &*applied.command {
                        self.tell_ask(
                            ask,
                            AskUpdate::Repeated {
                                client_order_id: *client_order_id,
                                order: *order,
                            },
                        );
                    }
                }
                Event::Rejected(rejected) => {
                    refused = Some(*rejected);
                    self.rejected(&applied.command, rejected);
                }
                Event::AskAccepted(accepted) => self.ask_accepted(accepted),
                Event::Traded(traded) => self.traded(traded, applied),
                Event::Amended { order, leaves, .. } => self.amended(*order, *leaves),
                Event::OrderEnded(ended) => {
                    if let Command::Cancel(cancel) = &*applied.command
                        && cancel.order == ended.order
                    {
                        cancelled = ended.leaves;
                    }
                    self.order_ended(ended);
                }
                Event::LeaseEnded(ended) => self.lease_ended(ended),
                Event::SessionEnded { session } => {
                    let now = self.clock.now();
                    if self.agents.remove(session).is_some() {
                        self.input(Input::SessionLost { session: *session }, now);
                    }
                }
                Event::BidAccepted(_)
                | Event::JobRecalled(_)
                | Event::RegionsSet
                | Event::InstrumentListed { .. }
                | Event::SessionOpened { .. }
                | Event::Funded { .. }
                | Event::Defunded { .. }
                | Event::IslandJoined { .. }
                | Event::TierSet { .. }
                | Event::BandSet { .. }
                | Event::SlotsSet { .. }
                | Event::DeadManSet { .. }
                | Event::Checkpointed { .. }
                | Event::AskDepth(_)
                | Event::BidDepth(_)
                | Event::ClassCreated(_)
                | Event::Halted { .. }
                | Event::Resumed { .. }
                | Event::PriceBandSet { .. } => {}
            }
        }
        if let Command::Cancel(cancel) = &*applied.command {
            self.cancel_applied(cancel, cancelled, refused);
        }
        let now = self.clock.now();
        self.carry_out(now);
    }

    /// The submission that this bid came from: the first that waits with the same body.
    fn take_pending(&mut self, bid: &PlaceBid) -> Option<Pending> {
        let key = (bid.account, bid.client_order_id);
        let queue = self.pending.get_mut(&key)?;
        let index = queue.iter().position(|pending| pending.bid == *bid)?;
        let pending = queue.remove(index)?;
        if queue.is_empty() {
            self.pending.remove(&key);
        }
        self.pending_count = self.pending_count.saturating_sub(1);
        self.by_submission.remove(&pending.id);
        Some(pending)
    }

    fn bid_accepted(&mut self, command: &Command, accepted: &BidAccepted, at: Timestamp) {
        let Command::PlaceBid(bid) = command else { return };
        let Some(pending) = self.take_pending(bid) else {
            return;
        };
        pending.outlet.push(JobEvent::Accepted(*accepted));
        self.by_submission
            .insert(pending.id, Owner::Order(accepted.order));
        self.orders.insert(
            accepted.order,
            Order {
                submission: pending.id,
                accepted: *accepted,
                accepted_at: at,
                payloads: pending.payloads,
                outlet: pending.outlet,
                followers: Vec::new(),
                leaves: accepted.jobs.get(),
                jobs: std::collections::BTreeMap::new(),
                next_index: 0,
                departed: pending.departed,
            },
        );
        if pending.departed {
            self.cancel_departed(accepted.order);
        }
    }

    /// Tells what became of a repeated order: what is known here, and of the rest what the engine remembers.
    fn bid_repeated(
        &mut self,
        bid: &PlaceBid,
        order_id: OrderId,
        unmatched: Option<Unmatched>,
        events: &[Event],
    ) {
        let Some(pending) = self.take_pending(bid) else {
            return;
        };
        let outlet = pending.outlet;
        outlet.push(JobEvent::Repeated { order: order_id });
        let mut told = BTreeSet::new();
        for completed in self.history.of_order(order_id) {
            told.insert(completed.job);
            outlet.push(JobEvent::Completed(Box::new(completed.clone())));
        }
        for event in events {
            if let Event::JobRecalled(ended) = event
                && told.insert(ended.job)
            {
                let (_, completed) = recall(ended);
                outlet.push(JobEvent::Completed(Box::new(completed)));
            }
        }
        if let Some(Unmatched { jobs, reason }) = unmatched {
            // Whether it traded then is not remembered.
            outlet.push(JobEvent::Ended {
                jobs,
                reason,
                trading: Trading::Open,
            });
        }
        if let Some(order) = self.orders.get_mut(&order_id)
            && order.followers.len() < FOLLOWERS_MAX
        {
            order.followers.push(outlet);
        }
    }

    fn rejected(&mut self, command: &Command, rejected: &Rejected) {
        let now = self.clock.now();
        let reason = rejected.reason;
        if let Command::PlaceBid(bid) = command {
            if let Some(pending) = self.take_pending(bid) {
                pending.outlet.push(JobEvent::Rejected(*rejected));
            }
        } else if let Command::PlaceAsk(ask) = command {
            let client_order_id = ask.client_order_id;
            self.tell_ask(
                ask,
                AskUpdate::Refused {
                    client_order_id,
                    reason,
                },
            );
        } else if let Command::CloseLease(CloseLease { lease, .. })
        | Command::FailOver(FailOver { lease, .. }) = command
        {
            tracing::warn!(%lease, reason = reason.code(), "the engine refused to settle a lease");
            self.input(Input::SettlementRefused { lease: *lease }, now);
        } else if let Command::ReleaseSlot(ReleaseSlot { lease, .. }) = command {
            // The session ended while the release was on its way; the slot ended with it.
            tracing::debug!(%lease, reason = reason.code(), "a slot was not given back");
        }
    }

    /// Tells an agent what came of an ask that it posted.
    fn tell_ask(&mut self, ask: &PlaceAsk, update: AskUpdate) {
        if !self.entered.answered(ask.island, ask.client_order_id) {
            self.tell(ask.session, ToAgent::Ask(update));
        }
    }

    fn ask_accepted(&mut self, accepted: &AskAccepted) {
        if self.entered.answered(accepted.island, accepted.client_order_id) {
            self.entered.rests(accepted.order);
            return;
        }
        let update = AskUpdate::Accepted {
            client_order_id: accepted.client_order_id,
            order: accepted.order,
            jobs: accepted.jobs,
        };
        self.tell(accepted.session, ToAgent::Ask(update));
    }

    fn ask_traded(&mut self, traded: &Traded) {
        let (order, leaves) = (traded.ask, traded.ask_leaves);
        let entered = if leaves.is_zero() {
            self.entered.ended(order)
        } else {
            self.entered.contains(order)
        };
        if !entered {
            self.tell(
                traded.ask_session,
                ToAgent::Ask(AskUpdate::Traded { order, leaves }),
            );
        }
    }

    fn traded(&mut self, traded: &Traded, applied: &Applied) {
        self.ask_traded(traded);
        let order_id = traded.first_job.order();
        for offset in 0..traded.jobs.get() {
            let lease = LeaseId::new(traded.first_lease.get().saturating_add(u64::from(offset)));
            let index = traded.first_job.index().saturating_add(offset);
            self.granted(traded, lease, JobId::of_order(order_id, index), applied);
        }
    }

    fn granted(&mut self, traded: &Traded, lease: LeaseId, job: JobId, applied: &Applied) {
        let Some(grant) = self.begin(traded, lease, job, applied) else {
            // Not one of ours: a bid that came in some other way has no payload to run.
            self.commands.push_back(Command::CloseLease(CloseLease {
                lease,
                units: domain::Units::ZERO,
                reread_units: domain::Units::ZERO,
                end: JobEnd::because(JobOutcome::Failed, EndCause::Exchange),
            }));
            self.commands.push_back(Command::ReleaseSlot(ReleaseSlot {
                lease,
                session: traded.ask_session,
            }));
            return;
        };
        let departed = self.orders.get(&job.order()).is_some_and(|order| order.departed);
        let now = self.clock.now();
        self.input(Input::Granted(grant), now);
        if departed {
            let cause = CancelCause::Departed;
            self.input(Input::Cancel { job, cause }, now);
        }
    }

    /// Notes a job's lease and tells its owner; `None` if the job is not known here.
    fn begin(&mut self, traded: &Traded, lease: LeaseId, job_id: JobId, applied: &Applied) -> Option<Grant> {
        let instrument = self.registry.instrument(traded.cell.instrument)?;
        let order = self.orders.get_mut(&job_id.order())?;
        let index = job_id.index();
        let payload = order.payloads.get(usize::try_from(index).ok()?)?;
        let facts = JobFacts {
            prompt_tokens: payload.prompt_tokens(),
            max_tokens: payload.max_tokens,
            input_weight: instrument.input_weight,
            patience: order.accepted.time_in_force,
        };
        let waited = applied.at.since(order.accepted_at);
        if traded.epoch == domain::LeaseEpoch::FIRST {
            order.leaves = order.leaves.saturating_sub(1);
            order.next_index = order.next_index.max(index.saturating_add(1));
        }
        let job = order.jobs.entry(index).or_insert_with(|| Job {
            waited,
            first_token_at: None,
            output_tokens: 0,
            failovers: 0,
            leases: Vec::new(),
        });
        job.leases.push(Lease {
            lease,
            epoch: traded.epoch,
            island: traded.island,
            session: traded.ask_session,
            cell: traded.cell,
            price: traded.price,
            settlement: None,
            bill: None,
            receipt: None,
        });
        order.outlet.push(JobEvent::Matched(Matched {
            job: job_id,
            index,
            trade: traded.trade,
            lease,
            epoch: traded.epoch,
            island: traded.island,
            cell: traded.cell,
            price: traded.price,
            waited,
            sequence: applied.sequence,
        }));
        self.leases.insert(lease, job_id);
        let measured = self
            .agents
            .get(&traded.ask_session)
            .and_then(|agent| agent.measured.get(&traded.cell.instrument).copied());
        Some(Grant {
            lease,
            job: job_id,
            epoch: traded.epoch,
            island: traded.island,
            session: traded.ask_session,
            units_max: traded.units_max,
            speeds: Speeds::in_force(instrument.floors.of(traded.cell.tier), measured),
            facts,
        })
    }

    fn order_ended(&mut self, ended: &OrderEnded) {
        match (ended.side, ended.resumes) {
            (Side::Ask, _) => {
                if !self.entered.ended(ended.order) {
                    let update = AskUpdate::Ended {
                        order: ended.order,
                        leaves: ended.leaves,
                        reason: ended.reason,
                    };
                    self.tell(ended.session, ToAgent::Ask(update));
                }
            }
            (Side::Bid, Some(job)) => {
                let now = self.clock.now();
                self.input(Input::RebidEnded { job }, now);
            }
            (Side::Bid, None) => {
                // One of the process before is remembered by the engine.
                let Some(order) = self.orders.get_mut(&ended.order) else {
                    return;
                };
                order.leaves = 0;
                let event = JobEvent::Ended {
                    jobs: ended.leaves,
                    reason: ended.reason,
                    trading: self.halts.trading(order.accepted.instrument),
                };
                for follower in &order.followers {
                    follower.push(event.clone());
                }
                order.outlet.push(event);
                self.forget_if_over(ended.order);
            }
        }
    }

    /// The jobs that an amend took away end like cancelled ones. Of an order of asks nothing is kept here.
    fn amended(&mut self, order: OrderId, leaves: Jobs) {
        let Some(order) = self.orders.get_mut(&order) else {
            return;
        };
        let event = JobEvent::Ended {
            jobs: Jobs::new(order.leaves.saturating_sub(leaves.get())),
            reason: EndReason::Cancelled,
            trading: self.halts.trading(order.accepted.instrument),
        };
        order.leaves = leaves.get();
        for follower in &order.followers {
            follower.push(event.clone());
        }
        order.outlet.push(event);
    }

    fn lease_ended(&mut self, ended: &LeaseEnded) {
        if let Some(lease) = self.lease_mut(ended.lease) {
            lease.bill = Some(ended.bill);
            let session = lease.session;
            if let Some(receipt) = lease.receipt.filter(|_| ended.bill.units.get() > 0) {
                let earned = ended.bill.island_earns().checked_add(ended.bill.pool_subsidy);
                let outcome = ReceiptOutcome::Settled {
                    receipt: Box::new(receipt),
                    earned_nano: earned.map_or(0, domain::Credits::as_nano),
                };
                let lease = ended.lease;
                self.tell(session, ToAgent::Receipt { lease, outcome });
            }
        }
        let now = self.clock.now();
        let input = match ended.end {
            LeaseEnd::Closed(_) | LeaseEnd::Lost => Input::LeaseClosed { lease: ended.lease },
            LeaseEnd::FailedOver(order) => Input::RebidPlaced {
                lease: ended.lease,
                order,
            },
        };
        self.input(input, now);
    }

    pub(super) fn lease_mut(&mut self, lease: LeaseId) -> Option<&mut Lease> {
        let job = self.leases.get(&lease)?;
        let order = self.orders.get_mut(&job.order())?;
        let job = order.jobs.get_mut(&job.index())?;
        job.leases.iter_mut().find(|known| known.lease == lease)
    }

    fn cancel_applied(&mut self, cancel: &Cancel, cancelled: Jobs, refused: Option<Rejected>) {
        let Some(reply) = self.cancels.answered(cancel.account, cancel.order) else {
            return;
        };
        let is_owner = self
            .orders
            .get(&cancel.order)
            .is_some_and(|order| order.accepted.account == cancel.account);
        let stopping = if is_owner {
            self.cancel_jobs(cancel.order, CancelCause::Asked)
        } else {
            0
        };
        let unknown = refused.is_some_and(|refused| refused.reason == RejectReason::UnknownOrder);
        let outcome = if unknown && stopping == 0 {
            Err(CancelRefused::UnknownOrder)
        } else {
            Ok(Cancelled {
                cancelled_jobs: cancelled,
                stopping_jobs: Jobs::new(stopping),
            })
        };
        reply.send(outcome);
    }
}
