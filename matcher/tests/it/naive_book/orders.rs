//! Orders: entering.

use std::collections::BTreeMap;

use domain::{
    AccountId, ClientOrderId, Credits, Eligibility, InstrumentId, Liquidity, OrderId, Price, SessionId,
    TimeInForce, Timestamp, Units,
};
use matcher::{
    Alternative, AskAccepted, BidAccepted, BidLimit, Command, EndReason, EndedJob, Event, LeaseEnded,
    PlaceAsk, PlaceBid, PostOnly, RejectReason,
};

use crate::naive_book::{Body, NaiveAsk, NaiveBid, NaiveBook, NaiveId, Refused};

pub(super) fn rests(time_in_force: TimeInForce) -> bool {
    matches!(time_in_force, TimeInForce::Gtc | TimeInForce::Gtd(_))
}

fn kind_only(time_in_force: TimeInForce) -> TimeInForce {
    match time_in_force {
        TimeInForce::Gtd(_) => TimeInForce::Gtd(Timestamp::ZERO),
        other => other,
    }
}

pub(super) fn reject(holds: bool, reason: RejectReason) -> Result<(), Refused> {
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

    pub(super) fn enter_bid(&mut self, bid: &PlaceBid, limit: Price, each: i64, body: Body) {
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

    pub(super) fn repeats(
        &mut self,
        account: AccountId,
        client_order_id: ClientOrderId,
        body: &Body,
    ) -> bool {
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

    pub(super) fn check_order(
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
        reject(!too_many, RejectReason::TooManyOrders)?;
        let counted = self.messages.get(&(account, self.minute()));
        let (messages, trades) = counted.copied().unwrap_or_default();
        let allowed = self.limits.free_messages_per_minute + self.limits.messages_per_trade * trades;
        reject(messages < allowed, RejectReason::OrderToTrade)
    }

    /// Counts what an account sent by a command that was not refused, and what it traded.
    pub(super) fn count_messages(&mut self, command: &Command) {
        let minute = self.minute();
        let mut sent: Vec<AccountId> = Vec::new();
        let mut traded: Vec<AccountId> = Vec::new();
        match command {
            Command::Cancel(cancel) => sent.push(cancel.account),
            Command::CancelAll(cancel) => {
                sent.extend(
                    self.accounts
                        .contains_key(&cancel.account)
                        .then_some(cancel.account),
                );
            }
            _ => {}
        }
        for event in &self.events {
            match event {
                Event::BidAccepted(bid) if bid.resumes.is_none() => sent.push(bid.account),
                Event::AskAccepted(ask) => sent.push(ask.account),
                Event::Amended { account, .. } => sent.push(*account),
                Event::Traded(trade) if trade.account != trade.owner => {
                    traded.extend([trade.account, trade.owner]);
                }
                _ => {}
            }
        }
        for account in sent {
            self.messages.entry((account, minute)).or_default().0 += 1;
        }
        for account in traded {
            self.messages.entry((account, minute)).or_default().1 += 1;
        }
    }

    fn minute(&self) -> u64 {
        self.now.as_micros().div_euclid(60_000_000)
    }

    pub(super) fn class_for(&self, instrument: InstrumentId, eligibility: &Eligibility) -> Option<u16> {
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

    pub(super) fn units(count: u64) -> Units {
        Units::new(count)
    }
}
