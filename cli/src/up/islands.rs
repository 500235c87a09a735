//! The three Islands of `atoll up`: child processes of this program, a process group each, that die with it.
//!
//! An Island that ends is not started again: what the market does without it is what a person wants to see.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use domain::Tier;
use proto::exchange::v1::{GetStatusRequest, Island as LiveIsland};
use rustix::process::{Pid, Signal};
use serde::Serialize;
use service::secret::Secret;
use tokio::process::Child;
use tokio::time::Instant;

use crate::client::{Exchange, explain};
use crate::show;

/// Ids that a scripted Island draws from: those of the model that is there unless others are named.
const SCRIPTED_VOCABULARY: u32 = 49_152;
/// How long all Islands together may take until they quote: loading and measuring a model on a slow machine, in turn.
const READY_TIMEOUT: Duration = Duration::from_secs(300);
/// How often a person is told who is waited for.
const TELL_INTERVAL: Duration = Duration::from_secs(15);
/// How often the exchange is asked whether they do.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How long an Island may take to finish what runs when all stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// An Island as `atoll up` starts it: the nearer and the faster, the dearer, so that a bid's terms decide.
#[derive(Debug)]
struct Plan {
    name: &'static str,
    region: &'static str,
    tier_max: Tier,
    /// Credits per 1,000 work units.
    price: &'static str,
}

static PLANS: [Plan; 3] = [
    Plan {
        name: "lagoon",
        region: "eu-west",
        tier_max: Tier::Laptop,
        price: "0.02",
    },
    Plan {
        name: "reef",
        region: "eu-central",
        tier_max: Tier::Desktop,
        price: "0.03",
    },
    Plan {
        name: "shoal",
        region: "us-east",
        tier_max: Tier::Phone,
        price: "0.015",
    },
];

/// What every Island of one `atoll up` has in common.
#[derive(Debug)]
pub(crate) struct Common<'a> {
    pub(crate) exchange: &'a str,
    pub(crate) api_key: &'a Secret,
    pub(crate) models: &'a [String],
    pub(crate) models_dir: &'a Path,
    pub(crate) threads: u32,
    pub(crate) slots: u32,
    /// Tokens without a model, for tests and load.
    pub(crate) scripted: Option<ScriptedPace>,
}

impl Plan {
    /// The Island's configuration file.
    fn config(&self, home: &Path, common: &Common<'_>) -> Result<String> {
        let mut file = toml::Table::new();
        let text = |path: &Path| toml::Value::from(path.to_string_lossy().into_owned());
        file.insert("exchange".to_owned(), common.exchange.into());
        file.insert("data".to_owned(), text(home));
        file.insert("models_cache".to_owned(), text(common.models_dir));
        file.insert("models".to_owned(), common.models.to_vec().into());
        file.insert("region".to_owned(), self.region.into());
        file.insert("tier_max".to_owned(), self.tier_max.name().into());
        file.insert("display_name".to_owned(), self.name.into());
        file.insert("slots".to_owned(), common.slots.into());
        file.insert("threads".to_owned(), common.threads.into());
        let mut pricing = toml::Table::new();
        pricing.insert("price".to_owned(), self.price.into());
        file.insert("pricing".to_owned(), pricing.into());
        if let Some(pace) = common.scripted {
            let interval = 1_000_000_u32
                .checked_div(pace.tokens_per_second)
                .context("a pace is above zero")?;
            let mut scripted = toml::Table::new();
            scripted.insert("token_interval_us".to_owned(), interval.into());
            scripted.insert("vocabulary_size".to_owned(), SCRIPTED_VOCABULARY.into());
            file.insert("runner".to_owned(), "scripted".into());
            file.insert("scripted".to_owned(), scripted.into());
        }
        toml::to_string(&file).context("could not write an Island's configuration")
    }
}

/// How fast a scripted Island emits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScriptedPace {
    /// Tokens a second.
    pub(crate) tokens_per_second: u32,
}

/// The Islands that were started.
#[derive(Debug)]
pub(crate) struct Islands {
    children: Vec<(&'static Plan, Child)>,
}

/// An Island that quotes, as the line of JSON says it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ready {
    pub(crate) id: String,
    pub(crate) region: String,
    pub(crate) tier: String,
    pub(crate) price: String,
    pub(crate) pid: u32,
}

impl Islands {
    /// Starts them. Must be called on the process's main thread: they die with the thread that started them.
    ///
    /// # Errors
    /// When a folder cannot be made or a process not started.
    pub(crate) fn start(folder: &Path, common: &Common<'_>) -> Result<Self> {
        let program = std::env::current_exe().context("could not find this program")?;
        let mut children = Vec::new();
        for plan in &PLANS {
            let home = folder.join(plan.name);
            fs::create_dir_all(&home).with_context(|| format!("could not make {}", home.display()))?;
            let config = home.join("island.toml");
            fs::write(&config, plan.config(&home, common)?)
                .with_context(|| format!("could not write {}", config.display()))?;
            let mut command = Command::new(&program);
            command
                .args(["island", "run", "--config"])
                .arg(&config)
                .args(["--parent", &std::process::id().to_string()])
                .env("ATOLL_API_KEY", common.api_key.expose())
                .env("CANDLE_NUM_THREADS", common.threads.to_string())
                .env("RAYON_NUM_THREADS", common.threads.to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .process_group(0);
            let mut command = tokio::process::Command::from(command);
            let child = command
                .kill_on_drop(true)
                .spawn()
                .context("could not start an Island")?;
            children.push((plan, child));
        }
        Ok(Self { children })
    }

    /// Waits until all of them quote.
    ///
    /// # Errors
    /// When one ends, or they take too long.
    pub(crate) async fn ready(&mut self, exchange: &mut Exchange) -> Result<Vec<Ready>> {
        let deadline = Instant::now()
            .checked_add(READY_TIMEOUT)
            .context("the clock is at its end")?;
        let (mut seen, mut told) = (0, Instant::now());
        loop {
            for (plan, child) in &mut self.children {
                if let Some(status) = child.try_wait().context("could not ask after an Island")? {
                    bail!(
                        "the Island `{}` ended ({status}) before it quoted; its log is above",
                        plan.name
                    );
                }
            }
            let status = exchange
                .get_status(GetStatusRequest {})
                .await
                .map_err(|status| explain(&status))?;
            let quoting = self.quoting(&status.into_inner().islands);
            if quoting.len() > seen {
                seen = quoting.len();
                tracing::info!(quoting = seen, of = self.children.len(), "Islands quote");
            }
            if quoting.len() == self.children.len() {
                return Ok(quoting);
            }
            if Instant::now() > deadline {
                bail!(
                    "only {seen} of {} Islands quote after {} s; their logs are above. One that was given no tier was \
                     measured too slow: try again when the machine is less busy",
                    self.children.len(),
                    READY_TIMEOUT.as_secs()
                );
            }
            if told.elapsed() > TELL_INTERVAL {
                told = Instant::now();
                tracing::info!(
                    quoting = seen,
                    of = self.children.len(),
                    "waiting for the Islands to be measured and quote"
                );
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// The Islands that quote. Each plan has a region of its own, which tells them apart.
    fn quoting(&self, live: &[LiveIsland]) -> Vec<Ready> {
        let ready = |(plan, child): &(&'static Plan, Child)| {
            let quotes = |island: &&LiveIsland| island.region == plan.region && !island.quotes.is_empty();
            let island = live.iter().find(quotes)?;
            let quote = island.quotes.first()?;
            Some(Ready {
                id: island.island_id.clone(),
                region: island.region.clone(),
                tier: show::tier(quote.cell.as_ref().map_or(0, |cell| cell.tier)).to_owned(),
                price: show::price(quote.price),
                pid: child.id()?,
            })
        };
        self.children.iter().filter_map(ready).collect()
    }

    /// Tells them to finish what runs, and waits; kills what does not end in time.
    pub(crate) async fn stop(mut self) {
        for (_, child) in &self.children {
            signal(child, Signal::TERM);
        }
        for (plan, child) in &mut self.children {
            if tokio::time::timeout(DRAIN_TIMEOUT, child.wait()).await.is_err() {
                tracing::warn!(island = plan.name, "did not finish in time and is killed");
                if let Err(error) = child.kill().await {
                    tracing::warn!(island = plan.name, %error, "could not be killed");
                }
            }
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    let Some(pid) = pid else { return };
    if let Err(error) = rustix::process::kill_process(pid, signal) {
        tracing::debug!(%error, "an Island was gone before it was told to stop");
    }
}
