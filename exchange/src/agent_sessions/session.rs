//! One agent's session, from its proof to its goodbye.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

use dispatch::{FinishReason, Reply, RevokeReason, SignedClaim};
use domain::{InstrumentId, LeaseId, OrderId, ReceiptKind, SessionId, Tier, TierFloor, Timestamp};
use matcher::{Cancel, CancelAll, CancelScope, Command, Event, PlaceAsk, PostOnly, SetTier};
use proto::agent::v1 as agent_v1;
use proto::agent::v1::{Heartbeat, SessionRequest};
use proto::convert::SignedReceipt;
use proto::convert::agent::{AgentMessage, LeaseRef, PostAsk, agent_message_from_wire};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::Shared;
use super::asks::{AskRefusal, Asks, refused_ask, refused_order};
use super::handshake::{Greeting, HandshakeError, greet};
use super::wire::{Gone, HEARTBEAT_MS, RETRY_SOON_MS, Wire, model_of};
use crate::canary::{Canary, CanaryError};
use crate::leasing::agents::{AgentInput, AskUpdate, Assignment, OUTBOX_MAX, ToAgent};
use crate::receipts::{Expected, verify};

/// Commands of one session that wait for the sequencer.
const COMMANDS_MAX: usize = 256;

/// Leases of one session whose receipts may still come: four times the most slots there can be. One that never comes
/// makes room when this is reached.
const LEASES_MAX: usize = 4 * 1_024;

/// Signs of life are handed on this often at most.
const HEARD_EVERY: Duration = Duration::from_millis(200);

/// Why a session ends.
#[derive(Debug)]
enum End {
    /// The agent closed the stream, or does not read it.
    Gone,
    /// With a last word; come back after so many milliseconds, 0 for never.
    Goodbye(String, u32),
}

impl From<Gone> for End {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

/// How others end a session.
struct Ends {
    /// A newer session of the Island took over.
    superseded: CancellationToken,
    /// Leasing knows it no more.
    ended: CancellationToken,
}

/// A lease that the agent works on.
#[derive(Clone, Copy, Debug)]
struct Work {
    expected: Expected,
    instrument: InstrumentId,
}

/// An open session.
struct Session<'a> {
    shared: &'a Shared,
    wire: Wire,
    greeting: Greeting,
    session: SessionId,
    commands: mpsc::Sender<Command>,
    asks: Asks,
    work: BTreeMap<LeaseId, Work>,
    offers: VecDeque<InstrumentId>,
    canary: Option<Canary>,
    /// What was measured, until all is.
    measured: Vec<(InstrumentId, Tier, TierFloor)>,
    ping: Option<(u64, Timestamp)>,
    pings: u64,
    round_trip: Option<Duration>,
    heard_at: Timestamp,
}

/// Serves one agent until it goes or has to go.
pub(super) async fn run(shared: &Shared, mut inbound: Streaming<SessionRequest>, wire: Wire) {
    let greeted = tokio::select! {
        greeted = greet(shared, &mut inbound, &wire) => greeted,
        () = shared.parts.shutdown.triggered() => return,
    };
    let greeting = match greeted {
        Ok(greeting) => greeting,
        Err(HandshakeError::Gone) => return,
        Err(error) => {
            tracing::info!(%error, "an agent was not let in");
            wire.goodbye(error.to_string(), 0);
            return;
        }
    };
    let island = greeting.enrolment.island;
    let joined = match shared.live.join(&shared.parts.sequencer, &greeting).await {
        Ok(joined) => joined,
        Err(error) => {
            tracing::warn!(%island, %error, "an Island could not join");
            wire.goodbye(error.to_string(), RETRY_SOON_MS);
            return;
        }
    };
    let session = joined.session;
    tracing::info!(
        %island,
        %session,
        region = greeting.hello.region,
        slots = greeting.hello.slots.get(),
        version = greeting.hello.version,
        "an Island joined"
    );
    let (outbox, outbox_in) = mpsc::channel(OUTBOX_MAX);
    let (commands, commands_in) = mpsc::channel(COMMANDS_MAX);
    let forwarding = tokio::spawn(forward(
        shared.parts.sequencer.clone(),
        commands_in,
        outbox.clone(),
    ));
    let (reply, registered) = oneshot::channel();
    let ended = CancellationToken::new();
    let known = shared
        .parts
        .link
        .send(AgentInput::Joined {
            session,
            island,
            outbox,
            ended: ended.clone(),
            reply,
        })
        .await;
    if known && registered.await.is_ok() {
        let now = shared.parts.clock.now();
        let open = Session {
            shared,
            wire,
            greeting,
            session,
            commands,
            asks: Asks::new(session, now),
            work: BTreeMap::new(),
            offers: VecDeque::new(),
            canary: None,
            measured: Vec::new(),
            ping: None,
            pings: 0,
            round_trip: None,
            heard_at: now,
        };
        let superseded = joined.superseded;
        open.serve(inbound, outbox_in, Ends { superseded, ended }).await;
    }
    forwarding.abort();
    // Leasing that has stopped has no lease left to fail over.
    let _ = shared.parts.link.send(AgentInput::Left { session }).await;
    shared.live.leave(&shared.parts.sequencer, island, session).await;
    tracing::info!(%island, %session, "an Island left");
}

/// Brings a session's commands to the sequencer, in order and one at a time.
async fn forward(
    sequencer: crate::sequencer::SequencerHandle,
    mut commands: mpsc::Receiver<Command>,
    outbox: mpsc::Sender<ToAgent>,
) {
    while let Some(command) = commands.recv().await {
        let cancelled = if let Command::Cancel(cancel) = &command {
            Some(cancel.order)
        } else {
            None
        };
        let Ok(applied) = sequencer.apply(command).await else {
            return;
        };
        let Some(order) = cancelled else { continue };
        // What became of an ask comes by the subscription; the refusal of a cancel names no session, and comes here.
        for event in applied.events.iter() {
            if let Event::Rejected(rejected) = event {
                let reason = rejected.reason;
                let update = AskUpdate::CancelRefused { order, reason };
                // A full outbox ends the session elsewhere.
                drop(outbox.try_send(ToAgent::Ask(update)));
            }
        }
    }
}

impl Session<'_> {
    async fn serve(
        mut self,
        mut inbound: Streaming<SessionRequest>,
        mut outbox: mpsc::Receiver<ToAgent>,
        ends: Ends,
    ) {
        let shutdown = self.shared.parts.shutdown.clone();
        let mut ticks = tokio::time::interval(Duration::from_millis(HEARTBEAT_MS.into()));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut step = self.open().await;
        while step.is_ok() {
            let alarm = self.alarm();
            step = tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(message)) => self.message(message).await,
                    Ok(None) | Err(_) => Err(End::Gone),
                },
                Some(message) = outbox.recv() => self.tell(message),
                _ = ticks.tick() => self.beat(),
                () = alarm => self.canary_overdue().await,
                () = ends.superseded.cancelled() => Err(superseded()),
                () = ends.ended.cancelled() => Err(last_word(&ends, &mut outbox)),
                () = shutdown.triggered() => Err(End::Goodbye(
                    "the exchange is stopping".to_owned(),
                    RETRY_SOON_MS,
                )),
            };
        }
        if let Err(End::Goodbye(reason, retry_after_ms)) = step {
            tracing::info!(session = %self.session, reason, "an agent's session was ended");
            self.wire.goodbye(reason, retry_after_ms);
        }
    }

    fn now(&self) -> Timestamp {
        self.shared.parts.clock.now()
    }

    /// Resolves when the canary that runs has had its time.
    fn alarm(&self) -> impl Future<Output = ()> + use<> {
        let now = self.now();
        let wait = self.canary.as_ref().map(|canary| canary.deadline().since(now));
        async move {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        }
    }

    async fn open(&mut self) -> Result<(), End> {
        self.wire.welcome(self.session)?;
        self.beat()?;
        let offers = std::mem::take(&mut self.greeting.hello.offers);
        for offer in offers {
            let registry = &self.shared.parts.registry;
            let found = registry.find(&offer.model);
            let instrument = found.and_then(|id| registry.instrument(id));
            let refusal = match instrument {
                None => "this exchange does not trade this model",
                Some(instrument) if instrument.digest != offer.digest => {
                    "the weights are not the ones that are traded under this name"
                }
                Some(_) => {
                    self.offers.extend(found.filter(|id| !self.offers.contains(id)));
                    continue;
                }
            };
            self.wire.tier(&offer.model, None, 0, refusal.to_owned())?;
        }
        self.next_canary().await
    }

    /// Measures the next offer; when all are measured, puts the tiers in force.
    async fn next_canary(&mut self) -> Result<(), End> {
        while let Some(instrument_id) = self.offers.pop_front() {
            let registry = &self.shared.parts.registry;
            let (Some(instrument), Some(job)) =
                (registry.instrument(instrument_id), registry.canary(instrument_id))
            else {
                continue;
            };
            let number = self.shared.canaries.fetch_add(1, Ordering::Relaxed);
            let key = self.greeting.enrolment.public_key;
            let canary = Canary::new(number, (instrument_id, instrument), job, key, self.now());
            self.wire.canary(&canary, &instrument.model)?;
            self.canary = Some(canary);
            return Ok(());
        }
        for (instrument, tier, speed) in std::mem::take(&mut self.measured) {
            self.assign_tier(instrument, tier, speed).await?;
        }
        Ok(())
    }

    async fn assign_tier(
        &mut self,
        instrument: InstrumentId,
        tier: Tier,
        speed: TierFloor,
    ) -> Result<(), End> {
        let parts = &self.shared.parts;
        let session = self.session;
        let known = parts.link.send(AgentInput::Measured {
            session,
            instrument,
            speed,
        });
        let set = Command::SetTier(SetTier {
            island: self.greeting.enrolment.island,
            instrument,
            tier: Some(tier),
        });
        if !known.await || parts.sequencer.apply(set).await.is_err() {
            return Err(End::Goodbye("the exchange is stopping".to_owned(), RETRY_SOON_MS));
        }
        let model = model_of(&parts.registry, instrument);
        let rate = speed.decode_per_second;
        tracing::info!(%session, model, %tier, decode_per_second = rate, "a tier was assigned");
        let reason = format!("the canary job ran at {rate} tokens/s");
        Ok(self.wire.tier(&model, Some(tier), rate, reason)?)
    }

    async fn canary_overdue(&mut self) -> Result<(), End> {
        let Some(canary) = self.canary.take() else {
            return Ok(());
        };
        let about = LeaseRef {
            lease: canary.lease(),
            epoch: domain::LeaseEpoch::FIRST,
        };
        self.wire
            .revoke(about, "the canary job took too long".to_owned())?;
        let model = model_of(&self.shared.parts.registry, canary.instrument);
        let reason = "the canary job did not end in the time that twice as slow as the slowest tier takes";
        self.wire.tier(&model, None, 0, reason.to_owned())?;
        self.next_canary().await
    }

    /// Pings the agent.
    fn beat(&mut self) -> Result<(), End> {
        self.pings = self.pings.saturating_add(1);
        self.ping = Some((self.pings, self.now()));
        Ok(self.wire.heartbeat(Heartbeat {
            nonce: self.pings,
            echo: false,
        })?)
    }

    async fn message(&mut self, message: SessionRequest) -> Result<(), End> {
        let now = self.now();
        self.heard(now).await;
        let message = agent_message_from_wire(message, now).map_err(|error| violation(&error))?;
        match message {
            AgentMessage::Hello(_) => Err(violation(&"a session has one hello and its proof")),
            AgentMessage::Heartbeat { nonce, echo: false } => {
                Ok(self.wire.heartbeat(Heartbeat { nonce, echo: true })?)
            }
            AgentMessage::Heartbeat { nonce, echo: true } => {
                self.echoed(nonce, now);
                Ok(())
            }
            AgentMessage::PostAsk(ask) => self.post_ask(&ask, now),
            AgentMessage::CancelAsk(order) => self.cancel_ask(order, now),
            AgentMessage::Acknowledge(about) => self.acknowledge(about).await,
            AgentMessage::Decline { about, reason } => self.decline(about, &reason).await,
            AgentMessage::Output {
                about,
                first_index,
                ids,
            } => self.output(about, first_index, ids, now).await,
            AgentMessage::Checkpoint(receipt) => self.checkpoint(receipt).await,
            AgentMessage::Finished {
                about,
                reason,
                receipt,
                error,
            } => self.finished(about, reason, receipt, &error).await,
            AgentMessage::Drain => self.drain(),
            AgentMessage::SlotFree(lease) => {
                self.work.remove(&lease);
                let session = self.session;
                self.pass(AgentInput::SlotFree { session, lease }).await
            }
        }
    }

    async fn heard(&mut self, now: Timestamp) {
        if now.since(self.heard_at) >= HEARD_EVERY {
            self.heard_at = now;
            let session = self.session;
            // Leasing that has stopped takes nobody for silent.
            let _ = self.shared.parts.link.send(AgentInput::Heard { session }).await;
        }
    }

    fn echoed(&mut self, nonce: u64, now: Timestamp) {
        if let Some((number, sent_at)) = self.ping
            && number == nonce
        {
            self.ping = None;
            let round_trip = now.since(sent_at);
            self.round_trip = Some(self.round_trip.map_or(round_trip, |least| least.min(round_trip)));
        }
    }

    async fn pass(&self, input: AgentInput) -> Result<(), End> {
        if self.shared.parts.link.send(input).await {
            return Ok(());
        }
        Err(End::Goodbye("the exchange is stopping".to_owned(), RETRY_SOON_MS))
    }

    fn post_ask(&mut self, ask: &PostAsk, now: Timestamp) -> Result<(), End> {
        let instrument = self.shared.parts.registry.find(&ask.model);
        let (client_order_id, instrument) = match self.asks.post(ask, instrument, now) {
            Ok(named) => named,
            Err(refusal) => return Ok(self.wire.ask(refused_ask(ask, refusal))?),
        };
        let command = Command::PlaceAsk(PlaceAsk {
            island: self.greeting.enrolment.island,
            session: self.session,
            client_order_id,
            instrument,
            price: ask.price,
            jobs: ask.jobs,
            time_in_force: ask.time_in_force,
            post_only: if ask.post_only {
                PostOnly::Yes
            } else {
                PostOnly::No
            },
            self_trade: domain::SelfTradeMode::Skip,
        });
        if self.commands.try_send(command).is_err() {
            self.asks.withdraw(client_order_id);
            self.wire.ask(refused_ask(ask, AskRefusal::Busy))?;
        }
        Ok(())
    }

    fn cancel_ask(&mut self, order: OrderId, now: Timestamp) -> Result<(), End> {
        let refusal = match self.asks.cancel(order, now) {
            Ok(()) => {
                let account = self.greeting.enrolment.owner;
                let command = Command::Cancel(Cancel { account, order });
                if self.commands.try_send(command).is_ok() {
                    return Ok(());
                }
                AskRefusal::Busy
            }
            Err(refusal) => refusal,
        };
        Ok(self.wire.ask(refused_order(order, refusal.code()))?)
    }

    /// Pulls the Island's asks; what runs goes on.
    fn drain(&mut self) -> Result<(), End> {
        let command = Command::CancelAll(CancelAll {
            account: self.greeting.enrolment.owner,
            scope: CancelScope::Island(self.greeting.enrolment.island),
        });
        tracing::info!(session = %self.session, "an Island drains");
        self.commands
            .try_send(command)
            .map_err(|_| End::Goodbye("too many asks wait for the book".to_owned(), RETRY_SOON_MS))
    }

    fn reply(&self, about: LeaseRef) -> Reply {
        Reply {
            session: self.session,
            lease: about.lease,
            epoch: about.epoch,
        }
    }

    /// The canary that a lease is, if it is the one that runs. Late words about an earlier one are dropped.
    fn canary_of(&mut self, lease: LeaseId) -> Option<&mut Canary> {
        self.canary.as_mut().filter(|canary| canary.lease() == lease)
    }

    async fn acknowledge(&mut self, about: LeaseRef) -> Result<(), End> {
        if Canary::is_canary(about.lease) {
            if let Some(canary) = self.canary_of(about.lease) {
                canary.acknowledged();
            }
            return Ok(());
        }
        self.pass(AgentInput::Acknowledged(self.reply(about))).await
    }

    async fn decline(&mut self, about: LeaseRef, reason: &str) -> Result<(), End> {
        tracing::debug!(session = %self.session, lease = %about.lease, reason, "a job was declined");
        if Canary::is_canary(about.lease) {
            return self
                .canary_refused(about.lease, "the canary job was declined")
                .await;
        }
        self.work.remove(&about.lease);
        self.pass(AgentInput::Declined(self.reply(about))).await
    }

    async fn canary_refused(&mut self, lease: LeaseId, why: &str) -> Result<(), End> {
        if self.canary_of(lease).is_none() {
            return Ok(());
        }
        let Some(canary) = self.canary.take() else {
            return Ok(());
        };
        let model = model_of(&self.shared.parts.registry, canary.instrument);
        self.wire.tier(&model, None, 0, why.to_owned())?;
        self.next_canary().await
    }

    async fn output(
        &mut self,
        about: LeaseRef,
        first_index: u32,
        ids: Vec<u32>,
        now: Timestamp,
    ) -> Result<(), End> {
        let canary = self.canary_of(about.lease).map(|canary| canary.instrument);
        let working = self.work.get(&about.lease).map(|work| work.instrument);
        // Of a lease that is not known here no id could be checked, so none is passed on.
        let Some(instrument) = canary.or(working) else {
            return Ok(());
        };
        let registry = &self.shared.parts.registry;
        if let Some(id) = ids.iter().find(|id| !registry.is_token(instrument, **id)) {
            return Err(violation(&format!("the model's tokenizer has no id {id}")));
        }
        if Canary::is_canary(about.lease) {
            if let Some(canary) = self.canary_of(about.lease) {
                canary
                    .output(first_index, &ids, now)
                    .map_err(|error| violation(&error))?;
            }
            return Ok(());
        }
        let from = self.reply(about);
        self.pass(AgentInput::Output {
            from,
            first_index,
            ids,
        })
        .await
    }

    async fn checkpoint(&mut self, receipt: SignedReceipt) -> Result<(), End> {
        let lease = receipt.body.lease;
        if Canary::is_canary(lease) {
            if let Some(canary) = self.canary_of(lease) {
                canary.checkpoint(&receipt).map_err(|error| violation(&error))?;
            }
            return Ok(());
        }
        // What this session was not given, it is not heard about.
        let Some(work) = self.work.get(&lease) else {
            return Ok(());
        };
        let from = Reply {
            session: self.session,
            lease,
            epoch: work.expected.epoch,
        };
        let claim = self.claim(&receipt, ReceiptKind::Checkpoint, &work.expected);
        let receipt = Box::new(receipt);
        self.pass(AgentInput::Checkpoint { from, claim, receipt }).await
    }

    fn claim(&self, receipt: &SignedReceipt, kind: ReceiptKind, expected: &Expected) -> SignedClaim {
        match verify(receipt, kind, expected) {
            Ok(claim) => SignedClaim::Sound(claim),
            Err(error) => {
                let island = self.greeting.enrolment.island;
                tracing::warn!(target: "audit", %island, lease = %expected.lease, %error, "a receipt is not sound");
                SignedClaim::Unsound
            }
        }
    }

    async fn finished(
        &mut self,
        about: LeaseRef,
        reason: agent_v1::FinishReason,
        receipt: Option<SignedReceipt>,
        error: &str,
    ) -> Result<(), End> {
        if reason == agent_v1::FinishReason::Error {
            tracing::debug!(session = %self.session, lease = %about.lease, error, "a job failed on its Island");
        }
        if Canary::is_canary(about.lease) {
            return self.canary_finished(about.lease, reason, receipt.as_ref()).await;
        }
        let Some(work) = self.work.get(&about.lease).copied() else {
            return Ok(());
        };
        let reason = match reason {
            agent_v1::FinishReason::Stop => FinishReason::Stop,
            agent_v1::FinishReason::Length => FinishReason::Length,
            agent_v1::FinishReason::Cancelled => FinishReason::Cancelled,
            agent_v1::FinishReason::Error | agent_v1::FinishReason::Unspecified => FinishReason::Error,
        };
        let claim = receipt.map(|receipt| {
            let claim = self.claim(&receipt, ReceiptKind::Final, &work.expected);
            (claim, Box::new(receipt))
        });
        if about.epoch == work.expected.epoch {
            self.work.remove(&about.lease);
        }
        let from = self.reply(about);
        self.pass(AgentInput::Finished { from, reason, claim }).await
    }

    async fn canary_finished(
        &mut self,
        lease: LeaseId,
        reason: agent_v1::FinishReason,
        receipt: Option<&SignedReceipt>,
    ) -> Result<(), End> {
        if reason == agent_v1::FinishReason::Error {
            return self
                .canary_refused(lease, "the canary job failed on the Island")
                .await;
        }
        if self.canary_of(lease).is_none() {
            return Ok(());
        }
        let Some(canary) = self.canary.take() else {
            return Ok(());
        };
        let registry = &self.shared.parts.registry;
        let Some(instrument) = registry.instrument(canary.instrument) else {
            return self.next_canary().await;
        };
        let round_trip = self.round_trip.unwrap_or_default();
        let tier_max = self.greeting.hello.tier_max;
        let measured = canary
            .finished(receipt, instrument, tier_max, round_trip)
            .map_err(|error: CanaryError| violation(&error))?;
        match measured.tier {
            Some(tier) => self.measured.push((canary.instrument, tier, measured.speed)),
            None => {
                let rate = measured.speed.decode_per_second;
                let least = instrument.floors.of(Tier::Phone).decode_per_second;
                let reason =
                    format!("the canary job ran at {rate} tokens/s; the slowest tier asks for {least}");
                self.wire.tier(&instrument.model, None, rate, reason)?;
            }
        }
        self.next_canary().await
    }

    /// Tells the agent what leasing says.
    fn tell(&mut self, message: ToAgent) -> Result<(), End> {
        match message {
            ToAgent::Assign(assignment) => self.assign(&assignment)?,
            ToAgent::Revoke { lease, epoch, reason } => {
                let reason = match reason {
                    RevokeReason::Cancelled => "the consumer wants no more".to_owned(),
                    RevokeReason::Stopped => "the answer is complete".to_owned(),
                    RevokeReason::Failed(failure) => format!("this Island failed: {failure:?}"),
                };
                self.wire.revoke(LeaseRef { lease, epoch }, reason)?;
            }
            ToAgent::Receipt { lease, outcome } => self.wire.receipt(lease, &outcome)?,
            ToAgent::Ask(update) => {
                if let Some(report) = self.asks.report(update) {
                    self.wire.ask(report)?;
                }
            }
            ToAgent::End(reason) => return Err(End::Goodbye(reason.to_owned(), RETRY_SOON_MS)),
        }
        Ok(())
    }

    fn assign(&mut self, assignment: &Assignment) -> Result<(), End> {
        let registry = &self.shared.parts.registry;
        let Some(instrument) = registry.instrument(assignment.instrument) else {
            return Ok(());
        };
        let mut prompt = assignment.prompt_ids.to_vec();
        prompt.extend_from_slice(&assignment.emitted);
        if self.work.len() >= LEASES_MAX {
            self.work.pop_first();
        }
        let expected = Expected {
            job: assignment.job,
            lease: assignment.lease,
            epoch: assignment.epoch,
            model: instrument.digest,
            prompt: domain::Digest::of_tokens(&prompt),
            prompt_tokens: domain::TokenCount::new(u32::try_from(prompt.len()).unwrap_or(u32::MAX)),
            price: assignment.price,
            public_key: self.greeting.enrolment.public_key,
        };
        self.work.insert(
            assignment.lease,
            Work {
                expected,
                instrument: assignment.instrument,
            },
        );
        Ok(self.wire.assign(assignment, &instrument.model)?)
    }
}

fn superseded() -> End {
    End::Goodbye("a newer session of this Island took over".to_owned(), 0)
}

/// Why leasing knows a session no more: what it said last, or that nothing could be said.
fn last_word(ends: &Ends, outbox: &mut mpsc::Receiver<ToAgent>) -> End {
    if ends.superseded.is_cancelled() {
        return superseded();
    }
    while let Ok(message) = outbox.try_recv() {
        if let ToAgent::End(reason) = message {
            return End::Goodbye(reason.to_owned(), RETRY_SOON_MS);
        }
    }
    End::Goodbye(
        "this session was lost: its messages were not read, or the engine ended it".to_owned(),
        RETRY_SOON_MS,
    )
}

/// A breach of the protocol: the session ends, and the agent may come back when it has been mended.
fn violation(problem: &dyn std::fmt::Display) -> End {
    End::Goodbye(format!("protocol: {problem}"), RETRY_SOON_MS)
}
