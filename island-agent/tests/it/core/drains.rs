//! Drains: what runs is finished, what is owed is waited for, and no longer.

use std::time::Duration;

use domain::{Credits, LeaseId, Timestamp};
use expect_test::expect;
use island_agent::effect::{Beat, Incoming, Input, Signatures, Verdict};
use runner::FinishReason;

use super::scenario::{Script, check, final_receipt, revoke, settings};

#[test]
fn a_drain_finishes_what_runs_and_waits_for_the_last_report() {
    let mut script = Script::quoting(settings(1));
    script.run(1, 0);
    check(script.take(Input::DrainRequested), expect!["drain"]);
    check(script.tokens(0, 0, 1), expect!["output lse_1 0+1"]);
    let effects = script.end(0, Some(FinishReason::Stop));
    let finished = final_receipt(&effects);
    check(effects, expect!["finished lse_1 1 Stop"]);
    let verdict = Verdict::Countersigned {
        body: finished,
        signatures: Box::new(Signatures {
            island: String::new(),
            exchange: String::new(),
        }),
        earned: Credits::from_nano(5),
    };
    let lease = LeaseId::new(1);
    check(
        script.hear(Incoming::ReceiptReport { lease, verdict }),
        expect!["record 1; close in order; stop"],
    );
    assert_eq!(script.agent.status().earned_nano, 5);
}

#[test]
fn a_drain_out_of_time_cancels_and_one_without_a_report_gives_up() {
    let mut script = Script::quoting(settings(1));
    script.run(1, 0);
    script.tokens(0, 0, 1);
    script.take(Input::DrainRequested);
    while script.agent.status().running > 0 {
        script.now = script.agent.poll_timeout().unwrap();
        script.hear(Incoming::Heartbeat {
            nonce: 0,
            kind: Beat::Echo,
        });
        if script.now >= Timestamp::from_micros(1_030_000_000) {
            check(
                script.end(0, Some(FinishReason::Cancelled)),
                expect!["finished lse_1 1 Cancelled"],
            );
        }
    }
    script.after(Duration::from_secs(3));
    check(script.wake(), expect!["record 1; close in order; stop"]);
    // Without a session there is nothing to wait for.
    let mut script = Script::new(settings(1));
    check(script.take(Input::DrainRequested), expect!["stop"]);
}

#[test]
fn a_drain_does_not_wait_for_a_word_on_a_job_that_earned_nothing() {
    let mut script = Script::quoting(settings(1));
    script.run(1, 0);
    check(script.hear(revoke(1, 0)), expect!["cancel 0"]);
    check(script.take(Input::DrainRequested), expect!["drain"]);
    check(
        script.end(0, Some(FinishReason::Cancelled)),
        expect!["finished lse_1 0 Cancelled; free lse_1; record 0; close in order; stop"],
    );
    // An empty answer was read for, and is paid.
    let mut script = Script::quoting(settings(1));
    script.run(1, 0);
    script.take(Input::DrainRequested);
    check(
        script.end(0, Some(FinishReason::Stop)),
        expect!["finished lse_1 0 Stop"],
    );
}
