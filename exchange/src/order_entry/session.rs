//! One session: its orders, its reports, and whoever is connected to it.
//!
//! Invariants:
//! - the lock is held between two steps of this file's code only, never across an await;
//! - one connection is attached at a time, the newest;
//! - a session ends once: its orders are cancelled, its jobs stopped, and its name is given back to the engine when
//!   the last of them has ended.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::{AccountId, OrderId, SessionId, Timestamp};
use proto::exchange::v1 as wire;
use proto::exchange::v1::report::Report as Body;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::orders::{Answer, Orders, Reference, Then};
use super::report_log::{Backlog, COMMANDS_WAIT_AT, OUTPUT_WAITS_AT, ReportLog, RewindError};
use super::report_room::{Desertion, ReportRoom, Standing};
use crate::gateway::errors::{RESUMED_ELSEWHERE, Refusal, STOPPING, STREAM_STALLED, UNKNOWN_ORDER};

/// Reports in one message: large enough that a burst costs few messages, small enough for the least of clients.
const REPORTS_PER_MESSAGE_MAX: usize = 256;

/// Orders of one session that may be live or on their way. Each may bring some reports that nobody has asked for yet.
pub(super) const ORDERS_MAX: usize = 4_096;

/// What is done when the connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnDisconnect {
    /// What rests is cancelled.
    Cancel,
    /// What rests stays until the session ends.
    Keep,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) account: AccountId,
    pub(super) on_disconnect: OnDisconnect,
    state: Mutex<State>,
    /// The room for all sessions' reports.
    reports: Arc<ReportRoom>,
    /// There is something to send.
    wake: Notify,
    /// There is room for output.
    room: Notify,
    /// The session has ended: whoever carries its jobs lets go of them.
    over: CancellationToken,
}

#[derive(Debug)]
pub(super) struct State {
    log: ReportLog,
    pub(super) orders: Orders,
    attached: Option<Attachment>,
    /// When it was left, unless somebody is connected.
    deserted: Option<Desertion>,
    /// Who waits to hear that the dead-man switch is set.
    pub(super) dead_mans: VecDeque<Reference>,
    /// Counts connections, so that one that was replaced does not detach the next.
    connections: u64,
    phase: Phase,
}

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// The exchange stops: no new orders, and a goodbye when all has been told.
    Stopping,
    /// It is over but for what its orders still do.
    Closing,
    /// The engine was told.
    Closed,
}

/// A connection of a session.
#[derive(Clone, Debug)]
pub(super) struct Attachment {
    number: u64,
    end: CancellationToken,
    why: Arc<Mutex<Option<Refusal>>>,
}

/// What a connection has to send.
#[derive(Debug)]
pub(super) enum Outgoing {
    Reports(Vec<wire::Report>),
    /// All was told, and nothing more comes.
    End(Refusal),
    Nothing,
}

impl Attachment {
    /// Waits until the connection is to end; says why.
    pub(super) async fn ended(&self) -> Option<Refusal> {
        self.end.cancelled().await;
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the connection. The first reason counts.
    pub(super) fn end(&self, why: Option<Refusal>) {
        let mut reason = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.end.is_cancelled() {
            *reason = why;
        }
        drop(reason);
        self.end.cancel();
    }
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        account: AccountId,
        on_disconnect: OnDisconnect,
        room: Arc<ReportRoom>,
    ) -> Self {
        let state = State {
            log: ReportLog::new(Arc::clone(&room)),
            orders: Orders::default(),
            attached: None,
            deserted: None,
            dead_mans: VecDeque::new(),
            connections: 0,
            phase: Phase::default(),
        };
        Self {
            id,
            account,
            on_disconnect,
            state: Mutex::new(state),
            reports: room,
            wake: Notify::new(),
            room: Notify::new(),
            over: CancellationToken::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is only touched between two steps of its own code, so a poisoned lock still holds whole values.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a report. A reader who is too far behind is disconnected; the reports stay.
    pub(super) fn report(&self, state: &mut State, at: Timestamp, reference: Reference, body: Body) {
        state.log.push(wire::Report {
            sequence: 0,
            reference,
            at_us: at.as_micros(),
            report: Some(body),
        });
        if state.log.is_overrun()
            && let Some(attached) = &state.attached
        {
            let waiting = state.log.backlog().reports;
            attached.end(Some(STREAM_STALLED.because(format!(
                "{waiting} reports wait to be read; they are kept, resume from the first that has not arrived"
            ))));
        }
        self.wake.notify_one();
    }

    /// Reports what came of a placing; returns what waited for it.
    pub(super) fn answer(&self, state: &mut State, at: Timestamp, answer: Answer) -> Vec<Then> {
        let Answer {
            reference,
            report,
            then,
        } = answer;
        self.report(state, at, reference, Body::Execution(report));
        then
    }

    /// Refuses a command.
    pub(super) fn refuse(&self, state: &mut State, at: Timestamp, reference: Reference, refusal: &Refusal) {
        let refused = super::orders::refusal_to_wire(refusal);
        self.report(state, at, reference, Body::Refused(refused));
    }

    /// Refuses what waited for an order that never came, or has ended.
    pub(super) fn refuse_too_late(
        &self,
        state: &mut State,
        at: Timestamp,
        references: impl IntoIterator<Item = Reference>,
    ) {
        for reference in references {
            let refusal = UNKNOWN_ORDER.because("there is no such order in this session, or it has ended");
            self.refuse(state, at, reference, &refusal);
        }
    }

    /// Answers a cancel that the engine never hears of, unless the order's end has answered it.
    pub(super) fn cancel_refused(&self, order: OrderId, reference: Reference, refusal: &Refusal) {
        let state = &mut self.lock();
        if state.orders.withdraw_cancel(order, reference) {
            self.refuse(state, super::now(), reference, refusal);
        }
    }

    /// Forgets an order if nothing is left of it, and answers the commands that come too late; returns whether it did.
    pub(super) fn settle(&self, state: &mut State, at: Timestamp, order: OrderId) -> bool {
        let Some(late) = state.orders.forget_if_over(order) else {
            return false;
        };
        self.refuse_too_late(state, at, late);
        true
    }

    /// Connects somebody, who is sent the reports from `next_report` on. Whoever was connected is told.
    pub(super) fn attach(&self, next_report: Option<u64>) -> Result<Attachment, AttachError> {
        let mut state = self.lock();
        match state.phase {
            Phase::Open | Phase::Stopping => {}
            Phase::Closing | Phase::Closed => return Err(AttachError::Over),
        }
        if let Some(next_report) = next_report {
            state.log.rewind(next_report).map_err(AttachError::Rewind)?;
        }
        if let Some(older) = state.attached.take() {
            older.end(Some(RESUMED_ELSEWHERE.because(
                "the session was resumed over another connection, which has it now",
            )));
        }
        state.connections = state.connections.saturating_add(1);
        let attachment = Attachment {
            number: state.connections,
            end: CancellationToken::new(),
            why: Arc::default(),
        };
        state.attached = Some(attachment.clone());
        state.deserted = None;
        drop(state);
        self.wake.notify_one();
        self.room.notify_waiters();
        Ok(attachment)
    }

    /// A connection has ended; returns whether the session is without one now.
    pub(super) fn detach(&self, attachment: &Attachment) -> bool {
        let mut state = self.lock();
        let is_this = |attached: &Attachment| attached.number == attachment.number;
        if !state.attached.as_ref().is_some_and(is_this) {
            return false;
        }
        state.attached = None;
        state.deserted = Some(self.reports.desertion());
        true
    }

    /// How it stands when there is no room for all sessions' reports; `None` if it keeps none.
    pub(super) fn standing(&self) -> Option<Standing> {
        let state = self.lock();
        let bytes = state.log.bytes();
        // One that is ending has nobody who could read.
        let left = || self.reports.desertion();
        let deserted = state.deserted.or_else(|| state.attached.is_none().then(left));
        (bytes > 0).then_some(Standing { deserted, bytes })
    }

    /// Drops reports, for there is no room for all sessions': all of them if nobody is connected, else those that were
    /// sent. A reader of whom nothing has been sent yet does not read, and is disconnected.
    pub(super) fn give_way(&self) {
        let mut state = self.lock();
        let is_read = state.attached.is_some();
        if !is_read || !state.log.drop_sent() {
            if let Some(attached) = &state.attached {
                attached.end(Some(STREAM_STALLED.because(
                    "there is no room for the reports of all sessions, and yours keeps the most: list your orders and \
                     jobs when you resume",
                )));
            }
            state.log.drop_all();
        }
        drop(state);
        self.room.notify_waiters();
    }

    /// Whether nobody has connected since `attachment` was.
    pub(super) fn is_deserted_since(&self, attachment: &Attachment) -> bool {
        let state = self.lock();
        state.attached.is_none() && state.connections == attachment.number
    }

    /// Where a client goes on who was sent all that was handed out.
    pub(super) fn resume_token(&self) -> wire::ResumeSession {
        wire::ResumeSession {
            session_id: self.id.to_string(),
            next_report: self.lock().log.resume_at(),
        }
    }

    /// The client has received reports.
    pub(super) fn received(&self, through: u64) -> Result<(), super::report_log::NeverSent> {
        self.lock().log.received(through)
    }

    /// What is to be sent next over a connection.
    pub(super) fn outgoing(&self, attachment: &Attachment) -> Outgoing {
        let mut state = self.lock();
        let is_this = |attached: &Attachment| attached.number == attachment.number;
        // What gave way is not passed over: a connection that is to end is sent nothing of what came after.
        if !state.attached.as_ref().is_some_and(is_this) || attachment.end.is_cancelled() {
            return Outgoing::Nothing;
        }
        let reports = state.log.take(REPORTS_PER_MESSAGE_MAX);
        if !reports.is_empty() {
            drop(state);
            self.room.notify_waiters();
            return Outgoing::Reports(reports);
        }
        if state.phase == Phase::Stopping && state.orders.is_empty() {
            return Outgoing::End(STOPPING.because("the exchange is stopping; all your orders have ended"));
        }
        Outgoing::Nothing
    }

    /// Waits until there may be something to send.
    pub(super) async fn awake(&self) {
        self.wake.notified().await;
    }

    /// Waits until there is room for a job's output.
    pub(super) async fn has_room_for_output(&self) {
        self.has_room(OUTPUT_WAITS_AT).await;
    }

    /// Waits until there is room for what commands bring.
    pub(super) async fn has_room_for_commands(&self) {
        self.has_room(COMMANDS_WAIT_AT).await;
    }

    async fn has_room(&self, bound: Backlog) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Registered before the look, so that room which is made in between is heard of.
            room.as_mut().enable();
            if !self.lock().log.backlog().reaches(bound) {
                return;
            }
            room.await;
        }
    }

    /// Waits until the session has ended.
    pub(super) async fn is_over(&self) {
        self.over.cancelled().await;
    }

    /// Whether new orders are taken.
    pub(super) fn takes_orders(state: &State) -> bool {
        state.phase == Phase::Open && state.orders.count() < ORDERS_MAX
    }

    /// Takes no new orders: the exchange stops.
    pub(super) fn begin_stop(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Stopping;
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Ends the session: whoever carries its jobs lets go of them. Returns whether it was not ending already.
    pub(super) fn close(&self) -> bool {
        let mut state = self.lock();
        match state.phase {
            Phase::Open | Phase::Stopping => state.phase = Phase::Closing,
            Phase::Closing | Phase::Closed => return false,
        }
        state.orders.pull_placings();
        if let Some(attached) = state.attached.take() {
            attached.end(None);
        }
        drop(state);
        self.over.cancel();
        true
    }

    /// Whether the engine is to be told that the session has ended: once, when nothing of it is left.
    pub(super) fn take_end(&self, state: &mut State) -> bool {
        let is_due = state.phase == Phase::Closing && state.orders.is_empty();
        if is_due {
            state.phase = Phase::Closed;
        }
        is_due
    }

    /// The engine has ended the session.
    pub(super) fn lost(&self) {
        let mut state = self.lock();
        if state.phase != Phase::Stopping {
            state.phase = Phase::Closed;
        }
        drop(state);
        self.wake.notify_one();
    }
}

/// Why nobody can connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttachError {
    Over,
    Rewind(RewindError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::errors::AT_CAPACITY;

    fn session() -> Session {
        let room = Arc::new(ReportRoom::new(usize::MAX));
        Session::new(SessionId::new(1), AccountId::new(1), OnDisconnect::Cancel, room)
    }

    fn tell(session: &Session, count: u64) {
        for _ in 0..count {
            let report = Body::CancelledAll(wire::CancelAllReport::default());
            session.report(&mut session.lock(), Timestamp::ZERO, 0, report);
        }
    }

    #[tokio::test]
    async fn a_reader_who_is_too_far_behind_is_disconnected_and_his_reports_are_kept() {
        let session = session();
        let attachment = session.attach(None).unwrap();
        tell(&session, crate::order_entry::report_log::UNSENT_MAX.reports);
        assert!(!attachment.end.is_cancelled());
        tell(&session, 1);
        assert_eq!(attachment.ended().await.unwrap().kind, STREAM_STALLED);
        assert_eq!(session.resume_token().next_report, 1);
        assert!(session.detach(&attachment));
        let attachment = session.attach(Some(1)).unwrap();
        let Outgoing::Reports(reports) = session.outgoing(&attachment) else {
            panic!("nothing was kept")
        };
        assert_eq!(reports[0].sequence, 1);
    }

    #[tokio::test]
    async fn a_connection_that_was_replaced_sends_nothing_and_detaches_nobody() {
        let session = session();
        let first = session.attach(None).unwrap();
        let second = session.attach(None).unwrap();
        tell(&session, 1);
        assert!(matches!(session.outgoing(&first), Outgoing::Nothing));
        assert_eq!(first.ended().await.unwrap().kind, RESUMED_ELSEWHERE);
        assert!(!session.detach(&first));
        assert!(!session.is_deserted_since(&first));
        assert!(session.detach(&second));
        assert!(session.is_deserted_since(&second));
    }

    /// Has an ask rest in a session; its order.
    fn rest_an_ask(session: &Session) -> OrderId {
        let ask = matcher::PlaceAsk {
            island: domain::IslandId::new(1),
            session: SessionId::new(2),
            client_order_id: domain::ClientOrderId::new(3),
            instrument: domain::InstrumentId::new(0),
            price: domain::Price::MIN,
            jobs: domain::Jobs::ONE,
            time_in_force: domain::TimeInForce::Gtc,
            post_only: matcher::PostOnly::No,
            self_trade: domain::SelfTradeMode::Skip,
        };
        let accepted = matcher::AskAccepted {
            order: OrderId::new(4),
            island: ask.island,
            account: session.account,
            session: ask.session,
            client_order_id: ask.client_order_id,
            cell: matcher::CellKey {
                instrument: ask.instrument,
                region: domain::Region::new(0).unwrap(),
                tier: domain::Tier::Phone,
                band: domain::KarmaBand::B,
            },
            price: ask.price,
            jobs: ask.jobs,
            time_in_force: ask.time_in_force,
        };
        let state = &mut session.lock();
        state.orders.place(crate::order_entry::orders::Placing {
            reference: 1,
            body: crate::order_entry::orders::Body::Ask(ask),
            shown_id: "a".to_owned(),
            model: "m".to_owned(),
            terms: wire::OrderTerms::default(),
        });
        let cell = proto::types::v1::Cell::default();
        state.orders.ask_accepted(&accepted, &ask, cell).unwrap();
        accepted.order
    }

    #[test]
    fn a_cancel_that_the_engine_never_hears_of_is_answered_once() {
        let session = session();
        let order = rest_an_ask(&session);
        let attachment = session.attach(None).unwrap();
        let busy = AT_CAPACITY.because("too many cancels wait");
        for reference in [5, 6] {
            session.lock().orders.asked(order, Then::Cancel { reference });
        }
        session.cancel_refused(order, 5, &busy);
        session.cancel_refused(order, 5, &busy);
        session.cancel_refused(OrderId::new(9), 6, &busy);
        let Outgoing::Reports(reports) = session.outgoing(&attachment) else {
            panic!("nothing was answered")
        };
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].reference, 5);
        let Some(Body::Refused(refused)) = &reports[0].report else {
            panic!("{reports:?}")
        };
        assert_eq!((refused.code.as_str(), refused.may_retry), ("AT_CAPACITY", true));
        let (reference, _) = session.lock().orders.only_stopping(order).unwrap();
        assert_eq!(reference, 6, "the other cancel still waits for its own answer");
    }

    #[test]
    fn a_session_ends_once_and_then_nobody_connects() {
        let session = session();
        assert!(session.close());
        assert!(!session.close());
        assert_eq!(session.attach(None).unwrap_err(), AttachError::Over);
        let state = &mut session.lock();
        assert!(session.take_end(state));
        assert!(!session.take_end(state));
    }
}
