//! The tiers of one Island: every offer is measured by a canary job before it may be quoted.
//!
//! Offers are measured one after another, and the first tiers are put in force when each offer had its turn, so that no
//! consumer's job slows a measurement. An offer that got no tier then is measured again, after a pause that grows: soon
//! where the agent declined, for it winds down what it did before; later where it was too slow, for a machine that was
//! busy may be free by then. Each time the agent is told what was found and when it goes on.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::{InstrumentId, LeaseEpoch, LeaseId, Tier, TierFloor, Timestamp};
use matcher::{Command, SetTier};
use proto::agent::v1 as agent_v1;
use proto::convert::SignedReceipt;
use proto::convert::agent::LeaseRef;

use super::{End, Session, violation};
use crate::agent_sessions::wire::model_of;
use crate::canary::{Canary, Measured};
use crate::leasing::agents::AgentInput;

/// Pauses between the attempts at one offer: the first, and the longest that doubling leads to.
#[derive(Clone, Copy, Debug)]
struct Pauses {
    first: Duration,
    most: Duration,
}

/// After a decline: jobs of a lost session are wound down in about a second, and a machine that is full of work should
/// not be asked all the time.
const AFTER_DECLINE: Pauses = Pauses {
    first: Duration::from_secs(1),
    most: Duration::from_mins(1),
};

/// After a measurement that was too slow or failed: the work of a canary is not paid for, and what made a machine slow
/// often lasts.
const AFTER_FAILURE: Pauses = Pauses {
    first: Duration::from_secs(30),
    most: Duration::from_mins(30),
};

/// What is repeated of an agent's own words.
const WHY_LENGTH_MAX: usize = 64;

/// The measurements of a session.
#[derive(Debug, Default)]
pub(super) struct Measuring {
    /// Offers that have had no turn yet.
    first: VecDeque<InstrumentId>,
    /// Offers that are measured again.
    again: Vec<Again>,
    /// The one that runs.
    running: Option<Running>,
    /// What the first turns found, until each offer had one.
    found: Vec<(InstrumentId, Measured)>,
}

#[derive(Clone, Copy, Debug)]
struct Again {
    instrument: InstrumentId,
    at: Timestamp,
    attempts: u32,
}

#[derive(Debug)]
struct Running {
    canary: Canary,
    /// How often this offer was measured in vain before.
    attempts: u32,
}

impl Measuring {
    /// The canary that a lease is, if it is the one that runs. Late words about an earlier one are dropped.
    pub(super) fn canary_of(&mut self, lease: LeaseId) -> Option<&mut Canary> {
        let running = self.running.as_mut()?;
        (running.canary.lease() == lease).then_some(&mut running.canary)
    }

    fn take(&mut self, lease: LeaseId) -> Option<Running> {
        self.running.take_if(|running| running.canary.lease() == lease)
    }

    /// The offer whose turn it is.
    fn next(&mut self, now: Timestamp) -> Option<(InstrumentId, u32)> {
        if let Some(instrument) = self.first.pop_front() {
            return Some((instrument, 0));
        }
        let due = self.again.iter().position(|again| again.at <= now)?;
        let again = self.again.swap_remove(due);
        Some((again.instrument, again.attempts))
    }

    /// When something is to be done that no message calls for.
    fn deadline(&self) -> Option<Timestamp> {
        match &self.running {
            Some(running) => Some(running.canary.deadline()),
            None => self.again.iter().map(|again| again.at).min(),
        }
    }
}

impl Pauses {
    /// The pause after so many attempts in vain.
    fn after(self, attempts: u32) -> Duration {
        let doubled = 1u32.checked_shl(attempts).unwrap_or(u32::MAX);
        self.first.saturating_mul(doubled).min(self.most)
    }
}

impl Session<'_> {
    pub(super) fn canary_of(&mut self, lease: LeaseId) -> Option<&mut Canary> {
        self.measuring.canary_of(lease)
    }

    /// Resolves when the canary that runs has had its time, or an offer is to be measured again.
    pub(super) fn alarm(&self) -> impl Future<Output = ()> + use<> {
        let now = self.now();
        let wait = self.measuring.deadline().map(|deadline| deadline.since(now));
        async move {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Looks at what the agent offers, and measures what is traded here.
    pub(super) async fn begin_measuring(&mut self) -> Result<(), End> {
        for offer in std::mem::take(&mut self.greeting.hello.offers) {
            let registry = &self.shared.parts.registry;
            let found = registry.find(&offer.model);
            let instrument = found.and_then(|id| registry.instrument(id));
            let refusal = match instrument {
                None => "this exchange does not trade this model",
                Some(instrument) if instrument.digest != offer.digest => {
                    "the weights are not the ones that are traded under this name"
                }
                Some(_) => {
                    let first = &mut self.measuring.first;
                    let new = found.filter(|id| !first.contains(id));
                    first.extend(new);
                    continue;
                }
            };
            self.wire.tier(&offer.model, None, 0, refusal.to_owned())?;
        }
        self.measure_next().await
    }

    /// What time calls for: ends a canary that is overdue, and measures again what is due.
    pub(super) async fn measure(&mut self) -> Result<(), End> {
        let now = self.now();
        let overdue = self
            .measuring
            .running
            .take_if(|running| running.canary.deadline() <= now);
        let Some(overdue) = overdue else {
            return match self.measuring.running {
                Some(_) => Ok(()),
                None => self.measure_next().await,
            };
        };
        let about = LeaseRef {
            lease: overdue.canary.lease(),
            epoch: LeaseEpoch::FIRST,
        };
        self.wire
            .revoke(about, "the canary job took too long".to_owned())?;
        let reason = "the canary job did not end in the time that twice as slow as the slowest tier takes";
        self.in_vain(&overdue, AFTER_FAILURE, 0, reason).await
    }

    /// Measures the offer whose turn it is; when each has had its first, puts the tiers in force.
    async fn measure_next(&mut self) -> Result<(), End> {
        let now = self.now();
        while let Some((instrument_id, attempts)) = self.measuring.next(now) {
            let registry = &self.shared.parts.registry;
            let (Some(instrument), Some(job)) =
                (registry.instrument(instrument_id), registry.canary(instrument_id))
            else {
                continue;
            };
            let number = self.shared.canaries.fetch_add(1, Ordering::Relaxed);
            let key = self.greeting.enrolment.public_key;
            let canary = Canary::new(number, (instrument_id, instrument), job, key, now);
            self.wire.canary(&canary, &instrument.model)?;
            self.measuring.running = Some(Running { canary, attempts });
            return Ok(());
        }
        for (instrument, measured) in std::mem::take(&mut self.measuring.found) {
            if let Some(tier) = measured.tier {
                self.assign_tier(instrument, tier, measured.speed).await?;
            }
        }
        Ok(())
    }

    async fn assign_tier(
        &mut self,
        instrument: InstrumentId,
        tier: Tier,
        speed: TierFloor,
    ) -> Result<(), End> {
        let parts = &self.shared.parts;
        let session = self.session;
        let known = parts.link.send(AgentInput::Measured {
            session,
            instrument,
            speed,
        });
        let set = Command::SetTier(SetTier {
            island: self.greeting.enrolment.island,
            instrument,
            tier: Some(tier),
        });
        if !known.await || parts.sequencer.apply(set).await.is_err() {
            return Err(End::stopping());
        }
        let model = model_of(&parts.registry, instrument);
        let rate = speed.decode_per_second;
        tracing::info!(%session, model, %tier, decode_per_second = rate, "a tier was assigned");
        let reason = format!("the canary job ran at {rate} tokens/s");
        Ok(self.wire.tier(&model, Some(tier), rate, reason)?)
    }

    /// Tells the agent why an offer gets no tier now, and puts it down to be measured again.
    async fn in_vain(
        &mut self,
        running: &Running,
        pauses: Pauses,
        decode_per_second: u32,
        reason: &str,
    ) -> Result<(), End> {
        let instrument = running.canary.instrument;
        let pause = pauses.after(running.attempts);
        self.measuring.again.push(Again {
            instrument,
            at: self.now().after(pause),
            attempts: running.attempts.saturating_add(1),
        });
        let model = model_of(&self.shared.parts.registry, instrument);
        let seconds = pause.as_secs();
        tracing::info!(session = %self.session, model, reason, seconds, "no tier yet");
        let reason = format!("{reason}; it is measured again in {seconds} s");
        self.wire.tier(&model, None, decode_per_second, reason)?;
        self.measure_next().await
    }

    pub(super) async fn canary_declined(&mut self, lease: LeaseId, why: &str) -> Result<(), End> {
        let Some(running) = self.measuring.take(lease) else {
            return Ok(());
        };
        let why: String = why.chars().take(WHY_LENGTH_MAX).collect();
        let reason = format!("the canary job was declined ({why})");
        self.in_vain(&running, AFTER_DECLINE, 0, &reason).await
    }

    pub(super) async fn canary_finished(
        &mut self,
        lease: LeaseId,
        reason: agent_v1::FinishReason,
        receipt: Option<&SignedReceipt>,
    ) -> Result<(), End> {
        let Some(running) = self.measuring.take(lease) else {
            return Ok(());
        };
        if reason == agent_v1::FinishReason::Error {
            let reason = "the canary job failed on the Island";
            return self.in_vain(&running, AFTER_FAILURE, 0, reason).await;
        }
        let instrument_id = running.canary.instrument;
        let registry = &self.shared.parts.registry;
        let Some(instrument) = registry.instrument(instrument_id) else {
            return self.measure_next().await;
        };
        let round_trip = self.round_trip.unwrap_or_default();
        let tier_max = self.greeting.hello.tier_max;
        let measured = running
            .canary
            .finished(receipt, instrument, tier_max, round_trip)
            .map_err(|error| violation(&error))?;
        if measured.tier.is_none() {
            let rate = measured.speed.decode_per_second;
            let least = instrument.floors.of(Tier::Phone).decode_per_second;
            let reason = format!("the canary job ran at {rate} tokens/s; the slowest tier asks for {least}");
            return self.in_vain(&running, AFTER_FAILURE, rate, &reason).await;
        }
        self.measuring.found.push((instrument_id, measured));
        self.measure_next().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let seconds = |attempts| AFTER_FAILURE.after(attempts).as_secs();
        assert_eq!([0, 1, 2, 5, 6, 40].map(seconds), [30, 60, 120, 960, 1_800, 1_800]);
    }
}
