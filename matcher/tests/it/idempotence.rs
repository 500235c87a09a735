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
            repeats b
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
