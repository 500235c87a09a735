//! One agent's session, from its proof to its goodbye.

mod jobs;
mod measuring;
mod quotes;

use std::collections::BTreeMap;
use std::time::Duration;

use dispatch::RevokeReason;
use domain::{InstrumentId, LeaseId, SessionId, Timestamp};
use matcher::Command;
use proto::agent::v1::{Heartbeat, SessionRequest};
use proto::convert::agent::{AgentMessage, LeaseRef, agent_message_from_wire};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::Shared;
use super::asks::Asks;
use super::handshake::{Greeting, HandshakeError, greet};
use super::wire::{ComeBack, Gone, HEARTBEAT_MS, Wire};
use crate::leasing::agents::{AgentInput, OUTBOX_MAX, ToAgent};
use crate::receipts::Expected;
use measuring::Measuring;
use quotes::forward;

/// Commands of one session that wait for the sequencer.
const COMMANDS_MAX: usize = 256;

/// Signs of life are handed on this often at most.
const HEARD_EVERY: Duration = Duration::from_millis(200);

/// Why a session ends.
#[derive(Debug)]
enum End {
    /// The agent closed the stream, or does not read it.
    Gone,
    /// With a last word.
    Goodbye(String, ComeBack),
}

impl End {
    fn stopping() -> Self {
        Self::Goodbye("the exchange is stopping".to_owned(), ComeBack::Soon)
    }
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
    measuring: Measuring,
    ping: Option<(u64, Timestamp)>,
    pings: u64,
    round_trip: Option<Duration>,
    heard_at: Timestamp,
}

/// Serves one agent until it goes or has to go.
pub(super) async fn run(shared: &Shared, mut inbound: Streaming<SessionRequest>, wire: Wire) {
    let greeted = tokio::select! {
        greeted = greet(shared, &mut inbound, &wire) => greeted,
        () = shared.parts.shutdown.triggered() => Err(HandshakeError::Stopping),
    };
    let greeting = match greeted {
        Ok(greeting) => greeting,
        Err(HandshakeError::Gone) => return,
        Err(error) => {
            tracing::info!(%error, "an agent was not let in");
            wire.goodbye(error.to_string(), error.come_back());
            return;
        }
    };
    let island = greeting.enrolment.island;
    let joined = match shared.live.join(&shared.parts.sequencer, &greeting).await {
        Ok(joined) => joined,
        Err(error) => {
            tracing::warn!(%island, %error, "an Island could not join");
            wire.goodbye(error.to_string(), ComeBack::Soon);
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
            measuring: Measuring::default(),
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
                () = alarm => self.measure().await,
                () = ends.superseded.cancelled() => Err(superseded()),
                () = ends.ended.cancelled() => Err(self.last_word(&ends, &mut outbox)),
                () = shutdown.triggered() => Err(End::stopping()),
            };
        }
        if let Err(End::Goodbye(reason, come_back)) = step {
            tracing::info!(session = %self.session, reason, "an agent's session was ended");
            self.wire.goodbye(reason, come_back);
        }
    }

    fn now(&self) -> Timestamp {
        self.shared.parts.clock.now()
    }

    async fn open(&mut self) -> Result<(), End> {
        self.wire.welcome(self.session)?;
        self.beat()?;
        self.begin_measuring().await
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
            AgentMessage::SlotFree(lease) => self.slot_free(lease).await,
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
        Err(End::stopping())
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
            ToAgent::End(reason) => return Err(End::Goodbye(reason.to_owned(), ComeBack::Soon)),
        }
        Ok(())
    }

    /// Why leasing knows a session no more: what it said last, or that nothing could be said.
    fn last_word(&self, ends: &Ends, outbox: &mut mpsc::Receiver<ToAgent>) -> End {
        if ends.superseded.is_cancelled() {
            return superseded();
        }
        while let Ok(message) = outbox.try_recv() {
            if let ToAgent::End(reason) = message {
                return End::Goodbye(reason.to_owned(), ComeBack::Soon);
            }
        }
        if self.shared.is_closed() {
            return End::stopping();
        }
        End::Goodbye(
            "this session was lost: its messages were not read, or the engine ended it".to_owned(),
            ComeBack::Soon,
        )
    }
}

/// Two machines with one key would push each other out for ever if the older came back by itself.
fn superseded() -> End {
    End::Goodbye(
        "a newer session of this Island took over".to_owned(),
        ComeBack::Never,
    )
}

/// A breach of the protocol: the session ends, and the agent may come back when it has been mended.
fn violation(problem: &dyn std::fmt::Display) -> End {
    End::Goodbye(format!("protocol: {problem}"), ComeBack::Soon)
}
