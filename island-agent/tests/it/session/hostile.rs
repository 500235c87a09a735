//! An exchange that says what it should not.

use ed25519_dalek::SigningKey;
use proto::agent::v1::session_request::Message as Heard;
use proto::agent::v1::session_response::Message as Said;
use proto::agent::v1::{Assign, Challenge, FinishReason, ReceiptReport, Sampling, Welcome};
use proto::types::v1 as types;
use runner::scripted::Script;

use super::fake::{FakeExchange, FakeSession, assign, countersign, exchange_key, revoke, tier};
use super::island;

/// The Island still does its work.
async fn works(session: &mut FakeSession, number: u32) {
    let job = assign(number, 3);
    session.say(Said::Assign(job.clone())).await;
    session.acknowledged(&job.lease_id).await;
    let record = session.finish(&job).await;
    assert_eq!(
        (record.ids.len(), record.finished.reason()),
        (3, FinishReason::Length)
    );
}

#[tokio::test]
async fn an_assignment_that_cannot_run_is_declined_with_its_reason_and_takes_no_slot() {
    let mut exchange = FakeExchange::start().await;
    let script = Script {
        slots: 1,
        ..Script::default()
    };
    let _island = island(exchange.address, script);
    let mut session = exchange.quoting().await;
    let sampling = |temperature, top_p| {
        Some(Sampling {
            temperature,
            top_p,
            ..Sampling::default()
        })
    };
    let cases: Vec<(Assign, &str)> = vec![
        (
            Assign {
                prompt_ids: vec![],
                ..assign(1, 5)
            },
            "the prompt is empty",
        ),
        (
            Assign {
                prompt_ids: vec![256],
                ..assign(1, 5)
            },
            "outside the vocabulary",
        ),
        (
            Assign {
                emitted_ids: vec![u32::MAX],
                ..assign(1, 5)
            },
            "outside the vocabulary",
        ),
        (
            Assign {
                prompt_ids: vec![1; 4_096],
                ..assign(1, 5)
            },
            "leave no room",
        ),
        (assign(1, 0), "no output tokens"),
        (
            Assign {
                stop_ids: vec![1; 1_000],
                ..assign(1, 5)
            },
            "stop ids",
        ),
        (
            Assign {
                sampling: sampling(f32::NAN, 1.0),
                ..assign(1, 5)
            },
            "sampling",
        ),
        (
            Assign {
                sampling: sampling(-1.0, 1.0),
                ..assign(1, 5)
            },
            "sampling",
        ),
        (
            Assign {
                sampling: sampling(1.0, 2.0),
                ..assign(1, 5)
            },
            "sampling",
        ),
        (
            Assign {
                model: "other".to_owned(),
                ..assign(1, 5)
            },
            "does not offer that model",
        ),
        (
            Assign {
                model: String::new(),
                ..assign(1, 5)
            },
            "does not offer that model",
        ),
        (
            Assign {
                price: 0,
                ..assign(1, 5)
            },
            "assign.price",
        ),
        (
            Assign {
                price: u64::MAX,
                ..assign(1, 5)
            },
            "assign.price",
        ),
        (
            Assign {
                job_id: "lse_1".to_owned(),
                ..assign(1, 5)
            },
            "assign.job_id",
        ),
    ];
    for (case, reason) in cases {
        let shown = format!("{case:?}").chars().take(200).collect::<String>();
        session.say(Said::Assign(case)).await;
        let declined = session.declined("lse_1").await;
        assert!(declined.contains(reason), "{declined:?} for {shown}");
    }
    works(&mut session, 2).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_ignored_and_the_session_goes_on() {
    let mut exchange = FakeExchange::start().await;
    let _island = island(exchange.address, Script::default());
    let mut session = exchange.quoting().await;
    let nameless = Assign {
        lease_id: "x".repeat(100_000),
        ..assign(1, 5)
    };
    session.say(Said::Assign(nameless)).await;
    let epochless = Assign {
        epoch: u32::MAX,
        ..assign(1, 5)
    };
    session.say(Said::Assign(epochless)).await;
    session.say_nothing_known().await;
    session
        .say(Said::Challenge(Challenge { nonce: vec![1; 32] }))
        .await;
    session
        .say(Said::Welcome(Welcome {
            session_id: "ses_2".to_owned(),
            heartbeat_ms: 1,
        }))
        .await;
    session
        .say(Said::ReceiptReport(ReceiptReport {
            lease_id: "lse_99".to_owned(),
            earned_nano: i64::MAX,
            ..ReceiptReport::default()
        }))
        .await;
    session
        .say(Said::TierAssigned(proto::agent::v1::TierAssigned {
            model: "other".to_owned(),
            tier: 99,
            decode_per_second: f64::NAN,
            reason: "\u{1b}[31m".to_owned(),
        }))
        .await;
    session.say(revoke(77)).await;
    let Some(Heard::SlotFree(free)) = session.next().await else {
        panic!("a lease that is not here holds no slot");
    };
    assert_eq!(free.lease_id, "lse_77");
    works(&mut session, 1).await;
}

#[tokio::test]
async fn an_assignment_that_repeats_runs_once_and_a_stale_one_never() {
    let mut exchange = FakeExchange::start().await;
    let script = Script {
        first_token_after: std::time::Duration::from_millis(100),
        ..Script::default()
    };
    let _island = island(exchange.address, script);
    let mut session = exchange.quoting().await;
    let job = Assign {
        epoch: 1,
        ..assign(1, 10)
    };
    session.say(Said::Assign(job.clone())).await;
    session.say(Said::Assign(job.clone())).await;
    let stale = Assign {
        lease_id: "lse_2".to_owned(),
        epoch: 0,
        ..job.clone()
    };
    session.say(Said::Assign(stale)).await;
    session.acknowledged("lse_1").await;
    session.acknowledged("lse_1").await;
    assert_eq!(session.finish(&job).await.ids.len(), 10);
    session.say(Said::Assign(job)).await;
    works(&mut session, 3).await;
}

#[tokio::test]
async fn a_countersignature_that_is_worth_nothing_earns_nothing() {
    let mut exchange = FakeExchange::start().await;
    let island = island(exchange.address, Script::default());
    let mut session = exchange.quoting().await;
    let mut status = island.running.status();
    for number in 1..=4 {
        let job = assign(number, 3);
        session.say(Said::Assign(job.clone())).await;
        session.acknowledged(&job.lease_id).await;
        let receipt = session.finish(&job).await.receipt;
        let stranger = SigningKey::from_bytes(&[9; 32]);
        match number {
            1 => {
                session
                    .pay_with(&receipt, Some(countersign(&receipt, &stranger)), 5)
                    .await
            }
            2 => {
                let mut forged: types::SignedReceipt = countersign(&receipt, &exchange_key());
                forged.exchange_signature = vec![1; 64];
                session.pay_with(&receipt, Some(forged), 5).await;
            }
            3 => session.pay_with(&receipt, None, 5).await,
            _ => session.pay(&receipt, 7).await,
        }
    }
    status.wait_for(|status| status.earned_nano != 0).await.unwrap();
    assert_eq!(status.borrow().earned_nano, 7);
    let summary = island_agent::earnings::summarise(island.data.path()).unwrap();
    let model = summary.models[super::MODEL];
    assert_eq!((model.paid, model.unpaid, model.earned.as_nano()), (1, 3, 7));
}

#[tokio::test]
async fn a_message_of_ten_mebibytes_costs_the_session_and_nothing_else() {
    let mut exchange = FakeExchange::start().await;
    let _island = island(exchange.address, Script::default());
    let session = exchange.quoting().await;
    let huge = Assign {
        prompt_ids: vec![u32::MAX; 2 << 20],
        ..assign(1, 5)
    };
    session.say(Said::Assign(huge)).await;
    let mut session = exchange.quoting().await;
    works(&mut session, 1).await;
}

#[tokio::test]
async fn a_garbage_challenge_is_not_signed() {
    let mut exchange = FakeExchange::start().await;
    let _island = island(exchange.address, Script::default());
    for nonce in [vec![], vec![1; 31], vec![1; 1_000_000]] {
        let mut session = exchange.session().await;
        session.hello().await;
        session.say(Said::Challenge(Challenge { nonce })).await;
        assert_eq!(session.next().await, None);
    }
    let mut session = exchange.session().await;
    session.hello().await;
    session.say(tier(types::Tier::Server)).await;
    session
        .say(Said::Challenge(Challenge { nonce: vec![1; 32] }))
        .await;
    assert_eq!(session.hello().await.proof.len(), 64);
    // One proof a session: a second challenge is not answered.
    session
        .say(Said::Challenge(Challenge { nonce: vec![2; 32] }))
        .await;
    assert_eq!(session.next().await, None);
    exchange.quoting().await;
}
