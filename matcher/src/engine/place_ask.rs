//! Entering an ask.

use domain::{Jobs, OrderId, TimeInForce};

use crate::book::Trading;
use crate::book::arena::Handle;
use crate::book::cells::Place;
use crate::client_ids::Fingerprint;
use crate::crossing::AskTaker;
use crate::engine::client_orders::{Key, Owner, may_rest};
use crate::engine::refusal::{Refusal, require};
use crate::engine::resting::{Priority, cell_key};
use crate::engine::trading::Fate;
use crate::engine::{Engine, emit};
use crate::order::{self, Ask, Entry, Part};
use crate::{AskAccepted, EndReason, Event, PlaceAsk, PostOnly, RejectReason};

/// What the checks of an ask worked out.
#[derive(Clone, Copy, Debug)]
struct Terms {
    island: Handle,
    place: Place,
}

impl Engine {
    pub(super) fn place_ask(&mut self, ask: &PlaceAsk, events: &mut Vec<Event>) -> Result<(), Refusal> {
        let key = Key {
            client_order_id: ask.client_order_id,
            fingerprint: Fingerprint::of_ask(ask),
        };
        let island = self.roster.find_island(ask.island);
        let account = island.map(|island| self.roster.islands[island].owner);
        let owner = self.owner(account, ask.client_order_id);
        if self.answer_repeat(owner, key, events) {
            return Ok(());
        }
        let terms = self.check_ask(ask, island, owner)?;
        let owner = self.roster.islands[terms.island].owner;
        let id = OrderId::of_sequence(self.sequence);
        let record = self.remember(owner, key, id);
        let cell = self.book_mut(ask.instrument).cell_or_new(terms.place);
        let order = self.insert_order(Entry {
            id,
            account: owner,
            instrument: ask.instrument,
            price: ask.price,
            part: Part::Ask(Ask {
                island: terms.island,
                cell,
            }),
            self_trade: ask.self_trade,
            time_in_force: ask.time_in_force,
            terms: order::Terms::of_ask(Some(record), ask.jobs, ask.post_only),
            special: None,
        });
        let island = &mut self.roster.islands[terms.island];
        island.leaves_bound = island.leaves_bound.max(ask.jobs);
        emit(events, || {
            Event::AskAccepted(AskAccepted {
                order: id,
                island: ask.island,
                account: self.accounts.get(owner).id,
                session: ask.session,
                client_order_id: ask.client_order_id,
                cell: cell_key(ask.instrument, terms.place),
                price: ask.price,
                jobs: ask.jobs,
                time_in_force: ask.time_in_force,
            })
        });
        if self.match_ask(order, events) == Fate::Open {
            if may_rest(ask.time_in_force) {
                self.rest_ask(order, Priority::New);
            } else {
                self.end_order(order, EndReason::Immediate, events);
            }
        }
        Ok(())
    }

    /// Checks an ask in the order of [`RejectReason`].
    #[inline]
    fn check_ask(&mut self, ask: &PlaceAsk, island: Option<Handle>, owner: Owner) -> Result<Terms, Refusal> {
        let book = self
            .find_book(ask.instrument)
            .ok_or(RejectReason::UnknownInstrument)?;
        let is_own = island.is_some_and(|island| {
            self.roster.sessions[self.roster.islands[island].session].id == ask.session
        });
        let Some(handle) = island.filter(|_| is_own) else {
            return Err(match self.roster.find_session(ask.session) {
                None => RejectReason::UnknownSession.into(),
                Some(_) => RejectReason::UnknownIsland.into(),
            });
        };
        let island = &self.roster.islands[handle];
        let tier = island
            .tiers
            .get(ask.instrument)
            .ok_or(RejectReason::NotQuotable)?;
        require(
            Jobs::for_order(ask.jobs.get()).is_ok(),
            RejectReason::InvalidQuantity,
        )?;
        let makes_sense = match ask.time_in_force {
            TimeInForce::Fok => false,
            TimeInForce::Ioc => ask.post_only == PostOnly::No,
            TimeInForce::Gtc | TimeInForce::Gtd(_) => true,
        };
        require(makes_sense, RejectReason::InvalidTimeInForce)?;
        self.check_deadline(ask.time_in_force)?;
        self.check_owner(owner, ask.time_in_force)?;
        require(
            book.price_band.is_none_or(|band| ask.price >= band.lowest()),
            RejectReason::OutsidePriceBand,
        )?;
        require(
            book.trading == Trading::Open || may_rest(ask.time_in_force),
            RejectReason::Halted,
        )?;
        let place = Place {
            region: island.region,
            tier,
            band: island.band,
        };
        if ask.post_only == PostOnly::Yes {
            let taker = AskTaker {
                instrument: ask.instrument,
                island: handle,
                covered_by: book.classes_covering(place),
                price: ask.price,
                jobs: ask.jobs.min(island.free()),
                self_trade: ask.self_trade,
            };
            let mut plan = self.take_plan();
            self.plan_ask(&taker, &mut plan);
            let trades = !plan.filled().is_zero();
            self.keep_plan(plan);
            require(!trades, RejectReason::WouldTrade)?;
        }
        Ok(Terms {
            island: handle,
            place,
        })
    }
}
