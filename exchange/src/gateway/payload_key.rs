//! What a bid's jobs are to do, in 64 bits that are journaled with it.
//!
//! A client order id that comes again with another prompt must be refused, also after a restart, when nothing is left
//! of the prompts themselves. So the engine remembers a digest of them beside the bid's terms. It is keyed with a
//! secret that never enters the journal: who holds a journal or a snapshot cannot try prompts against it. And it is
//! short: two bodies of one account under one name look alike once in 2^64, and the worst that comes of it is that the
//! account is answered with its own first order.

use domain::PayloadDigest;
use proto::convert::JobInput;
use sha2::{Digest, Sha256};

use crate::leasing::JobPayload;
use crate::receipts::ExchangeKey;

/// What payloads are digested with. It lives as long as the exchange's own key, so repeats are known after a restart.
#[derive(Clone, Copy)]
pub struct PayloadKey([u8; 32]);

impl std::fmt::Debug for PayloadKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PayloadKey").finish_non_exhaustive()
    }
}

impl PayloadKey {
    /// The one that goes with an exchange's key.
    #[must_use]
    pub fn of(key: &ExchangeKey) -> Self {
        Self(key.derive("payload digest"))
    }

    /// Begins the digest of one order's payloads. The secret comes first, and three quarters of the hash are dropped,
    /// so nobody can go on from a digest to that of a longer body.
    pub(super) fn digest(&self) -> PayloadHasher {
        PayloadHasher(Sha256::new_with_prefix(self.0))
    }
}

/// What a client asked of its job, in what the tokeniser does not say: read before the input is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wishes {
    seed: Option<u64>,
    stop: Vec<String>,
}

impl Wishes {
    pub(super) fn of(input: &JobInput) -> Self {
        Self {
            seed: input.seed,
            stop: input.stop.clone(),
        }
    }
}

/// The digest of one order's payloads, job by job.
pub(super) struct PayloadHasher(Sha256);

impl PayloadHasher {
    /// Adds a job. Of the seed only what the client asked for counts: one that was drawn differs each time.
    pub(super) fn add(&mut self, payload: &JobPayload, wishes: &Wishes) {
        self.list(payload.prompt_ids.len());
        for id in payload.prompt_ids.iter() {
            self.0.update(id.to_le_bytes());
        }
        self.0.update(payload.max_tokens.get().to_le_bytes());
        self.0
            .update(payload.sampling.temperature.to_bits().to_le_bytes());
        self.0.update(payload.sampling.top_p.to_bits().to_le_bytes());
        self.0.update(payload.sampling.top_k.to_le_bytes());
        self.list(usize::from(wishes.seed.is_some()));
        self.0.update(wishes.seed.unwrap_or_default().to_le_bytes());
        self.list(wishes.stop.len());
        for text in &wishes.stop {
            self.list(text.len());
            self.0.update(text);
        }
    }

    /// How much follows: so that no two bodies are the same bytes.
    fn list(&mut self, length: usize) {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        self.0.update(length.to_le_bytes());
    }

    pub(super) fn finish(self) -> PayloadDigest {
        let whole: [u8; 32] = self.0.finalize().into();
        let mut first = [0; 8];
        first.copy_from_slice(&whole[..8]);
        PayloadDigest::new(u64::from_le_bytes(first))
    }
}

#[cfg(test)]
mod tests {
    use domain::TokenCount;

    use super::*;
    use crate::leasing::Sampling;

    const KEY: PayloadKey = PayloadKey([7; 32]);

    fn body() -> (JobPayload, Wishes) {
        let payload = JobPayload {
            prompt_ids: [1, 2, 3].into(),
            max_tokens: TokenCount::new(9),
            sampling: Sampling {
                temperature: 0.0,
                top_p: 1.0,
                top_k: 0,
                seed: 4,
            },
            stop_ids: [0].into(),
        };
        let wishes = Wishes {
            seed: None,
            stop: vec![String::from("ab"), String::from("c")],
        };
        (payload, wishes)
    }

    fn digest(key: PayloadKey, bodies: &[(JobPayload, Wishes)]) -> PayloadDigest {
        let mut hasher = key.digest();
        for (payload, wishes) in bodies {
            hasher.add(payload, wishes);
        }
        hasher.finish()
    }

    fn changed(change: impl FnOnce(&mut JobPayload, &mut Wishes)) -> PayloadDigest {
        let (mut payload, mut wishes) = body();
        change(&mut payload, &mut wishes);
        digest(KEY, &[(payload, wishes)])
    }

    #[test]
    fn a_repeat_has_the_same_digest_whatever_seed_was_drawn_for_it() {
        let first = changed(|_, _| {});
        assert_eq!(first, changed(|payload, _| payload.sampling.seed = 5));
    }

    #[test]
    fn whatever_a_client_may_ask_for_changes_the_digest() {
        let others = [
            changed(|_, _| {}),
            changed(|payload, _| payload.prompt_ids = [1, 2, 4].into()),
            changed(|payload, _| payload.prompt_ids = [1, 2].into()),
            changed(|payload, _| payload.max_tokens = TokenCount::new(10)),
            changed(|payload, _| payload.sampling.temperature = 0.5),
            changed(|payload, _| payload.sampling.top_p = 0.5),
            changed(|_, wishes| wishes.seed = Some(0)),
            changed(|_, wishes| wishes.seed = Some(1)),
            changed(|_, wishes| wishes.stop = vec![String::from("a"), String::from("bc")]),
            changed(|_, wishes| wishes.stop.clear()),
            digest(KEY, &[body(), body()]),
            digest(PayloadKey([8; 32]), &[body()]),
        ];
        let distinct: std::collections::BTreeSet<_> = others.iter().collect();
        assert_eq!(distinct.len(), others.len());
    }
}
