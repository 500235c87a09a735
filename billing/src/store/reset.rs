//! Announced resets: at a moment that everybody could see coming, the virtual economy begins anew.

use domain::{Credits, Timestamp, TransferId};
use ledger::{AccountKey, Mode, Owner, Transfer, TransferKind, TransferSource};

use crate::keys::sha256;

/// A reset to announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewReset {
    /// Derived from the request: the key of idempotence.
    pub id: TransferId,
    /// When it happens.
    pub at: Timestamp,
    /// What everybody begins with who took part since the last one.
    pub starter: Credits,
    /// What he gets on top.
    pub bonus: Credits,
    /// Who announced it.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// A reset as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Its number, from 1.
    pub number: u32,
    /// What was announced.
    pub announced: NewReset,
}

/// Whether somebody bought or sold anything since the last reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Participation {
    /// He did: he gets the starter grant and the bonus.
    TookPart,
    /// He did not.
    LookedOn,
}

/// An owner whose turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerReset {
    /// Which reset.
    pub reset: u32,
    /// Who.
    pub owner: Owner,
    /// What he did since the last one.
    pub participation: Participation,
}

/// Where an owner's credits are taken from at once: what is reserved is taken when it comes back, and what is held is left
/// to its payout.
const EMPTIED: [fn(Owner) -> AccountKey; 3] =
    [AccountKey::Available, AccountKey::Pending, AccountKey::Probation];

impl Reset {
    /// What it does to an owner: all that he can spend and all that he has earned goes back to the grants, and if he took
    /// part, he gets what was announced.
    #[must_use]
    pub fn legs(
        &self,
        owner: Owner,
        participation: Participation,
        spendable: impl Fn(AccountKey) -> Credits,
    ) -> Vec<Transfer> {
        let NewReset {
            starter,
            bonus,
            author,
            reason,
            ..
        } = &self.announced;
        let leg = |leg: u8, kind, debit, credit, amount| Transfer {
            id: TransferSource::Reset {
                reset: self.number,
                owner,
                leg,
            }
            .id(),
            kind,
            mode: Mode::Plain,
            debit,
            credit,
            amount,
            job: None,
            memo: format!("reset by {author}: {reason}"),
        };
        let emptied = (1..).zip(EMPTIED).map(|(number, account)| {
            let account = account(owner);
            let amount = spendable(account);
            leg(number, TransferKind::Reset, account, AccountKey::Grants, amount)
        });
        let granted = match participation {
            Participation::TookPart => starter.checked_add(*bonus).unwrap_or(Credits::MAX),
            Participation::LookedOn => Credits::ZERO,
        };
        let available = AccountKey::Available(owner);
        let grant = leg(0, TransferKind::Grant, AccountKey::Grants, available, granted);
        let legs = emptied.chain([grant]);
        legs.filter(|leg| leg.amount > Credits::ZERO).collect()
    }

    /// The ids of all transfers that it may make of an owner.
    pub(super) fn ids(reset: u32, owner: Owner) -> impl Iterator<Item = TransferId> {
        let id = move |leg| TransferSource::Reset { reset, owner, leg }.id();
        (0..=3).map(id)
    }
}

/// The id of what a reset takes of a return.
pub(super) fn taken_id(back: TransferId) -> TransferId {
    let return_digest = sha256(&back.get().to_be_bytes());
    TransferSource::ResetReturn { return_digest }.id()
}

/// What a reset takes of a return, out of where that goes.
pub(super) fn taken_of_return(back: &Transfer, amount: Credits) -> Transfer {
    Transfer {
        id: taken_id(back.id),
        kind: TransferKind::Reset,
        mode: Mode::Plain,
        debit: back.credit,
        credit: AccountKey::Grants,
        amount,
        job: None,
        memo: "reserved before the reset".to_owned(),
    }
}
