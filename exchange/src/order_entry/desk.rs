//! All sessions, what their commands wait for, and the Islands whose owners may quote.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{AccountId, ClientOrderId, IslandId, OrderId, Sequence, SessionId};
use matcher::{Amend, Cancel, CancelAll, CancelScope, Command, EndReason, LoseSessions, PlaceAsk};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::orders::{Reference, Then};
use super::report_room::ReportRoom;
use super::session::{AttachError, Attachment, OnDisconnect, Session};
use super::{SESSIONS_MAX, SESSIONS_PER_ACCOUNT_MAX, SessionBounds, now};
use crate::gateway::errors::{
    AT_CAPACITY, INVALID_ARGUMENT, REPORTS_GONE, Refusal, SESSION_ENDED, STOPPING, TOO_MANY_SESSIONS,
};
use crate::leasing::{CancelRefused, LeasingClosed, LeasingHandle};
use crate::names::Names;
use crate::order_entry::report_log::RewindError;
use crate::sequencer::SequencerHandle;

/// What all sessions share.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) names: Arc<Names>,
    pub(super) leasing: LeasingHandle,
    pub(super) resume_within: Duration,
    /// How far the engine's events have been followed.
    pub(super) followed: watch::Sender<Sequence>,
    pub(super) tasks: TaskTracker,
    sequencer: SequencerHandle,
    stopping: CancellationToken,
    /// One is opened at a time, so that they are counted right.
    opening: tokio::sync::Mutex<()>,
    sessions: Mutex<HashMap<SessionId, Arc<Session>>>,
    asks: Mutex<HashMap<(IslandId, ClientOrderId), Expected>>,
    mass_cancels: Mutex<VecDeque<MassCancel>>,
    islands: Mutex<HashMap<IslandId, Islander>>,
    reports: Arc<ReportRoom>,
}

/// Asks of one name on their way, with the sessions that sent them: the same may be sent twice.
type Expected = VecDeque<(PlaceAsk, Arc<Session>)>;

/// An Island with a live session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Islander {
    pub(super) owner: AccountId,
    pub(super) session: SessionId,
}

/// A mass cancel on its way.
#[derive(Debug)]
pub(super) struct MassCancel {
    command: CancelAll,
    pub(super) session: Arc<Session>,
    pub(super) reference: Reference,
    /// The session's asks that are cancelled one by one, for they belong to the agents' sessions.
    asks: BTreeSet<OrderId>,
    /// How many of them were.
    pub(super) cancelled: u32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each is only touched between two steps of this file's code, so a poisoned lock still holds whole values.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    pub(super) fn new(
        sequencer: SequencerHandle,
        leasing: LeasingHandle,
        names: Arc<Names>,
        bounds: SessionBounds,
    ) -> Self {
        Self {
            names,
            leasing,
            resume_within: bounds.resume_within,
            reports: Arc::new(ReportRoom::new(bounds.report_bytes_max)),
            followed: watch::Sender::new(Sequence::default()),
            tasks: TaskTracker::new(),
            sequencer,
            stopping: CancellationToken::new(),
            opening: tokio::sync::Mutex::default(),
            sessions: Mutex::default(),
            asks: Mutex::default(),
            mass_cancels: Mutex::default(),
            islands: Mutex::default(),
        }
    }

    /// Opens a session and connects its first client.
    pub(super) async fn open(
        &self,
        account: AccountId,
        on_disconnect: OnDisconnect,
    ) -> Result<(Arc<Session>, Attachment), Refusal> {
        let _turn = self.opening.lock().await;
        if self.is_stopping() {
            return Err(STOPPING.because("the exchange is stopping and opens no sessions"));
        }
        let (own, all) = {
            let sessions = lock(&self.sessions);
            let own = sessions.values().filter(|session| session.account == account);
            (own.count(), sessions.len())
        };
        if own >= SESSIONS_PER_ACCOUNT_MAX || all >= SESSIONS_MAX {
            return Err(TOO_MANY_SESSIONS.because(format!(
                "an account may have {SESSIONS_PER_ACCOUNT_MAX} order-entry sessions, and all together \
                 {SESSIONS_MAX}; resume one, or wait until one that was cut has ended"
            )));
        }
        let opened = self.sequencer.apply(Command::OpenSession).await?;
        let id = SessionId::of_sequence(opened.sequence);
        let session = Arc::new(Session::new(
            id,
            account,
            on_disconnect,
            Arc::clone(&self.reports),
        ));
        let attachment = session.attach(None).map_err(of_attach)?;
        lock(&self.sessions).insert(id, Arc::clone(&session));
        Ok((session, attachment))
    }

    /// Connects a client to a session that he has. Another account's does not exist for him.
    pub(super) fn resume(
        &self,
        account: AccountId,
        id: SessionId,
        next_report: u64,
    ) -> Result<(Arc<Session>, Attachment), Refusal> {
        let session = self.session(id).filter(|session| session.account == account);
        let session = session.ok_or_else(ended)?;
        let attachment = session.attach(Some(next_report)).map_err(of_attach)?;
        Ok((session, attachment))
    }

    /// Waits until more reports are kept than there is room for.
    pub(super) async fn reports_exceed(&self) {
        self.reports.exceeded().await;
    }

    /// Has sessions give way, until there is room for the reports that are kept.
    pub(super) fn make_room(&self) {
        let sessions: Vec<Arc<Session>> = lock(&self.sessions).values().cloned().collect();
        while self.reports.is_exceeded() {
            let standing = |session: &Arc<Session>| Some((session.standing()?, Arc::clone(session)));
            let all = sessions.iter().filter_map(standing);
            let Some((standing, session)) = all.min_by_key(|(standing, _)| standing.turn()) else {
                return;
            };
            tracing::info!(
                session = %session.id,
                bytes = standing.bytes,
                "reports give way: all sessions together keep more than there is room for"
            );
            session.give_way();
        }
    }

    pub(super) fn session(&self, id: SessionId) -> Option<Arc<Session>> {
        lock(&self.sessions).get(&id).cloned()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// A session's connection was lost: what rests is cancelled unless it is to stay, and the session ends unless it is
    /// resumed in time. A stopping exchange does not wait for that: nobody reads what the session's jobs still write, so
    /// they would hold up the stop until its deadline.
    pub(super) fn deserted(self: &Arc<Self>, session: Arc<Session>, attachment: Attachment) {
        let desk = Arc::clone(self);
        self.tasks.spawn(async move {
            if session.on_disconnect == OnDisconnect::Cancel {
                // Only a stopping exchange refuses, and it ends all orders itself.
                desk.cancel_resting(&session, None).await.ok();
            }
            tokio::select! {
                () = tokio::time::sleep(desk.resume_within) => {}
                () = desk.stopping.cancelled() => {}
            }
            if session.is_deserted_since(&attachment) {
                desk.end(&session).await;
            }
        });
    }

    /// Ends a session: its orders are cancelled, its jobs stopped.
    async fn end(self: &Arc<Self>, session: &Arc<Session>) {
        if !session.close() {
            return;
        }
        tracing::debug!(session = %session.id, "an order-entry session was not resumed in time and ends");
        self.cancel_resting(session, None).await.ok();
        let is_due = session.take_end(&mut session.lock());
        if is_due {
            self.lose(session.id);
        }
    }

    /// Tells the engine that a session is over.
    pub(super) fn lose(self: &Arc<Self>, session: SessionId) {
        let desk = Arc::clone(self);
        self.tasks.spawn(async move {
            let command = Command::LoseSessions(LoseSessions::One(session));
            desk.leasing.enter(command).await.ok();
        });
    }

    /// The engine has ended a session.
    pub(super) fn lost(&self, id: SessionId) {
        let session = lock(&self.sessions).remove(&id);
        if let Some(session) = session {
            session.lost();
        }
        lock(&self.islands).retain(|_, islander| islander.session != id);
    }

    /// Sends a cancel or an amend of an order on its way.
    pub(super) async fn tell_engine(
        &self,
        session: &Arc<Session>,
        order: OrderId,
        then: Then,
    ) -> Result<(), LeasingClosed> {
        {
            let mut state = session.lock();
            if !state.orders.contains(order) {
                session.refuse_too_late(&mut state, now(), then.reference());
                return Ok(());
            }
            state.orders.asked(order, then);
        }
        let account = session.account;
        match then {
            // What comes of it is read from the engine's events.
            Then::Cancel { reference } => {
                let asking = Arc::clone(session);
                let busy = move |refused: CancelRefused| {
                    asking.cancel_refused(order, reference, &AT_CAPACITY.because(refused.to_string()));
                };
                self.leasing.begin_cancel(account, order, busy).await
            }
            Then::Pull => {
                self.leasing
                    .enter(Command::Cancel(Cancel { account, order }))
                    .await
            }
            Then::Amend { leaves, .. } => {
                let amend = Amend {
                    account,
                    order,
                    leaves,
                };
                self.leasing.enter(Command::Amend(amend)).await
            }
        }
    }

    /// Does what waited for an order to be there.
    pub(super) fn follow_up(self: &Arc<Self>, session: &Arc<Session>, order: OrderId, then: Vec<Then>) {
        if then.is_empty() {
            return;
        }
        let (desk, session) = (Arc::clone(self), Arc::clone(session));
        self.tasks.spawn(async move {
            for then in then {
                if desk.tell_engine(&session, order, then).await.is_err() {
                    return;
                }
            }
        });
    }

    /// Cancels what rests of a session: its bids in one command, its asks one by one, what is on its way when it is
    /// there. Jobs that run go on.
    pub(super) async fn cancel_resting(
        &self,
        session: &Arc<Session>,
        reference: Option<Reference>,
    ) -> Result<(), LeasingClosed> {
        let command = CancelAll {
            account: session.account,
            scope: CancelScope::Session(session.id),
        };
        let asks = {
            let mut state = session.lock();
            state.orders.pull_placings();
            state.orders.resting_asks(None)
        };
        if let Some(reference) = reference {
            self.expect_mass_cancel(command, session, reference, asks.iter().copied());
        }
        self.cancel_asks(session, asks).await?;
        self.leasing.enter(Command::CancelAll(command)).await
    }

    pub(super) async fn cancel_asks(
        &self,
        session: &Session,
        asks: Vec<OrderId>,
    ) -> Result<(), LeasingClosed> {
        let account = session.account;
        for order in asks {
            self.leasing
                .enter(Command::Cancel(Cancel { account, order }))
                .await?;
        }
        Ok(())
    }

    /// Cancels orders of a session's account, whoever entered them.
    pub(super) async fn cancel_account(
        &self,
        session: &Arc<Session>,
        reference: Reference,
        scope: CancelScope,
    ) -> Result<(), LeasingClosed> {
        let account = session.account;
        let command = CancelAll { account, scope };
        self.expect_mass_cancel(command, session, reference, []);
        self.leasing.enter(Command::CancelAll(command)).await
    }

    fn expect_mass_cancel(
        &self,
        command: CancelAll,
        session: &Arc<Session>,
        reference: Reference,
        asks: impl IntoIterator<Item = OrderId>,
    ) {
        lock(&self.mass_cancels).push_back(MassCancel {
            command,
            session: Arc::clone(session),
            reference,
            asks: asks.into_iter().collect(),
            cancelled: 0,
        });
    }

    /// The mass cancel that the engine has carried out, if a session asked for it.
    pub(super) fn take_mass_cancel(&self, command: &CancelAll) -> Option<MassCancel> {
        let mut all = lock(&self.mass_cancels);
        let index = all.iter().position(|mass| mass.command == *command)?;
        all.remove(index)
    }

    /// An ask was cancelled: it counts for the mass cancel that it belongs to.
    pub(super) fn ask_cancelled(&self, order: OrderId) {
        for mass in lock(&self.mass_cancels).iter_mut() {
            if mass.asks.remove(&order) {
                mass.cancelled = mass.cancelled.saturating_add(1);
                return;
            }
        }
    }

    /// Cancels a session's asks when its dead-man switch has fired; the bids were the engine's to cancel.
    pub(super) fn dead_man_fired(self: &Arc<Self>, session: &Arc<Session>) {
        let asks = {
            let mut state = session.lock();
            state.orders.pull_placings();
            state.orders.resting_asks(Some(EndReason::DeadMan))
        };
        let (desk, session) = (Arc::clone(self), Arc::clone(session));
        self.tasks
            .spawn(async move { desk.cancel_asks(&session, asks).await.ok() });
    }

    /// An owner's ask is about to be sent.
    pub(super) fn expect_ask(&self, ask: PlaceAsk, session: &Arc<Session>) {
        let key = (ask.island, ask.client_order_id);
        let entry = (ask, Arc::clone(session));
        lock(&self.asks).entry(key).or_default().push_back(entry);
    }

    /// Whose ask the engine has answered.
    pub(super) fn take_ask(&self, ask: &PlaceAsk) -> Option<Arc<Session>> {
        let key = (ask.island, ask.client_order_id);
        let mut asks = lock(&self.asks);
        let waiting = asks.get_mut(&key)?;
        let index = waiting.iter().position(|(expected, _)| expected == ask)?;
        let (_, session) = waiting.remove(index)?;
        if waiting.is_empty() {
            asks.remove(&key);
        }
        Some(session)
    }

    pub(super) fn island_joined(&self, island: IslandId, islander: Islander) {
        lock(&self.islands).insert(island, islander);
    }

    /// An Island of that account with a live session.
    pub(super) fn island(&self, island: IslandId, owner: AccountId) -> Option<Islander> {
        lock(&self.islands)
            .get(&island)
            .copied()
            .filter(|islander| islander.owner == owner)
    }

    pub(super) async fn begin_stop(&self) {
        self.stopping.cancel();
        // One that is being opened is there now, or will not be.
        drop(self.opening.lock().await);
        let sessions: Vec<Arc<Session>> = lock(&self.sessions).values().cloned().collect();
        for session in sessions {
            session.begin_stop();
            if self.cancel_resting(&session, None).await.is_err() {
                return;
            }
        }
    }
}

fn ended() -> Refusal {
    SESSION_ENDED.because(
        "there is no such session of yours, or it has ended: open a new one, and list your orders and jobs",
    )
}

fn of_attach(error: AttachError) -> Refusal {
    match error {
        AttachError::Over => ended(),
        AttachError::Rewind(RewindError::Gone(gone)) => REPORTS_GONE
            .because(format!(
                "reports before {} are not kept any more{}: list your orders and jobs, then resume from there",
                gone.first_kept,
                if gone.gave_way {
                    ", for all sessions together had more than there is room for"
                } else {
                    ""
                }
            ))
            .at("resume.next_report"),
        AttachError::Rewind(RewindError::NeverSent) => INVALID_ARGUMENT
            .because("is no report of this session: they count from 1")
            .at("resume.next_report"),
    }
}
