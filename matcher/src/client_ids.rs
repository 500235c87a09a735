//! Client order ids that are remembered: from an order's acceptance until a day after its end.
//!
//! Ids end in the order in which their orders did, so the ones to forget wait in a plain queue.

use std::collections::VecDeque;
use std::time::Duration;

use domain::{ClientOrderId, Eligibility, OrderId, SelfTradeMode, TimeInForce, Timestamp};
use serde::{Deserialize, Serialize};

use crate::book::arena::{Arena, Handle};
use crate::index::{Index, Tag};
use crate::{BidLimit, PlaceAsk, PlaceBid, PostOnly, Unmatched};

/// What an order asked for, in 64 bits. Two bodies of one account with one fingerprint are taken for the same; only
/// the account itself could make such a pair, and only itself would be answered with the first order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint(u64);

/// The order that an id was first used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Remembered {
    pub(crate) order: OrderId,
    pub(crate) fingerprint: Fingerprint,
    /// Jobs of it that ended before anybody took them. Last, for it is read ahead by itself.
    pub(crate) unmatched: Option<Unmatched>,
}

/// A remembered id.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Record {
    pub(crate) client_order_id: ClientOrderId,
    pub(crate) account: Handle,
    pub(crate) remembered: Remembered,
}

/// An id whose order has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) forget_at: Timestamp,
    /// The id's record.
    pub(crate) record: Handle,
}

/// All remembered ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientIds {
    records: Arena<Record>,
    by_name: Index,
    ended: VecDeque<Ended>,
}

impl ClientIds {
    /// The record of an id.
    #[inline]
    pub(crate) fn find(&self, account: Handle, client_order_id: ClientOrderId) -> Option<Handle> {
        self.by_name.find(tag(account, client_order_id), |record| {
            let record = &self.records[record];
            record.client_order_id == client_order_id && record.account == account
        })
    }

    #[inline]
    pub(crate) fn get(&self, record: Handle) -> &Record {
        &self.records[record]
    }

    /// Remembers an id that is not remembered yet.
    #[inline]
    pub(crate) fn remember(&mut self, record: Record) -> Handle {
        let tag = tag(record.account, record.client_order_id);
        let handle = self.records.insert(record);
        self.by_name.insert(tag, handle);
        handle
    }

    /// Notes jobs of a remembered order that ended before anybody took them.
    pub(crate) fn note_unmatched(&mut self, record: Handle, unmatched: Unmatched) {
        self.records[record].remembered.unmatched = Some(unmatched);
    }

    /// Notes that an order ended: its id is forgotten after `kept`.
    #[inline]
    pub(crate) fn end(&mut self, record: Handle, now: Timestamp, kept: Duration) {
        self.ended.push_back(Ended {
            forget_at: now.after(kept),
            record,
        });
    }

    /// Puts an ended id back in the queue, after those restored before it.
    pub(crate) fn restore_ended(&mut self, ended: Ended) {
        self.ended.push_back(ended);
    }

    /// Whether an id is due to be forgotten.
    #[inline(always)]
    pub(crate) fn is_any_due(&self, now: Timestamp) -> bool {
        let first = self.ended.front();
        first.is_some_and(|ended| ended.forget_at <= now)
    }

    /// Forgets one id that is due, and says whose it was and for which order.
    #[inline]
    pub(crate) fn forget_due(&mut self, now: Timestamp) -> Option<(Handle, OrderId)> {
        let due = *self.ended.front().filter(|ended| ended.forget_at <= now)?;
        self.ended.pop_front();
        let record = self.records.remove(due.record);
        self.by_name
            .remove(tag(record.account, record.client_order_id), due.record);
        Some((record.account, record.remembered.order))
    }

    /// Every remembered id, by the account's place, then by the id.
    pub(crate) fn in_order(&self) -> Vec<Record> {
        let mut records: Vec<Record> = self
            .records
            .handles()
            .map(|record| self.records[record])
            .collect();
        records.sort_unstable_by_key(|record| (record.account, record.client_order_id));
        records
    }

    pub(crate) fn make_room(&mut self, count: usize) {
        self.records.make_room(count);
        self.by_name.make_room(count);
        let more = count.saturating_sub(self.ended.len());
        self.ended.reserve(more);
    }

    /// Asks for the slot where the search for an id begins.
    #[inline]
    pub(crate) fn prefetch_slot(&self, account: Handle, client_order_id: ClientOrderId) {
        self.by_name.prefetch(tag(account, client_order_id));
    }

    /// Asks for the end of a record, where what became of its order is noted.
    #[inline]
    pub(crate) fn prefetch_outcome(&self, record: Handle) {
        self.records.prefetch_end(record);
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn ended(&self) -> impl DoubleEndedIterator<Item = Ended> {
        self.ended.iter().copied()
    }
}

fn tag(account: Handle, client_order_id: ClientOrderId) -> Tag {
    let space = u64::try_from(account.position()).expect("a handle fits 64 bits");
    Tag::of_pair(space, client_order_id.get())
}

impl Fingerprint {
    /// Of a bid. The session is left out, for a client may come back through another gateway; and so is the instant
    /// of a deadline, which gateways work out from the arrival of each attempt.
    pub(crate) fn of_bid(bid: &PlaceBid) -> Self {
        let limit = match bid.limit {
            BidLimit::At(price) => price.get(),
            BidLimit::Protection => 0,
        };
        let Eligibility {
            home,
            regions,
            min_tier,
            min_band,
        } = bid.eligibility;
        let kinds = [
            small(u8::from(home)),
            widen(min_tier.index()),
            widen(min_band.index()),
            time_in_force(bid.time_in_force),
            self_trade(bid.self_trade),
        ];
        let mut fingerprint = Self(1)
            .with(pair(bid.instrument.get(), bid.jobs.get()), limit)
            .with(bid.units_max.get(), regions.bits())
            .with(packed(kinds), bid.payload.get())
            .with(pair(bid.latency_value.get(), bid.jobs_min.get()), 0);
        for island in bid.excluded.iter() {
            fingerprint = fingerprint.with(island.get(), 0);
        }
        fingerprint
    }

    /// Of an ask; see [`Self::of_bid`].
    pub(crate) fn of_ask(ask: &PlaceAsk) -> Self {
        let post_only = match ask.post_only {
            PostOnly::No => 0,
            PostOnly::Yes => 1,
        };
        let kinds = [
            time_in_force(ask.time_in_force),
            post_only,
            self_trade(ask.self_trade),
            0,
            0,
        ];
        Self(2)
            .with(pair(ask.instrument.get(), ask.jobs.get()), ask.price.get())
            .with(ask.island.get(), packed(kinds))
    }

    /// Mixes two words in: both halves of their product, so that each bit reaches all.
    #[inline]
    fn with(self, a: u64, b: u64) -> Self {
        let a = u128::from(a ^ self.0.rotate_left(31) ^ 0x9E37_79B9_7F4A_7C15);
        let b = u128::from(b ^ 0xD1B5_4A32_D192_ED03);
        let product = a.wrapping_mul(b);
        let folded = (product ^ (product >> 64)) & u128::from(u64::MAX);
        let folded = u64::try_from(folded).expect("masked to 64 bits");
        Self(folded.wrapping_add(self.0))
    }
}

/// Two counts in one word.
#[inline]
fn pair(a: u32, b: u32) -> u64 {
    u64::from(a) << 32 | u64::from(b)
}

/// Numbers below 64 in one word.
#[inline]
fn packed(kinds: [u64; 5]) -> u64 {
    kinds.into_iter().fold(0, |word, kind| word << 6 | kind)
}

#[inline]
fn small(number: u8) -> u64 {
    u64::from(number)
}

fn widen(index: usize) -> u64 {
    u64::try_from(index).expect("an index fits 64 bits")
}

fn time_in_force(time_in_force: TimeInForce) -> u64 {
    match time_in_force {
        TimeInForce::Ioc => 0,
        TimeInForce::Fok => 1,
        TimeInForce::Gtc => 2,
        TimeInForce::Gtd(_) => 3,
    }
}

fn self_trade(mode: SelfTradeMode) -> u64 {
    match mode {
        SelfTradeMode::Skip => 0,
        SelfTradeMode::CancelNewest => 1,
        SelfTradeMode::CancelOldest => 2,
        SelfTradeMode::CancelBoth => 3,
        SelfTradeMode::Allow => 4,
    }
}
