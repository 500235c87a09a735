//! Orders: entering, matching, ending.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use domain::{
    AccountId, CancelCause, ClientOrderId, Credits, Eligibility, EndCause, InstrumentId, IslandId, JobEnd,
    JobId, JobOutcome, Jobs, Liquidity, OrderId, Price, SelfTradeMode, SessionId, Side, TimeInForce,
    Timestamp, Units,
};
use matcher::{
    Alternative, Amend, AskAccepted, BidAccepted, BidLimit, Cancel, CancelAll, CancelScope, ClassDefinition,
    EndReason, EndedJob, Event, LeaseEnded, OrderEnded, PlaceAsk, PlaceBid, PostOnly, RejectReason,
    Unmatched,
};

use crate::naive_book::{Body, NaiveAsk, NaiveBid, NaiveBook, NaiveId, NaiveJob, Refused};

fn rests(time_in_force: TimeInForce) -> bool {
    matches!(time_in_force, TimeInForce::Gtc | TimeInForce::Gtd(_))
}

fn kind_only(time_in_force: TimeInForce) -> TimeInForce {
    match time_in_force {
        TimeInForce::Gtd(_) => TimeInForce::Gtd(Timestamp::ZERO),
        other => other,
    }
}

fn reject(holds: bool, reason: RejectReason) -> Result<(), Refused> {
    if holds { Ok(()) } else { Err(reason.into()) }
}

/// What a job costs at most, the fee included.
pub(super) fn cost(price: Price, units: u64) -> Option<i64> {
    let exact = u128::from(price.get()) * u128::from(units);
    let charge = i64::try_from(exact.div_ceil(1_000)).ok()?;
    charge.checked_add(charge.div_euclid(50))
}

impl NaiveBook {
    pub(super) fn place_bid(&mut self, bid: &PlaceBid) -> Result<(), Refused> {
        let body = Body::Bid(PlaceBid {
            session: SessionId::new(0),
            time_in_force: kind_only(bid.time_in_force),
            ..bid.clone()
        });
        if self.repeats(bid.account, bid.client_order_id, &body) {
            return Ok(());
        }
        let halted = self.halted(bid.instrument)?;
        reject(self.has_session(bid.session), RejectReason::UnknownSession)?;
        let known = self.knows(bid.eligibility.home) && bid.eligibility.regions.iter().all(|r| self.knows(r));
        reject(known, RejectReason::UnknownRegion)?;
        reject(!bid.eligibility.regions.is_empty(), RejectReason::NoRegion)?;
        reject(
            (1..=domain::JOBS_MAX).contains(&bid.jobs.get()),
            RejectReason::InvalidQuantity,
        )?;
        reject(bid.jobs_min <= bid.jobs, RejectReason::InvalidQuantity)?;
        reject(
            (1..=domain::UNITS_MAX).contains(&bid.units_max.get()),
            RejectReason::InvalidUnits,
        )?;
        let sensible = bid.jobs_min.get() == 0 || bid.time_in_force == TimeInForce::Ioc;
        reject(sensible, RejectReason::InvalidTimeInForce)?;
        self.check_order(bid.account, bid.client_order_id, bid.time_in_force)?;
        reject(
            !rests(bid.time_in_force) || self.class_for(bid.instrument, &bid.eligibility).is_some(),
            RejectReason::TooManyClasses,
        )?;
        let band = self.price_band(bid.instrument);
        if let (BidLimit::At(price), Some(band)) = (bid.limit, band) {
            reject(price <= band.highest(), RejectReason::OutsidePriceBand)?;
        }
        let quotes: Vec<(&NaiveAsk, bool)> = self
            .asks
            .iter()
            .filter(|ask| ask.body.instrument == bid.instrument && self.would_take(bid, &[], ask))
            .map(|ask| (ask, self.covers(&bid.eligibility, ask)))
            .collect();
        let best = quotes
            .iter()
            .filter(|(_, covered)| *covered)
            .map(|(ask, _)| ask.body.price)
            .min();
        let Some(best) = best else {
            let mut refused = Refused::from(RejectReason::Unservable);
            refused.0.alternative = quotes
                .iter()
                .min_by_key(|(ask, _)| self.far_from(&bid.eligibility, ask))
                .map(|(ask, _)| Alternative {
                    cell: self.cell(&ask.body),
                    price: ask.body.price,
                });
            return Err(refused);
        };
        let limit = match bid.limit {
            BidLimit::At(price) => price,
            BidLimit::Protection => {
                let doubled = Price::new(best.get() * 2).unwrap_or(Price::MAX);
                band.map_or(doubled, |band| doubled.min(band.highest()))
            }
        };
        reject(!halted || rests(bid.time_in_force), RejectReason::Halted)?;
        let each = cost(limit, bid.units_max.get()).ok_or(RejectReason::Overflow)?;
        let whole = each
            .checked_mul(i64::from(bid.jobs.get()))
            .ok_or(RejectReason::Overflow)?;
        let available = self
            .accounts
            .get(&bid.account)
            .map_or(0, |account| account.available);
        if whole > available {
            let mut refused = Refused::from(RejectReason::InsufficientBuyingPower);
            refused.0.shortfall = Credits::from_nano(whole - available);
            return Err(refused);
        }
        let before = self.clone();
        self.enter_bid(bid, limit, each, body);
        let wanted = if bid.time_in_force == TimeInForce::Fok {
            bid.jobs
        } else {
            bid.jobs_min
        };
        if wanted.get() > 0 {
            let traded: u32 = self.events[before.events.len()..]
                .iter()
                .map(|event| match event {
                    Event::Traded(trade) => trade.jobs.get(),
                    _ => 0,
                })
                .sum();
            if traded < wanted.get() {
                *self = before;
                return Err(RejectReason::NotFilled.into());
            }
        }
        Ok(())
    }

    fn enter_bid(&mut self, bid: &PlaceBid, limit: Price, each: i64, body: Body) {
        let id = OrderId::new(self.sequence.get());
        let whole = each * i64::from(bid.jobs.get());
        let account = self.accounts.get_mut(&bid.account).unwrap();
        account.available -= whole;
        account.reserved += whole;
        self.ids.push(NaiveId {
            account: bid.account,
            client_order_id: bid.client_order_id,
            order: id,
            body,
            forget_at: None,
            unmatched: None,
            jobs: BTreeMap::new(),
        });
        self.events.push(Event::BidAccepted(BidAccepted {
            order: id,
            account: bid.account,
            session: bid.session,
            client_order_id: bid.client_order_id,
            instrument: bid.instrument,
            limit,
            jobs: bid.jobs,
            units_max: bid.units_max,
            reserved: Credits::from_nano(whole),
            time_in_force: bid.time_in_force,
            resumes: None,
        }));
        let bid = NaiveBid {
            id,
            body: bid.clone(),
            limit,
            leaves: bid.jobs.get(),
            filled: 0,
            reserved_each: each,
            arrival: 0,
            class: 0,
            failed: Vec::new(),
            resumes: None,
            otherwise: None,
            amended: 0,
        };
        self.match_and_rest(bid);
    }

    /// Matches a bid that came in; what is left rests or ends.
    pub(super) fn match_and_rest(&mut self, bid: NaiveBid) {
        let Some(mut bid) = self.match_bid(bid) else {
            return;
        };
        let class = self.class_for(bid.body.instrument, &bid.body.eligibility);
        let (true, Some(class)) = (rests(bid.body.time_in_force), class) else {
            self.bids.push(bid.clone());
            return self.end(bid.id, EndReason::Immediate);
        };
        let instrument = bid.body.instrument;
        let position = usize::try_from(instrument.get()).unwrap();
        let eligibility = bid.body.eligibility;
        let classes = &self.instruments[position].classes;
        if classes.get(usize::from(class)) != Some(&eligibility) {
            if usize::from(class) < classes.len() {
                self.publish();
                self.instruments[position].classes[usize::from(class)] = eligibility;
            } else {
                self.instruments[position].classes.push(eligibility);
            }
            self.events.push(Event::ClassCreated(ClassDefinition {
                instrument,
                class,
                eligibility,
            }));
        }
        bid.class = class;
        bid.arrival = self.arrive();
        self.bids.push(bid);
    }

    /// Trades a bid as far as it goes, best ask first; `None` if nothing is left of it.
    fn match_bid(&mut self, mut bid: NaiveBid) -> Option<NaiveBid> {
        if self.halted(bid.body.instrument).ok()? {
            return Some(bid);
        }
        while bid.leaves > 0 {
            let best = (0..self.asks.len())
                .filter(|position| {
                    let ask = &self.asks[*position];
                    ask.body.instrument == bid.body.instrument
                        && ask.arrival.is_some()
                        && ask.body.price <= bid.limit
                        && self.covers(&bid.body.eligibility, ask)
                        && self.would_take(&bid.body, &bid.failed, ask)
                })
                .min_by_key(|position| self.rank(&bid.body, &self.asks[*position]));
            let Some(position) = best else {
                return Some(bid);
            };
            let own = self.asks[position].owner == bid.body.account;
            let resting = self.asks[position].id;
            match bid.body.self_trade {
                SelfTradeMode::CancelNewest if own => {
                    self.bids.push(bid.clone());
                    self.end(bid.id, EndReason::SelfTrade);
                    return None;
                }
                SelfTradeMode::CancelOldest if own => self.end(resting, EndReason::SelfTrade),
                SelfTradeMode::CancelBoth if own => {
                    self.end(resting, EndReason::SelfTrade);
                    self.bids.push(bid.clone());
                    self.end(bid.id, EndReason::SelfTrade);
                    return None;
                }
                _ => {
                    let jobs = bid.leaves.min(self.displayed(&self.asks[position]));
                    let price = self.asks[position].body.price;
                    let mut ask = self.asks[position].clone();
                    self.trade(&mut bid, &mut ask, price, jobs, Liquidity::Taker);
                    self.asks[position] = ask;
                    if self.asks[position].leaves == 0 {
                        self.asks.remove(position);
                        self.forget_later(resting);
                    }
                    self.hide();
                }
            }
        }
        self.forget_later(bid.id);
        None
    }

    pub(super) fn uncross(&mut self, instrument: InstrumentId) {
        let mut order: Vec<(Reverse<Price>, u64, OrderId)> = self
            .bids
            .iter()
            .filter(|bid| bid.body.instrument == instrument)
            .map(|bid| (Reverse(bid.limit), bid.arrival, bid.id))
            .collect();
        order.sort_unstable();
        for (_, _, id) in order {
            let position = self.bids.iter().position(|bid| bid.id == id).unwrap();
            let bid = self.bids.remove(position);
            if let Some(left) = self.match_bid(bid) {
                self.bids.push(left);
            }
        }
    }

    pub(super) fn place_ask(&mut self, ask: &PlaceAsk) -> Result<(), Refused> {
        let body = Body::Ask(PlaceAsk {
            session: SessionId::new(0),
            time_in_force: kind_only(ask.time_in_force),
            ..*ask
        });
        if let Some(island) = self.island(ask.island) {
            let owner = island.owner;
            if self.repeats(owner, ask.client_order_id, &body) {
                return Ok(());
            }
        }
        let halted = self.halted(ask.instrument)?;
        reject(self.has_session(ask.session), RejectReason::UnknownSession)?;
        let island = self
            .island(ask.island)
            .filter(|island| island.session == ask.session);
        let Some(island) = island else {
            return Err(RejectReason::UnknownIsland.into());
        };
        reject(
            island.tiers.contains_key(&ask.instrument),
            RejectReason::NotQuotable,
        )?;
        reject(
            (1..=domain::JOBS_MAX).contains(&ask.jobs.get()),
            RejectReason::InvalidQuantity,
        )?;
        let nonsense = ask.time_in_force == TimeInForce::Fok
            || (ask.time_in_force == TimeInForce::Ioc && ask.post_only == PostOnly::Yes);
        reject(!nonsense, RejectReason::InvalidTimeInForce)?;
        let owner = island.owner;
        self.check_order(owner, ask.client_order_id, ask.time_in_force)?;
        if let Some(band) = self.price_band(ask.instrument) {
            reject(ask.price >= band.lowest(), RejectReason::OutsidePriceBand)?;
        }
        reject(!halted || rests(ask.time_in_force), RejectReason::Halted)?;
        let before = self.clone();
        let id = OrderId::new(self.sequence.get());
        self.ids.push(NaiveId {
            account: owner,
            client_order_id: ask.client_order_id,
            order: id,
            body,
            forget_at: None,
            unmatched: None,
            jobs: BTreeMap::new(),
        });
        self.events.push(Event::AskAccepted(AskAccepted {
            order: id,
            island: ask.island,
            account: owner,
            session: ask.session,
            client_order_id: ask.client_order_id,
            cell: self.cell(ask),
            price: ask.price,
            jobs: ask.jobs,
            time_in_force: ask.time_in_force,
        }));
        self.asks.push(NaiveAsk {
            id,
            body: *ask,
            owner,
            leaves: ask.jobs.get(),
            arrival: None,
        });
        let alive = self.match_ask(id);
        let traded = self.events[before.events.len()..]
            .iter()
            .any(|event| matches!(event, Event::Traded(_)));
        if traded && ask.post_only == PostOnly::Yes {
            *self = before;
            return Err(RejectReason::WouldTrade.into());
        }
        if alive {
            if rests(ask.time_in_force) {
                self.show_ask(id, None);
            } else {
                self.end(id, EndReason::Immediate);
            }
        }
        Ok(())
    }

    /// Gives an ask its place, if anything of it is displayed.
    pub(super) fn show_ask(&mut self, id: OrderId, kept: Option<u64>) {
        let position = self.asks.iter().position(|ask| ask.id == id).unwrap();
        if self.displayed(&self.asks[position]) == 0 {
            self.asks[position].arrival = None;
            return;
        }
        let arrival = match kept {
            Some(arrival) => arrival,
            None => self.arrive(),
        };
        self.asks[position].arrival = Some(arrival);
    }

    /// Trades an ask that stands nowhere as far as it goes; false if it ended.
    pub(super) fn match_ask(&mut self, id: OrderId) -> bool {
        loop {
            let position = self.asks.iter().position(|ask| ask.id == id).unwrap();
            let ask = self.asks[position].clone();
            if self.halted(ask.body.instrument).ok() == Some(true) || self.displayed(&ask) == 0 {
                return true;
            }
            let best = (0..self.bids.len())
                .filter(|position| {
                    let bid = &self.bids[*position];
                    bid.body.instrument == ask.body.instrument
                        && bid.limit >= ask.body.price
                        && self.covers(&bid.body.eligibility, &ask)
                        && !bid.body.excluded.contains(ask.body.island)
                        && !bid.failed.contains(&ask.body.island)
                        && (bid.body.account != ask.owner || ask.body.self_trade != SelfTradeMode::Skip)
                })
                .min_by_key(|position| (Reverse(self.bids[*position].limit), self.bids[*position].arrival));
            let Some(best) = best else {
                return true;
            };
            let own = self.bids[best].body.account == ask.owner;
            let resting = self.bids[best].id;
            match ask.body.self_trade {
                SelfTradeMode::CancelNewest if own => {
                    self.end(id, EndReason::SelfTrade);
                    return false;
                }
                SelfTradeMode::CancelOldest if own => self.end(resting, EndReason::SelfTrade),
                SelfTradeMode::CancelBoth if own => {
                    self.end(resting, EndReason::SelfTrade);
                    self.end(id, EndReason::SelfTrade);
                    return false;
                }
                _ => {
                    let mut bid = self.bids[best].clone();
                    let mut ask = ask;
                    let jobs = bid.leaves.min(self.displayed(&ask));
                    let price = bid.limit;
                    self.trade(&mut bid, &mut ask, price, jobs, Liquidity::Maker);
                    let (bid_left, ask_left) = (bid.leaves, ask.leaves);
                    self.bids[best] = bid;
                    self.asks[position] = ask;
                    if bid_left == 0 {
                        self.bids.remove(best);
                        self.forget_later(resting);
                    }
                    self.hide();
                    if ask_left == 0 {
                        self.asks.remove(position);
                        self.forget_later(id);
                        return false;
                    }
                }
            }
        }
    }

    pub(super) fn cancel(&mut self, cancel: &Cancel) -> Result<(), Refused> {
        reject(
            self.owner(cancel.order) == Some(cancel.account),
            RejectReason::UnknownOrder,
        )?;
        self.end(cancel.order, EndReason::Cancelled);
        Ok(())
    }

    pub(super) fn cancel_all(&mut self, cancel: &CancelAll) -> Result<(), Refused> {
        match cancel.scope {
            CancelScope::Everything => {}
            CancelScope::Instrument(instrument) => {
                self.halted(instrument)?;
            }
            CancelScope::Session(session) => reject(self.has_session(session), RejectReason::UnknownSession)?,
            CancelScope::Island(island) => {
                reject(self.island(island).is_some(), RejectReason::UnknownIsland)?
            }
        }
        let mut doomed: Vec<OrderId> = Vec::new();
        for bid in self.bids.iter().filter(|bid| bid.body.account == cancel.account) {
            let hit = match cancel.scope {
                CancelScope::Everything => true,
                CancelScope::Instrument(instrument) => bid.body.instrument == instrument,
                CancelScope::Session(session) => bid.body.session == session,
                CancelScope::Island(_) => false,
            };
            if hit {
                doomed.push(bid.id);
            }
        }
        for ask in self.asks.iter().filter(|ask| ask.owner == cancel.account) {
            let hit = match cancel.scope {
                CancelScope::Everything => true,
                CancelScope::Instrument(instrument) => ask.body.instrument == instrument,
                CancelScope::Session(session) => ask.body.session == session,
                CancelScope::Island(island) => ask.body.island == island,
            };
            if hit {
                doomed.push(ask.id);
            }
        }
        doomed.sort_unstable();
        for id in doomed {
            self.end(id, EndReason::Cancelled);
        }
        Ok(())
    }

    pub(super) fn amend(&mut self, amend: &Amend) -> Result<(), Refused> {
        reject(
            self.owner(amend.order) == Some(amend.account),
            RejectReason::UnknownOrder,
        )?;
        let new = amend.leaves.get();
        if let Some(bid) = self.bids.iter_mut().find(|bid| bid.id == amend.order) {
            reject(new > 0 && new < bid.leaves, RejectReason::NotLess)?;
            let freed = bid.reserved_each * i64::from(bid.leaves - new);
            bid.amended += bid.leaves - new;
            bid.leaves = new;
            let taken = Self::jobs(bid.amended);
            let account = self.accounts.get_mut(&amend.account).unwrap();
            account.reserved -= freed;
            account.available += freed;
            self.note_unmatched(amend.order, taken, EndReason::Cancelled);
        }
        if let Some(ask) = self.asks.iter_mut().find(|ask| ask.id == amend.order) {
            reject(new > 0 && new < ask.leaves, RejectReason::NotLess)?;
            ask.leaves = new;
        }
        self.events.push(Event::Amended {
            order: amend.order,
            account: amend.account,
            leaves: amend.leaves,
        });
        Ok(())
    }

    /// Ends what is left of an order that rests or has just come in.
    pub(super) fn end(&mut self, id: OrderId, reason: EndReason) {
        let ended = if let Some(position) = self.bids.iter().position(|bid| bid.id == id) {
            let bid = self.bids.remove(position);
            let freed = bid.reserved_each * i64::from(bid.leaves);
            let account = self.accounts.get_mut(&bid.body.account).unwrap();
            account.reserved -= freed;
            account.available += freed;
            match bid.resumes {
                None => self.note_unmatched(id, Self::jobs(bid.leaves + bid.amended), reason),
                Some((job, _, _)) => {
                    let otherwise = bid.otherwise.unwrap();
                    let end = match reason {
                        EndReason::Cancelled => {
                            JobEnd::because(JobOutcome::Cancelled, EndCause::Cancelled(CancelCause::Asked))
                        }
                        EndReason::SessionLost => JobEnd::because(otherwise.outcome, EndCause::SessionLost),
                        _ => otherwise,
                    };
                    self.note_end(job, end);
                }
            }
            OrderEnded {
                order: id,
                account: bid.body.account,
                session: bid.body.session,
                side: Side::Bid,
                leaves: Self::jobs(bid.leaves),
                reason,
                resumes: bid.resumes.map(|(job, _, _)| job),
            }
        } else {
            let position = self.asks.iter().position(|ask| ask.id == id).unwrap();
            let ask = self.asks.remove(position);
            OrderEnded {
                order: id,
                account: ask.owner,
                session: ask.body.session,
                side: Side::Ask,
                leaves: Self::jobs(ask.leaves),
                reason,
                resumes: None,
            }
        };
        self.events.push(Event::OrderEnded(ended));
        self.forget_later(id);
    }

    fn note_unmatched(&mut self, order: OrderId, jobs: Jobs, reason: EndReason) {
        for id in self.ids.iter_mut().filter(|id| id.order == order) {
            id.unmatched = Some(Unmatched { jobs, reason });
        }
    }

    /// Notes a segment of a job whose order is remembered.
    pub(super) fn note_segment(&mut self, ended: &LeaseEnded) {
        if ended.job.index() >= self.limits.ended_jobs_per_order_max {
            return;
        }
        for id in self.ids.iter_mut().filter(|id| id.order == ended.job.order()) {
            let job = id.jobs.entry(ended.job).or_insert(NaiveJob {
                segments: Vec::new(),
                end: None,
            });
            job.segments.push(*ended);
        }
    }

    pub(super) fn note_end(&mut self, job: JobId, end: JobEnd) {
        for id in &mut self.ids {
            if let Some(known) = id.jobs.get_mut(&job) {
                known.end = Some((end, self.now));
            }
        }
    }

    fn forget_later(&mut self, order: OrderId) {
        let at = self.now.after(self.limits.client_id_kept);
        for id in self.ids.iter_mut().filter(|id| id.order == order) {
            id.forget_at = Some(at);
        }
    }

    fn owner(&self, order: OrderId) -> Option<AccountId> {
        let bid = self.bids.iter().find(|bid| bid.id == order);
        let ask = self.asks.iter().find(|ask| ask.id == order);
        bid.map(|bid| bid.body.account).or(ask.map(|ask| ask.owner))
    }

    fn repeats(&mut self, account: AccountId, client_order_id: ClientOrderId, body: &Body) -> bool {
        let first = self
            .ids
            .iter()
            .find(|id| id.account == account && id.client_order_id == client_order_id && id.body == *body);
        let Some(first) = first else {
            return false;
        };
        self.events.push(Event::Repeated {
            account,
            client_order_id,
            order: first.order,
            unmatched: first.unmatched,
        });
        for (job, known) in &first.jobs {
            let Some((end, ended_at)) = known.end else {
                continue;
            };
            let last = known.segments.last().unwrap();
            let sum = |part: fn(&LeaseEnded) -> i64| known.segments.iter().map(part).sum();
            self.events.push(Event::JobRecalled(EndedJob {
                job: *job,
                account,
                client_order_id,
                instrument: last.instrument,
                end,
                price: last.price,
                epoch: last.epoch,
                units: Units::new(
                    known
                        .segments
                        .iter()
                        .map(|segment| segment.bill.units.get())
                        .sum(),
                ),
                charge: Credits::from_nano(sum(|segment| segment.bill.charge.as_nano())),
                fee: Credits::from_nano(sum(|segment| match segment.bill.bid_liquidity {
                    Liquidity::Taker => segment.bill.fee.as_nano(),
                    Liquidity::Maker => 0,
                })),
                ended_at,
            }));
        }
        true
    }

    fn check_order(
        &self,
        account: AccountId,
        client_order_id: ClientOrderId,
        time_in_force: TimeInForce,
    ) -> Result<(), Refused> {
        if let TimeInForce::Gtd(deadline) = time_in_force {
            reject(deadline > self.now, RejectReason::DeadlinePassed)?;
        }
        let mine: Vec<&NaiveId> = self.ids.iter().filter(|id| id.account == account).collect();
        let taken = mine.iter().any(|id| id.client_order_id == client_order_id);
        reject(!taken, RejectReason::DuplicateClientOrderId)?;
        let resting = self.bids.iter().filter(|bid| bid.body.account == account).count()
            + self.asks.iter().filter(|ask| ask.owner == account).count();
        let too_many = (rests(time_in_force)
            && resting >= usize::try_from(self.limits.orders_per_account_max).unwrap())
            || mine.len() >= usize::try_from(self.limits.client_ids_per_account_max).unwrap();
        reject(!too_many, RejectReason::TooManyOrders)
    }

    fn class_for(&self, instrument: InstrumentId, eligibility: &Eligibility) -> Option<u16> {
        let classes = &self.instruments[usize::try_from(instrument.get()).unwrap()].classes;
        let known = classes.iter().position(|class| class == eligibility);
        let fresh =
            (classes.len() < usize::from(self.limits.classes_per_instrument_max)).then_some(classes.len());
        let idle = (0..classes.len()).find(|class| {
            !self
                .bids
                .iter()
                .any(|bid| bid.body.instrument == instrument && usize::from(bid.class) == *class)
        });
        known
            .or(fresh)
            .or(idle)
            .map(|class| u16::try_from(class).unwrap())
    }

    fn covers(&self, eligibility: &Eligibility, ask: &NaiveAsk) -> bool {
        let cell = self.cell(&ask.body);
        eligibility.regions.contains(cell.region)
            && cell.tier >= eligibility.min_tier
            && cell.band >= eligibility.min_band
    }

    /// Whether a bid would take an ask, price and place aside.
    pub(super) fn would_take(&self, bid: &PlaceBid, failed: &[IslandId], ask: &NaiveAsk) -> bool {
        !bid.excluded.contains(ask.body.island)
            && !failed.contains(&ask.body.island)
            && (ask.owner != bid.account || bid.self_trade != SelfTradeMode::Skip)
    }

    pub(super) fn is_servable(&self, bid: &NaiveBid) -> bool {
        self.asks.iter().any(|ask| {
            ask.body.instrument == bid.body.instrument
                && self.covers(&bid.body.eligibility, ask)
                && self.would_take(&bid.body, &bid.failed, ask)
        })
    }

    fn rank(&self, bid: &PlaceBid, ask: &NaiveAsk) -> (u64, u64, Reverse<domain::KarmaBand>, Option<u64>) {
        let cell = self.cell(&ask.body);
        let distance = self.millis(bid.eligibility.home, cell.region);
        let adjusted = ask.body.price.get() * 10 + u64::from(bid.latency_value.get()) * distance;
        (adjusted, distance, Reverse(cell.band), ask.arrival)
    }

    /// How far a cell is from what a bid asked for: what it gives up, then by how much, then what it costs.
    fn far_from(
        &self,
        eligibility: &Eligibility,
        ask: &NaiveAsk,
    ) -> (usize, Vec<usize>, u64, usize, usize, Price, matcher::CellKey) {
        let cell = self.cell(&ask.body);
        let tier = eligibility.min_tier.index().saturating_sub(cell.tier.index());
        let band = eligibility.min_band.index().saturating_sub(cell.band.index());
        let mut given_up = Vec::new();
        if !eligibility.regions.contains(cell.region) {
            given_up.push(1);
        }
        if tier > 0 {
            given_up.push(2);
        }
        if band > 0 {
            given_up.push(3);
        }
        let worst_first: Vec<usize> = given_up.iter().rev().copied().collect();
        let distance = self.millis(eligibility.home, cell.region);
        (
            given_up.len(),
            worst_first,
            distance,
            tier,
            band,
            ask.body.price,
            cell,
        )
    }

    pub(super) fn units(count: u64) -> Units {
        Units::new(count)
    }
}
