//! A client's commands, in their order: each becomes a command of the engine, or a refusal.

use std::sync::Arc;

use domain::{ClientOrderId, Side};
use matcher::{CancelScope, Command, PlaceAsk, PostOnly, SetDeadMan};
use proto::convert::order_entry::{AskRequest, CancelAll, OrderCommand, OrderName, order_command_from_wire};
use proto::convert::{JobRequest, bid_terms_to_wire, side_to_wire, time_in_force_to_wire};
use proto::exchange::v1 as wire;
use proto::exchange::v1::order_command::Command as WireCommand;
use proto::exchange::v1::report::Report as Body;
use service::secret::Secret;

use super::desk::Islander;
use super::orders::{Body as Placed, Placing, Reference, Then, Whereabouts, refusal_to_wire};
use super::session::Session;
use super::{OrderEntry, bids, now};
use crate::gateway::errors::{Refusal, STOPPING, TOO_MANY_ORDERS, UNKNOWN_ISLAND, WRONG_KEY_SCOPE};
use crate::gateway::order::{from_now, name_order};
use crate::identity::Identity;
use crate::leasing::LeasingClosed;

/// The longest part of a name that is shown to whoever sent one that is too long.
const NAME_SHOWN_MAX: usize = 64;

/// Takes one client's commands.
pub(super) struct Intake {
    pub(super) entry: OrderEntry,
    pub(super) session: Arc<Session>,
    pub(super) caller: Identity,
    pub(super) key: Arc<Secret>,
}

/// What an order was called by a client whose command may not be understood.
struct Named {
    side: Side,
    client_order_id: String,
    model: String,
}

impl Named {
    fn of(command: Option<&WireCommand>) -> Option<Self> {
        let shorten = |text: &str| text.chars().take(NAME_SHOWN_MAX).collect();
        match command? {
            WireCommand::PlaceBid(bid) => Some(Self {
                side: Side::Bid,
                client_order_id: shorten(&bid.client_order_id),
                model: shorten(&bid.model),
            }),
            WireCommand::PlaceAsk(ask) => Some(Self {
                side: Side::Ask,
                client_order_id: shorten(&ask.client_order_id),
                model: shorten(&ask.model),
            }),
            WireCommand::Cancel(_)
            | WireCommand::CancelAll(_)
            | WireCommand::Amend(_)
            | WireCommand::DeadMan(_) => None,
        }
    }
}

impl Intake {
    /// Carries out a message's commands, all of them whatever becomes of each; `Err` when the exchange has stopped.
    pub(super) async fn carry_out(&self, commands: Vec<wire::OrderCommand>) -> Result<(), LeasingClosed> {
        for command in commands {
            let reference = command.reference;
            let named = Named::of(command.command.as_ref());
            match order_command_from_wire(command.command, self.entry.gateway.market()) {
                Ok(command) => self.one(reference, command, named).await?,
                Err(error) => self.refuse(reference, named, &Refusal::from(error)),
            }
        }
        Ok(())
    }

    async fn one(
        &self,
        reference: Reference,
        command: OrderCommand,
        named: Option<Named>,
    ) -> Result<(), LeasingClosed> {
        match command {
            OrderCommand::PlaceBid(request) => {
                if let Err(refusal) = self.place_bid(reference, *request).await {
                    self.refuse(reference, named, &refusal);
                }
                Ok(())
            }
            OrderCommand::PlaceAsk(request) => match self.expect_ask(reference, request).await {
                Ok(ask) => self.entry.desk.leasing.enter(Command::PlaceAsk(ask)).await,
                Err(refusal) => {
                    self.refuse(reference, named, &refusal);
                    Ok(())
                }
            },
            OrderCommand::Cancel(order) => self.about(order, Then::Cancel { reference }).await,
            OrderCommand::Amend { order, leaves } => {
                self.about(order, Then::Amend { reference, leaves }).await
            }
            OrderCommand::CancelAll(cancel) => self.cancel_all(reference, &cancel).await,
            OrderCommand::DeadMan(after) => {
                if let Err(refusal) = self.check_scope_of_all() {
                    self.refuse(reference, None, &refusal);
                    return Ok(());
                }
                self.session.lock().dead_mans.push_back(reference);
                let set = SetDeadMan {
                    session: self.session.id,
                    deadline: after.map(|after| now().after(after)),
                };
                self.entry.desk.leasing.enter(Command::SetDeadMan(set)).await
            }
        }
    }

    async fn place_bid(&self, reference: Reference, request: JobRequest) -> Result<(), Refusal> {
        if !self.caller.scope.may_buy() {
            return Err(WRONG_KEY_SCOPE.because("this key is for Islands; use one that may buy"));
        }
        self.check_room()?;
        let model = request.model.clone();
        let gateway = &self.entry.gateway;
        // The key's limits may have changed since the session was opened, and what was true then is not gone back to: a key
        // that was forgotten since, because its limits were set, is asked about.
        let caller = match gateway.keys.latest(self.key.expose()) {
            Some(caller) => caller,
            None => gateway.keys.identify(self.key.expose()).await?,
        };
        let bid = gateway.prepare_bid(caller, self.session.id, request).await?;
        let waits = bid.submission.bid.time_in_force;
        let terms = bid_terms_to_wire(&bid.terms, gateway.names.regions(), domain::Timestamp::ZERO);
        let terms = wire::OrderTerms {
            time_in_force: Some(time_in_force_to_wire(waits, domain::Timestamp::ZERO)),
            self_trade: terms.self_trade,
            prompt_tokens: bid
                .submission
                .payloads
                .iter()
                .map(|payload| payload.prompt_tokens().get())
                .collect(),
            bid: Some(terms),
            ..wire::OrderTerms::default()
        };
        let placing = self.session.lock().orders.place(Placing {
            reference,
            body: Placed::Bid(Box::new(bid.submission.bid.clone())),
            shown_id: bid.client_order_id.clone(),
            model,
            terms,
        });
        let (desk, session) = (Arc::clone(&self.entry.desk), Arc::clone(&self.session));
        match gateway.enter(&bid.submission, bid.hold.as_ref()).await {
            Ok(events) => {
                let entered = bids::Entered { bid, events, placing };
                let tasks = desk.tasks.clone();
                tasks.spawn(bids::carry(gateway.clone(), desk, session, entered));
            }
            Err(refusal) => bids::refuse(&desk, &session, placing, &refusal),
        }
        Ok(())
    }

    /// Takes note of an ask that is to be sent.
    async fn expect_ask(&self, reference: Reference, request: AskRequest) -> Result<PlaceAsk, Refusal> {
        self.check_room()?;
        let (ask, placing) = self.entry.ask(self.caller, reference, request).await?;
        self.session.lock().orders.place(placing);
        self.entry.desk.expect_ask(ask, &self.session);
        Ok(ask)
    }

    fn check_room(&self) -> Result<(), Refusal> {
        if self.entry.desk.is_stopping() {
            return Err(STOPPING.because("the exchange is stopping and takes no new orders"));
        }
        if !Session::takes_orders(&self.session.lock()) {
            return Err(TOO_MANY_ORDERS.because(format!(
                "a session may have {} orders; wait until some have ended",
                super::session::ORDERS_MAX
            )));
        }
        Ok(())
    }

    /// Sends a cancel or an amend, or lets it wait for an order that is still on its way.
    async fn about(&self, order: OrderName, then: Then) -> Result<(), LeasingClosed> {
        let order = match order {
            OrderName::Id(order) => order,
            OrderName::Client(name) => match self.find(&name, then) {
                Some(order) => order,
                None => return Ok(()),
            },
        };
        let side = self.session.lock().orders.side(order);
        if let Err(refusal) = self.check_scope(side) {
            self.refuse(then.reference().unwrap_or_default(), None, &refusal);
            return Ok(());
        }
        self.entry.desk.tell_engine(&self.session, order, then).await
    }

    fn find(&self, name: &str, then: Then) -> Option<domain::OrderId> {
        let name: ClientOrderId = name_order(Some(name.to_owned())).ok()?.0;
        let state = &mut self.session.lock();
        match state.orders.find(name) {
            Whereabouts::Live(order) => Some(order),
            Whereabouts::Placing => {
                match self.check_scope(state.orders.side_of_placing(name)) {
                    Ok(()) => state.orders.defer(name, then),
                    Err(refusal) => {
                        let reference = then.reference().unwrap_or_default();
                        self.session.refuse(state, now(), reference, &refusal);
                    }
                }
                None
            }
            Whereabouts::Unknown => {
                self.session.refuse_too_late(state, now(), then.reference());
                None
            }
        }
    }

    /// Refuses what is about an order of a side that this connection's key is not for: a session may be resumed with
    /// another key of its account than the one that placed the order.
    fn check_scope(&self, side: Option<Side>) -> Result<(), Refusal> {
        match side {
            Some(side) if !self.caller.scope.may_handle(side) => {
                Err(WRONG_KEY_SCOPE.because(format!("this key is not for {side}s; use one that is")))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses what is about all of the session's orders when some are of a side that this connection's key is not for.
    fn check_scope_of_all(&self) -> Result<(), Refusal> {
        let state = self.session.lock();
        [Side::Bid, Side::Ask]
            .into_iter()
            .filter(|side| state.orders.has(*side))
            .try_for_each(|side| self.check_scope(Some(side)))
    }

    async fn cancel_all(&self, reference: Reference, cancel: &CancelAll) -> Result<(), LeasingClosed> {
        let desk = &self.entry.desk;
        if *cancel != CancelAll::Session && !self.caller.scope.may_buy() {
            let refusal = WRONG_KEY_SCOPE.because("this key is for Islands, and bids are among these orders");
            self.refuse(reference, None, &refusal);
            return Ok(());
        }
        let scope = match cancel {
            CancelAll::Session => {
                if let Err(refusal) = self.check_scope_of_all() {
                    self.refuse(reference, None, &refusal);
                    return Ok(());
                }
                return desk.cancel_resting(&self.session, Some(reference)).await;
            }
            CancelAll::Account => CancelScope::Everything,
            CancelAll::Model(model) => match self.entry.gateway.instrument(model) {
                Ok((instrument, _)) => CancelScope::Instrument(instrument),
                Err(refusal) => {
                    self.refuse(reference, None, &refusal.at("cancel_all.model"));
                    return Ok(());
                }
            },
        };
        desk.cancel_account(&self.session, reference, scope).await
    }

    /// Refuses a command that the engine never hears of.
    fn refuse(&self, reference: Reference, named: Option<Named>, refusal: &Refusal) {
        let reason = refusal_to_wire(refusal);
        let body = match named {
            Some(named) => Body::Execution(wire::ExecutionReport {
                execution_type: wire::ExecutionType::Rejected.into(),
                order_status: wire::OrderStatus::Rejected.into(),
                side: side_to_wire(named.side).into(),
                client_order_id: named.client_order_id,
                model: named.model,
                reason: Some(reason),
                ..wire::ExecutionReport::default()
            }),
            None => Body::Refused(reason),
        };
        self.session
            .report(&mut self.session.lock(), now(), reference, body);
    }
}

impl OrderEntry {
    /// An owner's ask as the engine is asked, and what is remembered of it until it answers.
    pub(super) async fn ask(
        &self,
        caller: Identity,
        reference: Reference,
        request: AskRequest,
    ) -> Result<(PlaceAsk, Placing), Refusal> {
        if !caller.scope.may_enrol() {
            return Err(WRONG_KEY_SCOPE.because("this key is for buying; use one that is for Islands"));
        }
        let (client_order_id, shown_id) = name_order(request.client_order_id)?;
        self.gateway.check_space(caller.account, client_order_id).await?;
        let Islander { session, .. } = self.desk.island(request.island, caller.account).ok_or_else(|| {
            UNKNOWN_ISLAND
                .because("you have no such Island whose agent is connected; start it, then try again")
                .at("island_id")
        })?;
        let (instrument, _) = self.gateway.instrument(&request.model)?;
        let ask = PlaceAsk {
            island: request.island,
            session,
            client_order_id,
            instrument,
            price: request.price,
            jobs: request.jobs,
            time_in_force: from_now(request.time_in_force),
            post_only: if request.post_only {
                PostOnly::Yes
            } else {
                PostOnly::No
            },
            self_trade: request.self_trade,
        };
        let terms = wire::OrderTerms {
            time_in_force: Some(time_in_force_to_wire(
                request.time_in_force,
                domain::Timestamp::ZERO,
            )),
            self_trade: proto::convert::self_trade_to_wire(request.self_trade).into(),
            island_id: request.island.to_string(),
            post_only: request.post_only,
            ..wire::OrderTerms::default()
        };
        let placing = Placing {
            reference,
            body: Placed::Ask(ask),
            shown_id,
            model: request.model,
            terms,
        };
        Ok((ask, placing))
    }
}
