//! The seam between leasing and the agents' sessions: what goes to a session, and what comes from it.
//!
//! Leasing never waits for a session: an outbox that is full belongs to an agent that does not read, and its session
//! is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dispatch::{FinishReason, Reply, RevokeReason, SignedClaim};
use domain::{
    ClientOrderId, InstrumentId, IslandId, JobId, Jobs, LeaseEpoch, LeaseId, OrderId, Price, SessionId,
    TierFloor, TokenCount,
};
use matcher::{EndReason, RejectReason};
use proto::convert::SignedReceipt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::job::Sampling;

/// Messages that wait for one agent's session. A machine with the most slots there can be is told this much at once
/// when all its jobs are revoked.
pub(crate) const OUTBOX_MAX: usize = 2_048;

/// Messages of all agents that wait for leasing; beyond it the sessions wait.
pub(crate) const INPUTS_MAX: usize = 8_192;

/// The sessions' way into leasing. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AgentLink {
    pub(super) inputs: mpsc::Sender<AgentInput>,
}

impl AgentLink {
    /// Hands a message on, waiting for room; `false` when leasing has stopped.
    pub(crate) async fn send(&self, input: AgentInput) -> bool {
        self.inputs.send(input).await.is_ok()
    }
}

/// What comes from a session.
#[derive(Debug)]
pub(crate) enum AgentInput {
    /// It is open; nothing is sent to it before the reply.
    Joined {
        session: SessionId,
        island: IslandId,
        outbox: mpsc::Sender<ToAgent>,
        /// Cancelled when leasing knows the session no more.
        ended: CancellationToken,
        reply: oneshot::Sender<()>,
    },
    /// The canary measured so much.
    Measured {
        session: SessionId,
        instrument: InstrumentId,
        speed: TierFloor,
    },
    /// Anything arrived.
    Heard { session: SessionId },
    /// It is over.
    Left { session: SessionId },
    /// A job was taken.
    Acknowledged(Reply),
    /// A job will not be done.
    Declined(Reply),
    /// Tokens arrived.
    Output {
        from: Reply,
        first_index: u32,
        ids: Vec<u32>,
    },
    /// A checkpoint arrived, verified as far as the session can.
    Checkpoint {
        from: Reply,
        claim: SignedClaim,
        receipt: Box<SignedReceipt>,
    },
    /// A job is over.
    Finished {
        from: Reply,
        reason: FinishReason,
        claim: Option<(SignedClaim, Box<SignedReceipt>)>,
    },
    /// The machine is free again.
    SlotFree { session: SessionId, lease: LeaseId },
}

/// What goes to a session.
#[derive(Debug)]
pub(crate) enum ToAgent {
    /// Run this.
    Assign(Box<Assignment>),
    /// Stop that.
    Revoke {
        lease: LeaseId,
        epoch: LeaseEpoch,
        reason: RevokeReason,
    },
    /// What became of a final receipt, or of the last checkpoint of a lease that failed.
    Receipt { lease: LeaseId, outcome: ReceiptOutcome },
    /// What became of an ask.
    Ask(AskUpdate),
    /// The session ends.
    End(&'static str),
}

/// What became of a receipt.
#[derive(Debug)]
pub(crate) enum ReceiptOutcome {
    /// It was countersigned and settled.
    Settled {
        receipt: Box<SignedReceipt>,
        earned_nano: i64,
    },
    /// It was refused, with a stable code.
    Refused(&'static str),
}

/// A job for an Island.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    pub(crate) lease: LeaseId,
    pub(crate) epoch: LeaseEpoch,
    pub(crate) job: JobId,
    pub(crate) instrument: InstrumentId,
    pub(crate) price: Price,
    pub(crate) prompt_ids: Arc<[u32]>,
    pub(crate) emitted: Vec<u32>,
    pub(crate) max_tokens: TokenCount,
    pub(crate) sampling: Sampling,
    pub(crate) stop_ids: Arc<[u32]>,
    pub(crate) acknowledge_within: Duration,
}

/// What became of an ask. Updates of one ask arrive in order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AskUpdate {
    Accepted {
        client_order_id: ClientOrderId,
        order: OrderId,
        jobs: Jobs,
    },
    Repeated {
        client_order_id: ClientOrderId,
        order: OrderId,
    },
    Refused {
        client_order_id: ClientOrderId,
        reason: RejectReason,
    },
    Traded {
        order: OrderId,
        leaves: Jobs,
    },
    Ended {
        order: OrderId,
        leaves: Jobs,
        reason: EndReason,
    },
    CancelRefused {
        order: OrderId,
        reason: RejectReason,
    },
}

/// A session that leasing knows.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) island: IslandId,
    pub(super) outbox: mpsc::Sender<ToAgent>,
    pub(super) measured: BTreeMap<InstrumentId, TierFloor>,
    /// Tells the session that leasing knows it no more.
    pub(super) _ended: DropGuard,
}
