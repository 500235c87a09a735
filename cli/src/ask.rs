//! `atoll ask`: one ask by hand, over an order-entry session that shows what becomes of it.

use anyhow::{Context, Result, bail};
use clap::{Args, value_parser};
use domain::Price;
use proto::exchange::v1 as wire;
use proto::exchange::v1::order_command::Command;
use proto::exchange::v1::report::Report as Body;
use proto::exchange::v1::session_request::Start;
use proto::types::v1 as types;
use serde_json::{Value, json};
use service::shutdown::Shutdown;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::client::{Connection, explain_as, replace_words};
use crate::show;
use crate::terms::limit;

/// What to offer.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "Examples:
  atoll ask smollm2-135m-instruct-q4_1 --island isl_2M --price 0.02
                                      one job, shown as it goes; Ctrl-C cancels what is left
  atoll ask smollm2-135m-instruct-q4_1 --island isl_2M --price 0.02 --jobs 8 --detach
                                      on the book for as long as the Island's agent is connected

The Island is one of yours whose agent is connected: `atoll up` and `atoll island run` say its name when they start. The
agent goes on quoting by itself; your ask stands beside its own. `atoll orders --owner` lists both, `atoll cancel --owner`
ends them.")]
pub(crate) struct Ask {
    /// The model; `atoll models` lists them.
    model: String,
    /// Which of your Islands is to do the work.
    #[arg(long, value_name = "ISLAND")]
    island: String,
    /// What it is to earn at least, in credits per 1,000 work units such as 0.02.
    #[arg(long, value_name = "CREDITS", value_parser = limit, allow_hyphen_values = true)]
    price: Price,
    /// How many jobs.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..), allow_negative_numbers = true)]
    jobs: u32,
    /// Take it from the book after so long.
    #[arg(long, value_name = "MS", value_parser = value_parser!(u64).range(1..), allow_negative_numbers = true)]
    max_wait_ms: Option<u64>,
    /// Refuse it if it would trade at once.
    #[arg(long)]
    post_only: bool,
    /// Leave it on the book and return, instead of showing what becomes of it.
    #[arg(long)]
    detach: bool,
    /// One line of JSON for each report; money in nano-credits.
    #[arg(long)]
    json: bool,
}

/// What the wire calls an ask's fields, and what they are on the command line.
const FLAGS: [(&str, &str); 12] = [
    ("place_ask.price", "--price"),
    ("place_ask.jobs", "--jobs"),
    ("place_ask.island_id", "--island"),
    ("place_ask.model", "the model"),
    ("place_ask.time_in_force.expires_in_ms", "--max-wait-ms"),
    ("place_ask.time_in_force", "--max-wait-ms"),
    ("time_in_force.expires_in_ms", "--max-wait-ms"),
    ("time_in_force: ", "--max-wait-ms: "),
    ("island_id: ", "--island: "),
    ("price: ", "--price: "),
    ("jobs: ", "--jobs: "),
    ("model: ", "the model: "),
];

/// The references of the two commands that are sent.
const PLACE: u64 = 1;
const CANCEL: u64 = 2;

/// How a cancel is answered that comes after the end of its order.
const ENDED_BEFORE: &str = "UNKNOWN_ORDER";

impl Ask {
    fn request(&self) -> wire::PlaceAskRequest {
        let time_in_force = self.max_wait_ms.map(|expires_in_ms| types::TimeInForce {
            kind: types::TimeInForceKind::Gtd.into(),
            expires_in_ms,
        });
        wire::PlaceAskRequest {
            client_order_id: String::new(),
            island_id: self.island.clone(),
            model: self.model.clone(),
            price: self.price.get(),
            jobs: self.jobs,
            time_in_force,
            post_only: self.post_only,
            self_trade: types::SelfTradeMode::Unspecified.into(),
        }
    }

    fn show(&self, execution: &wire::ExecutionReport) {
        if self.json {
            println!("{}", report_json(execution));
        } else {
            println!("{}", render(execution));
        }
    }
}

/// Places it.
pub(crate) async fn run(connection: &Connection, ask: Ask) -> Result<()> {
    if ask.detach {
        let mut client = connection.order_entry().await?;
        let placed = client.place_ask(ask.request()).await;
        let placed = placed.map_err(|status| explain_as(&status, &FLAGS))?.into_inner();
        ask.show(
            &placed
                .execution
                .context("the exchange did not say what became of it")?,
        );
        return Ok(());
    }
    let mut session = Session::open(connection).await?;
    session.send(PLACE, Command::PlaceAsk(ask.request())).await?;
    session.follow(&ask, &Shutdown::on_signals()).await
}

/// An order-entry session with one ask in it. Its orders are cancelled when it is cut.
struct Session {
    say: mpsc::Sender<wire::SessionRequest>,
    hear: tonic::Streaming<wire::SessionResponse>,
    /// The last report that was read.
    seen: u64,
    order_id: String,
}

impl Session {
    async fn open(connection: &Connection) -> Result<Self> {
        let mut client = connection.order_entry().await?;
        let (say, said) = mpsc::channel(4);
        let open = wire::SessionRequest {
            start: Some(Start::Open(wire::OpenSession::default())),
            ..wire::SessionRequest::default()
        };
        say.send(open).await.context("the session could not be opened")?;
        let hear = client.session(ReceiverStream::new(said)).await;
        Ok(Self {
            say,
            hear: hear.map_err(|status| explain_as(&status, &FLAGS))?.into_inner(),
            seen: 0,
            order_id: String::new(),
        })
    }

    async fn send(&self, reference: u64, command: Command) -> Result<()> {
        let request = wire::SessionRequest {
            start: None,
            commands: vec![wire::OrderCommand {
                reference,
                command: Some(command),
            }],
            received_through: self.seen,
        };
        self.say.send(request).await.context("the session has ended")
    }

    /// Shows reports until the ask is over. Ctrl-C cancels it, and what comes of that is shown as well.
    async fn follow(&mut self, ask: &Ask, interrupt: &Shutdown) -> Result<()> {
        let mut is_cancelling = false;
        loop {
            let message = tokio::select! {
                message = self.hear.message() => message.map_err(|status| explain_as(&status, &FLAGS))?,
                () = interrupt.triggered(), if !is_cancelling => {
                    is_cancelling = true;
                    if self.order_id.is_empty() {
                        // It is cancelled with the session, whatever it has come to.
                        return Ok(());
                    }
                    let cancel = wire::CancelCommand {
                        order_id: self.order_id.clone(),
                        client_order_id: String::new(),
                    };
                    self.send(CANCEL, Command::Cancel(cancel)).await?;
                    continue;
                }
            };
            let Some(message) = message else {
                bail!("the exchange ended the session; what was left of the ask is cancelled");
            };
            for report in message.reports {
                self.seen = report.sequence;
                if self.take(ask, report)? {
                    return Ok(());
                }
            }
            if let Some(goodbye) = message.goodbye {
                bail!("{} [{}]", goodbye.message, goodbye.code);
            }
        }
    }

    /// Shows one report; returns whether it is the last.
    fn take(&mut self, ask: &Ask, report: wire::Report) -> Result<bool> {
        let execution = match report.report {
            Some(Body::Execution(execution)) => execution,
            Some(Body::Refused(refused)) if report.reference == CANCEL => {
                return cancel_refused(&refused).map(|()| true);
            }
            Some(Body::Refused(_)) => return Ok(false),
            Some(
                Body::CancelledAll(_)
                | Body::DeadMan(_)
                | Body::Matched(_)
                | Body::Output(_)
                | Body::FailedOver(_)
                | Body::Completed(_),
            )
            | None => return Ok(false),
        };
        if execution.execution_type() == wire::ExecutionType::Rejected {
            let reason = execution.reason.unwrap_or_default();
            let message = match reason.field.as_str() {
                "" => reason.message,
                field => format!("{field}: {}", reason.message),
            };
            bail!("{} [{}]", replace_words(&message, &FLAGS), reason.code);
        }
        self.order_id.clone_from(&execution.order_id);
        ask.show(&execution);
        Ok(execution.leaves_quantity == 0)
    }
}

/// What a cancel that was refused comes to. When the ask had ended before, there was nothing left to cancel.
fn cancel_refused(refused: &wire::Refusal) -> Result<()> {
    if refused.code == ENDED_BEFORE {
        return Ok(());
    }
    bail!(
        "the ask could not be cancelled: {} [{}]; leaving the session cancels what is left of it: `atoll orders --owner` \
         shows whether it has",
        refused.message,
        refused.code
    )
}

/// A report as a person reads it.
fn render(execution: &wire::ExecutionReport) -> String {
    let (order, left) = (&execution.order_id, execution.leaves_quantity);
    match execution.execution_type() {
        wire::ExecutionType::New | wire::ExecutionType::OrderStatus => format!(
            "ask {order}: {left} jobs at {} per 1,000 units{}",
            show::price(execution.price),
            execution
                .terms
                .as_ref()
                .and_then(|terms| terms.cell.as_ref())
                .map_or_else(String::new, |cell| format!(", {}", show::place(Some(cell)))),
        ),
        wire::ExecutionType::Trade => format!(
            "sold {} at {} ({}); {left} left",
            execution.last_quantity,
            show::price(execution.last_price),
            execution.trade_id
        ),
        wire::ExecutionType::Canceled
        | wire::ExecutionType::Expired
        | wire::ExecutionType::Replaced
        | wire::ExecutionType::PendingCancel
        | wire::ExecutionType::Rejected
        | wire::ExecutionType::Unspecified => {
            let reason = execution.reason.clone().unwrap_or_default();
            format!(
                "ask {order}: {} [{}]; {} of {} sold",
                reason.message, reason.code, execution.cum_quantity, execution.order_quantity
            )
        }
    }
}

fn report_json(execution: &wire::ExecutionReport) -> Value {
    let kind = execution.execution_type().as_str_name();
    json!({
        "report": kind.trim_start_matches("EXECUTION_TYPE_").to_lowercase(),
        "order_id": execution.order_id,
        "model": execution.model,
        "price_nano": execution.price,
        "traded": execution.cum_quantity,
        "left": execution.leaves_quantity,
        "trade_id": (!execution.trade_id.is_empty()).then_some(&execution.trade_id),
        "last_price_nano": (execution.last_price > 0).then_some(execution.last_price),
        "last_jobs": (execution.last_quantity > 0).then_some(execution.last_quantity),
        "code": execution.reason.as_ref().map(|reason| &reason.code),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_cancel_that_failed_says_why_unless_the_ask_had_ended_before() {
        let refused = |code: &str| wire::Refusal {
            code: code.to_owned(),
            message: "too many cancels wait".to_owned(),
            ..wire::Refusal::default()
        };
        let told = cancel_refused(&refused("AT_CAPACITY")).unwrap_err().to_string();
        assert!(told.contains("too many cancels wait [AT_CAPACITY]"), "{told}");
        assert!(cancel_refused(&refused("UNKNOWN_ORDER")).is_ok());
    }

    #[test]
    fn the_life_of_an_ask_reads_in_lines() {
        let new = wire::ExecutionReport {
            execution_type: wire::ExecutionType::New.into(),
            order_id: "ord_C".to_owned(),
            model: "m".to_owned(),
            price: 20_000_000,
            order_quantity: 2,
            leaves_quantity: 2,
            ..wire::ExecutionReport::default()
        };
        let trade = wire::ExecutionReport {
            execution_type: wire::ExecutionType::Trade.into(),
            cum_quantity: 1,
            leaves_quantity: 1,
            last_price: 25_000_000,
            last_quantity: 1,
            trade_id: "trd_D".to_owned(),
            ..new.clone()
        };
        let cancelled = wire::ExecutionReport {
            execution_type: wire::ExecutionType::Canceled.into(),
            order_quantity: 1,
            cum_quantity: 1,
            leaves_quantity: 0,
            reason: Some(wire::Refusal {
                code: "CANCELLED".to_owned(),
                message: "the order was cancelled".to_owned(),
                ..wire::Refusal::default()
            }),
            ..new.clone()
        };
        let life = [new, trade, cancelled];
        let lines: Vec<String> = life
            .iter()
            .map(|report| format!("{}\n{}\n", render(report), report_json(report)))
            .collect();
        expect![[r#"
            ask ord_C: 2 jobs at 0.02 per 1,000 units
            {"code":null,"last_jobs":null,"last_price_nano":null,"left":2,"model":"m","order_id":"ord_C","price_nano":20000000,"report":"new","trade_id":null,"traded":0}
            sold 1 at 0.025 (trd_D); 1 left
            {"code":null,"last_jobs":1,"last_price_nano":25000000,"left":1,"model":"m","order_id":"ord_C","price_nano":20000000,"report":"trade","trade_id":"trd_D","traded":1}
            ask ord_C: the order was cancelled [CANCELLED]; 1 of 1 sold
            {"code":"CANCELLED","last_jobs":null,"last_price_nano":null,"left":0,"model":"m","order_id":"ord_C","price_nano":20000000,"report":"canceled","trade_id":null,"traded":1}
        "#]]
        .assert_eq(&lines.concat());
    }
}
