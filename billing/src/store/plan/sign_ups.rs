//! Sign-ups: an owner, a key and a grant, or none of them.

use domain::Credits;
use ledger::{AccountKey, Mode, Owner, Transfer, TransferKind, TransferSource};
use proto::convert::billing::KeyScope;

use super::Working;
use crate::keys::sha256;
use crate::store::key::{KeyMade, NewKey};
use crate::store::merkle::Day;
use crate::store::sign_up::{NewSignUp, SignUp, owner_request};
use crate::store::{Outcome, Rejection};

/// What the first key is called.
const KEY_NAME: &str = "made at sign-up";
/// What the statement says of the grant.
const GRANT_MEMO: &str = "starter grant";

impl Working {
    pub(super) fn sign_up(&mut self, asked: &NewSignUp) -> Outcome {
        let request = owner_request(&asked.request_id);
        if let Some(made) = self.sign_ups.get(&asked.request_id) {
            let named = self.owners.get(&request).map(|owner| owner.display_name.as_str());
            if named != Some(asked.display_name.as_str()) {
                return Outcome::Rejected(Rejection::RequestDiffers);
            }
            return signed_up(made, KeyMade::Before(made.key));
        }
        let today = Day::of(self.now);
        let count = self.sign_up_counts.get(&today).copied().unwrap_or(0);
        if count >= asked.per_day_max {
            return Outcome::Rejected(Rejection::SignUpsToday);
        }
        let holder = self.next_owner();
        let grant = (asked.grant > Credits::ZERO).then(|| grant(asked, holder));
        // All that may be refused is refused before anything is made.
        if let Some(refusal) = grant
            .as_ref()
            .and_then(|grant| self.ledger.check_payer(grant).err())
        {
            return Outcome::Rejected(refusal.into());
        }
        let Outcome::Owner(owner) = self.open_owner(&request, &asked.display_name) else {
            return Outcome::Rejected(Rejection::RequestDiffers);
        };
        let key = NewKey {
            owner,
            name: KEY_NAME.to_owned(),
            scope: KeyScope::Full,
            secret: asked.secret.clone(),
            request: None,
            expires_at: None,
        };
        let key = self
            .add_key(key, None)
            .expect("an owner's first key is not one too many");
        if let Some(grant) = grant {
            let outcome = self.book(&[grant]);
            assert!(
                matches!(outcome, Outcome::Booked(_)),
                "a new owner can be granted credits: {outcome:?}"
            );
        }
        let made = SignUp {
            request_id: asked.request_id.clone(),
            owner,
            key,
            day: today,
            granted: asked.grant,
        };
        let outcome = signed_up(&made, KeyMade::Now(key));
        self.sign_up_counts.insert(today, count.saturating_add(1));
        self.sign_ups.insert(asked.request_id.clone(), made.clone());
        self.rows.sign_ups.push(made);
        outcome
    }
}

fn signed_up(made: &SignUp, key: KeyMade) -> Outcome {
    Outcome::SignedUp {
        owner: made.owner,
        key,
        granted: made.granted,
    }
}

/// The starter grant; its id derives from the request, as every grant's does.
pub(super) fn grant_id(asked: &NewSignUp) -> domain::TransferId {
    let request_digest = sha256(owner_request(&asked.request_id).as_bytes());
    TransferSource::Grant { request_digest }.id()
}

fn grant(asked: &NewSignUp, holder: Owner) -> Transfer {
    Transfer {
        id: grant_id(asked),
        kind: TransferKind::Grant,
        mode: Mode::Plain,
        debit: AccountKey::Grants,
        credit: AccountKey::Available(holder),
        amount: asked.grant,
        job: None,
        memo: GRANT_MEMO.to_owned(),
    }
}
