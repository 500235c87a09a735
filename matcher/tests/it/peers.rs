//! What went wrong in other engines, each under the name of the report.

use expect_test::expect;

use crate::scenario::check;

#[test]
fn orderbook_rs_88_a_partial_fill_loses_priority() {
    check(
        "island i eu desktop B
         island j eu desktop B
         ask a i 5@10
         ask b j 5@10
         ---
         bid c alice 2@10
         bid d alice 2@10
         bid e alice 2@10",
        expect![[r#"
            c accepted 2@10 reserves 20400
            a-c 2@10 bid takes, left 3-0, leases 1-2 epoch 0 from c#0
              eu/desktop/B ask 10: 8
            d accepted 2@10 reserves 20400
            a-d 2@10 bid takes, left 1-0, leases 3-4 epoch 0 from d#0
              eu/desktop/B ask 10: 6
            e accepted 2@10 reserves 20400
            a-e 1@10 bid takes, left 0-1, lease 5 epoch 0 from e#0
            b-e 1@10 bid takes, left 4-0, lease 6 epoch 0 from e#1
              eu/desktop/B ask 10: 4
        "#]],
    );
}

#[test]
fn orderbook_rs_88_an_amend_loses_priority() {
    check(
        "island i eu desktop B
         island j eu desktop B
         ask a i 5@10
         ask b j 5@10
         ---
         amend a 2
         bid c alice 3@10",
        expect![[r#"
            a has 2 left
              eu/desktop/B ask 10: 7
            c accepted 3@10 reserves 30600
            a-c 2@10 bid takes, left 0-1, leases 1-2 epoch 0 from c#0
            b-c 1@10 bid takes, left 4-0, lease 3 epoch 0 from c#2
              eu/desktop/B ask 10: 4
        "#]],
    );
}

#[test]
fn orderbook_rs_94_self_trade_prevention_in_hash_order() {
    check(
        "island i eu desktop B owner=alice
         island j eu desktop B owner=bob
         ask a1 i 1@10
         ask a2 j 1@10
         ask a3 i 1@10
         ask a4 j 1@10
         ask a5 i 1@10
         ---
         bid b alice 9@10 mode=oldest ioc",
        expect![[r#"
            b accepted 9@10 reserves 91800
            a1 ended 1 self-trade
            a2-b 1@10 bid takes, left 0-8, lease 1 epoch 0 from b#0
            a3 ended 1 self-trade
            a4-b 1@10 bid takes, left 0-7, lease 2 epoch 0 from b#1
            a5 ended 1 self-trade
            b ended 7 immediate
              eu/desktop/B ask 10: 0
        "#]],
    );
}

#[test]
fn orderbook_rs_224_an_immediate_order_that_traded_is_rejected() {
    check(
        "island i eu desktop B
         ask a i 1@10
         ---
         bid b alice 3@10 ioc",
        expect![[r#"
            b accepted 3@10 reserves 30600
            a-b 1@10 bid takes, left 0-2, lease 1 epoch 0 from b#0
            b ended 2 immediate
              eu/desktop/B ask 10: 0
        "#]],
    );
}

#[test]
fn exchange_core_81_a_duplicate_id_still_matches() {
    check(
        "island i eu desktop B
         ask a i 9@10
         bid b alice 1@9 id=1
         ---
         bid c alice 5@10 id=1
         bid d alice 1@9 id=1",
        expect![[r#"
            refused DUPLICATE_CLIENT_ORDER_ID
            repeats b
        "#]],
    );
}

#[test]
fn liquibook_12_cancelling_an_unknown_order_removes_another() {
    check(
        "island i eu desktop B
         ask a i 1@10
         ask b i 1@10
         bid c alice 1@10
         ---
         cancel a
         cancel nothing
         bid d alice 1@10",
        expect![[r#"
            refused UNKNOWN_ORDER
            refused UNKNOWN_ORDER
            d accepted 1@10 reserves 10200
            b-d 1@10 bid takes, left 0-0, lease 2 epoch 0 from d#0
              eu/desktop/B ask 10: 0
        "#]],
    );
}

#[test]
fn matchcore_167_the_limit_is_not_checked_at_the_next_level() {
    check(
        "island i eu desktop B
         ask a i 1@10
         ask b i 1@11
         ask c i 1@12
         ---
         bid d alice 3@11",
        expect![[r#"
            d accepted 3@11 reserves 33660
            a-d 1@10 bid takes, left 0-2, lease 1 epoch 0 from d#0
            b-d 1@11 bid takes, left 0-1, lease 2 epoch 0 from d#1
            class 0 created
              eu/desktop/B ask 10: 0
              eu/desktop/B ask 11: 0
              class 0 bid 11: 1
        "#]],
    );
}
