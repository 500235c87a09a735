//! Books to test on, and short names for what is in them.

use domain::{AccountId, Credits, ShardId, TransferId};
use ledger::{AccountKey, Ledger, Mode, Owner, Transfer, TransferKind};

pub(crate) const SHARD: ShardId = ShardId::new(0);

pub(crate) fn nano(amount: i64) -> Credits {
    Credits::from_nano(amount)
}

pub(crate) fn owner(number: u64) -> Owner {
    Owner::new(AccountId::new(number)).unwrap()
}

pub(crate) fn transfer(
    id: u128,
    kind: TransferKind,
    debit: AccountKey,
    credit: AccountKey,
    amount: i64,
) -> Transfer {
    Transfer {
        id: TransferId::new(id),
        kind,
        mode: Mode::Plain,
        debit,
        credit,
        amount: nano(amount),
        job: None,
        memo: String::new(),
    }
}

pub(crate) fn grant(id: u128, to: u64, amount: i64) -> Transfer {
    transfer(
        id,
        TransferKind::Grant,
        AccountKey::Grants,
        AccountKey::Available(owner(to)),
        amount,
    )
}

pub(crate) fn reserve(id: u128, of: u64, amount: i64) -> Transfer {
    let (debit, credit) = (
        AccountKey::Available(owner(of)),
        AccountKey::Reserved(owner(of), SHARD),
    );
    transfer(id, TransferKind::Reserve, debit, credit, amount)
}

pub(crate) fn payout(id: u128, of: u64, amount: i64, mode: Mode) -> Transfer {
    let debit = AccountKey::Available(owner(of));
    Transfer {
        mode,
        ..transfer(id, TransferKind::Payout, debit, AccountKey::Payouts, amount)
    }
}

/// The exchange's accounts and every account of owners 1 to `owners`.
pub(crate) fn books(owners: u64) -> Ledger {
    let mut ledger = Ledger::new();
    for account in AccountKey::OWN {
        ledger.open(account);
    }
    for number in 1..=owners {
        let owner = owner(number);
        ledger.open(AccountKey::Available(owner));
        ledger.open(AccountKey::Pending(owner));
        ledger.open(AccountKey::Probation(owner));
        ledger.open(AccountKey::Reserved(owner, SHARD));
    }
    ledger
}

pub(crate) fn balance(ledger: &Ledger, account: AccountKey) -> i64 {
    ledger.counters(account).unwrap().balance().as_nano()
}
