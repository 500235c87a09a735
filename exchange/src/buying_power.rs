//! Buying power: credits that billing has reserved and the engine may spend without asking again.

use domain::{AccountId, Credits, SessionId, ShardId, Timestamp};

use crate::billing_client::{BillingClient, BillingError};
use crate::sequencer::{SequencerClosed, SequencerHandle};

/// The session whose fact the transfers' ids derive from: the gateway's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedSession {
    /// Its id.
    pub session: SessionId,
    /// When its `OpenSession` was journaled.
    pub at: Timestamp,
}

/// Tops up and returns buying power. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BuyingPower {}

/// Why there is not enough buying power.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnsureError {
    /// The account has not got it.
    #[error("not enough credits: {needed} more are needed")]
    NoCredits {
        /// How much is missing.
        needed: Credits,
    },
    /// The books disagree about this account: it buys nothing until an operator has looked.
    #[error("the account is suspended until its books agree")]
    Suspended,
    /// Too many requests of this account wait for a top-up.
    #[error("too many requests of this account wait for credits")]
    Busy,
    /// Billing could not be asked, or gave an answer that is no answer.
    #[error("could not reserve credits")]
    Billing(#[source] BillingError),
    /// The exchange is stopping.
    #[error(transparent)]
    Closed(#[from] SequencerClosed),
}

impl BuyingPower {
    /// Tops up through `billing` and `sequencer`.
    #[must_use]
    pub fn new(
        shard: ShardId,
        opened: OpenedSession,
        sequencer: SequencerHandle,
        billing: BillingClient,
    ) -> Self {
        let _ = (shard, opened, sequencer, billing);
        todo!()
    }

    /// Gives the account `needed` more buying power than it has: the shortfall that the engine named. When it
    /// returns, try the bid again.
    ///
    /// # Errors
    /// See [`EnsureError`].
    pub async fn ensure(&self, account: AccountId, needed: Credits) -> Result<(), EnsureError> {
        let _ = (account, needed);
        todo!()
    }

    /// Whether the account may bid.
    ///
    /// # Errors
    /// [`EnsureError::Suspended`] when its books disagreed at the start.
    pub fn check(&self, account: AccountId) -> Result<(), EnsureError> {
        let _ = account;
        todo!()
    }

    /// Gives back what the account's orders have not set aside; returns how much. The transfer itself is the
    /// outbox's: it follows when the journaled `Defund` is settled.
    ///
    /// # Errors
    /// See [`EnsureError`].
    pub async fn release_idle(&self, account: AccountId) -> Result<Credits, EnsureError> {
        let _ = account;
        todo!()
    }
}
