//! Sessions: opened, kept, lost, ended.

use std::time::Duration;

use domain::IslandId;
use expect_test::expect;
use island_agent::effect::{Beat, Effect, Incoming, Input, Notice, Outgoing, Pay, Remedy, RunId};
use island_agent::status::Phase;
use runner::FinishReason;

use super::scenario::{Script, assignment, check, revoke, settings, show};

#[test]
fn a_lost_session_cancels_its_jobs_and_comes_back_after_a_pause() {
    let mut script = Script::quoting(settings(1));
    script.run(1, 0);
    script.tokens(0, 0, 3);
    check(script.lose(), expect!["cancel 0"]);
    assert_eq!(script.agent.status().phase, Phase::BackingOff);
    // Its slot is free at once, and nobody is told what it still emits.
    assert_eq!(script.agent.status().running, 0);
    check(script.tokens(0, 3, 1), expect![""]);
    check(script.end(0, Some(FinishReason::Cancelled)), expect![""]);
    script.now = script.agent.poll_timeout().unwrap();
    check(script.wake(), expect!["connect"]);
}

#[test]
fn a_job_of_the_next_session_waits_until_the_lost_ones_have_left_the_machine() {
    let mut script = Script::quoting(settings(2));
    script.run(1, 0);
    script.run(2, 1);
    check(script.lose(), expect!["cancel 0; cancel 1"]);
    script.open(10);
    let mut canary = assignment(7, 0, 7);
    canary.pay = Pay::Canary;
    check(script.hear(Incoming::Assign(canary.clone())), expect![""]);
    check(
        script.hear(Incoming::Assign(canary)),
        expect!["ignore (lse_7 was assigned before and runs)"],
    );
    check(script.hear(Incoming::Assign(assignment(8, 0, 8))), expect![""]);
    assert_eq!(script.agent.status().running, 2);
    // Two slots are two jobs, whatever an earlier session left behind.
    check(
        script.hear(Incoming::Assign(assignment(9, 0, 9))),
        expect!["decline lse_9 (all 2 slots are taken)"],
    );
    check(script.end(1, Some(FinishReason::Cancelled)), expect!["start 2"]);
    check(
        script.take(Input::RunStarted { run: RunId(2) }),
        expect!["acknowledge lse_7"],
    );
    // A runner that dies leaves the machine too.
    check(script.end(0, None), expect!["start 3"]);
    check(
        script.end(2, Some(FinishReason::Length)),
        expect!["finished lse_7 0 Length"],
    );
}

#[test]
fn a_job_that_still_waits_is_revoked_lost_or_declined_without_ever_running() {
    let waiting = || {
        let mut script = Script::quoting(settings(1));
        script.run(1, 0);
        script.lose();
        script.open(10);
        check(script.hear(Incoming::Assign(assignment(2, 0, 2))), expect![""]);
        script
    };
    let mut script = waiting();
    check(script.hear(revoke(2, 0)), expect!["free lse_2"]);
    assert_eq!(script.agent.status().running, 0);
    check(script.end(0, None), expect![""]);
    let mut script = waiting();
    check(script.lose(), expect![""]);
    check(script.end(0, None), expect![""]);
    let mut script = waiting();
    script.take(Input::DrainRequested);
    let mut said = Vec::new();
    while said.is_empty() {
        script.now = script.agent.poll_timeout().unwrap();
        said = script.hear(Incoming::Heartbeat {
            nonce: 1,
            kind: Beat::Echo,
        });
        said.retain(|effect| matches!(effect, Effect::Send(Outgoing::Decline { .. })));
    }
    check(said, expect!["decline lse_2 (this Island is draining)"]);
}

#[test]
fn a_silent_exchange_counts_as_lost_once_three_heartbeats_went_unanswered() {
    let mut script = Script::quoting(settings(1));
    for beat in 1..4 {
        script.after(Duration::from_secs(3));
        assert_eq!(show(&script.wake()), format!("beat {beat}"));
    }
    script.after(Duration::from_secs(3));
    check(script.wake(), expect!["close"]);
    assert_eq!(script.agent.status().phase, Phase::BackingOff);
}

#[test]
fn an_agent_that_was_held_up_listens_before_it_takes_the_exchange_for_gone() {
    let mut script = Script::quoting(settings(1));
    let held_up = |effects: &[Effect]| {
        effects.iter().find_map(|effect| {
            let Effect::Tell(Notice::BeatLate { late }) = effect else {
                return None;
            };
            Some(*late)
        })
    };
    script.after(Duration::from_secs(3));
    assert_eq!(held_up(&script.wake()), None);
    script.after(Duration::from_secs(60));
    let effects = script.wake();
    assert_eq!(held_up(&effects), Some(Duration::from_secs(57)));
    check(effects, expect!["beat 2"]);
    let echo = Incoming::Heartbeat {
        nonce: 2,
        kind: Beat::Echo,
    };
    check(script.hear(echo), expect![""]);
    for beat in 3..6 {
        script.after(Duration::from_secs(3));
        assert_eq!(show(&script.wake()), format!("beat {beat}"));
    }
}

#[test]
fn a_call_is_echoed_and_an_echo_is_not() {
    let mut script = Script::quoting(settings(1));
    let beat = |nonce, kind| Incoming::Heartbeat { nonce, kind };
    check(
        script.hear(beat(u64::MAX, Beat::Call)),
        expect!["echo 18446744073709551615"],
    );
    check(script.hear(beat(1, Beat::Echo)), expect![""]);
}

#[test]
fn a_goodbye_says_when_to_come_back_or_never() {
    let mut script = Script::quoting(settings(1));
    let goodbye = |retry_after| Incoming::Goodbye {
        reason: "maintenance".to_owned(),
        retry_after,
    };
    check(
        script.hear(goodbye(Some(Duration::from_secs(60)))),
        expect!["close"],
    );
    let wait = script.agent.poll_timeout().unwrap().since(script.now);
    assert!(
        wait >= Duration::from_secs(60) && wait <= Duration::from_millis(60_500),
        "{wait:?}"
    );
    let mut script = Script::quoting(settings(1));
    check(
        script.hear(goodbye(None)),
        expect!["close in order; stop (maintenance)"],
    );
    assert_eq!(script.agent.poll_timeout(), None);
}

#[test]
fn a_handshake_that_stalls_or_goes_wrong_is_given_up() {
    let begin = || {
        let mut script = Script::new(settings(1));
        script.wake();
        let island = IslandId::new(1);
        script.take(Input::Enrolled { island });
        script
    };
    let mut script = begin();
    script.after(Duration::from_secs(10));
    check(script.wake(), expect!["close"]);
    let mut script = begin();
    script.hear(Incoming::Challenge { nonce: [1; 32] });
    check(
        script.hear(Incoming::Challenge { nonce: [2; 32] }),
        expect!["close"],
    );
    let mut script = begin();
    let problem = "challenge.nonce: must be 32 bytes".to_owned();
    let malformed = Incoming::Malformed {
        problem,
        assign: None,
    };
    check(script.hear(malformed), expect!["close"]);
    let mut script = begin();
    check(
        script.hear(Incoming::Assign(assignment(1, 0, 1))),
        expect!["ignore (it came before the session was open)"],
    );
}

#[test]
fn only_the_owner_can_mend_a_wrong_key_until_it_was_once_right() {
    let refused = || Input::ConnectFailed {
        reason: "Unauthenticated".to_owned(),
        remedy: Remedy::Owner,
    };
    let mut script = Script::new(settings(1));
    script.wake();
    check(script.take(refused()), expect!["stop (Unauthenticated)"]);
    let mut script = Script::quoting(settings(1));
    let reason = "gone".to_owned();
    script.take(Input::SessionEnded { reason });
    script.now = script.agent.poll_timeout().unwrap();
    script.wake();
    check(script.take(refused()), expect![""]);
    assert_eq!(script.agent.status().phase, Phase::BackingOff);
}

#[test]
fn an_agent_that_was_given_no_tier_says_why_and_is_measured_again() {
    let mut script = Script::new(settings(1));
    script.open(9);
    let slow = || Incoming::TierAssigned {
        model: "m".to_owned(),
        tier: None,
        decode_per_second: 1.0,
        reason: "too slow".to_owned(),
    };
    script.hear(slow());
    assert_eq!(
        script.agent.status().models[0].no_tier.as_deref(),
        Some("too slow")
    );
    let mut effects = Vec::new();
    while effects.is_empty() {
        script.now = script.agent.poll_timeout().unwrap();
        script.hear(Incoming::Heartbeat {
            nonce: 1,
            kind: Beat::Echo,
        });
        effects = script.wake();
    }
    check(effects, expect!["close"]);
    script.open(10);
    assert_eq!(script.agent.status().models[0].no_tier, None);
    // A drain that waits for nothing is over before that.
    script.hear(slow());
    check(
        script.take(Input::DrainRequested),
        expect!["drain; close in order; stop"],
    );
}
