//! The next Island.

use domain::{TimeInForce, Timestamp};
use expect_test::expect;

use crate::scenario::{FACTS, START, check};

#[test]
fn the_next_island_goes_on_where_the_last_one_stopped() {
    check(
        "join A; join B; 1 to A; 1 ack; 1 out 0: 1 2 3; 1 sign 2; lose A; rebid 1; 2 to B; 2 ack; 2 out 0: 4; 2 done length 1; closed 2",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2, 3]
            0: receipt 1 holds
            0: checkpoint 1: 2
            0: tell: SessionLost after 3
            0: fail over 1: output 2 units 2 left 3 until 2000
            0: assign 2 to B epoch 1 after [1, 2, 3] max 1
            0: deliver [4]
            0: slot of 2 is free
            0: receipt 2 holds
            0: close 2 Length: prompt 8 output 1 units 3 reread 1
            0: ended Length with 4 tokens, 1 failovers
        "#]],
    );
}

#[test]
fn a_job_that_failed_before_its_first_token_begins_anew() {
    check(
        "join A; join B; 1 to A; 1 ack; lose A; rebid 1; 2 to B; 2 ack; 2 out 0: 1; 2 done stop 1; closed 2",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: tell: SessionLost after 0
            0: fail over 1: output 0 units 0 left 6 until 2000
            0: assign 2 to B epoch 1 after [] max 4
            0: deliver [1]
            0: slot of 2 is free
            0: receipt 2 holds
            0: close 2 Stopped: prompt 8 output 1 units 3 reread 0
            0: ended Stopped with 1 tokens, 1 failovers
        "#]],
    );
}

#[test]
fn three_islands_are_all_that_may_fail() {
    check(
        "join A; join B; join C; 1 to A; 1 ack; 1 out 0: 1; 1 sign 1; lose A; rebid 1;
         2 to B; 2 ack; 2 out 0: 2; 2 sign 1; lose B; rebid 2; 3 to C; 3 ack; 3 out 0: 3; 3 sign 1; lose C; closed 3",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1]
            0: receipt 1 holds
            0: checkpoint 1: 1
            0: tell: SessionLost after 1
            0: fail over 1: output 1 units 1 left 5 until 2000
            0: assign 2 to B epoch 1 after [1] max 3
            0: deliver [2]
            0: receipt 2 holds
            0: checkpoint 2: 1
            0: tell: SessionLost after 2
            0: fail over 2: output 1 units 1 left 4 until 2000
            0: assign 3 to C epoch 2 after [1, 2] max 2
            0: deliver [3]
            0: receipt 3 holds
            0: checkpoint 3: 1
            0: close 3 Incomplete: prompt 0 output 1 units 1 reread 0
            0: ended Incomplete (FAILOVERS_EXHAUSTED) with 3 tokens, 2 failovers
        "#]],
    );
}

#[test]
fn three_islands_that_emit_nothing_leave_a_free_failure() {
    check(
        "join A; join B; join C; 1 to A; 1 ack; lose A; rebid 1; 2 to B; lose B; rebid 2; 3 to C; 3 ack; lose C; closed 3",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: tell: SessionLost after 0
            0: fail over 1: output 0 units 0 left 6 until 2000
            0: assign 2 to B epoch 1 after [] max 4
            0: tell: SessionLost after 0
            0: fail over 2: output 0 units 0 left 6 until 2000
            0: assign 3 to C epoch 2 after [] max 4
            0: close 3 Failed: prompt 0 output 0 units 0 reread 0
            0: ended Failed (FAILOVERS_EXHAUSTED) with 0 tokens, 2 failovers
        "#]],
    );
}

#[test]
fn a_rest_that_nobody_takes_is_explicitly_incomplete() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2 3; 1 sign 2; lose A; rebid 1; expired",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2, 3]
            0: receipt 1 holds
            0: checkpoint 1: 2
            0: tell: SessionLost after 3
            0: fail over 1: output 2 units 2 left 3 until 2000
            0: ended Incomplete (NO_ISLAND_LEFT) with 3 tokens, 1 failovers
        "#]],
    );
}

#[test]
fn a_whole_that_nobody_takes_has_failed_and_is_free() {
    check(
        "join A; 1 to A; 1 ack; lose A; rebid 1; expired",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: tell: SessionLost after 0
            0: fail over 1: output 0 units 0 left 6 until 2000
            0: ended Failed (NO_ISLAND_LEFT) with 0 tokens, 1 failovers
        "#]],
    );
}

#[test]
fn a_lease_with_room_for_less_than_the_job_is_kept_within_it() {
    check(
        "join A; 1 to A for 4; 1 ack; 1 out 0: 1; 1 sign 1; lose A",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 2
            0: deliver [1]
            0: receipt 1 holds
            0: checkpoint 1: 1
            0: tell: SessionLost after 1
            0: fail over 1: output 1 units 1 left 3 until 2000
        "#]],
    );
}

#[test]
fn the_end_of_a_bid_that_is_not_the_jobs_any_more_changes_nothing() {
    check(
        "join A; 1 to A; expired; 1 ack; expired; 1 out 0: 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1]
        "#]],
    );
}

#[test]
fn a_refused_failover_closes_the_lease_and_counts_as_none() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2; 1 sign 2; lose A; refused 1; closed 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2]
            0: receipt 1 holds
            0: checkpoint 1: 2
            0: tell: SessionLost after 2
            0: fail over 1: output 2 units 2 left 4 until 2000
            0: close 1 Incomplete: prompt 0 output 2 units 2 reread 0
            0: ended Incomplete (NO_ISLAND_LEFT) with 2 tokens, 0 failovers
        "#]],
    );
}

#[test]
fn a_lease_that_the_engine_will_not_close_ends_its_job_all_the_same() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1; 1 done stop 1; refused 1; refused 1; refused 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1]
            0: slot of 1 is free
            0: receipt 1 holds
            0: close 1 Stopped: prompt 8 output 1 units 3 reread 0
            0: close 1 Stopped: prompt 0 output 0 units 0 reread 0
            0: ended Stopped with 1 tokens, 0 failovers
        "#]],
    );
}

#[test]
fn a_lease_that_the_engine_ends_unasked_ends_its_job_explicitly() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1; closed 1; 1 done stop 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1]
            0: revoke 1 from A: Cancelled
            0: ended Incomplete (EXCHANGE_FAULT) with 1 tokens, 0 failovers
            0: slot of 1 is free
            0: receipt 1 refused: RECEIPT_TOO_LATE
        "#]],
    );
}

#[test]
fn the_failed_island_hears_no_more_and_its_late_answers_change_nothing() {
    check(
        "join A; join B; 1 to A; wait 1000; rebid 1; 2 to B; 1 ack; 1 out 0: 9; 1 done stop 1; 2 ack; 2 out 0: 1; 2 done stop 1; closed 2",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            1000: revoke 1 from A: Failed(NotAcknowledged)
            1000: tell: NotAcknowledged after 0
            1000: fail over 1: output 0 units 0 left 6 until 3000
            1000: assign 2 to B epoch 1 after [] max 4
            1000: slot of 1 is free
            1000: receipt 1 refused: RECEIPT_TOO_LATE
            1000: deliver [1]
            1000: slot of 2 is free
            1000: receipt 2 holds
            1000: close 2 Stopped: prompt 8 output 1 units 3 reread 0
            1000: ended Stopped with 1 tokens, 1 failovers
        "#]],
    );
}

#[test]
fn the_bid_for_the_rest_waits_two_seconds_or_as_long_as_the_consumer_would() {
    for (patience, line) in [
        (TimeInForce::Fok, "until 2000"),
        (TimeInForce::Gtc, "Gtc"),
        (TimeInForce::Gtd(START), "until 2000"),
        (
            TimeInForce::Gtd(Timestamp::from_micros(START.as_micros() + 60_000_000)),
            "until 60000",
        ),
    ] {
        let mut facts = FACTS;
        facts.patience = patience;
        let log = crate::scenario::run(facts, "join A; 1 to A; lose A");
        assert!(log.contains(&format!("left 6 {line}\n")), "{patience:?}: {log}");
    }
}
