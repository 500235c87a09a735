//! Cancels and stop strings.

use expect_test::expect;

use crate::scenario::check;

#[test]
fn a_cancel_before_the_acknowledgement_is_free() {
    check(
        "join A; 1 to A; cancel; closed 1; 1 ack; 1 done cancelled 0",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: revoke 1 from A: Cancelled
            0: close 1 Cancelled: prompt 0 output 0 units 0 reread 0
            0: ended Cancelled (CANCELLED) with 0 tokens, 0 failovers
            0: slot of 1 is free
            0: receipt 1 refused: RECEIPT_TOO_LATE
        "#]],
    );
}

#[test]
fn a_cancel_after_the_acknowledgement_costs_the_prompt_and_what_was_delivered() {
    check(
        "join A; 1 to A; 1 ack; cancel; 1 done cancelled 0; closed 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: revoke 1 from A: Cancelled
            0: slot of 1 is free
            0: receipt 1 holds
            0: close 1 Cancelled: prompt 8 output 0 units 2 reread 0
            0: ended Cancelled (CANCELLED) with 0 tokens, 0 failovers
        "#]],
    );
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2; leave; 1 done cancelled 2; closed 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2]
            0: revoke 1 from A: Cancelled
            0: slot of 1 is free
            0: receipt 1 holds
            0: close 1 Cancelled: prompt 8 output 2 units 4 reread 0
            0: ended Cancelled (CANCELLED) with 2 tokens, 0 failovers
        "#]],
    );
}

#[test]
fn a_reader_who_stalls_is_told_why_his_job_ended() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1; unread; 1 done cancelled 1; closed 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1]
            0: revoke 1 from A: Cancelled
            0: slot of 1 is free
            0: receipt 1 holds
            0: close 1 Cancelled: prompt 8 output 1 units 3 reread 0
            0: ended Cancelled (CONSUMER_NOT_READING) with 1 tokens, 0 failovers
        "#]],
    );
}

#[test]
fn a_cancel_that_the_island_does_not_answer_settles_what_it_had_signed_for() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2 3; 1 sign 2; cancel; wait 2900; hear A; wait 100; closed 1; 1 free",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2, 3]
            0: receipt 1 holds
            0: checkpoint 1: 2
            0: revoke 1 from A: Cancelled
            3000: close 1 Cancelled: prompt 8 output 2 units 4 reread 0
            3000: ended Cancelled (CANCELLED) with 3 tokens, 0 failovers
            3000: slot of 1 is free
        "#]],
    );
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2 3; cancel; lose A; closed 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2, 3]
            0: revoke 1 from A: Cancelled
            0: close 1 Cancelled: prompt 0 output 0 units 0 reread 0
            0: ended Cancelled (CANCELLED) with 3 tokens, 0 failovers
        "#]],
    );
}

#[test]
fn a_cancel_answered_with_a_bad_receipt_is_free() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2; 1 sign 1; cancel; 1 done cancelled 2!",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2]
            0: receipt 1 holds
            0: checkpoint 1: 1
            0: revoke 1 from A: Cancelled
            0: slot of 1 is free
            0: receipt 1 refused: RECEIPT_CHAIN_MISMATCH
            0: audit 1: BadReceipt(ChainMismatch)
            0: close 1 Cancelled: prompt 0 output 0 units 0 reread 0
        "#]],
    );
}

#[test]
fn a_checkpoint_on_its_way_at_the_cancel_counts_up_to_the_cancel() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2; cancel; 1 out 2: 3; 1 sign 3; lose A; closed 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2]
            0: revoke 1 from A: Cancelled
            0: receipt 1 holds
            0: close 1 Cancelled: prompt 8 output 2 units 4 reread 0
            0: ended Cancelled (CANCELLED) with 2 tokens, 0 failovers
        "#]],
    );
}

#[test]
fn a_stop_string_ends_the_job_where_it_began_and_bills_no_more() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2 3; stop 2; 1 done cancelled 3; closed 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2, 3]
            0: revoke 1 from A: Stopped
            0: slot of 1 is free
            0: receipt 1 holds
            0: close 1 Stopped: prompt 8 output 2 units 4 reread 0
            0: ended Stopped with 2 tokens, 0 failovers
        "#]],
    );
}

#[test]
fn a_stop_beyond_what_was_emitted_bills_what_was_emitted() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2; stop 9; 1 done cancelled 2; closed 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2]
            0: revoke 1 from A: Stopped
            0: slot of 1 is free
            0: receipt 1 holds
            0: close 1 Stopped: prompt 8 output 2 units 4 reread 0
            0: ended Stopped with 2 tokens, 0 failovers
        "#]],
    );
}

#[test]
fn the_first_wish_counts() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2; stop 1; cancel; stop 2; 1 done cancelled 2; cancel; closed 1; cancel; stop 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2]
            0: revoke 1 from A: Stopped
            0: slot of 1 is free
            0: receipt 1 holds
            0: close 1 Stopped: prompt 8 output 1 units 3 reread 0
            0: ended Stopped with 1 tokens, 0 failovers
        "#]],
    );
}

#[test]
fn a_cancel_while_the_rest_is_bid_for_takes_the_bid_back() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2; 1 sign 2; lose A; rebid 1; cancel; expired; expired",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2]
            0: receipt 1 holds
            0: checkpoint 1: 2
            0: tell: SessionLost after 2
            0: fail over 1: output 2 units 2 left 4 until 2000
            0: cancel the rebid
            0: ended Cancelled (CANCELLED) with 2 tokens, 1 failovers
        "#]],
    );
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2; 1 sign 2; lose A; cancel; rebid 1; expired",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2]
            0: receipt 1 holds
            0: checkpoint 1: 2
            0: tell: SessionLost after 2
            0: fail over 1: output 2 units 2 left 4 until 2000
            0: cancel the rebid
            0: ended Cancelled (CANCELLED) with 2 tokens, 1 failovers
        "#]],
    );
}

#[test]
fn a_cancel_that_crosses_the_next_islands_trade_keeps_the_job_from_it() {
    check(
        "join A; join B; 1 to A; 1 ack; 1 out 0: 1 2; lose A; rebid 1; cancel; 2 to B; closed 2",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2]
            0: tell: SessionLost after 2
            0: fail over 1: output 0 units 0 left 4 until 2000
            0: cancel the rebid
            0: slot of 2 is free
            0: close 2 Cancelled: prompt 0 output 0 units 0 reread 0
            0: ended Cancelled (CANCELLED) with 2 tokens, 1 failovers
        "#]],
    );
}

#[test]
fn a_stop_that_lies_before_the_next_islands_part_bills_that_island_nothing() {
    check(
        "join A; join B; 1 to A; 1 ack; 1 out 0: 1 2; 1 sign 2; lose A; rebid 1; 2 to B; stop 1; closed 2",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2]
            0: receipt 1 holds
            0: checkpoint 1: 2
            0: tell: SessionLost after 2
            0: fail over 1: output 2 units 2 left 4 until 2000
            0: assign 2 to B epoch 1 after [1, 2] max 2
            0: revoke 2 from B: Stopped
            0: close 2 Stopped: prompt 0 output 0 units 0 reread 0
            0: ended Stopped with 1 tokens, 1 failovers
        "#]],
    );
}
