//! Keys: made, rotated, revoked.

use domain::{AccountId, KeyId, Timestamp};
use ledger::{AccountKey, Owner};
use proto::convert::billing::{SpendingLimit, SpendingTotal};

use super::Working;
use crate::limits::KEYS_PER_OWNER_MAX;
use crate::store::key::{KeyMade, KeyRequest, KeyRow, KeyState, NewKey, Rotation};
use crate::store::{Outcome, Rejection};

impl Working {
    /// Whether there is such an owner. His available account must be loaded.
    pub(super) fn knows(&self, owner: AccountId) -> bool {
        Owner::new(owner).is_some_and(|owner| self.ledger.counters(AccountKey::Available(owner)).is_some())
    }

    pub(super) fn create_key(&mut self, key: &NewKey) -> Outcome {
        if !self.knows(key.owner) {
            return Outcome::Rejected(Rejection::UnknownAccount(key.owner));
        }
        if let Some(request) = &key.request
            && let Some((id, body)) = self.key_requests.get(&(key.owner, request.id.clone()))
        {
            if *body != request.body {
                return Outcome::Rejected(Rejection::RequestDiffers);
            }
            return Outcome::Key(KeyMade::Before(*id));
        }
        if let Err(rejection) = self.check_expiry(key.expires_at) {
            return Outcome::Rejected(rejection);
        }
        match self.add_key(key.clone(), None) {
            Ok(id) => Outcome::Key(KeyMade::Now(id)),
            Err(rejection) => Outcome::Rejected(rejection),
        }
    }

    pub(super) fn rotate_key(&mut self, rotation: &Rotation) -> Outcome {
        let Some(old) = self.keys.get(&rotation.key).cloned() else {
            return Outcome::Rejected(Rejection::UnknownKey(rotation.key));
        };
        if let Some((successor, request)) = &old.successor {
            return repeated(*successor, request, rotation, old.expires_at);
        }
        if let Err(rejection) = self.check_rotates(&old, rotation) {
            return Outcome::Rejected(rejection);
        }
        let successor = NewKey {
            owner: old.owner,
            name: old.name.clone(),
            scope: old.scope,
            secret: rotation.secret.clone(),
            request: Some(rotation.request.clone()),
            expires_at: rotation.expires_at.or(old.expires_at),
        };
        let id = match self.add_key(successor, Some((rotation.key, old.line))) {
            Ok(id) => id,
            Err(rejection) => return Outcome::Rejected(rejection),
        };
        let ends = old
            .expires_at
            .map_or(rotation.old_expires_at, |at| at.min(rotation.old_expires_at));
        if old.expires_at != Some(ends) {
            self.rows.expiries.insert(rotation.key, ends);
        }
        let ended = KeyState {
            expires_at: Some(ends),
            successor: Some((id, rotation.request.clone())),
            ..old
        };
        self.keys.insert(rotation.key, ended);
        Outcome::Rotated {
            successor: KeyMade::Now(id),
            old_expires_at: ends,
        }
    }

    fn check_rotates(&self, old: &KeyState, rotation: &Rotation) -> Result<(), Rejection> {
        if old.revoked_at.is_some() {
            return Err(Rejection::KeyRevoked(rotation.key));
        }
        if old.expires_at.is_some_and(|at| at <= self.now) {
            return Err(Rejection::KeyExpired(rotation.key));
        }
        self.check_expiry(rotation.expires_at)
    }

    fn check_expiry(&self, expires_at: Option<Timestamp>) -> Result<(), Rejection> {
        if expires_at.is_some_and(|at| at <= self.now) {
            return Err(Rejection::ExpiryPassed);
        }
        Ok(())
    }

    /// Makes a key, the successor of one of a line if that is given.
    pub(super) fn add_key(
        &mut self,
        key: NewKey,
        follows: Option<(KeyId, KeyId)>,
    ) -> Result<KeyId, Rejection> {
        let count = self.key_counts.entry(key.owner).or_default();
        if *count >= KEYS_PER_OWNER_MAX {
            return Err(Rejection::TooManyKeys);
        }
        *count = count.saturating_add(1);
        self.head.key = self.head.key.saturating_add(1);
        let id = KeyId::new(self.head.key);
        let state = KeyState {
            owner: key.owner,
            name: key.name.clone(),
            scope: key.scope,
            line: follows.map_or(id, |(_, line)| line),
            expires_at: key.expires_at,
            revoked_at: None,
            successor: None,
        };
        self.keys.insert(id, state);
        if let (Some(request), None) = (&key.request, follows) {
            self.key_requests
                .insert((key.owner, request.id.clone()), (id, request.body));
        }
        self.rows.keys.push(KeyRow {
            id,
            key,
            line: follows.map(|(_, line)| line),
            rotated_from: follows.map(|(from, _)| from),
        });
        Ok(id)
    }

    pub(super) fn limit_spending(&mut self, key: KeyId, limit: SpendingLimit) -> Outcome {
        let Some(state) = self.keys.get(&key) else {
            return Outcome::Rejected(Rejection::UnknownKey(key));
        };
        self.rows.limits.insert(state.line, limit);
        Outcome::SpendingLimited
    }

    pub(super) fn note_spending(&mut self, total: SpendingTotal) -> Outcome {
        let Some(state) = self.keys.get(&total.line) else {
            return Outcome::Rejected(Rejection::UnknownKey(total.line));
        };
        let line = state.line;
        self.rows.spending.push(SpendingTotal { line, ..total });
        Outcome::SpendingNoted
    }

    pub(super) fn revoke_key(&mut self, key: KeyId) -> Outcome {
        let now = self.now;
        let Some(state) = self.keys.get_mut(&key) else {
            return Outcome::Rejected(Rejection::UnknownKey(key));
        };
        if state.revoked_at.is_none() {
            state.revoked_at = Some(now);
            self.rows.revoked.insert(key);
        }
        Outcome::Revoked
    }
}

/// What a second rotation of a key gets: its successor if it is the same request.
fn repeated(successor: KeyId, request: &KeyRequest, again: &Rotation, ends: Option<Timestamp>) -> Outcome {
    if request.id != again.request.id {
        return Outcome::Rejected(Rejection::AlreadyRotated { successor });
    }
    if request.body != again.request.body {
        return Outcome::Rejected(Rejection::RequestDiffers);
    }
    Outcome::Rotated {
        successor: KeyMade::Before(successor),
        old_expires_at: ends.unwrap_or(again.old_expires_at),
    }
}
