//! What a random script asks: mostly what makes sense, often what was asked before, sometimes nonsense.

mod people;
mod resets;

use std::collections::BTreeSet;

use billing::store::merkle::Day;
use billing::store::payout::{NewPayout, PayoutCause, PayoutState, PayoutStep};
use billing::store::refund::{Mending, NewRefund};
use billing::store::reset::OwnerReset;
use billing::store::{Change, KeptRefusal, Maturing, Outcome, ShardSettlement};
use domain::{AccountId, JobId, LeaseId, Liquidity, Sequence, ShardId, Standing, Timestamp, TransferId};
use fastrand::Rng;
use ledger::{AccountKey, Applied, Mode, Transfer, TransferKind, TransferSource};

use crate::support::{SHARD, grant, nano, open_owner, owner, payout, reserve, settle, settlement, transfer};

/// Ids come from a window that moves on, so that they collide with young ones and old ones alike.
const WINDOW: u64 = 400;

pub(super) struct Script {
    rng: Rng,
    step: u64,
    micros: u64,
    owners: u64,
    keys: u64,
    sequence: u64,
    /// Held transfers that may be resolved, as they were asked for.
    held: Vec<Transfer>,
    /// Asked for before: some are asked for again.
    asked: Vec<Change>,
}

/// What the script is told, and acts on until it is told more.
#[derive(Default)]
pub(super) struct Known {
    /// What may mature.
    pub(super) due: Vec<Maturing>,
    /// The reset that is announced.
    pub(super) reset: Option<u32>,
    /// Whose turn in it has come.
    pub(super) turns: Vec<OwnerReset>,
}

impl Script {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            step: 0,
            micros: Day::new(20_000).start().as_micros(),
            owners: 0,
            keys: 0,
            sequence: 1,
            held: Vec::new(),
            asked: Vec::new(),
        }
    }

    /// How many owners there are, at least.
    pub(super) const fn owners(&self) -> u64 {
        self.owners
    }

    /// The next moment: some seconds on, seldom a day, seldom back.
    pub(super) fn now(&mut self) -> Timestamp {
        let on = match self.rng.u32(0..20) {
            0 => 20_000_000_000,
            1 => 0,
            _ => self.rng.u64(0..60_000_000),
        };
        self.micros += on;
        let back = if self.rng.u32(0..10) == 0 { 5_000_000 } else { 0 };
        Timestamp::from_micros(self.micros - back)
    }

    /// A day that is over, and that every store is to close.
    pub(super) fn close_a_day(&mut self) -> Option<Day> {
        let today = Day::of(Timestamp::from_micros(self.micros));
        let first = Day::new(20_000);
        (today > first).then(|| Day::new(today.get() - 1))
    }

    /// Notes what came of it, and counts what did something.
    pub(super) fn learn(&mut self, changes: &[Change], outcomes: &[Outcome]) -> usize {
        let mut applied = 0;
        for (change, outcome) in changes.iter().zip(outcomes) {
            match outcome {
                Outcome::Owner(id) => self.owners = self.owners.max(id.get()),
                Outcome::Key(made) | Outcome::Rotated { successor: made, .. } => {
                    self.keys = self.keys.max(made.id().get());
                }
                Outcome::SignedUp { owner, key, .. } => {
                    self.owners = self.owners.max(owner.get());
                    self.keys = self.keys.max(key.id().get());
                }
                Outcome::Booked(Applied::Booked) => self.hold(change),
                Outcome::Booked(Applied::Repeated)
                | Outcome::Reserved(_)
                | Outcome::Revoked
                | Outcome::SpendingLimited
                | Outcome::SpendingNoted
                | Outcome::Settled
                | Outcome::SettlementRefused(_)
                | Outcome::Cursor(_)
                | Outcome::Payout(_)
                | Outcome::DestinationSet
                | Outcome::Refunded(_)
                | Outcome::ResetAnnounced(_)
                | Outcome::OwnerReset
                | Outcome::ResetEnded
                | Outcome::Rejected(_) => {}
            }
            let refused = matches!(outcome, Outcome::Rejected(_) | Outcome::SettlementRefused(_));
            applied += usize::from(!refused);
            if self.rng.u32(0..8) == 0 {
                let place = self.rng.usize(0..=self.asked.len().min(64));
                if place < self.asked.len() {
                    self.asked[place] = change.clone();
                } else {
                    self.asked.push(change.clone());
                }
            }
        }
        applied
    }

    fn hold(&mut self, change: &Change) {
        let Change::Book(legs) = change else { return };
        for leg in legs.iter().filter(|leg| leg.mode == Mode::Pending) {
            self.held.push(leg.clone());
        }
        if self.held.len() > 40 {
            self.held.drain(..20);
        }
    }

    pub(super) fn change(&mut self, known: &Known) -> Change {
        self.step += 1;
        if self.owners < 3 {
            return open_owner(&format!("owner-{}", self.rng.u32(0..6)));
        }
        match self.rng.u32(0..106) {
            0..2 => self.owner(),
            2..14 => self.grant(),
            14..30 => self.reserve(),
            30..36 => self.give_back(),
            36..44 => self.payout(),
            44..50 => self.resolve(),
            50..56 => self.journal(),
            56..84 => self.settle(),
            84..88 => self.cursor(),
            88..91 => self.mature(&known.due),
            91..94 => self.key(),
            94..95 => self.keep_refused(),
            95..97 => self.refund(),
            97..98 => self.book_refused(),
            98..99 => self.real_payout(),
            99..101 => self.reset(known),
            _ => self.again(),
        }
    }

    /// Mostly one that exists.
    fn who(&mut self) -> u64 {
        let nobody = u64::from(self.rng.u32(0..12) == 0);
        self.rng.u64(1..=self.owners + nobody)
    }

    fn id(&mut self) -> u128 {
        let newest = self.step * 3;
        u128::from(newest.saturating_sub(self.rng.u64(0..WINDOW)) + 3)
    }

    /// Mostly payable, sometimes nothing, too much, or less than nothing.
    fn amount(&mut self) -> i64 {
        // As much as can be counted, granted at the beginning, would leave nothing to grant, and a script of refusals.
        let most = if self.step < 200 { 1_000 } else { i64::MAX };
        match self.rng.u32(0..60) {
            0 => 0,
            1 => most,
            2 => -1,
            3 => most - self.rng.i64(0..1_000),
            _ => self.rng.i64(1..2_000_000_000),
        }
    }

    fn grant(&mut self) -> Change {
        let amount = self.amount();
        grant(self.id(), self.who(), amount)
    }

    fn reserve(&mut self) -> Change {
        let (low, high) = (self.amount() >> 2, self.amount());
        reserve(self.id(), self.who(), low, high)
    }

    fn give_back(&mut self) -> Change {
        let who = self.who();
        let (debit, credit) = (
            AccountKey::Reserved(owner(who), SHARD),
            AccountKey::Available(owner(who)),
        );
        let amount = self.amount() >> 4;
        Change::Book(vec![transfer(
            self.id(),
            TransferKind::Return,
            debit,
            credit,
            amount,
        )])
    }

    fn payout(&mut self) -> Change {
        let mode = if self.rng.bool() {
            Mode::Pending
        } else {
            Mode::Plain
        };
        let amount = self.amount() >> 3;
        payout(self.id(), self.who(), amount, mode)
    }

    fn resolve(&mut self) -> Change {
        let Some(held) = (!self.held.is_empty()).then(|| self.rng.usize(0..self.held.len())) else {
            return self.payout();
        };
        let held = self.held[held].clone();
        let mut resolving = Transfer {
            id: TransferId::new(self.id()),
            mode: if self.rng.bool() {
                Mode::Post(held.id)
            } else {
                Mode::Void(held.id)
            },
            ..held
        };
        match self.rng.u32(0..12) {
            0 => resolving.amount = nano(1),
            1 => resolving.mode = Mode::Post(TransferId::new(self.id())),
            _ => {}
        }
        Change::Book(vec![resolving])
    }

    /// Several legs, which stand or fall together.
    fn journal(&mut self) -> Change {
        let legs = self.rng.usize(0..5);
        let legs = (0..legs).filter_map(|_| {
            let change = if self.rng.bool() {
                self.grant()
            } else {
                self.payout()
            };
            let Change::Book(legs) = change else { return None };
            legs.into_iter().next()
        });
        Change::Book(legs.collect())
    }

    fn settle(&mut self) -> Change {
        self.sequence += u64::from(self.rng.u32(0..3) > 0);
        let (consumer, island) = (self.who(), self.who());
        let behind = if self.rng.u32(0..20) == 0 { 90 } else { 0 };
        let sequence = self.sequence.saturating_sub(behind).max(1);
        let lease = (self.step * 2).saturating_sub(self.rng.u64(0..60)) + 1;
        let mut claim = settlement(sequence, lease, consumer, island, self.rng.u64(0..3_000));
        if self.rng.bool() {
            claim.bill.bid_liquidity = Liquidity::Maker;
        }
        if self.rng.u32(0..3) == 0 {
            claim.standing = Standing::Probation;
        }
        match self.rng.u32(0..24) {
            0 => claim.bill.fee = nano(1),
            1 => claim.bill.charge = nano(-5),
            2 => claim.compensation = nano(7),
            3 => claim.consumer = AccountId::new(u64::MAX),
            4..8 => claim.bill.pool_subsidy = nano(self.rng.i64(0..50_000)),
            _ => {}
        }
        settle(claim)
    }

    fn cursor(&mut self) -> Change {
        let back = self.rng.u64(0..60);
        Change::MoveCursor(SHARD, Sequence::new(self.sequence.saturating_sub(back)))
    }

    fn mature(&mut self, due: &[Maturing]) -> Change {
        let Some(index) = (!due.is_empty()).then(|| self.rng.usize(0..due.len())) else {
            return self.grant();
        };
        let mut maturing = due[index];
        match self.rng.u32(0..10) {
            0 => maturing.after += 1,
            1 => maturing.through = maturing.after,
            2 => maturing.amount = nano(i64::MAX),
            _ => {}
        }
        Change::Mature(maturing)
    }

    fn keep_refused(&mut self) -> Change {
        let lease = self.step * 2 + 1_000_000;
        let claim = settlement(self.sequence.max(1), lease, self.who(), self.who(), 10);
        let refusal = KeptRefusal {
            code: "STORE_REFUSED".into(),
            message: "the database refused".into(),
        };
        let shard = ShardId::new(self.rng.u16(0..3));
        Change::KeepRefused(
            ShardSettlement {
                shard,
                settlement: claim,
            },
            refusal,
        )
    }

    /// A lease that may have been settled.
    fn lease(&mut self) -> LeaseId {
        LeaseId::new((self.step * 2).saturating_sub(self.rng.u64(0..400)) + 1)
    }

    fn refund(&mut self) -> Change {
        let leases = self.rng.usize(0..4);
        let leases = (0..leases)
            .map(|_| (SHARD, self.lease()))
            .collect::<BTreeSet<_>>();
        let mut request_digest = [0; 32];
        let request = self.step.saturating_sub(self.rng.u64(0..40));
        request_digest[..8].copy_from_slice(&request.to_be_bytes());
        let amount = self.rng.bool().then(|| nano(self.amount() >> 6));
        Change::Refund(NewRefund {
            id: TransferSource::Refund {
                request_digest,
                leg: 0,
            }
            .id(),
            job: JobId::new(1),
            leases: leases.into_iter().collect(),
            lease: None,
            amount,
            author: "grace".into(),
            reason: "a script".into(),
        })
    }

    fn book_refused(&mut self) -> Change {
        Change::BookRefused(Mending {
            shard: SHARD,
            lease: self.lease(),
            author: "grace".into(),
            reason: "a script".into(),
        })
    }

    /// Asked for, or taken a step on.
    fn real_payout(&mut self) -> Change {
        let mut request_digest = [1; 32];
        request_digest[..1].copy_from_slice(&[self.rng.u8(0..40)]);
        let transfer = TransferSource::Payout { request_digest }.id();
        let step = match self.rng.u32(0..8) {
            0 => PayoutStep::Pay {
                reference: "paid".into(),
            },
            1 => PayoutStep::Fail {
                reason: "closed".into(),
            },
            2 => PayoutStep::Approve {
                author: "grace".into(),
            },
            _ => {
                let day = Day::of(Timestamp::from_micros(self.micros));
                return Change::RequestPayout(NewPayout {
                    transfer,
                    owner: AccountId::new(self.who()),
                    destination: "virtual:ada".into(),
                    amount: nano(self.rng.i64(9_000_000_000..12_000_000_000)),
                    cause: PayoutCause::OnDemand,
                    day,
                    state: [PayoutState::Held, PayoutState::Approved][self.rng.usize(0..2)],
                });
            }
        };
        Change::StepPayout(transfer, step)
    }

    fn again(&mut self) -> Change {
        if self.asked.is_empty() {
            return self.grant();
        }
        let index = self.rng.usize(0..self.asked.len());
        let asked = self.asked[index].clone();
        // A secret is made once: a key that is asked for again comes with another.
        if matches!(
            asked,
            Change::CreateKey(_) | Change::RotateKey(_) | Change::SignUp(_)
        ) {
            return self.key();
        }
        asked
    }
}
