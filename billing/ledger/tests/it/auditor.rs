//! An auditor that adds transfers up by itself, in 128 bits, and compares.

use std::collections::BTreeMap;

use ledger::{AccountKey, AccountKind, Ledger, Mode};

/// Every complaint about the books; none when all is well.
pub(crate) fn complaints(ledger: &Ledger) -> Vec<String> {
    let mut complaints = Vec::new();
    // Per account: debits pending, debits posted, credits pending, credits posted.
    let mut sums: BTreeMap<AccountKey, [i128; 4]> = BTreeMap::new();
    let mut held: BTreeMap<_, i128> = BTreeMap::new();
    for transfer in ledger.transfers() {
        let amount = i128::from(transfer.amount.as_nano());
        if amount <= 0 {
            complaints.push(format!("{} moves {amount}", transfer.id));
        }
        let (pending, posted) = match transfer.mode {
            Mode::Plain => (0, amount),
            Mode::Pending => (amount, 0),
            Mode::Post(_) => (-amount, amount),
            Mode::Void(_) => (-amount, 0),
        };
        let debit = sums.entry(transfer.debit).or_default();
        debit[0] += pending;
        debit[1] += posted;
        let credit = sums.entry(transfer.credit).or_default();
        credit[2] += pending;
        credit[3] += posted;
        if let Some(resolved) = transfer.mode.resolves() {
            *held.entry(resolved).or_default() += 1;
        }
    }
    complaints.extend(
        held.into_iter()
            .filter(|(_, times)| *times > 1)
            .map(|(id, times)| format!("{id} was resolved {times} times")),
    );
    let mut total = 0;
    for (account, counters) in ledger.accounts() {
        let kept = [
            counters.debits_pending(),
            counters.debits_posted(),
            counters.credits_pending(),
            counters.credits_posted(),
        ]
        .map(|counter| i128::from(counter.as_nano()));
        let summed = sums.remove(&account).unwrap_or_default();
        if kept != summed {
            complaints.push(format!("{account} keeps {kept:?}, its transfers make {summed:?}"));
        }
        total += kept[3] - kept[1];
        let may_owe = matches!(
            account.kind(),
            AccountKind::Grants | AccountKind::Fees | AccountKind::Pool
        );
        if !may_owe && kept[3] < kept[0] + kept[1] {
            complaints.push(format!("{account} owes: {kept:?}"));
        }
    }
    complaints.extend(
        sums.keys()
            .map(|account| format!("{account} has transfers and does not exist")),
    );
    if total != 0 {
        complaints.push(format!("the accounts add up to {total}"));
    }
    complaints
}
