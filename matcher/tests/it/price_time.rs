//! Price-time priority within a cell, and what keeps it.

use expect_test::expect;

use crate::scenario::check;

#[test]
fn an_earlier_order_at_a_price_trades_first() {
    check(
        "island i eu desktop B
         island j eu desktop B
         ask a i 3@10
         ask b j 2@10
         ---
         bid c alice 4@10",
        expect![[r#"
            c accepted 4@10 reserves 40800
            a-c 3@10 bid takes, left 0-1, leases 1-3 epoch 0 from c#0
            b-c 1@10 bid takes, left 1-0, lease 4 epoch 0 from c#3
              eu/desktop/B ask 10: 1
        "#]],
    );
}

#[test]
fn a_lower_ask_trades_before_an_earlier_one() {
    check(
        "island i eu desktop B
         ask a i 1@11
         ask b i 1@10
         ---
         bid c alice 2@12",
        expect![[r#"
            c accepted 2@12 reserves 24480
            b-c 1@10 bid takes, left 0-1, lease 1 epoch 0 from c#0
            a-c 1@11 bid takes, left 0-0, lease 2 epoch 0 from c#1
              eu/desktop/B ask 10: 0
              eu/desktop/B ask 11: 0
        "#]],
    );
}

#[test]
fn a_higher_bid_trades_before_an_earlier_one() {
    check(
        "island i eu desktop B slots=9
         ask far i 1@50
         bid a alice 1@10
         bid b bob 1@11
         bid c carol 1@11
         ---
         ask d i 3@10",
        expect![[r#"
            d accepted 3@10 in eu/desktop/B
            d-b 1@11 ask takes, left 2-0, lease 1 epoch 0 from b#0
            d-c 1@11 ask takes, left 1-0, lease 2 epoch 0 from c#0
            d-a 1@10 ask takes, left 0-0, lease 3 epoch 0 from a#0
              class 0 bid 10: 0
              class 0 bid 11: 0
        "#]],
    );
}

#[test]
fn a_trade_is_at_the_resting_orders_price() {
    check(
        "island i eu desktop B
         ask far i 1@50
         bid a alice 1@12
         ---
         ask b i 1@10
         ask c i 1@10
         bid d alice 1@15",
        expect![[r#"
            b accepted 1@10 in eu/desktop/B
            b-a 1@12 ask takes, left 0-0, lease 1 epoch 0 from a#0
              class 0 bid 12: 0
            c accepted 1@10 in eu/desktop/B
              eu/desktop/B ask 10: 1
            d accepted 1@15 reserves 15300
            c-d 1@10 bid takes, left 0-0, lease 2 epoch 0 from d#0
              eu/desktop/B ask 10: 0
        "#]],
    );
}

#[test]
fn an_amend_down_keeps_the_place() {
    check(
        "island i eu desktop B
         ask a i 3@10
         ask b i 3@10
         ---
         amend a 2
         bid c alice 3@10",
        expect![[r#"
            a has 2 left
              eu/desktop/B ask 10: 5
            c accepted 3@10 reserves 30600
            a-c 2@10 bid takes, left 0-1, leases 1-2 epoch 0 from c#0
            b-c 1@10 bid takes, left 2-0, lease 3 epoch 0 from c#2
              eu/desktop/B ask 10: 2
        "#]],
    );
}

#[test]
fn an_amended_bid_keeps_its_place_and_frees_its_reservation() {
    check(
        "island i eu desktop B
         ask far i 1@50
         bid a alice 3@10
         bid b alice 1@10
         ---
         amend a 1
         ask c i 2@10",
        expect![[r#"
            a has 1 left
              class 0 bid 10: 2
            c accepted 2@10 in eu/desktop/B
            c-a 1@10 ask takes, left 1-0, lease 1 epoch 0 from a#0
            c-b 1@10 ask takes, left 0-0, lease 2 epoch 0 from b#0
              class 0 bid 10: 0
        "#]],
    );
}

#[test]
fn a_partial_fill_keeps_the_place() {
    check(
        "island i eu desktop B
         ask a i 3@10
         ask b i 3@10
         bid c alice 1@10
         ---
         bid d alice 3@10",
        expect![[r#"
            d accepted 3@10 reserves 30600
            a-d 2@10 bid takes, left 0-1, leases 2-3 epoch 0 from d#0
            b-d 1@10 bid takes, left 2-0, lease 4 epoch 0 from d#2
              eu/desktop/B ask 10: 2
        "#]],
    );
}

#[test]
fn a_cancelled_order_trades_no_more() {
    check(
        "island i eu desktop B
         ask a i 3@10
         ask b i 3@10
         ---
         cancel a
         bid c alice 1@10
         cancel c",
        expect![[r#"
            a ended 3 cancelled
              eu/desktop/B ask 10: 3
            c accepted 1@10 reserves 10200
            b-c 1@10 bid takes, left 2-0, lease 1 epoch 0 from c#0
              eu/desktop/B ask 10: 2
            refused UNKNOWN_ORDER
        "#]],
    );
}

#[test]
fn jobs_are_numbered_in_the_order_of_fills() {
    check(
        "island i eu desktop B
         island j eu desktop B
         ask a i 2@10
         ask far j 1@50
         ---
         bid c alice 5@20
         ask b j 2@15
         ask d j 1@15",
        expect![[r#"
            c accepted 5@20 reserves 102000
            a-c 2@10 bid takes, left 0-3, leases 1-2 epoch 0 from c#0
            class 0 created
              eu/desktop/B ask 10: 0
              class 0 bid 20: 3
            b accepted 2@15 in eu/desktop/B
            b-c 2@20 ask takes, left 0-1, leases 3-4 epoch 0 from c#2
              class 0 bid 20: 1
            d accepted 1@15 in eu/desktop/B
            d-c 1@20 ask takes, left 0-0, lease 5 epoch 0 from c#4
              class 0 bid 20: 0
        "#]],
    );
}
