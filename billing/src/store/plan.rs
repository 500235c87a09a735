//! What a batch of changes does to the books, decided in memory.
//!
//! [`Needs`] lists what a batch touches, a store loads that into a [`Working`] set, the set decides change by change,
//! and what is to be written comes out as [`Rows`]. No database is spoken to here, so every database decides alike.

mod keys;
mod needs;
mod payouts;
mod refunds;
mod resets;
mod sign_ups;

use std::collections::{BTreeMap, BTreeSet};

use domain::{AccountId, Credits, KeyId, LeaseId, Sequence, ShardId, Timestamp, TransferId};
use ledger::{AccountKey, Applied, Ledger, Mode, Owner, Refusal, Transfer, TransferKind, TransferSource};

use super::key::{KeyRow, KeyState};
use super::merkle::Day;
use super::payout::{PaidOut, Payout};
use super::refund::{Mending, Refund};
use super::reset::Reset;
use super::seal::{Digest, Seal};
use super::sign_up::SignUp;
use super::{BookedTransfer, Change, KeptRefusal, Maturing, Outcome, Rejection, ShardSettlement};

use proto::convert::billing::{Settlement, SpendingLimit, SpendingTotal};

pub use needs::Needs;

/// A settlement at or below the cursor that was never sent before.
const BEHIND_CURSOR: &str = "BEHIND_CURSOR";
/// A settlement of a lease that was settled otherwise.
const SETTLEMENT_DIFFERS: &str = "SETTLEMENT_DIFFERS";

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
    /// Those who signed up.
    pub sign_ups: Vec<SignUp>,
    /// Keys made.
    pub keys: Vec<KeyRow>,
    /// Keys that end sooner now, and when.
    pub expiries: BTreeMap<KeyId, Timestamp>,
    /// What may be spent with lines of keys.
    pub limits: BTreeMap<KeyId, SpendingLimit>,
    /// What was spent with lines of keys, unless more is known.
    pub spending: Vec<SpendingTotal>,
    /// Keys revoked.
    pub revoked: BTreeSet<KeyId>,
    /// Where matured earnings end now, by the account that they waited in.
    pub matured: BTreeMap<AccountKey, u64>,
    /// Payouts made or taken on, as they are now.
    pub payouts: BTreeMap<TransferId, Payout>,
    /// Where the weekly run sends earnings now.
    pub destinations: BTreeMap<Owner, String>,
    /// Refunds made.
    pub refunds: Vec<Refund>,
    /// Refused settlements that were booked.
    pub mended: Vec<Mending>,
    /// Earnings that may no longer be paid out.
    pub taken: Vec<(Owner, Credits)>,
    /// Resets announced.
    pub resets: Vec<Reset>,
    /// Whose turn in which reset came.
    pub reset_owners: Vec<(u32, Owner)>,
    /// What had ever been reserved in an account when its owner's turn in a reset came.
    pub reserved_before: Vec<(u32, AccountKey, Credits)>,
    /// Payouts that were held when their owner's turn in a reset came.
    pub held_before: Vec<(u32, TransferId)>,
    /// Resets that are over.
    pub resets_ended: Vec<u32>,
}

impl Rows {
    /// The transfers as they are to be booked after `head`, and the seal over them; nothing if there are none. Time never
    /// runs backwards in the books, whatever the clock does.
    #[must_use]
    pub fn booked(&self, head: &Head, at: Timestamp) -> (Vec<BookedTransfer>, Option<Seal>) {
        let transfers: Vec<BookedTransfer> = (1..)
            .zip(&self.transfers)
            .map(|(place, transfer)| BookedTransfer {
                number: head.number.saturating_add(place),
                at,
                transfer: transfer.clone(),
            })
            .collect();
        let seal = Seal::over(head.seal, &transfers);
        (transfers, seal)
    }
}

/// Where the books end: what comes next follows this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The last owner's number.
    pub owner: u64,
    /// The last key's number.
    pub key: u64,
    /// The last transfer's number.
    pub number: u64,
    /// The last moment that is taken: no transfer may be booked before it.
    pub at: Timestamp,
    /// The last seal's hash; zeros before the first.
    pub seal: Digest,
}

/// What a store loaded for a batch, and what the batch makes of it.
#[derive(Debug, Default)]
pub struct Working {
    /// What time it is; never before anything in the books.
    pub now: Timestamp,
    /// The accounts and transfers.
    pub ledger: Ledger,
    /// Owners that exist by their request.
    pub owners: BTreeMap<String, OwnerRow>,
    /// Where the books end.
    pub head: Head,
    /// Keys that exist.
    pub keys: BTreeMap<KeyId, KeyState>,
    /// Keys that exist by their owner and what they were asked for under, with the digest of the rest.
    pub key_requests: BTreeMap<(AccountId, String), (KeyId, Digest)>,
    /// Those who signed up, by their request.
    pub sign_ups: BTreeMap<String, SignUp>,
    /// How many signed up in a day.
    pub sign_up_counts: BTreeMap<Day, u32>,
    /// How many keys owners have made.
    pub key_counts: BTreeMap<AccountId, u32>,
    /// Settlements that exist.
    pub settlements: BTreeMap<(ShardId, LeaseId), (ShardSettlement, Option<KeptRefusal>)>,
    /// Cursors that exist.
    pub cursors: BTreeMap<ShardId, Sequence>,
    /// Where matured earnings end, by the account that they waited in.
    pub matured: BTreeMap<AccountKey, u64>,
    /// Payouts that exist.
    pub payouts: BTreeMap<TransferId, Payout>,
    /// What owners were paid out so far.
    pub paid_out: BTreeMap<Owner, PaidOut>,
    /// Refunds of the requests and of the leases at hand, by request and place.
    pub refunds: BTreeMap<(TransferId, u8), Refund>,
    /// Refused settlements that were booked.
    pub mended: BTreeSet<(ShardId, LeaseId)>,
    /// Resets, by number.
    pub resets: BTreeMap<u32, Reset>,
    /// Those that are over.
    pub resets_ended: BTreeSet<u32>,
    /// Whose turn came in which.
    pub reset_owners: BTreeSet<(u32, Owner)>,
    /// What had ever been reserved in an account when its owner's last turn in a reset came.
    pub reserved_before: BTreeMap<AccountKey, Credits>,
    /// Payouts that were held when their owner's turn in a reset came.
    pub held_before: BTreeSet<TransferId>,
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
            Change::Book(legs) => match self.taken_of(legs) {
                Some(taken) => self.book(&[legs.as_slice(), &[taken]].concat()),
                None => self.book(legs),
            },
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
            Change::RotateKey(rotation) => self.rotate_key(rotation),
            Change::SignUp(asked) => self.sign_up(asked),
            Change::RevokeKey(key) => self.revoke_key(*key),
            Change::LimitSpending(key, limit) => self.limit_spending(*key, *limit),
            Change::NoteSpending(total) => self.note_spending(*total),
            Change::Settle(settlement) => self.settle(settlement),
            Change::KeepRefused(settlement, refusal) => self.keep_refused(settlement, refusal.clone()),
            Change::BookRefused(mending) => self.mend(mending),
            Change::Refund(refund) => self.refund(refund),
            Change::AnnounceReset(reset) => self.announce_reset(reset),
            Change::ResetOwner(turn) => self.reset_owner(turn),
            Change::EndReset(reset) => self.end_reset(*reset),
            Change::MoveCursor(shard, through) => self.move_cursor(*shard, *through),
            Change::Mature(maturing) => self.mature(maturing),
            Change::RequestPayout(payout) => self.request_payout(payout),
            Change::StepPayout(id, step) => self.step_payout(*id, step),
            Change::SetPayoutDestination(owner, destination) => self.set_destination(*owner, destination),
        }
    }

    fn open_owner(&mut self, request_id: &str, display_name: &str) -> Outcome {
        if let Some(owner) = self.owners.get(request_id) {
            if owner.display_name != display_name {
                return Outcome::Rejected(Rejection::RequestDiffers);
            }
            return Outcome::Owner(owner.id);
        }
        let owner = self.next_owner();
        self.head.owner = owner.id().get();
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

    /// Who the next owner will be.
    fn next_owner(&self) -> Owner {
        let number = self.head.owner.saturating_add(1);
        Owner::new(AccountId::new(number)).expect("billing never makes 2^43 owners")
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

    /// Opens the account for earnings on probation of an owner who exists.
    fn open_earnings(&mut self, account: AccountKey) {
        let AccountKey::Probation(owner) = account else {
            return;
        };
        let exists = self.ledger.counters(AccountKey::Available(owner)).is_some();
        if exists && self.ledger.counters(account).is_none() {
            self.ledger.open(account);
            self.rows.accounts.push(account);
        }
    }

    fn settle(&mut self, settlement: &ShardSettlement) -> Outcome {
        let key = (settlement.shard, settlement.settlement.lease);
        if let Some((before, refusal)) = self.settlements.get(&key) {
            let refusal = refusal.as_ref().filter(|_| !self.mended.contains(&key));
            return repeated(before, refusal, settlement);
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
        self.open_earnings(AccountKey::earnings(claim.island_owner, claim.standing));
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
            let refusal = refusal.as_ref().filter(|_| !self.mended.contains(&key));
            return repeated(before, refusal, settlement);
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
        let account = maturing.account();
        let matured = self.matured.get(&account).copied().unwrap_or(0);
        let gone = self
            .ledger
            .counters(account)
            .map(|counters| counters.debits_posted());
        let stale = gone.is_some_and(|gone| gone != maturing.gone);
        if stale || matured != maturing.after || maturing.through <= maturing.after {
            return Outcome::Rejected(Rejection::NotNextToMature);
        }
        let outcome = self.book(&[maturity_transfer(maturing)]);
        if outcome == Outcome::Booked(Applied::Booked) {
            self.matured.insert(account, maturing.through);
            self.rows.matured.insert(account, maturing.through);
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
    // How far the Island was trusted is no part of the claim: the first word counts, for karma moves on.
    let same = ShardSettlement {
        settlement: Settlement {
            standing: before.settlement.standing,
            ..settlement.settlement.clone()
        },
        ..settlement.clone()
    };
    if *before != same {
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
        debit: maturing.account(),
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
        standing: settlement.standing,
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
            Self::SignUpsToday => "SIGN_UPS_TODAY",
            Self::KeyRevoked(_) => "REVOKED_API_KEY",
            Self::KeyExpired(_) => "EXPIRED_API_KEY",
            Self::AlreadyRotated { .. } => "ALREADY_ROTATED",
            Self::ExpiryPassed => "EXPIRY_PASSED",
            Self::TooManyKeys => "TOO_MANY_KEYS",
            Self::NotNextToMature => "NOT_NEXT_TO_MATURE",
            Self::UnknownPayout(_) => "UNKNOWN_PAYOUT",
            Self::PayoutTooSmall => "PAYOUT_TOO_SMALL",
            Self::PayoutToday => "PAYOUT_TODAY",
            Self::NotEarned { .. } => "NOT_EARNED",
            Self::PayoutState(_) => "PAYOUT_STATE",
            Self::ResetAnnounced => "RESET_ANNOUNCED",
            Self::ResetPassed => "RESET_PASSED",
            Self::UnknownReset => "UNKNOWN_RESET",
            Self::UnknownJob(_) => "UNKNOWN_JOB",
            Self::UnknownSettlement(_) => "UNKNOWN_SETTLEMENT",
            Self::RefundTooLarge { .. } => "REFUND_TOO_LARGE",
        }
    }
}
