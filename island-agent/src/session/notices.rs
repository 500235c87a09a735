//! What the owner reads while the Island runs.

use crate::effect::{Notice, Pay};
use runner::FinishReason;

pub(super) fn log(notice: &Notice) {
    match notice {
        Notice::Connecting
        | Notice::Welcomed { .. }
        | Notice::Lost { .. }
        | Notice::BeatLate { .. }
        | Notice::Draining { .. } => log_link(notice),
        Notice::TierAssigned { .. }
        | Notice::AskRests { .. }
        | Notice::AskFilled { .. }
        | Notice::AskEnded { .. }
        | Notice::AskRefused { .. } => log_market(notice),
        Notice::JobStarted { .. }
        | Notice::JobDeclined { .. }
        | Notice::JobDone { .. }
        | Notice::Earned { .. }
        | Notice::Unpaid { .. } => log_job(notice),
        Notice::Ignored { why } => tracing::warn!(%why, "ignored a message of the exchange"),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "`log` lists every notice and sends only these here"
)]
fn log_link(notice: &Notice) {
    match notice {
        Notice::Connecting => tracing::info!("connecting to the exchange"),
        Notice::Welcomed { session } => {
            tracing::info!(%session, "session open; the exchange measures this machine with a canary job");
        }
        Notice::Lost {
            reason,
            retry_in,
            jobs_lost,
        } => {
            tracing::warn!(%reason, ?retry_in, jobs_lost, "no session with the exchange; trying again");
        }
        Notice::BeatLate { late } => {
            tracing::warn!(
                ?late,
                "this machine is too busy to say in time that it is there; the exchange takes an Island that misses \
                 three heartbeats for lost"
            );
        }
        Notice::Draining { running } => tracing::info!(running, "draining: no new jobs"),
        _ => {}
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "`log` lists every notice and sends only these here"
)]
fn log_market(notice: &Notice) {
    match notice {
        Notice::TierAssigned {
            model,
            tier: Some(tier),
            decode_per_second,
            ..
        } => tracing::info!(%model, %tier, decode_per_second, "tier assigned"),
        Notice::TierAssigned {
            model,
            tier: None,
            decode_per_second,
            reason,
        } => {
            tracing::warn!(%model, decode_per_second, %reason, "no tier: this model may not be quoted");
        }
        Notice::AskRests {
            model,
            order,
            price,
            leaves,
        } => {
            tracing::info!(%model, %order, %price, jobs = leaves, "ask posted, in credits per 1,000 work units");
        }
        Notice::AskFilled { model } => tracing::info!(%model, "ask filled; posting the next"),
        Notice::AskEnded {
            model,
            code,
            retry_in,
        } => {
            tracing::info!(%model, %code, ?retry_in, "ask ended; posting the next");
        }
        Notice::AskRefused {
            model,
            code,
            advice,
            retry_in,
        } => tracing::warn!(%model, %code, ?retry_in, "ask refused: {advice}"),
        _ => {}
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "`log` lists every notice and sends only these here"
)]
fn log_job(notice: &Notice) {
    match notice {
        Notice::JobStarted {
            lease,
            model,
            prompt_tokens,
            pay,
        } => {
            let canary = *pay == Pay::Canary;
            tracing::info!(%lease, %model, prompt_tokens, canary, "job started");
        }
        Notice::JobDeclined { lease, reason } => tracing::warn!(%lease, %reason, "job declined"),
        Notice::JobDone {
            lease,
            reason: FinishReason::Failed { message },
            output_tokens,
            took,
        } => tracing::error!(%lease, %message, output_tokens, ?took, "job failed"),
        Notice::JobDone {
            lease,
            reason,
            output_tokens,
            took,
        } => tracing::info!(%lease, ?reason, output_tokens, ?took, "job done"),
        Notice::Earned { lease, earned, total } => {
            tracing::info!(%lease, %earned, earned_since_start = %total, "receipt accepted: earned credits (virtual)");
        }
        Notice::Unpaid { lease, problem } => tracing::warn!(%lease, %problem, "receipt not accepted"),
        _ => {}
    }
}
