//! What happened.

use domain::{
    CancelCause, ChainHead, InputWeight, IslandId, JobId, LeaseEpoch, LeaseId, OrderId, SessionId,
    TimeInForce, TokenCount, Units,
};

use crate::Speeds;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// An Island's session is open.
    Joined {
        /// The session.
        session: SessionId,
    },
    /// Anything arrived from a session.
    Heard {
        /// The session.
        session: SessionId,
    },
    /// A session ended or was ended.
    SessionLost {
        /// The session.
        session: SessionId,
    },
    /// The engine traded: a job has a lease.
    Granted(Grant),
    /// An Island took a job.
    Acknowledged(Reply),
    /// An Island will not do a job.
    Declined(Reply),
    /// Tokens arrived.
    Output {
        /// From whom, under which lease.
        from: Reply,
        /// The index of the first id in the lease's output.
        first_index: u32,
        /// The ids.
        ids: Vec<u32>,
    },
    /// An Island signed for what it emitted so far.
    Checkpoint {
        /// From whom, under which lease.
        from: Reply,
        /// What it claims.
        claim: SignedClaim,
    },
    /// A job is over on an Island, and the slot is free.
    Finished {
        /// From whom, under which lease.
        from: Reply,
        /// Why.
        reason: FinishReason,
        /// What it claims, if it sent a receipt.
        claim: Option<SignedClaim>,
    },
    /// The machine is free again after a revocation.
    SlotFree {
        /// The session.
        session: SessionId,
        /// The lease that was revoked.
        lease: LeaseId,
    },
    /// The consumer wants no more of a job.
    Cancel {
        /// The job.
        job: JobId,
        /// Why.
        cause: CancelCause,
    },
    /// A stop string began after so many tokens: the job ends there.
    Stop {
        /// The job.
        job: JobId,
        /// Tokens of the job that count.
        output_tokens: TokenCount,
    },
    /// The engine ended a lease and bid again for the rest.
    RebidPlaced {
        /// The lease that ended.
        lease: LeaseId,
        /// The new bid.
        order: OrderId,
    },
    /// The bid of a failover ended without a trade.
    RebidEnded {
        /// The job that does not go on.
        job: JobId,
    },
    /// The engine closed a lease.
    LeaseClosed {
        /// The lease.
        lease: LeaseId,
    },
    /// The engine refused to close a lease or to fail it over.
    SettlementRefused {
        /// The lease.
        lease: LeaseId,
    },
}

/// A job has a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The lease.
    pub lease: LeaseId,
    /// The job.
    pub job: JobId,
    /// Which attempt at the job this is.
    pub epoch: LeaseEpoch,
    /// The Island.
    pub island: IslandId,
    /// The Island's session.
    pub session: SessionId,
    /// The most that the lease may bill.
    pub units_max: Units,
    /// How fast the Island is.
    pub speeds: Speeds,
    /// What the job is; the same at every attempt.
    pub facts: JobFacts,
}

/// What matters here about a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobFacts {
    /// Tokens of the prompt.
    pub prompt_tokens: TokenCount,
    /// The most tokens that it may emit over all attempts.
    pub max_tokens: TokenCount,
    /// What a prompt token weighs.
    pub input_weight: InputWeight,
    /// How long its first bid was to wait: the consumer's patience.
    pub patience: TimeInForce,
}

/// Who answers, and about which attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The session that it came over.
    pub session: SessionId,
    /// The lease that it names.
    pub lease: LeaseId,
    /// The attempt that it names.
    pub epoch: LeaseEpoch,
}

/// A receipt's claim, after the shell looked at the signature and at every field that does not depend on the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedClaim {
    /// All of that is right.
    Sound(Claim),
    /// Some of it is wrong.
    Unsound,
}

/// What an Island claims to have emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// So many tokens.
    pub output_tokens: TokenCount,
    /// With this head of the chain over them.
    pub chain: ChainHead,
}

/// Why an Island stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// A stop id.
    Stop,
    /// The limit of tokens.
    Length,
    /// It was told to.
    Cancelled,
    /// It could not go on.
    Error,
}
