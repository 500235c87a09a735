//! Entering a bid.

use domain::{
    Credits, Eligibility, InstrumentId, Jobs, OrderId, Price, PriceBand, SessionId, TimeInForce, UNITS_MAX,
    Units,
};

use crate::book::Trading;
use crate::book::arena::Handle;
use crate::book::classes::Room;
use crate::client_ids::Fingerprint;
use crate::crossing::{BidTaker, Wish};
use crate::engine::client_orders::{Key, Owner, may_rest};
use crate::engine::refusal::{Refusal, require};
use crate::engine::trading::Fate;
use crate::engine::{Engine, emit};
use crate::order::{self, Bid, Entry, Part, Special};
use crate::risk::reservation;
use crate::{BidAccepted, BidLimit, EndReason, Event, PlaceBid, RejectReason};

/// What the checks of a bid worked out.
#[derive(Clone, Copy, Debug)]
struct Terms {
    account: Handle,
    session: Handle,
    limit: Price,
    reserved: Credits,
    /// The class that the bid would rest in, if there is one already: it keeps its number.
    class: Option<u16>,
}

impl Engine {
    pub(super) fn place_bid(&mut self, bid: &PlaceBid, events: &mut Vec<Event>) -> Result<(), Refusal> {
        let key = Key {
            client_order_id: bid.client_order_id,
            fingerprint: Fingerprint::of_bid(bid),
        };
        let owner = self.owner(self.accounts.find(bid.account), bid.client_order_id);
        if self.answer_repeat(owner, key, events) {
            return Ok(());
        }
        let special = (!bid.excluded.is_empty()).then(|| {
            Box::new(Special {
                excluded: bid.excluded.clone(),
                ..Special::default()
            })
        });
        let wish = Wish {
            instrument: bid.instrument,
            account: owner.account,
            eligibility: &bid.eligibility,
            special: special.as_deref(),
            self_trade: bid.self_trade,
        };
        let terms = self.check_bid(bid, owner, &wish)?;
        let taker = BidTaker {
            wish,
            limit: terms.limit,
            jobs: bid.jobs,
            latency_value: bid.latency_value,
        };
        if !self.bid_reaches_an_ask(&taker) {
            require(must_fill(bid).is_zero(), RejectReason::NotFilled)?;
            let order = self.accept_bid(bid, terms, key, special, events);
            match terms.class {
                Some(class) => self.rest_bid(order, bid.eligibility, Room::Known(class), events),
                None => self.settle_bid(order, &bid.eligibility, bid.time_in_force, events),
            }
            return Ok(());
        }
        let mut plan = self.take_plan();
        self.plan_bid(&taker, &mut plan);
        if plan.filled() < must_fill(bid) {
            self.keep_plan(plan);
            return Err(RejectReason::NotFilled.into());
        }
        let order = self.accept_bid(bid, terms, key, special, events);
        if self.execute(order, &plan, events) == Fate::Open {
            self.settle_bid(order, &bid.eligibility, bid.time_in_force, events);
        }
        self.keep_plan(plan);
        Ok(())
    }

    /// Rests or ends a bid that has met all that it could.
    #[inline]
    pub(super) fn settle_bid(
        &mut self,
        order: Handle,
        eligibility: &Eligibility,
        time_in_force: TimeInForce,
        events: &mut Vec<Event>,
    ) {
        let instrument = self.orders[order].instrument;
        let room = may_rest(time_in_force)
            .then(|| self.room_for(instrument, eligibility))
            .flatten();
        match room {
            Some(room) => self.rest_bid(order, *eligibility, room, events),
            None => self.end_order(order, EndReason::Immediate, events),
        }
    }

    #[inline]
    pub(super) fn room_for(&self, instrument: InstrumentId, eligibility: &Eligibility) -> Option<Room> {
        self.book(instrument)
            .classes
            .room_for(eligibility, self.limits.classes_per_instrument_max)
    }

    /// Checks a bid in the order of [`RejectReason`], all but whether it fills or kills.
    #[inline]
    fn check_bid(&self, bid: &PlaceBid, owner: Owner, wish: &Wish<'_>) -> Result<Terms, Refusal> {
        let book = self
            .find_book(bid.instrument)
            .ok_or(RejectReason::UnknownInstrument)?;
        let session = self
            .session_of(owner.account, bid.session)
            .ok_or(RejectReason::UnknownSession)?;
        self.check_eligibility(&bid.eligibility)?;
        require(
            Jobs::for_order(bid.jobs.get()).is_ok(),
            RejectReason::InvalidQuantity,
        )?;
        require(bid.jobs_min <= bid.jobs, RejectReason::InvalidQuantity)?;
        check_units(bid.units_max)?;
        require(
            bid.jobs_min.is_zero() || bid.time_in_force == TimeInForce::Ioc,
            RejectReason::InvalidTimeInForce,
        )?;
        self.check_deadline(bid.time_in_force)?;
        self.check_owner(owner, bid.time_in_force)?;
        let room = if may_rest(bid.time_in_force) {
            let room = self.room_for(bid.instrument, &bid.eligibility);
            Some(room.ok_or(RejectReason::TooManyClasses)?)
        } else {
            None
        };
        let ceiling = book.price_band.map_or(Price::MAX, PriceBand::highest);
        let limit = self.limit_of(bid.limit, ceiling, wish)?;
        require(
            book.trading == Trading::Open || may_rest(bid.time_in_force),
            RejectReason::Halted,
        )?;
        let reserved_per_job = reservation(limit, bid.units_max).ok_or(RejectReason::Overflow)?;
        let reserved = reserved_per_job
            .times(bid.jobs.get())
            .ok_or(RejectReason::Overflow)?;
        let available = owner.account.map_or(Credits::ZERO, |account| {
            self.accounts.get(account).power.available
        });
        let account = match owner.account {
            Some(account) if reserved <= available => account,
            Some(_) | None => {
                let shortfall = reserved
                    .checked_sub(available)
                    .expect("the difference of two sums that are not negative fits");
                return Err(Refusal::insufficient(shortfall));
            }
        };
        Ok(Terms {
            account,
            session,
            limit,
            reserved,
            class: match room {
                Some(Room::Known(class)) => Some(class),
                Some(Room::Unused(_) | Room::Reused(_)) | None => None,
            },
        })
    }

    /// An open session. Most bids come through the one that their account used last.
    #[inline]
    fn session_of(&self, account: Option<Handle>, id: SessionId) -> Option<Handle> {
        let latest = account.and_then(|account| self.accounts.get(account).session);
        latest
            .filter(|session| self.roster.sessions[*session].id == id)
            .or_else(|| self.roster.find_session(id))
    }

    #[inline]
    fn check_eligibility(&self, eligibility: &Eligibility) -> Result<(), Refusal> {
        let known = self
            .regions
            .as_ref()
            .is_some_and(|table| table.has_all(eligibility.regions.with(eligibility.home)));
        require(known, RejectReason::UnknownRegion)?;
        require(!eligibility.regions.is_empty(), RejectReason::NoRegion)
    }

    /// The limit of a bid that somebody could serve. A protection price stops at the ceiling, a limit above it is
    /// refused.
    fn limit_of(&self, limit: BidLimit, ceiling: Price, wish: &Wish<'_>) -> Result<Price, Refusal> {
        let limit = match limit {
            BidLimit::At(price) => {
                require(price <= ceiling, RejectReason::OutsidePriceBand)?;
                self.is_servable(wish).then_some(price)
            }
            BidLimit::Protection => self.best_quote(wish).map(|best| best.doubled().min(ceiling)),
        };
        limit.ok_or_else(|| Refusal::unservable(self.alternative(wish)))
    }

    #[inline]
    fn accept_bid(
        &mut self,
        bid: &PlaceBid,
        terms: Terms,
        key: Key,
        special: Option<Box<Special>>,
        events: &mut Vec<Event>,
    ) -> Handle {
        let id = OrderId::of_sequence(self.sequence);
        self.accounts.reserve(terms.account, terms.reserved);
        let record = self.remember(terms.account, key, id);
        let order = self.insert_order(Entry {
            id,
            account: terms.account,
            instrument: bid.instrument,
            price: terms.limit,
            part: Part::Bid(Bid {
                session: terms.session,
                class: 0,
            }),
            self_trade: bid.self_trade,
            time_in_force: bid.time_in_force,
            terms: order::Terms::of_bid(Some(record), bid.jobs, bid.units_max, bid.latency_value),
            special,
        });
        emit(events, || {
            Event::BidAccepted(BidAccepted {
                order: id,
                account: bid.account,
                session: bid.session,
                client_order_id: bid.client_order_id,
                instrument: bid.instrument,
                limit: terms.limit,
                jobs: bid.jobs,
                units_max: bid.units_max,
                reserved: terms.reserved,
                time_in_force: bid.time_in_force,
                resumes: None,
            })
        });
        order
    }
}

/// How many jobs must trade on arrival for the bid to be taken in.
fn must_fill(bid: &PlaceBid) -> Jobs {
    match bid.time_in_force {
        TimeInForce::Fok => bid.jobs,
        TimeInForce::Ioc | TimeInForce::Gtc | TimeInForce::Gtd(_) => bid.jobs_min,
    }
}

/// Refuses no work, and more than a job may be.
pub(super) fn check_units(units: Units) -> Result<(), Refusal> {
    require(
        units > Units::ZERO && units <= Units::new(UNITS_MAX),
        RejectReason::InvalidUnits,
    )
}
