//! Order entry: long sessions for both sides of the market, batched in both directions.
//!
//! A connection's commands enter in their order (`intake`), through leasing's queue, so that they are journaled in that
//! order. What becomes of them is read from the engine's events (`follow`), never from a command's own answer: a report
//! is a fact that is durable. Reports are numbered and kept (`report_log`), so a session that was cut goes on where its
//! client stopped reading.
//!
//! Invariants:
//! - every command is answered by exactly one report that carries its reference;
//! - an order's reports come in the order of the journal, a job's after the trade that began it;
//! - no reader slows the engine or another reader; one who does not read is disconnected and may resume.
//!
//! Deliberately absent: any decision about orders, leases or money.

mod bids;
mod connection;
mod desk;
mod follow;
mod intake;
mod orders;
mod report_log;
mod report_room;
mod service;
mod session;

use std::sync::Arc;
use std::time::Duration;

use domain::Timestamp;
use proto::exchange::v1::order_entry_service_server::OrderEntryServiceServer;
use tokio::task::JoinHandle;

use crate::gateway::Gateway;
use crate::halts::Halts;
use crate::leasing::LeasingHandle;
use crate::names::Names;
use crate::sequencer::{SequencerHandle, Subscription};

use desk::Desk;

/// Sessions of one account: a market maker with a session for each of its programs.
pub const SESSIONS_PER_ACCOUNT_MAX: usize = 16;

/// Sessions at once. Each keeps some 5 MiB of reports when nobody reads, 16 MiB at most if they carry pages, and all
/// together what [`SessionBounds`] says.
pub const SESSIONS_MAX: usize = 1_024;

/// What is bounded by the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionBounds {
    /// How long a session whose connection was lost can be resumed.
    pub resume_within: Duration,
    /// Bytes of reports that all sessions together keep.
    pub report_bytes_max: usize,
}

/// What the engine does, from a moment on.
#[derive(Debug)]
pub struct EngineFeed {
    /// What was halted then.
    pub halts: Halts,
    /// What follows.
    pub subscription: Subscription,
}

/// The sessions before anybody is served: they follow the engine's events from the first on.
#[derive(Clone, Debug)]
pub struct Sessions(Arc<Desk>);

impl Sessions {
    /// Sessions that send their commands through `leasing`, and the task that follows the engine.
    #[must_use]
    pub fn start(
        sequencer: SequencerHandle,
        leasing: LeasingHandle,
        names: Arc<Names>,
        bounds: SessionBounds,
        feed: EngineFeed,
    ) -> (Self, JoinHandle<()>) {
        let desk = Arc::new(Desk::new(sequencer, leasing, names, bounds));
        let following = tokio::spawn(follow::follow(Arc::clone(&desk), feed.halts, feed.subscription));
        (Self(desk), following)
    }

    /// Takes no new orders, cancels those that rest, and says goodbye to whoever has nothing left.
    pub async fn begin_stop(&self) {
        self.0.begin_stop().await;
    }

    /// Waits until every client was told how his orders ended, and why the exchange stops.
    pub async fn ended(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

/// The gRPC service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OrderEntry {
    gateway: Gateway,
    desk: Arc<Desk>,
}

impl OrderEntry {
    /// The service, at a gateway that knows callers and prepares bids.
    #[must_use]
    pub fn new(gateway: Gateway, sessions: &Sessions) -> Self {
        Self {
            gateway,
            desk: Arc::clone(&sessions.0),
        }
    }

    /// For the router.
    #[must_use]
    pub fn service(&self) -> OrderEntryServiceServer<Self> {
        OrderEntryServiceServer::new(self.clone())
            .max_decoding_message_size(self.gateway.limits.body_bytes_max)
    }
}

fn now() -> Timestamp {
    Timestamp::from_micros(::service::clock::unix_micros())
}
