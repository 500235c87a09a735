//! `atoll orders`, `atoll cancel`, `atoll amend`: an account's orders on the book.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum, value_parser};
use proto::exchange::v1 as wire;
use proto::types::v1 as types;
use serde_json::{Value, json};

use crate::client::{Account, explain, explain_as};
use crate::show;

/// Which orders to show.
#[derive(Args, Debug)]
pub(crate) struct Orders {
    /// Only those of one side.
    #[arg(long, value_enum)]
    side: Option<SideArgument>,
    /// Only those in one model.
    #[arg(long)]
    model: Option<String>,
    /// One line of JSON an order; money in nano-credits.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    account: Account,
}

/// A side on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SideArgument {
    /// Those that buy.
    Bid,
    /// Those that sell.
    Ask,
}

impl SideArgument {
    fn is_of(self, order: &wire::Order) -> bool {
        match self {
            Self::Bid => order.side() == types::Side::Bid,
            Self::Ask => order.side() == types::Side::Ask,
        }
    }
}

/// What to cancel.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  atoll cancel ord_4T                 one order, and its jobs that run
  atoll cancel ord_4T ord_4V          several; each is tried, whatever becomes of the others
  atoll cancel --all                  every order of yours that rests; jobs that run go on
  atoll cancel --all --model smollm2-135m-instruct-q4_1
  atoll cancel --owner ord_C          an ask of your Islands")]
pub(crate) struct Cancel {
    /// The orders; `atoll orders` lists them.
    #[arg(value_name = "ORDER", required_unless_present = "all", conflicts_with = "all")]
    orders: Vec<String>,
    /// All that rest.
    #[arg(long)]
    all: bool,
    /// Only those in one model.
    #[arg(long, requires = "all")]
    model: Option<String>,
    /// One line of JSON for each thing that was done.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    account: Account,
}

/// What to lower.
#[derive(Args, Debug)]
#[command(after_long_help = "Example:
  atoll amend ord_4T --leaves 2       two jobs are left of it, and it keeps its place in the queue

To raise an order, or to change its price, cancel it and place another: it goes to the back of the queue.")]
pub(crate) struct Amend {
    /// The order; `atoll orders` lists them.
    order: String,
    /// How many jobs are to be left of it: fewer than now.
    #[arg(long, value_name = "JOBS", value_parser = value_parser!(u32).range(1..), allow_negative_numbers = true)]
    leaves: u32,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    account: Account,
}

/// Shows them.
pub(crate) async fn list(orders: &Orders) -> Result<()> {
    let mut exchange = orders.account.exchange().await?;
    let answer = exchange.list_orders(wire::ListOrdersRequest {}).await;
    let mut listed = answer.map_err(|status| explain(&status))?.into_inner().orders;
    listed.retain(|order| {
        orders.side.is_none_or(|side| side.is_of(order))
            && orders.model.as_ref().is_none_or(|model| *model == order.model)
    });
    if orders.json {
        for order in &listed {
            println!("{}", order_json(order));
        }
        return Ok(());
    }
    print!("{}", render(&listed));
    Ok(())
}

fn order_json(order: &wire::Order) -> Value {
    json!({
        "order_id": order.order_id,
        "side": show::side(order.side),
        "model": order.model,
        "price_nano": order.price,
        "jobs": order.order_quantity,
        "traded": order.cum_quantity,
        "left": order.leaves_quantity,
        "expires_at_us": (order.expires_at_us > 0).then_some(order.expires_at_us),
        "reserved_nano": order.reserved_nano,
    })
}

fn render(orders: &[wire::Order]) -> String {
    let head = ["order", "side", "model", "price", "jobs", "left", "reserved"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(orders.iter().map(|order| {
        vec![
            order.order_id.clone(),
            show::side(order.side).to_owned(),
            order.model.clone(),
            show::price(order.price),
            order.order_quantity.to_string(),
            order.leaves_quantity.to_string(),
            show::credits(order.reserved_nano),
        ]
    }));
    show::table(&rows)
}

/// Cancels them.
pub(crate) async fn cancel(cancel: Cancel) -> Result<()> {
    let mut exchange = cancel.account.exchange().await?;
    if cancel.all {
        let model = cancel.model.unwrap_or_default();
        let answer = exchange
            .cancel_all_orders(wire::CancelAllOrdersRequest { model })
            .await;
        let orders = answer.map_err(|status| explain(&status))?.into_inner().orders;
        if cancel.json {
            println!("{}", json!({ "orders": orders }));
        } else {
            println!("{orders} orders cancelled");
        }
        return Ok(());
    }
    let (count, mut refused) = (cancel.orders.len(), 0_usize);
    for order_id in cancel.orders {
        let request = wire::CancelOrderRequest {
            order_id: order_id.clone(),
        };
        match exchange.cancel_order(request).await {
            Ok(answer) => println!("{}", cancelled(&order_id, *answer.get_ref(), cancel.json)),
            Err(status) => {
                refused = refused.saturating_add(1);
                eprintln!("{order_id}: {}", explain_as(&status, &[("order_id: ", "")]));
            }
        }
    }
    if refused > 0 {
        bail!("{refused} of {count} orders were not cancelled");
    }
    Ok(())
}

fn cancelled(order_id: &str, answer: wire::CancelOrderResponse, as_json: bool) -> String {
    let wire::CancelOrderResponse {
        cancelled_jobs,
        stopping_jobs,
    } = answer;
    if as_json {
        return json!({
            "order_id": order_id,
            "cancelled_jobs": cancelled_jobs,
            "stopping_jobs": stopping_jobs,
        })
        .to_string();
    }
    format!(
        "{order_id}: {cancelled_jobs} jobs will not begin, {stopping_jobs} that run were told to stop; what they wrote \
         is charged"
    )
}

/// Lowers it.
pub(crate) async fn amend(amend: Amend) -> Result<()> {
    let mut exchange = amend.account.exchange().await?;
    let request = wire::AmendOrderRequest {
        order_id: amend.order.clone(),
        leaves: amend.leaves,
    };
    let answer = exchange.amend_order(request).await;
    let words = [("order_id", "the order"), ("leaves", "--leaves")];
    let leaves = answer
        .map_err(|status| explain_as(&status, &words))?
        .into_inner()
        .leaves;
    if amend.json {
        println!("{}", json!({ "order_id": amend.order, "left": leaves }));
    } else {
        println!("{}: {leaves} jobs are left; it keeps its place", amend.order);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn orders_of_both_sides_line_up_and_are_told_apart() {
        let bid = wire::Order {
            order_id: "ord_4T".to_owned(),
            side: types::Side::Bid.into(),
            model: "m".to_owned(),
            price: 20_000_000,
            order_quantity: 3,
            cum_quantity: 1,
            leaves_quantity: 2,
            reserved_nano: 500_000_000,
            ..wire::Order::default()
        };
        let ask = wire::Order {
            order_id: "ord_C".to_owned(),
            side: types::Side::Ask.into(),
            expires_at_us: 7,
            reserved_nano: 0,
            ..bid.clone()
        };
        assert!(SideArgument::Bid.is_of(&bid) && !SideArgument::Ask.is_of(&bid));
        let lines = format!("{}\n{}\n", order_json(&bid), order_json(&ask));
        expect![[r#"
            order   side  model  price  jobs  left  reserved
            ord_4T  bid   m      0.02   3     2     0.5
            ord_C   ask   m      0.02   3     2     0
            {"expires_at_us":null,"jobs":3,"left":2,"model":"m","order_id":"ord_4T","price_nano":20000000,"reserved_nano":500000000,"side":"bid","traded":1}
            {"expires_at_us":7,"jobs":3,"left":2,"model":"m","order_id":"ord_C","price_nano":20000000,"reserved_nano":0,"side":"ask","traded":1}
        "#]]
        .assert_eq(&format!("{}{lines}", render(&[bid, ask])));
    }
}
