//! The ledger and the plan without a database: what every store must do, said once more in memory.

mod books;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use billing::limits::{LEASES_OF_JOB_MAX, PAYOUT_MIN};
use billing::store::key::KeyRecord;
use billing::store::merkle::{Day, Tree, leaf};
use billing::store::payout::{Payable, Payout, PayoutCause, PayoutFilter, PayoutState};
use billing::store::plan::{Rows, Working};
use billing::store::refund::Refund;
use billing::store::reset::{Participation, Reset};
use billing::store::seal::ChainHead;
use billing::store::usage::{UsageQuestion, UsageSide, UsageSum};
use billing::store::{
    AuditReport, Balances, BookedTransfer, Change, ClosedDay, LedgerStore, Maturing, Outcome,
    ReservationRecord, Settled, Span, StoreError,
};
use domain::{
    AccountId, Credits, IslandId, JobId, KeyId, LeaseId, Liquidity, Sequence, ShardId, Standing, Timestamp,
    TransferId,
};
use ledger::{AccountKey, Owner, TransferKind};
use proto::convert::billing::{SpendingLimit, SpendingTotal};

/// Books in memory.
#[derive(Debug)]
pub(crate) struct PureStore(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    working: Working,
    transfers: Vec<BookedTransfer>,
    settled_at: BTreeMap<(ShardId, LeaseId), Timestamp>,
    made_at: BTreeMap<Owner, Timestamp>,
    mended_at: BTreeMap<(ShardId, LeaseId), Timestamp>,
    refunded_at: BTreeMap<(TransferId, u8), Timestamp>,
    keys: BTreeMap<[u8; 32], KeyRecord>,
    days: BTreeMap<Day, ClosedDay>,
    /// In the order in which they were asked for.
    payouts: Vec<TransferId>,
    destinations: BTreeMap<Owner, String>,
    limits: BTreeMap<KeyId, SpendingLimit>,
    /// In the order in which they first came.
    spending: Vec<SpendingTotal>,
}

impl PureStore {
    pub(crate) fn new() -> Self {
        let mut books = Books::default();
        AccountKey::OWN
            .into_iter()
            .for_each(|account| books.working.ledger.open(account));
        Self(Mutex::new(books))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap()
    }
}

fn limited<T>(items: impl Iterator<Item = T>, limit: u32) -> Vec<T> {
    items.take(usize::try_from(limit).unwrap()).collect()
}

impl LedgerStore for PureStore {
    async fn commit(&self, changes: &[Change], now: Timestamp) -> Result<Vec<Outcome>, StoreError> {
        Ok(self.books().take(changes, now))
    }

    async fn key_by_hash(&self, secret_sha256: [u8; 32]) -> Result<Option<KeyRecord>, StoreError> {
        Ok(self.books().keys.get(&secret_sha256).cloned())
    }

    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let books = self.books();
        Ok(books.keys.values().find(|key| key.id == id).cloned())
    }

    async fn spending(
        &self,
        line: KeyId,
        day: u32,
        after: u64,
        limit: u32,
    ) -> Result<Vec<(u64, SpendingTotal)>, StoreError> {
        let books = self.books();
        let numbered = (1..).zip(books.spending.iter().copied());
        let fitting =
            numbered.filter(|(number, total)| *number > after && (total.line, total.day) == (line, day));
        Ok(limited(fitting, limit))
    }

    async fn keys_of(&self, owner: AccountId) -> Result<Option<Vec<KeyRecord>>, StoreError> {
        let books = self.books();
        let mut keys: Vec<KeyRecord> = books
            .keys
            .values()
            .filter(|key| key.owner == owner)
            .cloned()
            .collect();
        keys.sort_by_key(|key| key.id);
        Ok(books.knows(owner).map(|_| keys))
    }

    async fn balances(&self, owner: AccountId) -> Result<Option<Balances>, StoreError> {
        let books = self.books();
        Ok(books.knows(owner).map(|owner| books.balances(owner)))
    }

    async fn history(
        &self,
        owner: AccountId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Option<Vec<BookedTransfer>>, StoreError> {
        let books = self.books();
        let Some(owner) = books.knows(owner) else {
            return Ok(None);
        };
        let touches = |booked: &&BookedTransfer| {
            let transfer = &booked.transfer;
            let touched = [transfer.debit, transfer.credit].map(AccountKey::owner);
            touched.contains(&Some(owner)) && before.is_none_or(|before| booked.number < before)
        };
        let history = books.transfers.iter().rev().filter(touches).cloned();
        Ok(Some(limited(history, limit)))
    }

    async fn reservations(
        &self,
        shard: ShardId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<ReservationRecord>, StoreError> {
        let books = self.books();
        let record = |booked: &BookedTransfer| {
            let transfer = &booked.transfer;
            let (account, sign) = if transfer.kind == TransferKind::Reserve {
                (transfer.credit, 1)
            } else if transfer.kind == TransferKind::Return {
                (transfer.debit, -1)
            } else {
                return None;
            };
            (account.shard() == Some(shard) && booked.number > after).then(|| ReservationRecord {
                number: booked.number,
                transfer: transfer.id,
                owner: account.owner().unwrap().id(),
                amount: Credits::from_nano(sign * transfer.amount.as_nano()),
            })
        };
        Ok(limited(books.transfers.iter().filter_map(record), limit))
    }

    async fn reserved_balances(
        &self,
        shard: ShardId,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<(AccountId, Credits)>, StoreError> {
        let books = self.books();
        let mut held: Vec<(AccountId, Credits)> = books
            .working
            .ledger
            .accounts()
            .filter(|(account, _)| account.shard() == Some(shard))
            .map(|(account, counters)| (account.owner().unwrap().id(), counters.balance()))
            .filter(|(owner, balance)| *balance != Credits::ZERO && after.is_none_or(|after| *owner > after))
            .collect();
        held.sort();
        Ok(limited(held.into_iter(), limit))
    }

    async fn cursor(&self, shard: ShardId) -> Result<Sequence, StoreError> {
        let cursor = self.books().working.cursors.get(&shard).copied();
        Ok(cursor.unwrap_or(Sequence::ZERO))
    }

    async fn due(
        &self,
        standing: Standing,
        cutoff: Timestamp,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<Maturing>, StoreError> {
        let books = self.books();
        let mut due: Vec<Maturing> = books
            .working
            .ledger
            .accounts()
            .filter(|(account, _)| {
                account
                    .earner()
                    .is_some_and(|(owner, of)| of == standing && after.is_none_or(|after| owner.id() > after))
            })
            .filter_map(|(account, _)| books.due(account, cutoff))
            .collect();
        due.sort_by_key(|maturing| maturing.owner);
        Ok(limited(due.into_iter(), limit))
    }

    async fn first_open_day(&self) -> Result<Option<Day>, StoreError> {
        let books = self.books();
        let days = books.settled_at.values().map(|at| Day::of(*at));
        let last = books.days.keys().next_back().copied();
        Ok(days.filter(|day| last.is_none_or(|last| *day > last)).min())
    }

    async fn close_day(&self, day: Day, _now: Timestamp) -> Result<ClosedDay, StoreError> {
        let mut books = self.books();
        if let Some(closed) = books.days.get(&day) {
            return Ok(*closed);
        }
        let mut tree = Tree::default();
        for (key, at) in &books.settled_at {
            let (settlement, refusal) = &books.working.settlements[key];
            if Day::of(*at) == day {
                tree.add(&leaf(settlement, refusal.as_ref()));
            }
        }
        let closed = ClosedDay {
            day,
            settlements: tree.leaves(),
            root: tree.root(),
            chain: (books.working.head.number > 0).then_some(ChainHead {
                through: books.working.head.number,
                hash: books.working.head.seal,
            }),
        };
        books.days.insert(day, closed);
        let head = &mut books.working.head;
        head.at = head.at.max(day.end());
        Ok(closed)
    }

    async fn closed_days(&self, after: Option<Day>, limit: u32) -> Result<Vec<ClosedDay>, StoreError> {
        let books = self.books();
        let days = books.days.values().copied();
        Ok(limited(
            days.filter(|closed| after.is_none_or(|after| closed.day > after)),
            limit,
        ))
    }

    async fn booked_between(
        &self,
        owner: AccountId,
        span: Span,
        limit: u32,
    ) -> Result<Option<(Credits, Vec<BookedTransfer>)>, StoreError> {
        let books = self.books();
        let Some(owner) = books.knows(owner) else {
            return Ok(None);
        };
        let side = |account: AccountKey| i64::from(account.owner() == Some(owner));
        let worth = books
            .transfers
            .iter()
            .filter(|booked| booked.at < span.from)
            .map(|booked| match booked.transfer.mode {
                ledger::Mode::Pending | ledger::Mode::Void(_) => 0,
                ledger::Mode::Plain | ledger::Mode::Post(_) => {
                    let transfer = &booked.transfer;
                    transfer.amount.as_nano() * (side(transfer.credit) - side(transfer.debit))
                }
            })
            .sum();
        let within = |booked: &&BookedTransfer| {
            let touched = side(booked.transfer.debit) + side(booked.transfer.credit) > 0;
            touched && booked.at >= span.from && booked.at < span.until
        };
        let transfers = limited(books.transfers.iter().filter(within).cloned(), limit);
        Ok(Some((Credits::from_nano(worth), transfers)))
    }

    async fn settled_between(
        &self,
        owner: AccountId,
        span: Span,
        limit: u32,
    ) -> Result<Vec<Settled>, StoreError> {
        let books = self.books();
        let mut settled: Vec<Settled> = books
            .settled_at
            .iter()
            .filter_map(|(key, at)| {
                let (settlement, refusal) = &books.working.settlements[key];
                let claim = &settlement.settlement;
                let concerned = claim.consumer == owner || claim.island_owner == owner;
                let at = *if refusal.is_some() {
                    books.mended_at.get(key)?
                } else {
                    at
                };
                let within = at >= span.from && at < span.until;
                (concerned && within).then(|| Settled {
                    at,
                    settlement: settlement.clone(),
                })
            })
            .collect();
        settled.sort_by_key(|settled| settled.at);
        Ok(limited(settled.into_iter(), limit))
    }

    async fn usage(
        &self,
        owner: AccountId,
        question: &UsageQuestion,
        offset: u64,
        limit: u32,
    ) -> Result<Option<Vec<UsageSum>>, StoreError> {
        if self.books().knows(owner).is_none() {
            return Ok(None);
        }
        let settled = self.settled_between(owner, question.span, u32::MAX).await?;
        let mut sums: BTreeMap<(Day, String, UsageSide), (UsageSum, BTreeSet<JobId>)> = BTreeMap::new();
        for settled in settled {
            let (day, claim) = (Day::of(settled.at), settled.settlement.settlement);
            for side in [UsageSide::Consumer, UsageSide::IslandOwner] {
                let (who, fee_when) = match side {
                    UsageSide::Consumer => (claim.consumer, Liquidity::Taker),
                    UsageSide::IslandOwner => (claim.island_owner, Liquidity::Maker),
                };
                let other_model = question.model.as_ref().is_some_and(|model| *model != claim.model);
                if who != owner || other_model || question.side.is_some_and(|asked| asked != side) {
                    continue;
                }
                let place = (day, claim.model.clone(), side);
                let nothing = || UsageSum {
                    day,
                    model: claim.model.clone(),
                    side,
                    jobs: 0,
                    segments: 0,
                    units: 0,
                    charge: Credits::ZERO,
                    fee: Credits::ZERO,
                    pool_subsidy: Credits::ZERO,
                    compensation: Credits::ZERO,
                };
                let (sum, jobs) = sums.entry(place).or_insert_with(|| (nothing(), BTreeSet::new()));
                jobs.insert(claim.job);
                sum.jobs = u64::try_from(jobs.len()).unwrap();
                sum.segments += 1;
                sum.units += claim.bill.units.get();
                let add = |to: &mut Credits, more: Credits| *to = to.checked_add(more).unwrap();
                add(&mut sum.charge, claim.bill.charge);
                if claim.bill.bid_liquidity == fee_when {
                    add(&mut sum.fee, claim.bill.fee);
                }
                if side == UsageSide::IslandOwner {
                    add(&mut sum.pool_subsidy, claim.bill.pool_subsidy);
                    add(&mut sum.compensation, claim.compensation);
                }
            }
        }
        let sums = sums.into_values().map(|(sum, _)| sum);
        Ok(Some(limited(sums.skip(usize::try_from(offset).unwrap()), limit)))
    }

    async fn earned_before(
        &self,
        owner: AccountId,
        island: IslandId,
        until: Timestamp,
    ) -> Result<Credits, StoreError> {
        let span = Span {
            from: Timestamp::ZERO,
            until,
        };
        let settled = self.settled_between(owner, span, u32::MAX).await?;
        let earned = settled
            .iter()
            .map(|settled| &settled.settlement.settlement)
            .filter(|claim| claim.island == island && claim.island_owner == owner)
            .map(|claim| {
                let earned = claim.bill.island_earns().as_nano();
                earned + claim.bill.pool_subsidy.as_nano() + claim.compensation.as_nano()
            })
            .sum::<i64>();
        let refunds = self.refunds_of_island(owner, island, span, u32::MAX).await?;
        let taken: i64 = refunds
            .iter()
            .map(|refund| refund.borne_by_island().as_nano())
            .sum();
        Ok(Credits::from_nano(earned - taken))
    }

    async fn refunds_of_island(
        &self,
        owner: AccountId,
        island: IslandId,
        span: Span,
        limit: u32,
    ) -> Result<Vec<Refund>, StoreError> {
        let books = self.books();
        let mut refunds: Vec<(Timestamp, Refund)> = books
            .refunded_at
            .iter()
            .map(|(key, at)| (*at, books.working.refunds[key].clone()))
            .filter(|(at, refund)| {
                let (settlement, _) = &books.working.settlements[&(refund.shard, refund.lease)];
                let claim = &settlement.settlement;
                let its = claim.island == island && claim.island_owner == owner;
                its && *at >= span.from && *at < span.until
            })
            .collect();
        refunds.sort_by_key(|(at, refund)| (*at, refund.id, refund.place));
        Ok(limited(refunds.into_iter().map(|(_, refund)| refund), limit))
    }

    async fn leases_of_job(&self, job: JobId) -> Result<Vec<(ShardId, LeaseId)>, StoreError> {
        let books = self.books();
        let mut leases: Vec<(ShardId, Sequence, LeaseId)> = books
            .working
            .settlements
            .values()
            .filter(|(settlement, _)| settlement.settlement.job == job)
            .map(|(kept, _)| (kept.shard, kept.settlement.sequence, kept.settlement.lease))
            .collect();
        leases.sort();
        let leases = leases.into_iter().map(|(shard, _, lease)| (shard, lease));
        Ok(limited(leases, LEASES_OF_JOB_MAX))
    }

    async fn payout(&self, id: TransferId) -> Result<Option<Payout>, StoreError> {
        Ok(self.books().working.payouts.get(&id).cloned())
    }

    async fn payouts(
        &self,
        filter: PayoutFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<(u64, Payout)>, StoreError> {
        let books = self.books();
        let wanted = |(number, payout): &(u64, Payout)| {
            filter.owner.is_none_or(|owner| payout.owner.id() == owner)
                && filter.state.is_none_or(|state| payout.state == state)
                && before.is_none_or(|before| *number < before)
        };
        let payouts = (1..).zip(books.payouts.iter().map(|id| books.working.payouts[id].clone()));
        let payouts: Vec<(u64, Payout)> = payouts.collect();
        Ok(limited(payouts.into_iter().rev().filter(wanted), limit))
    }

    async fn payouts_to_send(&self, now: Timestamp, limit: u32) -> Result<Vec<Payout>, StoreError> {
        let books = self.books();
        let mut due: Vec<Payout> = books
            .payouts
            .iter()
            .map(|id| books.working.payouts[id].clone())
            .filter(|payout| payout.state == PayoutState::Approved && payout.retry_at <= now)
            .collect();
        due.sort_by_key(|payout| payout.retry_at);
        Ok(limited(due.into_iter(), limit))
    }

    async fn weekly_payable(
        &self,
        since: Day,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<Payable>, StoreError> {
        let books = self.books();
        let payable = books.destinations.iter().filter_map(|(owner, destination)| {
            let mine = books
                .working
                .payouts
                .values()
                .filter(|payout| payout.owner == *owner);
            let paid: i64 = mine
                .clone()
                .filter(|payout| payout.state != PayoutState::Failed)
                .map(|payout| payout.amount.as_nano())
                .sum();
            let this_week = |payout: &Payout| payout.cause == PayoutCause::Weekly && payout.day >= since;
            let earned: i64 = [AccountKey::Pending(*owner), AccountKey::Probation(*owner)]
                .into_iter()
                .filter_map(|account| books.working.ledger.counters(account))
                .map(|counters| counters.debits_posted().as_nano())
                .sum();
            let taken = books
                .working
                .paid_out
                .get(owner)
                .map_or(0, |paid| paid.taken.as_nano());
            let amount =
                Credits::from_nano((earned - taken - paid).min(books.balances(*owner).available.as_nano()));
            let wanted = !destination.is_empty()
                && after.is_none_or(|after| owner.id() > after)
                && !mine.clone().any(this_week)
                && amount >= PAYOUT_MIN;
            wanted.then(|| Payable {
                owner: *owner,
                destination: destination.clone(),
                amount,
            })
        });
        Ok(limited(payable, limit))
    }

    async fn open_reset(&self) -> Result<Option<Reset>, StoreError> {
        let books = self.books();
        let working = &books.working;
        let mut open = working.resets.values();
        Ok(open
            .find(|reset| !working.resets_ended.contains(&reset.number))
            .cloned())
    }

    async fn owners_to_reset(
        &self,
        reset: u32,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<(Owner, Participation)>, StoreError> {
        let books = self.books();
        let due = books.working.resets[&reset].announced.at;
        let earlier = books
            .working
            .resets
            .range(..reset)
            .map(|(_, reset)| reset.announced.at);
        let since = earlier.max().unwrap_or(Timestamp::ZERO);
        let took_part = |owner: Owner| {
            books.transfers.iter().any(|booked| {
                let (transfer, kind) = (&booked.transfer, booked.transfer.kind);
                let sold = [
                    TransferKind::Charge,
                    TransferKind::Subsidy,
                    TransferKind::Compensation,
                ];
                booked.at >= since
                    && (transfer.debit.owner() == Some(owner) && kind == TransferKind::Charge
                        || transfer.credit.owner() == Some(owner) && sold.contains(&kind))
            })
        };
        let mut owners: Vec<(Owner, Participation)> = books
            .made_at
            .iter()
            .filter(|(owner, at)| {
                **at <= due
                    && after.is_none_or(|after| owner.id() > after)
                    && !books.working.reset_owners.contains(&(reset, **owner))
            })
            .map(|(owner, _)| {
                let participation = if took_part(*owner) {
                    Participation::TookPart
                } else {
                    Participation::LookedOn
                };
                (*owner, participation)
            })
            .collect();
        owners.sort_by_key(|(owner, _)| *owner);
        Ok(limited(owners.into_iter(), limit))
    }

    /// The figures; the mistakes that a database can have in it cannot be made here.
    async fn audit(&self) -> Result<AuditReport, StoreError> {
        let books = self.books();
        let mut report = AuditReport {
            transfers: u64::try_from(books.transfers.len()).unwrap(),
            settlements: u64::try_from(books.settled_at.len()).unwrap(),
            days: u64::try_from(books.days.len()).unwrap(),
            chain_head: (!books.transfers.is_empty()).then_some(books.working.head.seal),
            ..AuditReport::default()
        };
        let mut held = 0;
        for booked in &books.transfers {
            match booked.transfer.mode {
                ledger::Mode::Plain => {}
                ledger::Mode::Pending => held += 1,
                ledger::Mode::Post(_) | ledger::Mode::Void(_) => held -= 1,
            }
        }
        report.held = u64::try_from(held).unwrap();
        for (account, counters) in books.working.ledger.accounts() {
            let balance = counters.balance();
            report.accounts += 1;
            report.sum += i128::from(balance.as_nano());
            match account {
                AccountKey::Fees => report.fees = balance,
                AccountKey::Pool => report.pool = balance,
                AccountKey::Reserved(..) => report.reserved = report.reserved.checked_add(balance).unwrap(),
                AccountKey::Available(_)
                | AccountKey::Pending(_)
                | AccountKey::Probation(_)
                | AccountKey::Grants
                | AccountKey::Payouts => {}
            }
        }
        if report.sum != 0 {
            report
                .findings
                .push(format!("the accounts add up to {}", report.sum));
        }
        Ok(report)
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
