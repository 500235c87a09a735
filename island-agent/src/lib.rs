//! The Island's program: readies its models, enrols, prices, posts asks, runs jobs, signs receipts.
//!
//! [`agent`] decides and does no I/O; [`session`] is its shell; [`runner`] computes. Everything of an Island that
//! must survive a restart is its key and its earnings log, in the data folder.

pub mod agent;
pub mod benchmark;
pub mod command;
pub mod config;
pub mod earnings;
pub mod effect;
pub mod hardware;
pub mod identity;
pub mod limits;
pub mod meter;
pub mod models;
pub mod offers;
pub mod pricing;
pub mod receipt;
pub mod session;
pub mod status;

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::thread;

use anyhow::{Context as _, anyhow, bail};
use service::shutdown::Shutdown;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::agent::{AskRule, OfferedModel, Settings};
use crate::config::Config;
use crate::earnings::EarningsLog;
use crate::effect::Stopped;
use crate::hardware::Hardware;
use crate::identity::Identity;
use crate::offers::Prepared;
use crate::session::{Parts, Shell};
use crate::status::{Phase, Status};

/// An Island that runs. Dropping it leaves it running; its shutdown stops it.
#[derive(Debug)]
pub struct Running {
    status: watch::Receiver<Status>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// What the Island is doing, and every change of it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until an ask of this Island rests in the book.
    ///
    /// # Errors
    /// When the Island ended before.
    pub async fn quoting(&mut self) -> anyhow::Result<Status> {
        let status = self
            .status
            .wait_for(|status| status.phase == Phase::Quoting)
            .await
            .context("the Island ended before it quoted")?;
        Ok(status.clone())
    }

    /// Waits for the Island's end.
    ///
    /// # Errors
    /// When it could not start, or the exchange does not want it.
    pub async fn finished(self) -> anyhow::Result<()> {
        self.task.await.context("the Island's task failed")?
    }
}

/// Runs an Island until `shutdown`, then drains it.
///
/// # Errors
/// When it could not start, or the exchange does not want it. A lost exchange is no error: it comes back.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    start(config, shutdown).finished().await
}

/// Starts an Island. Must be called in a runtime.
#[must_use]
pub fn start(config: Config, shutdown: Shutdown) -> Running {
    start_prepared(config, None, shutdown)
}

/// Starts an Island with runners of the caller's own. Must be called in a runtime.
#[must_use]
pub fn start_with(config: Config, offers: Vec<Prepared>, shutdown: Shutdown) -> Running {
    start_prepared(config, Some(offers), shutdown)
}

fn start_prepared(config: Config, offers: Option<Vec<Prepared>>, shutdown: Shutdown) -> Running {
    let (sender, status) = watch::channel(Status::preparing(&config.region, config.slots));
    let task = tokio::spawn(live(config, offers, shutdown, sender));
    Running { status, task }
}

async fn live(
    config: Config,
    offers: Option<Vec<Prepared>>,
    shutdown: Shutdown,
    status: watch::Sender<Status>,
) -> anyhow::Result<()> {
    service::tls::install_provider();
    warn_of_plain_text(&config.exchange);
    fs::create_dir_all(&config.data)
        .with_context(|| format!("could not make the data folder {}", config.data.display()))?;
    let _lock = lock(&config.data)?;
    let identity = Identity::load_or_create(&config.data)?;
    let earnings = EarningsLog::open(&config.data).context("could not open the earnings log")?;
    tracing::info!(machine = %Hardware::detect(), data = %config.data.display(), "Island starting");
    let offers = match offers {
        Some(offers) => offers,
        None => tokio::select! {
            prepared = prepare(config.clone()) => prepared?,
            () = shutdown.triggered() => return Ok(()),
        },
    };
    let settings = settings(&config, &offers)?;
    let parts = Parts {
        identity,
        earnings,
        offers,
        settings,
        status,
    };
    let shell = Shell::new(&config, parts)?;
    match shell.run(shutdown).await {
        Stopped::Drained => {
            tracing::info!("Island stopped");
            Ok(())
        }
        Stopped::Unwanted { reason } => bail!("the exchange does not let this Island in: {reason}"),
    }
}

/// Readies the models on a thread that a stopping process does not wait for.
async fn prepare(config: Config) -> anyhow::Result<Vec<Prepared>> {
    let (sender, prepared) = oneshot::channel();
    thread::Builder::new()
        .name("prepare".to_owned())
        .spawn(move || {
            let _ = sender.send(offers::prepare(&config));
        })
        .context("could not start the thread that readies models")?;
    prepared.await.context("the thread that readies models failed")?
}

fn settings(config: &Config, offers: &[Prepared]) -> anyhow::Result<Settings> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| anyhow!("the system gave no random bytes: {error}"))?;
    Ok(Settings {
        region: config.region.clone(),
        models: offers
            .iter()
            .map(|offer| OfferedModel {
                model: offer.model().to_owned(),
                digest: offer.digest,
            })
            .collect(),
        slots: config.slots,
        asks: AskRule {
            pricing: config.pricing.clone(),
            jobs: config.jobs_per_ask,
            reprice_after: config.reprice_after,
        },
        reconnect: config.reconnect,
        drain_within: config.drain_within,
        seed: u64::from_be_bytes(seed),
    })
}

/// Two programs with one key would throw each other out of their sessions.
fn lock(data: &Path) -> anyhow::Result<File> {
    let path = data.join("island.lock");
    let file = File::create(&path).with_context(|| format!("could not make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another Island runs on {}; give each its own data folder",
            data.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("could not lock {}", path.display()))
        }
    }
}

fn warn_of_plain_text(url: &str) {
    let Some(authority) = url.strip_prefix("http://") else {
        return;
    };
    let is_local = ["127.", "localhost", "[::1]"]
        .iter()
        .any(|host| authority.starts_with(host));
    if !is_local {
        tracing::warn!(exchange = %url, "the API key travels unencrypted: use https beyond this machine");
    }
}
