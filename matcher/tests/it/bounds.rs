//! Every bound is reached.

use expect_test::expect;
use matcher::Limits;

use crate::scenario::check_within;

#[test]
fn orders_are_bounded_per_account() {
    check_within(
        Limits {
            orders_per_account_max: 2,
            ..Limits::default()
        },
        "island i eu desktop B
         ask a i 1@50
         ask b i 1@50
         ---
         ask c i 1@50
         ask d i 1@50 ioc
         bid e alice 1@10
         bid f alice 1@10
         bid g alice 1@10
         bid h alice 1@10 ioc
         cancel e
         bid j alice 1@10",
        expect![[r#"
            refused TOO_MANY_ORDERS
            d accepted 1@50 in eu/desktop/B
            d ended 1 immediate
            e accepted 1@10 reserves 10200
            class 0 created
              class 0 bid 10: 1
            f accepted 1@10 reserves 10200
              class 0 bid 10: 2
            refused TOO_MANY_ORDERS
            h accepted 1@10 reserves 10200
            h ended 1 immediate
            e ended 1 cancelled
              class 0 bid 10: 1
            j accepted 1@10 reserves 10200
              class 0 bid 10: 2
        "#]],
    );
}

#[test]
fn islands_are_bounded() {
    check_within(
        Limits {
            islands_max: 1,
            ..Limits::default()
        },
        "island i eu desktop B
         session two
         ---
         rejoin j two eu
         lose i
         rejoin j two eu",
        expect![[r#"
            refused UNKNOWN_ISLAND
            session i ended
            j joined
        "#]],
    );
}

#[test]
fn failovers_are_bounded() {
    check_within(
        Limits {
            failovers_per_job_max: 0,
            ..Limits::default()
        },
        "island i eu desktop B
         ask a i 1@10
         bid b alice 1@10
         ---
         failover 1 0 left=1000",
        expect![[r#"
            refused TOO_MANY_FAILOVERS
        "#]],
    );
}

#[test]
fn transfers_are_remembered_up_to_a_bound() {
    check_within(
        Limits {
            transfers_per_account_max: 2,
            ..Limits::default()
        },
        "fund alice 5 1
         fund alice 5 2
         fund alice 5 1
         fund alice 5 3
         fund alice 5 1
         fund alice 5 3",
        expect![[r#"
            alice +5, has 5
            alice +5, has 10
            alice +5, has 15
            alice +5, has 20
        "#]],
    );
}

#[test]
fn who_moves_orders_without_trading_must_wait_for_the_next_minute() {
    check_within(
        Limits {
            free_messages_per_minute: 3,
            messages_per_trade: 2,
            ..Limits::default()
        },
        "island i eu desktop B slots=9
         ask a i 9@50
         ---
         bid b alice 2@10
         amend b 1
         cancel b
         bid c alice 1@10
         cancel c
         # Cancels are counted, and never refused; that of an order which is not there counts for nothing.
         bid d alice 1@10
         cancel d
         bid e bob 1@50
         bid f bob 1@10
         bid g bob 1@10
         bid h bob 1@10
         bid k bob 1@10
         bid l bob 1@10
         +60000 bid m alice 1@10",
        expect![[r#"
            b accepted 2@10 reserves 20400
            class 0 created
              class 0 bid 10: 2
            b has 1 left
              class 0 bid 10: 1
            b ended 1 cancelled
              class 0 bid 10: 0
            refused ORDER_TO_TRADE
            refused UNKNOWN_ORDER
            refused ORDER_TO_TRADE
            refused UNKNOWN_ORDER
            e accepted 1@50 reserves 51000
            a-e 1@50 bid takes, left 8-0, lease 1 epoch 0 from e#0
              eu/desktop/B ask 50: 8
            f accepted 1@10 reserves 10200
              class 0 bid 10: 1
            g accepted 1@10 reserves 10200
              class 0 bid 10: 2
            h accepted 1@10 reserves 10200
              class 0 bid 10: 3
            k accepted 1@10 reserves 10200
              class 0 bid 10: 4
            refused ORDER_TO_TRADE
            m accepted 1@10 reserves 10200
              class 0 bid 10: 5
        "#]],
    );
}
