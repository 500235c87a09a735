//! Checkpoints, closing and failing over.

use expect_test::expect;

use crate::scenario::check;

#[test]
fn a_checkpoint_only_rises() {
    check(
        "island i eu desktop B
         ask a i 1@10
         bid b alice 1@10
         ---
         checkpoint 1 16
         checkpoint 1 32
         checkpoint 1 8
         checkpoint 1 1001
         checkpoint 2 1",
        expect![[r#"
            lease 1 signed 16
            lease 1 signed 32
            lease 1 signed 32
            refused OVER_BILLED
            refused UNKNOWN_LEASE
        "#]],
    );
}

#[test]
fn a_lease_bills_no_more_than_its_units() {
    check(
        "island i eu desktop B
         ask a i 1@10
         bid b alice 1@20
         ---
         close 1 1001
         close 1 1000
         close 1 1",
        expect![[r#"
            refused OVER_BILLED
            lease 1 of b#0 stopped: pays 10200 earns 10000 fee 200 released 10200
            refused UNKNOWN_LEASE
        "#]],
    );
}

#[test]
fn a_subsidy_beyond_the_range_is_refused() {
    check(
        "island i eu desktop B
         ask a i 1@10
         bid b alice 1@10
         ---
         close 1 1 reread=18446744073709551615",
        expect![[r#"
            refused OVER_BILLED
        "#]],
    );
}

#[test]
fn a_failover_goes_on_with_the_rest() {
    check(
        "island i eu desktop B
         island j eu desktop B
         ask a i 1@10
         ask b j 1@12
         bid c alice 1@15
         ---
         failover 1 300 left=700 gtd=50 as=d
         close 2 700",
        expect![[r#"
            lease 1 of c#0 failed over to d: pays 3060 earns 3000 fee 60 released 0
            d accepted 1@15 reserves 12240 resuming c#0
            b-d 1@12 bid takes, left 0-0, lease 2 epoch 1 from c#0
              eu/desktop/B ask 12: 0
            lease 2 of c#0 stopped: pays 8568 earns 8400 fee 168 released 3672 after 3000
        "#]],
    );
}

#[test]
fn a_failover_never_returns_to_an_island_that_failed() {
    check(
        "island i eu desktop B
         island j eu desktop B
         ask a i 3@10
         ask b j 1@50
         bid c alice 1@15
         ---
         failover 1 0 left=1000 as=d
         ask e i 1@9
         ask f j 1@9",
        expect![[r#"
            lease 1 of c#0 failed over to d: pays 0 earns 0 fee 0 released 0
            d accepted 1@15 reserves 15300 resuming c#0
            class 0 created
              class 0 bid 15: 1
            e accepted 1@9 in eu/desktop/B
              eu/desktop/B ask 9: 1
            f accepted 1@9 in eu/desktop/B
            f-d 1@15 ask takes, left 0-0, lease 2 epoch 1 from c#0
              class 0 bid 15: 0
        "#]],
    );
}

#[test]
fn what_the_buyer_excluded_stays_excluded_after_failovers() {
    check(
        "island k1 eu desktop B
         island k2 eu desktop B
         island k3 eu desktop B
         island k4 eu desktop B
         island k5 eu desktop B
         island k6 eu desktop B
         island k7 eu desktop B
         island k8 eu desktop B
         island i eu desktop B
         island j eu desktop B
         ask a k1 9@1
         ask b i 1@10
         ask c j 1@11
         bid d alice 1@20 not=k1,k2,k3,k4,k5,k6,k7,k8
         ---
         failover 1 10 left=500 as=e
         failover 2 10 left=400 as=f",
        expect![[r#"
            lease 1 of d#0 failed over to e: pays 102 earns 100 fee 2 released 0
            e accepted 1@20 reserves 20298 resuming d#0
            c-e 1@11 bid takes, left 0-0, lease 2 epoch 1 from d#0
              eu/desktop/B ask 11: 0
            lease 2 of d#0 failed over to f: pays 112 earns 110 fee 2 released 0 after 100
            f accepted 1@20 reserves 20186 resuming d#0
            f ended 1 not quotable resuming d#0
        "#]],
    );
}

#[test]
fn a_job_fails_over_twice_at_most() {
    check(
        "island i eu desktop B
         island j eu desktop B
         island k eu desktop B
         island l eu desktop B
         ask a i 1@10
         ask b j 1@11
         ask c k 1@12
         ask d l 1@13
         bid e alice 1@20
         ---
         failover 1 100 left=900 as=f
         failover 2 100 left=800 as=g
         failover 3 100 left=700 as=h
         close 3 0",
        expect![[r#"
            lease 1 of e#0 failed over to f: pays 1020 earns 1000 fee 20 released 0
            f accepted 1@20 reserves 19380 resuming e#0
            b-f 1@11 bid takes, left 0-0, lease 2 epoch 1 from e#0
              eu/desktop/B ask 11: 0
            lease 2 of e#0 failed over to g: pays 1122 earns 1100 fee 22 released 0 after 1000
            g accepted 1@20 reserves 18258 resuming e#0
            c-g 1@12 bid takes, left 0-0, lease 3 epoch 2 from e#0
              eu/desktop/B ask 12: 0
            refused TOO_MANY_FAILOVERS
            lease 3 of e#0 stopped: pays 0 earns 0 fee 0 released 18258 after 2100
        "#]],
    );
}

#[test]
fn a_failover_that_nobody_could_serve_ends_at_once() {
    check(
        "island i eu desktop B
         ask a i 9@10
         bid b alice 1@20
         ---
         failover 1 100 left=900 as=c
         fund alice 1 9",
        expect![[r#"
            lease 1 of b#0 failed over to c: pays 1020 earns 1000 fee 20 released 0
            c accepted 1@20 reserves 19380 resuming b#0
            c ended 1 not quotable resuming b#0
            alice +1, has 999998981
        "#]],
    );
}

#[test]
fn an_immediate_failover_that_is_too_cheap_ends_at_once() {
    check(
        "island i eu desktop B
         island j eu desktop B
         ask a i 1@10
         ask b j 1@30
         bid c alice 1@20
         ---
         failover 1 100 left=900 ioc as=d",
        expect![[r#"
            lease 1 of c#0 failed over to d: pays 1020 earns 1000 fee 20 released 0
            d accepted 1@20 reserves 19380 resuming c#0
            d ended 1 immediate resuming c#0
        "#]],
    );
}

#[test]
fn a_failover_waits_and_expires() {
    check(
        "island i eu desktop B
         island j eu desktop B
         ask a i 1@10
         ask b j 1@30
         bid c alice 1@20
         ---
         failover 1 100 left=900 gtd=20 as=d
         +20 tick",
        expect![[r#"
            lease 1 of c#0 failed over to d: pays 1020 earns 1000 fee 20 released 0
            d accepted 1@20 reserves 19380 resuming c#0
            class 0 created
              class 0 bid 20: 1
            d ended 1 expired resuming c#0
              class 0 bid 20: 0
        "#]],
    );
}

#[test]
fn a_waiting_failover_is_filled_as_a_maker() {
    check(
        "island i eu desktop B
         island j eu desktop B
         ask a i 1@10
         ask b j 1@30
         bid c alice 1@20
         ---
         failover 1 100 left=900 as=d
         ask e j 1@5
         close 2 900",
        expect![[r#"
            lease 1 of c#0 failed over to d: pays 1020 earns 1000 fee 20 released 0
            d accepted 1@20 reserves 19380 resuming c#0
            class 0 created
              class 0 bid 20: 1
            e accepted 1@5 in eu/desktop/B
            e-d 1@20 ask takes, left 0-0, lease 2 epoch 1 from c#0
              class 0 bid 20: 0
            lease 2 of c#0 stopped: pays 18000 earns 17640 fee 360 released 1380 after 1000
        "#]],
    );
}

#[test]
fn a_failover_asks_for_no_more_than_was_left() {
    check(
        "island i eu desktop B
         island j eu desktop B
         ask a i 1@10
         ask b j 1@30
         bid c alice 1@20
         ---
         failover 1 100 left=901
         failover 1 1001 left=1
         failover 1 100 left=0
         failover 1 100 left=10 gtd=0
         failover 9 100 left=10",
        expect![[r#"
            refused OVER_BILLED
            refused OVER_BILLED
            refused INVALID_UNITS
            refused DEADLINE_PASSED
            refused UNKNOWN_LEASE
        "#]],
    );
}

#[test]
fn segments_never_cost_more_than_an_unbroken_run() {
    check(
        "island i eu desktop B
         island j eu desktop B
         ask a i 1@7
         ask b j 1@7
         bid c alice 1@7 units=3
         ---
         failover 1 1 left=2 as=d
         close 2 2",
        expect![[r#"
            lease 1 of c#0 failed over to d: pays 7 earns 7 fee 0 released 0
            d accepted 1@7 reserves 14 resuming c#0
            b-d 1@7 bid takes, left 0-0, lease 2 epoch 1 from c#0
              eu/desktop/B ask 7: 0
            lease 2 of c#0 stopped: pays 14 earns 14 fee 0 released 0 after 7
        "#]],
    );
}

#[test]
fn a_lost_gateway_ends_its_leases_for_free() {
    check(
        "island i eu desktop B slots=2
         ask a i 3@10
         bid b alice 2@10
         checkpoint 1 16
         ---
         lose gate
         release 1 i
         release 2 i",
        expect![[r#"
            lease 1 of b#0 lost: pays 0 earns 0 fee 0 released 10200 compensation 160
            lease 2 of b#1 lost: pays 0 earns 0 fee 0 released 10200
            session gate ended
            i has 1 of 2 slots free
              eu/desktop/B ask 10: 1
            i has 2 of 2 slots free
        "#]],
    );
}

#[test]
fn a_lost_island_leaves_its_leases_open() {
    check(
        "island i eu desktop B
         island j eu desktop B
         ask a i 1@10
         ask b j 1@10
         bid c alice 1@10
         ---
         lose i
         checkpoint 1 5
         failover 1 5 left=900 as=d",
        expect![[r#"
            session i ended
            lease 1 signed 5
            lease 1 of c#0 failed over to d: pays 51 earns 50 fee 1 released 0
            d accepted 1@10 reserves 10149 resuming c#0
            b-d 1@10 bid takes, left 0-0, lease 2 epoch 1 from c#0
              eu/desktop/B ask 10: 0
        "#]],
    );
}

#[test]
fn a_lease_in_the_middle_of_a_trade_ends_alone() {
    check(
        "island i eu desktop B slots=9
         ask a i 5@10
         bid b alice 5@10
         ---
         close 3 1
         checkpoint 2 4
         close 2 4
         release 4 i
         release 4 i
         lose gate",
        expect![[r#"
            lease 3 of b#2 stopped: pays 10 earns 10 fee 0 released 10190
            lease 2 signed 4
            lease 2 of b#1 stopped: pays 40 earns 40 fee 0 released 10160
            i has 5 of 9 slots free
            refused NO_SLOT
            lease 1 of b#0 lost: pays 0 earns 0 fee 0 released 10200
            lease 4 of b#3 lost: pays 0 earns 0 fee 0 released 10200
            lease 5 of b#4 lost: pays 0 earns 0 fee 0 released 10200
            session gate ended
        "#]],
    );
}
