//! Who calls: a bearer key, looked up by its SHA-256 at billing and remembered for a short while.
//!
//! Invariants: the secret itself is neither kept nor logged nor sent; the memory is bounded; a key that billing does
//! not know costs billing one call in [`UNKNOWN_KEPT`], however often it comes; a revoked key works for as long as a
//! good one is remembered, at most; a key that expires works not a moment longer.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::{KeyId, Timestamp};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::errors::{
    EXPIRED_API_KEY, INVALID_API_KEY, KEY_CHECK_UNAVAILABLE, MALFORMED_API_KEY, MISSING_API_KEY,
    REVOKED_API_KEY, Refusal,
};
use crate::billing_client::{self, BillingClient, BillingError};
use crate::identity::{AuthError, Authenticator, Identity, KeyScope};

/// How long a key that billing does not know is not asked about again: a new key works after this at the latest.
pub const UNKNOWN_KEPT: Duration = Duration::from_secs(5);
/// Keys that are remembered: some 10 MiB. Beyond it the memory starts anew.
pub const KEYS_REMEMBERED_MAX: usize = 65_536;
/// Keys that are asked about at once. More wait for [`QUESTION_TIMEOUT`], then are told to try again: strangers with
/// made-up keys must not take billing away from everybody.
pub const QUESTIONS_MAX: usize = 64;
/// How long a caller waits for his turn to be asked about.
pub const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// What every key begins with.
const KEY_PREFIX: &str = "atoll_sk_";
/// The longest key that is looked up.
const KEY_LENGTH_MAX: usize = 128;

/// Why a key is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No key came.
    #[error("no API key: send `authorization: Bearer atoll_sk_…`")]
    Missing,
    /// What came is not a key.
    #[error(
        "this is not an API key of this exchange: they begin with `atoll_sk_` and come as `Bearer` tokens"
    )]
    Malformed,
    /// Billing does not know it.
    #[error("the API key is not known; check that it was copied whole")]
    Unknown,
    /// Billing knows that it was revoked.
    #[error("the API key was revoked; use another one")]
    Revoked,
    /// Billing knows that it has expired.
    #[error("the API key has expired; use the one that it was rotated into, or another one")]
    Expired,
    /// Billing does not answer.
    #[error("API keys cannot be checked at the moment; try again")]
    Unavailable,
}

impl From<KeyError> for Refusal {
    fn from(error: KeyError) -> Self {
        let kind = match error {
            KeyError::Missing => MISSING_API_KEY,
            KeyError::Malformed => MALFORMED_API_KEY,
            KeyError::Unknown => INVALID_API_KEY,
            KeyError::Revoked => REVOKED_API_KEY,
            KeyError::Expired => EXPIRED_API_KEY,
            KeyError::Unavailable => KEY_CHECK_UNAVAILABLE,
        };
        kind.because(error.to_string())
    }
}

/// A key that is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// Whose it is.
    pub identity: Identity,
    /// When it stops being good, by the clock of the world.
    pub expires_at: Option<Timestamp>,
}

/// Where keys are looked up when they are not remembered.
pub trait KeyBook: Send + Sync {
    /// The key that has this SHA-256; `Unknown`, `Revoked`, `Expired` or `Unavailable` otherwise.
    fn look_up(&self, secret_sha256: [u8; 32]) -> BoxFuture<'_, Result<KnownKey, KeyError>>;
}

impl KeyBook for BillingClient {
    fn look_up(&self, secret_sha256: [u8; 32]) -> BoxFuture<'_, Result<KnownKey, KeyError>> {
        async move {
            match self.authenticate_key(secret_sha256).await {
                Ok(found) => Ok(KnownKey {
                    identity: Identity {
                        account: found.account,
                        key: found.key,
                        scope: match found.scope {
                            billing_client::KeyScope::Full => KeyScope::Full,
                            billing_client::KeyScope::Consumer => KeyScope::Consumer,
                            billing_client::KeyScope::Island => KeyScope::Island,
                        },
                        spending: found.spending,
                    },
                    expires_at: found.expires_at,
                }),
                Err(BillingError::Refused { code, .. }) if code == "EXPIRED_API_KEY" => {
                    Err(KeyError::Expired)
                }
                Err(BillingError::Refused { code, .. }) if code == "REVOKED_API_KEY" => {
                    Err(KeyError::Revoked)
                }
                Err(BillingError::Refused { code, .. })
                    if matches!(code.as_str(), "UNKNOWN_KEY" | "NOT_FOUND" | "NotFound") =>
                {
                    Err(KeyError::Unknown)
                }
                Err(error) => {
                    tracing::warn!(%error, "billing could not be asked about a key");
                    Err(KeyError::Unavailable)
                }
            }
        }
        .boxed()
    }
}

/// The bearer key of a request.
///
/// # Errors
/// When there is none, or it cannot be one.
pub fn bearer(headers: &HeaderMap) -> Result<&str, KeyError> {
    let value = headers.get(AUTHORIZATION).ok_or(KeyError::Missing)?;
    let text = value.to_str().map_err(|_| KeyError::Malformed)?;
    let (scheme, secret) = text.split_once(' ').ok_or(KeyError::Malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(KeyError::Malformed);
    }
    match secret.trim() {
        "" => Err(KeyError::Missing),
        secret => Ok(secret),
    }
}

#[derive(Clone, Copy)]
struct Remembered {
    answer: Result<Identity, KeyError>,
    until: Instant,
    /// When the key itself ends.
    expires: Option<Instant>,
}

impl Remembered {
    /// What is answered now; nothing if it has to be asked again.
    fn answer(&self, now: Instant) -> Option<Result<Identity, KeyError>> {
        // What has expired stays so, whether billing can be asked or not.
        if self.expires.is_some_and(|expires| expires <= now) {
            return Some(Err(KeyError::Expired));
        }
        (now < self.until).then_some(self.answer)
    }
}

/// Keys, remembered for a short while.
pub struct Keys {
    book: Box<dyn KeyBook>,
    remembered: Mutex<HashMap<[u8; 32], Remembered>>,
    questions: Semaphore,
    known_kept: Duration,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// Keys that `book` knows, each asked about again when it has been remembered for `known_kept`.
    #[must_use]
    pub fn new(book: impl KeyBook + 'static, known_kept: Duration) -> Self {
        Self {
            book: Box::new(book),
            remembered: Mutex::default(),
            questions: Semaphore::new(QUESTIONS_MAX),
            known_kept,
        }
    }

    /// How long a key that is good now goes on being taken for good.
    #[must_use]
    pub const fn known_kept(&self) -> Duration {
        self.known_kept
    }

    /// Whose key the secret is.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub async fn identify(&self, secret: &str) -> Result<Identity, KeyError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if !secret.starts_with(KEY_PREFIX) || secret.len() > KEY_LENGTH_MAX || !secret.bytes().all(plain) {
            return Err(KeyError::Malformed);
        }
        let digest: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        if let Some(answer) = self.recall(&digest) {
            return answer;
        }
        let turn = tokio::time::timeout(QUESTION_TIMEOUT, self.questions.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(KeyError::Unavailable);
        };
        // Another caller with the same key may have asked meanwhile.
        if let Some(answer) = self.recall(&digest) {
            return answer;
        }
        let answer = self.book.look_up(digest).await;
        self.remember(digest, answer)
    }

    /// What was last learnt of a key, however long ago; nothing if it is not remembered as a good one. For who holds a
    /// session open and asks about its key now and then.
    #[must_use]
    pub fn latest(&self, secret: &str) -> Option<Identity> {
        let digest: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(&digest)?.answer.ok()
    }

    /// How long to wait before asking whether a key that was good is good still: until it is asked about again, or ends.
    #[must_use]
    pub fn good_for(&self, secret: &str) -> Duration {
        let digest: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let expires = remembered.get(&digest).and_then(|found| found.expires);
        let left = expires.map(|expires| expires.saturating_duration_since(Instant::now()));
        left.map_or(self.known_kept, |left| left.min(self.known_kept))
    }

    /// Remembers nothing more of a key, so that its end is seen at once where it was ended through this gateway.
    pub fn forget(&self, key: KeyId) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.retain(|_, found| found.answer.map(|identity| identity.key) != Ok(key));
    }

    fn recall(&self, digest: &[u8; 32]) -> Option<Result<Identity, KeyError>> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(digest)?.answer(Instant::now())
    }

    /// Remembers what the book answered, and gives what is answered now.
    fn remember(&self, digest: [u8; 32], answer: Result<KnownKey, KeyError>) -> Result<Identity, KeyError> {
        let now = Instant::now();
        let (kept, expires) = match answer {
            Ok(known) => (self.known_kept, known.expires_at.map(|at| now + left_until(at))),
            Err(KeyError::Unavailable) => return Err(KeyError::Unavailable),
            Err(
                KeyError::Missing
                | KeyError::Malformed
                | KeyError::Unknown
                | KeyError::Revoked
                | KeyError::Expired,
            ) => (UNKNOWN_KEPT, None),
        };
        let found = Remembered {
            answer: answer.map(|known| known.identity),
            until: now + kept,
            expires,
        };
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= KEYS_REMEMBERED_MAX {
            remembered.retain(|_, found| now < found.until);
        }
        if remembered.len() >= KEYS_REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(digest, found);
        found.answer(now).unwrap_or(found.answer)
    }
}

/// How long it is until a moment of the world's clock; a key that ends later than a year from now ends then, for this.
fn left_until(at: Timestamp) -> Duration {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);
    at.since(super::now()).min(YEAR)
}

impl Authenticator for Keys {
    fn authenticate<'a>(&'a self, secret: &'a str) -> BoxFuture<'a, Result<Identity, AuthError>> {
        async move {
            self.identify(secret).await.map_err(|error| match error {
                KeyError::Missing | KeyError::Malformed | KeyError::Unknown => AuthError::Unknown,
                KeyError::Revoked => AuthError::Revoked,
                KeyError::Expired => AuthError::Expired,
                KeyError::Unavailable => AuthError::Unavailable,
            })
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KEY_KEPT;
    use crate::identity::SpendingTerms;
    use domain::AccountId;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Knows one key, until it is revoked.
    #[derive(Clone, Default)]
    struct OneKey {
        asked: Arc<AtomicU32>,
        revoked: Arc<std::sync::atomic::AtomicBool>,
        down: Arc<std::sync::atomic::AtomicBool>,
        life: Option<Duration>,
    }

    const KEY: &str = "atoll_sk_right";

    /// The key of [`OneKey`] ends after this.
    const LIFE: Duration = Duration::from_secs(7 * 24 * 3_600);

    impl KeyBook for OneKey {
        fn look_up(&self, secret_sha256: [u8; 32]) -> BoxFuture<'_, Result<KnownKey, KeyError>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let right: [u8; 32] = Sha256::digest(KEY.as_bytes()).into();
            let answer = if self.down.load(Ordering::Relaxed) {
                Err(KeyError::Unavailable)
            } else if secret_sha256 != right {
                Err(KeyError::Unknown)
            } else if self.revoked.load(Ordering::Relaxed) {
                Err(KeyError::Revoked)
            } else {
                let identity = Identity {
                    account: AccountId::new(1),
                    key: KeyId::new(1),
                    scope: KeyScope::Full,
                    spending: SpendingTerms::unlimited(KeyId::new(1)),
                };
                Ok(KnownKey {
                    identity,
                    expires_at: self.life.map(|life| super::super::now().after(life)),
                })
            };
            std::future::ready(answer).boxed()
        }
    }

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[test]
    fn a_request_without_a_key_differs_from_one_with_a_malformed_one() {
        assert_eq!(bearer(&HeaderMap::new()), Err(KeyError::Missing));
        assert_eq!(bearer(&headers("Bearer ")), Err(KeyError::Missing));
        assert_eq!(bearer(&headers("Basic dXNlcg==")), Err(KeyError::Malformed));
        assert_eq!(bearer(&headers("atoll_sk_x")), Err(KeyError::Malformed));
        assert_eq!(bearer(&headers("bearer atoll_sk_x")), Ok("atoll_sk_x"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_asked_about_once_in_its_time() {
        let book = OneKey::default();
        let keys = Keys::new(book.clone(), KEY_KEPT);
        for _ in 0..3 {
            assert!(keys.identify(KEY).await.is_ok());
            assert_eq!(keys.identify("atoll_sk_wrong").await, Err(KeyError::Unknown));
        }
        assert_eq!(book.asked.load(Ordering::Relaxed), 2);
        tokio::time::advance(UNKNOWN_KEPT).await;
        assert_eq!(keys.identify("atoll_sk_wrong").await, Err(KeyError::Unknown));
        assert!(keys.identify(KEY).await.is_ok());
        assert_eq!(book.asked.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_revoked_key_stops_working_when_its_memory_ends() {
        let book = OneKey::default();
        let keys = Keys::new(book.clone(), KEY_KEPT);
        assert!(keys.identify(KEY).await.is_ok());
        book.revoked.store(true, Ordering::Relaxed);
        tokio::time::advance(KEY_KEPT).await;
        assert_eq!(keys.identify(KEY).await, Err(KeyError::Revoked));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_expires_works_to_that_moment_and_not_for_as_long_as_it_is_remembered() {
        let book = OneKey {
            life: Some(LIFE),
            ..OneKey::default()
        };
        let keys = Keys::new(book.clone(), LIFE * 2);
        assert!(keys.identify(KEY).await.is_ok());
        let left = keys.good_for(KEY);
        assert!(left <= LIFE && left > LIFE / 2, "{left:?}");
        tokio::time::advance(left - Duration::from_millis(1)).await;
        assert!(keys.identify(KEY).await.is_ok());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(keys.identify(KEY).await, Err(KeyError::Expired));
        assert_eq!(keys.good_for(KEY), Duration::ZERO);
        assert_eq!(book.asked.load(Ordering::Relaxed), 1);
        // A key without an end is asked about as often as any.
        let keys = Keys::new(OneKey::default(), KEY_KEPT);
        assert!(keys.identify(KEY).await.is_ok());
        assert_eq!(keys.good_for(KEY), KEY_KEPT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_of_the_book_is_not_remembered() {
        let book = OneKey::default();
        book.down.store(true, Ordering::Relaxed);
        let keys = Keys::new(book.clone(), KEY_KEPT);
        assert_eq!(keys.identify(KEY).await, Err(KeyError::Unavailable));
        book.down.store(false, Ordering::Relaxed);
        assert!(keys.identify(KEY).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_a_key_is_never_asked_about() {
        let book = OneKey::default();
        let keys = Keys::new(book.clone(), KEY_KEPT);
        let long = format!("atoll_sk_{}", "x".repeat(KEY_LENGTH_MAX));
        for text in ["", "sk-123", "atoll_sk_a b", "atoll_sk_é", &long] {
            assert_eq!(keys.identify(text).await, Err(KeyError::Malformed), "{text}");
        }
        assert_eq!(book.asked.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_is_bounded() {
        let keys = Keys::new(OneKey::default(), KEY_KEPT);
        for number in 0..=KEYS_REMEMBERED_MAX {
            assert!(keys.identify(&format!("atoll_sk_{number}")).await.is_err());
        }
        assert!(keys.remembered.lock().unwrap().len() <= KEYS_REMEMBERED_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_was_ended_here_is_asked_about_at_once() {
        let book = OneKey::default();
        let keys = Keys::new(book.clone(), KEY_KEPT);
        let key = keys.identify(KEY).await.unwrap().key;
        book.revoked.store(true, Ordering::Relaxed);
        keys.forget(KeyId::new(2));
        assert!(keys.identify(KEY).await.is_ok());
        keys.forget(key);
        assert_eq!(keys.identify(KEY).await, Err(KeyError::Revoked));
    }
}
