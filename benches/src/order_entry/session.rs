//! Orders through a session, so many in flight, beside messages of the same sizes through the floor.
//!
//! Each message carries one command, as a client sends it who waits for nothing; the exchange batches its reports as it
//! likes. In turns an order is entered, far from what could take it, and one that was entered some hundred orders ago is
//! cancelled, so the book stays as deep as it is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use prost::Message as _;
use proto::exchange::v1 as wire;
use proto::exchange::v1::order_command::Command;
use proto::exchange::v1::order_entry_service_client::OrderEntryServiceClient;
use proto::exchange::v1::report::Report as Body;
use proto::exchange::v1::session_request::Start;
use proto::types::v1 as types;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use super::echo::{EchoClient, Payload};
use super::stage::{MODEL, Stage, bearer};

/// Commands that are in flight at once.
pub(super) const IN_FLIGHT: usize = 256;

/// Orders of a session that rest.
const RESTING: usize = 512;

/// What bids offer and what asks want, in nano-credits per 1,000 units.
const BID_PRICE: u64 = 1_000;
const ASK_PRICE: u64 = 1_000_000;

/// Which orders a session enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Bids,
    Asks,
}

/// A session that is driven.
pub(super) struct Driver {
    say: mpsc::Sender<wire::SessionRequest>,
    hear: Streaming<wire::SessionResponse>,
    side: Side,
    island: String,
    /// Names of orders that rest, oldest first.
    resting: VecDeque<String>,
    made: u64,
    commands: u64,
    /// The last report that was read.
    seen: u64,
}

/// What a round cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    pub(super) commands: usize,
    pub(super) took: Duration,
    /// Encoded sizes of all that went up, and of all that came down.
    pub(super) bytes_up: usize,
    pub(super) bytes_down: usize,
}

impl Round {
    /// Two rounds that ran beside each other.
    pub(super) fn beside(self, other: Self) -> Self {
        Self {
            commands: self.commands + other.commands,
            took: self.took.max(other.took),
            bytes_up: self.bytes_up + other.bytes_up,
            bytes_down: self.bytes_down + other.bytes_down,
        }
    }

    /// Commands in a second.
    pub(super) fn rate(&self) -> u64 {
        let commands = u128::try_from(self.commands).unwrap_or(u128::MAX);
        let per_second = commands.saturating_mul(1_000_000_000);
        u64::try_from(per_second.div_euclid(self.took.as_nanos().max(1))).unwrap_or(u64::MAX)
    }
}

impl Driver {
    /// Opens a session of whoever enters orders of that side, over a connection of its own.
    pub(super) async fn open(stage: &Stage, side: Side) -> Result<Self> {
        let key = match side {
            Side::Bids => &stage.buyer,
            Side::Asks => &stage.owner,
        };
        let mut client = OrderEntryServiceClient::new(stage.connect().await?);
        let (say, said) = mpsc::channel(IN_FLIGHT);
        let mut request = Request::new(ReceiverStream::new(said));
        request.metadata_mut().insert("authorization", bearer(key)?);
        let hear = client.session(request).await.context("no session was opened")?;
        let mut hear = hear.into_inner();
        let open = Start::Open(wire::OpenSession::default());
        say.send(wire::SessionRequest {
            start: Some(open),
            ..wire::SessionRequest::default()
        })
        .await?;
        let first = hear.message().await?.context("the session said nothing")?;
        ensure!(first.opened.is_some(), "the session was not opened: {first:?}");
        Ok(Self {
            say,
            hear,
            side,
            island: stage.island.id.clone(),
            resting: VecDeque::new(),
            made: 0,
            commands: 0,
            seen: 0,
        })
    }

    /// Sends `count` commands, `in_flight` at a time, and waits until each was answered.
    pub(super) async fn round(&mut self, in_flight: usize, count: usize) -> Result<Round> {
        let mut round = Round {
            commands: count,
            ..Round::default()
        };
        let (mut sent, mut answered) = (0, 0);
        let begun = Instant::now();
        while answered < count {
            while sent < count && sent - answered < in_flight {
                let message = self.next();
                round.bytes_up += message.encoded_len();
                self.say.send(message).await.context("the session has ended")?;
                sent += 1;
            }
            let response = self.hear.message().await?.context("the session has ended")?;
            round.bytes_down += response.encoded_len();
            if let Some(goodbye) = response.goodbye {
                bail!("the session said goodbye: {goodbye:?}");
            }
            for report in response.reports {
                self.seen = report.sequence;
                if report.reference > 0 {
                    check(&report)?;
                    answered += 1;
                }
            }
        }
        round.took = begun.elapsed();
        Ok(round)
    }

    fn next(&mut self) -> wire::SessionRequest {
        self.commands += 1;
        let command = if self.resting.len() < RESTING || self.commands.is_multiple_of(2) {
            self.place()
        } else {
            let oldest = self.resting.pop_front();
            Command::Cancel(wire::CancelCommand {
                order_id: String::new(),
                client_order_id: oldest.unwrap_or_default(),
            })
        };
        wire::SessionRequest {
            start: None,
            commands: vec![wire::OrderCommand {
                reference: self.commands,
                command: Some(command),
            }],
            received_through: self.seen,
        }
    }

    fn place(&mut self) -> Command {
        self.made += 1;
        let name = format!("m{}", self.made);
        self.resting.push_back(name.clone());
        match self.side {
            Side::Bids => Command::PlaceBid(bid(name)),
            Side::Asks => Command::PlaceAsk(ask(name, self.island.clone())),
        }
    }
}

/// Every command of the measurement is one that the exchange carries out.
fn check(report: &wire::Report) -> Result<()> {
    match &report.report {
        Some(Body::Execution(execution)) => {
            let kind = execution.execution_type();
            let is_good = matches!(kind, wire::ExecutionType::New | wire::ExecutionType::Canceled);
            ensure!(is_good, "a command failed: {execution:?}");
            Ok(())
        }
        other => bail!("a command was not carried out: {other:?}"),
    }
}

fn gtc() -> types::TimeInForce {
    types::TimeInForce {
        kind: types::TimeInForceKind::Gtc.into(),
        expires_in_ms: 0,
    }
}

fn bid(client_order_id: String) -> wire::SubmitJobRequest {
    wire::SubmitJobRequest {
        client_order_id,
        user: String::new(),
        model: MODEL.to_owned(),
        inputs: vec![wire::JobInput {
            messages: vec![wire::ChatMessage {
                role: "user".to_owned(),
                content: "What is the capital of France?".to_owned(),
            }],
            max_tokens: 16,
            ..wire::JobInput::default()
        }],
        terms: Some(wire::BidTerms {
            limit: Some(BID_PRICE),
            time_in_force: Some(gtc()),
            ..wire::BidTerms::default()
        }),
    }
}

/// An ask that rests.
pub(super) fn ask(client_order_id: String, island_id: String) -> wire::PlaceAskRequest {
    wire::PlaceAskRequest {
        client_order_id,
        island_id,
        model: MODEL.to_owned(),
        price: ASK_PRICE,
        jobs: 1,
        time_in_force: Some(gtc()),
        ..wire::PlaceAskRequest::default()
    }
}

/// Sends `count` messages of `size` bytes through the floor, [`IN_FLIGHT`] at a time.
pub(super) async fn floor_round(client: &mut EchoClient, size: usize, count: usize) -> Result<Round> {
    let (say, said) = mpsc::channel(IN_FLIGHT);
    let mut hear = client.stream(said).await?;
    let payload = Payload::of_size(size);
    let (mut sent, mut answered) = (0, 0);
    let begun = Instant::now();
    while answered < count {
        while sent < count && sent - answered < IN_FLIGHT {
            say.send(payload.clone()).await.context("the floor has ended")?;
            sent += 1;
        }
        hear.message().await?.context("the floor has ended")?;
        answered += 1;
    }
    Ok(Round {
        commands: count,
        took: begun.elapsed(),
        ..Round::default()
    })
}
