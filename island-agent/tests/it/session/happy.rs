//! What an Island does all day.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the messages that may come and fails on any other"
)]

use std::fs;
use std::time::Duration;

use island_agent::earnings::{EarningLine, summarise};
use island_agent::status::Phase;
use proto::agent::v1::session_request::Message as Heard;
use proto::agent::v1::session_response::Message as Said;
use proto::agent::v1::{AskStatus, Assign, FinishReason};
use proto::types::v1 as types;
use runner::scripted::{Fault, Script};

use super::fake::{FakeExchange, PRICE, assign, revoke, tier};
use super::{MODEL, island};

fn slow(slots: u32) -> Script {
    Script {
        token_interval: Duration::from_millis(5),
        slots,
        ..Script::default()
    }
}

#[tokio::test]
async fn an_island_is_measured_quotes_runs_is_paid_and_drains() {
    let mut exchange = FakeExchange::start().await;
    let mut island = island(exchange.address, Script::default());
    let (mut session, hello) = exchange.welcomed().await;
    assert_eq!((hello.region.as_str(), hello.slots), ("eu-west", 4));
    assert_eq!(hello.offers[0].model, MODEL);
    assert_eq!(hello.offers[0].model_digest, vec![0; 32]);

    // Nothing is quoted before the canary has shown the speed.
    let canary = Assign {
        canary: true,
        price: 0,
        ..assign(1, 8)
    };
    session.say(Said::Assign(canary.clone())).await;
    session.acknowledged("lse_1").await;
    assert_eq!(session.finish(&canary).await.ids.len(), 8);
    session.say(tier(types::Tier::Laptop)).await;
    let ask = session.ask().await;
    assert_eq!((ask.price, ask.jobs, ask.post_only), (PRICE, 7, false));
    let kind = ask.time_in_force.unwrap().kind;
    assert_eq!(kind, i32::from(types::TimeInForceKind::Gtc));
    session.accept(&ask, "ord_1").await;
    let status = island.running.quoting().await.unwrap();
    assert_eq!(status.island.as_deref(), Some("isl_1"));
    assert_eq!(status.models[0].tier.as_deref(), Some("laptop"));
    assert_eq!(status.models[0].ask.as_ref().unwrap().price, "0.02");

    let job = assign(2, 50);
    session.say(Said::Assign(job.clone())).await;
    session.acknowledged("lse_2").await;
    let record = session.finish(&job).await;
    let honest: Vec<u32> = (0..50)
        .map(|position| island.runner.token_at(&job.prompt_ids, 5, position))
        .collect();
    assert_eq!(record.ids, honest);
    assert!(
        record.checkpoints.starts_with(&[16, 32, 48]),
        "{:?}",
        record.checkpoints
    );
    assert_eq!(record.finished.reason(), FinishReason::Length);
    assert_eq!(record.receipt.body.price.get(), PRICE);

    session.pay(&record.receipt, 1_234).await;
    let mut status = island.running.status();
    status
        .wait_for(|status| status.earned_nano == 1_234)
        .await
        .unwrap();

    island.shutdown.trigger();
    assert!(matches!(session.next().await, Some(Heard::Drain(_))));
    assert_eq!(session.next().await, None);
    drop(session);
    island.running.finished().await.unwrap();

    let log = fs::read_to_string(island.data.path().join("earnings.jsonl")).unwrap();
    let lines: Vec<EarningLine> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let paid = lines.iter().find(|line| line.code == "ACCEPTED").unwrap();
    assert_eq!(
        (paid.lease.as_str(), paid.earned_nano, paid.output_tokens),
        ("lse_2", 1_234, 50)
    );
    assert_eq!(
        (paid.island_signature.len(), paid.exchange_signature.len()),
        (128, 128)
    );
    assert!(lines.iter().any(|line| line.canary && line.code == "NO_REPORT"));
    let summary = summarise(island.data.path()).unwrap();
    assert_eq!((summary.models[MODEL].paid, summary.models[MODEL].unpaid), (1, 1));
}

#[tokio::test]
async fn a_resumed_job_goes_on_where_the_other_island_stopped() {
    let mut exchange = FakeExchange::start().await;
    let island = island(exchange.address, Script::default());
    let mut session = exchange.quoting().await;
    let token = |position| island.runner.token_at(&[1, 2, 3], 5, position);
    let job = Assign {
        epoch: 1,
        emitted_ids: (0..20).map(token).collect(),
        ..assign(1, 10)
    };
    session.say(Said::Assign(job.clone())).await;
    session.acknowledged("lse_1").await;
    let record = session.finish(&job).await;
    assert_eq!(record.ids, (20..30).map(token).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_revoked_job_stops_soon_and_signs_for_what_it_sent() {
    let mut exchange = FakeExchange::start().await;
    let _island = island(exchange.address, slow(1));
    let mut session = exchange.quoting().await;
    let job = assign(1, 4_000);
    session.say(Said::Assign(job.clone())).await;
    session.acknowledged("lse_1").await;
    let Some(Heard::Output(first)) = session.next().await else {
        panic!("output follows");
    };
    session.say(revoke(1)).await;
    let record = session.finish_from(&job, first.ids).await;
    assert_eq!(record.finished.reason(), FinishReason::Cancelled);
    assert!(
        record.ids.len() < 1_000,
        "{} ids after a revoke",
        record.ids.len()
    );
    let Some(Heard::SlotFree(free)) = session.next().await else {
        panic!("the slot is free");
    };
    assert_eq!(free.lease_id, "lse_1");
    // And it is.
    let next = assign(2, 2);
    session.say(Said::Assign(next.clone())).await;
    session.acknowledged("lse_2").await;
    assert_eq!(session.finish(&next).await.ids.len(), 2);
}

#[tokio::test]
async fn jobs_run_at_once_up_to_the_slots_and_no_further() {
    let mut exchange = FakeExchange::start().await;
    let _island = island(exchange.address, slow(2));
    let mut session = exchange.quoting().await;
    for number in 1..=3 {
        session.say(Said::Assign(assign(number, 200))).await;
    }
    let (mut taken, mut declined, mut outputs, mut finished) = (0, 0, [0, 0], Vec::new());
    while finished.len() < 2 {
        match session.next().await.unwrap() {
            Heard::Acknowledge(_) => taken += 1,
            Heard::Decline(decline) => {
                assert_eq!(decline.lease_id, "lse_3");
                assert!(decline.reason.contains("slots are taken"), "{}", decline.reason);
                declined += 1;
            }
            Heard::Output(output) => {
                let index = if output.lease_id == "lse_1" { 0 } else { 1 };
                outputs[index] += output.ids.len();
            }
            Heard::Finished(end) => finished.push((end.lease_id, outputs)),
            Heard::Checkpoint(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((taken, declined, outputs), (2, 1, [200, 200]));
    // They ran side by side: when the first was done, the other had long begun.
    assert!(finished[0].1.iter().all(|count| *count > 20), "{finished:?}");
}

#[tokio::test]
async fn a_draining_island_declines_finishes_and_goes() {
    let mut exchange = FakeExchange::start().await;
    let island = island(exchange.address, slow(2));
    let mut session = exchange.quoting().await;
    let job = assign(1, 60);
    session.say(Said::Assign(job.clone())).await;
    session.acknowledged("lse_1").await;
    island.shutdown.trigger();
    let mut ids = Vec::new();
    loop {
        match session.next().await.unwrap() {
            Heard::Output(output) => ids.extend(output.ids),
            Heard::Checkpoint(_) => {}
            Heard::Drain(_) => break,
            other => panic!("{other:?}"),
        }
    }
    session.say(Said::Assign(assign(2, 5))).await;
    let record = loop {
        match session.next().await.unwrap() {
            Heard::Output(output) => ids.extend(output.ids),
            Heard::Checkpoint(_) => {}
            Heard::Decline(decline) => {
                assert!(decline.reason.contains("draining"), "{}", decline.reason);
                break session.finish_from(&job, ids).await;
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        (record.ids.len(), record.finished.reason()),
        (60, FinishReason::Length)
    );
    session.pay(&record.receipt, 1).await;
    assert_eq!(session.next().await, None);
    drop(session);
    island.running.finished().await.unwrap();
}

#[tokio::test]
async fn an_ask_is_posted_anew_when_it_is_filled_ends_or_is_refused() {
    let mut exchange = FakeExchange::start().await;
    let island = island(exchange.address, Script::default());
    let mut session = exchange.quoting().await;
    let mut status = island.running.status();
    session.say(tier(types::Tier::Phone)).await;
    status
        .wait_for(|status| status.models[0].tier.as_deref() == Some("phone"))
        .await
        .unwrap();
    let mut names = Vec::new();
    let first = proto::agent::v1::PostAsk {
        client_order_id: "ses_1-0".to_owned(),
        ..proto::agent::v1::PostAsk::default()
    };
    session.report(&first, "ord_1", AskStatus::Traded, 0, "").await;
    let filled = session.ask().await;
    session
        .report(&filled, "", AskStatus::Rejected, 0, "HALTED")
        .await;
    let refused = session.ask().await;
    session.accept(&refused, "ord_2").await;
    session
        .report(&refused, "ord_2", AskStatus::Ended, 0, "EXPIRED")
        .await;
    let ended = session.ask().await;
    names.extend([filled, refused, ended].map(|ask| ask.client_order_id));
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3);
    // A model that may not be quoted any more is not.
    session.report(&first, "ord_9", AskStatus::Accepted, 5, "").await;
    session.say(tier(types::Tier::Unspecified)).await;
    status
        .wait_for(|status| status.phase == Phase::Welcomed && status.models[0].tier.is_none())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_runner_that_fails_or_vanishes_ends_its_job_as_an_error() {
    for fault in [Fault::FailAt(20), Fault::VanishAt(20)] {
        let mut exchange = FakeExchange::start().await;
        let script = Script {
            fault,
            ..Script::default()
        };
        let _island = island(exchange.address, script);
        let mut session = exchange.quoting().await;
        let job = assign(1, 50);
        session.say(Said::Assign(job.clone())).await;
        session.acknowledged("lse_1").await;
        let record = session.finish(&job).await;
        assert_eq!(
            (record.finished.reason(), record.ids.len()),
            (FinishReason::Error, 20)
        );
        assert!(!record.finished.error.is_empty());
    }
}
