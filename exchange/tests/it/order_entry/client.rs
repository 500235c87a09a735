//! A client of order entry: sends batches, reads reports one by one, and checks that none is missing.

use std::collections::VecDeque;

use proto::exchange::v1 as wire;
use proto::exchange::v1::order_command::Command;
use proto::exchange::v1::order_entry_service_client::OrderEntryServiceClient;
use proto::exchange::v1::report::Report as Body;
use proto::exchange::v1::session_request::Start;
use proto::types::v1 as types;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use crate::grpc::with;
use crate::support::whole::Whole;

/// What the fixture's Island asks, in nano-credits.
pub(super) const ASKED: u64 = 1_000_000;
/// A price that nobody sells at.
pub(super) const LOW: u64 = 1_000;

pub(super) struct Session {
    pub(super) opened: wire::SessionOpened,
    say: mpsc::Sender<wire::SessionRequest>,
    hear: Streaming<wire::SessionResponse>,
    reports: VecDeque<wire::Report>,
    goodbye: Option<wire::SessionGoodbye>,
    /// The sequence of the last report that was read.
    pub(super) seen: u64,
}

/// A connection before its first message.
pub(super) async fn connect(
    exchange: &Whole,
    key: &str,
) -> Result<
    (
        mpsc::Sender<wire::SessionRequest>,
        Streaming<wire::SessionResponse>,
    ),
    Status,
> {
    let mut client = OrderEntryServiceClient::new(exchange.channel().await);
    let (say, said) = mpsc::channel(64);
    let mut request = Request::new(ReceiverStream::new(said));
    let bearer = format!("Bearer {key}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    let hear = client.session(request).await?.into_inner();
    Ok((say, hear))
}

async fn begin(exchange: &Whole, key: &str, first: wire::SessionRequest) -> Result<Session, Status> {
    let (say, mut hear) = connect(exchange, key).await?;
    say.send(first).await.unwrap();
    let response = hear.message().await?.expect("the session says something first");
    let opened = response.opened.expect("the first message opens the session");
    Ok(Session {
        seen: opened.next_report - 1,
        opened,
        say,
        hear,
        reports: response.reports.into(),
        goodbye: response.goodbye,
    })
}

impl Session {
    pub(super) async fn open(exchange: &Whole, key: &str) -> Self {
        let open = wire::OpenSession {
            keep_orders_on_disconnect: false,
        };
        Self::open_with(exchange, key, open).await.unwrap()
    }

    /// One whose orders stay when it is cut.
    pub(super) async fn keeping(exchange: &Whole, key: &str) -> Self {
        let open = wire::OpenSession {
            keep_orders_on_disconnect: true,
        };
        Self::open_with(exchange, key, open).await.unwrap()
    }

    pub(super) async fn open_with(
        exchange: &Whole,
        key: &str,
        open: wire::OpenSession,
    ) -> Result<Self, Status> {
        let start = Some(Start::Open(open));
        let first = wire::SessionRequest {
            start,
            ..wire::SessionRequest::default()
        };
        begin(exchange, key, first).await
    }

    pub(super) async fn resume(
        exchange: &Whole,
        key: &str,
        token: wire::ResumeSession,
    ) -> Result<Self, Status> {
        let start = Some(Start::Resume(token));
        let first = wire::SessionRequest {
            start,
            ..wire::SessionRequest::default()
        };
        begin(exchange, key, first).await
    }

    /// Where to go on after what was read.
    pub(super) fn token(&self) -> wire::ResumeSession {
        wire::ResumeSession {
            session_id: self.opened.session_id.clone(),
            next_report: self.seen + 1,
        }
    }

    /// Sends one message. The references count from 1.
    pub(super) async fn send(&self, commands: Vec<Command>) {
        let commands = commands.into_iter().zip(1..);
        let commands = commands.map(|(command, reference)| wire::OrderCommand {
            reference,
            command: Some(command),
        });
        self.send_message(wire::SessionRequest {
            commands: commands.collect(),
            ..wire::SessionRequest::default()
        })
        .await;
    }

    pub(super) async fn send_message(&self, message: wire::SessionRequest) {
        // What is said to a session that has ended is not heard.
        drop(self.say.send(message).await);
    }

    pub(super) async fn received_through(&self, sequence: u64) {
        self.send_message(wire::SessionRequest {
            received_through: sequence,
            ..wire::SessionRequest::default()
        })
        .await;
    }

    async fn read(&mut self) -> bool {
        let Some(response) = self.hear.message().await.unwrap() else {
            return false;
        };
        assert!(response.opened.is_none(), "a session opens once");
        assert!(self.goodbye.is_none(), "nothing follows a goodbye");
        self.reports.extend(response.reports);
        self.goodbye = response.goodbye;
        true
    }

    /// The next report; `None` if the connection ended instead.
    pub(super) async fn next_or_end(&mut self) -> Option<wire::Report> {
        while self.reports.is_empty() {
            if !self.read().await {
                return None;
            }
        }
        let report = self.reports.pop_front()?;
        assert_eq!(report.sequence, self.seen + 1, "a report is missing");
        assert!(report.at_us > 0);
        self.seen = report.sequence;
        Some(report)
    }

    pub(super) async fn next(&mut self) -> wire::Report {
        match self.next_or_end().await {
            Some(report) => report,
            None => panic!("the session ended: {:?}", self.goodbye),
        }
    }

    /// The next reports, a line each.
    pub(super) async fn lines(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..count {
            lines.push(line(&self.next().await));
        }
        lines
    }

    /// The next report about an order, and only that.
    pub(super) async fn execution(&mut self) -> wire::ExecutionReport {
        match self.next().await.report.unwrap() {
            Body::Execution(execution) => execution,
            other => panic!("no execution: {other:?}"),
        }
    }

    /// Reads to the end of the connection, and why it ended.
    pub(super) async fn goodbye(&mut self) -> wire::SessionGoodbye {
        while self.next_or_end().await.is_some() {}
        self.goodbye.take().expect("the connection ended without a word")
    }
}

/// A report as a test reads it: `reference what client-id cum+leaves=quantity`.
pub(super) fn line(report: &wire::Report) -> String {
    let what = match report.report.as_ref().unwrap() {
        Body::Execution(execution) => execution_line(execution),
        Body::Refused(refused) => format!("REFUSED {}{}", refused.code, at(&refused.field)),
        Body::CancelledAll(all) => format!("CANCELLED_ALL {}", all.orders),
        Body::DeadMan(dead_man) => {
            assert!(!dead_man.fired || dead_man.fires_at_us == 0);
            match (dead_man.fired, dead_man.fires_at_us) {
                (true, _) => "DEAD_MAN fired".to_owned(),
                (false, 0) => "DEAD_MAN off".to_owned(),
                (false, _) => "DEAD_MAN on".to_owned(),
            }
        }
        Body::Matched(matched) => format!("matched {}", matched.index),
        Body::Output(output) => format!("output {:?}", output.text),
        Body::FailedOver(failed_over) => format!("failed over {}", failed_over.index),
        Body::Completed(completed) => {
            format!("completed {} {:?}", completed.index, completed.outcome())
        }
    };
    match report.reference {
        0 => what,
        reference => format!("{reference}: {what}"),
    }
}

fn at(field: &str) -> String {
    if field.is_empty() {
        String::new()
    } else {
        format!("@{field}")
    }
}

fn execution_line(execution: &wire::ExecutionReport) -> String {
    let kind = execution.execution_type().as_str_name();
    let kind = kind.trim_start_matches("EXECUTION_TYPE_");
    let status = execution.order_status().as_str_name();
    let status = status.trim_start_matches("ORDER_STATUS_");
    let side = match execution.side() {
        types::Side::Bid => "bid",
        types::Side::Ask => "ask",
        types::Side::Unspecified => panic!("no side: {execution:?}"),
    };
    let (cum, leaves) = (execution.cum_quantity, execution.leaves_quantity);
    let name = &execution.client_order_id;
    let quantity = match execution.order_status() {
        wire::OrderStatus::Rejected => String::new(),
        _ => format!(" {cum}+{leaves}={}", execution.order_quantity),
    };
    let trade = match execution.liquidity() {
        types::Liquidity::Unspecified => String::new(),
        types::Liquidity::Maker => format!(" maker {}@{}", execution.last_quantity, execution.last_price),
        types::Liquidity::Taker => format!(" taker {}@{}", execution.last_quantity, execution.last_price),
    };
    let reason = match &execution.reason {
        Some(reason) => format!(" {}{}", reason.code, at(&reason.field)),
        None => String::new(),
    };
    format!("{kind} {status} {side} {name}{quantity}{trade}{reason}")
}

/// A bid of that name which waits at `limit` until it is cancelled.
pub(super) fn bid(name: &str, limit: u64, jobs: usize) -> Command {
    Command::PlaceBid(with(|request| {
        request.client_order_id = name.to_owned();
        request.inputs = vec![request.inputs[0].clone(); jobs];
        let terms = request.terms.get_or_insert_default();
        terms.limit = Some(limit);
        terms.time_in_force = Some(types::TimeInForce {
            kind: types::TimeInForceKind::Gtc.into(),
            expires_in_ms: 0,
        });
    }))
}

/// An ask of that name which waits at `price` until it is cancelled.
pub(super) fn ask(name: &str, island: impl std::fmt::Display, price: u64, jobs: u32) -> Command {
    Command::PlaceAsk(wire::PlaceAskRequest {
        client_order_id: name.to_owned(),
        island_id: island.to_string(),
        model: "tiny-chat".to_owned(),
        price,
        jobs,
        ..wire::PlaceAskRequest::default()
    })
}

pub(super) fn cancel(name: &str) -> Command {
    Command::Cancel(wire::CancelCommand {
        order_id: String::new(),
        client_order_id: name.to_owned(),
    })
}

pub(super) fn amend(name: &str, leaves_quantity: u32) -> Command {
    Command::Amend(wire::AmendCommand {
        order_id: String::new(),
        client_order_id: name.to_owned(),
        leaves_quantity,
    })
}

pub(super) fn cancel_all(scope: wire::CancelScope, model: &str) -> Command {
    Command::CancelAll(wire::CancelAllCommand {
        scope: scope.into(),
        model: model.to_owned(),
    })
}

pub(super) fn dead_man(cancel_after_ms: u64) -> Command {
    Command::DeadMan(wire::DeadManCommand { cancel_after_ms })
}
