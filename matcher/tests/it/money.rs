//! Buying power and bills.

use expect_test::expect;

use crate::scenario::check;

#[test]
fn a_bid_reserves_limit_times_units_times_jobs_and_the_fee() {
    check(
        "island i eu desktop B
         ask a i 1@10
         ---
         bid b alice 3@7 units=1500",
        expect![[r#"
            b accepted 3@7 reserves 32130
            class 0 created
              class 0 bid 7: 3
        "#]],
    );
}

#[test]
fn the_reservation_stays_until_the_outcome() {
    check(
        "island i eu desktop B
         ask a i 2@10
         bid b alice 2@20
         ---
         close 1 400
         close 2 0",
        expect![[r#"
            lease 1 of b#0 stopped: pays 4080 earns 4000 fee 80 released 16320
            lease 2 of b#1 stopped: pays 0 earns 0 fee 0 released 20400
        "#]],
    );
}

#[test]
fn a_maker_bid_pays_no_fee() {
    check(
        "island i eu desktop B
         ask far i 1@50
         bid b alice 1@20
         ask a i 1@10
         ---
         close 1 400",
        expect![[r#"
            lease 1 of b#0 stopped: pays 8000 earns 7840 fee 160 released 12400
        "#]],
    );
}

#[test]
fn a_charge_is_rounded_up_and_a_fee_down() {
    check(
        "island i eu desktop B
         ask a i 1@1
         bid b alice 1@1 units=70
         ---
         close 1 49",
        expect![[r#"
            lease 1 of b#0 stopped: pays 49 earns 49 fee 0 released 22
        "#]],
    );
}

#[test]
fn the_pool_pays_for_reading_again() {
    check(
        "island i eu desktop B
         ask a i 1@10
         bid b alice 1@10
         ---
         close 1 100 reread=333",
        expect![[r#"
            lease 1 of b#0 stopped: pays 1020 earns 1000 fee 20 released 9180 pool 3330
        "#]],
    );
}

#[test]
fn nobody_spends_more_than_was_funded() {
    check(
        "island i eu desktop B
         ask a i 9@10
         ---
         bid b poor 1@10 unfunded=1
         fund poor 10200 1
         bid c poor 1@10 unfunded=1
         bid d poor 1@1 unfunded=1
         close 1 0
         bid e poor 1@10 unfunded=1",
        expect![[r#"
            refused INSUFFICIENT_BUYING_POWER, short of 10200
            poor +10200, has 10200
            c accepted 1@10 reserves 10200
            a-c 1@10 bid takes, left 8-0, lease 1 epoch 0 from c#0
              eu/desktop/B ask 10: 8
            refused INSUFFICIENT_BUYING_POWER, short of 1020
            lease 1 of c#0 stopped: pays 0 earns 0 fee 0 released 10200
            e accepted 1@10 reserves 10200
            a-e 1@10 bid takes, left 7-0, lease 2 epoch 0 from e#0
              eu/desktop/B ask 10: 7
        "#]],
    );
}

#[test]
fn a_transfer_counts_once() {
    check(
        "fund poor 100 7
         fund poor 100 7
         fund poor 100 8
         defund poor 50 9
         defund poor 50 9
         defund poor 200 10
         fund poor 0 11
         fund poor -5 12
         defund poor 0 13
         fund poor 9223372036854775807 14",
        expect![[r#"
            poor +100, has 100
            poor +100, has 200
            poor -50, has 150
            refused INSUFFICIENT_BUYING_POWER, short of 50
            refused INVALID_AMOUNT
            refused INVALID_AMOUNT
            refused INVALID_AMOUNT
            refused INVALID_AMOUNT
        "#]],
    );
}

#[test]
fn an_ended_bid_frees_what_was_left() {
    check(
        "island i eu desktop B
         ask a i 1@10
         bid b alice 3@10
         fund alice 1 5
         ---
         cancel b
         fund alice 1 6",
        expect![[r#"
            b ended 2 cancelled
              class 0 bid 10: 0
            alice +1, has 999989802
        "#]],
    );
}

#[test]
fn an_amended_bid_frees_what_it_gave_up() {
    check(
        "island i eu desktop B
         ask a i 1@50
         bid b alice 3@10
         fund alice 1 5
         ---
         amend b 1
         fund alice 1 6",
        expect![[r#"
            b has 1 left
              class 0 bid 10: 1
            alice +1, has 999989802
        "#]],
    );
}

#[test]
fn a_reservation_beyond_the_range_is_refused() {
    check(
        "island i eu desktop B
         ask a i 1@50
         ---
         bid b alice 1000000@1000000 units=1000000000",
        expect![[r#"
            refused OVERFLOW
        "#]],
    );
}
