//! Receipts and what they are worth.

use expect_test::expect;

use crate::scenario::check;

#[test]
fn a_lower_claim_that_matches_is_what_is_paid() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2 3; 1 done stop 2; closed 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2, 3]
            0: slot of 1 is free
            0: receipt 1 holds
            0: close 1 Stopped: prompt 8 output 2 units 4 reread 0
            0: ended Stopped with 3 tokens, 0 failovers
        "#]],
    );
}

#[test]
fn a_final_claim_below_the_last_checkpoint_is_what_is_paid() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2 3; 1 sign 3; 1 done stop 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2, 3]
            0: receipt 1 holds
            0: checkpoint 1: 3
            0: slot of 1 is free
            0: receipt 1 holds
            0: close 1 Stopped: prompt 8 output 1 units 3 reread 0
        "#]],
    );
}

#[test]
fn a_higher_claim_after_a_cancel_is_settled_at_the_exchanges_count() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2; cancel; 1 out 2: 3; 1 done cancelled 3; closed 1",
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
fn a_claim_of_tokens_that_never_arrived_is_refused_and_paid_nothing() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2; 1 sign 2; 1 done stop 3; closed 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2]
            0: receipt 1 holds
            0: checkpoint 1: 2
            0: slot of 1 is free
            0: receipt 1 refused: RECEIPT_CLAIMS_MORE
            0: audit 1: BadReceipt(MoreThanReceived)
            0: close 1 Stopped: prompt 0 output 0 units 0 reread 0
            0: ended Stopped with 2 tokens, 0 failovers
        "#]],
    );
}

#[test]
fn a_final_chain_that_does_not_match_is_refused_and_paid_nothing() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2; 1 sign 2; 1 done stop 2!; closed 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2]
            0: receipt 1 holds
            0: checkpoint 1: 2
            0: slot of 1 is free
            0: receipt 1 refused: RECEIPT_CHAIN_MISMATCH
            0: audit 1: BadReceipt(ChainMismatch)
            0: close 1 Stopped: prompt 0 output 0 units 0 reread 0
            0: ended Stopped with 2 tokens, 0 failovers
        "#]],
    );
}

#[test]
fn a_signature_that_does_not_verify_is_refused_and_paid_nothing() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2; 1 done stop 2?; closed 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2]
            0: slot of 1 is free
            0: receipt 1 refused: RECEIPT_UNSOUND
            0: audit 1: BadReceipt(Unsound)
            0: close 1 Stopped: prompt 0 output 0 units 0 reread 0
            0: ended Stopped with 2 tokens, 0 failovers
        "#]],
    );
}

#[test]
fn a_bad_checkpoint_ends_the_lease_and_voids_the_good_ones_before_it() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2; 1 sign 1; 1 sign 2!",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2]
            0: receipt 1 holds
            0: checkpoint 1: 1
            0: receipt 1 refused: RECEIPT_CHAIN_MISMATCH
            0: audit 1: BadReceipt(ChainMismatch)
            0: revoke 1 from A: Failed(BadReceipt)
            0: tell: BadReceipt after 2
            0: fail over 1: output 0 units 0 left 4 until 2000
        "#]],
    );
}

#[test]
fn a_checkpoint_that_was_overtaken_or_repeated_changes_nothing() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2; 1 sign 2; 1 sign 2; 1 sign 1; 1 sign 0",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2]
            0: receipt 1 holds
            0: checkpoint 1: 2
        "#]],
    );
}

#[test]
fn an_end_without_a_receipt_settles_at_the_last_checkpoint() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2 3; 1 sign 2; 1 done stop -; closed 1",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2, 3]
            0: receipt 1 holds
            0: checkpoint 1: 2
            0: slot of 1 is free
            0: close 1 Stopped: prompt 0 output 2 units 2 reread 0
            0: ended Stopped with 3 tokens, 0 failovers
        "#]],
    );
}

#[test]
fn a_failure_with_a_bad_receipt_is_paid_nothing() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2 3; 1 sign 2; 1 done error 3!",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2, 3]
            0: receipt 1 holds
            0: checkpoint 1: 2
            0: slot of 1 is free
            0: receipt 1 refused: RECEIPT_CHAIN_MISMATCH
            0: audit 1: BadReceipt(ChainMismatch)
            0: tell: BadReceipt after 3
            0: fail over 1: output 0 units 0 left 3 until 2000
        "#]],
    );
}

#[test]
fn an_island_that_gives_up_is_paid_for_what_it_signs_for_in_the_end() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1 2 3; 1 done error 3",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1, 2, 3]
            0: slot of 1 is free
            0: receipt 1 holds
            0: tell: Refused after 3
            0: fail over 1: output 3 units 3 left 3 until 2000
        "#]],
    );
}

#[test]
fn a_receipt_that_comes_after_the_settlement_is_refused() {
    check(
        "join A; 1 to A; 1 ack; 1 out 0: 1; 1 sign 1; wait 2900; hear A; wait 100; 1 out 1: 2; 1 sign 2; 1 done stop 2",
        expect![[r#"
            0: assign 1 to A epoch 0 after [] max 4
            0: deliver [1]
            0: receipt 1 holds
            0: checkpoint 1: 1
            3000: revoke 1 from A: Failed(Stalled)
            3000: tell: Stalled after 1
            3000: fail over 1: output 1 units 1 left 5 until 5000
            3000: slot of 1 is free
            3000: receipt 1 refused: RECEIPT_TOO_LATE
        "#]],
    );
}
