//! A lease's way and its deadlines.

use domain::TokenCount;
use expect_test::expect;

use crate::scenario::{FACTS, check, check_job};

#[test]
fn a_job_is_handed_over_streamed_signed_for_and_closed() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 7 8; 1 sign 2; 1 out 2: 9; 1 done stop 3; closed 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [7, 8]
            0: receipt 1 holds
            0: checkpoint 1: 2
            0: deliver [9]
            0: slot of 1 is free
            0: receipt 1 holds
            0: close 1 Stopped: prompt 8 output 3 units 5 reread 0
            0: ended Stopped with 3 tokens, 0 failovers
        "#]],
    );
}

#[test]
fn an_answer_as_long_as_allowed_ends_by_length() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2 3 4; 1 done length 4; closed 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2, 3, 4]
            0: slot of 1 is free
            0: receipt 1 holds
            0: close 1 Length: prompt 8 output 4 units 6 reread 0
            0: ended Length with 4 tokens, 0 failovers
        "#]],
    );
}

#[test]
fn an_answer_of_nothing_is_an_answer() {
    check(
        "join A; 1 to A; 1 ack; 1 done stop 0; closed 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: slot of 1 is free
            0: receipt 1 holds
            0: close 1 Stopped: prompt 8 output 0 units 2 reread 0
            0: ended Stopped with 0 tokens, 0 failovers
        "#]],
    );
}

#[test]
fn an_island_that_does_not_acknowledge_within_a_second_has_failed() {
    check(
        "join A; 1 to A; wait 999; wait 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            1000: revoke 1 from A: Failed(NotAcknowledged)
            1000: tell: NotAcknowledged after 0
            1000: fail over 1: output 0 units 0 left 6 until 3000
        "#]],
    );
}

#[test]
fn an_island_that_declines_has_its_slot_back_and_the_job_goes_on() {
    check(
        "join A; 1 to A; 1 decline; 1 decline",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: slot of 1 is free
            0: tell: Refused after 0
            0: fail over 1: output 0 units 0 left 6 until 2000
        "#]],
    );
}

#[test]
fn the_first_token_comes_within_five_seconds() {
    check(
        "join A; 1 to A; 1 ack; wait 2500; hear A; wait 2499; hear A; wait 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            5000: revoke 1 from A: Failed(NoFirstToken)
            5000: tell: NoFirstToken after 0
            5000: fail over 1: output 0 units 0 left 6 until 7000
        "#]],
    );
}

#[test]
fn a_pause_of_three_seconds_is_a_stall_and_every_token_starts_it_anew() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1; wait 2900; hear A; 1 out 1: 2; wait 2900; hear A; wait 99; wait 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1]
            2900: deliver [2]
            5900: revoke 1 from A: Failed(Stalled)
            5900: tell: Stalled after 2
            5900: fail over 1: output 0 units 0 left 4 until 7900
        "#]],
    );
}

#[test]
fn an_empty_output_does_not_hide_a_stall() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1; wait 2000; hear A; 1 out 1:; wait 1000",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1]
            3000: revoke 1 from A: Failed(Stalled)
            3000: tell: Stalled after 1
            3000: fail over 1: output 0 units 0 left 5 until 5000
        "#]],
    );
}

#[test]
fn the_whole_takes_at_most_twice_its_expected_time_and_ten_seconds() {
    // 8 ms to read and 80 to write: 10,176 ms in all.
    let mut facts = FACTS;
    facts.max_tokens = TokenCount::new(8);
    check_job(
        facts,
        "join A; 1 to A; 1 ack; 1 out 0: 1; wait 2800; hear A; 1 out 1: 2; wait 2800; hear A; 1 out 2: 3;
         wait 2800; hear A; 1 out 3: 4; wait 1775; wait 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 8
            0: deliver [1]
            2800: deliver [2]
            5600: deliver [3]
            8400: deliver [4]
            10176: revoke 1 from A: Failed(Overran)
            10176: tell: Overran after 4
            10176: fail over 1: output 0 units 0 left 6 until 12176
        "#]],
    );
}

#[test]
fn a_session_that_is_silent_for_three_seconds_is_lost_with_its_leases() {
    check(
        "join A; join B; 1 to A; 1 ack; wait 2000; hear B; wait 1000; hear A; 1 out 0: 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            3000: tell: SessionLost after 0
            3000: fail over 1: output 0 units 0 left 6 until 5000
            3000: end session A
        "#]],
    );
}

#[test]
fn a_lost_session_gives_no_slot_back_for_the_engine_voids_it() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2; 1 sign 1; lose A; lose A",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2]
            0: receipt 1 holds
            0: checkpoint 1: 1
            0: tell: SessionLost after 2
            0: fail over 1: output 1 units 1 left 4 until 2000
        "#]],
    );
}

#[test]
fn a_lease_of_a_session_that_is_gone_fails_at_once() {
    check(
        "1 to A",
        expect![[r#"
            0: tell: SessionLost after 0
            0: fail over 1: output 0 units 0 left 6 until 2000
        "#]],
    );
}

#[test]
fn messages_of_another_epoch_session_or_lease_change_nothing() {
    check(
        "join A; join B; 1 to A; @1 1 ack; B: 1 ack; 9 ack; wait 10; 1 ack; 1 ack;
         @1 1 out 0: 7; B: 1 out 0: 7; @1 1 sign 0!; B: 1 done stop 0; B: 1 free; B: 1 decline; 9 out 0: 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
        "#]],
    );
}

#[test]
fn output_before_the_acknowledgement_is_misbehaviour() {
    check(
        "join A; 1 to A; 1 out 0: 7",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: audit 1: OutOfOrder
            0: revoke 1 from A: Failed(Misbehaved)
            0: tell: Misbehaved after 0
            0: fail over 1: output 0 units 0 left 6 until 2000
        "#]],
    );
}

#[test]
fn a_gap_and_an_overlap_are_misbehaviour_and_what_was_signed_is_paid() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 7 8; 1 sign 2; 1 out 3: 9",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [7, 8]
            0: receipt 1 holds
            0: checkpoint 1: 2
            0: audit 1: OutOfOrder
            0: revoke 1 from A: Failed(Misbehaved)
            0: tell: Misbehaved after 2
            0: fail over 1: output 2 units 2 left 4 until 2000
        "#]],
    );
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 7 8; 1 out 1: 8 9",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [7, 8]
            0: audit 1: OutOfOrder
            0: revoke 1 from A: Failed(Misbehaved)
            0: tell: Misbehaved after 2
            0: fail over 1: output 0 units 0 left 4 until 2000
        "#]],
    );
}

#[test]
fn more_output_than_was_asked_for_is_misbehaviour() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2 3 4 5",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: audit 1: TooMuchOutput
            0: revoke 1 from A: Failed(Misbehaved)
            0: tell: Misbehaved after 0
            0: fail over 1: output 0 units 0 left 6 until 2000
        "#]],
    );
}

#[test]
fn a_limit_that_was_not_reached_does_not_look_like_an_end() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2; 1 done length 2",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2]
            0: slot of 1 is free
            0: receipt 1 holds
            0: audit 1: FalseLength
            0: tell: Misbehaved after 2
            0: fail over 1: output 2 units 2 left 4 until 2000
        "#]],
    );
}

#[test]
fn an_island_that_finishes_without_having_been_told_to_has_refused() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2; 1 done cancelled 2",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2]
            0: slot of 1 is free
            0: receipt 1 holds
            0: tell: Refused after 2
            0: fail over 1: output 2 units 2 left 4 until 2000
        "#]],
    );
    check(
        "join A; 1 to A; 1 done error -",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: slot of 1 is free
            0: tell: Refused after 0
            0: fail over 1: output 0 units 0 left 6 until 2000
        "#]],
    );
    check(
        "join A; 1 to A; 1 done stop 0",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: slot of 1 is free
            0: audit 1: OutOfOrder
            0: tell: Misbehaved after 0
            0: fail over 1: output 0 units 0 left 6 until 2000
        "#]],
    );
}

#[test]
fn a_whole_answer_whose_island_then_vanishes_is_whole() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2 3 4; 1 sign 3; lose A; closed 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2, 3, 4]
            0: receipt 1 holds
            0: checkpoint 1: 3
            0: close 1 Length: prompt 0 output 3 units 3 reread 0
            0: ended Length with 4 tokens, 0 failovers
        "#]],
    );
}

#[test]
fn a_revoked_slot_comes_back_when_the_island_says_so_or_after_ten_seconds() {
    check(
        "join A; 1 to A; wait 1000; 1 free; 1 free",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            1000: revoke 1 from A: Failed(NotAcknowledged)
            1000: tell: NotAcknowledged after 0
            1000: fail over 1: output 0 units 0 left 6 until 3000
            1000: slot of 1 is free
        "#]],
    );
    check(
        "join A; 1 to A; wait 1000; rebid 1; 1 done error -; 1 done error -",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            1000: revoke 1 from A: Failed(NotAcknowledged)
            1000: tell: NotAcknowledged after 0
            1000: fail over 1: output 0 units 0 left 6 until 3000
            1000: slot of 1 is free
        "#]],
    );
    check(
        "join A; 1 to A; wait 2500; hear A; wait 2500; hear A; wait 2500; hear A; wait 2500; hear A; wait 1000",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            1000: revoke 1 from A: Failed(NotAcknowledged)
            1000: tell: NotAcknowledged after 0
            1000: fail over 1: output 0 units 0 left 6 until 3000
            11000: slot of 1 is free
        "#]],
    );
}

#[test]
fn a_slot_is_not_free_while_its_island_is_to_work() {
    check(
        "join A; 1 to A; 1 ack; 1 free",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
        "#]],
    );
}

#[test]
fn a_lease_that_is_granted_twice_is_assigned_once() {
    check(
        "join A; 1 to A; 1 to A",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
        "#]],
    );
}

#[test]
fn a_lease_with_no_room_for_output_ends_without_the_island() {
    let mut facts = FACTS;
    facts.max_tokens = TokenCount::ZERO;
    check_job(
        facts,
        "join A; 1 to A; closed 1",
        expect![[r#"
            0: slot of 1 is free
            0: close 1 Length: prompt 0 output 0 units 0 reread 0
            0: ended Length with 0 tokens, 0 failovers
        "#]],
    );
}
