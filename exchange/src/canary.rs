//! The canary job: a short real generation, unpaid and outside the engine, by which the exchange measures an Island.
//!
//! A tier promises tokens written a second, so only those count; and the whole time counts, from the assignment to the
//! last token, less the round trip. So tokens that are held back and sent in a burst gain nothing, and neither does a
//! late acknowledgement or a prompt that was read quickly. The time of reading is not taken off, for whoever may name it
//! could hide writing in it: instead the prompt is only a few tokens long, and a machine that reads slowly is measured
//! a little too low, never too high.

use std::time::Duration;

use domain::{
    ChainHead, Digest, Instrument, InstrumentId, JobId, LeaseEpoch, LeaseId, OrderId, Price, ReceiptKind,
    Tier, TierFloor, Timestamp, TokenCount,
};
use proto::convert::SignedReceipt;

use crate::receipts::{Expected, ReceiptError, verify};
use crate::registry::CanaryJob;

/// What a canary's lease number begins with: the engine counts from one and never gets here.
const CANARY_LEASES: u64 = 1 << 63;

/// The most of a round trip that is taken off: a farther Island is slower in truth too.
const ROUND_TRIP_ALLOWED: Duration = Duration::from_millis(500);

/// What a machine may take before it has to read the first token: to load a model that it has not in memory.
const START_ALLOWED: Duration = Duration::from_secs(10);

/// A canary job that runs.
#[derive(Clone, Debug)]
pub(crate) struct Canary {
    pub(crate) instrument: InstrumentId,
    pub(crate) job: CanaryJob,
    expected: Expected,
    sent_at: Timestamp,
    deadline: Timestamp,
    acknowledged: bool,
    ids: Vec<u32>,
    first_at: Option<Timestamp>,
    last_at: Timestamp,
}

/// What a canary job found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) speed: TierFloor,
    pub(crate) tier: Option<Tier>,
}

/// Why a canary job found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CanaryError {
    #[error("the canary job was not acknowledged before its output")]
    NotAcknowledged,
    #[error("the canary job's output has a gap or an overlap")]
    OutOfOrder,
    #[error("the canary job's output is longer than was asked for")]
    TooMuch,
    #[error("the canary job ended before all its tokens were there")]
    TooLittle,
    #[error("the canary job ended without a receipt")]
    NoReceipt,
    #[error("the canary job's receipt does not hold: {0}")]
    Receipt(ReceiptError),
    #[error("the canary job's receipt claims something else than what arrived")]
    Claim,
}

impl Canary {
    /// The canary number `number` of this process, for an offer of `instrument`.
    pub(crate) fn new(
        number: u64,
        instrument: (InstrumentId, &Instrument),
        job: CanaryJob,
        public_key: [u8; 32],
        now: Timestamp,
    ) -> Self {
        let (id, instrument) = instrument;
        let number = CANARY_LEASES | number;
        let prompt_tokens = TokenCount::new(u32::try_from(job.prompt_ids.len()).unwrap_or(u32::MAX));
        let slowest = dispatch::Speeds::in_force(instrument.floors.of(Tier::Phone), None);
        // Twice as slow as the slowest tier will not be measured to the end.
        let allowed = slowest
            .to_read(prompt_tokens)
            .saturating_add(slowest.to_write(TokenCount::new(job.max_tokens)))
            .saturating_mul(2)
            .saturating_add(START_ALLOWED);
        Self {
            instrument: id,
            expected: Expected {
                job: JobId::of_order(OrderId::new(number), 0),
                lease: LeaseId::new(number),
                epoch: LeaseEpoch::FIRST,
                model: instrument.digest,
                prompt: Digest::of_tokens(&job.prompt_ids),
                prompt_tokens,
                price: Price::MIN,
                public_key,
            },
            job,
            sent_at: now,
            deadline: now.after(allowed),
            acknowledged: false,
            ids: Vec::new(),
            first_at: None,
            last_at: now,
        }
    }

    /// Whether a lease is a canary's.
    pub(crate) fn is_canary(lease: LeaseId) -> bool {
        lease.get() >= CANARY_LEASES
    }

    pub(crate) fn lease(&self) -> LeaseId {
        self.expected.lease
    }

    pub(crate) fn job_id(&self) -> JobId {
        self.expected.job
    }

    pub(crate) fn deadline(&self) -> Timestamp {
        self.deadline
    }

    pub(crate) fn acknowledged(&mut self) {
        self.acknowledged = true;
    }

    pub(crate) fn output(
        &mut self,
        first_index: u32,
        ids: &[u32],
        now: Timestamp,
    ) -> Result<(), CanaryError> {
        if !self.acknowledged {
            return Err(CanaryError::NotAcknowledged);
        }
        if usize::try_from(first_index) != Ok(self.ids.len()) {
            return Err(CanaryError::OutOfOrder);
        }
        let room = self.wanted().saturating_sub(self.ids.len());
        if ids.len() > room {
            return Err(CanaryError::TooMuch);
        }
        if ids.is_empty() {
            return Ok(());
        }
        self.first_at.get_or_insert(now);
        self.last_at = now;
        self.ids.extend_from_slice(ids);
        Ok(())
    }

    /// Checks a checkpoint: an Island that signs falsely when it is measured is not let in.
    pub(crate) fn checkpoint(&self, receipt: &SignedReceipt) -> Result<(), CanaryError> {
        self.check(receipt, ReceiptKind::Checkpoint).map(drop)
    }

    /// Ends the measurement.
    pub(crate) fn finished(
        &self,
        receipt: Option<&SignedReceipt>,
        instrument: &Instrument,
        tier_max: Option<Tier>,
        round_trip: Duration,
    ) -> Result<Measured, CanaryError> {
        if self.ids.len() < self.wanted() {
            return Err(CanaryError::TooLittle);
        }
        let claimed = self.check(receipt.ok_or(CanaryError::NoReceipt)?, ReceiptKind::Final)?;
        if claimed != self.ids.len() {
            return Err(CanaryError::Claim);
        }
        let speed = self.speed(round_trip);
        let tier = instrument.floors.tier_for(speed.decode_per_second);
        let tier = tier.map(|tier| tier_max.map_or(tier, |most| tier.min(most)));
        Ok(Measured { speed, tier })
    }

    fn wanted(&self) -> usize {
        usize::try_from(self.job.max_tokens).unwrap_or(usize::MAX)
    }

    fn check(&self, receipt: &SignedReceipt, kind: ReceiptKind) -> Result<usize, CanaryError> {
        let claim = verify(receipt, kind, &self.expected).map_err(CanaryError::Receipt)?;
        let count = usize::try_from(claim.output_tokens.get()).unwrap_or(usize::MAX);
        let claimed = self.ids.get(..count).ok_or(CanaryError::Claim)?;
        let start = ChainHead::start(self.expected.lease, self.expected.epoch);
        let head = claimed.iter().fold(start, |head, id| head.extend(*id));
        if head != claim.chain {
            return Err(CanaryError::Claim);
        }
        Ok(count)
    }

    fn speed(&self, round_trip: Duration) -> TierFloor {
        let allowance = round_trip.min(ROUND_TRIP_ALLOWED);
        let since_sent = |at: Timestamp| at.since(self.sent_at).saturating_sub(allowance);
        let written = u64::try_from(self.ids.len()).unwrap_or(u64::MAX);
        let reading = self.first_at.map_or(Duration::ZERO, since_sent);
        TierFloor {
            decode_per_second: per_second(written, since_sent(self.last_at)),
            prefill_per_second: per_second(self.expected.prompt_tokens.get().into(), reading),
        }
    }
}

/// So many in `span`, a second, rounded down; at least one, so that a speed is never nothing.
fn per_second(count: u64, span: Duration) -> u32 {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1);
    let rate = count.saturating_mul(1_000_000).div_euclid(micros);
    u32::try_from(rate).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{InputWeight, ReceiptBody, SpeedFloors, Task};
    use ed25519_dalek::{Signer, SigningKey};
    use std::sync::Arc;

    const START: Timestamp = Timestamp::from_micros(1_000_000);

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[9; 32])
    }

    fn instrument() -> Instrument {
        let floor = |decode_per_second| TierFloor {
            decode_per_second,
            prefill_per_second: decode_per_second,
        };
        Instrument {
            model: "m".to_owned(),
            task: Task::Chat,
            digest: Digest::of(b"weights"),
            input_weight: InputWeight::DEFAULT,
            context_max: TokenCount::new(64),
            floors: SpeedFloors::new([floor(2), floor(10), floor(30), floor(80), floor(200)]),
        }
    }

    /// Eight tokens to read, and twenty to write.
    fn canary() -> Canary {
        let job = CanaryJob {
            prompt_ids: Arc::from([0; 8]),
            max_tokens: 20,
        };
        let instrument = instrument();
        let key = key().verifying_key().to_bytes();
        let mut canary = Canary::new(1, (InstrumentId::new(0), &instrument), job, key, START);
        canary.acknowledged();
        canary
    }

    fn receipt(canary: &Canary, kind: ReceiptKind, count: usize) -> SignedReceipt {
        let expected = canary.expected;
        let start = ChainHead::start(expected.lease, expected.epoch);
        let body = ReceiptBody {
            kind,
            job: expected.job,
            lease: expected.lease,
            epoch: expected.epoch,
            model: expected.model,
            prompt: expected.prompt,
            prompt_tokens: expected.prompt_tokens,
            output_tokens: TokenCount::new(u32::try_from(count).unwrap()),
            chain: canary.ids[..count]
                .iter()
                .fold(start, |head, id| head.extend(*id)),
            started_at: START,
            signed_at: START,
            price: expected.price,
        };
        SignedReceipt {
            body,
            island_signature: key().sign(&body.signed_bytes()).to_bytes(),
            island_public_key: key().verifying_key().to_bytes(),
            countersignature: None,
        }
    }

    fn after(millis: u64) -> Timestamp {
        START.after(Duration::from_millis(millis))
    }

    fn finish(
        canary: &Canary,
        tier_max: Option<Tier>,
        round_trip: Duration,
    ) -> Result<Measured, CanaryError> {
        let receipt = receipt(canary, ReceiptKind::Final, canary.ids.len());
        canary.finished(Some(&receipt), &instrument(), tier_max, round_trip)
    }

    fn tier_after(millis: u64, tier_max: Option<Tier>, round_trip: u64) -> Option<Tier> {
        let mut canary = canary();
        canary.output(0, &[5; 19], after(1)).unwrap();
        canary.output(19, &[5], after(millis)).unwrap();
        finish(&canary, tier_max, Duration::from_millis(round_trip))
            .unwrap()
            .tier
    }

    #[test]
    fn a_tier_is_what_the_whole_time_gives() {
        assert_eq!(tier_after(100, None, 0), Some(Tier::Server));
        assert_eq!(tier_after(250, None, 0), Some(Tier::Workstation));
        assert_eq!(tier_after(251, None, 0), Some(Tier::Desktop));
        assert_eq!(tier_after(10_000, None, 0), Some(Tier::Phone));
        assert_eq!(tier_after(10_100, None, 0), None);
    }

    #[test]
    fn a_cap_lowers_a_tier_and_never_raises_it() {
        assert_eq!(tier_after(100, Some(Tier::Laptop), 0), Some(Tier::Laptop));
        assert_eq!(tier_after(2_000, Some(Tier::Server), 0), Some(Tier::Laptop));
        assert_eq!(tier_after(10_100, Some(Tier::Server), 0), None);
    }

    #[test]
    fn a_round_trip_is_taken_off_up_to_a_bound() {
        assert_eq!(tier_after(350, None, 100), Some(Tier::Workstation));
        assert_eq!(tier_after(10_700, None, 60_000), None);
    }

    #[test]
    fn a_burst_after_a_pause_gains_nothing() {
        let mut canary = canary();
        canary.output(0, &[5; 20], after(2_000)).unwrap();
        let measured = finish(&canary, None, Duration::ZERO).unwrap();
        assert_eq!(measured.speed.decode_per_second, 10);
    }

    #[test]
    fn a_prompt_that_is_read_at_once_does_not_count() {
        let mut canary = canary();
        for (index, millis) in (0..20).zip((100..).step_by(100)) {
            canary.output(index, &[5], after(millis)).unwrap();
        }
        let measured = finish(&canary, None, Duration::ZERO).unwrap();
        assert_eq!(measured.speed.decode_per_second, 10);
    }

    #[test]
    fn what_does_not_follow_the_protocol_measures_nothing() {
        let mut early = canary();
        early.acknowledged = false;
        assert_eq!(early.output(0, &[1], after(1)), Err(CanaryError::NotAcknowledged));
        assert_eq!(canary().output(1, &[1], after(1)), Err(CanaryError::OutOfOrder));
        assert_eq!(canary().output(0, &[1; 21], after(1)), Err(CanaryError::TooMuch));

        let mut canary = canary();
        canary.output(0, &[5; 19], after(1)).unwrap();
        assert_eq!(finish(&canary, None, Duration::ZERO), Err(CanaryError::TooLittle));
        canary.output(19, &[6], after(2)).unwrap();
        assert_eq!(
            canary.finished(None, &instrument(), None, Duration::ZERO),
            Err(CanaryError::NoReceipt)
        );
        let lower = receipt(&canary, ReceiptKind::Final, 19);
        assert_eq!(
            canary.finished(Some(&lower), &instrument(), None, Duration::ZERO),
            Err(CanaryError::Claim)
        );
        let mut spoilt = receipt(&canary, ReceiptKind::Final, 20);
        spoilt.island_signature[0] ^= 1;
        assert_eq!(
            canary.finished(Some(&spoilt), &instrument(), None, Duration::ZERO),
            Err(CanaryError::Receipt(ReceiptError::IslandSignature))
        );
        assert!(
            canary
                .checkpoint(&receipt(&canary, ReceiptKind::Checkpoint, 9))
                .is_ok()
        );
        assert!(
            canary
                .checkpoint(&receipt(&canary, ReceiptKind::Final, 9))
                .is_err()
        );
    }

    #[test]
    fn a_canary_has_time_for_twice_the_slowest_tier_and_to_load_the_model() {
        // 8 tokens to read and 20 to write at 2 a second are 14 s.
        assert_eq!(canary().deadline(), after(38_000));
    }
}
