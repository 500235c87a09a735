//! Who comes, and what keys he makes.

use billing::store::Change;
use billing::store::key::{KeptSecret, KeyRequest, NewKey, Rotation};
use billing::store::sign_up::NewSignUp;
use domain::{AccountId, KeyId};
use proto::convert::billing::{KeyScope, SpendingLimit, SpendingTotal};

use super::Script;
use crate::support::{at, nano, open_owner};

const OWNERS_MAX: u64 = 24;
const STRANGERS_MAX: u32 = 16;

impl Script {
    pub(super) fn owner(&mut self) -> Change {
        if self.rng.u32(0..4) == 0 {
            return Change::OpenOwner {
                request_id: "owner-1".into(),
                display_name: "somebody else".into(),
            };
        }
        open_owner(&format!("owner-{}", self.rng.u64(0..OWNERS_MAX)))
    }

    pub(super) fn key(&mut self) -> Change {
        let key = KeyId::new(self.rng.u64(0..self.keys + 2));
        let mut sha256 = [0; 32];
        sha256[..8].copy_from_slice(&self.step.to_be_bytes());
        let prefix = "atoll_sk_".into();
        let secret = KeptSecret { prefix, sha256 };
        let request = KeyRequest {
            id: format!("request {}", self.rng.u32(0..50)),
            body: [self.rng.u8(0..2); 32],
        };
        let expires_at = self.rng.bool().then(|| at(self.micros + self.rng.u64(0..50_000)));
        match self.rng.u32(0..7) {
            0 => return Change::RevokeKey(key),
            4 => return self.sign_up(secret),
            1 => {
                let old_expires_at = at(self.micros + self.rng.u64(0..50_000));
                return Change::RotateKey(Rotation {
                    key,
                    request,
                    secret,
                    old_expires_at,
                    expires_at,
                });
            }
            2 => {
                let amount = |amount: i64| (amount > 0).then(|| nano(amount));
                let (key_per_day, user_per_day) = (amount(self.rng.i64(0..9)), amount(self.rng.i64(0..9)));
                let limit = SpendingLimit {
                    key_per_day,
                    user_per_day,
                };
                return Change::LimitSpending(key, limit);
            }
            3 => {
                return Change::NoteSpending(SpendingTotal {
                    line: key,
                    user: self.rng.bool().then(|| [self.rng.u8(0..4); 32]),
                    day: self.rng.u32(0..3),
                    spent: nano(self.rng.i64(0..100)),
                });
            }
            _ => {}
        }
        Change::CreateKey(NewKey {
            owner: AccountId::new(self.who()),
            name: format!("key {}", self.step),
            scope: [KeyScope::Full, KeyScope::Consumer, KeyScope::Island][self.rng.usize(0..3)],
            secret,
            request: self.rng.bool().then_some(request),
            expires_at,
        })
    }

    /// By somebody new, again, or under another name.
    fn sign_up(&mut self, secret: KeptSecret) -> Change {
        Change::SignUp(NewSignUp {
            request_id: format!("stranger {}", self.rng.u32(0..STRANGERS_MAX)),
            display_name: ["a stranger", "another stranger"][self.rng.usize(0..2)].into(),
            secret,
            grant: nano(self.rng.i64(0..2_000_000_000)),
            per_day_max: self.rng.u32(0..4),
        })
    }
}
