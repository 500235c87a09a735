//! What a batch of changes does to the books, decided in memory.
//!
//! [`Needs`] lists what a batch touches, a store loads that into a [`Working`] set, the set decides change by change,
//! and what is to be written comes out as [`Rows`]. No database is spoken to here, so every database decides alike.

use std::collections::{BTreeMap, BTreeSet};

use domain::{AccountId, KeyId, LeaseId, Sequence, ShardId, Timestamp, TransferId};
use ledger::{
    AccountKey, Applied, Ledger, Leg, Mode, Owner, Refusal, Transfer, TransferKind, TransferSource,
};

use super::{Change, KeptRefusal, Maturing, NewKey, Outcome, Rejection, ShardSettlement};

/// A settlement at or below the cursor that was never sent before.
const BEHIND_CURSOR: &str = "BEHIND_CURSOR";
/// A settlement of a lease that was settled otherwise.
const SETTLEMENT_DIFFERS: &str = "SETTLEMENT_DIFFERS";

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
    /// Owners, by the request that made them.
    pub requests: BTreeSet<String>,
    /// Owners whose maturity is asked for.
    pub maturing: BTreeSet<Owner>,
}

impl Needs {
    /// What these changes touch.
    #[must_use]
    pub fn of(changes: &[Change]) -> Self {
        let mut needs = Self::default();
        for change in changes {
            needs.add(change);
        }
        needs
    }

    fn add(&mut self, change: &Change) {
        match change {
            Change::OpenOwner { request_id, .. } => {
                self.requests.insert(request_id.clone());
            }
            Change::Book(legs) => legs.iter().for_each(|leg| self.add_transfer(leg)),
            Change::Reserve { order, .. } => self.add_transfer(order),
            Change::CreateKey(key) => {
                self.accounts
                    .extend(Owner::new(key.owner).map(AccountKey::Available));
            }
            Change::RevokeKey(key) => {
                self.keys.insert(*key);
            }
            Change::Settle(settlement) | Change::KeepRefused(settlement, _) => {
                self.add_settlement(settlement)
            }
            Change::MoveCursor(shard, _) => {
                self.shards.insert(*shard);
            }
            Change::Mature(maturing) => {
                self.maturing.insert(maturing.owner);
                self.add_transfer(&maturity_transfer(maturing));
            }
        }
    }

    fn add_transfer(&mut self, transfer: &Transfer) {
        self.accounts.extend([transfer.debit, transfer.credit]);
        self.transfers.insert(transfer.id);
        self.transfers.extend(transfer.mode.resolves());
    }

    fn add_settlement(&mut self, ShardSettlement { shard, settlement }: &ShardSettlement) {
        let (shard, lease) = (*shard, settlement.lease);
        self.settlements.insert((shard, lease));
        self.shards.insert(shard);
        self.accounts.extend([AccountKey::Fees, AccountKey::Pool]);
        self.accounts
            .extend(Owner::new(settlement.consumer).map(|consumer| AccountKey::Reserved(consumer, shard)));
        self.accounts
            .extend(Owner::new(settlement.island_owner).map(AccountKey::Pending));
        self.transfers
            .extend(Leg::ALL.map(|leg| TransferSource::Settlement { shard, lease, leg }.id()));
    }
}

/// An owner that a request made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerRow {
    /// His id.
    pub id: AccountId,
    /// The request.
    pub request_id: String,
    /// His name.
    pub display_name: String,
}

/// What a batch of changes writes.
#[derive(Debug, Default)]
pub struct Rows {
    /// Owners made.
    pub owners: Vec<OwnerRow>,
    /// Accounts opened.
    pub accounts: Vec<AccountKey>,
    /// Transfers booked, in order.
    pub transfers: Vec<Transfer>,
    /// Settlements, with why they were not booked.
    pub settlements: Vec<(ShardSettlement, Option<KeptRefusal>)>,
    /// Where cursors are now.
    pub cursors: BTreeMap<ShardId, Sequence>,
    /// Keys made.
    pub keys: Vec<(KeyId, NewKey)>,
    /// Keys revoked.
    pub revoked: BTreeSet<KeyId>,
    /// Where owners' matured earnings end now.
    pub matured: BTreeMap<Owner, u64>,
}

/// What a store loaded for a batch, and what the batch makes of it.
#[derive(Debug, Default)]
pub struct Working {
    /// The accounts and transfers.
    pub ledger: Ledger,
    /// Owners that exist by their request.
    pub owners: BTreeMap<String, OwnerRow>,
    /// The last owner's number.
    pub last_owner: u64,
    /// The last key's number.
    pub last_key: u64,
    /// Keys that exist, and when they were revoked.
    pub keys: BTreeMap<KeyId, Option<Timestamp>>,
    /// Settlements that exist.
    pub settlements: BTreeMap<(ShardId, LeaseId), (ShardSettlement, Option<KeptRefusal>)>,
    /// Cursors that exist.
    pub cursors: BTreeMap<ShardId, Sequence>,
    /// Where owners' matured earnings end.
    pub matured: BTreeMap<Owner, u64>,
    /// What is to be written.
    pub rows: Rows,
}

impl Working {
    /// Decides one change.
    pub fn apply(&mut self, change: &Change) -> Outcome {
        match change {
            Change::OpenOwner {
                request_id,
                display_name,
            } => self.open_owner(request_id, display_name),
            Change::Book(legs) => self.book(legs),
            Change::Reserve {
                order,
                minimum,
                wanted,
            } => {
                self.open_reserved(order.credit);
                match self.ledger.apply_up_to(order, *minimum, *wanted) {
                    Ok((applied, transfer)) => {
                        let amount = transfer.amount;
                        self.note(applied, &[transfer]);
                        Outcome::Reserved(amount)
                    }
                    Err(refusal) => Outcome::Rejected(refusal.into()),
                }
            }
            Change::CreateKey(key) => self.create_key(key),
            Change::RevokeKey(key) => self.revoke_key(*key),
            Change::Settle(settlement) => self.settle(settlement),
            Change::KeepRefused(settlement, refusal) => self.keep_refused(settlement, refusal.clone()),
            Change::MoveCursor(shard, through) => self.move_cursor(*shard, *through),
            Change::Mature(maturing) => self.mature(maturing),
        }
    }

    fn open_owner(&mut self, request_id: &str, display_name: &str) -> Outcome {
        if let Some(owner) = self.owners.get(request_id) {
            if owner.display_name != display_name {
                return Outcome::Rejected(Rejection::RequestDiffers);
            }
            return Outcome::Owner(owner.id);
        }
        let number = self.last_owner.saturating_add(1);
        let owner = Owner::new(AccountId::new(number)).expect("billing never makes 2^43 owners");
        self.last_owner = number;
        for account in [AccountKey::Available(owner), AccountKey::Pending(owner)] {
            self.ledger.open(account);
            self.rows.accounts.push(account);
        }
        let row = OwnerRow {
            id: owner.id(),
            request_id: request_id.to_owned(),
            display_name: display_name.to_owned(),
        };
        self.owners.insert(request_id.to_owned(), row.clone());
        self.rows.owners.push(row);
        Outcome::Owner(owner.id())
    }

    fn book(&mut self, legs: &[Transfer]) -> Outcome {
        match self.ledger.apply(legs) {
            Ok(applied) => {
                self.note(applied, legs);
                Outcome::Booked(applied)
            }
            Err(refusal) => Outcome::Rejected(refusal.into()),
        }
    }

    fn note(&mut self, applied: Applied, legs: &[Transfer]) {
        match applied {
            Applied::Booked => self.rows.transfers.extend_from_slice(legs),
            Applied::Repeated => {}
        }
    }

    /// Opens a reserved account for an owner who exists. It stays open and empty if the reservation is refused.
    fn open_reserved(&mut self, account: AccountKey) {
        let AccountKey::Reserved(owner, _) = account else {
            return;
        };
        let exists = self.ledger.counters(AccountKey::Available(owner)).is_some();
        if exists && self.ledger.counters(account).is_none() {
            self.ledger.open(account);
            self.rows.accounts.push(account);
        }
    }

    fn create_key(&mut self, key: &NewKey) -> Outcome {
        let known = Owner::new(key.owner)
            .is_some_and(|owner| self.ledger.counters(AccountKey::Available(owner)).is_some());
        if !known {
            return Outcome::Rejected(Rejection::UnknownAccount(key.owner));
        }
        self.last_key = self.last_key.saturating_add(1);
        let id = KeyId::new(self.last_key);
        self.keys.insert(id, None);
        self.rows.keys.push((id, key.clone()));
        Outcome::Key(id)
    }

    fn revoke_key(&mut self, key: KeyId) -> Outcome {
        match self.keys.get(&key) {
            None => Outcome::Rejected(Rejection::UnknownKey(key)),
            Some(Some(_)) => Outcome::Revoked,
            Some(None) => {
                self.rows.revoked.insert(key);
                Outcome::Revoked
            }
        }
    }

    fn settle(&mut self, settlement: &ShardSettlement) -> Outcome {
        let key = (settlement.shard, settlement.settlement.lease);
        if let Some((before, refusal)) = self.settlements.get(&key) {
            return repeated(before, refusal.as_ref(), settlement);
        }
        let decided = if settlement.settlement.sequence <= self.cursor(settlement.shard) {
            Err(kept(
                BEHIND_CURSOR,
                "its command is settled already, and this was not among what was sent",
            ))
        } else {
            self.book_settlement(settlement)
        };
        self.keep(settlement, decided.err())
    }

    fn book_settlement(&mut self, settlement: &ShardSettlement) -> Result<(), KeptRefusal> {
        let claim = claim(settlement)?;
        let legs = claim.legs().map_err(|refusal| kept(refusal.code(), refusal))?;
        if legs.is_empty() {
            return Ok(());
        }
        let applied = self
            .ledger
            .apply(&legs)
            .map_err(|refusal| kept(refusal.code(), refusal))?;
        self.note(applied, &legs);
        Ok(())
    }

    fn keep_refused(&mut self, settlement: &ShardSettlement, refusal: KeptRefusal) -> Outcome {
        let key = (settlement.shard, settlement.settlement.lease);
        if let Some((before, refusal)) = self.settlements.get(&key) {
            return repeated(before, refusal.as_ref(), settlement);
        }
        self.keep(settlement, Some(refusal))
    }

    fn keep(&mut self, settlement: &ShardSettlement, refusal: Option<KeptRefusal>) -> Outcome {
        let key = (settlement.shard, settlement.settlement.lease);
        self.settlements
            .insert(key, (settlement.clone(), refusal.clone()));
        self.rows.settlements.push((settlement.clone(), refusal.clone()));
        refusal.map_or(Outcome::Settled, Outcome::SettlementRefused)
    }

    fn cursor(&self, shard: ShardId) -> Sequence {
        self.cursors.get(&shard).copied().unwrap_or(Sequence::ZERO)
    }

    fn move_cursor(&mut self, shard: ShardId, through: Sequence) -> Outcome {
        let cursor = self.cursor(shard).max(through);
        if cursor > self.cursor(shard) {
            self.cursors.insert(shard, cursor);
            self.rows.cursors.insert(shard, cursor);
        }
        Outcome::Cursor(cursor)
    }

    fn mature(&mut self, maturing: &Maturing) -> Outcome {
        let matured = self.matured.get(&maturing.owner).copied().unwrap_or(0);
        if matured != maturing.after || maturing.through <= maturing.after {
            return Outcome::Rejected(Rejection::NotNextToMature);
        }
        let outcome = self.book(&[maturity_transfer(maturing)]);
        if outcome == Outcome::Booked(Applied::Booked) {
            self.matured.insert(maturing.owner, maturing.through);
            self.rows.matured.insert(maturing.owner, maturing.through);
        }
        outcome
    }
}

/// What a settlement that was sent before gets.
fn repeated(
    before: &ShardSettlement,
    refusal: Option<&KeptRefusal>,
    settlement: &ShardSettlement,
) -> Outcome {
    if before != settlement {
        return Outcome::SettlementRefused(kept(
            SETTLEMENT_DIFFERS,
            "the lease was settled before, by another claim",
        ));
    }
    refusal
        .cloned()
        .map_or(Outcome::Settled, Outcome::SettlementRefused)
}

fn kept(code: &str, message: impl ToString) -> KeptRefusal {
    KeptRefusal {
        code: code.to_owned(),
        message: message.to_string(),
    }
}

fn maturity_transfer(maturing: &Maturing) -> Transfer {
    let Maturing {
        owner,
        through,
        amount,
        ..
    } = *maturing;
    Transfer {
        id: TransferSource::Maturity { owner, through }.id(),
        kind: TransferKind::Maturity,
        mode: Mode::Plain,
        debit: AccountKey::Pending(owner),
        credit: AccountKey::Available(owner),
        amount,
        job: None,
        memo: String::new(),
    }
}

/// The ledger's view of a claim.
///
/// # Errors
/// When an account cannot exist.
pub(super) fn claim(
    ShardSettlement { shard, settlement }: &ShardSettlement,
) -> Result<ledger::Settlement, KeptRefusal> {
    let owner = |id: AccountId| {
        Owner::new(id).ok_or_else(|| {
            let refusal = Rejection::UnknownAccount(id);
            kept(refusal.code(), refusal)
        })
    };
    let units = settlement.bill.units;
    Ok(ledger::Settlement {
        shard: *shard,
        lease: settlement.lease,
        job: settlement.job,
        consumer: owner(settlement.consumer)?,
        island_owner: owner(settlement.island_owner)?,
        price: settlement.price,
        bill: settlement.bill,
        billed_before_thousandths: settlement.billed_before_thousandths,
        compensation: settlement.compensation,
        memo: format!(
            "{units} wu of {} at {} on {}",
            settlement.model, settlement.price, settlement.island
        ),
    })
}

impl Rejection {
    /// The stable code, with a page in `docs/errors/`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Ledger(Refusal::UnknownAccount { .. }) | Self::UnknownAccount(_) => "UNKNOWN_ACCOUNT",
            Self::Ledger(refusal) => refusal.code(),
            Self::RequestDiffers => "REQUEST_DIFFERS",
            Self::UnknownKey(_) => "UNKNOWN_KEY",
            Self::NotNextToMature => "NOT_NEXT_TO_MATURE",
        }
    }
}
