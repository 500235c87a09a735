//! How long orders stay.

use expect_test::expect;

use crate::scenario::check;

#[test]
fn immediate_trades_what_it_can_and_is_cancelled_for_the_rest() {
    check(
        "island i eu desktop B
         ask a i 2@10
         ---
         bid b alice 3@10 ioc
         bid c alice 1@5 ioc",
        expect![[r#"
            b accepted 3@10 reserves 30600
            a-b 2@10 bid takes, left 0-1, leases 1-2 epoch 0 from b#0
            b ended 1 immediate
              eu/desktop/B ask 10: 0
            refused UNSERVABLE
        "#]],
    );
}

#[test]
fn an_immediate_ask_too() {
    check(
        "island i eu desktop B
         ask far i 1@50
         bid a alice 1@10
         ---
         ask b i 3@10 ioc
         ask c i 3@10 ioc",
        expect![[r#"
            b accepted 3@10 in eu/desktop/B
            b-a 1@10 ask takes, left 2-0, lease 1 epoch 0 from a#0
            b ended 2 immediate
              class 0 bid 10: 0
            c accepted 3@10 in eu/desktop/B
            c ended 3 immediate
        "#]],
    );
}

#[test]
fn fill_or_kill_trades_all_or_nothing() {
    check(
        "island i eu desktop B
         ask a i 2@10
         ask b i 1@12
         ---
         bid c alice 3@11 fok
         bid d alice 4@12 fok
         bid e alice 3@12 fok",
        expect![[r#"
            refused NOT_FILLED
            refused NOT_FILLED
            e accepted 3@12 reserves 36720
            a-e 2@10 bid takes, left 0-1, leases 1-2 epoch 0 from e#0
            b-e 1@12 bid takes, left 0-0, lease 3 epoch 0 from e#2
              eu/desktop/B ask 10: 0
              eu/desktop/B ask 12: 0
        "#]],
    );
}

#[test]
fn fill_or_kill_counts_a_groups_slots_once() {
    check(
        "island i eu desktop B slots=2
         island j eu server B
         ask a i 2@10
         ask b i 2@11
         ask c j 1@12
         ---
         bid d alice 4@20 fok
         bid e alice 3@20 fok",
        expect![[r#"
            refused NOT_FILLED
            e accepted 3@20 reserves 61200
            a-e 2@10 bid takes, left 0-1, leases 1-2 epoch 0 from e#0
            c-e 1@12 bid takes, left 0-0, lease 3 epoch 0 from e#2
              eu/desktop/B ask 10: 0
              eu/desktop/B ask 11: 0
              eu/server/B ask 12: 0
        "#]],
    );
}

#[test]
fn fill_or_kill_counts_slots_once_over_instruments() {
    check(
        "island i eu desktop B slots=1
         ask a i 1@10
         ask b i 1@10 in=n
         ---
         bid c alice 1@10 in=n fok
         bid d alice 1@10 fok",
        expect![[r#"
            c accepted 1@10 reserves 10200
            b-c 1@10 bid takes, left 0-0, lease 1 epoch 0 from c#0
              eu/desktop/B ask 10: 0
              n/eu/desktop/B ask 10: 0
            refused NOT_FILLED
        "#]],
    );
}

#[test]
fn a_deadline_expires_what_is_left() {
    check(
        "island i eu desktop B
         ask a i 1@10 gtd=10
         bid b alice 1@5 gtd=5
         ---
         +4 tick
         +1 tick
         +5 bid c alice 1@10 ioc",
        expect![[r#"
            b ended 1 expired
              class 0 bid 5: 0
            a ended 1 expired
            refused UNSERVABLE
              eu/desktop/B ask 10: 0
        "#]],
    );
}

#[test]
fn timers_fire_in_order_of_deadline_then_sequence() {
    check(
        "island i eu desktop B
         ask far i 1@50
         bid a alice 1@5 gtd=20
         bid b alice 1@5 gtd=10
         bid c alice 1@5 gtd=10
         dead-man i 15
         ---
         +30 bid d alice 1@5 gtd=5",
        expect![[r#"
            b ended 1 expired
            c ended 1 expired
            far ended 1 dead man
            dead-man of i off
            a ended 1 expired
            refused UNSERVABLE
              eu/desktop/B ask 50: 0
              class 0 bid 5: 0
        "#]],
    );
}

#[test]
fn a_filled_orders_timer_does_not_fire() {
    check(
        "island i eu desktop B
         ask a i 1@10 gtd=10
         bid b alice 1@10
         ---
         +20 tick",
        expect![[""]],
    );
}

#[test]
fn good_till_cancelled_stays() {
    check(
        "island i eu desktop B
         ask a i 1@10
         ---
         +900000 tick
         cancel a",
        expect![[r#"
            a ended 1 cancelled
              eu/desktop/B ask 10: 0
        "#]],
    );
}

#[test]
fn post_only_is_refused_if_it_would_trade() {
    check(
        "island i eu desktop B
         ask far i 1@50
         bid a alice 1@10
         ---
         ask b i 1@10 post
         ask c i 1@11 post",
        expect![[r#"
            refused WOULD_TRADE
            c accepted 1@11 in eu/desktop/B
              eu/desktop/B ask 11: 1
        "#]],
    );
}

#[test]
fn post_only_governs_arrival_alone() {
    check(
        "# With no free slot it cannot trade on arrival; when it comes back it matches as any other.
         island i eu desktop B slots=1
         ask x i 2@10
         bid y bob 1@10
         bid far alice 1@8
         ---
         ask b i 1@8 post
         release 1 i",
        expect![[r#"
            b accepted 1@8 in eu/desktop/B
            i has 1 of 1 slots free
            b-far 1@8 ask takes, left 0-0, lease 2 epoch 0 from far#0
              class 0 bid 8: 0
        "#]],
    );
}

#[test]
fn a_minimum_is_filled_at_once_or_the_bid_is_refused() {
    check(
        "island i eu desktop B
         ask a i 3@10
         ---
         bid b alice 5@10 ioc min=4
         bid c alice 5@10 ioc min=3",
        expect![[r#"
            refused NOT_FILLED
            c accepted 5@10 reserves 51000
            a-c 3@10 bid takes, left 0-2, leases 1-3 epoch 0 from c#0
            c ended 2 immediate
              eu/desktop/B ask 10: 0
        "#]],
    );
}

#[test]
fn a_minimum_is_for_immediate_bids_and_no_more_than_their_jobs() {
    check(
        "island i eu desktop B
         ask a i 3@10
         ---
         bid b alice 2@10 min=1
         bid c alice 2@10 fok min=1
         bid d alice 2@10 gtd=50 min=2
         bid e alice 2@10 ioc min=3",
        expect![[r#"
            refused INVALID_TIME_IN_FORCE
            refused INVALID_TIME_IN_FORCE
            refused INVALID_TIME_IN_FORCE
            refused INVALID_QUANTITY
        "#]],
    );
}
