//! A client's name for its order: the same body is answered with the first order, another is refused.

use expect_test::expect;
use matcher::Limits;

use crate::scenario::{check, check_within};

#[test]
fn the_same_body_is_answered_with_the_first_order() {
    check(
        "island i eu desktop B
         ask a i 3@10 id=1
         bid b alice 1@10 id=2
         ---
         ask a2 i 3@10 id=1
         bid b2 alice 1@10 id=2
         bid b3 bob 1@10 id=2",
        expect![[r#"
            repeats a
            repeats b
            b3 accepted 1@10 reserves 10200
            a-b3 1@10 bid takes, left 1-0, lease 2 epoch 0 from b3#0
              eu/desktop/B ask 10: 1
        "#]],
    );
}

#[test]
fn another_body_is_refused() {
    check(
        "island i eu desktop B owner=alice
         ask a i 3@10 id=1
         ask far i 1@50 id=9
         bid b bob 1@9 id=2
         ---
         ask a2 i 4@10 id=1
         ask a3 i 3@11 id=1
         ask a4 i 3@10 id=1 post
         bid b2 bob 2@9 id=2
         bid b3 bob 1@8 id=2
         bid b4 bob 1@9 id=2 units=999
         bid b5 bob 1@9 id=2 tier=laptop
         bid b6 bob 1@9 id=2 home=us
         bid b7 bob 1@9 id=2 lv=1
         bid b8 bob 1@9 id=2 not=i
         bid b9 bob 1@9 id=2 ioc
         bid b10 bob 1@9 id=2 mode=allow
         bid b11 bob 1@market id=2
         bid b12 bob 1@9 id=2 in=n
         bid b13 bob 1@9 id=2 says=7
         bid b14 alice 1@9 id=1",
        expect![[r#"
            refused DUPLICATE_CLIENT_ORDER_ID
            refused DUPLICATE_CLIENT_ORDER_ID
            refused DUPLICATE_CLIENT_ORDER_ID
            refused DUPLICATE_CLIENT_ORDER_ID
            refused DUPLICATE_CLIENT_ORDER_ID
            refused DUPLICATE_CLIENT_ORDER_ID
            refused DUPLICATE_CLIENT_ORDER_ID
            refused DUPLICATE_CLIENT_ORDER_ID
            refused DUPLICATE_CLIENT_ORDER_ID
            refused DUPLICATE_CLIENT_ORDER_ID
            refused DUPLICATE_CLIENT_ORDER_ID
            refused DUPLICATE_CLIENT_ORDER_ID
            refused DUPLICATE_CLIENT_ORDER_ID
            refused DUPLICATE_CLIENT_ORDER_ID
            refused DUPLICATE_CLIENT_ORDER_ID
            refused DUPLICATE_CLIENT_ORDER_ID
        "#]],
    );
}

#[test]
fn a_repeat_is_told_what_became_of_every_job() {
    check(
        "island i eu desktop B slots=4
         island j eu desktop B
         ask a i 3@10
         bid b alice 4@10 id=2 gtd=50
         ---
         close 1 500
         bid b2 alice 4@10 id=2 gtd=50
         ask c j 1@10
         failover 2 200 left=700 ioc
         lose gate
         session gate
         bid b3 alice 4@10 id=2 gtd=50",
        expect![[r#"
            lease 1 of b#0 stopped: pays 5100 earns 5000 fee 100 released 5100
            repeats b
            b#0 was stopped: 500 units, charge 5000 fee 100
            c accepted 1@10 in eu/desktop/B
            c-b 1@10 ask takes, left 0-0, lease 4 epoch 0 from b#3
              class 0 bid 10: 0
            lease 2 of b#1 failed over to ord_N: pays 2040 earns 2000 fee 40 released 0
            ord_N accepted 1@10 reserves 8160 resuming b#1
            ord_N ended 1 not quotable resuming b#1
            lease 3 of b#2 lost: pays 0 earns 0 fee 0 released 10200
            lease 4 of b#3 lost: pays 0 earns 0 fee 0 released 10200
            session gate ended
            session gate opened
            repeats b
            b#0 was stopped: 500 units, charge 5000 fee 100
            b#1 was incomplete by NO_ISLAND_LEFT: 200 units, charge 2000 fee 40
            b#2 was failed by SESSION_LOST: 0 units, charge 0 fee 0
            b#3 was failed by SESSION_LOST: 0 units, charge 0 fee 0
        "#]],
    );
}

#[test]
fn what_an_amend_took_away_is_told_too() {
    check(
        "island i eu desktop B
         ask a i 3@10
         bid b alice 4@9 id=2
         amend b 1
         ---
         bid b2 alice 4@9 id=2
         cancel b
         bid b3 alice 4@9 id=2",
        expect![[r#"
            repeats b, of which 3 ended cancelled
            b ended 1 cancelled
              class 0 bid 9: 0
            repeats b, of which 4 ended cancelled
        "#]],
    );
}

#[test]
fn the_first_jobs_of_an_order_are_remembered_up_to_a_bound() {
    check_within(
        Limits {
            ended_jobs_per_order_max: 1,
            ..Limits::default()
        },
        "island i eu desktop B slots=2
         ask a i 2@10
         bid b alice 2@10 id=2
         close 1 500
         close 2 500
         ---
         bid b2 alice 2@10 id=2
         +86400000 bid b3 alice 2@10 id=2 ioc",
        expect![[r#"
            repeats b
            b#0 was stopped: 500 units, charge 5000 fee 100
            refused UNSERVABLE
        "#]],
    );
}

#[test]
fn a_retry_through_another_gateway_or_with_a_later_deadline_is_the_same() {
    check(
        "session other
         island i eu desktop B
         ask a i 3@10
         bid b alice 1@9 id=2 gtd=50
         ---
         +10 bid b2 alice 1@9 id=2 gtd=50 session=other
         lose gate
         bid b3 alice 1@9 id=2 gtd=0",
        expect![[r#"
            repeats b
            b ended 1 session lost
            session gate ended
              class 0 bid 9: 0
            repeats b, of which 1 ended session lost
        "#]],
    );
}

#[test]
fn a_refused_order_takes_no_name() {
    check(
        "island i eu desktop B
         ask a i 3@10
         ---
         bid b alice 9@10 id=2 fok
         bid c alice 1@10 id=2",
        expect![[r#"
            refused NOT_FILLED
            c accepted 1@10 reserves 10200
            a-c 1@10 bid takes, left 2-0, lease 1 epoch 0 from c#0
              eu/desktop/B ask 10: 2
        "#]],
    );
}

#[test]
fn a_name_is_remembered_for_a_day_after_the_orders_end() {
    check(
        "island i eu desktop B
         ask a i 9@10
         bid b alice 1@10 id=2
         bid c alice 1@9 id=3
         ---
         +86399999 bid d alice 1@10 id=2
         +1 bid e alice 1@10 id=2
         bid f alice 1@9 id=3",
        expect![[r#"
            repeats b
            e accepted 1@10 reserves 10200
            a-e 1@10 bid takes, left 7-0, lease 2 epoch 0 from e#0
              eu/desktop/B ask 10: 7
            repeats c
        "#]],
    );
}

#[test]
fn names_are_bounded_per_account() {
    check_within(
        Limits {
            client_ids_per_account_max: 2,
            ..Limits::default()
        },
        "island i eu desktop B
         ask a i 9@10
         bid b alice 1@10 ioc
         bid c alice 1@10 ioc
         ---
         bid d alice 1@10 ioc
         bid e bob 1@10 ioc
         +86400000 bid f alice 1@10 ioc",
        expect![[r#"
            refused TOO_MANY_ORDERS
            e accepted 1@10 reserves 10200
            a-e 1@10 bid takes, left 6-0, lease 3 epoch 0 from e#0
              eu/desktop/B ask 10: 6
            f accepted 1@10 reserves 10200
            a-f 1@10 bid takes, left 5-0, lease 4 epoch 0 from f#0
              eu/desktop/B ask 10: 5
        "#]],
    );
}
