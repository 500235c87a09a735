//! Jobs from their bid to their bill, on agents that behave and agents that do not.

use std::time::Duration;

use domain::{Credits, JobOutcome, Jobs, LeaseFailure, Price, ReceiptKind, TokenCount, Units, fee_on};
use exchange::halts::Trading;
use exchange::leasing::{CancelRefused, JobEvent, JobState};
use exchange::receipts::verify_signatures;
use matcher::{BidLimit, Command, EndReason, RejectReason};
use proto::agent::v1::FinishReason;
use proto::agent::v1::session_request::Message as Say;

use crate::link::agent::{Agent, id, quoting};
use crate::link::house::{CONSUMER, FUNDS, OWNER, open, prompt};
use crate::registry::fixture::byte;

/// Four tokens that the model has.
fn answer() -> [u32; 4] {
    [byte(b'a'), byte(b'b'), byte(b'c'), byte(b'd')]
}

#[tokio::test]
async fn a_job_is_matched_run_streamed_billed_and_countersigned() {
    let house = open().await;
    let mut agent = quoting(&house, 1, 50, 4).await;
    let mut events = house.submit(house.submission(8)).await;
    events.accepted().await;
    let matched = events.matched().await;
    assert_eq!(
        (matched.island, matched.price),
        (agent.machine.island, Price::from_ticks(50).unwrap())
    );

    let assign = agent.take_job().await;
    assert_eq!((assign.prompt_ids.as_slice(), assign.max_tokens), (&*prompt(), 8));
    assert_eq!((assign.stop_ids.as_slice(), assign.canary), (&[2][..], false));
    let ids = answer();
    agent.emit(&assign, 0, &ids[..2]).await;
    assert_eq!(events.tokens(2).await, ids[..2]);
    agent.checkpoint(&assign, &ids[..2]).await;
    agent.emit(&assign, 2, &ids[2..]).await;
    agent.finish(&assign, FinishReason::Stop, &ids).await;
    assert_eq!(events.tokens(2).await, ids[2..]);

    let completed = events.completed().await;
    assert_eq!(
        (completed.outcome, completed.code, completed.failovers),
        (JobOutcome::Stopped, None, 0)
    );
    assert_eq!(
        (completed.prompt_tokens.get(), completed.output_tokens.get()),
        (8, 4)
    );
    let [segment] = completed.bill.segments.as_slice() else {
        panic!("one segment: {:?}", completed.bill.segments)
    };
    // 8 prompt tokens weigh 2 units; 6 units at 50,000 nano-credits per 1,000 are 300.
    assert_eq!(segment.bill.units, Units::new(6));
    assert_eq!(segment.bill.charge, Credits::from_nano(300));
    assert_eq!(segment.bill.fee, fee_on(Credits::from_nano(300)));
    let [receipt] = completed.receipts.as_slice() else {
        panic!("one receipt: {:?}", completed.receipts)
    };
    assert_eq!(verify_signatures(receipt), Ok(()));
    assert_eq!(receipt.countersignature.unwrap().1, house.key.public_key());
    assert_eq!(receipt.body.output_tokens, TokenCount::new(4));
    let report = agent.receipt_report().await;
    assert_eq!((report.code.as_str(), report.earned_nano), ("", 300));
    events.ended().await;

    house.idle().await;
    assert_eq!(
        house.buying_power().await.available,
        Credits::from_nano(FUNDS - 306)
    );
}

#[tokio::test]
async fn an_island_that_vanishes_in_mid_stream_is_replaced_without_a_seam() {
    let house = open().await;
    let mut first = quoting(&house, 1, 40, 4).await;
    let mut second = quoting(&house, 2, 60, 4).await;
    let mut events = house.submit(house.submission(8)).await;
    let job = events.running().await;
    let assign = first.take_job().await;
    let ids = answer();
    first.emit(&assign, 0, &ids[..2]).await;
    first.checkpoint(&assign, &ids[..2]).await;
    first.emit(&assign, 2, &ids[2..3]).await;
    assert_eq!(events.tokens(3).await, ids[..3]);
    first.vanish();

    assert_eq!(events.failed_over().await, LeaseFailure::SessionLost);
    let matched = events.matched().await;
    assert_eq!(
        (matched.job, matched.island, matched.epoch.get()),
        (job, second.machine.island, 1)
    );
    let assign = second.take_job().await;
    assert_eq!(
        (assign.emitted_ids.as_slice(), assign.max_tokens, assign.epoch),
        (&ids[..3], 5, 1)
    );
    second.emit(&assign, 0, &ids[3..]).await;
    second.finish(&assign, FinishReason::Stop, &ids[3..]).await;
    assert_eq!(events.tokens(1).await, ids[3..]);
    let completed = events.completed().await;
    assert_eq!((completed.outcome, completed.failovers), (JobOutcome::Stopped, 1));
    let units: Vec<u64> = completed
        .bill
        .segments
        .iter()
        .map(|segment| segment.bill.units.get())
        .collect();
    // The first is paid for its checkpoint, the second for its token and the prompt.
    assert_eq!(units, [2, 3]);
    // Three tokens that another had written weigh one unit; the pool pays it.
    assert_eq!(
        completed.bill.segments[1].bill.pool_subsidy,
        Credits::from_nano(60)
    );
    assert_eq!(completed.receipts.len(), 2);
    for receipt in &completed.receipts {
        assert_eq!(verify_signatures(receipt), Ok(()));
    }
    let unbroken_at_the_limit = 100 * 6;
    let charged: i64 = completed
        .bill
        .segments
        .iter()
        .map(|segment| segment.bill.charge.as_nano())
        .sum();
    assert!(charged <= unbroken_at_the_limit);
    house.idle().await;
}

#[tokio::test]
async fn an_island_that_says_nothing_loses_the_job_after_a_second() {
    let house = open().await;
    let mut silent = quoting(&house, 1, 40, 4).await;
    let mut good = quoting(&house, 2, 60, 4).await;
    let mut events = house.submit(house.submission(8)).await;
    events.running().await;
    drop(silent.ask_report().await);
    let late = silent.assigned().await;
    house.advance(Duration::from_secs(1));
    assert_eq!(events.failed_over().await, LeaseFailure::NotAcknowledged);
    assert_eq!(silent.revoked().await.lease_id, late.lease_id);
    events.matched().await;
    let assign = good.take_job().await;
    // The late words of the first change nothing.
    silent.acknowledge(&late).await;
    silent.emit(&late, 0, &[byte(b'x')]).await;
    silent.finish(&late, FinishReason::Stop, &[byte(b'x')]).await;
    assert_eq!(silent.receipt_report().await.code, "RECEIPT_TOO_LATE");
    good.emit(&assign, 0, &answer()).await;
    good.finish(&assign, FinishReason::Stop, &answer()).await;
    assert_eq!(events.tokens(4).await, answer());
    assert_eq!(events.completed().await.outcome, JobOutcome::Stopped);
    house.idle().await;
}

#[tokio::test]
async fn an_island_whose_heartbeat_stops_loses_the_job_after_three_seconds() {
    let house = open().await;
    let mut first = quoting(&house, 1, 40, 4).await;
    let mut second = quoting(&house, 2, 60, 4).await;
    let mut events = house.submit(house.submission(8)).await;
    events.running().await;
    drop(first.take_job().await);
    first.fall_silent().await;
    first.ask("last word", 90, 1).await;
    // The second is heard of in the middle of the time.
    house.advance(Duration::from_millis(1_500));
    second.ask("sign of life", 70, 1).await;
    house.advance(Duration::from_millis(1_500));
    assert_eq!(events.failed_over().await, LeaseFailure::SessionLost);
    assert!(first.goodbye().await.contains("three seconds"));
    events.matched().await;
    let assign = second.take_job().await;
    second.finish(&assign, FinishReason::Stop, &[]).await;
    assert_eq!(events.completed().await.output_tokens, TokenCount::ZERO);
    assert_eq!(house.island(first.machine.island).await, None);
    house.idle().await;
}

/// What an Island does wrong, what the consumer is told, and what its first segment is paid in units.
async fn misbehaves(
    wrong: impl AsyncFnOnce(&Agent, &proto::agent::v1::Assign),
    failure: LeaseFailure,
    paid: u64,
) {
    let house = open().await;
    let mut first = quoting(&house, 1, 40, 4).await;
    let mut second = quoting(&house, 2, 60, 4).await;
    let mut events = house.submit(house.submission(8)).await;
    events.running().await;
    let assign = first.take_job().await;
    let ids = answer();
    first.emit(&assign, 0, &ids[..2]).await;
    first.checkpoint(&assign, &ids[..2]).await;
    assert_eq!(events.tokens(2).await, ids[..2]);
    wrong(&first, &assign).await;
    assert_eq!(events.failed_over().await, failure);
    events.matched().await;
    let assign = second.take_job().await;
    assert_eq!(assign.emitted_ids, ids[..2]);
    second.emit(&assign, 0, &ids[2..]).await;
    second.finish(&assign, FinishReason::Stop, &ids[2..]).await;
    assert_eq!(events.tokens(2).await, ids[2..]);
    let completed = events.completed().await;
    let units: Vec<u64> = completed
        .bill
        .segments
        .iter()
        .map(|segment| segment.bill.units.get())
        .collect();
    assert_eq!(units, [paid, 4]);
    assert_eq!(completed.receipts.len(), if paid == 0 { 1 } else { 2 });
}

#[tokio::test]
async fn a_gap_in_the_output_fails_over_and_pays_what_was_signed_for() {
    let wrong = async |agent: &Agent, assign: &_| agent.emit(assign, 3, &answer()[3..]).await;
    misbehaves(wrong, LeaseFailure::Misbehaved, 2).await;
}

#[tokio::test]
async fn more_output_than_was_asked_for_fails_over_and_delivers_none_of_it() {
    let wrong = async |agent: &Agent, assign: &_| agent.emit(assign, 2, &[byte(b'z'); 7]).await;
    misbehaves(wrong, LeaseFailure::Misbehaved, 2).await;
}

#[tokio::test]
async fn a_chain_that_does_not_match_fails_over_and_pays_nothing() {
    let wrong = async |agent: &Agent, assign: &_| {
        agent.checkpoint(assign, &[answer()[0], byte(b'x')]).await;
        agent
            .checkpoint(assign, &[answer()[0], answer()[1], byte(b'x')])
            .await;
    };
    misbehaves(wrong, LeaseFailure::BadReceipt, 0).await;
}

#[tokio::test]
async fn a_signature_by_another_key_fails_over_and_pays_nothing() {
    let wrong = async |agent: &Agent, assign: &proto::agent::v1::Assign| {
        let mut receipt = agent.receipt(assign, ReceiptKind::Checkpoint, &answer()[..2]);
        receipt.island_signature[3] ^= 1;
        agent.sign_checkpoint(receipt).await;
    };
    misbehaves(wrong, LeaseFailure::BadReceipt, 0).await;
}

#[tokio::test]
async fn a_receipt_for_another_price_fails_over_and_pays_nothing() {
    let wrong = async |agent: &Agent, assign: &proto::agent::v1::Assign| {
        let mut body = agent
            .receipt(assign, ReceiptKind::Checkpoint, &answer()[..2])
            .body;
        body.price = Price::MAX;
        agent.sign_checkpoint(agent.sign(body)).await;
    };
    misbehaves(wrong, LeaseFailure::BadReceipt, 0).await;
}

#[tokio::test]
async fn a_final_receipt_over_tokens_that_never_came_is_free_for_the_consumer() {
    let house = open().await;
    let mut agent = quoting(&house, 1, 40, 4).await;
    let mut events = house.submit(house.submission(8)).await;
    events.running().await;
    let assign = agent.take_job().await;
    agent.emit(&assign, 0, &answer()[..2]).await;
    agent.finish(&assign, FinishReason::Stop, &answer()).await;
    assert_eq!(events.tokens(2).await, answer()[..2]);
    let completed = events.completed().await;
    assert_eq!(completed.outcome, JobOutcome::Stopped);
    assert_eq!(completed.bill.segments[0].bill.consumer_pays(), Credits::ZERO);
    assert!(completed.receipts.is_empty());
    assert_eq!(agent.receipt_report().await.code, "RECEIPT_CLAIMS_MORE");
    house.idle().await;
    assert_eq!(house.buying_power().await.available, Credits::from_nano(FUNDS));
}

#[tokio::test]
async fn a_rest_that_nobody_takes_ends_explicitly_and_bills_what_was_signed_for() {
    let house = open().await;
    let mut only = quoting(&house, 1, 40, 4).await;
    let mut events = house.submit(house.submission(8)).await;
    events.running().await;
    let assign = only.take_job().await;
    only.emit(&assign, 0, &answer()[..3]).await;
    only.checkpoint(&assign, &answer()[..2]).await;
    assert_eq!(events.tokens(3).await, answer()[..3]);
    only.vanish();
    assert_eq!(events.failed_over().await, LeaseFailure::SessionLost);
    let completed = events.completed().await;
    assert_eq!(
        (completed.outcome, completed.code, completed.output_tokens.get()),
        (JobOutcome::Incomplete, Some("NO_ISLAND_LEFT"), 3)
    );
    assert_eq!(completed.bill.segments[0].bill.units, Units::new(2));
    events.ended().await;
    house.idle().await;
}

#[tokio::test]
async fn whoever_drops_his_stream_has_cancelled() {
    let house = open().await;
    let mut agent = quoting(&house, 1, 40, 4).await;
    let mut events = house.submit(house.submission(8)).await;
    events.running().await;
    let assign = agent.take_job().await;
    agent.emit(&assign, 0, &answer()).await;
    assert_eq!(events.tokens(4).await, answer());
    drop(events);
    assert_eq!(agent.revoked().await.lease_id, assign.lease_id);
    agent.finish(&assign, FinishReason::Cancelled, &answer()).await;
    // The prompt and the four tokens, less the fee: the bid took, so the consumer pays that on top.
    assert_eq!(agent.receipt_report().await.earned_nano, 6 * 40);
    house.idle().await;
    let jobs = house.leasing.jobs_of(CONSUMER, 10).await;
    assert_eq!(jobs[0].state, JobState::Ended(JobOutcome::Cancelled));
}

#[tokio::test]
async fn whoever_drops_his_stream_at_once_leaves_nothing_behind() {
    let house = open().await;
    let mut agent = quoting(&house, 1, 40, 4).await;
    for _ in 0..8 {
        drop(house.submit(house.submission(8)).await);
    }
    // Whatever was matched in the meantime is revoked; the agent lets go of each.
    let released = async {
        loop {
            let free = house.island(agent.machine.island).await.unwrap().free;
            let waiting = house.buying_power().await.reserved != Credits::ZERO;
            if free == domain::Slots::new(2)
                && !waiting
                && house
                    .leasing
                    .jobs_of(CONSUMER, 99)
                    .await
                    .iter()
                    .all(|job| matches!(job.state, JobState::Ended(_)))
            {
                break;
            }
            if let Ok(proto::agent::v1::session_response::Message::Revoke(revoke)) =
                tokio::time::timeout(std::time::Duration::from_millis(20), agent.hear()).await
            {
                let lease_id = revoke.lease_id;
                agent
                    .say(Say::SlotFree(proto::agent::v1::SlotFree { lease_id }))
                    .await;
            }
        }
    };
    crate::link::house::soon("all slots and reservations to come back", released).await;
    house.idle().await;
    assert_eq!(house.buying_power().await.available, Credits::from_nano(FUNDS));
}

#[tokio::test]
async fn output_that_comes_after_its_slot_was_freed_is_dropped_and_changes_no_bill() {
    let house = open().await;
    let mut agent = quoting(&house, 1, 40, 4).await;
    let mut events = house.submit(house.submission(8)).await;
    let order = events.accepted().await;
    events.matched().await;
    let assign = agent.take_job().await;
    agent.emit(&assign, 0, &answer()[..2]).await;
    agent.checkpoint(&assign, &answer()[..2]).await;
    assert_eq!(events.tokens(2).await, answer()[..2]);
    house.leasing.cancel_order(CONSUMER, order).await.unwrap();
    assert_eq!(agent.revoked().await.lease_id, assign.lease_id);

    let lease_id = assign.lease_id.clone();
    agent
        .say(Say::SlotFree(proto::agent::v1::SlotFree { lease_id }))
        .await;
    // Not even an id that no tokenizer has does harm: nothing of this lease is looked at any more.
    agent.emit(&assign, 2, &answer()[2..3]).await;
    agent.emit(&assign, 3, &[u32::MAX]).await;
    agent
        .finish(&assign, FinishReason::Cancelled, &answer()[..3])
        .await;
    // What is said in order is heard in order: the report of this ask comes after all of that.
    agent.ask("after", 50, 1).await;
    for _ in 0..2 {
        // In steps that are shorter than the silence that ends a session.
        house.advance(dispatch::FINISH_WITHIN / 2);
        agent.cancel_ask("ord_1").await;
        assert_eq!(agent.ask_report().await.code, "UNKNOWN_ORDER");
    }
    let completed = events.completed().await;
    assert_eq!(
        (completed.outcome, completed.output_tokens.get()),
        (JobOutcome::Cancelled, 2)
    );
    // Two tokens that were signed for, and the prompt.
    assert_eq!(completed.bill.units, Units::new(4));
    house.idle().await;
    assert!(
        house.island(agent.machine.island).await.is_some(),
        "the session goes on"
    );
}

#[tokio::test]
async fn an_order_is_cancelled_by_its_owner_only_and_tells_what_it_stopped() {
    let house = open().await;
    let mut agent = quoting(&house, 1, 40, 1).await;
    let mut submission = house.submission(8);
    submission.bid.jobs = Jobs::new(2);
    let payload = submission.payloads[0].clone();
    submission.payloads.push(payload);
    let mut events = house.submit(submission).await;
    let order = events.accepted().await;
    events.matched().await;
    let assign = agent.take_job().await;
    let stranger = house.leasing.cancel_order(OWNER, order).await;
    assert_eq!(stranger, Err(CancelRefused::UnknownOrder));

    let cancelled = house.leasing.cancel_order(CONSUMER, order).await.unwrap();
    assert_eq!(
        (cancelled.cancelled_jobs.get(), cancelled.stopping_jobs.get()),
        (1, 1)
    );
    let JobEvent::Ended { jobs, reason, .. } = events.next().await else {
        panic!("the job that waited has ended")
    };
    assert_eq!((jobs, reason), (Jobs::ONE, EndReason::Cancelled));
    agent.revoked().await;
    agent.finish(&assign, FinishReason::Cancelled, &[]).await;
    let completed = events.completed().await;
    assert_eq!(
        (completed.outcome, completed.code),
        (JobOutcome::Cancelled, Some("CANCELLED"))
    );
    // The prompt was read, unless the cancel overtook the acknowledgement: then it is free.
    let units = completed.bill.segments[0].bill.units;
    assert!([Units::ZERO, Units::new(2)].contains(&units), "{units}");
    events.ended().await;
    assert_eq!(
        house.leasing.cancel_order(CONSUMER, order).await,
        Err(CancelRefused::UnknownOrder)
    );
    house.idle().await;
}

#[tokio::test]
async fn a_stop_string_bills_up_to_where_it_began() {
    let house = open().await;
    let mut agent = quoting(&house, 1, 40, 4).await;
    let mut events = house.submit(house.submission(8)).await;
    let job = events.running().await;
    let assign = agent.take_job().await;
    agent.emit(&assign, 0, &answer()).await;
    assert_eq!(events.tokens(4).await, answer());
    house.leasing.stop_job(job, TokenCount::new(3)).await;
    agent.revoked().await;
    agent.emit(&assign, 4, &[byte(b'x')]).await;
    agent
        .finish(
            &assign,
            FinishReason::Cancelled,
            &[&answer()[..], &[byte(b'x')]].concat(),
        )
        .await;
    let completed = events.completed().await;
    assert_eq!(
        (completed.outcome, completed.output_tokens.get()),
        (JobOutcome::Stopped, 3)
    );
    assert_eq!(completed.bill.segments[0].bill.units, Units::new(5));
    events.ended().await;
    house.idle().await;
}

#[tokio::test]
async fn a_reader_who_does_not_read_is_cut_off_with_a_reason() {
    let house = open().await;
    let mut agent = quoting(&house, 1, 40, 4).await;
    let mut events = house.submit(house.submission(6_000)).await;
    events.running().await;
    let assign = agent.take_job().await;
    let batch = vec![byte(b'a'); 1_000];
    let mut sent = Vec::new();
    for number in 0..5 {
        agent.emit(&assign, number * 1_000, &batch).await;
        sent.extend_from_slice(&batch);
    }
    agent.revoked().await;
    agent.finish(&assign, FinishReason::Cancelled, &sent).await;
    assert_eq!(events.tokens(5_000).await.len(), 5_000);
    let completed = events.completed().await;
    assert_eq!(
        (completed.outcome, completed.code),
        (JobOutcome::Cancelled, Some("CONSUMER_NOT_READING"))
    );
    house.idle().await;
}

#[tokio::test]
async fn a_refusal_is_an_event_and_leaves_nothing_behind() {
    let house = open().await;
    let rejected = async |submission| {
        let mut events = house.submit(submission).await;
        let JobEvent::Rejected(rejected) = events.next().await else {
            panic!("not rejected")
        };
        events.ended().await;
        rejected
    };
    assert_eq!(
        rejected(house.submission(8)).await.reason,
        RejectReason::Unservable
    );
    let _agent = quoting(&house, 1, 40, 4).await;
    let mut poor = house.submission(8);
    poor.bid.limit = BidLimit::At(Price::MAX);
    poor.bid.units_max = Units::new(1 << 30);
    let rejected_poor = rejected(poor).await;
    assert_eq!(rejected_poor.reason, RejectReason::InsufficientBuyingPower);
    assert!(rejected_poor.shortfall > Credits::ZERO);

    let mut unlike = house.submission(8);
    unlike.payloads.clear();
    assert_eq!(rejected(unlike).await.reason, RejectReason::InvalidQuantity);
    let mut larger = house.submission(8);
    larger.bid.units_max = Units::new(9);
    assert_eq!(rejected(larger).await.reason, RejectReason::InvalidUnits);
    let mut nothing = house.submission(8);
    nothing.payloads[0].max_tokens = TokenCount::ZERO;
    assert_eq!(rejected(nothing).await.reason, RejectReason::InvalidUnits);
    let mut unknown = house.submission(8);
    unknown.bid.instrument = domain::InstrumentId::new(9);
    assert_eq!(rejected(unknown).await.reason, RejectReason::UnknownInstrument);
    house.idle().await;
}

#[tokio::test]
async fn a_bid_that_is_too_cheap_expires_and_says_so() {
    let house = open().await;
    let _agent = quoting(&house, 1, 40, 4).await;
    let mut cheap = house.submission(8);
    cheap.bid.limit = BidLimit::At(Price::MIN);
    let mut events = house.submit(cheap).await;
    events.accepted().await;
    assert_eq!(
        house.leasing.jobs_of(CONSUMER, 9).await[0].state,
        JobState::Waiting
    );
    house.advance(Duration::from_secs(2));
    let JobEvent::Ended { jobs, reason, .. } = events.next().await else {
        panic!("it ends without a match")
    };
    assert_eq!((jobs, reason), (Jobs::ONE, EndReason::Expired));
    events.ended().await;
    house.idle().await;
}

#[tokio::test]
async fn a_bid_that_expires_in_a_halt_is_told_so_though_the_halt_is_over_when_it_reads() {
    let house = open().await;
    let _agent = quoting(&house, 1, 40, 4).await;
    let mut cheap = house.submission(8);
    cheap.bid.limit = BidLimit::At(Price::MIN);
    let instrument = cheap.bid.instrument;
    let mut events = house.submit(cheap.clone()).await;
    events.accepted().await;
    house.sequencer.apply(Command::Halt(instrument)).await.unwrap();
    house.advance(Duration::from_secs(2));
    // What is due comes first: the bid expires, and then trading goes on.
    house.sequencer.apply(Command::Resume(instrument)).await.unwrap();
    let JobEvent::Ended { reason, trading, .. } = events.next().await else {
        panic!("it ends without a match")
    };
    assert_eq!((reason, trading), (EndReason::Expired, Trading::Halted));
    events.ended().await;
    house.idle().await;
}

#[tokio::test]
async fn the_same_order_again_tells_the_first_ones_outcome_and_runs_nothing() {
    let house = open().await;
    let mut agent = quoting(&house, 1, 40, 4).await;
    let submission = house.submission(8);
    let mut events = house.submit(submission.clone()).await;
    let order = events.accepted().await;
    events.matched().await;
    let assign = agent.take_job().await;

    // While it runs: the outcome, no text.
    let mut meanwhile = house.submit(submission.clone()).await;
    let JobEvent::Repeated { order: repeated } = meanwhile.next().await else {
        panic!("not a repetition")
    };
    assert_eq!(repeated, order);
    agent.emit(&assign, 0, &answer()).await;
    agent.finish(&assign, FinishReason::Stop, &answer()).await;
    assert_eq!(meanwhile.completed().await.output_tokens.get(), 4);
    meanwhile.ended().await;
    assert_eq!(events.tokens(4).await, answer());
    let first = events.completed().await;

    // After its end.
    let mut again = house.submit(submission.clone()).await;
    assert!(matches!(again.next().await, JobEvent::Repeated { .. }));
    let second = again.completed().await;
    assert_eq!((first.job, first.bill), (second.job, second.bill));
    again.ended().await;

    let mut other = submission;
    other.bid.units_max = Units::new(99);
    let mut refused = house.submit(other).await;
    let JobEvent::Rejected(rejected) = refused.next().await else {
        panic!("another body is refused")
    };
    assert_eq!(rejected.reason, RejectReason::DuplicateClientOrderId);
    house.idle().await;
}

#[tokio::test]
async fn bids_are_journaled_in_the_order_in_which_they_came() {
    let house = open().await;
    let _agent = quoting(&house, 1, 40, 4).await;
    let mut streams = Vec::new();
    for _ in 0..600 {
        let mut cheap = house.submission(8);
        cheap.bid.limit = BidLimit::At(Price::MIN);
        cheap.bid.time_in_force = domain::TimeInForce::Gtc;
        streams.push(house.submit(cheap).await);
    }
    let mut orders = Vec::new();
    for events in &mut streams {
        orders.push(events.accepted().await);
    }
    assert!(orders.is_sorted(), "{orders:?}");
}

#[tokio::test]
async fn jobs_are_listed_newest_first_with_what_they_cost() {
    let house = open().await;
    let mut agent = quoting(&house, 1, 40, 4).await;
    let mut first = house.submit(house.submission(8)).await;
    let done = first.running().await;
    let assign = agent.take_job().await;
    agent.emit(&assign, 0, &answer()).await;
    agent.finish(&assign, FinishReason::Stop, &answer()).await;
    first.tokens(4).await;
    first.completed().await;
    drop(agent.receipt_report().await);
    let mut second = house.submit(house.submission(8)).await;
    let running = second.running().await;
    assert_eq!(id::<domain::JobId>(&agent.take_job().await.job_id), running);

    let jobs = house.leasing.jobs_of(CONSUMER, 10).await;
    let listed: Vec<_> = jobs.iter().map(|job| (job.job, job.state)).collect();
    assert_eq!(
        listed,
        [
            (running, JobState::Running),
            (done, JobState::Ended(JobOutcome::Stopped))
        ]
    );
    assert_eq!(jobs[1].bill.segments[0].bill.units, Units::new(6));
    assert_eq!(house.leasing.jobs_of(CONSUMER, 1).await.len(), 1);
    assert!(house.leasing.jobs_of(OWNER, 10).await.is_empty());
}
