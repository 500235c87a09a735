//! Who calls: a bearer key, looked up by its SHA-256 at billing and remembered for a short while.
//!
//! Invariants: the secret itself is neither kept nor logged nor sent; the memory is bounded; a key that billing does
//! not know costs billing one call in [`UNKNOWN_KEPT`], however often it comes; a revoked key works for as long as a
//! good one is remembered, at most.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::errors::{
    INVALID_API_KEY, KEY_CHECK_UNAVAILABLE, MALFORMED_API_KEY, MISSING_API_KEY, REVOKED_API_KEY, Refusal,
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
            KeyError::Unavailable => KEY_CHECK_UNAVAILABLE,
        };
        kind.because(error.to_string())
    }
}

/// Where keys are looked up when they are not remembered.
pub trait KeyBook: Send + Sync {
    /// Whose key has this SHA-256; `Unknown`, `Revoked` or `Unavailable` otherwise.
    fn look_up(&self, secret_sha256: [u8; 32]) -> BoxFuture<'_, Result<Identity, KeyError>>;
}

impl KeyBook for BillingClient {
    fn look_up(&self, secret_sha256: [u8; 32]) -> BoxFuture<'_, Result<Identity, KeyError>> {
        async move {
            match self.authenticate_key(secret_sha256).await {
                Ok(found) => Ok(Identity {
                    account: found.account,
                    key: found.key,
                    scope: match found.scope {
                        billing_client::KeyScope::Full => KeyScope::Full,
                        billing_client::KeyScope::Consumer => KeyScope::Consumer,
                        billing_client::KeyScope::Island => KeyScope::Island,
                    },
                }),
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
        self.remember(digest, answer);
        answer
    }

    fn recall(&self, digest: &[u8; 32]) -> Option<Result<Identity, KeyError>> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let found = remembered.get(digest)?;
        (Instant::now() < found.until).then_some(found.answer)
    }

    fn remember(&self, digest: [u8; 32], answer: Result<Identity, KeyError>) {
        let kept = match answer {
            Ok(_) => self.known_kept,
            Err(KeyError::Unavailable) => return,
            Err(KeyError::Missing | KeyError::Malformed | KeyError::Unknown | KeyError::Revoked) => {
                UNKNOWN_KEPT
            }
        };
        let now = Instant::now();
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= KEYS_REMEMBERED_MAX {
            remembered.retain(|_, found| now < found.until);
        }
        if remembered.len() >= KEYS_REMEMBERED_MAX {
            remembered.clear();
        }
        let until = now + kept;
        remembered.insert(digest, Remembered { answer, until });
    }
}

impl Authenticator for Keys {
    fn authenticate<'a>(&'a self, secret: &'a str) -> BoxFuture<'a, Result<Identity, AuthError>> {
        async move {
            self.identify(secret).await.map_err(|error| match error {
                KeyError::Missing | KeyError::Malformed | KeyError::Unknown | KeyError::Revoked => {
                    AuthError::Unknown
                }
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
    use domain::{AccountId, KeyId};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Knows one key, until it is revoked.
    #[derive(Clone, Default)]
    struct OneKey {
        asked: Arc<AtomicU32>,
        revoked: Arc<std::sync::atomic::AtomicBool>,
        down: Arc<std::sync::atomic::AtomicBool>,
    }

    const KEY: &str = "atoll_sk_right";

    impl KeyBook for OneKey {
        fn look_up(&self, secret_sha256: [u8; 32]) -> BoxFuture<'_, Result<Identity, KeyError>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let right: [u8; 32] = Sha256::digest(KEY.as_bytes()).into();
            let answer = if self.down.load(Ordering::Relaxed) {
                Err(KeyError::Unavailable)
            } else if secret_sha256 != right {
                Err(KeyError::Unknown)
            } else if self.revoked.load(Ordering::Relaxed) {
                Err(KeyError::Revoked)
            } else {
                Ok(Identity {
                    account: AccountId::new(1),
                    key: KeyId::new(1),
                    scope: KeyScope::Full,
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
}
