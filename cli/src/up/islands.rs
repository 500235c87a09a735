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
use island_agent::status::{ModelStatus, Phase, Status};
use rustix::process::{Pid, Signal};
use serde::Serialize;
use service::secret::Secret;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child as Process, ChildStdout};
use tokio::sync::watch;
use tokio::time::Instant;

/// Ids that a scripted Island draws from: those of the model that is there unless others are named.
const SCRIPTED_VOCABULARY: u32 = 49_152;
/// How long all Islands together may take until they quote: loading and measuring a model on a slow machine, in turn.
const READY_TIMEOUT: Duration = Duration::from_secs(300);
/// How often a person is told who is waited for.
const TELL_INTERVAL: Duration = Duration::from_secs(15);
/// How often they are asked whether they do.
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
    children: Vec<Child>,
}

/// One of them.
#[derive(Debug)]
struct Child {
    plan: &'static Plan,
    process: Process,
    /// What it last said of itself; `None` before its first word.
    status: watch::Receiver<Option<Status>>,
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
                .args(["--json", "--die-with-parent", &std::process::id().to_string()])
                .env("ATOLL_API_KEY", common.api_key.expose())
                .env("CANDLE_NUM_THREADS", common.threads.to_string())
                .env("RAYON_NUM_THREADS", common.threads.to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .process_group(0);
            let mut command = tokio::process::Command::from(command);
            let mut process = command
                .kill_on_drop(true)
                .spawn()
                .context("could not start an Island")?;
            let stdout = process
                .stdout
                .take()
                .context("an Island has no standard output")?;
            children.push(Child {
                plan,
                process,
                status: follow(stdout),
            });
        }
        Ok(Self { children })
    }

    /// Waits until all of them quote.
    ///
    /// # Errors
    /// When one ends, or they take too long.
    pub(crate) async fn ready(&mut self) -> Result<Vec<Ready>> {
        let deadline = Instant::now()
            .checked_add(READY_TIMEOUT)
            .context("the clock is at its end")?;
        let (mut seen, mut told) = (0, Instant::now());
        loop {
            for child in &mut self.children {
                if let Some(status) = child
                    .process
                    .try_wait()
                    .context("could not ask after an Island")?
                {
                    bail!(
                        "the Island `{}` ended ({status}) before it quoted; its log is above",
                        child.plan.name
                    );
                }
            }
            let quoting: Vec<Ready> = self.children.iter().filter_map(Child::ready).collect();
            if quoting.len() > seen {
                seen = quoting.len();
                tracing::info!(quoting = seen, of = self.children.len(), "Islands quote");
            }
            if quoting.len() == self.children.len() {
                return Ok(quoting);
            }
            let waiting = || {
                let names = self.children.iter().filter_map(Child::why_not);
                names.collect::<Vec<_>>().join("; ")
            };
            if Instant::now() > deadline {
                bail!(
                    "only {seen} of {} Islands quote after {} s: {}. A tier is a promise of speed, so a machine that is \
                     busy with other work may get none: close other programs and start again, or name more threads \
                     with --threads",
                    self.children.len(),
                    READY_TIMEOUT.as_secs(),
                    waiting()
                );
            }
            if told.elapsed() > TELL_INTERVAL {
                told = Instant::now();
                tracing::info!(quoting = seen, of = self.children.len(), waiting = %waiting(), "waiting for Islands");
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Tells them to finish what runs, and waits; kills what does not end in time.
    pub(crate) async fn stop(mut self) {
        for child in &self.children {
            signal(&child.process, Signal::TERM);
        }
        for Child { plan, process, .. } in &mut self.children {
            if tokio::time::timeout(DRAIN_TIMEOUT, process.wait()).await.is_err() {
                tracing::warn!(island = plan.name, "did not finish in time and is killed");
                if let Err(error) = process.kill().await {
                    tracing::warn!(island = plan.name, %error, "could not be killed");
                }
            }
        }
    }
}

impl Child {
    /// What the line of JSON says of it, once it quotes.
    fn ready(&self) -> Option<Ready> {
        let status = self.status.borrow();
        let status = status.as_ref().filter(|status| status.phase == Phase::Quoting)?;
        let quoted = |model: &ModelStatus| Some((model.tier.clone()?, model.ask.clone()?));
        let (tier, ask) = status.models.iter().find_map(quoted)?;
        Some(Ready {
            id: status.island.clone()?,
            region: status.region.clone(),
            tier,
            price: ask.price,
            pid: self.process.id()?,
        })
    }

    /// What it does instead of quoting.
    fn why_not(&self) -> Option<String> {
        if self.ready().is_some() {
            return None;
        }
        let status = self.status.borrow();
        let refusal = status
            .as_ref()
            .and_then(|status| status.models.iter().find_map(|model| model.no_tier.as_deref()));
        let doing = match (refusal, status.as_ref().map(|status| status.phase)) {
            (Some(reason), _) => return Some(format!("{} has no tier ({reason})", self.plan.name)),
            (None, None | Some(Phase::Preparing)) => "loads and measures its model",
            (None, Some(Phase::Connecting | Phase::Handshaking | Phase::BackingOff)) => "connects",
            (None, Some(Phase::Welcomed | Phase::Quoting)) => "is measured by the exchange",
            (None, Some(Phase::Draining | Phase::Stopped)) => "stops",
        };
        Some(format!("{} {doing}", self.plan.name))
    }
}

/// Reads what an Island says of itself, to the end of its life: a full pipe would hold it up.
fn follow(stdout: ChildStdout) -> watch::Receiver<Option<Status>> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            match serde_json::from_str(&line) {
                Ok(status) => drop(sender.send_replace(Some(status))),
                Err(error) => tracing::debug!(%error, "an Island said something else than its state"),
            }
        }
    });
    receiver
}

fn signal(process: &Process, signal: Signal) {
    let pid = process
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    let Some(pid) = pid else { return };
    if let Err(error) = rustix::process::kill_process(pid, signal) {
        tracing::debug!(%error, "an Island was gone before it was told to stop");
    }
}
