//! The task that owns the dispatcher: it waits for whatever comes first and never for the sequencer.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use dispatch::{Dispatcher, Input};
use domain::{AccountId, CancelCause, ClientOrderId, JobId, LeaseId, OrderId, SessionId, Timestamp, Units};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use matcher::{Cancel, Command, LoseSessions, RejectReason, Rejected};
use service::shutdown::Shutdown;
use tokio::sync::mpsc;

use super::agents::{Agent, AgentInput, ToAgent};
use super::cancels::PendingCancels;
use super::entered::EnteredAsks;
use super::job::{JobEvent, JobSubmission, JobView};
use super::outlet::{Departures, Outlet, SubmissionId};
use super::state::{History, Order, Pending};
use super::{LeasingParts, Request};
use crate::halts::Halts;
use crate::receipts::ExchangeKey;
use crate::registry::Registry;
use crate::sequencer::{Clock, SequencerClosed, SequencerHandle, Subscription};

/// Orders that are live or on their way at once; a submission beyond it is refused as too many. Each holds its prompts.
pub(super) const ORDERS_MAX: usize = 65_536;

/// Commands that are with the sequencer at once: as many as share a sync.
const COMMANDS_IN_FLIGHT_MAX: usize = 256;

/// Commands that wait before consumers' requests have to wait too. What Islands do is bounded by their slots, so
/// their commands are always taken.
const COMMANDS_WAITING_MAX: usize = 4_096;

/// Agents' messages that are read before time is looked at: after a pause of this process nobody is taken for silent
/// whose message is already here.
const INPUTS_BEFORE_TIMERS: usize = 8_192;

/// Jobs in flight. Runs until it is told to stop, every handle is gone, or the sequencer has stopped.
#[derive(Debug)]
pub struct Leasing {
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) inputs: mpsc::Receiver<AgentInput>,
    pub(super) departures: Arc<Departures>,
    pub(super) subscription: Subscription,
    pub(super) state: State,
}

/// All that the task owns but what it waits for.
#[derive(Debug)]
pub(super) struct State {
    pub(super) dispatcher: Dispatcher,
    pub(super) registry: Registry,
    pub(super) key: Arc<ExchangeKey>,
    pub(super) clock: Clock,
    pub(super) sequencer: SequencerHandle,
    pub(super) commands: VecDeque<Command>,
    /// The last checkpoint of each lease that the journal has not been told of: only the newest matters.
    pub(super) checkpoints: BTreeMap<LeaseId, Units>,
    pub(super) pending: HashMap<(AccountId, ClientOrderId), VecDeque<Pending>>,
    pub(super) pending_count: usize,
    pub(super) orders: BTreeMap<OrderId, Order>,
    pub(super) by_submission: HashMap<SubmissionId, Owner>,
    pub(super) cancels: PendingCancels,
    pub(super) agents: HashMap<SessionId, Agent>,
    pub(super) entered: EnteredAsks,
    /// Which job a lease belongs to, from its grant to the job's end.
    pub(super) leases: HashMap<LeaseId, JobId>,
    pub(super) history: History,
    pub(super) halts: Halts,
    /// The receipt that came with the input which is being handled.
    pub(super) arriving: Option<proto::convert::SignedReceipt>,
    /// Inputs that effects have caused.
    pub(super) caused: VecDeque<Input>,
}

/// Where a submission is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    Pending(AccountId, ClientOrderId),
    Order(OrderId),
}

impl Leasing {
    pub(super) fn new(
        parts: LeasingParts,
        requests: mpsc::Receiver<Request>,
        inputs: mpsc::Receiver<AgentInput>,
        departures: Arc<Departures>,
    ) -> Self {
        Self {
            requests,
            inputs,
            departures,
            subscription: parts.subscription,
            state: State {
                dispatcher: Dispatcher::new(),
                registry: parts.registry,
                key: parts.key,
                clock: parts.clock,
                sequencer: parts.sequencer,
                commands: VecDeque::new(),
                checkpoints: BTreeMap::new(),
                pending: HashMap::new(),
                pending_count: 0,
                orders: BTreeMap::new(),
                by_submission: HashMap::new(),
                cancels: PendingCancels::default(),
                agents: HashMap::new(),
                entered: EnteredAsks::default(),
                leases: HashMap::new(),
                history: History::recalled(parts.ended),
                halts: parts.halts,
                arriving: None,
                caused: VecDeque::new(),
            },
        }
    }

    /// Works until it is told to stop, every handle is gone, or the sequencer has stopped.
    pub async fn run(mut self, shutdown: Shutdown) {
        let sequencer = self.state.sequencer.clone();
        // Only handed over in order; the answers may be looked at in any.
        let mut in_flight = FuturesUnordered::new();
        loop {
            while in_flight.len() < COMMANDS_IN_FLIGHT_MAX
                && self.state.has_command()
                && let Some(place) = sequencer.try_place()
            {
                in_flight.extend(self.state.next_command().map(|command| place.apply(command)));
            }
            let may_hand_over = self.state.has_command() && in_flight.len() < COMMANDS_IN_FLIGHT_MAX;
            let may_ask = self.state.commands.len() < COMMANDS_WAITING_MAX;
            let alarm = alarm(&self.state);
            tokio::select! {
                applied = self.subscription.recv() => match applied {
                    Some(applied) => self.state.applied(&applied),
                    None => break,
                },
                Some(done) = in_flight.next() => if done.is_err() {
                    break;
                },
                place = sequencer.place(), if may_hand_over => match place {
                    Ok(place) => {
                        in_flight.extend(self.state.next_command().map(|command| place.apply(command)));
                    }
                    Err(SequencerClosed) => break,
                },
                Some(input) = self.inputs.recv() => self.state.agent_input(input),
                request = self.requests.recv(), if may_ask => match request {
                    Some(request) => self.state.request(request),
                    None => break,
                },
                gone = self.departures.next() => for submission in gone {
                    self.state.departed(submission);
                },
                () = alarm => self.time_passed(),
                () = shutdown.triggered() => break,
            }
        }
    }

    fn time_passed(&mut self) {
        for _ in 0..INPUTS_BEFORE_TIMERS {
            let Ok(input) = self.inputs.try_recv() else { break };
            self.state.agent_input(input);
        }
        let now = self.state.clock.now();
        self.state.dispatcher.handle_timeout(now);
        self.state.carry_out(now);
    }
}

/// The longest sleep towards a deadline, for the wall clock may be set meanwhile.
const ALARM_SLEEP_MAX: Duration = Duration::from_millis(250);

/// Resolves when the dispatcher wants to look at the time.
fn alarm(state: &State) -> impl Future<Output = ()> + use<> {
    let wait = state.dispatcher.poll_timeout().map(|at| {
        at.since(state.clock.now())
            .clamp(Duration::from_millis(1), ALARM_SLEEP_MAX)
    });
    async move {
        match wait {
            Some(wait) => tokio::time::sleep(wait).await,
            None => std::future::pending().await,
        }
    }
}

impl State {
    fn has_command(&self) -> bool {
        !self.commands.is_empty() || !self.checkpoints.is_empty()
    }

    /// The next command for the sequencer. Checkpoints come last: they only matter if the exchange crashes.
    fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front().or_else(|| {
            let (lease, units) = self.checkpoints.pop_first()?;
            Some(Command::Checkpoint(matcher::Checkpoint { lease, units }))
        })
    }

    /// Gives the dispatcher an input and does what it says, and what follows from that.
    pub(super) fn input(&mut self, input: Input, now: Timestamp) {
        self.dispatcher.handle(input, now);
        self.carry_out(now);
    }

    pub(super) fn request(&mut self, request: Request) {
        match request {
            Request::Submit {
                id,
                submission,
                outlet,
            } => self.submit(id, *submission, outlet),
            Request::CancelOrder {
                account,
                order,
                reply,
            } => {
                if self.cancels.wait(account, order, reply) {
                    self.commands
                        .push_back(Command::Cancel(Cancel { account, order }));
                }
            }
            Request::Enter(command) => {
                if let Command::PlaceAsk(ask) = &*command {
                    self.entered.placing(ask);
                }
                self.commands.push_back(*command);
            }
            Request::ExpectAsk { ask, noted } => {
                self.entered.placing(&ask);
                // Who asked may have gone; his ask is not sent then.
                if noted.send(()).is_err() {
                    self.entered.answered(ask.island, ask.client_order_id);
                }
            }
            Request::ForgetAsk(ask) => {
                self.entered.answered(ask.island, ask.client_order_id);
            }
            Request::StopJob { job, output_tokens } => {
                let now = self.clock.now();
                self.input(Input::Stop { job, output_tokens }, now);
            }
            Request::JobsOf {
                account,
                limit,
                reply,
            } => {
                // Who asked may have gone.
                drop(reply.send(self.jobs_of(account, limit)));
            }
        }
    }

    fn submit(&mut self, id: SubmissionId, submission: JobSubmission, outlet: Outlet) {
        if outlet.is_abandoned() {
            // His departure came before his submission, and found nothing.
            return;
        }
        let JobSubmission { bid, payloads } = submission;
        if let Some(reason) = self.refusal(&bid, &payloads) {
            outlet.push(JobEvent::Rejected(Rejected {
                account: Some(bid.account),
                client_order_id: Some(bid.client_order_id),
                order: None,
                reason,
                alternative: None,
                shortfall: domain::Credits::ZERO,
            }));
            return;
        }
        let key = (bid.account, bid.client_order_id);
        self.by_submission.insert(id, Owner::Pending(key.0, key.1));
        self.commands.push_back(Command::PlaceBid(bid.clone()));
        self.pending_count = self.pending_count.saturating_add(1);
        self.pending.entry(key).or_default().push_back(Pending {
            id,
            bid,
            payloads,
            outlet,
            departed: false,
        });
    }

    /// What is wrong with a submission before the engine sees it.
    fn refusal(&self, bid: &matcher::PlaceBid, payloads: &[super::JobPayload]) -> Option<RejectReason> {
        let Some(instrument) = self.registry.instrument(bid.instrument) else {
            return Some(RejectReason::UnknownInstrument);
        };
        if u32::try_from(payloads.len()) != Ok(bid.jobs.get()) {
            return Some(RejectReason::InvalidQuantity);
        }
        let fits = |payload: &super::JobPayload| {
            let units = instrument
                .input_weight
                .units_of_job(payload.prompt_tokens(), payload.max_tokens);
            payload.max_tokens.get() > 0 && units <= bid.units_max
        };
        if !payloads.iter().all(fits) {
            return Some(RejectReason::InvalidUnits);
        }
        let count = self.orders.len().saturating_add(self.pending_count);
        (count >= ORDERS_MAX).then_some(RejectReason::TooManyOrders)
    }

    /// Whoever submitted has dropped his stream.
    pub(super) fn departed(&mut self, submission: SubmissionId) {
        match self.by_submission.get(&submission).copied() {
            Some(Owner::Pending(account, client_order_id)) => {
                let pending = self.pending.get_mut(&(account, client_order_id));
                let found =
                    pending.and_then(|queue| queue.iter_mut().find(|pending| pending.id == submission));
                if let Some(pending) = found {
                    pending.departed = true;
                }
            }
            Some(Owner::Order(order_id)) => {
                if let Some(order) = self.orders.get_mut(&order_id) {
                    order.departed = true;
                }
                self.cancel_departed(order_id);
            }
            // It had ended, or only followed.
            None => {}
        }
    }

    /// Cancels all that is left of an order whose reader has gone.
    pub(super) fn cancel_departed(&mut self, order_id: OrderId) {
        let Some(order) = self.orders.get(&order_id) else {
            return;
        };
        if order.leaves > 0 {
            self.commands.push_back(Command::Cancel(Cancel {
                account: order.accepted.account,
                order: order_id,
            }));
        }
        self.cancel_jobs(order_id, CancelCause::Departed);
    }

    /// Stops the jobs of an order that have begun; returns how many were told to.
    pub(super) fn cancel_jobs(&mut self, order_id: OrderId, cause: CancelCause) -> u32 {
        let Some(order) = self.orders.get(&order_id) else {
            return 0;
        };
        let jobs: Vec<JobId> = order
            .jobs
            .keys()
            .map(|index| JobId::of_order(order_id, *index))
            .collect();
        let now = self.clock.now();
        let count = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
        for job in jobs {
            self.input(Input::Cancel { job, cause }, now);
        }
        count
    }

    fn jobs_of(&self, account: AccountId, limit: usize) -> Vec<JobView> {
        let live = self
            .orders
            .values()
            .rev()
            .filter(|order| order.accepted.account == account)
            .flat_map(Order::views);
        let mut jobs: Vec<JobView> = live
            .chain(self.history.of_account(account).take(limit).cloned())
            .collect();
        jobs.sort_by_key(|view| std::cmp::Reverse((view.accepted_at, view.job)));
        jobs.truncate(limit);
        jobs
    }

    pub(super) fn agent_input(&mut self, input: AgentInput) {
        let now = self.clock.now();
        match input {
            AgentInput::Joined {
                session,
                island,
                outbox,
                ended,
                reply,
            } => {
                self.agents.insert(
                    session,
                    Agent {
                        island,
                        outbox,
                        measured: BTreeMap::new(),
                        _ended: ended.drop_guard(),
                    },
                );
                self.input(Input::Joined { session }, now);
                // A session that has gone meanwhile sends `Left`.
                let _ = reply.send(());
            }
            AgentInput::Measured {
                session,
                instrument,
                speed,
            } => {
                if let Some(agent) = self.agents.get_mut(&session) {
                    agent.measured.insert(instrument, speed);
                }
            }
            AgentInput::Heard { session } => self.input(Input::Heard { session }, now),
            AgentInput::Left { session } => self.lose_session(session, now),
            AgentInput::Acknowledged(from) => self.input(Input::Acknowledged(from), now),
            AgentInput::Declined(from) => self.input(Input::Declined(from), now),
            AgentInput::Output {
                from,
                first_index,
                ids,
            } => self.input(
                Input::Output {
                    from,
                    first_index,
                    ids,
                },
                now,
            ),
            AgentInput::Checkpoint { from, claim, receipt } => {
                self.arriving = Some(*receipt);
                self.input(Input::Checkpoint { from, claim }, now);
                self.arriving = None;
            }
            AgentInput::Finished { from, reason, claim } => {
                let (claim, receipt) = claim.unzip();
                self.arriving = receipt.map(|receipt| *receipt);
                self.input(Input::Finished { from, reason, claim }, now);
                self.arriving = None;
            }
            AgentInput::SlotFree { session, lease } => self.input(Input::SlotFree { session, lease }, now),
        }
    }

    /// Ends a session here and in the engine, once.
    pub(super) fn lose_session(&mut self, session: SessionId, now: Timestamp) {
        if self.agents.remove(&session).is_none() {
            return;
        }
        self.commands
            .push_back(Command::LoseSessions(LoseSessions::One(session)));
        self.input(Input::SessionLost { session }, now);
    }

    /// Sends to an agent. One that does not read its messages is lost.
    pub(super) fn tell(&mut self, session: SessionId, message: ToAgent) {
        let Some(agent) = self.agents.get(&session) else {
            return;
        };
        if agent.outbox.try_send(message).is_err() {
            tracing::info!(%session, island = %agent.island, "an agent does not read its messages and is lost");
            self.agents.remove(&session);
            self.commands
                .push_back(Command::LoseSessions(LoseSessions::One(session)));
            // The dispatcher is in the middle of its effects: this is its next input.
            self.caused.push_back(Input::SessionLost { session });
        }
    }
}
