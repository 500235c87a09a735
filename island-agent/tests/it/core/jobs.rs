//! Jobs: assigned, run, signed for, revoked, settled.

use std::time::Duration;

use domain::{Credits, Digest, LeaseId, Price};
use expect_test::expect;
use island_agent::effect::{Effect, Incoming, Input, Outgoing, RunId, Signatures, Verdict};
use runner::FinishReason;

use super::scenario::{Script, assignment, check, final_receipt, revoke, settings};

#[test]
fn a_lease_that_is_settled_early_is_paid_by_its_checkpoint_once() {
    let mut script = Script::quoting(settings(1));
    script.run(1, 0);
    let effects = script.tokens(0, 0, 20);
    let checkpoint = effects.iter().find_map(|effect| {
        let Effect::Send(Outgoing::Checkpoint(body)) = effect else {
            return None;
        };
        Some(body.clone())
    });
    script.hear(revoke(1, 0));
    let report = |verdict| Incoming::ReceiptReport {
        lease: LeaseId::new(1),
        verdict,
    };
    let paid = Verdict::Countersigned {
        body: checkpoint.unwrap(),
        signatures: Box::new(Signatures {
            island: String::new(),
            exchange: String::new(),
        }),
        earned: Credits::from_nano(5),
    };
    check(script.hear(report(paid.clone())), expect!["record 16"]);
    check(
        script.hear(report(paid)),
        expect!["ignore (it reports on a receipt that nobody waits for)"],
    );
    check(
        script.end(0, None),
        expect!["finished lse_1 20 Cancelled; free lse_1"],
    );
    let code = "SETTLED".to_owned();
    check(
        script.hear(report(Verdict::Refused { code })),
        expect!["record 20"],
    );
    assert_eq!(script.agent.status().earned_nano, 5);
}

#[test]
fn ids_leave_a_checkpoint_at_a_time_and_a_receipt_ends_the_job() {
    let mut script = Script::quoting(settings(1));
    check(
        script.hear(Incoming::Assign(assignment(1, 0, 1))),
        expect!["start 0"],
    );
    check(
        script.take(Input::RunStarted { run: RunId(0) }),
        expect!["acknowledge lse_1"],
    );
    check(script.tokens(0, 0, 1), expect!["output lse_1 0+1"]);
    check(
        script.tokens(0, 1, 40),
        expect!["output lse_1 1+15; checkpoint 16; output lse_1 16+16; checkpoint 32; output lse_1 32+9"],
    );
    script.after(Duration::from_secs(1));
    check(script.wake(), expect!["checkpoint 41"]);
    check(
        script.end(0, Some(FinishReason::Stop)),
        expect!["finished lse_1 41 Stop"],
    );
    assert_eq!(script.agent.status().running, 0);
}

#[test]
fn an_assignment_that_repeats_is_acknowledged_again_and_runs_once() {
    let mut script = Script::quoting(settings(4));
    script.run(1, 0);
    check(
        script.hear(Incoming::Assign(assignment(1, 0, 1))),
        expect!["acknowledge lse_1; ignore (lse_1 was assigned before and runs)"],
    );
    script.end(0, Some(FinishReason::Stop));
    check(
        script.hear(Incoming::Assign(assignment(1, 0, 1))),
        expect!["ignore (lse_1 was assigned before and has ended)"],
    );
    // A later attempt at the job is new; an earlier one is stale, while it runs and after.
    check(
        script.hear(Incoming::Assign(assignment(2, 2, 1))),
        expect!["start 1"],
    );
    check(
        script.hear(Incoming::Assign(assignment(3, 1, 1))),
        expect!["ignore (lse_3 is a stale attempt at job_1)"],
    );
    script.take(Input::RunStarted { run: RunId(1) });
    script.end(1, Some(FinishReason::Stop));
    check(
        script.hear(Incoming::Assign(assignment(4, 1, 1))),
        expect!["ignore (lse_4 is a stale attempt at job_1)"],
    );
}

#[test]
fn what_cannot_run_is_declined_with_its_reason() {
    let mut script = Script::quoting(settings(1));
    let mut other = assignment(1, 0, 1);
    other.model = "other".to_owned();
    check(
        script.hear(Incoming::Assign(other)),
        expect!["decline lse_1 (this Island does not offer that model)"],
    );
    script.hear(Incoming::Assign(assignment(2, 0, 2)));
    let reason = "the prompt is empty".to_owned();
    check(
        script.take(Input::RunRefused {
            run: RunId(0),
            reason,
        }),
        expect!["decline lse_2 (the prompt is empty)"],
    );
    script.run(3, 1);
    check(
        script.hear(Incoming::Assign(assignment(4, 0, 4))),
        expect!["decline lse_4 (all 1 slots are taken)"],
    );
    script.take(Input::DrainRequested);
    check(
        script.hear(Incoming::Assign(assignment(5, 0, 5))),
        expect!["decline lse_5 (this Island is draining)"],
    );
}

#[test]
fn a_revoked_job_says_no_more_and_frees_its_slot_when_the_runner_lets_go() {
    let mut script = Script::quoting(settings(1));
    script.run(1, 0);
    script.tokens(0, 0, 3);
    check(script.hear(revoke(1, 0)), expect!["cancel 0"]);
    check(script.hear(revoke(1, 0)), expect![""]);
    check(script.tokens(0, 3, 5), expect![""]);
    assert_eq!(script.agent.status().running, 1);
    check(
        script.end(0, Some(FinishReason::Length)),
        expect!["finished lse_1 3 Cancelled; free lse_1"],
    );
    assert_eq!(script.agent.status().running, 0);
}

#[test]
fn a_revoke_of_nothing_frees_nothing_twice_and_an_old_one_is_stale() {
    let mut script = Script::quoting(settings(1));
    check(script.hear(revoke(7, 0)), expect!["free lse_7"]);
    script.hear(Incoming::Assign(assignment(1, 3, 1)));
    script.take(Input::RunStarted { run: RunId(0) });
    check(
        script.hear(revoke(1, 2)),
        expect!["ignore (the revoke of lse_1 is for an earlier attempt)"],
    );
    check(script.tokens(0, 0, 1), expect!["output lse_1 0+1"]);
}

#[test]
fn a_runner_that_dies_or_lies_ends_as_an_error_with_an_honest_receipt() {
    let mut script = Script::quoting(settings(3));
    script.run(1, 0);
    script.tokens(0, 0, 2);
    check(
        script.end(0, None),
        expect![[r#"finished lse_1 2 Failed { message: "the runner died" }"#]],
    );
    script.run(2, 1);
    check(script.tokens(1, 5, 1), expect!["cancel 1"]);
    check(
        script.end(1, Some(FinishReason::Stop)),
        expect![[r#"finished lse_2 0 Failed { message: "the runner emitted position 5 out of turn" }"#]],
    );
    script.run(3, 2);
    check(script.tokens(2, 0, 101), expect!["cancel 2"]);
}

#[test]
fn positions_of_a_resumed_job_start_behind_what_was_emitted() {
    let mut script = Script::quoting(settings(1));
    let mut resumed = assignment(1, 1, 1);
    resumed.emitted_ids = vec![7; 5];
    script.hear(Incoming::Assign(resumed));
    script.take(Input::RunStarted { run: RunId(0) });
    check(script.tokens(0, 5, 2), expect!["output lse_1 0+2"]);
    let effects = script.end(0, Some(FinishReason::Length));
    let body = final_receipt(&effects);
    assert_eq!(body.prompt_tokens.get(), 8);
    assert_eq!(body.prompt, Digest::of_tokens(&[1, 2, 3, 7, 7, 7, 7, 7]));
}

#[test]
fn a_countersignature_under_another_receipt_earns_nothing() {
    let mut script = Script::quoting(settings(1));
    script.run(1, 0);
    script.tokens(0, 0, 2);
    let effects = script.end(0, Some(FinishReason::Stop));
    let mut body = final_receipt(&effects);
    body.price = Price::MIN;
    let verdict = Verdict::Countersigned {
        body,
        signatures: Box::new(Signatures {
            island: String::new(),
            exchange: String::new(),
        }),
        earned: Credits::from_nano(5),
    };
    let lease = LeaseId::new(1);
    let effects = script.hear(Incoming::ReceiptReport { lease, verdict });
    let is_untrusted = |effect: &Effect| matches!(effect, Effect::Record(earning) if matches!(earning.verdict, Some(Verdict::Untrusted { .. })));
    assert!(effects.iter().any(is_untrusted), "{effects:?}");
    assert_eq!(script.agent.status().earned_nano, 0);
    // Its second report, and one for a lease that never was, change nothing.
    for lease in [1, 99].map(LeaseId::new) {
        let verdict = Verdict::Refused { code: String::new() };
        check(
            script.hear(Incoming::ReceiptReport { lease, verdict }),
            expect!["ignore (it reports on a receipt that nobody waits for)"],
        );
    }
}
