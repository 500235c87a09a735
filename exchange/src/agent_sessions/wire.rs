//! What the exchange says to an agent.

use domain::{InstrumentId, LeaseId, SessionId, Tier};
use proto::agent::v1::session_response::Message;
use proto::agent::v1::{
    AskReport, Challenge, Goodbye, Heartbeat, ReceiptReport, Revoke, Sampling, SessionResponse, TierAssigned,
    Welcome,
};
use proto::convert::agent::{Assignment as WireAssignment, LeaseRef};
use proto::convert::{receipt_to_wire, tier_to_wire};
use proto::types::v1 as types;
use tokio::sync::mpsc;
use tonic::Status;

use crate::canary::Canary;
use crate::leasing::agents::{Assignment, ReceiptOutcome};

/// Milliseconds between heartbeats; missing three ends the session.
pub(super) const HEARTBEAT_MS: u32 = 1_000;

/// How long an agent is asked to stay away after something that mends itself.
const RETRY_SOON_MS: u32 = 1_000;

/// Whether an agent whose session has ended may come back by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ComeBack {
    /// In a moment.
    Soon,
    /// Not before a person has changed something on its side.
    Never,
}

/// The way out to one agent. It never waits: an agent that does not read is gone.
#[derive(Debug)]
pub(super) struct Wire(mpsc::Sender<Result<SessionResponse, Status>>);

/// The agent does not read, or has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

impl Wire {
    pub(super) fn new(outbound: mpsc::Sender<Result<SessionResponse, Status>>) -> Self {
        Self(outbound)
    }

    fn send(&self, message: Message) -> Result<(), Gone> {
        let response = SessionResponse {
            message: Some(message),
        };
        self.0.try_send(Ok(response)).map_err(|_| Gone)
    }

    pub(super) fn challenge(&self, nonce: &[u8; 32]) -> Result<(), Gone> {
        self.send(Message::Challenge(Challenge {
            nonce: nonce.to_vec(),
        }))
    }

    pub(super) fn welcome(&self, session: SessionId) -> Result<(), Gone> {
        self.send(Message::Welcome(Welcome {
            session_id: session.to_string(),
            heartbeat_ms: HEARTBEAT_MS,
        }))
    }

    pub(super) fn heartbeat(&self, heartbeat: Heartbeat) -> Result<(), Gone> {
        self.send(Message::Heartbeat(heartbeat))
    }

    pub(super) fn tier(
        &self,
        model: &str,
        tier: Option<Tier>,
        decode_per_second: u32,
        reason: String,
    ) -> Result<(), Gone> {
        self.send(Message::TierAssigned(TierAssigned {
            model: model.to_owned(),
            tier: tier.map_or(types::Tier::Unspecified, tier_to_wire).into(),
            decode_per_second: decode_per_second.into(),
            reason,
        }))
    }

    pub(super) fn ask(&self, report: AskReport) -> Result<(), Gone> {
        self.send(Message::AskReport(report))
    }

    pub(super) fn assign(&self, assignment: &Assignment, model: &str) -> Result<(), Gone> {
        let wire = WireAssignment {
            about: LeaseRef {
                lease: assignment.lease,
                epoch: assignment.epoch,
            },
            job: assignment.job,
            model,
            price: assignment.price,
            prompt_ids: &assignment.prompt_ids,
            emitted_ids: &assignment.emitted,
            max_tokens: assignment.max_tokens.get(),
            sampling: Sampling {
                temperature: assignment.sampling.temperature,
                top_p: assignment.sampling.top_p,
                top_k: assignment.sampling.top_k,
                seed: assignment.sampling.seed,
            },
            stop_ids: &assignment.stop_ids,
            acknowledge_within: assignment.acknowledge_within,
            canary: false,
        };
        self.send(Message::Assign(wire.to_wire()))
    }

    pub(super) fn canary(&self, canary: &Canary, model: &str) -> Result<(), Gone> {
        let wire = WireAssignment {
            about: LeaseRef {
                lease: canary.lease(),
                epoch: domain::LeaseEpoch::FIRST,
            },
            job: canary.job_id(),
            model,
            price: domain::Price::MIN,
            prompt_ids: &canary.job.prompt_ids,
            emitted_ids: &[],
            max_tokens: canary.job.max_tokens,
            // Greedy, and without an end before the last token, so that there is something to measure.
            sampling: Sampling::default(),
            stop_ids: &[],
            acknowledge_within: dispatch::ACKNOWLEDGE_WITHIN,
            canary: true,
        };
        self.send(Message::Assign(wire.to_wire()))
    }

    pub(super) fn revoke(&self, about: LeaseRef, reason: String) -> Result<(), Gone> {
        self.send(Message::Revoke(Revoke {
            lease_id: about.lease.to_string(),
            epoch: about.epoch.get().into(),
            reason,
        }))
    }

    pub(super) fn receipt(&self, lease: LeaseId, outcome: &ReceiptOutcome) -> Result<(), Gone> {
        let report = match outcome {
            ReceiptOutcome::Settled { receipt, earned_nano } => ReceiptReport {
                receipt: Some(receipt_to_wire(receipt)),
                code: String::new(),
                earned_nano: *earned_nano,
                lease_id: lease.to_string(),
            },
            ReceiptOutcome::Refused(code) => ReceiptReport {
                receipt: None,
                code: (*code).to_owned(),
                earned_nano: 0,
                lease_id: lease.to_string(),
            },
        };
        self.send(Message::ReceiptReport(report))
    }

    /// The last word. An agent that does not read it is gone anyway.
    pub(super) fn goodbye(&self, reason: impl Into<String>, come_back: ComeBack) {
        let goodbye = Goodbye {
            reason: reason.into(),
            retry_after_ms: match come_back {
                ComeBack::Soon => RETRY_SOON_MS,
                ComeBack::Never => 0,
            },
        };
        let _ = self.send(Message::Goodbye(goodbye));
    }
}

/// What an instrument is called on the wire; instruments that are offered are in the registry.
pub(super) fn model_of(registry: &crate::registry::Registry, instrument: InstrumentId) -> String {
    registry
        .instrument(instrument)
        .map_or_else(String::new, |instrument| instrument.model.clone())
}
