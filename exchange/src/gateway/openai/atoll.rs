//! The `atoll` object of an answer: what the market did.

use domain::{Credits, JobOutcome, Price};
use matcher::CellKey;
use proto::convert::SignedReceipt;
use serde::Serialize;

use crate::gateway::grpc::outcome_name;
use crate::leasing::{Completed, Matched, SegmentBill, fee_on_top};
use crate::names::Names;

/// Who won, as the first chunk of a stream says it.
#[derive(Clone, Debug, Serialize)]
pub(in crate::gateway) struct AtollMatched {
    order_id: String,
    job_id: String,
    lease_id: String,
    #[serde(flatten)]
    place: Place,
    wait_ms: u64,
}

/// What the market did, when it is over.
#[derive(Clone, Debug, Serialize)]
pub(in crate::gateway) struct Atoll {
    order_id: String,
    job_id: String,
    client_order_id: String,
    outcome: &'static str,
    #[serde(flatten)]
    place: Option<Place>,
    limit: String,
    wait_ms: u64,
    first_token_ms: Option<u64>,
    total_ms: u64,
    failovers: u8,
    units: u64,
    charge: String,
    fee: String,
    total: String,
    segments: Vec<Segment>,
    receipts: Vec<Receipt>,
    /// What was delivered of an answer that is not whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) partial: Option<String>,
}

/// An Island, where it stands, and its price in credits per 1,000 units.
#[derive(Clone, Debug, Serialize)]
struct Place {
    island: String,
    region: String,
    tier: &'static str,
    karma_band: &'static str,
    price: String,
}

#[derive(Clone, Debug, Serialize)]
struct Segment {
    lease_id: String,
    #[serde(flatten)]
    place: Place,
    prompt_tokens: u32,
    output_tokens: u32,
    units: u64,
    charge: String,
    fee: String,
}

/// A receipt: the fields that were signed, and the signatures in hexadecimal.
#[derive(Clone, Debug, Serialize)]
struct Receipt {
    kind: &'static str,
    job_id: String,
    lease_id: String,
    epoch: u8,
    model_sha256: String,
    prompt_sha256: String,
    prompt_tokens: u32,
    output_tokens: u32,
    chain_head: String,
    started_at_us: u64,
    signed_at_us: u64,
    price_nano: u64,
    island_signature: String,
    island_public_key: String,
    exchange_signature: Option<String>,
    exchange_public_key: Option<String>,
}

impl Place {
    fn of(island: domain::IslandId, cell: CellKey, price: Price, names: &Names) -> Self {
        Self {
            island: island.to_string(),
            region: names.region(cell.region).unwrap_or_default().to_owned(),
            tier: cell.tier.name(),
            karma_band: cell.band.name(),
            price: price.to_string(),
        }
    }
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl AtollMatched {
    pub(in crate::gateway) fn new(matched: &Matched, names: &Names) -> Self {
        Self {
            order_id: matched.job.order().to_string(),
            job_id: matched.job.to_string(),
            lease_id: matched.lease.to_string(),
            place: Place::of(matched.island, matched.cell, matched.price, names),
            wait_ms: millis(matched.waited),
        }
    }
}

impl Atoll {
    pub(in crate::gateway) fn new(completed: &Completed, limit: Price, named: &str, names: &Names) -> Self {
        let shown = |credits: Credits| credits.to_string();
        let bill = &completed.bill;
        let total = bill
            .charge
            .checked_add(bill.fee)
            .expect("what a job cost fits its reservation");
        let last = bill.segments.last();
        Self {
            order_id: completed.job.order().to_string(),
            job_id: completed.job.to_string(),
            client_order_id: named.to_owned(),
            outcome: outcome_name(completed.outcome),
            place: last.map(|segment| Place::of(segment.island, segment.cell, segment.price, names)),
            limit: limit.to_string(),
            wait_ms: millis(completed.waited),
            first_token_ms: completed.first_token.map(millis),
            total_ms: millis(completed.total),
            failovers: completed.failovers,
            units: bill.units.get(),
            charge: shown(bill.charge),
            fee: shown(bill.fee),
            total: shown(total),
            segments: bill
                .segments
                .iter()
                .map(|segment| Segment::of(segment, names))
                .collect(),
            receipts: completed.receipts.iter().map(Receipt::of).collect(),
            partial: None,
        }
    }
}

impl Segment {
    fn of(segment: &SegmentBill, names: &Names) -> Self {
        Self {
            lease_id: segment.lease.to_string(),
            place: Place::of(segment.island, segment.cell, segment.price, names),
            prompt_tokens: segment.prompt_tokens.get(),
            output_tokens: segment.output_tokens.get(),
            units: segment.bill.units.get(),
            charge: segment.bill.charge.to_string(),
            fee: fee_on_top(&segment.bill).to_string(),
        }
    }
}

impl Receipt {
    fn of(receipt: &SignedReceipt) -> Self {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        let body = &receipt.body;
        let (exchange_signature, exchange_public_key) = receipt
            .countersignature
            .map(|(signature, key)| (hex(&signature), hex(&key)))
            .unzip();
        Self {
            kind: match body.kind {
                domain::ReceiptKind::Checkpoint => "checkpoint",
                domain::ReceiptKind::Final => "final",
            },
            job_id: body.job.to_string(),
            lease_id: body.lease.to_string(),
            epoch: body.epoch.get(),
            model_sha256: body.model.to_string(),
            prompt_sha256: body.prompt.to_string(),
            prompt_tokens: body.prompt_tokens.get(),
            output_tokens: body.output_tokens.get(),
            chain_head: body.chain.digest().to_string(),
            started_at_us: body.started_at.as_micros(),
            signed_at_us: body.signed_at.as_micros(),
            price_nano: body.price.get(),
            island_signature: hex(&receipt.island_signature),
            island_public_key: hex(&receipt.island_public_key),
            exchange_signature,
            exchange_public_key,
        }
    }
}

/// Why a clean finish, in OpenAI's words; `None` for an end that is not clean.
pub(in crate::gateway) const fn finish_reason(outcome: JobOutcome) -> Option<&'static str> {
    match outcome {
        JobOutcome::Stopped => Some("stop"),
        JobOutcome::Length => Some("length"),
        JobOutcome::Cancelled | JobOutcome::Incomplete | JobOutcome::Failed => None,
    }
}
