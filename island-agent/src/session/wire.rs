//! The agent link's messages, to and from the core's own values. What is signed is signed here, and what the
//! exchange signed is verified here, so that the core holds no key.

use std::time::Duration;

use data_encoding::HEXLOWER;
use domain::{Credits, LeaseEpoch, LeaseId, Price, Tier, Timestamp};
use ed25519_dalek::VerifyingKey;
use proto::agent::v1 as agent;
use proto::agent::v1::session_request::Message as Request;
use proto::agent::v1::session_response::Message as Response;
use proto::convert::{
    FieldError, FieldResult, id_from_wire, price_from_wire, receipt_from_wire, receipt_to_wire,
    tier_from_wire, tier_to_wire, time_in_force_to_wire,
};

use crate::effect::{AskReport, AskStatus, Assignment, Beat, Incoming, Outgoing, Pay, Signatures, Verdict};
use crate::identity::Identity;
use crate::limits::FOREIGN_TEXT_MAX;
use crate::receipt;
use runner::FinishReason;
use runner::sampler::Sampling;

/// What an Island says of itself in `Hello`.
#[derive(Clone, Debug)]
pub(super) struct Card {
    pub(super) region: String,
    pub(super) slots: u32,
    pub(super) offers: Vec<agent::Offer>,
    pub(super) tier_max: Option<Tier>,
}

/// A message to the exchange.
pub(super) fn to_wire(outgoing: Outgoing, identity: &Identity, card: &Card) -> agent::SessionRequest {
    let message = match outgoing {
        Outgoing::Hello { island, nonce } => Request::Hello(agent::Hello {
            island_id: island.to_string(),
            region: card.region.clone(),
            slots: card.slots,
            offers: card.offers.clone(),
            tier_max: card.tier_max.map_or(0, |tier| tier_to_wire(tier).into()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            proof: nonce.map_or_else(Vec::new, |nonce| identity.session_proof(&nonce).to_vec()),
        }),
        Outgoing::Heartbeat { nonce, kind } => Request::Heartbeat(agent::Heartbeat {
            nonce,
            echo: kind == Beat::Echo,
        }),
        Outgoing::PostAsk {
            client_order_id,
            model,
            price,
            jobs,
        } => Request::PostAsk(agent::PostAsk {
            client_order_id,
            model,
            price: price.get(),
            jobs,
            time_in_force: Some(time_in_force_to_wire(domain::TimeInForce::Gtc, Timestamp::ZERO)),
            post_only: false,
        }),
        Outgoing::CancelAsk { order } => Request::CancelAsk(agent::CancelAsk {
            order_id: order.to_string(),
        }),
        Outgoing::Acknowledge { lease, epoch } => Request::Acknowledge(agent::Acknowledge {
            lease_id: lease.to_string(),
            epoch: epoch.get().into(),
        }),
        Outgoing::Decline { lease, epoch, reason } => Request::Decline(agent::Decline {
            lease_id: lease.to_string(),
            epoch: epoch.get().into(),
            reason,
        }),
        Outgoing::Output {
            lease,
            epoch,
            first_index,
            ids,
        } => Request::Output(agent::Output {
            lease_id: lease.to_string(),
            epoch: epoch.get().into(),
            first_index,
            ids,
        }),
        Outgoing::Checkpoint(body) => Request::Checkpoint(agent::SignedCheckpoint {
            receipt: Some(receipt_to_wire(&receipt::sign(identity, *body))),
        }),
        Outgoing::Finished { body, reason } => {
            let (reason, error) = match reason {
                FinishReason::Stop => (agent::FinishReason::Stop, String::new()),
                FinishReason::Length => (agent::FinishReason::Length, String::new()),
                FinishReason::Cancelled => (agent::FinishReason::Cancelled, String::new()),
                FinishReason::Failed { message } => (agent::FinishReason::Error, shorten(&message)),
            };
            Request::Finished(agent::Finished {
                lease_id: body.lease.to_string(),
                epoch: body.epoch.get().into(),
                reason: reason.into(),
                receipt: Some(receipt_to_wire(&receipt::sign(identity, *body))),
                error,
            })
        }
        Outgoing::Drain => Request::Drain(agent::Drain {}),
        Outgoing::SlotFree { lease } => Request::SlotFree(agent::SlotFree {
            lease_id: lease.to_string(),
        }),
    };
    agent::SessionRequest {
        message: Some(message),
    }
}

/// A message from the exchange. One that does not convert becomes `Malformed`.
pub(super) fn from_wire(
    response: agent::SessionResponse,
    identity: &Identity,
    exchange: &VerifyingKey,
) -> Incoming {
    let Some(message) = response.message else {
        return malformed(&FieldError::new(
            "message",
            "is required, or is of a later version",
        ));
    };
    let converted = match message {
        Response::Challenge(challenge) => challenge_from_wire(&challenge),
        Response::Welcome(welcome) => welcome_from_wire(&welcome),
        Response::TierAssigned(assigned) => tier_assigned_from_wire(&assigned),
        Response::AskReport(report) => ask_report_from_wire(&report),
        Response::Assign(assign) => return assign_from_wire(assign),
        Response::Revoke(revoke) => revoke_from_wire(&revoke),
        Response::ReceiptReport(report) => report_from_wire(report, identity, exchange),
        Response::Heartbeat(beat) => Ok(Incoming::Heartbeat {
            nonce: beat.nonce,
            kind: if beat.echo { Beat::Echo } else { Beat::Call },
        }),
        Response::Goodbye(goodbye) => Ok(Incoming::Goodbye {
            reason: shorten(&goodbye.reason),
            retry_after: (goodbye.retry_after_ms > 0)
                .then(|| Duration::from_millis(goodbye.retry_after_ms.into())),
        }),
    };
    converted.unwrap_or_else(|error| malformed(&error))
}

fn malformed(error: &FieldError) -> Incoming {
    Incoming::Malformed {
        problem: shorten(&error.to_string()),
        assign: None,
    }
}

fn challenge_from_wire(challenge: &agent::Challenge) -> FieldResult<Incoming> {
    let nonce = <[u8; 32]>::try_from(challenge.nonce.as_slice())
        .map_err(|_| FieldError::new("challenge.nonce", "must be 32 bytes"))?;
    Ok(Incoming::Challenge { nonce })
}

fn welcome_from_wire(welcome: &agent::Welcome) -> FieldResult<Incoming> {
    Ok(Incoming::Welcome {
        session: id_from_wire("welcome.session_id", &welcome.session_id)?,
        heartbeat: Duration::from_millis(welcome.heartbeat_ms.into()),
    })
}

fn tier_assigned_from_wire(assigned: &agent::TierAssigned) -> FieldResult<Incoming> {
    Ok(Incoming::TierAssigned {
        model: shorten(&assigned.model),
        tier: tier_from_wire("tier_assigned.tier", assigned.tier)?,
        decode_per_second: assigned.decode_per_second,
        reason: shorten(&assigned.reason),
    })
}

fn ask_report_from_wire(report: &agent::AskReport) -> FieldResult<Incoming> {
    let field = "ask_report.status";
    let status = agent::AskStatus::try_from(report.status)
        .map_err(|_| FieldError::new(field, format!("{} is not a known value", report.status)))?;
    let code = shorten(&report.code);
    let status = match status {
        agent::AskStatus::Unspecified => return Err(FieldError::new(field, "is required")),
        agent::AskStatus::Accepted | agent::AskStatus::Traded => AskStatus::Live {
            order: id_from_wire("ask_report.order_id", &report.order_id)?,
            leaves: report.leaves,
        },
        agent::AskStatus::Ended => AskStatus::Ended { code },
        // A report on an order that it does not name by the agent's name is about the agent's last word on it.
        agent::AskStatus::Rejected if report.client_order_id.is_empty() => AskStatus::CancelRefused {
            order: id_from_wire("ask_report.order_id", &report.order_id)?,
            code,
        },
        agent::AskStatus::Rejected => AskStatus::Rejected { code },
    };
    Ok(Incoming::AskReport(AskReport {
        client_order_id: shorten(&report.client_order_id),
        status,
    }))
}

/// An assignment that does not convert is declined, if it can be named.
fn assign_from_wire(assign: agent::Assign) -> Incoming {
    let named = lease_from_wire("assign", &assign.lease_id, assign.epoch);
    let converted = named.clone().and_then(|(lease, epoch)| {
        let pay = if assign.canary { Pay::Canary } else { Pay::Paid };
        let sampling = assign.sampling.unwrap_or_default();
        Ok(Assignment {
            lease,
            epoch,
            job: id_from_wire("assign.job_id", &assign.job_id)?,
            price: match (pay, assign.price) {
                // An unpaid job may go without a price; a receipt may not.
                (Pay::Canary, 0) => Price::MIN,
                (Pay::Canary | Pay::Paid, price) => price_from_wire("assign.price", price)?,
            },
            model: assign.model,
            prompt_ids: assign.prompt_ids,
            emitted_ids: assign.emitted_ids,
            max_tokens: assign.max_tokens,
            sampling: sampling_from_wire(sampling),
            stop_ids: assign.stop_ids,
            pay,
        })
    });
    match converted {
        Ok(assignment) => Incoming::Assign(Box::new(assignment)),
        Err(error) => Incoming::Malformed {
            problem: shorten(&error.to_string()),
            assign: named.ok(),
        },
    }
}

/// Zero stands for "not given" on the wire; the runner checks the ranges.
fn sampling_from_wire(sampling: agent::Sampling) -> Sampling {
    Sampling {
        temperature: sampling.temperature,
        top_p: if sampling.top_p == 0.0 {
            1.0
        } else {
            sampling.top_p
        },
        top_k: (sampling.top_k > 0).then_some(sampling.top_k),
        seed: sampling.seed,
    }
}

fn revoke_from_wire(revoke: &agent::Revoke) -> FieldResult<Incoming> {
    let (lease, epoch) = lease_from_wire("revoke", &revoke.lease_id, revoke.epoch)?;
    Ok(Incoming::Revoke {
        lease,
        epoch,
        reason: shorten(&revoke.reason),
    })
}

fn report_from_wire(
    report: agent::ReceiptReport,
    identity: &Identity,
    exchange: &VerifyingKey,
) -> FieldResult<Incoming> {
    let lease = id_from_wire("receipt_report.lease_id", &report.lease_id)?;
    if !report.code.is_empty() {
        let code = shorten(&report.code);
        let verdict = Verdict::Refused { code };
        return Ok(Incoming::ReceiptReport { lease, verdict });
    }
    let earned = Credits::from_nano(report.earned_nano);
    let verdict = match receipt_from_wire("receipt_report.receipt", report.receipt) {
        Err(error) => Verdict::Untrusted {
            problem: shorten(&error.to_string()),
        },
        Ok(_) if earned.is_negative() => Verdict::Untrusted {
            problem: "what was earned is negative".to_owned(),
        },
        Ok(signed) => match receipt::verify_countersigned(&signed, identity, exchange) {
            Err(error) => Verdict::Untrusted {
                problem: error.to_string(),
            },
            Ok(()) => Verdict::Countersigned {
                body: Box::new(signed.body),
                signatures: Box::new(Signatures {
                    island: HEXLOWER.encode(&signed.island_signature),
                    exchange: signed
                        .countersignature
                        .map_or_else(String::new, |(signature, _)| HEXLOWER.encode(&signature)),
                }),
                earned,
            },
        },
    };
    Ok(Incoming::ReceiptReport { lease, verdict })
}

fn lease_from_wire(message: &str, lease: &str, epoch: u32) -> FieldResult<(LeaseId, LeaseEpoch)> {
    let lease = id_from_wire(&format!("{message}.lease_id"), lease)?;
    let epoch =
        u8::try_from(epoch).map_err(|_| FieldError::new(format!("{message}.epoch"), "must be below 256"))?;
    Ok((lease, LeaseEpoch::new(epoch)))
}

/// A stranger's text, short enough for a log and without control characters.
pub(super) fn shorten(text: &str) -> String {
    let printable = text.chars().filter(|character| !character.is_control());
    printable.take(FOREIGN_TEXT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(message: Response) -> Incoming {
        let response = agent::SessionResponse {
            message: Some(message),
        };
        let identity = Identity::from_seed([1; 32]);
        let key = Identity::from_seed([2; 32]).public_key();
        from_wire(response, &identity, &VerifyingKey::from_bytes(&key).unwrap())
    }

    fn problem(message: Response) -> (String, bool) {
        let received = receive(message);
        let Incoming::Malformed { problem, assign } = received else {
            panic!("{received:?} was not refused");
        };
        (problem, assign.is_some())
    }

    fn assign() -> agent::Assign {
        agent::Assign {
            lease_id: "lse_1".to_owned(),
            job_id: "job_1".to_owned(),
            model: "m".to_owned(),
            price: 1_000,
            prompt_ids: vec![1],
            max_tokens: 4,
            ..agent::Assign::default()
        }
    }

    #[test]
    fn a_malformed_message_names_its_field() {
        let nonce = vec![0; 31];
        assert!(
            problem(Response::Challenge(agent::Challenge { nonce }))
                .0
                .contains("challenge.nonce")
        );
        let welcome = agent::Welcome {
            session_id: "lse_1".to_owned(),
            heartbeat_ms: 0,
        };
        assert!(
            problem(Response::Welcome(welcome))
                .0
                .contains("welcome.session_id")
        );
        let report = agent::AskReport {
            status: 77,
            ..agent::AskReport::default()
        };
        assert!(
            problem(Response::AskReport(report))
                .0
                .contains("ask_report.status")
        );
    }

    #[test]
    fn a_malformed_assignment_is_declined_if_it_can_be_named() {
        let named = agent::Assign { price: 7, ..assign() };
        assert_eq!(
            problem(Response::Assign(named)),
            (
                "assign.price: a price is a multiple of 0.000001 credits per 1,000 work units: it has at most six \
                 decimals"
                    .to_owned(),
                true
            )
        );
        let nameless = agent::Assign {
            lease_id: "?".to_owned(),
            ..assign()
        };
        assert!(!problem(Response::Assign(nameless)).1);
        let epochless = agent::Assign {
            epoch: 256,
            ..assign()
        };
        assert!(!problem(Response::Assign(epochless)).1);
    }

    #[test]
    fn a_canary_may_go_without_a_price() {
        let canary = agent::Assign {
            price: 0,
            canary: true,
            ..assign()
        };
        let Incoming::Assign(assignment) = receive(Response::Assign(canary)) else {
            panic!("a canary without a price is taken");
        };
        assert_eq!((assignment.pay, assignment.price), (Pay::Canary, Price::MIN));
    }

    #[test]
    fn a_strangers_text_is_cut_and_cleaned() {
        let text = format!("a\nb\u{1b}[31m{}", "x".repeat(10_000));
        let short = shorten(&text);
        assert!(short.starts_with("ab[31m") && short.chars().count() == FOREIGN_TEXT_MAX);
    }
}
