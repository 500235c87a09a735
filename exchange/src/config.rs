//! What an exchange is told at its start: read once, checked whole, every mistake reported together.
//!
//! Owns the defaults and the reason for each. Invariants: a [`Config`] that exists can be run with, as far as that can
//! be known without opening a file or a socket; secrets never print.
//!
//! Deliberately absent: reloading, and reading the environment, but to find the user's cache.

mod file;
mod regions;

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::{Region, RegionTable};
use service::config::ConfigError;
use service::secret::Secret;

use crate::sequencer::Retention;
pub use regions::built_in_regions;

/// Loopback, so that nobody is served by accident; the port that the documentation speaks of.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// State beside where the exchange was started, for a first try; a service says where.
pub const DATA_DIR: &str = "atoll-exchange";

/// How long it takes until all of the journal was read again: a disk's silent damage is found while copies of before it
/// are still kept.
pub const JOURNAL_CHECK_PERIOD: Duration = Duration::from_hours(7 * 24);

/// Where billing listens by default, on the same machine.
pub const BILLING_URL: &str = "http://127.0.0.1:8081";

/// The home of an exchange that does not say where it is.
pub const REGION: &str = "eu-west";

/// Jobs of one account that may be waiting or running at once over this gateway: more than a person's tools open, and
/// a small part of what the machine holds, so one runaway client does not shut the door for others.
pub const JOBS_PER_ACCOUNT_MAX: u32 = 256;

/// Jobs of all accounts together: each holds its prompt and a stream of events, about 64 KiB, so 256 MiB at most.
pub const JOBS_MAX: u32 = 4_096;

/// Bytes of a request: a context of 8,192 tokens is some 40 KiB of JSON; this leaves room for long ones.
pub const BODY_BYTES_MAX: usize = 2 * 1_024 * 1_024;

/// How long a client may take over the head of a request, or over its body: nobody holds a connection by dripping.
pub const REQUEST_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may leave his stream unread before it is dropped and its jobs cancelled.
pub const STREAM_STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an order-entry session whose connection was lost can be resumed: a client that restarts is back by then,
/// and its jobs do not run for nobody for long.
pub const SESSION_RESUME_WITHIN: Duration = Duration::from_secs(60);

/// Bytes of reports that all order-entry sessions together keep: some 3 million without words.
pub const SESSION_REPORT_BYTES_MAX: usize = 1 << 30;

/// How long a key that billing knows is not asked about again: as long as a revoked key may go on working.
pub const KEY_KEPT: Duration = Duration::from_secs(30);

/// Connections at once: each costs some tens of KiB.
pub const CONNECTIONS_MAX: usize = 4_096;

/// How long jobs that run may go on after the exchange was told to stop: about the longest answer of a small model.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// How often an address may sign up in an hour: a household, or a classroom after a few hours.
pub const SIGN_UPS_PER_HOUR: NonZeroU32 = NonZeroU32::new(5).expect("five is above zero");

/// A configuration file with every key and its default, for people to start from.
pub const SAMPLE: &str = include_str!("config/sample.toml");

/// How an exchange is to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where gRPC and HTTP are served; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The journal, the key and all else that survives a restart.
    pub data_dir: PathBuf,
    /// How much of the past the journal keeps.
    pub retention: Retention,
    /// In what time all of the journal is read again, to find what the disk has lost.
    pub journal_check_period: Duration,
    /// Where models are installed.
    pub models_dir: PathBuf,
    /// Which of them are on the market.
    pub models: Models,
    /// Where billing is.
    pub billing_url: String,
    /// What the exchange proves itself with to billing.
    pub billing_token: Secret,
    /// What an operator proves himself with; without it nobody is one.
    pub operator_token: Option<Secret>,
    /// Where the exchange stands, and so a bid that names no home.
    pub region: Region,
    /// The regions and the round trips between them.
    pub regions: RegionTable,
    /// What the gateway bounds.
    pub limits: GatewayLimits,
}

/// Which installed models are on the market.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Models {
    /// All that are installed.
    #[default]
    Installed,
    /// These; one that is not installed is an error.
    Only(Vec<String>),
}

/// What the gateway bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayLimits {
    /// See [`JOBS_PER_ACCOUNT_MAX`].
    pub jobs_per_account_max: u32,
    /// See [`JOBS_MAX`].
    pub jobs_max: u32,
    /// See [`BODY_BYTES_MAX`].
    pub body_bytes_max: usize,
    /// See [`REQUEST_READ_TIMEOUT`].
    pub request_read_timeout: Duration,
    /// See [`STREAM_STALL_TIMEOUT`].
    pub stream_stall_timeout: Duration,
    /// See [`SESSION_RESUME_WITHIN`].
    pub session_resume_within: Duration,
    /// See [`SESSION_REPORT_BYTES_MAX`].
    pub session_report_bytes_max: usize,
    /// See [`KEY_KEPT`].
    pub key_kept: Duration,
    /// See [`SIGN_UPS_PER_HOUR`].
    pub sign_ups_per_hour: NonZeroU32,
    /// See [`CONNECTIONS_MAX`].
    pub connections_max: usize,
    /// See [`DRAIN_TIMEOUT`].
    pub drain_timeout: Duration,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            jobs_per_account_max: JOBS_PER_ACCOUNT_MAX,
            jobs_max: JOBS_MAX,
            body_bytes_max: BODY_BYTES_MAX,
            request_read_timeout: REQUEST_READ_TIMEOUT,
            stream_stall_timeout: STREAM_STALL_TIMEOUT,
            session_resume_within: SESSION_RESUME_WITHIN,
            session_report_bytes_max: SESSION_REPORT_BYTES_MAX,
            key_kept: KEY_KEPT,
            sign_ups_per_hour: SIGN_UPS_PER_HOUR,
            connections_max: CONNECTIONS_MAX,
            drain_timeout: DRAIN_TIMEOUT,
        }
    }
}

impl Config {
    /// Every default, with state in `data_dir`, models in `models_dir`, and `billing_token` for billing.
    ///
    /// # Panics
    /// Never: the default region is in the built-in table.
    #[must_use]
    pub fn new(data_dir: &Path, models_dir: &Path, billing_token: Secret) -> Self {
        let regions = built_in_regions();
        Self {
            listen: LISTEN,
            data_dir: data_dir.to_owned(),
            retention: Retention::default(),
            journal_check_period: JOURNAL_CHECK_PERIOD,
            models_dir: models_dir.to_owned(),
            models: Models::default(),
            billing_url: BILLING_URL.to_owned(),
            billing_token,
            operator_token: None,
            region: regions.find(REGION).expect("the default region is built in"),
            regions,
            limits: GatewayLimits::default(),
        }
    }

    /// Reads a configuration file, or takes every default when there is none; the billing token has none.
    ///
    /// # Errors
    /// When the file cannot be read or is not TOML; else lists every mistake in it together, unknown keys included.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        file::read(service::config::load(path)?)
    }
}

/// Where models are installed unless the configuration says otherwise: see [`service::cache::models_folder`].
#[must_use]
pub fn default_models_dir() -> PathBuf {
    service::cache::models_folder(|name| std::env::var_os(name))
        .unwrap_or_else(|| PathBuf::from(".cache/atoll/models"))
}
