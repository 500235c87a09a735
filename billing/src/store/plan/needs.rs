//! What a batch of changes touches: a store loads it all before the batch is decided.

use std::collections::BTreeSet;

use domain::{AccountId, KeyId, LeaseId, ShardId, TransferId};
use ledger::{AccountKey, Leg, Owner, Transfer, TransferKind, TransferSource};

use super::sign_ups::grant_id;
use super::{Working, maturity_transfer};
use crate::store::reset::{Reset, taken_id};
use crate::store::sign_up::owner_request;
use crate::store::{Change, ShardSettlement};

/// What a batch touches.
#[derive(Debug, Default)]
pub struct Needs {
    /// Accounts.
    pub accounts: BTreeSet<AccountKey>,
    /// Transfers, and with each the one that resolved it.
    pub transfers: BTreeSet<TransferId>,
    /// Settlements.
    pub settlements: BTreeSet<(ShardId, LeaseId)>,
    /// Cursors.
    pub shards: BTreeSet<ShardId>,
    /// Keys.
    pub keys: BTreeSet<KeyId>,
    /// Those who signed up, by their request; with any, how many did today.
    pub sign_ups: BTreeSet<String>,
    /// Owners for whom keys are made.
    pub key_owners: BTreeSet<AccountId>,
    /// Keys that are to be followed by another one of their owner.
    pub rotated: BTreeSet<KeyId>,
    /// Keys, by their owner and what they were asked for under.
    pub key_requests: BTreeSet<(AccountId, String)>,
    /// Owners, by the request that made them.
    pub requests: BTreeSet<String>,
    /// Accounts whose earnings are to mature.
    pub maturing: BTreeSet<AccountKey>,
    /// Payouts, each with its transfers, accounts and owner.
    pub payouts: BTreeSet<TransferId>,
    /// Owners of whom is asked what they were paid out.
    pub payees: BTreeSet<Owner>,
    /// Refunds, by the request.
    pub refunds: BTreeSet<TransferId>,
    /// Whether resets are spoken of.
    pub resets: bool,
    /// Owners whose turn in a reset comes, with all that they have reserved.
    pub reset_owners: BTreeSet<Owner>,
    /// Accounts out of which reserved credits come back.
    pub returning: BTreeSet<AccountKey>,
    /// Leases that are refunded or booked after all: what they need is known once their settlements are loaded.
    pub mending: BTreeSet<(ShardId, LeaseId)>,
}

impl Needs {
    /// What these changes touch.
    #[must_use]
    pub fn of(changes: &[Change]) -> Self {
        let mut needs = Self::default();
        for change in changes {
            needs.add(change);
        }
        // What this very batch settles may be refunded in it, and is in no row yet.
        for change in changes {
            if let Change::Settle(settlement) | Change::KeepRefused(settlement, _) = change {
                needs.add_mended(settlement);
            }
        }
        needs
    }

    fn add(&mut self, change: &Change) {
        match change {
            Change::OpenOwner { request_id, .. } => {
                self.requests.insert(request_id.clone());
            }
            Change::SignUp(asked) => {
                self.requests.insert(owner_request(&asked.request_id));
                self.sign_ups.insert(asked.request_id.clone());
                self.accounts.insert(AccountKey::Grants);
                self.transfers.insert(grant_id(asked));
            }
            Change::Book(legs) => legs.iter().for_each(|leg| {
                self.add_transfer(leg);
                self.add_return(leg);
            }),
            Change::Reserve { order, .. } => self.add_transfer(order),
            Change::CreateKey(key) => {
                self.accounts
                    .extend(Owner::new(key.owner).map(AccountKey::Available));
                self.key_owners.insert(key.owner);
                let request = key.request.as_ref();
                self.key_requests
                    .extend(request.map(|request| (key.owner, request.id.clone())));
            }
            Change::RotateKey(rotation) => {
                self.keys.insert(rotation.key);
                self.rotated.insert(rotation.key);
            }
            Change::RevokeKey(key) | Change::LimitSpending(key, _) => {
                self.keys.insert(*key);
            }
            Change::NoteSpending(total) => {
                self.keys.insert(total.line);
            }
            Change::Settle(settlement) | Change::KeepRefused(settlement, _) => {
                self.add_settlement(settlement)
            }
            Change::MoveCursor(shard, _) => {
                self.shards.insert(*shard);
            }
            Change::Mature(maturing) => {
                self.maturing.insert(maturing.account());
                self.add_transfer(&maturity_transfer(maturing));
            }
            Change::RequestPayout(payout) => {
                self.add_payout(payout.transfer);
                self.payees.extend(Owner::new(payout.owner));
            }
            Change::BookRefused(mending) => {
                self.mending.insert((mending.shard, mending.lease));
                self.settlements.insert((mending.shard, mending.lease));
            }
            Change::Refund(refund) => {
                self.refunds.insert(refund.id);
                self.mending.extend(refund.leases.iter().copied());
                self.settlements.extend(refund.leases.iter().copied());
            }
            Change::AnnounceReset(_) | Change::EndReset(_) => self.resets = true,
            Change::ResetOwner(turn) => {
                self.resets = true;
                self.reset_owners.insert(turn.owner);
                self.payees.insert(turn.owner);
                self.accounts.insert(AccountKey::Grants);
                self.transfers.extend(Reset::ids(turn.reset, turn.owner));
            }
            Change::StepPayout(id, _) => self.add_payout(*id),
            Change::SetPayoutDestination(owner, _) => {
                self.accounts
                    .extend(Owner::new(*owner).map(AccountKey::Available));
            }
        }
    }

    /// For whom a key may be made: those who ask for one, and those whose keys are to be rotated. Counting an owner's keys
    /// reads them all, which what is noted of a key every moment must not cost.
    pub fn makers_of_keys(&self, working: &Working) -> impl Iterator<Item = AccountId> + use<> {
        let mut makers = self.key_owners.clone();
        let rotated = self.rotated.iter().filter_map(|key| working.keys.get(key));
        makers.extend(rotated.map(|key| key.owner));
        makers.into_iter()
    }

    fn add_transfer(&mut self, transfer: &Transfer) {
        self.accounts.extend([transfer.debit, transfer.credit]);
        self.transfers.insert(transfer.id);
        self.transfers.extend(transfer.mode.resolves());
    }

    /// Part of a return may be a reset's.
    fn add_return(&mut self, transfer: &Transfer) {
        if transfer.kind == TransferKind::Return {
            self.returning.insert(transfer.debit);
            self.accounts.insert(AccountKey::Grants);
            self.transfers.insert(taken_id(transfer.id));
        }
    }

    fn add_payout(&mut self, payout: TransferId) {
        self.payouts.insert(payout);
        // What was held over a reset is the grants' if it fails.
        self.accounts.insert(AccountKey::Grants);
        self.transfers.extend([
            payout,
            TransferSource::PayoutEnd { payout }.id(),
            TransferSource::ResetPayout { payout }.id(),
        ]);
    }

    /// Adds what is only known once the payouts are loaded: their owners, and with them the accounts.
    pub fn add_payees(&mut self, payouts: impl IntoIterator<Item = Owner>) {
        self.payees.extend(payouts);
        for owner in self.payees.clone() {
            self.accounts.extend([
                AccountKey::Payouts,
                AccountKey::Available(owner),
                AccountKey::Pending(owner),
                AccountKey::Probation(owner),
            ]);
        }
    }

    /// Adds what a settlement touches when it is refunded or booked after all.
    pub fn add_mended(&mut self, settlement: &ShardSettlement) {
        let key = (settlement.shard, settlement.settlement.lease);
        if !self.mending.contains(&key) {
            return;
        }
        self.add_settlement(settlement);
        self.accounts
            .extend(Owner::new(settlement.settlement.consumer).map(AccountKey::Available));
        self.payees.extend(Owner::new(settlement.settlement.island_owner));
    }

    fn add_settlement(&mut self, ShardSettlement { shard, settlement }: &ShardSettlement) {
        let (shard, lease) = (*shard, settlement.lease);
        self.settlements.insert((shard, lease));
        self.shards.insert(shard);
        self.accounts.extend([AccountKey::Fees, AccountKey::Pool]);
        self.accounts
            .extend(Owner::new(settlement.consumer).map(|consumer| AccountKey::Reserved(consumer, shard)));
        if let Some(owner) = Owner::new(settlement.island_owner) {
            // The available one tells whether there is such an owner: earnings on probation open their account.
            self.accounts.extend([
                AccountKey::earnings(owner, settlement.standing),
                AccountKey::Available(owner),
            ]);
        }
        self.transfers
            .extend(Leg::ALL.map(|leg| TransferSource::Settlement { shard, lease, leg }.id()));
    }
}
