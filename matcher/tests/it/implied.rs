//! One bid sees every eligible cell as one ladder.

use expect_test::expect;

use crate::scenario::check;

#[test]
fn a_better_tier_a_nearer_region_and_more_karma_may_fill() {
    check(
        "island i us server A
         ---
         ask a i 3@10
         bid b alice 1@10 tier=laptop band=C
         bid c alice 1@10 tier=server band=A
         bid d alice 1@10 regions=us",
        expect![[r#"
            a accepted 3@10 in us/server/A
              us/server/A ask 10: 3
            b accepted 1@10 reserves 10200
            a-b 1@10 bid takes, left 2-0, lease 1 epoch 0 from b#0
              us/server/A ask 10: 2
            c accepted 1@10 reserves 10200
            a-c 1@10 bid takes, left 1-0, lease 2 epoch 0 from c#0
              us/server/A ask 10: 1
            d accepted 1@10 reserves 10200
            a-d 1@10 bid takes, left 0-0, lease 3 epoch 0 from d#0
              us/server/A ask 10: 0
        "#]],
    );
}

#[test]
fn a_worse_cell_never_fills() {
    check(
        "island i eu desktop B
         island j us phone D
         ask a i 1@50
         ask b j 9@10
         ---
         bid c alice 1@20 regions=eu
         bid d alice 1@20 tier=desktop
         bid e alice 1@20 band=B",
        expect![[r#"
            c accepted 1@20 reserves 20400
            class 0 created
              class 0 bid 20: 1
            d accepted 1@20 reserves 20400
            class 1 created
              class 1 bid 20: 1
            e accepted 1@20 reserves 20400
            class 2 created
              class 2 bid 20: 1
        "#]],
    );
}

#[test]
fn the_price_decides_when_latency_has_no_value() {
    check(
        "island i eu desktop B
         island j ap desktop B
         ask a i 1@11
         ask b j 1@10
         ---
         bid c alice 1@20",
        expect![[r#"
            c accepted 1@20 reserves 20400
            b-c 1@10 bid takes, left 0-0, lease 1 epoch 0 from c#0
              ap/desktop/B ask 10: 0
        "#]],
    );
}

#[test]
fn latency_value_ranks_but_never_bills() {
    check(
        "# 195 ms farther away, at 100 nano-credits per 10 ms, is worth 1.95 ticks.
         island i eu desktop B
         island j ap desktop B
         ask a i 1@11
         ask b j 1@10
         ---
         bid c alice 1@20 lv=100",
        expect![[r#"
            c accepted 1@20 reserves 20400
            a-c 1@11 bid takes, left 0-0, lease 1 epoch 0 from c#0
              eu/desktop/B ask 11: 0
        "#]],
    );
}

#[test]
fn at_equal_rank_the_nearer_cell_fills_before_an_earlier_ask() {
    check(
        "# 10 × 10,000 + 2,000 × 90 = 10 × 27,000 + 2,000 × 5
         island j us desktop B
         island i eu desktop B
         ask far j 1@10
         ask near i 1@27
         ---
         bid c alice 1@40 lv=2000",
        expect![[r#"
            c accepted 1@40 reserves 40800
            near-c 1@27 bid takes, left 0-0, lease 1 epoch 0 from c#0
              eu/desktop/B ask 27: 0
        "#]],
    );
}

#[test]
fn at_equal_rank_and_distance_the_higher_band_fills_before_an_earlier_ask() {
    check(
        "island i eu desktop C
         island j eu desktop A
         ask a i 1@10
         ask b j 1@10
         ---
         bid c alice 1@10",
        expect![[r#"
            c accepted 1@10 reserves 10200
            b-c 1@10 bid takes, left 0-0, lease 1 epoch 0 from c#0
              eu/desktop/A ask 10: 0
        "#]],
    );
}

#[test]
fn a_faster_tier_is_no_tie_breaker() {
    check(
        "island i eu desktop B
         island j eu server B
         ask a i 1@10
         ask b j 1@10
         ---
         bid c alice 1@10",
        expect![[r#"
            c accepted 1@10 reserves 10200
            a-c 1@10 bid takes, left 0-0, lease 1 epoch 0 from c#0
              eu/desktop/B ask 10: 0
        "#]],
    );
}

#[test]
fn at_equal_rank_distance_and_band_the_earlier_ask_of_any_cell_fills() {
    check(
        "island i eu server B
         island j eu desktop B
         ask a j 1@10
         ask b i 1@10
         ask c j 1@10
         ---
         bid d alice 3@10",
        expect![[r#"
            d accepted 3@10 reserves 30600
            a-d 1@10 bid takes, left 0-2, lease 1 epoch 0 from d#0
            b-d 1@10 bid takes, left 0-1, lease 2 epoch 0 from d#1
            c-d 1@10 bid takes, left 0-0, lease 3 epoch 0 from d#2
              eu/desktop/B ask 10: 0
              eu/server/B ask 10: 0
        "#]],
    );
}

#[test]
fn an_ask_meets_the_best_bid_of_all_classes_that_cover_it() {
    check(
        "island i us desktop B
         ask far i 1@50
         bid a alice 1@10 home=eu
         bid b bob 1@12 home=ap tier=laptop
         bid c carol 1@12 home=us regions=us
         bid d dave 1@13 tier=server
         bid e erin 1@13 regions=eu,ap
         ---
         ask f i 3@10",
        expect![[r#"
            f accepted 3@10 in us/desktop/B
            f-b 1@12 ask takes, left 2-0, lease 1 epoch 0 from b#0
            f-c 1@12 ask takes, left 1-0, lease 2 epoch 0 from c#0
            f-a 1@10 ask takes, left 0-0, lease 3 epoch 0 from a#0
              class 0 bid 10: 0
              class 1 bid 12: 0
              class 2 bid 12: 0
        "#]],
    );
}

#[test]
fn an_excluded_island_is_passed_over_and_keeps_its_place() {
    check(
        "island i eu desktop B
         island j eu desktop B
         ask a i 1@10
         ask b j 1@10
         ---
         bid c alice 1@10 not=i
         bid d bob 1@10",
        expect![[r#"
            c accepted 1@10 reserves 10200
            b-c 1@10 bid takes, left 0-0, lease 1 epoch 0 from c#0
              eu/desktop/B ask 10: 1
            d accepted 1@10 reserves 10200
            a-d 1@10 bid takes, left 0-0, lease 2 epoch 0 from d#0
              eu/desktop/B ask 10: 0
        "#]],
    );
}

#[test]
fn a_resting_bid_excludes_islands_too() {
    check(
        "island i eu desktop B
         island j eu desktop B
         ask far j 1@50
         bid a alice 1@10 not=i
         bid b bob 1@10
         ---
         ask c i 2@10
         ask d j 1@10",
        expect![[r#"
            c accepted 2@10 in eu/desktop/B
            c-b 1@10 ask takes, left 1-0, lease 1 epoch 0 from b#0
              eu/desktop/B ask 10: 1
              class 0 bid 10: 1
            d accepted 1@10 in eu/desktop/B
            d-a 1@10 ask takes, left 0-0, lease 2 epoch 0 from a#0
              class 0 bid 10: 0
        "#]],
    );
}

#[test]
fn the_limit_is_checked_against_the_real_price_at_every_level() {
    check(
        "island i eu desktop B
         island j ap desktop B
         ask a i 1@12
         ask b i 1@9
         ask c j 1@10
         ---
         # Adjusted, 12 at home ranks before 10 far away, but it is over the limit.
         bid d alice 3@10 lv=1000",
        expect![[r#"
            d accepted 3@10 reserves 30600
            b-d 1@9 bid takes, left 0-2, lease 1 epoch 0 from d#0
            c-d 1@10 bid takes, left 0-1, lease 2 epoch 0 from d#1
            class 0 created
              eu/desktop/B ask 9: 0
              ap/desktop/B ask 10: 0
              class 0 bid 10: 1
        "#]],
    );
}

#[test]
fn protection_is_twice_the_best_eligible_ask_busy_or_not() {
    check(
        "island i eu desktop B slots=1
         island j eu desktop B
         island k us desktop B
         ask a i 2@10
         ask b j 1@15
         ask c k 1@3
         bid x bob 1@10 regions=eu
         ---
         bid d alice 2@market ioc regions=eu
         bid e alice 1@market ioc regions=eu not=i",
        expect![[r#"
            d accepted 2@20 reserves 40800
            b-d 1@15 bid takes, left 0-1, lease 2 epoch 0 from d#0
            d ended 1 immediate
              eu/desktop/B ask 15: 0
            refused UNSERVABLE, nearest us/desktop/B@3
        "#]],
    );
}

#[test]
fn a_band_moves_asks_and_keeps_their_sequence() {
    check(
        "island i eu desktop B
         island j eu desktop A
         ask a i 1@10
         ask b j 1@10
         ---
         band i A
         bid c alice 1@10",
        expect![[r#"
            i is in band A
              eu/desktop/B ask 10: 0
              eu/desktop/A ask 10: 2
            c accepted 1@10 reserves 10200
            a-c 1@10 bid takes, left 0-0, lease 1 epoch 0 from c#0
              eu/desktop/A ask 10: 1
        "#]],
    );
}

#[test]
fn a_move_that_makes_an_ask_eligible_trades() {
    check(
        "island i eu laptop B
         island j eu desktop B
         ask far j 1@50
         ask a i 2@10
         bid b alice 1@12 tier=desktop
         ---
         tier i desktop
         bid c alice 1@12",
        expect![[r#"
            i is desktop
            a-b 1@12 ask takes, left 1-0, lease 1 epoch 0 from b#0
              eu/laptop/B ask 10: 0
              eu/desktop/B ask 10: 1
              class 0 bid 12: 0
            c accepted 1@12 reserves 12240
            a-c 1@10 bid takes, left 0-0, lease 2 epoch 0 from c#0
              eu/desktop/B ask 10: 0
        "#]],
    );
}

#[test]
fn a_tier_taken_away_cancels_the_asks_in_that_instrument() {
    check(
        "island i eu laptop B
         ask a i 2@10
         ask b i 2@10 in=n
         ---
         tier i none
         ask c i 1@10",
        expect![[r#"
            i is out
            a ended 2 not quotable
              eu/laptop/B ask 10: 0
            refused NOT_QUOTABLE
        "#]],
    );
}

#[test]
fn a_tier_that_stays_moves_nothing() {
    check(
        "island i eu laptop B
         ask a i 2@10
         ---
         tier i laptop",
        expect![[r#"
            i is laptop
        "#]],
    );
}
