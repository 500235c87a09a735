//! What comes in over an order-entry session.

use std::time::Duration;

use domain::{IslandId, Jobs, OrderId, Price, SelfTradeMode, TimeInForce};

use super::error::{FieldError, FieldResult};
use super::exchange::{JobRequest, Market, NAME_LENGTH_MAX, job_request_from_wire};
use super::values::{
    id_from_wire, price_from_wire, self_trade_from_wire, text_from_wire, time_in_force_from_wire,
};
use crate::exchange::v1 as wire;
use crate::exchange::v1::order_command::Command;

/// Commands that one message may carry: a market maker's whole ladder, and no more than some milliseconds of work.
pub const COMMANDS_PER_MESSAGE_MAX: usize = 1_024;
/// The longest that a dead-man switch may be set for.
pub const DEAD_MAN_MAX: Duration = Duration::from_hours(24);

/// One command of an order-entry session.
#[derive(Clone, Debug)]
pub enum OrderCommand {
    /// Enters a bid.
    PlaceBid(Box<JobRequest>),
    /// Enters an ask.
    PlaceAsk(AskRequest),
    /// Cancels an order.
    Cancel(OrderName),
    /// Cancels many.
    CancelAll(CancelAll),
    /// Lowers what is left of an order.
    Amend {
        /// Which.
        order: OrderName,
        /// What is to be left.
        leaves: Jobs,
    },
    /// Arms or renews the dead-man switch, or disarms it.
    DeadMan(Option<Duration>),
}

/// An ask, as its Island's owner enters it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskRequest {
    /// The client's name for it, if he gave one.
    pub client_order_id: Option<String>,
    /// The Island.
    pub island: IslandId,
    /// The model.
    pub model: String,
    /// The price.
    pub price: Price,
    /// How many jobs.
    pub jobs: Jobs,
    /// How long it stays.
    pub time_in_force: TimeInForce,
    /// Whether it may only rest.
    pub post_only: bool,
    /// What happens when it would meet the caller's own bid.
    pub self_trade: SelfTradeMode,
}

/// How a command names an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderName {
    /// By the exchange's id.
    Id(OrderId),
    /// By the client's.
    Client(String),
}

/// Which orders a mass cancel ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelAll {
    /// The session's.
    Session,
    /// The account's.
    Account,
    /// The account's in one model.
    Model(String),
}

/// One command.
///
/// # Errors
/// Names the first field that does not convert.
pub fn order_command_from_wire(command: Option<Command>, market: Market<'_>) -> FieldResult<OrderCommand> {
    let command = command.ok_or_else(|| FieldError::new("command", "is required"))?;
    Ok(match command {
        Command::PlaceBid(bid) => {
            let request = job_request_from_wire(bid, market).map_err(|error| error.within("place_bid"))?;
            OrderCommand::PlaceBid(Box::new(request))
        }
        Command::PlaceAsk(ask) => OrderCommand::PlaceAsk(
            ask_request_from_wire(ask, market).map_err(|error| error.within("place_ask"))?,
        ),
        Command::Cancel(cancel) => {
            OrderCommand::Cancel(order_name("cancel", &cancel.order_id, cancel.client_order_id)?)
        }
        Command::CancelAll(cancel) => OrderCommand::CancelAll(cancel_all_from_wire(cancel)?),
        Command::Amend(amend) => OrderCommand::Amend {
            order: order_name("amend", &amend.order_id, amend.client_order_id)?,
            leaves: quantity("amend.leaves_quantity", amend.leaves_quantity)?,
        },
        Command::DeadMan(set) => OrderCommand::DeadMan(dead_man(set.cancel_after_ms)?),
    })
}

/// An ask.
///
/// # Errors
/// Names the first field that does not convert.
pub fn ask_request_from_wire(ask: wire::PlaceAskRequest, market: Market<'_>) -> FieldResult<AskRequest> {
    let client_order_id = match ask.client_order_id {
        text if text.is_empty() => None,
        text => Some(text_from_wire("client_order_id", text, NAME_LENGTH_MAX)?),
    };
    let time_in_force = time_in_force_from_wire("time_in_force", ask.time_in_force, market.now)?;
    Ok(AskRequest {
        client_order_id,
        island: id_from_wire("island_id", &ask.island_id)?,
        model: text_from_wire("model", ask.model, NAME_LENGTH_MAX)?,
        price: price_from_wire("price", ask.price)?,
        jobs: quantity("jobs", ask.jobs)?,
        time_in_force: time_in_force.unwrap_or(TimeInForce::Gtc),
        post_only: ask.post_only,
        self_trade: self_trade_from_wire("self_trade", ask.self_trade)?,
    })
}

fn order_name(field: &str, order_id: &str, client_order_id: String) -> FieldResult<OrderName> {
    match (order_id.is_empty(), client_order_id.is_empty()) {
        (false, true) => Ok(OrderName::Id(id_from_wire(
            &format!("{field}.order_id"),
            order_id,
        )?)),
        (true, false) => Ok(OrderName::Client(text_from_wire(
            &format!("{field}.client_order_id"),
            client_order_id,
            NAME_LENGTH_MAX,
        )?)),
        (true, true) => Err(FieldError::new(
            format!("{field}.order_id"),
            "is required, or client_order_id",
        )),
        (false, false) => Err(FieldError::new(
            format!("{field}.client_order_id"),
            "and order_id exclude one another",
        )),
    }
}

fn cancel_all_from_wire(cancel: wire::CancelAllCommand) -> FieldResult<CancelAll> {
    let scope = wire::CancelScope::try_from(cancel.scope).map_err(|_| {
        FieldError::new(
            "cancel_all.scope",
            format!("{} is not a known value", cancel.scope),
        )
    })?;
    match (scope, cancel.model.is_empty()) {
        (wire::CancelScope::Unspecified | wire::CancelScope::Session, true) => Ok(CancelAll::Session),
        (wire::CancelScope::Unspecified | wire::CancelScope::Session, false) => Err(FieldError::new(
            "cancel_all.model",
            "is for the account's orders: set the scope to the account",
        )),
        (wire::CancelScope::Account, true) => Ok(CancelAll::Account),
        (wire::CancelScope::Account, false) => Ok(CancelAll::Model(text_from_wire(
            "cancel_all.model",
            cancel.model,
            NAME_LENGTH_MAX,
        )?)),
    }
}

fn quantity(field: &str, jobs: u32) -> FieldResult<Jobs> {
    if jobs == 0 {
        return Err(FieldError::new(field, "is at least 1"));
    }
    Ok(Jobs::new(jobs))
}

fn dead_man(cancel_after_ms: u64) -> FieldResult<Option<Duration>> {
    let after = Duration::from_millis(cancel_after_ms);
    if after > DEAD_MAN_MAX {
        return Err(FieldError::new(
            "dead_man.cancel_after_ms",
            format!("is at most {}, a day", DEAD_MAN_MAX.as_millis()),
        ));
    }
    Ok((!after.is_zero()).then_some(after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{RegionTable, RoundTrip, Timestamp};

    fn convert(command: Command) -> FieldResult<OrderCommand> {
        let regions = RegionTable::new(vec!["eu".into()], vec![vec![RoundTrip::from_millis(1)]]).unwrap();
        let market = Market {
            regions: &regions,
            home: regions.find("eu").unwrap(),
            now: Timestamp::ZERO,
        };
        order_command_from_wire(Some(command), market)
    }

    fn field_of(command: Command) -> String {
        convert(command).unwrap_err().field
    }

    fn ask(change: impl FnOnce(&mut wire::PlaceAskRequest)) -> Command {
        let mut ask = wire::PlaceAskRequest {
            island_id: "isl_1".into(),
            model: "m".into(),
            price: 1_000,
            jobs: 1,
            ..wire::PlaceAskRequest::default()
        };
        change(&mut ask);
        Command::PlaceAsk(ask)
    }

    #[test]
    fn an_ask_without_a_time_in_force_rests() {
        let Ok(OrderCommand::PlaceAsk(ask)) = convert(ask(|_| {})) else {
            panic!("it was refused")
        };
        assert_eq!(ask.time_in_force, TimeInForce::Gtc);
        assert_eq!(ask.client_order_id, None);
    }

    #[test]
    fn what_does_not_convert_names_its_field() {
        assert_eq!(
            field_of(ask(|ask| ask.island_id = "ord_1".into())),
            "place_ask.island_id"
        );
        assert_eq!(field_of(ask(|ask| ask.jobs = 0)), "place_ask.jobs");
        assert_eq!(field_of(ask(|ask| ask.price = 1)), "place_ask.price");
        assert_eq!(field_of(ask(|ask| ask.self_trade = 77)), "place_ask.self_trade");
        assert_eq!(field_of(ask(|ask| ask.model = "m".repeat(65))), "place_ask.model");
        assert_eq!(
            field_of(Command::PlaceBid(wire::SubmitJobRequest::default())),
            "place_bid.model"
        );
        let cancel = |order_id: &str, client_order_id: &str| {
            Command::Cancel(wire::CancelCommand {
                order_id: order_id.into(),
                client_order_id: client_order_id.into(),
            })
        };
        assert_eq!(field_of(cancel("", "")), "cancel.order_id");
        assert_eq!(field_of(cancel("lse_1", "")), "cancel.order_id");
        assert_eq!(field_of(cancel("ord_1", "a")), "cancel.client_order_id");
        let all = |scope, model: &str| {
            Command::CancelAll(wire::CancelAllCommand {
                scope,
                model: model.into(),
            })
        };
        assert_eq!(field_of(all(9, "")), "cancel_all.scope");
        assert_eq!(field_of(all(0, "m")), "cancel_all.model");
        let amend = wire::AmendCommand {
            order_id: "ord_1".into(),
            ..wire::AmendCommand::default()
        };
        assert_eq!(field_of(Command::Amend(amend)), "amend.leaves_quantity");
        let cancel_after_ms = u64::MAX;
        assert_eq!(
            field_of(Command::DeadMan(wire::DeadManCommand { cancel_after_ms })),
            "dead_man.cancel_after_ms"
        );
    }
}
