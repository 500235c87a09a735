//! Reports and views on the wire.

use std::time::Duration;

use domain::{JobOutcome, OrderId, Timestamp};
use matcher::CellKey;
use proto::convert::{bid_terms_to_wire, cell_to_wire, outcome_to_wire, receipt_to_wire};
use proto::exchange::v1 as wire;
use proto::exchange::v1::submit_job_response::Event;
use proto::types::v1 as types;

use crate::gateway::Gateway;
use crate::gateway::errors::of_failure;
use crate::gateway::order::Placed;
use crate::gateway::reports::Report;
use crate::leasing::{Completed, JobBill, JobState, JobView, Matched, SegmentBill, fee_on_top};
use crate::names::Names;

pub(super) fn cell(cell: CellKey, names: &Names) -> types::Cell {
    let model = names.model(cell.instrument).unwrap_or_default();
    let region = names.region(cell.region).unwrap_or_default();
    cell_to_wire(model, region, cell.tier, Some(cell.band))
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn accepted(gateway: &Gateway, placed: &Placed) -> wire::Accepted {
    wire::Accepted {
        order_id: placed.accepted.order.to_string(),
        client_order_id: placed.client_order_id.clone(),
        limit: placed.accepted.limit.get(),
        units_max: placed.accepted.units_max.get(),
        reserved_nano: placed.accepted.reserved.as_nano(),
        prompt_tokens: placed.prompt_tokens.iter().map(|tokens| tokens.get()).collect(),
        terms: Some(bid_terms_to_wire(
            &placed.terms,
            gateway.names.regions(),
            Timestamp::ZERO,
        )),
        repeated_order: false,
    }
}

pub(super) fn repeated(order: OrderId, client_order_id: String) -> wire::Accepted {
    wire::Accepted {
        order_id: order.to_string(),
        client_order_id,
        repeated_order: true,
        ..wire::Accepted::default()
    }
}

pub(crate) fn report(gateway: &Gateway, report: Report) -> wire::SubmitJobResponse {
    let event = match report {
        Report::Matched(matched) => Event::Matched(matched_to_wire(&matched, &gateway.names)),
        Report::Output(output) => Event::Output(wire::Output {
            job_id: output.job.to_string(),
            index: output.index,
            text: output.text,
            token_ids: output.ids,
        }),
        Report::FailedOver {
            job,
            index,
            island,
            failure,
            emitted,
        } => Event::FailedOver(wire::FailedOver {
            job_id: job.to_string(),
            index,
            island_id: island.to_string(),
            code: of_failure(failure).to_owned(),
            emitted_tokens: emitted.get(),
        }),
        Report::Completed(completed) => Event::Completed(completed_to_wire(&completed, &gateway.names)),
        Report::Ended { jobs, why } => Event::Ended(wire::Ended {
            jobs: jobs.get(),
            code: why.kind.code.to_owned(),
            message: why.message,
            job_id: String::new(),
        }),
    };
    wire::SubmitJobResponse { event: Some(event) }
}

fn matched_to_wire(matched: &Matched, names: &Names) -> wire::Matched {
    wire::Matched {
        job_id: matched.job.to_string(),
        index: matched.index,
        trade_id: matched.trade.to_string(),
        lease_id: matched.lease.to_string(),
        epoch: matched.epoch.get().into(),
        island_id: matched.island.to_string(),
        cell: Some(cell(matched.cell, names)),
        price: matched.price.get(),
        waited_ms: millis(matched.waited),
    }
}

fn completed_to_wire(completed: &Completed, names: &Names) -> wire::Completed {
    wire::Completed {
        job_id: completed.job.to_string(),
        index: completed.index,
        outcome: outcome_to_wire(completed.outcome).into(),
        usage: Some(wire::Usage {
            prompt_tokens: completed.prompt_tokens.get(),
            output_tokens: completed.output_tokens.get(),
            units: completed.bill.units.get(),
        }),
        bill: Some(bill(&completed.bill, names)),
        receipts: completed.receipts.iter().map(receipt_to_wire).collect(),
        failovers: completed.failovers.into(),
        waited_ms: millis(completed.waited),
        first_token_ms: completed.first_token.map_or(0, millis),
        total_ms: millis(completed.total),
        code: completed.code.unwrap_or_default().to_owned(),
    }
}

/// What a job cost.
fn bill(bill: &JobBill, names: &Names) -> wire::Bill {
    wire::Bill {
        charge_nano: bill.charge.as_nano(),
        fee_nano: bill.fee.as_nano(),
        segments: bill
            .segments
            .iter()
            .map(|segment| segment_to_wire(segment, names))
            .collect(),
    }
}

fn segment_to_wire(segment: &SegmentBill, names: &Names) -> wire::Segment {
    wire::Segment {
        lease_id: segment.lease.to_string(),
        island_id: segment.island.to_string(),
        cell: Some(cell(segment.cell, names)),
        price: segment.price.get(),
        output_tokens: segment.output_tokens.get(),
        prompt_tokens: segment.prompt_tokens.get(),
        units: segment.bill.units.get(),
        charge_nano: segment.bill.charge.as_nano(),
        fee_nano: fee_on_top(&segment.bill).as_nano(),
    }
}

pub(super) fn job(job: &JobView, names: &Names) -> wire::Job {
    wire::Job {
        job_id: job.job.to_string(),
        order_id: job.order.to_string(),
        model: job
            .instrument
            .and_then(|instrument| names.model(instrument))
            .unwrap_or_default()
            .to_owned(),
        state: state_name(job.state).to_owned(),
        island_id: job
            .island
            .map_or_else(String::new, |(island, _)| island.to_string()),
        cell: job.island.map(|(_, stood)| cell(stood, names)),
        price: job.price.map_or(0, domain::Price::get),
        usage: Some(wire::Usage {
            prompt_tokens: job.prompt_tokens.get(),
            output_tokens: job.output_tokens.get(),
            units: job.bill.units.get(),
        }),
        bill: Some(bill(&job.bill, names)),
        failovers: job.failovers.into(),
        accepted_at_us: job.accepted_at.as_micros(),
        code: job.code.unwrap_or_default().to_owned(),
        ended_at_us: job.ended_at.map_or(0, Timestamp::as_micros),
    }
}

fn state_name(state: JobState) -> &'static str {
    match state {
        JobState::Waiting => "waiting",
        JobState::Running => "running",
        JobState::Ended(outcome) => outcome_name(outcome),
    }
}

/// The word for an outcome.
pub(in crate::gateway) const fn outcome_name(outcome: JobOutcome) -> &'static str {
    match outcome {
        JobOutcome::Stopped => "stopped",
        JobOutcome::Length => "length",
        JobOutcome::Cancelled => "cancelled",
        JobOutcome::Incomplete => "incomplete",
        JobOutcome::Failed => "failed",
    }
}
