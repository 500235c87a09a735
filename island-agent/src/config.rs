//! What the owner decides: a TOML file, then flags and the environment, checked whole.
//!
//! Every mistake is reported, not only the first; an unknown key is a mistake. The API key never prints.

mod args;
mod file;

use std::path::PathBuf;
use std::time::Duration;

use domain::Tier;
use service::secret::Secret;

pub use args::RunArgs;
pub use file::{File, PricingFile, ReconnectFile, ScriptedFile, default_data};

use crate::agent::BackoffRule;
use crate::pricing::PricingRule;
use runner::scripted::Script;

/// Everything that an Island's program is told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The exchange, `http://…` or `https://…`.
    pub exchange: String,
    /// A certificate authority to trust besides the public ones, in PEM.
    pub exchange_ca: Option<PathBuf>,
    /// The owner's key.
    pub api_key: Secret,
    /// Where the Island's key and its earnings live.
    pub data: PathBuf,
    /// Where models are cached; the user's cache if it is not given.
    pub models_cache: Option<PathBuf>,
    /// The region it declares.
    pub region: String,
    /// Jobs at once, over all models.
    pub slots: u32,
    /// Inference threads.
    pub threads: u32,
    /// Models to offer.
    pub models: Vec<String>,
    /// The highest tier it wants.
    pub tier_max: Option<Tier>,
    /// A name for people.
    pub display_name: String,
    /// What it asks for its work.
    pub pricing: PricingRule,
    /// Jobs that an ask offers.
    pub jobs_per_ask: u32,
    /// The least time between two prices of one model.
    pub reprice_after: Duration,
    /// How it comes back after a lost session.
    pub reconnect: BackoffRule,
    /// How long running jobs may take when it is stopped.
    pub drain_within: Duration,
    /// What computes.
    pub runner: RunnerChoice,
}

/// What computes the tokens.
#[derive(Clone, Debug)]
pub enum RunnerChoice {
    /// A real model, by candle.
    Candle,
    /// Made-up tokens, for tests and load only.
    Scripted(Vec<Script>),
}
