//! Writing the state down.

use std::collections::BTreeMap;

use crate::book::Trading;
use crate::client_ids::{Ended, Record};
use crate::engine::Engine;
use crate::leases::{Run, plus};
use crate::order::Part;
use crate::risk::Account;
use crate::roster::Island;
use crate::snapshot::state::{
    AccountState, AskState, BidState, BookState, ClientIdState, EndedIdState, IslandState, LeaseState,
    OrderState, PartState, SessionState, State,
};
use domain::LeaseId;

use crate::book::arena::Handle;

pub(super) fn state(engine: &Engine) -> State {
    State {
        limits: engine.limits,
        sequence: engine.sequence,
        now: engine.now,
        next_priority: engine.next_priority,
        next_trade: engine.next_trade,
        next_lease: engine.leases.next(),
        regions: engine.regions.clone(),
        books: engine
            .books
            .iter()
            .map(|book| BookState {
                specification: book.specification.clone(),
                is_halted: book.trading == Trading::Halted,
                price_band: book.price_band,
                classes: book.classes.iter().map(|(_, class)| class.eligibility).collect(),
            })
            .collect(),
        accounts: accounts(engine),
        sessions: engine
            .roster
            .sessions()
            .map(|(_, session)| SessionState {
                id: session.id,
                dead_man: session
                    .dead_man
                    .map(|dead_man| (dead_man.deadline, dead_man.armed_by)),
                islands: session
                    .islands
                    .iter()
                    .map(|island| engine.roster.islands[*island].id)
                    .collect(),
            })
            .collect(),
        islands: islands(engine),
        orders: engine
            .orders
            .in_order()
            .into_iter()
            .map(|order| order_state(engine, order))
            .collect(),
        leases: engine.leases.runs().map(|run| lease_state(engine, run)).collect(),
        ended_ids: engine
            .client_ids
            .ended()
            .map(|ended| ended_state(engine, ended))
            .collect(),
        ended_jobs: engine.ended_jobs.iter().collect(),
    }
}

fn accounts(engine: &Engine) -> Vec<AccountState> {
    let client_ids = engine.client_ids.in_order();
    let accounts = engine.accounts.in_order();
    accounts
        .map(|(handle, account)| {
            let begin = client_ids.partition_point(|record| record.account < handle);
            let own = &client_ids[begin..];
            let end = own.partition_point(|record| record.account == handle);
            account_state(engine, handle, account, &own[..end])
        })
        .collect()
}

fn account_state(engine: &Engine, handle: Handle, account: &Account, client_ids: &[Record]) -> AccountState {
    AccountState {
        id: account.id,
        available: account.power.available,
        reserved: account.power.reserved,
        flow: account.flow,
        transfers: engine.accounts.transfers_of(handle).collect(),
        client_ids: client_ids
            .iter()
            .map(|record| ClientIdState {
                client_order_id: record.client_order_id,
                order: record.remembered.order,
                fingerprint: record.remembered.fingerprint,
                unmatched: record.remembered.unmatched,
            })
            .collect(),
    }
}

fn ended_state(engine: &Engine, ended: Ended) -> EndedIdState {
    let record = engine.client_ids.get(ended.record);
    EndedIdState {
        forget_at: ended.forget_at,
        account: engine.accounts.get(record.account).id,
        client_order_id: record.client_order_id,
    }
}

fn islands(engine: &Engine) -> Vec<IslandState> {
    let mut held: BTreeMap<Handle, Vec<(LeaseId, u32)>> = BTreeMap::new();
    for (lease, holder) in engine.leases.held() {
        let runs = held.entry(holder).or_default();
        match runs.last_mut() {
            Some((first, count)) if plus(*first, *count) == lease => *count += 1,
            Some(_) | None => runs.push((lease, 1)),
        }
    }
    let islands = engine.roster.islands();
    islands
        .map(|(handle, island)| island_state(engine, island, held.remove(&handle).unwrap_or_default()))
        .collect()
}

fn island_state(engine: &Engine, island: &Island, held: Vec<(LeaseId, u32)>) -> IslandState {
    IslandState {
        id: island.id,
        owner: engine.accounts.get(island.owner).id,
        region: island.region,
        band: island.band,
        slots: island.slots,
        held,
        tiers: island.tiers.iter().collect(),
    }
}

fn order_state(engine: &Engine, handle: Handle) -> OrderState {
    let (order, terms) = (&engine.orders[handle], engine.orders.terms(handle));
    OrderState {
        id: order.id,
        account: engine.accounts.get(order.account).id,
        client_order_id: engine.client_order_id(handle),
        instrument: order.instrument,
        price: order.price(),
        jobs: terms.jobs,
        filled: terms.filled,
        leaves: order.leaves,
        time_in_force: engine.time_in_force(handle),
        self_trade: order.self_trade,
        priority: order.priority,
        part: match order.part() {
            Part::Bid(bid) => PartState::Bid(BidState {
                session: engine.roster.sessions[bid.session].id,
                units_max: terms.units_max(),
                class: bid.class,
                latency_value: terms.latency_value,
                reserved_per_job: engine.orders.reserved_per_job(handle),
                special: engine.orders.special(handle).cloned().map(Box::new),
            }),
            Part::Ask(ask) => PartState::Ask(AskState {
                island: engine.roster.islands[ask.island].id,
                post_only: terms.post_only,
            }),
        },
    }
}

fn lease_state(engine: &Engine, run: &Run) -> LeaseState {
    LeaseState {
        first: run.first,
        count: run.count,
        job: run.job,
        trade: run.trade,
        epoch: run.epoch,
        bid: run.bid,
        account: engine.accounts.get(run.account).id,
        session: run.session,
        client_order_id: run.client_order_id,
        island: run.island,
        island_session: run.island_session,
        owner: run.owner,
        cell: run.cell,
        price: run.price,
        limit: run.limit,
        units_max: run.units_max,
        bid_liquidity: run.bid_liquidity,
        reserved: run.reserved,
        billed: run.billed,
        checkpointed: run.checkpointed,
        eligibility: run.eligibility,
        latency_value: run.latency_value,
        self_trade: run.self_trade,
        special: run.special.clone(),
    }
}
