//! Each level that changed is published once, at the end of the command, with its absolute quantity.

use expect_test::expect;
use matcher::Limits;

use crate::scenario::{check, check_within};

#[test]
fn many_fills_at_a_level_make_one_delta() {
    check(
        "island i eu desktop B
         ask a i 1@10
         ask b i 1@10
         ask c i 1@10
         ---
         bid d alice 2@10",
        expect![[r#"
            d accepted 2@10 reserves 20400
            a-d 1@10 bid takes, left 0-1, lease 1 epoch 0 from d#0
            b-d 1@10 bid takes, left 0-0, lease 2 epoch 0 from d#1
              eu/desktop/B ask 10: 1
        "#]],
    );
}

#[test]
fn a_level_that_ends_as_it_began_is_not_published() {
    check(
        "island i eu desktop B slots=2
         ask a i 5@10
         ---
         bid b alice 1@10
         slots i 3
         bid c alice 1@9 ioc",
        expect![[r#"
            b accepted 1@10 reserves 10200
            a-b 1@10 bid takes, left 4-0, lease 1 epoch 0 from b#0
              eu/desktop/B ask 10: 1
            i has 2 of 3 slots free
              eu/desktop/B ask 10: 2
            c accepted 1@9 reserves 9180
            c ended 1 immediate
        "#]],
    );
}

#[test]
fn deltas_come_by_cell_then_price_then_class() {
    check(
        "island i us desktop B
         island j eu desktop B
         island k eu desktop A
         ask a i 1@10
         ask b j 1@11
         ask c k 1@9
         ask d k 1@8
         ---
         bid e alice 5@11",
        expect![[r#"
            e accepted 5@11 reserves 56100
            d-e 1@8 bid takes, left 0-4, lease 1 epoch 0 from e#0
            c-e 1@9 bid takes, left 0-3, lease 2 epoch 0 from e#1
            a-e 1@10 bid takes, left 0-2, lease 3 epoch 0 from e#2
            b-e 1@11 bid takes, left 0-1, lease 4 epoch 0 from e#3
            class 0 created
              eu/desktop/B ask 11: 0
              eu/desktop/A ask 8: 0
              eu/desktop/A ask 9: 0
              us/desktop/B ask 10: 0
              class 0 bid 11: 1
        "#]],
    );
}

#[test]
fn a_class_keeps_its_number_while_it_can() {
    check(
        "island i eu desktop B
         ask a i 1@50
         ---
         bid b alice 1@10
         bid c alice 1@10 tier=laptop
         cancel b
         bid d alice 1@10 tier=desktop
         bid e alice 1@10",
        expect![[r#"
            b accepted 1@10 reserves 10200
            class 0 created
              class 0 bid 10: 1
            c accepted 1@10 reserves 10200
            class 1 created
              class 1 bid 10: 1
            b ended 1 cancelled
              class 0 bid 10: 0
            d accepted 1@10 reserves 10200
            class 2 created
              class 2 bid 10: 1
            e accepted 1@10 reserves 10200
              class 0 bid 10: 1
        "#]],
    );
}

#[test]
fn a_full_table_of_classes_gives_the_lowest_idle_number_anew() {
    check_within(
        Limits {
            classes_per_instrument_max: 2,
            ..Limits::default()
        },
        "island i eu desktop B
         ask a i 1@50
         bid b alice 1@10
         bid c alice 1@10 tier=laptop
         ---
         bid d alice 1@10 tier=desktop
         cancel b
         bid e alice 1@10 tier=desktop
         bid f alice 1@10 band=B ioc
         bid g alice 1@50 band=B",
        expect![[r#"
            refused TOO_MANY_CLASSES
            b ended 1 cancelled
              class 0 bid 10: 0
            e accepted 1@10 reserves 10200
            class 0 created
              class 0 bid 10: 1
            f accepted 1@10 reserves 10200
            f ended 1 immediate
            refused TOO_MANY_CLASSES
        "#]],
    );
}

#[test]
fn what_a_number_meant_before_is_published_before_it_changes() {
    check_within(
        Limits {
            classes_per_instrument_max: 1,
            ..Limits::default()
        },
        "island i eu desktop B
         ask a i 1@50
         bid b alice 1@10 gtd=10
         ---
         +10 bid c alice 1@10 tier=laptop",
        expect![[r#"
            b ended 1 expired
            c accepted 1@10 reserves 10200
              class 0 bid 10: 0
            class 0 created
              class 0 bid 10: 1
        "#]],
    );
}
