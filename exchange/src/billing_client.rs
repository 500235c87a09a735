//! Calls to the billing service, typed, with timeouts and bounded retries.

use std::time::Duration;

use domain::{AccountId, Credits, KeyId, Sequence, ShardId, TransferId};
use proto::billing::v1 as wire;
use service::secret::Secret;

/// How billing is reached.
#[derive(Clone, Debug)]
pub struct BillingConfig {
    /// Its address, such as `http://127.0.0.1:8081`.
    pub address: String,
    /// The service token.
    pub token: Secret,
    /// How long one attempt may take.
    pub timeout: Duration,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BillingError {
    /// Billing answered, and the answer is no. Asking again changes nothing.
    #[error("billing refused: {code}: {message}")]
    Refused {
        /// A stable code such as `UNKNOWN_KEY`, or the gRPC code's name where billing gave none.
        code: String,
        /// For people.
        message: String,
    },
    /// No answer, after all attempts. What was asked may have been done: ask again with the same id.
    #[error("billing is not to be reached: {message}")]
    Unavailable {
        /// For people.
        message: String,
    },
    /// An answer that makes no sense.
    #[error("billing's answer makes no sense: {message}")]
    Malformed {
        /// For people.
        message: String,
    },
}

/// Whose a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// The account.
    pub account: AccountId,
    /// The key.
    pub key: KeyId,
    /// What it may be used for.
    pub scope: KeyScope,
}

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyScope {
    /// Everything.
    Full,
    /// Buying.
    Consumer,
    /// Enrolling Islands.
    Island,
}

/// A new key.
#[derive(Clone, Debug)]
pub struct CreatedKey {
    /// Its id.
    pub key: KeyId,
    /// The secret, shown once.
    pub secret: Secret,
}

/// An account's balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Free to spend or to reserve.
    pub available: Credits,
    /// Reserved on shards.
    pub reserved: Credits,
    /// Earned and not yet matured.
    pub pending: Credits,
}

/// What is asked of [`BillingClient::reserve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Derived by the caller: the key of idempotence.
    pub transfer: TransferId,
    /// Whose.
    pub account: AccountId,
    /// The shard that will spend it.
    pub shard: ShardId,
    /// At least this much, or it is refused.
    pub minimum: Credits,
    /// As much of this as is available.
    pub wanted: Credits,
}

/// What is asked of [`BillingClient::return_reserved`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnReserved {
    /// The transfer of the `Defund`: the key of idempotence.
    pub transfer: TransferId,
    /// Whose.
    pub account: AccountId,
    /// The shard that had it.
    pub shard: ShardId,
    /// How much.
    pub amount: Credits,
}

/// A transfer into or out of a reserved account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The transfer.
    pub transfer: TransferId,
    /// Whose.
    pub account: AccountId,
    /// How much; negative for a return.
    pub amount: Credits,
}

/// One page of a shard's reservations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReservationPage {
    /// Oldest first.
    pub reservations: Vec<Reservation>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// What became of a batch of settlements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Everything up to here is covered.
    pub through: Sequence,
    /// What was refused and is kept for an operator.
    pub refusals: Vec<wire::SettlementRefusal>,
}

/// A typed client of the billing service. Cheap to clone; connects when first used.
#[derive(Clone, Debug)]
pub struct BillingClient {}

impl BillingClient {
    /// A client for the service at `config.address`; nothing is sent yet.
    ///
    /// # Errors
    /// When address or token are malformed.
    pub fn new(config: &BillingConfig) -> Result<Self, BillingClientError> {
        let _ = config;
        todo!()
    }

    /// Tells whose key has this SHA-256.
    ///
    /// # Errors
    /// `Refused` for an unknown or revoked key.
    pub async fn authenticate_key(&self, secret_sha256: [u8; 32]) -> Result<Authenticated, BillingError> {
        let _ = secret_sha256;
        todo!()
    }

    /// Makes an account; repeating the request id returns the same one.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn create_account(
        &self,
        request_id: &str,
        display_name: &str,
    ) -> Result<AccountId, BillingError> {
        let _ = (request_id, display_name);
        todo!()
    }

    /// Grants credits once per request id; returns what is available now.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn grant(
        &self,
        request_id: &str,
        account: AccountId,
        amount: Credits,
        reason: &str,
    ) -> Result<Credits, BillingError> {
        let _ = (request_id, account, amount, reason);
        todo!()
    }

    /// Makes an API key. Never repeated by itself: each call makes another.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn create_api_key(
        &self,
        account: AccountId,
        name: &str,
        scope: KeyScope,
    ) -> Result<CreatedKey, BillingError> {
        let _ = (account, name, scope);
        todo!()
    }

    /// Moves credits into a reserved account; returns how much.
    ///
    /// # Errors
    /// `Refused` when less than the minimum is available.
    pub async fn reserve(&self, reserve: Reserve) -> Result<Credits, BillingError> {
        let _ = reserve;
        todo!()
    }

    /// Moves credits back that the engine has given up.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn return_reserved(&self, returned: ReturnReserved) -> Result<(), BillingError> {
        let _ = returned;
        todo!()
    }

    /// One page of a shard's reservations, oldest first, from where `after` says.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn list_reservations(
        &self,
        shard: ShardId,
        after: Option<&str>,
    ) -> Result<ReservationPage, BillingError> {
        let _ = (shard, after);
        todo!()
    }

    /// Books a batch of settlements.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn settle(&self, batch: wire::SettleRequest) -> Result<Settled, BillingError> {
        let _ = batch;
        todo!()
    }

    /// How far a shard is settled.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn cursor(&self, shard: ShardId) -> Result<Sequence, BillingError> {
        let _ = shard;
        todo!()
    }

    /// An account's balances.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn balance(&self, account: AccountId) -> Result<Balance, BillingError> {
        let _ = account;
        todo!()
    }

    /// Checks the books.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn audit(&self) -> Result<wire::AuditResponse, BillingError> {
        todo!()
    }
}

/// A configuration that no client can be made from.
#[derive(Debug, thiserror::Error)]
pub enum BillingClientError {
    /// Not an address.
    #[error("billing's address is malformed")]
    Address(#[source] tonic::transport::Error),
    /// Not something that a header can carry.
    #[error("the service token has characters that a header cannot carry")]
    Token,
}
