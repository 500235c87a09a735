//! Capacity groups: what is displayed is never a phantom.

use expect_test::expect;

use crate::scenario::check;

#[test]
fn an_ask_shows_no_more_than_the_free_slots() {
    check(
        "island i eu desktop B slots=2
         ---
         ask a i 5@10
         bid b alice 1@10
         bid c alice 3@10
         release 1 i
         release 2 i
         release 1 i",
        expect![[r#"
            a accepted 5@10 in eu/desktop/B
              eu/desktop/B ask 10: 2
            b accepted 1@10 reserves 10200
            a-b 1@10 bid takes, left 4-0, lease 1 epoch 0 from b#0
              eu/desktop/B ask 10: 1
            c accepted 3@10 reserves 30600
            a-c 1@10 bid takes, left 3-2, lease 2 epoch 0 from c#0
            class 0 created
              eu/desktop/B ask 10: 0
              class 0 bid 10: 2
            i has 1 of 2 slots free
            a-c 1@10 ask takes, left 2-1, lease 3 epoch 0 from c#1
              class 0 bid 10: 1
            i has 1 of 2 slots free
            a-c 1@10 ask takes, left 1-0, lease 4 epoch 0 from c#2
              class 0 bid 10: 0
            refused NO_SLOT
        "#]],
    );
}

#[test]
fn a_fill_takes_a_slot_from_every_ask_of_the_group() {
    check(
        "island i eu desktop B slots=2
         ask a i 2@10
         ask b i 2@11
         ask c i 5@12 in=n
         ---
         bid d alice 1@10
         bid e alice 1@10",
        expect![[r#"
            d accepted 1@10 reserves 10200
            a-d 1@10 bid takes, left 1-0, lease 1 epoch 0 from d#0
              eu/desktop/B ask 10: 1
              eu/desktop/B ask 11: 1
              n/eu/desktop/B ask 12: 1
            e accepted 1@10 reserves 10200
            a-e 1@10 bid takes, left 0-0, lease 2 epoch 0 from e#0
              eu/desktop/B ask 10: 0
              eu/desktop/B ask 11: 0
              n/eu/desktop/B ask 12: 0
        "#]],
    );
}

#[test]
fn asks_come_back_at_the_back_of_their_level_oldest_first() {
    check(
        "island i eu desktop B slots=1
         island j eu desktop B slots=9
         ask a i 2@10
         ask b i 2@10
         bid x bob 1@10
         ask c j 1@10
         ---
         release 1 i
         bid d alice 2@10",
        expect![[r#"
            i has 1 of 1 slots free
              eu/desktop/B ask 10: 3
            d accepted 2@10 reserves 20400
            c-d 1@10 bid takes, left 0-1, lease 2 epoch 0 from d#0
            a-d 1@10 bid takes, left 0-0, lease 3 epoch 0 from d#1
              eu/desktop/B ask 10: 0
        "#]],
    );
}

#[test]
fn an_ask_that_shows_more_keeps_its_place() {
    check(
        "island i eu desktop B slots=2
         island j eu desktop B slots=9
         ask a i 5@10
         bid x bob 1@10
         ask b j 1@10
         ---
         release 1 i
         bid d alice 1@10",
        expect![[r#"
            i has 2 of 2 slots free
              eu/desktop/B ask 10: 3
            d accepted 1@10 reserves 10200
            a-d 1@10 bid takes, left 3-0, lease 2 epoch 0 from d#0
              eu/desktop/B ask 10: 2
        "#]],
    );
}

#[test]
fn what_comes_back_matches_as_incoming() {
    check(
        "island i eu desktop B slots=1
         ask a i 3@10
         bid b bob 1@10
         bid c alice 1@11
         bid d carol 1@12
         ---
         release 1 i
         release 2 i",
        expect![[r#"
            i has 1 of 1 slots free
            a-d 1@12 ask takes, left 1-0, lease 2 epoch 0 from d#0
              class 0 bid 12: 0
            i has 1 of 1 slots free
            a-c 1@11 ask takes, left 0-0, lease 3 epoch 0 from c#0
              class 0 bid 11: 0
        "#]],
    );
}

#[test]
fn one_that_trades_on_its_return_hides_those_after_it() {
    check(
        "island i eu desktop B slots=1
         ask a i 1@10
         ask b i 1@20
         ask c i 2@9
         bid x bob 1@9
         bid y alice 1@10
         ---
         release 1 i
         release 2 i",
        expect![[r#"
            i has 1 of 1 slots free
            a-y 1@10 ask takes, left 0-0, lease 2 epoch 0 from y#0
              class 0 bid 10: 0
            i has 1 of 1 slots free
              eu/desktop/B ask 9: 1
              eu/desktop/B ask 20: 1
        "#]],
    );
}

#[test]
fn one_that_rests_on_its_return_is_hidden_again_by_one_that_trades() {
    check(
        "island i eu desktop B slots=1
         ask a i 1@20
         ask b i 2@10
         bid x bob 1@10
         bid y alice 1@15
         ---
         release 1 i",
        expect![[r#"
            i has 1 of 1 slots free
            b-y 1@15 ask takes, left 0-0, lease 2 epoch 0 from y#0
              class 0 bid 15: 0
        "#]],
    );
}

#[test]
fn fewer_slots_hide_and_more_slots_show() {
    check(
        "island i eu desktop B slots=3
         ask a i 5@10
         ---
         slots i 1
         slots i 0
         bid b alice 1@10
         slots i 2
         slots i 9",
        expect![[r#"
            i has 1 of 1 slots free
              eu/desktop/B ask 10: 1
            i has 0 of 0 slots free
              eu/desktop/B ask 10: 0
            b accepted 1@10 reserves 10200
            class 0 created
              class 0 bid 10: 1
            i has 2 of 2 slots free
            a-b 1@10 ask takes, left 4-0, lease 1 epoch 0 from b#0
              eu/desktop/B ask 10: 1
              class 0 bid 10: 0
            i has 8 of 9 slots free
              eu/desktop/B ask 10: 4
        "#]],
    );
}

#[test]
fn an_island_with_more_leases_than_slots_has_none_free() {
    check(
        "island i eu desktop B slots=3
         ask a i 5@10
         bid b alice 3@10
         ---
         slots i 1
         release 1 i
         release 2 i
         release 3 i",
        expect![[r#"
            i has 0 of 1 slots free
            i has 0 of 1 slots free
            i has 0 of 1 slots free
            i has 1 of 1 slots free
              eu/desktop/B ask 10: 1
        "#]],
    );
}

#[test]
fn an_ask_that_enters_while_busy_waits_for_a_slot() {
    check(
        "island i eu desktop B slots=1
         ask a i 1@10
         bid b alice 1@10
         ---
         ask c i 2@11
         bid d alice 1@12
         cancel d
         amend c 1
         release 1 i
         cancel c",
        expect![[r#"
            c accepted 2@11 in eu/desktop/B
            d accepted 1@12 reserves 12240
            class 0 created
              class 0 bid 12: 1
            d ended 1 cancelled
              class 0 bid 12: 0
            c has 1 left
            i has 1 of 1 slots free
              eu/desktop/B ask 11: 1
            c ended 1 cancelled
              eu/desktop/B ask 11: 0
        "#]],
    );
}

#[test]
fn a_busy_ask_moves_with_its_island() {
    check(
        "island i eu desktop B slots=1
         ask a i 2@10
         bid b alice 1@10
         ---
         band i A
         tier i server
         release 1 i",
        expect![[r#"
            i is in band A
            i is server
            i has 1 of 1 slots free
              eu/server/A ask 10: 1
        "#]],
    );
}

#[test]
fn a_slot_of_a_lost_session_is_not_given_back() {
    check(
        "island i eu desktop B slots=1
         ask a i 2@10
         bid b alice 1@10
         ---
         lose i
         release 1 i",
        expect![[r#"
            a ended 1 session lost
            session i ended
            refused NO_SLOT
        "#]],
    );
}

#[test]
fn slots_are_released_while_the_lease_is_open_or_after() {
    check(
        "island i eu desktop B slots=2
         ask a i 2@10
         bid b alice 2@10
         ---
         release 1 i
         close 1 10
         close 2 10
         release 2 i",
        expect![[r#"
            i has 1 of 2 slots free
            lease 1 of b#0 stopped: pays 102 earns 100 fee 2 released 10098
            lease 2 of b#1 stopped: pays 102 earns 100 fee 2 released 10098
            i has 2 of 2 slots free
        "#]],
    );
}
