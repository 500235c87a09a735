//! A job in the hands of one Island: the fencing epoch, and how it ended and why.

use serde::{Deserialize, Serialize};

/// Which attempt at a job this is, from 0. A message that carries an older epoch is stale and changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseEpoch(u8);

impl LeaseEpoch {
    /// The first attempt.
    pub const FIRST: Self = Self(0);

    /// Wraps a count of earlier attempts.
    #[must_use]
    pub const fn new(attempt: u8) -> Self {
        Self(attempt)
    }

    /// How many attempts came before.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The next attempt.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Why an Island did not finish what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LeaseFailure {
    /// It did not acknowledge in time.
    NotAcknowledged,
    /// It acknowledged, and no token came in time.
    NoFirstToken,
    /// Tokens stopped coming.
    Stalled,
    /// It took longer in all than the job's size allows.
    Overran,
    /// Its session ended.
    SessionLost,
    /// It said that it could not do it.
    Refused,
    /// Its receipt or chain did not match what arrived.
    BadReceipt,
    /// It sent what the protocol does not allow.
    Misbehaved,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum JobOutcome {
    /// The model stopped by itself or at a stop string.
    Stopped,
    /// The output limit was reached.
    Length,
    /// The consumer cancelled.
    Cancelled,
    /// Nobody was left to finish it; what was delivered is explicit about being cut.
    Incomplete,
    /// It ended before any output, by no fault of the consumer.
    Failed,
}

/// Why a consumer wants no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CancelCause {
    /// He said so.
    Asked,
    /// He is gone.
    Departed,
    /// He does not read what he gets.
    NotReading,
}

/// Why a job did not end cleanly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EndCause {
    /// The consumer wanted no more.
    Cancelled(CancelCause),
    /// No other Island took the rest in time.
    NoIslandLeft,
    /// As many Islands failed as may.
    FailoversExhausted,
    /// The exchange could not go on with it.
    Exchange,
    /// The gateway that held its payload was lost, as in a restart: nothing of it is charged.
    SessionLost,
}

impl EndCause {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Cancelled(CancelCause::Asked | CancelCause::Departed) => "CANCELLED",
            Self::Cancelled(CancelCause::NotReading) => "CONSUMER_NOT_READING",
            Self::NoIslandLeft => "NO_ISLAND_LEFT",
            Self::FailoversExhausted => "FAILOVERS_EXHAUSTED",
            Self::Exchange => "EXCHANGE_FAULT",
            Self::SessionLost => "SESSION_LOST",
        }
    }
}

/// How a job ended, and why if that was not its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobEnd {
    /// How.
    pub outcome: JobOutcome,
    /// Why, unless it ended cleanly.
    pub cause: Option<EndCause>,
}

impl JobEnd {
    /// An end that needs no reason.
    #[must_use]
    pub const fn clean(outcome: JobOutcome) -> Self {
        Self { outcome, cause: None }
    }

    /// An end for a reason.
    #[must_use]
    pub const fn because(outcome: JobOutcome, cause: EndCause) -> Self {
        Self {
            outcome,
            cause: Some(cause),
        }
    }
}
