//! Price-time priority within a cell.

use expect_test::expect;

use crate::scenario::check;

#[test]
fn an_earlier_order_at_a_price_trades_first() {
    check(
        "island i eu desktop B
         island j eu desktop B
         ask a i 3@10
         ask b j 2@10
         ---
         bid c alice 4@10",
        expect![[r#"
            c accepted 4@10 reserves 40800
            a-c 3@10 bid takes, left 0-1, leases 1-3 epoch 0 from c#0
            b-c 1@10 bid takes, left 1-0, lease 4 epoch 0 from c#3
              eu/desktop/B ask 10: 1
        "#]],
    );
}
