//! Building an engine from a state that is not trusted: every reference is looked up, every list must be in order.
//!
//! What concerns single values and references is checked here, before anything relies on it; what concerns the whole
//! is left to the audit.

use std::collections::BTreeSet;

use domain::{
    AccountId, Credits, Jobs, LeaseId, RegionTable, RunningBill, Sequence, TimeInForce, UNITS_MAX, Units,
};

use crate::book::arena::Handle;
use crate::book::cells::Place;
use crate::book::{Book, Trading};
use crate::client_ids::{Ended, Record, Remembered};
use crate::engine::Engine;
use crate::engine::resting::Priority;
use crate::leases::Run;
use crate::order::{Ask, Bid, Entry, Part, Special, Terms};
use crate::risk::reservation;
use crate::roster::{DeadMan, Island, Tiers};
use crate::snapshot::SnapshotError;
use crate::snapshot::state::{
    AccountState, BidState, BookState, IslandState, LeaseState, OrderState, PartState, SessionState, State,
};
use crate::timers::Timer;

/// Numbers that only count up stay below this: what a shard never reaches, and from where adding one never overflows.
const COUNTER_MAX: u64 = 1 << 62;

pub(super) fn engine(state: State) -> Result<Engine, SnapshotError> {
    let counters = [
        state.sequence.get(),
        state.next_priority,
        state.next_trade.get(),
        state.next_lease.get(),
    ];
    require(counters.iter().all(|counter| *counter < COUNTER_MAX), "a counter")?;
    let mut engine = Engine::new(state.limits);
    engine.sequence = state.sequence;
    engine.now = state.now;
    engine.next_priority = state.next_priority;
    engine.next_trade = state.next_trade;
    engine.regions = state.regions.map(regions).transpose()?;
    require(
        in_order(state.accounts.iter().map(|account| account.id)),
        "the accounts' order",
    )?;
    require(
        in_order(state.sessions.iter().map(|session| session.id)),
        "the sessions' order",
    )?;
    require(
        in_order(state.islands.iter().map(|island| island.id)),
        "the Islands' order",
    )?;
    require(
        in_order(state.orders.iter().map(|order| order.id)),
        "the orders' order",
    )?;
    for book in state.books {
        add_book(&mut engine, book)?;
    }
    for account in state.accounts {
        add_account(&mut engine, account)?;
    }
    add_sessions(&mut engine, state.sessions, &state.islands, &state.orders)?;
    for order in state.orders {
        add_order(&mut engine, order)?;
    }
    rest_orders(&mut engine)?;
    for lease in state.leases {
        add_lease(&mut engine, lease)?;
    }
    require(engine.leases.restore_next(state.next_lease), "the next lease")?;
    let mut forget_before = domain::Timestamp::ZERO;
    for ended in state.ended_ids {
        require(ended.forget_at >= forget_before, "the ended ids' order")?;
        forget_before = ended.forget_at;
        let account = account(&engine, ended.account)?;
        let record = engine
            .client_ids
            .find(account, ended.client_order_id)
            .ok_or_else(|| inconsistent("an ended id"))?;
        engine.client_ids.restore_ended(Ended {
            forget_at: ended.forget_at,
            record,
        });
    }
    require(
        in_order(state.ended_jobs.iter().map(|(job, _)| *job)),
        "the ended jobs' order",
    )?;
    for (job, tally) in state.ended_jobs {
        require(
            !tally.charge.is_negative() && !tally.fee.is_negative(),
            "an ended job's charge",
        )?;
        engine.ended_jobs.restore(job, tally);
    }
    Ok(engine)
}

fn add_book(engine: &mut Engine, state: BookState) -> Result<(), SnapshotError> {
    let mut book = Book::new(state.specification);
    if state.is_halted {
        book.trading = Trading::Halted;
    }
    book.price_band = state.price_band;
    for eligibility in state.classes {
        let known = engine.regions.as_ref().is_some_and(|table| {
            let mut regions = eligibility.regions.iter().chain([eligibility.home]);
            regions.all(|region| table.code(region).is_some())
        });
        let room = book
            .classes
            .room_for(&eligibility, engine.limits.classes_per_instrument_max);
        let Some(crate::book::classes::Room::Unused(class)) = room else {
            return Err(inconsistent("a class"));
        };
        require(known, "a class's regions")?;
        book.define_class(class, eligibility);
    }
    engine.books.push(book);
    Ok(())
}

fn add_account(engine: &mut Engine, state: AccountState) -> Result<(), SnapshotError> {
    let account = engine.accounts.find_or_new(state.id);
    require(
        !state.available.is_negative() && !state.reserved.is_negative(),
        "an account's buying power",
    )?;
    let power = state
        .available
        .checked_add(state.reserved)
        .ok_or_else(|| inconsistent("an account's buying power"))?;
    engine
        .accounts
        .fund(account, power)
        .ok_or_else(|| inconsistent("the sum of buying power"))?;
    engine.accounts.reserve(account, state.reserved);
    engine.accounts.get_mut(account).flow = state.flow;
    for transfer in state.transfers {
        require(
            !engine.accounts.knows_transfer(account, transfer),
            "a transfer that is remembered twice",
        )?;
        engine
            .accounts
            .remember_transfer(account, transfer, engine.limits.transfers_per_account_max);
    }
    for known in state.client_ids {
        require(
            engine.client_ids.find(account, known.client_order_id).is_none(),
            "a client order id that is remembered twice",
        )?;
        engine.client_ids.remember(Record {
            account,
            client_order_id: known.client_order_id,
            remembered: Remembered {
                order: known.order,
                fingerprint: known.fingerprint,
                unmatched: known.unmatched,
            },
        });
        engine.accounts.get_mut(account).client_id_count += 1;
    }
    Ok(())
}

fn add_sessions(
    engine: &mut Engine,
    sessions: Vec<SessionState>,
    islands: &[IslandState],
    orders: &[OrderState],
) -> Result<(), SnapshotError> {
    // One command arms one timer, so no two fire in one place.
    let with_deadline = orders
        .iter()
        .filter(|order| matches!(order.time_in_force, TimeInForce::Gtd(_)));
    let mut armed: BTreeSet<Sequence> = with_deadline.map(|order| Sequence::new(order.id.get())).collect();
    for state in sessions {
        require(state.id.get() <= engine.sequence.get(), "a session of the future")?;
        let session = engine.roster.open_session(state.id);
        if let Some((deadline, armed_by)) = state.dead_man {
            require(armed_by <= engine.sequence, "a switch of the future")?;
            require(armed.insert(armed_by), "two timers in one place")?;
            let timer = engine.timers.arm(deadline, armed_by, Timer::DeadMan(session));
            engine.roster.sessions[session].dead_man = Some(DeadMan {
                deadline,
                armed_by,
                timer,
            });
        }
        for id in state.islands {
            let position = islands
                .binary_search_by_key(&id, |island| island.id)
                .map_err(|_| inconsistent("a session's Island"))?;
            require(
                engine.roster.find_island(id).is_none(),
                "an Island of two sessions",
            )?;
            let island = island(engine, &islands[position], session)?;
            let island = engine.join(island);
            hold_slots(engine, island, &islands[position].held)?;
        }
    }
    require(
        engine.roster.islands.len() == islands.len(),
        "an Island without a session",
    )
}

fn hold_slots(engine: &mut Engine, island: Handle, held: &[(LeaseId, u32)]) -> Result<(), SnapshotError> {
    for (first, count) in held {
        let sum = engine.roster.islands[island].held.checked_add(*count);
        let sum = sum.ok_or_else(|| inconsistent("an Island's slots"))?;
        require(
            engine.leases.restore_held(*first, *count, island),
            "an Island's slots",
        )?;
        engine.roster.islands[island].held = sum;
    }
    Ok(())
}

fn island(engine: &Engine, state: &IslandState, session: Handle) -> Result<Island, SnapshotError> {
    let known = engine
        .regions
        .as_ref()
        .is_some_and(|table| table.code(state.region).is_some());
    require(known, "an Island's region")?;
    require(
        in_order(state.tiers.iter().map(|(instrument, _)| *instrument))
            && state
                .tiers
                .iter()
                .all(|(instrument, _)| engine.find_book(*instrument).is_some()),
        "an Island's tiers",
    )?;
    let mut tiers = Tiers::default();
    for (instrument, tier) in &state.tiers {
        tiers.set(*instrument, Some(*tier));
    }
    Ok(Island {
        id: state.id,
        owner: account(engine, state.owner)?,
        session,
        region: state.region,
        band: state.band,
        slots: state.slots,
        held: 0,
        asks: crate::book::queue::Queue::default(),
        leaves_bound: Jobs::ZERO,
        tiers,
    })
}

fn add_order(engine: &mut Engine, state: OrderState) -> Result<(), SnapshotError> {
    require(state.id.get() <= engine.sequence.get(), "an order of the future")?;
    let account = account(engine, state.account)?;
    require(
        engine.find_book(state.instrument).is_some(),
        "an order's instrument",
    )?;
    let known = state.filled.checked_add(state.leaves);
    require(
        Jobs::for_order(state.jobs.get()).is_ok()
            && !state.leaves.is_zero()
            && known.is_some_and(|known| known <= state.jobs),
        "an order's quantity",
    )?;
    match state.time_in_force {
        TimeInForce::Gtc | TimeInForce::Gtd(_) => {}
        TimeInForce::Ioc | TimeInForce::Fok => return Err(inconsistent("an order that may not rest")),
    }
    let record = engine.client_ids.find(account, state.client_order_id);
    let resumes = matches!(&state.part, PartState::Bid(bid) if is_resumed(bid));
    require(resumes || record.is_some(), "an order's client order id")?;
    let part = part(engine, account, &state)?;
    let record = record.filter(|_| !resumes);
    let (terms, mut special) = match state.part {
        PartState::Bid(bid) => (
            Terms::of_bid(record, state.jobs, bid.units_max, bid.latency_value),
            special_of(bid),
        ),
        PartState::Ask(ask) => (Terms::of_ask(record, state.jobs, ask.post_only), None),
    };
    if let Some(special) = &mut special
        && resumes
    {
        special.inherited = Some(state.client_order_id);
    }
    let order = engine.insert_order(Entry {
        id: state.id,
        account,
        instrument: state.instrument,
        price: state.price,
        self_trade: state.self_trade,
        part,
        time_in_force: state.time_in_force,
        terms,
        special,
    });
    engine.orders.terms_mut(order).filled = state.filled;
    let restored = &mut engine.orders[order];
    restored.leaves = state.leaves;
    restored.priority = state.priority;
    Ok(())
}

fn is_resumed(bid: &BidState) -> bool {
    bid.special
        .as_ref()
        .is_some_and(|special| special.resumes.is_some())
}

/// What few bids have, with the reservation that a failover inherited.
fn special_of(bid: BidState) -> Option<Box<Special>> {
    let mut special = bid.special?;
    if let Some(resumed) = &mut special.resumes {
        resumed.reserved = bid.reserved_per_job;
    }
    Some(special)
}

/// What matching reads of one side, once every reference has been looked up.
fn part(engine: &mut Engine, account: Handle, state: &OrderState) -> Result<Part, SnapshotError> {
    let (instrument, leaves) = (state.instrument, state.leaves);
    match &state.part {
        PartState::Bid(bid) => {
            let class_count = engine.book(instrument).classes.iter().count();
            require(usize::from(bid.class) < class_count, "a bid's class")?;
            let session = engine
                .roster
                .find_session(bid.session)
                .ok_or_else(|| inconsistent("a bid's session"))?;
            require(bid.units_max <= Units::new(UNITS_MAX), "a bid's work")?;
            require(
                !bid.reserved_per_job.is_negative() && bid.reserved_per_job.times(leaves.get()).is_some(),
                "a bid's reservation",
            )?;
            match bid.special.as_ref().and_then(|special| special.resumes) {
                Some(resumed) => running_bill(resumed.billed)?,
                None => require(
                    reservation(state.price, bid.units_max) == Some(bid.reserved_per_job),
                    "a bid's reservation",
                )?,
            }
            Ok(Part::Bid(Bid {
                session,
                class: bid.class,
            }))
        }
        PartState::Ask(ask) => {
            let handle = engine
                .roster
                .find_island(ask.island)
                .ok_or_else(|| inconsistent("an ask's Island"))?;
            let island = &mut engine.roster.islands[handle];
            require(island.owner == account, "an ask's owner")?;
            island.leaves_bound = island.leaves_bound.max(leaves);
            let tier = island
                .tiers
                .get(instrument)
                .ok_or_else(|| inconsistent("an ask's tier"))?;
            let place = Place {
                region: island.region,
                tier,
                band: island.band,
            };
            let cell = engine.book_mut(instrument).cell_or_new(place);
            Ok(Part::Ask(Ask { island: handle, cell }))
        }
    }
}

/// Puts every order in its place, those with the lowest priority first, so that each joins the back of its level.
fn rest_orders(engine: &mut Engine) -> Result<(), SnapshotError> {
    let mut orders = engine.orders.in_order();
    orders.sort_by_key(|order| engine.orders[*order].priority);
    for order in orders {
        require(
            engine.orders[order].priority < engine.next_priority,
            "an order's priority",
        )?;
        match engine.orders[order].part() {
            Part::Bid(_) => engine.link_bid(order),
            Part::Ask(_) => engine.rest_ask(order, Priority::Kept),
        }
    }
    // A restored book was published by the engine that was saved.
    engine.depth.clear();
    Ok(())
}

fn add_lease(engine: &mut Engine, state: LeaseState) -> Result<(), SnapshotError> {
    let account = account(engine, state.account)?;
    require(
        engine.find_book(state.cell.instrument).is_some(),
        "a lease's instrument",
    )?;
    require(
        engine.roster.find_session(state.session).is_some(),
        "a lease's session",
    )?;
    require(
        state.job.index().checked_add(state.count).is_some() && !state.reserved.is_negative(),
        "a lease's numbers",
    )?;
    running_bill(state.billed)?;
    let run = Run {
        first: state.first,
        count: state.count,
        job: state.job,
        trade: state.trade,
        epoch: state.epoch,
        bid: state.bid,
        account,
        session: state.session,
        client_order_id: state.client_order_id,
        island: state.island,
        island_session: state.island_session,
        owner: state.owner,
        cell: state.cell,
        price: state.price,
        limit: state.limit,
        units_max: state.units_max,
        bid_liquidity: state.bid_liquidity,
        reserved: state.reserved,
        billed: state.billed,
        checkpointed: state.checkpointed,
        eligibility: state.eligibility,
        latency_value: state.latency_value,
        self_trade: state.self_trade,
        special: state.special,
    };
    require(engine.leases.restore(run), "a lease's number")
}

/// A table decodes without its checks: it is made anew through them.
fn regions(table: RegionTable) -> Result<RegionTable, SnapshotError> {
    let codes: Vec<String> = table
        .regions()
        .filter_map(|region| table.code(region).map(str::to_owned))
        .collect();
    let round_trips = table
        .regions()
        .map(|a| table.regions().filter_map(|b| table.round_trip(a, b)).collect())
        .collect();
    let checked = RegionTable::new(codes, round_trips).map_err(|_| inconsistent("the region table"))?;
    require(checked == table, "the region table")?;
    Ok(checked)
}

fn running_bill(bill: RunningBill) -> Result<(), SnapshotError> {
    let sound = !bill.billed().is_negative()
        && bill.billed() < Credits::MAX
        && RunningBill::restore(bill.exact_thousandths(), bill.billed()).is_ok();
    require(sound, "a running bill")
}

fn account(engine: &Engine, account: AccountId) -> Result<Handle, SnapshotError> {
    engine
        .accounts
        .find(account)
        .ok_or_else(|| inconsistent("an account that is not there"))
}

fn in_order<T: Ord>(mut values: impl Iterator<Item = T>) -> bool {
    let Some(mut last) = values.next() else {
        return true;
    };
    values.all(|value| {
        let rises = last < value;
        last = value;
        rises
    })
}

fn require(holds: bool, what: &str) -> Result<(), SnapshotError> {
    if holds { Ok(()) } else { Err(inconsistent(what)) }
}

fn inconsistent(what: &str) -> SnapshotError {
    SnapshotError::Inconsistent {
        what: what.to_owned(),
    }
}
