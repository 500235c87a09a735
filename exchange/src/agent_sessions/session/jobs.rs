//! The jobs of one Island: assignments out, output and receipts in. Of a lease that this session was not given nothing
//! is passed on.
//!
//! The canary has a lease number of its own and goes by the same messages; it is told apart here.

use dispatch::{FinishReason, Reply, SignedClaim};
use domain::{LeaseId, ReceiptKind, Timestamp};
use proto::agent::v1 as agent_v1;
use proto::convert::SignedReceipt;
use proto::convert::agent::LeaseRef;

use super::{End, Session, Work, violation};
use crate::canary::Canary;
use crate::leasing::agents::{AgentInput, Assignment};
use crate::receipts::{Expected, verify};

/// Leases of one session whose receipts may still come: four times the most slots there can be. One that never comes
/// makes room when this is reached.
const LEASES_MAX: usize = 4 * 1_024;

impl Session<'_> {
    pub(super) fn assign(&mut self, assignment: &Assignment) -> Result<(), End> {
        let registry = &self.shared.parts.registry;
        let Some(instrument) = registry.instrument(assignment.instrument) else {
            return Ok(());
        };
        let mut prompt = assignment.prompt_ids.to_vec();
        prompt.extend_from_slice(&assignment.emitted);
        if self.work.len() >= LEASES_MAX {
            self.work.pop_first();
        }
        let expected = Expected {
            job: assignment.job,
            lease: assignment.lease,
            epoch: assignment.epoch,
            model: instrument.digest,
            prompt: domain::Digest::of_tokens(&prompt),
            prompt_tokens: domain::TokenCount::new(u32::try_from(prompt.len()).unwrap_or(u32::MAX)),
            price: assignment.price,
            public_key: self.greeting.enrolment.public_key,
        };
        self.work.insert(
            assignment.lease,
            Work {
                expected,
                instrument: assignment.instrument,
            },
        );
        Ok(self.wire.assign(assignment, &instrument.model)?)
    }

    pub(super) async fn acknowledge(&mut self, about: LeaseRef) -> Result<(), End> {
        if Canary::is_canary(about.lease) {
            if let Some(canary) = self.canary_of(about.lease) {
                canary.acknowledged();
            }
            return Ok(());
        }
        self.pass(AgentInput::Acknowledged(self.reply(about))).await
    }

    pub(super) async fn decline(&mut self, about: LeaseRef, reason: &str) -> Result<(), End> {
        tracing::debug!(session = %self.session, lease = %about.lease, reason, "a job was declined");
        if Canary::is_canary(about.lease) {
            return self.canary_declined(about.lease, reason).await;
        }
        self.work.remove(&about.lease);
        self.pass(AgentInput::Declined(self.reply(about))).await
    }

    /// The machine is free again; what still comes of that lease is dropped.
    pub(super) async fn slot_free(&mut self, lease: LeaseId) -> Result<(), End> {
        self.work.remove(&lease);
        let session = self.session;
        self.pass(AgentInput::SlotFree { session, lease }).await
    }

    pub(super) async fn output(
        &mut self,
        about: LeaseRef,
        first_index: u32,
        ids: Vec<u32>,
        now: Timestamp,
    ) -> Result<(), End> {
        let canary = self.canary_of(about.lease).map(|canary| canary.instrument);
        let working = self.work.get(&about.lease).map(|work| work.instrument);
        // Of a lease that is not known here no id could be checked, so none is passed on.
        let Some(instrument) = canary.or(working) else {
            return Ok(());
        };
        let registry = &self.shared.parts.registry;
        if let Some(id) = ids.iter().find(|id| !registry.is_token(instrument, **id)) {
            return Err(violation(&format!("the model's tokenizer has no id {id}")));
        }
        if Canary::is_canary(about.lease) {
            if let Some(canary) = self.canary_of(about.lease) {
                canary
                    .output(first_index, &ids, now)
                    .map_err(|error| violation(&error))?;
            }
            return Ok(());
        }
        let from = self.reply(about);
        self.pass(AgentInput::Output {
            from,
            first_index,
            ids,
        })
        .await
    }

    pub(super) async fn checkpoint(&mut self, receipt: SignedReceipt) -> Result<(), End> {
        let lease = receipt.body.lease;
        if Canary::is_canary(lease) {
            if let Some(canary) = self.canary_of(lease) {
                canary.checkpoint(&receipt).map_err(|error| violation(&error))?;
            }
            return Ok(());
        }
        // What this session was not given, it is not heard about.
        let Some(work) = self.work.get(&lease) else {
            return Ok(());
        };
        let from = Reply {
            session: self.session,
            lease,
            epoch: work.expected.epoch,
        };
        let claim = self.claim(&receipt, ReceiptKind::Checkpoint, &work.expected);
        let receipt = Box::new(receipt);
        self.pass(AgentInput::Checkpoint { from, claim, receipt }).await
    }

    pub(super) fn claim(
        &self,
        receipt: &SignedReceipt,
        kind: ReceiptKind,
        expected: &Expected,
    ) -> SignedClaim {
        match verify(receipt, kind, expected) {
            Ok(claim) => SignedClaim::Sound(claim),
            Err(error) => {
                let island = self.greeting.enrolment.island;
                tracing::warn!(target: "audit", %island, lease = %expected.lease, %error, "a receipt is not sound");
                SignedClaim::Unsound
            }
        }
    }

    pub(super) async fn finished(
        &mut self,
        about: LeaseRef,
        reason: agent_v1::FinishReason,
        receipt: Option<SignedReceipt>,
        error: &str,
    ) -> Result<(), End> {
        if reason == agent_v1::FinishReason::Error {
            tracing::debug!(session = %self.session, lease = %about.lease, error, "a job failed on its Island");
        }
        if Canary::is_canary(about.lease) {
            return self.canary_finished(about.lease, reason, receipt.as_ref()).await;
        }
        let Some(work) = self.work.get(&about.lease).copied() else {
            return Ok(());
        };
        let reason = match reason {
            agent_v1::FinishReason::Stop => FinishReason::Stop,
            agent_v1::FinishReason::Length => FinishReason::Length,
            agent_v1::FinishReason::Cancelled => FinishReason::Cancelled,
            agent_v1::FinishReason::Error | agent_v1::FinishReason::Unspecified => FinishReason::Error,
        };
        let claim = receipt.map(|receipt| {
            let claim = self.claim(&receipt, ReceiptKind::Final, &work.expected);
            (claim, Box::new(receipt))
        });
        if about.epoch == work.expected.epoch {
            self.work.remove(&about.lease);
        }
        let from = self.reply(about);
        self.pass(AgentInput::Finished { from, reason, claim }).await
    }

    pub(super) fn reply(&self, about: LeaseRef) -> Reply {
        Reply {
            session: self.session,
            lease: about.lease,
            epoch: about.epoch,
        }
    }
}
