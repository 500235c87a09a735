//! What an Island is doing, for whoever waits for it: `atoll`, a test, or a person.

use serde::{Deserialize, Serialize};

/// The Island at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What it is doing.
    pub phase: Phase,
    /// Its id, once the exchange has said it.
    pub island: Option<String>,
    /// The region it declares.
    pub region: String,
    /// Its models.
    pub models: Vec<ModelStatus>,
    /// Jobs that run.
    pub running: u32,
    /// Jobs that it can run at once.
    pub slots: u32,
    /// Jobs that ended since the start, canaries included.
    pub jobs_done: u64,
    /// What was earned since the start, in nano-credits.
    pub earned_nano: i64,
}

/// One model of an Island.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// Its id.
    pub model: String,
    /// The tier that the exchange assigned, while there is one.
    pub tier: Option<String>,
    /// Why there is none, if the exchange has said so: what was measured, and what the slowest tier asks for.
    pub no_tier: Option<String>,
    /// The ask that rests in the book, if one does.
    pub ask: Option<AskSummary>,
}

/// An ask in the book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskSummary {
    /// The order.
    pub order: String,
    /// Credits per 1,000 work units.
    pub price: String,
    /// Jobs left.
    pub leaves: u32,
}

/// What an Island is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Fetching, loading and measuring its models.
    Preparing,
    /// Reaching the exchange.
    Connecting,
    /// Opening a session.
    Handshaking,
    /// In session, without an ask in the book yet: the exchange measures it.
    Welcomed,
    /// In session, with an ask in the book.
    Quoting,
    /// Finishing what runs.
    Draining,
    /// Waiting to try again.
    BackingOff,
    /// Done.
    Stopped,
}

impl Status {
    /// An Island before its first step.
    #[must_use]
    pub fn preparing(region: &str, slots: u32) -> Self {
        Self {
            phase: Phase::Preparing,
            island: None,
            region: region.to_owned(),
            models: Vec::new(),
            running: 0,
            slots,
            jobs_done: 0,
            earned_nano: 0,
        }
    }
}
