//! Follows the engine's events and tells each session what became of its orders.
//!
//! It never waits for a session: reports go into the session's log, which is bounded by what its orders may bring.

use std::collections::HashMap;
use std::sync::Arc;

use domain::{OrderId, SessionId, Side, Timestamp};
use matcher::{
    AskAccepted, BidAccepted, Cancel, CellKey, Command, EndReason, Event, LeaseEnd, OrderEnded, RejectReason,
    Rejected, Traded,
};
use proto::convert::cell_to_wire;
use proto::exchange::v1 as wire;
use proto::exchange::v1::report::Report as Body;

use super::desk::{Desk, Islander};
use super::orders::{Answer, Then};
use super::session::{Session, State};
use crate::gateway::errors::{Refusal, of_reject};
use crate::halts::Halts;
use crate::sequencer::{Applied, Subscription};

/// Commands whose events are looked at before those who wait for them are woken.
const COMMANDS_AT_ONCE: usize = 256;

/// Follows until the sequencer has stopped.
pub(super) async fn follow(desk: Arc<Desk>, halts: Halts, mut subscription: Subscription) {
    let mut follower = Follower {
        desk,
        routes: HashMap::new(),
        halts,
    };
    let mut batch = Vec::with_capacity(COMMANDS_AT_ONCE);
    loop {
        let received = tokio::select! {
            biased;
            () = follower.desk.reports_exceed() => {
                follower.desk.make_room();
                continue;
            }
            received = subscription.recv_many(&mut batch, COMMANDS_AT_ONCE) => received,
        };
        if received == 0 {
            return;
        }
        let Some(last) = batch.last().map(|applied| applied.sequence) else {
            continue;
        };
        for applied in batch.drain(..) {
            follower.applied(&applied);
        }
        follower.desk.followed.send_replace(last);
    }
}

struct Follower {
    desk: Arc<Desk>,
    /// Whose each live order is.
    routes: HashMap<OrderId, Arc<Session>>,
    halts: Halts,
}

impl Follower {
    fn applied(&mut self, applied: &Applied) {
        let at = applied.at;
        for (index, event) in applied.events.iter().enumerate() {
            self.halts.note(event);
            match event {
                Event::BidAccepted(accepted) if accepted.resumes.is_none() => {
                    self.bid_accepted(applied, accepted);
                }
                Event::AskAccepted(accepted) => self.ask_accepted(applied, accepted),
                Event::Rejected(rejected) => self.rejected(applied, rejected),
                Event::Repeated { order, .. } => self.repeated(applied, *order),
                Event::Traded(traded) => self.traded(traded, at),
                Event::OrderEnded(ended) => self.order_ended(ended, at),
                Event::Amended { order, leaves, .. } => {
                    self.about(*order, |session, state| {
                        if let Some((reference, report)) = state.orders.amended(*order, *leaves) {
                            session.report(state, at, reference, Body::Execution(report));
                        }
                    });
                }
                Event::LeaseEnded(ended) => match ended.end {
                    LeaseEnd::Closed(_) | LeaseEnd::Lost => self.job_ended(ended.job.order(), at),
                    LeaseEnd::FailedOver(_) => {}
                },
                Event::DeadManSet { session, deadline } => {
                    let is_answer = dead_man_answer(applied) == Some(index);
                    self.dead_man(*session, *deadline, at, is_answer);
                }
                Event::IslandJoined { island, session } => {
                    if let Command::JoinIsland(join) = &*applied.command {
                        let islander = Islander {
                            owner: join.owner,
                            session: *session,
                        };
                        self.desk.island_joined(*island, islander);
                    }
                }
                Event::SessionEnded { session } => self.desk.lost(*session),
                Event::BidAccepted(_)
                | Event::RegionsSet
                | Event::InstrumentListed { .. }
                | Event::SessionOpened { .. }
                | Event::Funded { .. }
                | Event::Defunded { .. }
                | Event::TierSet { .. }
                | Event::BandSet { .. }
                | Event::SlotsSet { .. }
                | Event::Checkpointed { .. }
                | Event::AskDepth(_)
                | Event::BidDepth(_)
                | Event::ClassCreated(_)
                | Event::Halted { .. }
                | Event::Resumed { .. }
                | Event::PriceBandSet { .. }
                | Event::JobRecalled(_) => {}
            }
        }
        if let Command::CancelAll(command) = &*applied.command
            && let Some(mass) = self.desk.take_mass_cancel(command)
        {
            let is_one = |event: &&Event| matches!(event, Event::OrderEnded(ended) if ended.reason == EndReason::Cancelled);
            let ended = applied.events.iter().filter(is_one).count();
            let orders = u32::try_from(ended)
                .unwrap_or(u32::MAX)
                .saturating_add(mass.cancelled);
            let report = Body::CancelledAll(wire::CancelAllReport { orders });
            let state = &mut mass.session.lock();
            mass.session.report(state, at, mass.reference, report);
        }
    }

    /// Does something about a live order, and forgets it if nothing is left of it.
    fn about(&self, order: OrderId, f: impl FnOnce(&Session, &mut State)) {
        if let Some(session) = self.routes.get(&order) {
            f(session, &mut session.lock());
        }
    }

    fn bid_accepted(&mut self, applied: &Applied, accepted: &BidAccepted) {
        let Command::PlaceBid(asked) = &*applied.command else {
            return;
        };
        let Some(session) = self.desk.session(accepted.session) else {
            return;
        };
        let answer = session.lock().orders.bid_accepted(accepted, asked);
        self.accepted(session, accepted.order, answer, applied.at);
    }

    fn ask_accepted(&mut self, applied: &Applied, accepted: &AskAccepted) {
        let Command::PlaceAsk(asked) = &*applied.command else {
            return;
        };
        let Some(session) = self.desk.take_ask(asked) else {
            return;
        };
        let cell = self.cell(&accepted.cell);
        let answer = session.lock().orders.ask_accepted(accepted, asked, cell);
        self.accepted(session, accepted.order, answer, applied.at);
    }

    fn accepted(&mut self, session: Arc<Session>, order: OrderId, answer: Option<Answer>, at: Timestamp) {
        let Some(answer) = answer else {
            tracing::error!(%order, session = %session.id, "an order was taken in that nobody here had placed");
            return;
        };
        let then = session.answer(&mut session.lock(), at, answer);
        self.desk.follow_up(&session, order, then);
        self.routes.insert(order, session);
    }

    /// Of bids the submission itself is told, with what could be had instead.
    fn rejected(&mut self, applied: &Applied, rejected: &Rejected) {
        let at = applied.at;
        if let Command::PlaceAsk(ask) = &*applied.command {
            if let Some(session) = self.desk.take_ask(ask) {
                let state = &mut session.lock();
                let answer = state.orders.ask_refused(ask, &refusal(rejected.reason));
                self.answer_without_order(&session, state, at, answer);
            }
        } else if let Command::Cancel(Cancel { order, .. }) = &*applied.command {
            self.about(*order, |session, state| {
                if let Some((reference, report)) = state.orders.only_stopping(*order) {
                    session.report(state, at, reference, Body::Execution(report));
                }
            });
        } else if let Command::Amend(amend) = &*applied.command {
            self.about(amend.order, |session, state| {
                if let Some(reference) = state.orders.amend_refused(amend.order) {
                    session.refuse(state, at, reference, &refusal(rejected.reason));
                }
            });
        } else if let Command::SetDeadMan(set) = &*applied.command
            && let Some(session) = self.desk.session(set.session)
        {
            let state = &mut session.lock();
            if let Some(reference) = state.dead_mans.pop_front() {
                session.refuse(state, at, reference, &refusal(rejected.reason));
            }
        }
    }

    fn repeated(&mut self, applied: &Applied, order: OrderId) {
        if let Command::PlaceAsk(ask) = &*applied.command
            && let Some(session) = self.desk.take_ask(ask)
        {
            let answer = session.lock().orders.ask_repeated(ask, order);
            if let Some(answer) = answer {
                let then = session.answer(&mut session.lock(), applied.at, answer);
                self.desk.follow_up(&session, order, then);
            }
        }
    }

    fn answer_without_order(
        &self,
        session: &Arc<Session>,
        state: &mut State,
        at: Timestamp,
        answer: Option<Answer>,
    ) {
        let Some(answer) = answer else { return };
        let then = session.answer(state, at, answer);
        session.refuse_too_late(state, at, then.into_iter().filter_map(Then::reference));
        if session.take_end(state) {
            self.desk.lose(session.id);
        }
    }

    fn traded(&mut self, traded: &Traded, at: Timestamp) {
        for (order, side) in [(traded.bid, Side::Bid), (traded.ask, Side::Ask)] {
            self.about(order, |session, state| {
                if let Some(report) = state.orders.traded(traded, side) {
                    session.report(state, at, 0, Body::Execution(report));
                }
            });
            self.forget_if_over(order, at);
        }
    }

    fn order_ended(&mut self, ended: &OrderEnded, at: Timestamp) {
        if let Some(job) = ended.resumes {
            return self.job_ended(job.order(), at);
        }
        self.about(ended.order, |session, state| {
            if let Some((reference, report)) = state.orders.ended(ended, &self.halts) {
                session.report(state, at, reference, Body::Execution(report));
            }
        });
        if ended.side == Side::Ask && ended.reason == EndReason::Cancelled {
            self.desk.ask_cancelled(ended.order);
        }
        self.forget_if_over(ended.order, at);
    }

    fn job_ended(&mut self, order: OrderId, at: Timestamp) {
        self.about(order, |_, state| state.orders.job_ended(order));
        self.forget_if_over(order, at);
    }

    fn forget_if_over(&mut self, order: OrderId, at: Timestamp) {
        let Some(session) = self.routes.get(&order) else {
            return;
        };
        let (is_over, is_end) = {
            let state = &mut session.lock();
            let is_over = session.settle(state, at, order);
            (is_over, is_over && session.take_end(state))
        };
        if is_end {
            self.desk.lose(session.id);
        }
        if is_over {
            self.routes.remove(&order);
        }
    }

    fn dead_man(&mut self, session: SessionId, deadline: Option<Timestamp>, at: Timestamp, is_answer: bool) {
        let Some(session) = self.desk.session(session) else {
            return;
        };
        if !is_answer {
            self.desk.dead_man_fired(&session);
        }
        let state = &mut session.lock();
        let reference = if is_answer {
            state.dead_mans.pop_front().unwrap_or_default()
        } else {
            0
        };
        let report = wire::DeadManReport {
            fires_at_us: deadline.map_or(0, Timestamp::as_micros),
            fired: !is_answer,
        };
        session.report(state, at, reference, Body::DeadMan(report));
    }

    fn cell(&self, cell: &CellKey) -> proto::types::v1::Cell {
        let model = self.desk.names.model(cell.instrument).unwrap_or_default();
        let region = self.desk.names.region(cell.region).unwrap_or_default();
        cell_to_wire(model, region, cell.tier, Some(cell.band))
    }
}

fn refusal(reason: RejectReason) -> Refusal {
    let (kind, meaning) = of_reject(reason);
    kind.because(meaning)
}

/// Where a command that sets a session's switch is answered: in the last event about it. Any before it is the switch
/// that fired, for due timers come first. A command about something else answers none.
fn dead_man_answer(applied: &Applied) -> Option<usize> {
    let Command::SetDeadMan(set) = &*applied.command else {
        return None;
    };
    let is_one =
        |event: &Event| matches!(event, Event::DeadManSet { session, .. } if *session == set.session);
    applied.events.iter().rposition(is_one)
}
