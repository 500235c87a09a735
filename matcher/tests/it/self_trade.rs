//! Self-trade prevention, by owner; the incoming order's mode governs.

use expect_test::expect;

use crate::scenario::check;

#[test]
fn skip_passes_over_and_keeps_the_place() {
    check(
        "island i eu desktop B owner=alice
         island j eu desktop B
         ask a i 1@10
         ask b j 1@11
         ---
         bid c alice 2@12 mode=skip",
        expect![[r#"
            c accepted 2@12 reserves 24480
            b-c 1@11 bid takes, left 0-1, lease 1 epoch 0 from c#0
            class 0 created
              eu/desktop/B ask 11: 0
              class 0 bid 12: 1
        "#]],
    );
}

#[test]
fn cancel_newest_ends_the_incoming_order() {
    check(
        "island i eu desktop B owner=alice
         island j eu desktop B
         ask a i 1@10
         ask b j 1@11
         ---
         bid c alice 2@12 mode=newest",
        expect![[r#"
            c accepted 2@12 reserves 24480
            c ended 2 self-trade
        "#]],
    );
}

#[test]
fn cancel_oldest_ends_the_resting_order() {
    check(
        "island i eu desktop B owner=alice
         island j eu desktop B
         ask a i 1@10
         ask b j 1@11
         ---
         bid c alice 2@12 mode=oldest",
        expect![[r#"
            c accepted 2@12 reserves 24480
            a ended 1 self-trade
            b-c 1@11 bid takes, left 0-1, lease 1 epoch 0 from c#0
            class 0 created
              eu/desktop/B ask 10: 0
              eu/desktop/B ask 11: 0
              class 0 bid 12: 1
        "#]],
    );
}

#[test]
fn cancel_both_ends_both() {
    check(
        "island i eu desktop B owner=alice
         island j eu desktop B
         ask a i 1@10
         ask b j 1@11
         ---
         bid c alice 2@12 mode=both",
        expect![[r#"
            c accepted 2@12 reserves 24480
            a ended 1 self-trade
            c ended 2 self-trade
              eu/desktop/B ask 10: 0
        "#]],
    );
}

#[test]
fn allow_trades() {
    check(
        "island i eu desktop B owner=alice
         island j eu desktop B
         ask a i 1@10
         ask b j 1@11
         ---
         bid c alice 2@12 mode=allow",
        expect![[r#"
            c accepted 2@12 reserves 24480
            a-c 1@10 bid takes, left 0-1, lease 1 epoch 0 from c#0
            b-c 1@11 bid takes, left 0-0, lease 2 epoch 0 from c#1
              eu/desktop/B ask 10: 0
              eu/desktop/B ask 11: 0
        "#]],
    );
}

#[test]
fn an_ask_that_skips_its_owners_bid() {
    check(
        "island i eu desktop B owner=alice
         ask far i 1@50 mode=allow
         bid a alice 1@10 mode=allow
         bid b bob 1@9
         ---
         ask c i 2@8 mode=skip",
        expect![[r#"
            c accepted 2@8 in eu/desktop/B
            c-b 1@9 ask takes, left 1-0, lease 1 epoch 0 from b#0
              eu/desktop/B ask 8: 1
              class 0 bid 9: 0
        "#]],
    );
}

#[test]
fn an_ask_that_is_cancelled_before_its_owners_bid() {
    check(
        "island i eu desktop B owner=alice
         ask far i 1@50 mode=allow
         bid a alice 1@10 mode=allow
         bid b bob 1@9
         ---
         ask c i 2@8 mode=newest",
        expect![[r#"
            c accepted 2@8 in eu/desktop/B
            c ended 2 self-trade
        "#]],
    );
}

#[test]
fn an_ask_that_cancels_its_owners_bid() {
    check(
        "island i eu desktop B owner=alice
         ask far i 1@50 mode=allow
         bid a alice 1@10 mode=allow
         bid b bob 1@9
         ---
         ask c i 2@8 mode=oldest",
        expect![[r#"
            c accepted 2@8 in eu/desktop/B
            a ended 1 self-trade
            c-b 1@9 ask takes, left 1-0, lease 1 epoch 0 from b#0
              eu/desktop/B ask 8: 1
              class 0 bid 9: 0
              class 0 bid 10: 0
        "#]],
    );
}

#[test]
fn an_ask_that_goes_with_its_owners_bid() {
    check(
        "island i eu desktop B owner=alice
         ask far i 1@50 mode=allow
         bid a alice 1@10 mode=allow
         bid b bob 1@9
         ---
         ask c i 2@8 mode=both",
        expect![[r#"
            c accepted 2@8 in eu/desktop/B
            a ended 1 self-trade
            c ended 2 self-trade
              class 0 bid 10: 0
        "#]],
    );
}

#[test]
fn an_ask_that_may_trade_with_its_owner() {
    check(
        "island i eu desktop B owner=alice
         ask far i 1@50 mode=allow
         bid a alice 1@10 mode=allow
         bid b bob 1@9
         ---
         ask c i 2@8 mode=allow",
        expect![[r#"
            c accepted 2@8 in eu/desktop/B
            c-a 1@10 ask takes, left 1-0, lease 1 epoch 0 from a#0
            c-b 1@9 ask takes, left 0-0, lease 2 epoch 0 from b#0
              class 0 bid 9: 0
              class 0 bid 10: 0
        "#]],
    );
}

#[test]
fn orders_are_skipped_in_rank_order_not_in_any_other() {
    check(
        "island i eu desktop B owner=alice
         island j eu desktop B
         island k eu desktop B
         ask a j 1@10
         ask b i 1@10
         ask c k 1@10
         ---
         bid d alice 3@10 mode=oldest",
        expect![[r#"
            d accepted 3@10 reserves 30600
            a-d 1@10 bid takes, left 0-2, lease 1 epoch 0 from d#0
            b ended 1 self-trade
            c-d 1@10 bid takes, left 0-1, lease 2 epoch 0 from d#1
            class 0 created
              eu/desktop/B ask 10: 0
              class 0 bid 10: 1
        "#]],
    );
}

#[test]
fn fill_or_kill_does_not_count_what_it_skips() {
    check(
        "island i eu desktop B owner=alice
         island j eu desktop B
         ask a i 1@10
         ask b j 1@10
         ---
         bid c alice 2@10 fok
         bid d alice 2@10 fok mode=newest
         bid e alice 1@10 fok mode=oldest",
        expect![[r#"
            refused NOT_FILLED
            refused NOT_FILLED
            e accepted 1@10 reserves 10200
            a ended 1 self-trade
            b-e 1@10 bid takes, left 0-0, lease 1 epoch 0 from e#0
              eu/desktop/B ask 10: 0
        "#]],
    );
}

#[test]
fn post_only_is_no_refusal_for_an_order_that_would_only_cancel() {
    check(
        "island i eu desktop B owner=alice
         ask far i 1@50 mode=allow
         bid a alice 1@10 mode=allow
         ---
         ask c i 1@8 post mode=oldest",
        expect![[r#"
            c accepted 1@8 in eu/desktop/B
            a ended 1 self-trade
              eu/desktop/B ask 8: 1
              class 0 bid 10: 0
        "#]],
    );
}

#[test]
fn ones_own_ask_alone_does_not_serve() {
    check(
        "island i eu desktop B owner=alice
         ask a i 1@10
         ---
         bid b alice 1@10
         bid c alice 1@5 mode=oldest",
        expect![[r#"
            refused UNSERVABLE
            c accepted 1@5 reserves 5100
            class 0 created
              class 0 bid 5: 1
        "#]],
    );
}
