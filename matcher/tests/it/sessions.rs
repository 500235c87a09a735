//! Sessions, mass cancels and dead-man switches.

use expect_test::expect;

use crate::scenario::check;

#[test]
fn a_lost_session_ends_its_orders_oldest_first() {
    check(
        "session other
         island i eu desktop B
         ask a i 1@50
         bid b alice 1@10
         bid c alice 1@10 session=other
         bid d bob 1@10
         ---
         lose gate
         lose gate",
        expect![[r#"
            b ended 1 session lost
            d ended 1 session lost
            session gate ended
              class 0 bid 10: 1
            refused UNKNOWN_SESSION
        "#]],
    );
}

#[test]
fn all_sessions_are_lost_at_a_restart() {
    check(
        "island i eu desktop B
         ask a i 2@10
         bid b alice 1@10
         bid c alice 1@5
         ---
         lose all
         ask d i 1@10
         bid e alice 1@10",
        expect![[r#"
            c ended 1 session lost
            lease 1 of b#0 lost: pays 0 earns 0 fee 0 released 10200
            session gate ended
            a ended 1 session lost
            session i ended
              eu/desktop/B ask 10: 0
              class 0 bid 5: 0
            refused UNKNOWN_SESSION
            refused UNKNOWN_SESSION
        "#]],
    );
}

#[test]
fn a_lost_island_takes_its_asks_along() {
    check(
        "island i eu desktop B
         ask a i 2@10
         ask b i 2@10 in=n
         ---
         lose i
         bid c alice 1@10",
        expect![[r#"
            a ended 2 session lost
            b ended 2 session lost
            session i ended
              eu/desktop/B ask 10: 0
              n/eu/desktop/B ask 10: 0
            refused UNSERVABLE
        "#]],
    );
}

#[test]
fn an_island_that_returns_keeps_nothing_but_its_name() {
    check(
        "island i eu desktop B slots=2
         ask a i 2@10
         bid b alice 1@10
         lose i
         session again
         ---
         rejoin i again us
         ask c i 1@10 session=again
         tier i laptop
         ask d i 1@10 session=again
         release 1 again",
        expect![[r#"
            i joined
            refused NOT_QUOTABLE
            i is laptop
            d accepted 1@10 in us/laptop/B
              us/laptop/B ask 10: 1
            refused NO_SLOT
        "#]],
    );
}

#[test]
fn an_island_joins_once() {
    check(
        "island i eu desktop B
         session again
         ---
         rejoin i again eu
         rejoin j nowhere eu
         rejoin k again mars",
        expect![[r#"
            refused UNKNOWN_ISLAND
            refused UNKNOWN_SESSION
            refused UNKNOWN_REGION
        "#]],
    );
}

#[test]
fn a_mass_cancel_keeps_to_its_scope() {
    check(
        "session other
         island i eu desktop B owner=alice
         ask a i 1@50
         ask b i 1@50 in=n
         ask b2 i 1@50
         bid c alice 1@10 mode=oldest
         bid d alice 1@10 session=other mode=oldest
         bid e bob 1@10
         ---
         cancel-all alice session=other
         cancel-all alice in=n
         cancel-all alice island=i
         cancel-all alice
         cancel-all alice
         cancel-all nobody
         cancel-all alice in=z
         cancel-all alice session=zz
         cancel-all alice island=zz",
        expect![[r#"
            d ended 1 cancelled
              class 0 bid 10: 2
            b ended 1 cancelled
              n/eu/desktop/B ask 50: 0
            a ended 1 cancelled
            b2 ended 1 cancelled
              eu/desktop/B ask 50: 0
            c ended 1 cancelled
              class 0 bid 10: 1
            refused UNKNOWN_INSTRUMENT
            refused UNKNOWN_SESSION
            refused UNKNOWN_ISLAND
        "#]],
    );
}

#[test]
fn a_dead_man_switch_cancels_unless_renewed() {
    check(
        "island i eu desktop B
         ask a i 1@50
         bid b alice 1@10
         dead-man gate 10
         dead-man i 10
         ---
         +5 dead-man gate 10
         +5 tick
         +5 tick
         +100 tick",
        expect![[r#"
            dead-man of gate armed
            a ended 1 dead man
            dead-man of i off
              eu/desktop/B ask 50: 0
            b ended 1 dead man
            dead-man of gate off
              class 0 bid 10: 0
        "#]],
    );
}

#[test]
fn a_dead_man_switch_can_be_put_off() {
    check(
        "island i eu desktop B
         ask a i 1@50
         dead-man i 10
         ---
         dead-man i
         +20 tick
         dead-man i 0
         dead-man nobody 5",
        expect![[r#"
            dead-man of i off
            refused DEADLINE_PASSED
            refused UNKNOWN_SESSION
        "#]],
    );
}

#[test]
fn an_order_is_cancelled_by_its_owner_alone() {
    check(
        "island i eu desktop B
         ask a i 2@50
         ---
         cancel a by=mallory
         amend a 1 by=mallory
         cancel nothing
         amend nothing 1
         amend a 2
         amend a 3
         amend a 0
         amend a 1",
        expect![[r#"
            refused UNKNOWN_ORDER
            refused UNKNOWN_ORDER
            refused UNKNOWN_ORDER
            refused UNKNOWN_ORDER
            refused NOT_LESS
            refused NOT_LESS
            refused NOT_LESS
            a has 1 left
              eu/desktop/B ask 50: 1
        "#]],
    );
}
