//! The books, added up once more, from the transfers alone and in 128 bits. A store reads its rows to the [`Auditor`];
//! what is right and what is wrong is decided here, for every store alike.
//!
//! Memory grows with the number of accounts, of pending transfers and of days, not with that of transfers.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Credits, LeaseId, Sequence, ShardId, TransferId};
use ledger::{AccountKey, Counters, Mode, RefundShares, Transfer, TransferKind};
use sha2::{Digest as _, Sha256};

use super::merkle::{Day, Tree, leaf};
use super::plan::claim;
use super::refund::Refund;
use super::rows::KeptSettlement;
use super::seal::{Digest, Seal, Sealing};
use super::{AuditReport, BookedTransfer, ClosedDay, ShardSettlement, StoreError};
use crate::limits::FINDINGS_MAX;

/// Takes the rows of one instant in this order: closed days, what matured, transfers by number, refunds by lease,
/// settlements by shard and lease, accounts, cursors. A row that cannot be read is a finding, and the audit goes on.
#[derive(Default)]
pub(super) struct Auditor {
    report: AuditReport,
    /// Per account: debits pending, debits posted, credits pending, credits posted.
    sums: BTreeMap<AccountKey, [i128; 4]>,
    held: BTreeSet<TransferId>,
    matured_through: BTreeMap<AccountKey, u64>,
    /// Per account of earnings: earned up to where maturity has come, less what matured.
    unmatured: BTreeMap<AccountKey, i128>,
    /// Per account of earnings: what left it since something matured last.
    taken: BTreeMap<AccountKey, i128>,
    refunds: BTreeMap<(ShardId, LeaseId), Refunds>,
    /// The legs of settlements that were booked, and those that should have been.
    booked_legs: Legs,
    owed_legs: Legs,
    chain: Chain,
    days: BTreeMap<Day, Tree>,
    closed: Vec<ClosedDay>,
    /// Where the chain ended when a day did, by the last transfer that was sealed.
    heads: BTreeMap<u64, (Day, Digest)>,
    last: Option<BookedTransfer>,
}

/// Legs of settlements, added up so that two equal sums mean the same legs, each as often.
#[derive(Default)]
struct Legs {
    by_kind: BTreeMap<TransferKind, i128>,
    /// The sum of a hash of each: where it differs, some leg differs, whatever the amounts come to.
    fingerprint: u128,
}

impl Legs {
    fn add(&mut self, leg: &Transfer) {
        *self.by_kind.entry(leg.kind).or_default() += i128::from(leg.amount.as_nano());
        let mut sha = Sha256::new();
        sha.update(leg.id.get().to_be_bytes());
        sha.update(leg.kind.name());
        for number in [leg.debit.number(), leg.credit.number(), leg.amount.as_nano()] {
            sha.update(number.to_be_bytes());
        }
        let digest: Digest = sha.finalize().into();
        let head = digest.first_chunk().expect("a digest has 32 bytes");
        self.fingerprint = self.fingerprint.wrapping_add(u128::from_be_bytes(*head));
    }

    fn sum(&self, kind: TransferKind) -> i128 {
        self.by_kind.get(&kind).copied().unwrap_or(0)
    }
}

/// What was refunded of a lease.
#[derive(Default)]
struct Refunds {
    all: i128,
    /// Borne by the Island's owner.
    island: i128,
    /// Borne by the failover pool.
    pool: i128,
}

/// How far the hash chain was followed.
#[derive(Default)]
struct Chain {
    previous: Digest,
    /// The seal that is being computed again, and what it should become.
    open: Option<(Seal, Sealing)>,
    /// How many seals began at a transfer.
    seals: u64,
}

/// What settles a lease, and what gives it back.
const SETTLING: [TransferKind; 6] = [
    TransferKind::Charge,
    TransferKind::Fee,
    TransferKind::PoolShare,
    TransferKind::Subsidy,
    TransferKind::Compensation,
    TransferKind::Refund,
];

impl Auditor {
    /// Notes something that is wrong.
    pub(super) fn finding(&mut self, finding: impl Into<String>) {
        if self.report.findings.len() < FINDINGS_MAX {
            self.report.findings.push(finding.into());
        }
    }

    /// The row, or nothing and a finding.
    fn readable<T>(&mut self, row: Result<T, StoreError>) -> Option<T> {
        row.map_err(|error| self.finding(error.to_string())).ok()
    }

    /// Takes where an account's matured earnings end.
    pub(super) fn matured(&mut self, row: Result<(AccountKey, u64), StoreError>) {
        let row = self.readable(row);
        self.matured_through.extend(row);
    }

    /// Takes how far a shard is settled.
    pub(super) fn cursor(&mut self, row: Result<(ShardId, Sequence), StoreError>) {
        self.readable(row);
    }

    /// Takes the next transfer, with the seal that begins at it.
    pub(super) fn transfer(&mut self, row: Result<(BookedTransfer, Option<Seal>), StoreError>) {
        self.report.transfers = self.report.transfers.saturating_add(1);
        if let Some((booked, seal)) = self.readable(row) {
            self.follow_chain(&booked, seal);
            self.add(booked);
        }
    }

    fn follow_chain(&mut self, booked: &BookedTransfer, seal: Option<Seal>) {
        if let Some(seal) = seal {
            self.chain.seals = self.chain.seals.saturating_add(1);
            let open = (seal, Sealing::after(self.chain.previous));
            if let Some((cut, _)) = self.chain.open.replace(open) {
                self.finding(format!(
                    "the seal of transfer {} runs into the next one",
                    cut.first
                ));
            }
        }
        let Some((seal, mut sealing)) = self.chain.open.take() else {
            self.finding(format!(
                "{} is not sealed: something else than billing wrote it",
                booked.transfer.id
            ));
            return;
        };
        sealing.add(booked);
        if booked.number < seal.through {
            self.chain.open = Some((seal, sealing));
            return;
        }
        if sealing.finish() != seal.hash {
            let Seal { first, through, .. } = seal;
            self.finding(format!(
                "transfers {first} to {through} are not those that were sealed"
            ));
        }
        if let Some((day, hash)) = self.heads.remove(&seal.through)
            && hash != seal.hash
        {
            let day = day.get();
            self.finding(format!(
                "the chain at the end of day {day} is not the one that was noted then"
            ));
        }
        self.chain.previous = seal.hash;
        self.report.chain_head = Some(seal.hash);
    }

    fn add(&mut self, booked: BookedTransfer) {
        let transfer = &booked.transfer;
        let id = transfer.id;
        let amount = i128::from(transfer.amount.as_nano());
        if amount <= 0 {
            self.finding(format!("{id} moves {amount}"));
        }
        if !transfer.kind.allows(transfer.debit, transfer.credit) {
            let (kind, debit, credit) = (transfer.kind.name(), transfer.debit, transfer.credit);
            self.finding(format!("{id}, a {kind}, goes from {debit} to {credit}"));
        }
        if self.last.as_ref().is_some_and(|last| last.at > booked.at) {
            self.finding(format!("{id} was booked before the transfer ahead of it"));
        }
        let (pending, posted) = match transfer.mode {
            Mode::Plain => (0, amount),
            Mode::Pending => {
                self.held.insert(id);
                (amount, 0)
            }
            Mode::Post(held) => {
                self.resolve(id, held);
                (-amount, amount)
            }
            Mode::Void(held) => {
                self.resolve(id, held);
                (-amount, 0)
            }
        };
        let debit = self.sums.entry(transfer.debit).or_default();
        debit[0] += pending;
        debit[1] += posted;
        let credit = self.sums.entry(transfer.credit).or_default();
        credit[2] += pending;
        credit[3] += posted;
        if SETTLING.contains(&transfer.kind) {
            self.booked_legs.add(transfer);
        }
        if transfer.credit.earner().is_some() {
            let through = self.matured_through.get(&transfer.credit).copied().unwrap_or(0);
            if booked.number <= through {
                *self.unmatured.entry(transfer.credit).or_default() += posted;
            }
        }
        if transfer.debit.earner().is_some() {
            let (account, kind) = (transfer.debit, transfer.kind);
            self.leave(account, kind, posted);
        }
        self.last = Some(booked);
    }

    /// Notes what leaves an account of earnings. What is refunded or reset is taken off what matures next.
    fn leave(&mut self, account: AccountKey, kind: TransferKind, posted: i128) {
        let taken = self.taken.entry(account).or_default();
        *taken += posted;
        if kind == TransferKind::Maturity {
            *self.unmatured.entry(account).or_default() -= std::mem::take(taken);
        }
    }

    fn resolve(&mut self, id: TransferId, held: TransferId) {
        if !self.held.remove(&held) {
            self.finding(format!("{id} resolves {held}, which is not held"));
        }
    }

    /// Takes the next settlement, with the day it was kept on.
    pub(super) fn settlement(&mut self, row: Result<KeptSettlement, StoreError>) {
        self.report.settlements = self.report.settlements.saturating_add(1);
        let Some(kept) = self.readable(row) else { return };
        let KeptSettlement {
            settlement,
            refusal,
            day,
            mended,
        } = kept;
        let leaf = leaf(&settlement, refusal.as_ref());
        self.days.entry(day).or_default().add(&leaf);
        let booked = refusal.is_none() || mended;
        let lease = settlement.settlement.lease;
        if let Some(refunds) = self.refunds.remove(&(settlement.shard, lease)) {
            self.compare_refunds(&settlement, booked, &refunds);
        }
        if !booked {
            return;
        }
        match claim(&settlement).map(|claim| claim.legs()) {
            Ok(Ok(legs)) => legs.iter().for_each(|leg| self.owed_legs.add(leg)),
            Ok(Err(refusal)) => self.finding(format!("{lease} was settled, although {refusal}")),
            Err(refusal) => self.finding(format!("{lease} was settled, although {}", refusal.message)),
        }
    }

    /// Takes the next refund, by lease.
    pub(super) fn refund(&mut self, row: Result<Refund, StoreError>) {
        let Some(refund) = self.readable(row) else { return };
        refund.legs().iter().for_each(|leg| self.owed_legs.add(leg));
        let key = (refund.shard, refund.lease);
        let sum = self.refunds.entry(key).or_default();
        let nano = |part: Credits| i128::from(part.as_nano());
        let island = nano(refund.from_earnings) + nano(refund.from_available);
        sum.island += island;
        sum.pool += nano(refund.from_pool);
        sum.all += island + nano(refund.from_fees) + nano(refund.from_pool);
    }

    /// All refunds of a lease: no more than was paid, nobody pays more than his part, and the pool exactly its own.
    fn compare_refunds(&mut self, settlement: &ShardSettlement, booked: bool, refunds: &Refunds) {
        let bill = settlement.settlement.bill;
        let all = i64::try_from(refunds.all).unwrap_or(i64::MAX);
        let shares = RefundShares::of(bill, Credits::ZERO, Credits::from_nano(all)).filter(|_| booked);
        let fits = shares.is_some_and(|shares| {
            refunds.island <= i128::from(shares.island.as_nano())
                && refunds.pool == i128::from(shares.pool.as_nano())
        });
        if !fits {
            let lease = settlement.settlement.lease;
            self.finding(format!(
                "the refunds of {lease} ({} in all) are not what was paid for it",
                refunds.all
            ));
        }
    }

    /// Takes a day that was closed.
    pub(super) fn closed_day(&mut self, row: Result<ClosedDay, StoreError>) {
        self.report.days = self.report.days.saturating_add(1);
        let Some(closed) = self.readable(row) else { return };
        if let Some(head) = closed.chain {
            let before = self.heads.insert(head.through, (closed.day, head.hash));
            if let Some((day, _)) = before.filter(|(_, hash)| *hash != head.hash) {
                self.finding(format!(
                    "days {} and {} end with two chains",
                    day.get(),
                    closed.day.get()
                ));
            }
        }
        self.closed.push(closed);
    }

    fn compare_day(&mut self, closed: ClosedDay) {
        let tree = self.days.get(&closed.day).cloned().unwrap_or_default();
        if (tree.leaves(), tree.root()) != (closed.settlements, closed.root) {
            self.finding(format!(
                "the {} settlements of day {} are not the {} that its root was made of",
                tree.leaves(),
                closed.day.get(),
                closed.settlements
            ));
        }
    }

    /// Takes how many seals there are.
    pub(super) fn seals(&mut self, count: u64) {
        if count != self.chain.seals {
            let seals = self.chain.seals;
            self.finding(format!("there are {count} seals, and transfers for {seals}"));
        }
    }

    /// Takes an account as it is kept.
    pub(super) fn account(&mut self, row: Result<(AccountKey, Counters), StoreError>) {
        self.report.accounts = self.report.accounts.saturating_add(1);
        if let Some((account, counters)) = self.readable(row) {
            self.compare(account, counters);
        }
    }

    fn compare(&mut self, account: AccountKey, counters: Counters) {
        let kept = [
            counters.debits_pending(),
            counters.debits_posted(),
            counters.credits_pending(),
            counters.credits_posted(),
        ]
        .map(|counter| i128::from(counter.as_nano()));
        let summed = self.sums.remove(&account).unwrap_or_default();
        if kept != summed {
            self.finding(format!("{account} keeps {kept:?}, its transfers make {summed:?}"));
        }
        if !account.kind().may_owe() && kept[3] < kept[1] + kept[0] {
            self.finding(format!("{account} owes"));
        }
        let balance = counters.balance();
        self.report.sum += i128::from(balance.as_nano());
        match account {
            AccountKey::Fees => self.report.fees = balance,
            AccountKey::Pool => self.report.pool = balance,
            AccountKey::Reserved(..) => match self.report.reserved.checked_add(balance) {
                Some(reserved) => self.report.reserved = reserved,
                None => self.finding("what is reserved leaves the range"),
            },
            AccountKey::Available(_)
            | AccountKey::Pending(_)
            | AccountKey::Probation(_)
            | AccountKey::Grants
            | AccountKey::Payouts => {}
        }
    }

    /// What was found, once everything was read.
    pub(super) fn finish(mut self) -> AuditReport {
        for kind in SETTLING {
            let (moved, settled) = (self.booked_legs.sum(kind), self.owed_legs.sum(kind));
            if moved != settled {
                let kind = kind.name();
                self.finding(format!(
                    "{kind} transfers come to {moved}, the settlements to {settled}"
                ));
            }
        }
        if self.booked_legs.fingerprint != self.owed_legs.fingerprint {
            self.finding("the transfers of settlements are not the legs that the settlements have");
        }
        if let Some((seal, _)) = self.chain.open.take() {
            self.finding(format!(
                "the transfers after {} that were sealed are gone",
                seal.first
            ));
        }
        for (day, _) in std::mem::take(&mut self.heads).into_values() {
            let day = day.get();
            self.finding(format!(
                "the transfers that were booked by the end of day {day} are not all there"
            ));
        }
        for closed in std::mem::take(&mut self.closed) {
            self.compare_day(closed);
        }
        for (_, lease) in std::mem::take(&mut self.refunds).into_keys() {
            self.finding(format!("{lease} was refunded and not settled"));
        }
        for account in std::mem::take(&mut self.sums).into_keys() {
            self.finding(format!("{account} has transfers and does not exist"));
        }
        if self.report.sum != 0 {
            self.finding(format!("the accounts add up to {}", self.report.sum));
        }
        for (account, rest) in std::mem::take(&mut self.unmatured) {
            if rest != 0 {
                self.finding(format!(
                    "what matured out of {account} is {rest} off what was earned"
                ));
            }
        }
        self.report.held = u64::try_from(self.held.len()).unwrap_or(u64::MAX);
        self.report
    }
}
