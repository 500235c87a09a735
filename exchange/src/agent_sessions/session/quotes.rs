//! The asks of one Island: what the agent posts, cancels and pulls.

use domain::{OrderId, Timestamp};
use matcher::{Cancel, CancelAll, CancelScope, Command, Event, PlaceAsk, PostOnly};
use proto::convert::agent::PostAsk;
use tokio::sync::mpsc;

use super::{End, Session};
use crate::agent_sessions::asks::{AskRefusal, refused_ask, refused_order};
use crate::agent_sessions::wire::ComeBack;
use crate::leasing::agents::{AskUpdate, ToAgent};

/// Brings a session's commands to the sequencer, in order and one at a time.
pub(super) async fn forward(
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
    pub(super) fn post_ask(&mut self, ask: &PostAsk, now: Timestamp) -> Result<(), End> {
        let instrument = self.shared.parts.registry.find(&ask.model);
        let (client_order_id, instrument) = match self.asks.post(ask, instrument, now) {
            Ok(named) => named,
            Err(refusal) => return Ok(self.wire.ask(refused_ask(ask, refusal))?),
        };
        if !self.shared.parts.sequencer.has_space() {
            // What is left of the journal is for jobs that run and orders that end.
            self.asks.withdraw(client_order_id);
            return Ok(self.wire.ask(refused_ask(ask, AskRefusal::StorageFull))?);
        }
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

    pub(super) fn cancel_ask(&mut self, order: OrderId, now: Timestamp) -> Result<(), End> {
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
    pub(super) fn drain(&mut self) -> Result<(), End> {
        let command = Command::CancelAll(CancelAll {
            account: self.greeting.enrolment.owner,
            scope: CancelScope::Island(self.greeting.enrolment.island),
        });
        tracing::info!(session = %self.session, "an Island drains");
        self.commands
            .try_send(command)
            .map_err(|_| End::Goodbye("too many asks wait for the book".to_owned(), ComeBack::Soon))
    }
}
