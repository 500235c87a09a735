//! What the pure books have seen, and what is worked out of it.

use super::*;

impl Books {
    pub(super) fn take(&mut self, changes: &[Change], now: Timestamp) -> Vec<Outcome> {
        self.working.now = now.max(self.working.head.at);
        let outcomes = changes.iter().map(|change| self.working.apply(change)).collect();
        let rows: Rows = std::mem::take(&mut self.working.rows);
        let at = now.max(self.working.head.at);
        let (transfers, seal) = rows.booked(&self.working.head, at);
        if let Some(seal) = seal {
            let head = &mut self.working.head;
            (head.number, head.at, head.seal) = (seal.through, at, seal.hash);
        }
        self.transfers.extend(transfers);
        for (settlement, _) in &rows.settlements {
            let key = (settlement.shard, settlement.settlement.lease);
            self.settled_at.insert(key, at);
        }
        for owner in &rows.owners {
            self.made_at.insert(Owner::new(owner.id).unwrap(), at);
        }
        for mending in &rows.mended {
            self.mended_at.insert((mending.shard, mending.lease), at);
        }
        for refund in &rows.refunds {
            self.refunded_at.insert((refund.id, refund.place), at);
        }
        for id in rows.payouts.into_keys() {
            if !self.payouts.contains(&id) {
                self.payouts.push(id);
            }
        }
        self.destinations.extend(rows.destinations);
        // The plan keeps the sign-ups and their count by itself.
        drop(rows.sign_ups);
        for made in rows.keys {
            let (id, key) = (made.id, made.key);
            let record = KeyRecord {
                id,
                owner: key.owner,
                name: key.name,
                scope: key.scope,
                created_at: at,
                revoked_at: None,
                expires_at: key.expires_at,
                line: made.line.unwrap_or(id),
                rotated_from: made.rotated_from,
                rotated_to: None,
                limit: SpendingLimit::default(),
            };
            if let Some(from) = made.rotated_from {
                self.key(from).rotated_to = Some(id);
            }
            self.keys.insert(key.secret.sha256, record);
        }
        for (id, ends) in rows.expiries {
            self.key(id).expires_at = Some(ends);
        }
        for (line, limit) in rows.limits {
            self.limits.insert(line, limit);
        }
        for key in self.keys.values_mut() {
            key.limit = self.limits.get(&key.line).copied().unwrap_or_default();
        }
        for total in rows.spending {
            let same = |known: &&mut SpendingTotal| {
                (known.line, known.day, known.user) == (total.line, total.day, total.user)
            };
            match self.spending.iter_mut().find(same) {
                Some(known) => known.spent = known.spent.max(total.spent),
                None => self.spending.push(total),
            }
        }
        for id in rows.revoked {
            self.key(id).revoked_at = Some(at);
        }
        outcomes
    }

    pub(super) fn key(&mut self, id: KeyId) -> &mut KeyRecord {
        self.keys.values_mut().find(|key| key.id == id).unwrap()
    }

    pub(super) fn knows(&self, owner: AccountId) -> Option<Owner> {
        let owner = Owner::new(owner)?;
        let available = self.working.ledger.counters(AccountKey::Available(owner));
        available.map(|_| owner)
    }

    pub(super) fn balances(&self, owner: Owner) -> Balances {
        let mut balances = Balances::default();
        for (account, counters) in self.working.ledger.accounts() {
            if account.owner() != Some(owner) {
                continue;
            }
            let sum = match account {
                AccountKey::Available(_) => &mut balances.available,
                AccountKey::Reserved(..) => &mut balances.reserved,
                AccountKey::Pending(_) | AccountKey::Probation(_) => &mut balances.pending,
                AccountKey::Grants | AccountKey::Fees | AccountKey::Pool | AccountKey::Payouts => continue,
            };
            *sum = sum.checked_add(counters.spendable().unwrap()).unwrap();
        }
        balances
    }

    /// What the account has, less what it earned too late.
    pub(super) fn due(&self, account: AccountKey, cutoff: Timestamp) -> Option<Maturing> {
        let (owner, standing) = account.earner()?;
        let after = self.working.matured.get(&account).copied().unwrap_or(0);
        let waiting = self
            .transfers
            .iter()
            .filter(|booked| booked.transfer.credit == account && booked.number > after);
        let (old, young): (Vec<&BookedTransfer>, Vec<_>) = waiting.partition(|booked| booked.at <= cutoff);
        let late: i64 = young.iter().map(|booked| booked.transfer.amount.as_nano()).sum();
        let counters = self.working.ledger.counters(account)?;
        let amount = counters.balance().as_nano() - late;
        Some(Maturing {
            owner,
            standing,
            after,
            through: old.last()?.number,
            amount: Credits::from_nano(amount),
            gone: counters.debits_posted(),
        })
        .filter(|maturing| maturing.amount > Credits::ZERO)
    }
}
